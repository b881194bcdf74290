"""What goes in and out: requests, questions to a model, its answers, and the texts that were written."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from hardneg.stages.artifacts import canonical_json

if TYPE_CHECKING:
    from hardneg.generation.cost import Budget

NO_QUERY = -1
"""The query's position in a request that asks for queries."""

Message = dict[str, str]
"""`role` (system or user) and `content`."""


@dataclass(frozen=True)
class Request:
    """A query and a passage that answers it; or, where queries are asked for, a passage alone.

    Attributes:
        query: position of the query, or NO_QUERY.
        passage: position of the passage.
        query_text: the query, empty where queries are asked for.
        passage_text: the passage.
    """

    query: int
    passage: int
    query_text: str
    passage_text: str


@dataclass(frozen=True)
class Generated:
    """A text that was written, accepted or not.

    Attributes:
        query: position of the query, or NO_QUERY.
        passage: position of the passage.
        number: 1 to `per_query`.
        text: what was written, without white space around it.
        prompt_digest: SHA-256 of the filled-in prompt, as in `answers.jsonl`.
        accepted: whether the text can be used.
        reason: why it was rejected; empty if it was accepted.
    """

    query: int
    passage: int
    number: int
    text: str
    prompt_digest: str
    accepted: bool
    reason: str


@dataclass(frozen=True)
class Question:
    """One call of a model.

    Attributes:
        messages: what the model is told.
        number: tells apart the answers to one prompt.
        max_tokens: limit of the answer.
        temperature: 0 for the likeliest token, None for the server's own.
        top_p: total probability of the tokens among which is sampled.
        seed: seed of this answer, or None.
    """

    messages: tuple[Message, ...]
    number: int
    max_tokens: int
    temperature: float | None
    top_p: float
    seed: int | None

    @property
    def prompt_digest(self) -> str:
        """SHA-256 of the messages, in hexadecimal."""
        return _sha256(canonical_json(self.messages))

    def key(self, identity: Mapping[str, str]) -> str:
        """SHA-256 of all that decides the answer: the model, the messages, the sampling and the number."""
        sampling = [self.max_tokens, self.temperature, self.top_p, self.seed]
        return _sha256(canonical_json([dict(identity), self.prompt_digest, sampling, self.number]))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Answer:
    """What a model answered.

    Attributes:
        text: the answer, as it came; may be empty.
        finish: why it ended: `stop` (the model ended it), `length` (the limit was reached), `too_long` (the prompt is
            longer than the model reads), or the server's own word.
        input_tokens: tokens of the prompt.
        output_tokens: tokens of the answer.
        counted: whether the tokens were counted; if not, they are upper bounds.
    """

    text: str
    finish: str
    input_tokens: int
    output_tokens: int
    counted: bool = True


Keep = Callable[[int, Answer], None]
"""Takes the position of a question and its answer, and stores the answer."""


class TextWriter(Protocol):
    """Something that answers questions: a model on this machine, or a server."""

    @property
    def identity(self) -> Mapping[str, str]:
        """What tells this model from others; part of the key of each answer."""
        ...

    def write(self, questions: Sequence[Question], missing: Sequence[int], budget: Budget, keep: Keep) -> None:
        """Answer `questions[i]` for each i in `missing`, and give each answer to `keep` as it comes, in any order.

        Args:
            questions: all questions, those that are already answered too.
            missing: positions, ascending, of those to be answered.
            budget: asked before a question is put, if questions cost money.
            keep: called in the calling thread.

        Raises:
            HardnegError: no answer can be had. Answers that were already asked for are kept first.
        """
        ...


@dataclass
class Usage:
    """What the texts took.

    Attributes:
        asked: questions answered in this run.
        known: questions answered from the folder, without asking.
        input_tokens: tokens of all prompts, in this run and before.
        output_tokens: tokens of all answers.
        cost: their price.
        uncounted: answers whose tokens the server did not count; upper bounds stand for them.
        lost: attempts that ended without an answer, but may be billed. Their price is not in `cost`; it counts against
            `max_cost` in the run in which they were lost.
    """

    asked: int = 0
    known: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    uncounted: int = 0
    lost: int = 0


@dataclass(frozen=True)
class Outcome:
    """All texts, in the order of requests and numbers, rejected ones too, and what they took."""

    generated: tuple[Generated, ...]
    usage: Usage = field(default_factory=Usage)

    @property
    def accepted(self) -> tuple[Generated, ...]:
        """The texts that can be used."""
        return tuple(one for one in self.generated if one.accepted)

    @property
    def rejections(self) -> dict[str, int]:
        """How many texts were rejected for each reason, most frequent first."""
        return dict(Counter(one.reason for one in self.generated if not one.accepted).most_common())
