"""Text files line by line, each line with its place: what every format made of lines reads through.

Files are UTF-8, packed with gzip where their name ends in `.gz`, and streamed: one line is held at a time, however long
it is. A byte order mark and CRLF are tolerated; bytes that are not UTF-8 and files cut short are refused.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from hardneg.errors import HardnegError

GRADE = re.compile(r"[+-]?[0-9]{1,9}")  # fits 32 bits


def raw_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Each line of a UTF-8 file with its ending, after its number from 1.

    Raises:
        HardnegError: the file cannot be read, is cut short, or a line is not UTF-8.
    """
    number = 0
    try:
        with cast(IO[bytes], gzip.open(path) if path.suffix == ".gz" else path.open("rb")) as stream:
            for number, line in enumerate(stream, start=1):
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as fault:
        raise HardnegError(
            "A line is not UTF-8 text.",
            where=f"{path}:{number}",
            found=f"byte 0x{fault.object[fault.start]:02x} at position {fault.start + 1} of the line",
            remedy="save the file as UTF-8.",
        ) from None
    except (OSError, EOFError, zlib.error) as fault:
        raise HardnegError(
            "A file of the collection cannot be read.",
            where=f"{path}, after line {number}",
            found=str(fault),
            remedy="check its permissions, or get the file again if it is damaged or cut short.",
        ) from None


def lines(path: Path) -> Iterator[tuple[str, str]]:
    """Each line that is not empty, without its ending, after its place `file:line`.

    Raises:
        HardnegError: as `raw_lines`.
    """
    for number, line in raw_lines(path):
        text = line.rstrip("\r\n")
        if text.strip():
            yield f"{path}:{number}", text


def json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The object on each line of a JSON Lines file, after its place.

    Raises:
        HardnegError: as `lines`, or a line holds no JSON object.
    """
    for where, line in lines(path):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as fault:
            raise HardnegError(
                "A line is not valid JSON.",
                where=where,
                found=str(fault),
                expected="one JSON object a line",
                remedy="mend or remove that line.",
            ) from None
        if not isinstance(value, dict):
            raise HardnegError(
                "A line holds no JSON object.",
                where=where,
                found=line[:80],
                expected='{"_id": ..., "text": ...}',
                remedy="mend or remove that line.",
            )
        yield where, value


def text_of(record: dict[str, Any], key: str, where: str) -> str:
    """The text under a key.

    Raises:
        HardnegError: the key is missing, its value is no text, or it holds half of a surrogate pair.
    """
    if key not in record:
        raise HardnegError(
            f"A record lacks the key `{key}`.",
            where=where,
            found=", ".join(record) or "no keys",
            expected=key,
            remedy="add the key, or remove that line.",
        )
    value = record[key]
    if not isinstance(value, str) or (key == "_id" and not value):
        found, expected = json.dumps(value)[:80], "an identifier in quotes" if key == "_id" else "text in quotes"
        raise HardnegError(
            f"The value of `{key}` cannot be used.",
            where=where,
            found=found,
            expected=expected,
            remedy="correct the value.",
        )
    return valid_text(value, key, where)


def valid_text(value: str, key: str, where: str) -> str:
    """The value of a key, which JSON's escapes may have made no text at all.

    Raises:
        HardnegError: it holds half of a surrogate pair.
    """
    try:
        value.encode()
    except UnicodeEncodeError as fault:
        raise HardnegError(
            f"The value of `{key}` is no valid Unicode text.",
            where=where,
            found=f"half of a surrogate pair, \\u{ord(value[fault.start]):04x}",
            remedy="remove it or write the whole character.",
        ) from None
    return value


def id_of(value: Any, what: str, where: str) -> str:
    """An id, given as text or as a whole number; white space around it is dropped.

    Raises:
        HardnegError: it is missing, empty, of another type, or holds half of a surrogate pair.
    """
    if type(value) is int:
        return str(value)
    if isinstance(value, str) and value.strip():
        return valid_text(value.strip(), what, where)
    raise HardnegError(
        f"A record has no usable {what}.",
        where=where,
        found="nothing" if value is None or value == "" else repr(value)[:80],
        expected="text, or a whole number",
        remedy="give it an id, or remove the record.",
    )


def grade_of(value: str, where: str) -> int:
    """A grade written as a whole number.

    Raises:
        HardnegError: it is written otherwise, or has more than nine digits.
    """
    if not GRADE.fullmatch(value):
        raise HardnegError(
            "A grade is no integer.",
            where=where,
            found=repr(value),
            expected="a whole number such as 0, 1, 2",
            remedy="correct the grade; if this line names the columns, say in the configuration which is which.",
        )
    return int(value)
