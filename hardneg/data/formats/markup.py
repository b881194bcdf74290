"""Files whose records are marked up: TREC documents, TREC topics, XML topics and SMART records.

A file is recognised by its first line: `<DOC>`, `<top>`, an XML element or declaration, or `.I 1`.

**TREC documents.** A file, or a folder of files, of

    <DOC>
    <DOCNO> AP880212-0001 </DOCNO>
    <HEAD>Reports of ...</HEAD>
    <TEXT> ... </TEXT>
    </DOC>

The title is the first of the elements TITLE, HEADLINE, HL, HEAD, TI, TTL that the document has; the text is all its
TEXT, LEADPARA and LP elements, or, where it has none, whatever stands outside of the id, the title and the elements
DOCHDR and DOCOLDNO. Tags inside are removed. Something in angle brackets is a tag if its name is closed in the same
document or is one of the tags that stand alone, such as <P>; anything else is text.

**SMART**, as of Cranfield, CACM, CISI and NPL: `.I id` starts a record, `.T` its title, `.W` its text. Other fields
(.A, .B, .X, ...) are passed over. Leading zeros of numbers are dropped from ids, since the relevance files vary there.

**XML topics**: each child of the root is a topic. Its id is the attribute or child `number`, `num`, `id` or `qid`; its
text the child `query`, `title`, `question` or `text`, or what stands in the topic itself.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn
from xml.etree import ElementTree

from hardneg.data.collection import Query
from hardneg.data.formats import trec
from hardneg.data.lines import lines, open_bytes
from hardneg.errors import HardnegError

MARKED_UP: dict[str, tuple[str, ...]] = {
    "docs": ("passages",),
    "smart": ("passages", "queries"),
    "topics": ("queries",),
    "xml": ("queries",),
}
"""The kinds of marked-up files, and what they may hold."""

TITLES = ("title", "headline", "hl", "head", "ti", "ttl")
TEXTS = ("text", "leadpara", "lp")
NO_TEXTS = ("docno", "dochdr", "docoldno", "docid")
ALONE = frozenset(("p", "br", "hr", "img", "f", "fig", "li", "td", "tr", "th", "dt", "dd", "input", "meta", "link"))
TOPIC_IDS = ("number", "num", "id", "qid", "query_id", "topic_id")
TOPIC_TEXTS = ("query", "title", "question", "text")

_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_ATTRIBUTES = r"""(?:\s+[\w:.-]+(?:\s*=\s*(?:"[^"]*"|'[^']*'|[^\s<>"']+))?)*"""
_TAG = re.compile(rf"<(/?)([A-Za-z][\w.-]*){_ATTRIBUTES}\s*/?>")
_FIELD = re.compile(r"\.([A-Z])\s*")
_RECORD = re.compile(r"\.I\s+(\S+)\s*")

Record = tuple[str, dict[str, Any]]


def marked_up(kind: str, path: Path) -> Iterator[Record]:
    """The place and the fields (id, text, perhaps title) of each record of a file of that kind.

    Raises:
        HardnegError: as the reader of the kind says.
    """
    if kind == "docs":
        return documents(path)
    if kind == "smart":
        return smart(path)
    topics = trec.topics(path) if kind == "topics" else xml_topics(path)
    return ((query.where, {"id": query.query_id, "text": query.text}) for query in topics)


# --- TREC documents -------------------------------------------------------------------------------------------------


def documents(path: Path) -> Iterator[Record]:
    """The documents of a TREC file, streamed.

    Raises:
        HardnegError: a document is not closed or has no DOCNO, or text stands between documents.
    """
    start, block = "", [""]
    for where, line in lines(path):
        for piece in re.split(r"(</?doc>)", line, flags=re.IGNORECASE):
            mark = piece.lower()
            if mark == "<doc>" and not start:
                start, block = where, []
            elif mark == "</doc>" and start:
                yield start, _document("".join(block), start)
                start = ""
            elif mark in ("<doc>", "</doc>") or (piece.strip() and not start):
                _not_closed("document", "DOC", start, where, piece)
            elif start:
                block.append(piece)
        block.append("\n")
    if start:
        _not_closed("document", "DOC", start, start, "the end of the file")


def _not_closed(what: str, tag: str, start: str, where: str, found: str) -> NoReturn:
    raise HardnegError(
        f"A {what} is not closed." if start else f"A {what} has no opening tag.",
        where=where,
        found=f"{found[:80]}{f' after the <{tag}> of {start}' if start and where != start else ''}",
        expected=f"<{tag}> ... </{tag}>",
        remedy="fix it, or get the file again if it is truncated.",
    )


def _document(block: str, where: str) -> dict[str, Any]:
    block = _COMMENT.sub(" ", block)
    name = _element(block, "docno")
    if not name:
        raise HardnegError(
            "A document has no id.",
            where=where,
            found=" ".join(block.split())[:80] or "nothing",
            expected="<DOCNO> an id </DOCNO>",
            remedy="add it, or remove the document.",
        )
    closed = {tag.lower() for tag in re.findall(r"</([A-Za-z][\w.-]*)\s*>", block)} | ALONE
    held = next((tag for tag in TITLES if _element(block, tag)), None)
    title = _plain(_element(block, held), closed) if held else ""
    parts = [part for tag in TEXTS for part in _elements(block, tag)]
    if not parts:
        for tag in (*NO_TEXTS, *([held] if held else [])):
            block = _pattern(tag).sub(" ", block, count=1 if tag == held else 0)
        parts = [block]
    return {"id": name[0].strip(), "title": title, "text": _plain(parts, closed)}


def _pattern(tag: str) -> re.Pattern[str]:
    return re.compile(rf"<{tag}{_ATTRIBUTES}\s*>(.*?)</{tag}\s*>", re.DOTALL | re.IGNORECASE)


def _elements(block: str, tag: str) -> list[str]:
    return _pattern(tag).findall(block)


def _element(block: str, tag: str) -> list[str]:
    """The first element of that name that is not blank, in a list; an empty list if there is none."""
    return [part for part in _elements(block, tag) if part.strip()][:1]


def _plain(parts: list[str], closed: set[str] | frozenset[str]) -> str:
    """The text of some elements, without the tags whose names are among `closed`."""
    text = " ".join(parts)
    text = _TAG.sub(lambda tag: " " if tag[2].lower() in closed else tag[0], text)
    return " ".join(html.unescape(text).split())


# --- SMART ----------------------------------------------------------------------------------------------------------


def smart(path: Path) -> Iterator[Record]:
    """The records of a SMART file, streamed.

    Raises:
        HardnegError: the file does not start with a record, or a line stands before a record's first field.
    """
    record: dict[str, list[str]] | None = None
    start, name, at = "", "", None
    for where, line in lines(path):
        if begin := _RECORD.fullmatch(line):
            if record is not None:
                yield start, _smart_record(name, record)
            start, name, record, at = where, begin[1], {}, None
        elif field := _FIELD.fullmatch(line):
            at = field[1]
        elif record is None or at is None:
            raise HardnegError(
                "A line of a SMART file belongs to no field.",
                where=where,
                found=repr(line[:80]),
                expected=".I id, then .T, .W or another field",
                remedy="correct the line.",
            )
        else:
            record.setdefault(at, []).append(line.strip())
    if record is not None:
        yield start, _smart_record(name, record)


def _smart_record(name: str, fields: dict[str, list[str]]) -> dict[str, Any]:
    title, text = (" ".join(fields.get(field, [])) for field in "TW")
    return {"id": bare_number(name), "title": title, "text": text}


def bare_number(name: str) -> str:
    """An id without the leading zeros that a number may have."""
    return name.lstrip("0") or "0" if name.isdecimal() else name


# --- XML topics -----------------------------------------------------------------------------------------------------


def xml_topics(path: Path) -> Iterator[Query]:
    """The queries of a file of XML topics. The file is read whole.

    Raises:
        HardnegError: the file is not valid XML, or a topic lacks its id or its text.
    """
    try:
        with open_bytes(path) as stream:
            root = ElementTree.fromstring(stream.read())
    except ElementTree.ParseError as fault:
        raise HardnegError(
            "A file of topics is not valid XML.",
            where=f"{path}:{fault.position[0]}",
            found=str(fault),
            expected="<topics> <topic number=...> <query> ... </query> </topic> </topics>",
            remedy="fix the file. An & in a text is written &amp;, and a < is written &lt;.",
        ) from None
    except (OSError, EOFError) as fault:
        raise HardnegError("A file of topics cannot be read.", where=str(path), found=str(fault)) from None
    for number, topic in enumerate(root, 1):
        where = f"{path}, topic {number}"
        name, text = _topic_id(topic), _topic_text(topic)
        if not (name and text):
            raise HardnegError(
                f"An XML topic lacks its {'text' if name else 'id'}.",
                where=where,
                found=", ".join([*topic.attrib, *(f"<{child.tag}>" for child in topic)]) or "nothing",
                expected=" or ".join(TOPIC_TEXTS if name else TOPIC_IDS),
                remedy="convert the topics to lines of a query id, a tab and a text.",
            )
        yield Query(name, text, where)


def _name(element: ElementTree.Element) -> str:
    """The name of an element without its namespace."""
    return element.tag.rpartition("}")[2].lower()


def _topic_id(topic: ElementTree.Element) -> str:
    found = {key.rpartition("}")[2].lower(): value for key, value in topic.attrib.items()}
    found = {**{_name(child): "".join(child.itertext()) for child in topic}, **found}
    return next((found[key].strip() for key in TOPIC_IDS if found.get(key, "").strip()), "")


def _topic_text(topic: ElementTree.Element) -> str:
    children = {_name(child): child for child in reversed(list(topic))}
    for name in TOPIC_TEXTS:
        if name in children and (text := " ".join("".join(children[name].itertext()).split())):
            return text
    if set(children) & {"number", "num", "id"} or not children:
        own = [topic.text, *(child.tail for child in topic)]
        return " ".join(" ".join(filter(None, own)).split())
    return ""
