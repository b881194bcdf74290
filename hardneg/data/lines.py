"""Text files, line by line, each line with its file and number. All line-based formats are read through this module.

Files are UTF-8, plain or gzip-compressed, and streamed one line at a time. The first bytes of a file tell whether it is
compressed; its name does not. A byte order mark at the start of a line, as in files put together by `cat`, and CRLF are
tolerated. Invalid UTF-8, other compressions and truncated files are refused.
"""

from __future__ import annotations

import codecs
import gzip
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from hardneg.errors import HardnegError

GRADE = re.compile(r"([+-]?[0-9]{1,9})(\.0*)?")  # fits 32 bits; many programs write integers as 1.0
MARK = "\ufeff"
"""The byte order mark."""

_GZIP = b"\x1f\x8b"
_REFUSED = {
    b"BZh": ("a bzip2 file", "unpack it with bunzip2."),
    b"\xfd7zXZ\x00": ("an xz file", "unpack it with unxz."),
    b"(\xb5/\xfd": ("a Zstandard file", "unpack it with unzstd."),
    b"PK\x03\x04": ("a zip archive", "unpack it with unzip."),
    b"PAR1": ("a Parquet file", "give it a name that ends in .parquet."),
    b"\xff\xfe": ("UTF-16 text", "convert it, for instance with iconv -f UTF-16 -t UTF-8."),
    b"\xfe\xff": ("UTF-16 text", "convert it, for instance with iconv -f UTF-16 -t UTF-8."),
}


def is_gzip(path: Path) -> bool:
    """Whether a file's content is gzip-compressed, whatever its name.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        return stream.read(2) == _GZIP


def open_bytes(path: Path) -> IO[bytes]:
    """Open a text file for reading, plain or gzip-compressed.

    Raises:
        HardnegError: its first bytes say that it is neither.
        OSError: it cannot be read.
    """
    if is_gzip(path):
        return cast(IO[bytes], gzip.open(path))
    stream = path.open("rb")
    start = stream.read(8)
    for magic, (form, remedy) in _REFUSED.items():
        if start.startswith(magic):
            stream.close()
            raise HardnegError(
                "A file is not a text file.",
                where=str(path),
                found=form,
                expected="UTF-8 text, plain or gzip-compressed",
                remedy=remedy,
            )
    stream.seek(0)
    return stream


def compression_told(path: Path) -> str | None:
    """What to tell of a file whose name hides whether it is compressed; None if there is nothing to tell."""
    packed = is_gzip(path)
    if packed == (path.suffix.lower() == ".gz") or not path.stat().st_size:
        return None
    return "gzip-compressed, though its name lacks .gz" if packed else "not compressed, though its name ends in .gz"


def raw_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the number, from 1, and the text of each line, with its line ending, without a mark at its start.

    Raises:
        HardnegError: the file is in another compression, cannot be read or is truncated, or a line is not UTF-8.
    """
    number = 0
    try:
        with open_bytes(path) as stream:
            for number, line in enumerate(stream, start=1):
                yield number, line.removeprefix(codecs.BOM_UTF8).decode()
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
    """Yield the place and the object of each line of a JSON Lines file. A file with one array of objects is read whole.

    Raises:
        HardnegError: as for `lines`, or a line is not a JSON object.
    """
    for where, line in lines(path):
        if where.endswith(":1") and line.lstrip().startswith("["):
            yield from _json_array(path)
            return
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


def _json_array(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place and the object of each element of a file that holds one JSON array."""
    try:
        values = json.loads("".join(line for _, line in raw_lines(path)))
    except (ValueError, RecursionError) as fault:
        raise HardnegError(
            "A JSON file that starts with `[` is not one valid array.",
            where=str(path),
            found=str(fault),
            expected="an array of objects, or one JSON object per line",
            remedy="fix the file.",
        ) from None
    for number, value in enumerate(values, 1):
        if not isinstance(value, dict):
            raise HardnegError(
                "An element of a JSON array is not an object.",
                where=f"{path}, element {number}",
                found=json.dumps(value)[:80],
                expected='{"_id": ..., "text": ...}',
                remedy="fix or remove it.",
            )
        yield f"{path}, element {number}", value


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
    """An id, given as a string or an integer. Surrounding white space and byte order marks are removed.

    Raises:
        HardnegError: it is missing, empty, of another type, or not valid Unicode.
    """
    if type(value) is int:
        return str(value)
    if isinstance(value, str) and (bare := value.strip().strip(MARK).strip()):
        return valid_text(bare, what, where)
    raise HardnegError(
        f"A record has no valid {what}.",
        where=where,
        found="nothing" if value is None or value == "" else repr(value)[:80],
        expected="a string or an integer",
        remedy="give it an id, or remove the record.",
    )


def grade_of(value: str, where: str) -> int:
    """A grade written as an integer, or as a decimal number without a fraction, such as 1.0.

    Raises:
        HardnegError: it is not an integer, or has more than nine digits.
    """
    whole = GRADE.fullmatch(value)
    if not whole:
        raise HardnegError(
            "A grade is not an integer.",
            where=where,
            found=repr(value),
            expected="an integer such as 0, 1, 2",
            remedy="correct the grade. If this line is a header, name the columns in the configuration.",
        )
    return int(whole[1])
