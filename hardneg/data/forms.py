"""The form of a text file, told by its content where that is unmistakable and by its name elsewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path

from hardneg.data.lines import MARK, open_bytes
from hardneg.errors import HardnegError

KINDS = {
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".tsv": "tabs",
    ".txt": "tabs",
    ".csv": "csv",
    ".parquet": "parquet",
}
NAMES = {
    "json": "JSON",
    "tabs": "tab-separated text",
    "csv": "CSV",
    "parquet": "Parquet",
    "docs": "TREC documents",
    "smart": "SMART records",
    "topics": "TREC topics",
    "xml": "XML topics",
}
"""What the kinds are called."""

_START = 1 << 16  # bytes of a file that are looked at
_ELEMENT = re.compile(r"<[A-Za-z][\w:.-]*(\s[^<>]*)?>\s*(<|$)")


def content_kind(path: Path) -> str | None:
    """The kind of a file by its first line, where that can be nothing else: a key of `NAMES`, or None.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as stream:
        if stream.read(4) == b"PAR1":
            return "parquet"
    try:
        with open_bytes(path) as stream:
            start = stream.read(_START).decode(errors="replace")
    except (HardnegError, EOFError, OSError):
        return None  # whoever reads the file tells what is wrong
    first = start.lstrip(MARK + " \t\r\n").split("\n", 1)[0].rstrip()
    lowered = first.lower()
    if lowered.startswith("<top>"):
        return "topics"
    if lowered.startswith("<doc>"):
        return "docs"
    if re.fullmatch(r"\.I\s+\S+", first):
        return "smart"
    if lowered.startswith(("<?xml", "<!doctype", "<!--")) or _ELEMENT.match(first):
        return "xml"
    if first.startswith("{") and _is_object(first, cut=len(start) >= _START):
        return "json"
    return "json" if first.startswith("[") and re.match(r"\[\s*(\{|$)", first) else None


def _is_object(line: str, cut: bool) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return cut and line.startswith('{"')  # the line may go on


def named_kind(path: Path) -> str | None:
    """The kind of a file by its name: a key of `NAMES`, or None."""
    ending = Path(path.name.removesuffix(".gz")).suffix.lower()
    return KINDS.get(ending)
