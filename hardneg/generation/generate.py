"""From requests to texts: ask, check, keep, and go on where an interrupted run stopped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from hardneg.errors import HardnegError
from hardneg.generation.answers import ANSWERS, Answers
from hardneg.generation.cost import Budget, estimate
from hardneg.generation.endpoint import EndpointWriter
from hardneg.generation.judging import failed, unusable
from hardneg.generation.local import LocalWriter
from hardneg.generation.prompts import Prompt, load_prompt
from hardneg.generation.settings import GenerationSettings, Kind
from hardneg.generation.types import Answer, Generated, Message, Outcome, Question, Request, TextWriter
from hardneg.stages.progress import Progress

SEEDS = 2**31


def open_writer(settings: GenerationSettings, device: str = "cpu") -> TextWriter:
    """What answers questions under these settings. Nothing is loaded or reached before the first question.

    Args:
        settings: the model, and its endpoint if it has one.
        device: a torch device for a model on this machine.
    """
    return LocalWriter(settings, device) if settings.endpoint is None else EndpointWriter(settings)


def generate(
    requests: Sequence[Request],
    settings: GenerationSettings,
    folder: Path,
    writer: TextWriter,
    progress: Path | None = None,
    earlier: Sequence[Path] = (),
) -> Outcome:
    """Write `per_query` texts for each request, and let the model check them.

    Answers are kept in `answers.jsonl` in the folder, and no question is put twice. Interrupted work goes on where it
    stopped and ends with the same bytes.

    Args:
        requests: pairs of a query and a passage that answers it, or passages alone; each once.
        settings: what is asked, and how.
        folder: an existing folder with one writer at a time.
        writer: what answers; see `open_writer`.
        progress: the file for progress lines, if any.
        earlier: answer files of other work, from which answers to the same questions are taken over.

    Returns:
        The texts in the order of requests and numbers, rejected ones too, and what they took.

    Raises:
        HardnegError: a request or the prompt file is not usable, an answer cannot be had or stored, or the next
            question could pass `max_cost`. All answers so far are kept.
    """
    prompt = load_prompt(settings)
    _refuse_unusable(requests, settings.kind)
    known = [Answers.open(path, mend=False) for path in earlier]
    work = _Work(settings, Answers.open(folder / ANSWERS), writer, Budget(settings), progress, known)
    pairs = [(request, number) for request in requests for number in range(1, settings.per_query + 1)]
    asking = [
        work.question(prompt.asking(request, number, settings.passage_characters), number) for request, number in pairs
    ]
    written = work.answered("write texts", asking, checked=settings.self_check)
    reasons = _reasons(pairs, written, settings.kind)
    checking = {
        at: work.check(prompt, request, written[at].text.strip())
        for at, (request, _) in enumerate(pairs)
        if settings.self_check and not reasons[at]
    }
    checks = work.answered("check texts", list(checking.values()))
    for at, check in zip(checking, checks, strict=True):
        reasons[at] = failed(settings.kind, check)
    work.finish()
    texts = tuple(
        Generated(
            request.query, request.passage, number, answer.text.strip(), question.prompt_digest, not reason, reason
        )
        for (request, number), question, answer, reason in zip(pairs, asking, written, reasons, strict=True)
    )
    return Outcome(texts, work.budget.usage)


class _Work:
    """The answers of a folder, and what gives those that it lacks."""

    def __init__(
        self,
        settings: GenerationSettings,
        answers: Answers,
        writer: TextWriter,
        budget: Budget,
        progress: Path | None,
        earlier: Sequence[Answers],
    ) -> None:
        self.settings, self.answers, self.writer = settings, answers, writer
        self.budget, self.progress, self.earlier = budget, progress, earlier
        self.keys: dict[str, None] = {}  # of all questions, in their order

    def question(self, messages: tuple[Message, ...], number: int) -> Question:
        """The question that asks for a text."""
        own = self.settings
        seed = None if own.seed is None else (own.seed + number) % SEEDS
        return Question(messages, number, own.max_new_tokens, own.temperature, own.top_p, seed)

    def check(self, prompt: Prompt, request: Request, text: str) -> Question:
        """The question whether a text is what was asked for. At temperature 0, unless the server is not to be told."""
        own = self.settings
        messages = prompt.checking(request, text, own.passage_characters)
        return Question(messages, 0, own.check_tokens, None if own.temperature is None else 0.0, 1.0, own.seed)

    def answered(self, label: str, questions: Sequence[Question], checked: bool = False) -> list[Answer]:
        """The answers to questions, from the folder where it has them. Equal questions are put once.

        Args:
            label: the work, for the progress.
            questions: the questions.
            checked: whether each new answer leads to one more question.
        """
        keys = [question.key(self.writer.identity) for question in questions]
        self.keys |= dict.fromkeys(keys)
        first = {key: at for at, key in reversed(list(enumerate(keys)))}
        for key in first:
            self.answers.take_over(key, self.earlier)
        missing = sorted(at for key, at in first.items() if self.answers.get(key) is None)
        for key in first:
            if (known := self.answers.get(key)) is not None:
                self.budget.count(known, known=True)
        if missing:
            asked = [questions[at] for at in missing]
            print(f"{label}: {estimate(asked, len(asked) if checked else 0, self.settings)}", flush=True)
        with Progress(label, len(first), "questions", self.progress, done=len(first) - len(missing)) as bar:

            def keep(at: int, answer: Answer) -> None:
                self.budget.count(answer, known=False)
                self.answers.add(keys[at], questions[at], answer)
                bar.advance(cost=self.budget.usage.cost)

            self.writer.write(questions, missing, self.budget, keep)
        return [self._known(key) for key in keys]

    def finish(self) -> None:
        """Put the file of answers in the order of the questions."""
        self.answers.arrange(self.keys)

    def _known(self, key: str) -> Answer:
        answer = self.answers.get(key)
        if answer is None:
            raise RuntimeError("a writer left a question without an answer")
        return answer


def _refuse_unusable(requests: Sequence[Request], kind: Kind) -> None:
    seen: set[tuple[int, int]] = set()
    for request in requests:
        where = f"query {request.query}, passage {request.passage}"
        if (request.query, request.passage) in seen:
            raise HardnegError("A request stands twice.", where=where)
        seen.add((request.query, request.passage))
        lacking = [
            name
            for name, text in (("query", request.query_text), ("passage", request.passage_text))
            if not text.strip() and (name == "passage" or kind == "negatives")
        ]
        if lacking:
            raise HardnegError(
                f"A {lacking[0]} without text was to be put in a prompt.", where=where, remedy="leave it out."
            )


def _reasons(pairs: Sequence[tuple[Request, int]], written: Sequence[Answer], kind: Kind) -> list[str]:
    """Why each text cannot be used, whatever a check says; empty where it can."""
    others = _answering(pairs, kind)
    reasons = []
    for (request, _), answer in zip(pairs, written, strict=True):
        group = others[_group(request, kind)]
        reasons.append(unusable(kind, answer, group))
        if not reasons[-1]:
            group.append(answer.text)
    return reasons


def _group(request: Request, kind: Kind) -> int:
    return request.query if kind == "negatives" else request.passage


def _answering(pairs: Sequence[tuple[Request, int]], kind: Kind) -> Mapping[int, list[str]]:
    """The relevant passages of each query, which a negative must not repeat."""
    found: dict[int, list[str]] = defaultdict(list)
    for request, number in pairs:
        if kind == "negatives" and number == 1:
            found[request.query].append(request.passage_text)
    return found
