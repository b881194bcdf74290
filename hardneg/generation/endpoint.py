"""Texts from an OpenAI-compatible server: any service or program that answers `POST <endpoint>/chat/completions`."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from hardneg.errors import HardnegError
from hardneg.generation.cost import Budget, most_input_tokens
from hardneg.generation.settings import GenerationSettings
from hardneg.generation.types import Answer, Keep, Question

if TYPE_CHECKING:
    from openai import APIStatusError, OpenAI

LONGEST_PAUSE = 60.0  # seconds; of pauses that the server did not ask for
LONGEST_WISH = 600.0  # seconds; a server that asks for a longer pause is not waited for
PASSING = frozenset({408, 409, 425, 429})  # statuses that may be gone at the next attempt, besides all from 500 on
SHOWN = 300  # characters of the server's words that are shown


class EndpointWriter:
    """Asks a server, several questions at a time, and again after passing faults.

    Args:
        settings: the server, its model, and how patient to be.
    """

    def __init__(self, settings: GenerationSettings) -> None:
        self.settings = settings

    @property
    def identity(self) -> Mapping[str, str]:
        """The name of the model. The server's address is left out: it may move."""
        return {"model": self.settings.model}

    def write(self, questions: Sequence[Question], missing: Sequence[int], budget: Budget, keep: Keep) -> None:
        """Put the questions, at most `parallel` at a time. After a fault no more are put; those under way are kept.

        Raises:
            HardnegError: the key is refused, the model is unknown, the server refuses a question or still fails after
                all retries, the next question could pass `max_cost`, openai is not installed, or the key is not set.
        """
        if not missing:
            return
        asker = _Asker(self.settings, budget)
        waiting, running = deque(missing), dict[Future[Answer], int]()

        def collect(future: Future[Answer]) -> None:
            position = running[future]
            try:
                keep(position, future.result())
            finally:
                budget.release(questions[position])
                del running[future]

        with ThreadPoolExecutor(self.settings.parallel) as pool:
            try:
                while waiting or running:
                    while waiting and len(running) < self.settings.parallel and budget.hold(questions[waiting[0]]):
                        position = waiting.popleft()
                        running[pool.submit(asker.ask, questions[position])] = position
                    if not running:
                        raise budget.reached(questions[waiting[0]], len(waiting))
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in sorted(done, key=running.__getitem__):
                        collect(future)
            finally:
                asker.stop.set()
                for future in list(running):  # only after a fault; they are paid for
                    if future.exception() is None:
                        collect(future)


@dataclass(eq=False)
class _Fault(Exception):
    """A fault that may be gone at the next attempt.

    Attributes:
        said: what is known of it.
        pause: seconds that the server asked for, or None.
        billed: whether the attempt may be billed.
    """

    said: str
    pause: float | None = None
    billed: bool = False


class _Asker:
    """One client for all threads. `stop` ends pauses and further attempts."""

    def __init__(self, settings: GenerationSettings, budget: Budget) -> None:
        self.settings, self.budget = settings, budget
        self.stop = threading.Event()
        self.key = _key(settings)
        self.client = _client(settings, self.key)
        self.resume = 0.0  # the monotonic second until which the server wants no requests

    def ask(self, question: Question) -> Answer:
        """Ask until there is an answer, the fault is a lasting one, or the retries are over."""
        last = _Fault("nothing was asked")
        for attempt in range(self.settings.retries + 1):
            if attempt:
                self.pause(attempt, last)
            try:
                return self._once(question)
            except _Fault as fault:
                last = fault
                if fault.billed:
                    self.budget.lose(question)
        attempts = self.settings.retries + 1
        raise HardnegError(
            f"The endpoint gave no answer in {attempts} attempt{'s' if attempts > 1 else ''}.",
            where=f"endpoint: {self.settings.endpoint}",
            found=last.said,
            remedy="run the same command later: what was answered is kept. Raise retries, timeout_seconds or lower "
            "parallel if this happens often.",
        )

    def pause(self, attempt: int, fault: _Fault) -> None:
        """Wait before a retry: what the server asked for, else exponentially longer, with jitter."""
        seconds = min(LONGEST_PAUSE, self.settings.backoff_seconds * 2.0 ** min(attempt - 1, 30))
        seconds *= random.uniform(0.5, 1.0)  # so that threads do not come back together
        if fault.pause is not None:
            if fault.pause > LONGEST_WISH:
                raise HardnegError(
                    "The endpoint asks for a long pause.",
                    where=f"endpoint: {self.settings.endpoint}",
                    found=f"{fault.said}; {fault.pause:,.0f} seconds",
                    expected=f"at most {LONGEST_WISH:,.0f} seconds",
                    remedy="run the same command after that time: what was answered is kept.",
                )
            self.resume = max(self.resume, time.monotonic() + fault.pause)
        self.sleep(seconds if fault.pause is None else max(fault.pause, seconds))

    def sleep(self, seconds: float) -> None:
        """Wait, unless the work is stopped meanwhile.

        Raises:
            HardnegError: it was stopped. It is never shown: another fault stopped the work.
        """
        if self.stop.wait(seconds):
            raise HardnegError("The work was stopped.")

    def _once(self, question: Question) -> Answer:
        import openai

        if (pause := self.resume - time.monotonic()) > 0:  # another thread was asked to wait
            self.sleep(pause)
        try:
            raw = self.client.chat.completions.with_raw_response.create(**self._body(question))
        except openai.APITimeoutError as fault:
            said = f"no answer for {self.settings.timeout_seconds:g} seconds"
            raise _Fault(said, billed=_arrived(fault)) from None
        except openai.APIStatusError as fault:
            if fault.status_code in PASSING or fault.status_code >= 500:
                said = self._said(fault)
                if "insufficient_quota" not in said:  # an empty account, told as too many requests
                    raise _Fault(said, _wish(fault.response.headers)) from None
            raise self._refusal(fault) from None
        except openai.APIConnectionError as fault:
            raise _Fault(f"no connection: {fault.__cause__ or fault}", billed=_arrived(fault)) from None
        except openai.OpenAIError as fault:
            raise _Fault(f"{type(fault).__name__}: {fault}"[:SHOWN]) from None
        return read_reply(raw.http_response.text, question)

    def _body(self, question: Question) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.settings.model,
            "messages": list(question.messages),
            self.settings.length_field: question.max_tokens,
        }
        # What is the servers' own default is not sent, since some models refuse to be told.
        if question.temperature not in (None, 1.0):
            body["temperature"] = question.temperature
        if question.top_p != 1.0:
            body["top_p"] = question.top_p
        if question.seed is not None:
            body["seed"] = question.seed
        return body

    def _said(self, fault: APIStatusError) -> str:
        """The status and the server's words, without the key, which some servers repeat."""
        words = " ".join(fault.response.text.split())
        if self.key:
            words = words.replace(self.key, "[key]")
        return f"HTTP {fault.status_code}: {words[:SHOWN]}"

    def _refusal(self, fault: APIStatusError) -> HardnegError:
        where, found = f"endpoint: {self.settings.endpoint}", self._said(fault)
        variable = self.settings.api_key_env
        match fault.status_code:
            case 401 | 403:
                place = f"the variable {variable}" if variable else "api_key_env, which is null"
                what, remedy = "The endpoint refuses the key.", f"correct {place}, then run the same command."
            case 404:
                what = "The endpoint does not know the model, or is not at this address."
                where, remedy = f"{where}, model: {self.settings.model}", "correct model or endpoint."
            case 402 | 429:
                what, remedy = "The account is empty.", "fill it, then run the same command: what was answered is kept."
            case _:
                what = "The endpoint refuses a question."
                remedy = (
                    "read its words. If a prompt is too long, lower passage_characters; if max_tokens is not known, "
                    "set length_field; if temperature or seed is not, set it to null."
                )
        return HardnegError(what, where=where, found=found, remedy=remedy)


def read_reply(body: str, question: Question) -> Answer:
    """The answer in the body of a reply.

    Without counts of tokens in the reply, upper bounds stand for them.

    Raises:
        _Fault: the body is not JSON, or not of the shape of a chat completion.
    """
    try:
        reply = json.loads(body)
    except ValueError:
        raise _Fault(f"a reply that is not JSON: {body[:SHOWN]!r}", billed=True) from None
    try:
        choice = reply["choices"][0]
        text, finish = choice["message"]["content"], choice.get("finish_reason")
        if not isinstance(text, str | None) or not isinstance(finish, str | None):
            raise TypeError
    except (KeyError, IndexError, TypeError, AttributeError):
        raise _Fault(f"a reply that is no chat completion: {body[:SHOWN]!r}", billed=True) from None
    text, finish = text or "", finish or "stop"
    match reply.get("usage"):
        case {"prompt_tokens": int(read), "completion_tokens": int(wrote)} if read >= 0 and wrote >= 0:
            return Answer(text, finish, read, wrote)
    longest = min(len(text.encode()), question.max_tokens)
    return Answer(text, finish, most_input_tokens(question.messages), longest, counted=False)


def _arrived(fault: BaseException) -> bool:
    """Whether a question may have reached the server, which it cannot if there was no connection (HTTPX's names)."""
    return not type(fault.__cause__).__name__.startswith("Connect")


def _wish(headers: Mapping[str, str]) -> float | None:
    """The seconds of Retry-After, which is a number or a date; None without a usable one."""
    found = headers.get("retry-after")
    if found is None:
        return None
    try:
        seconds = float(found)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(found).timestamp() - time.time()
        except ValueError:
            return None
    return max(0.0, seconds) if seconds == seconds else None  # NaN is no number of seconds


def _key(settings: GenerationSettings) -> str | None:
    if settings.api_key_env is None:
        return None
    key = os.environ.get(settings.api_key_env, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        raise HardnegError(
            "The key of the endpoint is not set." if not key else "The key of the endpoint is not plain text.",
            where=f"the environment variable {settings.api_key_env}",
            remedy="set it (export ...=...), name another one in api_key_env, or set api_key_env to null if the server "
            "needs no key.",
        )
    return key


def _client(settings: GenerationSettings, key: str | None) -> OpenAI:
    try:
        from openai import OpenAI
    except ImportError:
        raise HardnegError(
            "An endpoint needs the package openai.",
            where="endpoint",
            remedy="pip install '.[endpoint]', in this project's folder, or name a model on this machine.",
        ) from None
    return OpenAI(
        base_url=settings.endpoint,
        api_key=key or "none",
        timeout=settings.timeout_seconds,
        max_retries=0,  # retries are counted and told here
    )
