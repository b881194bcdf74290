"""TREC text files: topics and qrels.

A file of topics either has the old markup, which is not XML,

    <top>
    <num> Number: 301
    <title> International Organized Crime
    <desc> Description: ...
    </top>

where the title is the query, or lines `query id<tab>text`. A title ends at `</title>`. Without that it ends, where
`<title>` begins a line, at the next line that begins with a tag, and elsewhere at the next tag of topics. Other angle
brackets are part of it.

A line of qrels has two columns (query, passage; grade 1), three (query, passage, grade) or four (query, iteration,
passage, grade), separated by white space. Any integer is a grade, also written 1.0; 0 and below mean not relevant. If
the last two of four columns are all zero, the file is SMART's: query, passage, 0, 0, and the grade is 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from hardneg.data.collection import Judgement, Query
from hardneg.data.columns import QRELS
from hardneg.data.lines import grade_of, lines
from hardneg.errors import HardnegError

# The tags of topics, from TREC-1 on.
FIELDS = "top head num dom title desc smry narr con fac def nat time type"
LINE_TAG = re.compile(r"^[ \t]*<(/?[\w-]+)>|<(/(?:num|title))>", re.IGNORECASE | re.MULTILINE)
ANY_TAG = re.compile(rf"<(/?(?:{FIELDS.replace(' ', '|')}))>()", re.IGNORECASE)
CLOSED_TITLE = re.compile(r"<title>(.*?)</title>", re.IGNORECASE | re.DOTALL)
FIELD_LINE = re.compile(rf"^[ \t]*<({FIELDS.replace(' ', '|')})>", re.IGNORECASE | re.MULTILINE)
LOOKED_AHEAD = 50  # lines that tell SMART's qrels from TREC's
LABEL = {"num": re.compile(r"\s*Number\s*:", re.IGNORECASE), "title": re.compile(r"\s*Topic\s*:", re.IGNORECASE)}


def topics(path: Path) -> Iterator[Query]:
    """Yield the queries of a file of topics, in file order.

    Raises:
        HardnegError: a topic is not closed or lacks its number or title, or a line does not have two columns.
    """
    first = next(lines(path), None)
    if first is not None and first[1].lstrip().lower().startswith("<top>"):
        for where, block in _blocks(path):
            yield _topic(where, block)
        return
    for where, line in lines(path):
        columns = line.split("\t")
        if len(columns) != 2 or not columns[0].strip():
            raise HardnegError(
                "A line of the queries does not have two columns.",
                where=where,
                found=f"{len(columns)}: {line[:80]!r}",
                expected="2: query id<tab>text",
                remedy="write an id and a text separated by a tab.",
            )
        yield Query(columns[0].strip(), columns[1], where)


def _blocks(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the place of each `<top>` and the text up to `</top>`."""
    start, block = "", ""
    for where, line in lines(path):
        for piece in re.split(r"(</?top>)", line, flags=re.IGNORECASE):
            mark = piece.lower()
            if mark == "<top>" and not start:
                start, block = where, ""
            elif mark == "</top>" and start:
                yield start, block
                start = ""
            elif mark in ("<top>", "</top>"):
                raise HardnegError(
                    "A topic is not closed." if start else "A topic has no opening tag.",
                    where=where,
                    found=f"{mark} {f'after the <top> of {start}' if start else 'without <top>'}",
                    expected="<top> ... </top>",
                    remedy="fix the topic.",
                )
            elif start:
                block += piece
        block += "\n"
    if start:
        raise HardnegError(
            "A topic is not closed.",
            where=start,
            found="the end of the file",
            expected="</top>",
            remedy="get the file again if it is truncated.",
        )


def _topic(where: str, block: str) -> Query:
    lined = re.search(r"^[ \t]*<title>", block, re.IGNORECASE | re.MULTILINE)
    _, *parts = (LINE_TAG if lined else ANY_TAG).split(block)
    tags = [line or inner for line, inner in zip(parts[::3], parts[1::3], strict=True)]
    values: dict[str, str] = {}
    for tag, text in zip(tags, parts[2::3], strict=True):
        name = tag.lower()
        if name in LABEL:
            values.setdefault(name, " ".join(LABEL[name].sub("", text, count=1).split()))
    closed = CLOSED_TITLE.search(block)
    if closed and not FIELD_LINE.search(closed[1]):
        values["title"] = " ".join(LABEL["title"].sub("", closed[1], count=1).split())
    if not (values.get("num") and values.get("title")):
        raise HardnegError(
            "A topic lacks its number or its title.",
            where=where,
            found=", ".join(f"<{tag}>" for tag in tags if not tag.startswith("/")) or "no tags",
            expected="<num> with an id and <title> with a text",
            remedy="add what is missing, or remove the topic.",
        )
    return Query(values["num"], values["title"], where)


def _is_smart(path: Path) -> bool:
    """Whether qrels are SMART's: in TREC's order, every line would judge the same passage, 0, as not relevant."""
    first = [line.split() for _, line in islice(lines(path), LOOKED_AHEAD)]
    zero = re.compile(r"0+(\.0*)?")
    return len({columns[1] for columns in first if len(columns) == 4}) > 1 and all(
        len(columns) == 4 and zero.fullmatch(columns[2]) and zero.fullmatch(columns[3]) for columns in first
    )


def qrels(path: Path) -> Iterator[Judgement]:
    """Yield the judgements of a file without a header, in file order. All lines have the same number of columns.

    Raises:
        HardnegError: a line has the wrong number of columns, or its grade is not an integer.
    """
    count, smart = None, _is_smart(path)
    for where, line in lines(path):
        columns = line.split()
        if smart and len(columns) == 4:
            query, passage = (name.lstrip("0") or "0" if name.isdecimal() else name for name in columns[:2])
            yield Judgement(query, passage, 1, where)
            continue
        if count is None and len(columns) in QRELS.layouts:
            count = len(columns)
        if len(columns) != count:
            layouts = " or ".join(f"{n}: {' '.join(names)}" for n, names in QRELS.layouts.items() if count in (None, n))
            raise HardnegError(
                "A line of the qrels has the wrong number of columns.",
                where=where,
                found=f"{len(columns)}: {line[:80]!r}",
                expected=layouts if count is None else f"{layouts}, as in the first line",
                remedy="correct the line. Ids must not contain white space here.",
            )
        values = dict(zip(QRELS.layouts[len(columns)], columns, strict=True))
        yield Judgement(values["query"], values["passage"], grade_of(values.get("grade", "1"), where), where)
