"""Text files, line by line, each line with its file and number. All line-based formats are read through this module.

Files are UTF-8, gzip-compressed if the name ends in `.gz`, and streamed one line at a time. A byte order mark and CRLF
are tolerated. Invalid UTF-8 and truncated files are refused.
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
    """Yield the number, from 1, and the text of each line. The text keeps its line ending.

    Raises:
        HardnegError: the file cannot be read or is truncated, or a line is not UTF-8.
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
            remedy="check its permissions, or get the file again if it is damaged or truncated.",
        ) from None


def lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the place (`file:line`) and the text of each line that is not blank, without its line ending.

    Raises:
        HardnegError: as for `raw_lines`.
    """
    for number, line in raw_lines(path):
        text = line.rstrip("\r\n")
        if text.strip():
            yield f"{path}:{number}", text


def json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place and the object of each line of a JSON Lines file.

    Raises:
        HardnegError: as for `lines`, or a line is not a JSON object.
    """
    for where, line in lines(path):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as fault:
            raise HardnegError(
                "A line is not valid JSON.",
                where=where,
                found=str(fault),
                expected="one JSON object per line",
                remedy="fix or remove that line.",
            ) from None
        if not isinstance(value, dict):
            raise HardnegError(
                "A line is not a JSON object.",
                where=where,
                found=line[:80],
                expected='{"_id": ..., "text": ...}',
                remedy="fix or remove that line.",
            )
        yield where, value


def text_of(record: dict[str, Any], key: str, where: str) -> str:
    """The text under a key.

    Raises:
        HardnegError: the key is missing, or its value is not a string or not valid Unicode.
    """
    if key not in record:
        raise HardnegError(
            f"A record has no key `{key}`.",
            where=where,
            found=", ".join(record) or "no keys",
            expected=key,
            remedy="add the key, or remove that line.",
        )
    value = record[key]
    if not isinstance(value, str) or (key == "_id" and not value):
        found, expected = json.dumps(value)[:80], "a quoted id" if key == "_id" else "a quoted string"
        raise HardnegError(
            f"The value of `{key}` is invalid.",
            where=where,
            found=found,
            expected=expected,
            remedy="correct the value.",
        )
    return valid_text(value, key, where)


def valid_text(value: str, key: str, where: str) -> str:
    """The value itself, if it is valid Unicode. JSON escapes can produce strings that are not.

    Raises:
        HardnegError: it contains an unpaired surrogate.
    """
    try:
        value.encode()
    except UnicodeEncodeError as fault:
        raise HardnegError(
            f"The value of `{key}` is not valid Unicode.",
            where=where,
            found=f"an unpaired surrogate, \\u{ord(value[fault.start]):04x}",
            remedy="remove it, or write the whole character.",
        ) from None
    return value


def id_of(value: Any, what: str, where: str) -> str:
    """An id, given as a string or an integer. Surrounding white space is removed.

    Raises:
        HardnegError: it is missing, empty, of another type, or not valid Unicode.
    """
    if type(value) is int:
        return str(value)
    if isinstance(value, str) and value.strip():
        return valid_text(value.strip(), what, where)
    raise HardnegError(
        f"A record has no valid {what}.",
        where=where,
        found="nothing" if value is None or value == "" else repr(value)[:80],
        expected="a string or an integer",
        remedy="give it an id, or remove the record.",
    )


def grade_of(value: str, where: str) -> int:
    """A grade written as an integer.

    Raises:
        HardnegError: it is not an integer, or has more than nine digits.
    """
    if not GRADE.fullmatch(value):
        raise HardnegError(
            "A grade is not an integer.",
            where=where,
            found=repr(value),
            expected="an integer such as 0, 1, 2",
            remedy="correct the grade. If this line is a header, name the columns in the configuration.",
        )
    return int(value)
