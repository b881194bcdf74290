"""SQuAD 1.1 and 2.0 JSON files, as passage retrieval.

Each paragraph is a passage with its article's title. Each answerable question is a query, and its paragraph is the only
relevant passage. Unanswerable questions (version 2.0) are left out and counted.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from hardneg.data.collection import Judgement, Passage, Query
from hardneg.data.formats.beir import USUAL_ORDER
from hardneg.data.lines import id_of, raw_lines, text_of
from hardneg.errors import HardnegError
from hardneg.stages.artifacts import file_digest


class Squad:
    """Reads SQuAD files; a `CollectionReader`.

    The passages are the paragraphs of all files, the training file first. Paragraphs with the same text are one
    passage. The n-th new paragraph of an article has the id `<title>#<n>`, with `_` for white space. One file at a
    time, and a digest of each paragraph, are held in memory.

    Args:
        files: the JSON file of each split, plain or `.gz`.

    Raises:
        HardnegError: a file is missing.
    """

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = {
            split: Path(files[split]) for split in dict.fromkeys([*USUAL_ORDER, *sorted(files)]) if split in files
        }
        for split, path in self._files.items():
            if not path.is_file():
                present = sorted(item.name for item in path.parent.glob("*"))
                raise HardnegError(
                    "A file of the collection is missing.",
                    where=str(path),
                    found=f"in {path.parent}: {', '.join(present[:20]) or 'nothing'}",
                    expected=f"the SQuAD file of the split {split}, such as train-v1.1.json",
                    remedy="put it there, or correct the path.",
                )

    def splits(self) -> tuple[str, ...]:
        """The names of the splits: train, dev and test first, then the others alphabetically."""
        return tuple(self._files)

    def files(self, splits: Iterable[str]) -> dict[str, Path]:
        """All files, as `<split>/<name>`. The passages come from every file, whichever splits are used.

        Raises:
            HardnegError: there is no such split.
        """
        for split in splits:
            self._file(split)
        return {f"{split}/{path.name}": path for split, path in self._files.items()}

    def _file(self, split: str) -> Path:
        if split not in self._files:
            raise HardnegError(
                "The collection has no such split.",
                where="splits",
                found=split,
                expected=", ".join(self._files),
                remedy="give its file, or choose other splits under `splits`.",
            )
        return self._files[split]

    @cached_property
    def _ids(self) -> dict[bytes, str]:
        """The passage id of each paragraph, by its digest, in the order of the passages."""
        ids: dict[bytes, str] = {}
        counts: Counter[str] = Counter()
        for path in self._files.values():
            for where, article, paragraph in paragraphs(path):
                title = "_".join(text_of(article, "title", where).split())
                digest = _digest(text_of(paragraph, "context", where))
                if digest not in ids:
                    counts[title] += 1
                    ids[digest] = f"{title}#{counts[title]}"
        return ids

    def passages(self) -> Iterator[Passage]:
        """Every paragraph once. `_` in an article's title becomes a space.

        Raises:
            HardnegError: a file is not in SQuAD format.
        """
        remaining = dict(self._ids)
        for path in self._files.values():
            for where, article, paragraph in paragraphs(path):
                text = text_of(paragraph, "context", where)
                if (passage_id := remaining.pop(_digest(text), None)) is not None:
                    yield Passage(passage_id, article["title"].replace("_", " "), text, where)

    def _questions(self, split: str) -> Iterator[tuple[str, dict[str, Any], str]]:
        """Yield the place of each question, the question, and the id of its paragraph."""
        for where, _, paragraph in paragraphs(self._file(split)):
            passage_id = self._ids[_digest(paragraph["context"])]
            for number, question in enumerate(_list(paragraph, "qas", where)):
                yield f"{where}.qas[{number}]", question, passage_id

    def queries(self, split: str) -> Iterator[Query]:
        """The answerable questions of a split, in file order.

        Raises:
            HardnegError: there is no such split, or a file is not in SQuAD format.
        """
        for where, question, _ in self._questions(split):
            if not question.get("is_impossible", False):
                yield Query(
                    id_of(question.get("id"), "question id", where), text_of(question, "question", where), where
                )

    def judgements(self, split: str) -> Iterator[Judgement]:
        """One judgement of grade 1 for each query, in file order.

        Raises:
            HardnegError: there is no such split, or a file is not in SQuAD format.
        """
        for where, question, passage_id in self._questions(split):
            if not question.get("is_impossible", False):
                yield Judgement(id_of(question.get("id"), "question id", where), passage_id, 1, where)

    def provenance(self) -> dict[str, Any]:
        """The size and SHA-256 of each file, and the number of unanswerable questions of each split."""
        impossible = {
            split: sum(bool(question.get("is_impossible", False)) for _, question, _ in self._questions(split))
            for split in self._files
        }
        files = {
            name: {"bytes": path.stat().st_size, "sha256": file_digest(path)} for name, path in self.files(()).items()
        }
        return {"files": files, "impossible_questions": impossible}


def paragraphs(path: Path) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Yield the place, the article and the paragraph, for each paragraph of a file.

    Raises:
        HardnegError: the file cannot be read, is not JSON, or does not have the structure of SQuAD.
    """
    try:
        content = json.loads("".join(line for _, line in raw_lines(path)))
    except (json.JSONDecodeError, RecursionError) as fault:
        line = f":{fault.lineno}" if isinstance(fault, json.JSONDecodeError) else ""
        raise HardnegError(
            "A file is not valid JSON.",
            where=f"{path}{line}",
            found=str(fault),
            expected='{"data": [...], "version": ...}',
            remedy="get the file again; it may be truncated.",
        ) from None
    if not isinstance(content, dict):
        raise _structure(str(path), type(content).__name__, "an object with the key `data`")
    for at, article in enumerate(_list(content, "data", str(path))):
        for number, paragraph in enumerate(_list(article, "paragraphs", f"{path}, data[{at}]")):
            yield f"{path}, data[{at}].paragraphs[{number}]", article, paragraph


def _list(record: dict[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    """The objects in the list under a key."""
    items = record.get(key)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise _structure(where, ", ".join(record) or "no keys", f"the key `{key}` with a list of objects")
    return items


def _structure(where: str, found: str, expected: str) -> HardnegError:
    return HardnegError(
        "A file does not have the structure of SQuAD.",
        where=where,
        found=found,
        expected=expected,
        remedy="give a file in SQuAD format, version 1.1 or 2.0.",
    )


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
