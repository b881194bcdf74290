"""What questions cost: before, while and after they are put."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hardneg.errors import HardnegError
from hardneg.generation.settings import GenerationSettings
from hardneg.generation.types import Answer, Message, Question, Usage

CHARACTERS_A_TOKEN = 4  # of English text, about
FRAME_TOKENS = 16  # what a chat template puts around a message, at most


def most_input_tokens(messages: Iterable[Message]) -> int:
    """An upper bound on the tokens of a prompt: a token of a byte-level vocabulary holds at least one byte."""
    return sum(len(message["content"].encode()) + FRAME_TOKENS for message in messages)


def likely_input_tokens(messages: Iterable[Message]) -> int:
    """About how many tokens a prompt of English text has."""
    return sum(len(message["content"]) // CHARACTERS_A_TOKEN + FRAME_TOKENS // 2 for message in messages)


def price(settings: GenerationSettings, input_tokens: float, output_tokens: float) -> float:
    """The price of tokens."""
    paid = input_tokens * settings.price_per_million_input + output_tokens * settings.price_per_million_output
    return paid / 1e6


@dataclass(frozen=True)
class Estimate:
    """What is still to be asked, before it is.

    Attributes:
        questions: how many.
        input_tokens: tokens of their prompts, about.
        output_tokens: tokens of their answers, at most.
        cost: the price of both.
    """

    questions: int
    input_tokens: int
    output_tokens: int
    cost: float

    def __str__(self) -> str:
        tokens = f"about {self.input_tokens:,} input tokens and at most {self.output_tokens:,} output tokens"
        money = f", at most about {self.cost:.4g}" if self.cost else ""
        return f"{self.questions:,} questions to ask: {tokens}{money}"


def estimate(questions: Sequence[Question], checks: int, settings: GenerationSettings) -> Estimate:
    """The tokens and the price of questions and of as many checks of texts that are not written yet."""
    inputs = sum(likely_input_tokens(question.messages) for question in questions)
    # A check shows a written text and, at most, what the question showed.
    inputs += checks * (inputs // max(1, len(questions)) + settings.max_new_tokens)
    outputs = sum(question.max_tokens for question in questions) + checks * settings.check_tokens
    return Estimate(len(questions) + checks, inputs, outputs, price(settings, inputs, outputs))


class Budget:
    """Sums tokens and money, and refuses a question that could take the sum over `max_cost`.

    Args:
        settings: prices and `max_cost`.
    """

    def __init__(self, settings: GenerationSettings) -> None:
        self.settings, self.usage = settings, Usage()
        self._held = self._lost = 0.0  # money of questions under way; of attempts that may be billed
        self._lock = threading.Lock()

    def most(self, question: Question) -> float:
        """The highest price that a question can have."""
        return price(self.settings, most_input_tokens(question.messages), question.max_tokens)

    def hold(self, question: Question) -> bool:
        """Set aside the highest price of a question; False if that could pass the ceiling."""
        most, ceiling = self.most(question), self.settings.max_cost
        with self._lock:
            if ceiling is not None and self.usage.cost + self._held + self._lost + most > ceiling:
                return False
            self._held += most
            return True

    def release(self, question: Question) -> None:
        """Free what was set aside for a question: it was answered, or will not be."""
        with self._lock:
            self._held -= self.most(question)

    def lose(self, question: Question) -> None:
        """Count an attempt that gave no answer but may be billed."""
        with self._lock:
            self.usage.lost += 1
            self._lost += self.most(question)

    def count(self, answer: Answer, known: bool) -> None:
        """Add the tokens of an answer, from this run or (`known`) from the folder."""
        with self._lock:
            self.usage.known += known
            self.usage.asked += not known
            self.usage.uncounted += not answer.counted
            self.usage.input_tokens += answer.input_tokens
            self.usage.output_tokens += answer.output_tokens
            self.usage.cost = price(self.settings, self.usage.input_tokens, self.usage.output_tokens)

    def reached(self, question: Question, left: int) -> HardnegError:
        """The fault that says where the ceiling stopped the work, and how to go on."""
        lost = f", and up to {self._lost:.4g} for {self.usage.lost} attempts without an answer" if self._lost else ""
        return HardnegError(
            f"The ceiling on cost is reached; {left:,} questions of this step are not asked.",
            where=f"max_cost: {json.dumps(self.settings.max_cost)}",
            found=f"{self.usage.cost:.4g} spent{lost}; the next question can cost {self.most(question):.4g}",
            remedy="raise max_cost and run the same command: what was answered is kept and not asked again.",
        )
