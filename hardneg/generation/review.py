r"""The review file: written texts, one a line, for a person to strike.

A tab-separated file with a header. A line is struck by deleting it or by putting `#` before it. Texts are not edited
here: a text that a person changed is no longer the model's, so it is refused. In texts, a tab is `\t`, a line feed
`\n`, a carriage return `\r` and a backslash `\\`, so that each stands on one line.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from hardneg.errors import HardnegError
from hardneg.generation.types import Generated, Request
from hardneg.stages.artifacts import atomic_path

COLUMNS = ("query", "passage", "number", "check", "text", "query_text", "passage_text")
HEADER = "\t".join(COLUMNS)
ESCAPES = {"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"}
ESCAPED = re.compile(r"[\\\t\n\r]")
CHECK_DIGITS = 12
STRUCK = "#"

Place = tuple[int, int, int]
"""`query`, `passage` and `number` of a text."""


def write_review(generated: Iterable[Generated], path: Path, requests: Iterable[Request] = ()) -> None:
    """Write the accepted texts for review. A review of the same texts that is already there is left as it is.

    Args:
        generated: the texts; rejected ones are left out.
        path: the file.
        requests: the requests, whose query and passage are shown beside the texts.

    Raises:
        HardnegError: the file is there and has lines that are not of these texts.
    """
    shown = {(request.query, request.passage): request for request in requests}
    lines = [_line(one, shown.get((one.query, one.passage))) for one in generated if one.accepted]
    if path.exists():
        _refuse_other(path, {*lines, HEADER})
        return
    with atomic_path(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in (HEADER, *lines)), encoding="utf-8", newline="\n")


def read_review(path: Path, generated: Iterable[Generated]) -> list[Place]:
    """The texts that a person kept, in the order of the file.

    Args:
        path: the file.
        generated: the texts that were reviewed.

    Raises:
        HardnegError: the file is missing, its header is not there, or a line was altered, stands twice or is of another
            text.
    """
    lines, texts = _lines(path), {(one.query, one.passage, one.number): one for one in generated if one.accepted}
    kept: dict[Place, int] = {}
    headed = False
    for number, line in lines:
        if line == HEADER and not headed:
            headed = True
            continue
        if not headed:
            raise HardnegError(
                "The review file lacks its header.",
                where=f"{path}, line {number}",
                found=line[:80],
                expected=HEADER.replace("\t", " <tab> "),
                remedy="put the header back as the first line.",
            )
        place, text = _place(line, f"{path}, line {number}")
        if place not in texts or ESCAPED.sub(_escape, texts[place].text) != text:
            raise HardnegError(
                "A line of the review file is of another text.",
                where=f"{path}, line {number}",
                found=line[:120],
                expected="a text that was written and accepted",
                remedy="review the present texts: copy the stage's review.tsv again.",
            )
        if place in kept:
            raise HardnegError(
                "A text stands twice in the review file.",
                where=f"{path}, line {number}",
                found=f"the text of line {kept[place]}",
                remedy="delete one of the two lines.",
            )
        kept[place] = number
    if not headed:
        raise HardnegError(
            "The review file is empty.",
            where=str(path),
            expected="its header, also where every text is struck",
            remedy="delete the file, so that it is written again.",
        )
    return list(kept)


def _line(one: Generated, request: Request | None) -> str:
    texts = (one.text, request.query_text if request else "", request.passage_text if request else "")
    fields = [str(one.query), str(one.passage), str(one.number), *(ESCAPED.sub(_escape, text) for text in texts)]
    return "\t".join([*fields[:3], _check(fields), *fields[3:]])


def _escape(found: re.Match[str]) -> str:
    return ESCAPES[found[0]]


def _check(fields: list[str]) -> str:
    """The first digits of the SHA-256 of all other fields; it tells an altered line."""
    return hashlib.sha256("\t".join(fields).encode()).hexdigest()[:CHECK_DIGITS]


def _lines(path: Path) -> list[tuple[int, str]]:
    """The lines that are not struck, with their numbers. An editor may end lines its own way."""
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except OSError as fault:
        raise HardnegError(f"The review file cannot be read: {fault.strerror}.", where=str(path)) from None
    except UnicodeDecodeError as fault:
        raise HardnegError(
            "The review file is not UTF-8.", where=str(path), found=str(fault), remedy="save it as UTF-8."
        ) from None
    numbered = enumerate((line.removesuffix("\r") for line in content.split("\n")), start=1)
    return [(number, line) for number, line in numbered if line.strip() and not line.lstrip().startswith(STRUCK)]


def _place(line: str, where: str) -> tuple[Place, str]:
    """The place of a line, and its text as it stands there."""
    fields = line.split("\t")
    if len(fields) != len(COLUMNS):
        raise HardnegError(
            "A line of the review file has lost its columns.",
            where=where,
            found=f"{len(fields)} columns",
            expected=f"{len(COLUMNS)}: {', '.join(COLUMNS)}, with a tab between them",
            remedy="restore the line, or delete it.",
        )
    if fields[3] != _check([*fields[:3], *fields[4:]]):
        raise HardnegError(
            "A line of the review file was altered.",
            where=where,
            found=line[:120],
            expected="a line as it was written; lines can be deleted, or struck with # before them",
            remedy="restore the line or delete it. A spreadsheet may alter quotation marks: use a text editor.",
        )
    return (int(fields[0]), int(fields[1]), int(fields[2])), fields[COLUMNS.index("text")]


def _refuse_other(path: Path, own: set[str]) -> None:
    for number, line in _lines(path):
        if line not in own:
            raise HardnegError(
                "A review file of other texts is in the way.",
                where=f"{path}, line {number}",
                found=line[:120],
                remedy="move or delete it, so that the new texts can be reviewed.",
            )
