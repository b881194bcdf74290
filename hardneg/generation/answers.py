"""The file of answers: one JSON line an answer, on disk before the next question is put.

While work goes on, lines are appended in the order in which answers come. Once all are there, the file is rewritten in
the order of the questions, so that interrupted work ends with the same bytes as uninterrupted work. No answer is ever
removed: they may have been paid for.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from hardneg.errors import HardnegError
from hardneg.generation.types import Answer, Question
from hardneg.stages.artifacts import atomic_path, canonical_json

ANSWERS = "answers.jsonl"
TYPES: dict[str, type] = {
    "key": str,
    "number": int,
    "prompt_digest": str,
    "text": str,
    "finish": str,
    "input_tokens": int,
    "output_tokens": int,
    "counted": bool,
}
"""The fields of a line. `key` is `Question.key`; the others are those of `Answer` and `Question`."""
KEPT = "input_tokens", "output_tokens", "counted", "finish", "text"


class Answers:
    """The answers in a folder, by key.

    Args:
        path: the file.
        lines: the lines that it has, by key.
    """

    def __init__(self, path: Path, lines: dict[str, bytes]) -> None:
        self.path, self.lines = path, lines

    @classmethod
    def open(cls, path: Path, mend: bool = True) -> Self:
        """Read the file, if there is one, without a last line that is not finished.

        Args:
            path: the file.
            mend: cut such a line off, as a killed run leaves it, and say so. False is for files of other work, which
                may be under way: its line is being written.

        Raises:
            HardnegError: a line is not what was written, or the file cannot be read.
        """
        try:
            content = path.read_bytes() if path.exists() else b""
            whole, end, torn = content.rpartition(b"\n")
            if torn and mend:
                _cut(path, len(whole) + len(end), len(torn))
        except OSError as fault:
            raise HardnegError(f"The file of answers cannot be read: {fault.strerror}.", where=str(path)) from None
        lines: dict[str, bytes] = {}
        for number, line in enumerate(whole.split(b"\n") if end else [], start=1):
            lines[_parsed(line, f"{path}, line {number}")["key"]] = line
        return cls(path, lines)

    def get(self, key: str) -> Answer | None:
        """The answer of a key, or None."""
        if key not in self.lines:
            return None
        record = json.loads(self.lines[key])
        return Answer(**{name: record[name] for name in KEPT})

    def add(self, key: str, question: Question, answer: Answer) -> None:
        """Append an answer, and wait until it is on the disk.

        Raises:
            HardnegError: it could not be written. Nothing of it stays in the file.
        """
        record = {"key": key, "number": question.number, "prompt_digest": question.prompt_digest, **asdict(answer)}
        self._append(key, canonical_json(record).encode())

    def _append(self, key: str, line: bytes) -> None:
        try:
            with self.path.open("ab", buffering=0) as stream:
                start = os.fstat(stream.fileno()).st_size
                try:
                    rest = memoryview(line + b"\n")
                    while rest:
                        rest = rest[stream.write(rest) :]
                    os.fsync(stream.fileno())
                except BaseException:
                    # The answers that are still under way are stored after this fault, so the line must not stay torn.
                    with contextlib.suppress(OSError):
                        stream.truncate(start)
                    raise
        except OSError as fault:
            raise HardnegError(
                f"An answer could not be written: {fault.strerror or fault}.",
                where=str(self.path),
                remedy="free space or correct the permissions, then run the same command: it will resume.",
            ) from None
        self.lines[key] = line

    def take_over(self, key: str, others: Iterable[Self]) -> None:
        """Append the answer of a key as another file has it, where this one lacks it and one has it.

        Raises:
            HardnegError: it could not be written.
        """
        line = next((other.lines[key] for other in others if key in other.lines), None)
        if line is not None and key not in self.lines:
            self._append(key, line)

    def arrange(self, keys: Iterable[str]) -> None:
        """Rewrite the file, atomically: the lines of `keys` in their order, then the others as they stood.

        Raises:
            HardnegError: the file could not be written.
        """
        wanted = dict.fromkeys(keys)
        order = [*wanted, *(key for key in self.lines if key not in wanted)]
        content = b"".join(self.lines[key] + b"\n" for key in order)
        if not self.path.exists() or self.path.read_bytes() != content:
            with atomic_path(self.path) as temporary:
                temporary.write_bytes(content)
        self.lines = {key: self.lines[key] for key in order}


def _cut(path: Path, size: int, torn: int) -> None:
    print(f"{path}: the last line was not finished ({torn} bytes); it is dropped and asked again.", flush=True)
    with path.open("rb+") as stream:
        stream.truncate(size)
        os.fsync(stream.fileno())


def _parsed(line: bytes, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict) or {name: type(value) for name, value in record.items()} != TYPES:
        raise HardnegError(
            "A line of the file of answers is damaged.",
            where=where,
            found=line[:80].decode(errors="replace"),
            expected=f"JSON with the fields {', '.join(TYPES)}",
            remedy="restore the file, or delete this line: its question is then asked again.",
        )
    return record
