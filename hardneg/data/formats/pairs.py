"""Pairs: rows of a query, its relevant passages and perhaps negatives, all as texts; no ids, no qrels.

A row is a JSON object, a line of CSV or TSV under a header, or a row of Parquet. Columns are found by their usual
names, which are those of FlagEmbedding, Tevatron and sentence-transformers:

* the query: query, anchor, question;
* relevant passages: positive, pos, answer, positive_passages ...;
* negatives: negative, neg, negatives, negative_passages, hard_negatives, and negative_1, negative_2 ...;
* their scores: pos_scores and neg_scores, or scores, a list over the relevant passages and then the negatives;
* label: 0 makes the row's passages negatives, a whole number above 0 is their grade.

A passage is a text or an object {title, text}. A cell may hold one passage or a list of them; in CSV and TSV a list is
written as JSON.

Ids are digests of the texts, so equal texts are one query or passage, also if they differ in white space. In a
`corpus`, passages keep their own ids. A row's passage that has the text of one of them, or its title and text, is it.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from hardneg.data.collection import Given, Judgement, Passage, Query
from hardneg.data.columns import PASSAGES, Fields, Table
from hardneg.data.records import check, kind_of, named_rows, parts, records, told
from hardneg.data.values import passage_of, text_or_empty
from hardneg.errors import HardnegError
from hardneg.stages.artifacts import file_digest

PAIRS = Fields(
    "pairs",
    {
        "query": ("query", "anchor", "question", "query_text"),
        "positive": (
            *("positive", "pos", "answer", "positives", "answers", "positive_passages", "positive_passage"),
            *("passage", "document", "response", "context"),
        ),
        "negative": (
            *("negative", "neg", "negatives", "negative_passages", "negative_passage"),
            *("hard_negative", "hard_negatives", "hard_neg"),
        ),
        "positive_scores": ("pos_scores", "positive_scores", "pos_score", "positive_score"),
        "negative_scores": ("neg_scores", "negative_scores", "neg_score", "negative_score"),
        "scores": ("scores",),
        "label": ("label", "labels", "relevance", "grade"),
    },
    ("query", "positive"),
    {2: ("query", "positive"), 3: ("query", "positive", "negative")},
)
_NUMBERED = re.compile(r"(?:hard_)?neg(?:ative)?s?_?[0-9]+", re.IGNORECASE)


@dataclass(frozen=True)
class Row:
    """What a row says.

    Attributes:
        where: its file and line.
        query: the text of the query.
        positives: relevant passages.
        negatives: passages given as not relevant.
        grade: of the relevant ones.
        scores: of the relevant passages, then of the negatives; NaN where none is given.
    """

    where: str
    query: str
    positives: list[Passage]
    negatives: list[Passage]
    grade: int
    scores: list[float]


class Pairs:
    """Reads rows of pairs; a `CollectionReader` that also has given negatives and scores.

    Memory holds about 100 bytes for each different text.

    Args:
        splits: the rows of each split.
        columns: names of columns by field, where they are not the usual ones; several may be given for `negative`.
        corpus: further passages, with ids.

    Raises:
        HardnegError: a file is missing or of unknown kind.
    """

    def __init__(
        self,
        splits: Mapping[str, Table],
        columns: Mapping[str, str | Sequence[str]] | None = None,
        corpus: Table | None = None,
    ) -> None:
        self._splits, self._corpus = dict(splits), corpus
        self._columns = {
            name: [given] if isinstance(given, str) else list(given) for name, given in (columns or {}).items()
        }
        for table in self._splits.values():
            kind_of(table, PAIRS)
        if corpus is not None:
            check(corpus, PASSAGES)
        self._names: dict[int, str] | None = None  # ids of corpus passages, by digest
        self._facts: dict[str, Any] = {}

    def splits(self) -> tuple[str, ...]:
        """The names of the splits, in the order given."""
        return tuple(self._splits)

    def files(self, splits: Iterable[str]) -> dict[str, Path]:
        """All files, since the passages come from all of them: `pairs.<split>/...` and `corpus/...`.

        Raises:
            HardnegError: there is no such split, or a file is missing.
        """
        for split in splits:
            if split not in self._splits:
                raise HardnegError(
                    "The collection has no such split.",
                    where="splits",
                    found=split,
                    expected=", ".join(self._splits),
                    remedy="give its rows under `collection.splits`, hold it out with `collection.holdout`, or choose "
                    "other splits under `splits`.",
                )
        tables = {f"pairs.{split}": table for split, table in self._splits.items()}
        if self._corpus is not None:
            tables["corpus"] = self._corpus
        return {f"{role}/{name}": path for role, table in tables.items() for name, path in parts(table.path).items()}

    def passages(self) -> Iterator[Passage]:
        """The passages of the corpus, then each other passage of the rows when it is first met.

        Raises:
            HardnegError: a file or row cannot be read, or there is no passage.
        """
        names = self._corpus_names()
        if self._corpus is not None:
            yield from (passage_of(record, where) for where, record in records(self._corpus, PASSAGES))
        met: set[int] = set()
        for row in chain.from_iterable(map(self._rows, self._splits)):
            for passage in (*row.positives, *row.negatives):
                number = digest(_joined(passage))
                if number not in met and number not in names:
                    met.add(number)
                    yield Passage(f"p{number:016x}", passage.title, passage.text, row.where, passage.url)

    def queries(self, split: str) -> Iterator[Query]:
        """Each different query of a split, at the first row that has a relevant passage for it.

        Raises:
            HardnegError: a file or row cannot be read.
        """
        met: set[int] = set()
        for row in self._rows(split):
            number = digest(row.query)
            if number not in met and row.positives:
                met.add(number)
                yield Query(_query_id(row), row.query, row.where)

    def judgements(self, split: str) -> Iterator[Judgement]:
        """The relevant passages of each row, each pair once, with the grade of the first row that has it.

        Raises:
            HardnegError: a file or row cannot be read.
        """
        names, met = self._corpus_names(), set[tuple[str, str]]()
        for row in self._rows(split):
            for passage in row.positives:
                pair = _query_id(row), _passage_id(passage, names)
                if pair not in met:
                    met.add(pair)
                    yield Judgement(*pair, row.grade, row.where)

    def given(self, split: str) -> Iterator[Given]:
        """The passages of each row with their scores: the relevant ones, and the negatives in the order given.

        Raises:
            HardnegError: a file or row cannot be read.
        """
        names = self._corpus_names()
        for row in self._rows(split):
            found = (*row.positives, *row.negatives)
            for number, (passage, score) in enumerate(zip(found, row.scores, strict=True)):
                yield Given(_query_id(row), _passage_id(passage, names), score, number < len(row.positives))

    def provenance(self) -> dict[str, Any]:
        """The size and SHA-256 of each file, counts of rows, and what was told."""
        self._corpus_names()
        files = self.files(())
        lines = {name: line for table in self._splits.values() for name, line in told(table, PAIRS).items()}
        for split, count in self._facts["rows_without_positive"].items():
            lines[f"{split} rows without a relevant passage"] = f"{count:,} (their negatives are not used)"
        for split, unused in self._facts["unused"].items():
            lines[f"{split} columns that are not used"] = ", ".join(unused)
        return {
            "files": {
                name: {"bytes": path.stat().st_size, "sha256": file_digest(path)} for name, path in files.items()
            },
            "rows": self._facts["rows"],
            "told": lines,
        }

    # --- rows ---

    def _corpus_names(self) -> dict[int, str]:
        """The ids of corpus passages that rows name by their texts. Reads everything once, and counts."""
        if self._names is not None:
            return self._names
        wanted: set[int] = set()
        counts: Counter[str] = Counter()
        lacking: Counter[str] = Counter()
        unused: dict[str, list[str]] = {}
        for split in self._splits:
            for row in self._rows(split, unused):
                counts[split] += 1
                lacking[split] += not row.positives
                if self._corpus is not None:
                    wanted.update(digest(_joined(passage)) for passage in (*row.positives, *row.negatives))
        names: dict[int, str] = {}
        if self._corpus is not None:
            for where, record in records(self._corpus, PASSAGES):
                passage = passage_of(record, where)
                for number in {digest(_joined(passage)), digest(passage.text)} & wanted:
                    names.setdefault(number, passage.passage_id)
        facts = {"rows": dict(counts), "rows_without_positive": dict(+lacking), "unused": unused}
        self._names, self._facts = names, facts
        return names

    def _rows(self, split: str, unused: dict[str, list[str]] | None = None) -> Iterator[Row]:
        columns: dict[str, list[str]] = {}
        as_text = kind_of(self._splits[split], PAIRS) in ("csv", "tabs")
        keys: tuple[str, ...] | None = None
        for where, values in named_rows(self._splits[split], PAIRS, [*chain.from_iterable(self._columns.values())]):
            if keys != (present := tuple(values)):
                keys, columns = present, self._matched(present, where)
                if unused is not None:
                    used = set(chain.from_iterable(columns.values()))
                    left = [key for key in present if key not in used and key.strip()]
                    unused[split] = list(dict.fromkeys([*unused.get(split, []), *left]))
                    if not unused[split]:
                        del unused[split]
            if as_text:
                values = {name: _from_cell(cell) for name, cell in values.items()}
            yield _row(values, columns, where)

    def _matched(self, present: Sequence[str], where: str) -> dict[str, list[str]]:
        """The columns of each field among those present."""
        given = set(chain.from_iterable(self._columns.values()))
        free = {name.strip().casefold(): name for name in reversed(present) if name not in given}
        found: dict[str, list[str]] = {}
        for name, known in PAIRS.names.items():
            if name in self._columns:
                found[name] = [column for column in self._columns[name] if column in present]
            else:
                found[name] = [free[each] for each in known if each in free][:1]
                if name == "negative":
                    numbered = [column for column in present if _NUMBERED.fullmatch(column.strip())]
                    found[name] += [column for column in numbered if column not in given]
            if name in PAIRS.necessary and not found[name]:
                raise HardnegError(
                    f"A row of pairs has no column or key for `{name}`.",
                    where=where,
                    found=", ".join(present) or "none",
                    expected=" or ".join(self._columns.get(name, known)),
                    remedy=f"name it in the configuration: `columns: {{{name}: ...}}`.",
                )
        return found


# --- the values of a row --------------------------------------------------------------------------------------------


def _row(values: Mapping[str, Any], columns: Mapping[str, Sequence[str]], where: str) -> Row:
    one = {name: values[names[0]] for name, names in columns.items() if names}
    query = text_or_empty(next(iter(_listed(one["query"])), ""), "query", where)
    if not query.strip():
        raise HardnegError(
            "A row of pairs has no query.", where=where, found=repr(one["query"])[:80], expected="a text",
            remedy="add it, or remove the row.",
        )  # fmt: skip
    positives = _passages(one["positive"], "positive", where)
    negatives = [passage for name in columns["negative"] for passage in _passages(values[name], name, where)]
    scores = _scores(one, len(positives), len(negatives), where)
    grade = _grade(one.get("label"), where)
    if grade > 0:
        return Row(where, query, positives, negatives, grade, scores)
    return Row(where, query, [], [*positives, *negatives], grade, scores)


def _from_cell(cell: str) -> Any:
    """A list of passages or numbers, or a passage with a title, that was written as JSON; else the cell as it is."""
    if cell.lstrip()[:1] not in ("[", "{"):
        return cell
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError):
        return cell
    each = value if isinstance(value, list) else [value]
    good = all(
        isinstance(part, str | int | float | None) or (isinstance(part, dict) and "text" in part) for part in each
    )
    mixed = any(isinstance(part, str) for part in each) and not all(isinstance(part, str | dict) for part in each)
    return value if good and not mixed else cell


def _listed(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _passages(value: Any, name: str, where: str) -> list[Passage]:
    found = []
    for each in _listed(value):
        if isinstance(each, Mapping):
            key = next((key for key in PASSAGES.names["text"] if key in each), None)
            if key is None:
                raise HardnegError(
                    f"A passage under `{name}` has no text.",
                    where=where,
                    found=", ".join(map(str, each)) or "an empty object",
                    expected="{title, text}",
                    remedy="add the text. Passages given by id alone are not read here: use `format: files`.",
                )
            title, text, url = each.get("title"), each[key], each.get("url")
        else:
            title, text, url = None, each, None
        passage = Passage(
            "", text_or_empty(title, "title", where), text_or_empty(text, name, where), where,
            text_or_empty(url, "url", where),
        )  # fmt: skip
        if _joined(passage):
            found.append(passage)
    return found


def _scores(one: Mapping[str, Any], positives: int, negatives: int, where: str) -> list[float]:
    """The scores of the relevant passages and then of the negatives; NaN where none is given."""
    if one.get("scores") is not None:
        return _numbers(one["scores"], positives + negatives, "scores", where)
    sides = (("positive_scores", positives), ("negative_scores", negatives))
    return [number for name, count in sides for number in _numbers(one.get(name), count, name, where)]


def _numbers(value: Any, count: int, name: str, where: str) -> list[float]:
    given = _listed(value)
    if not given:
        return [math.nan] * count
    try:
        numbers = [math.nan if each is None else float(each) for each in given]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != count or any(map(math.isinf, numbers)):
        raise HardnegError(
            f"The `{name}` of a row do not fit its passages.",
            where=where,
            found=f"{len(given)}: {str(value)[:60]}",
            expected=f"{count} finite numbers, one for each passage",
            remedy="correct the row.",
        )
    return numbers


def _grade(value: Any, where: str) -> int:
    if value is None or value == "":
        return 1
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not number.is_integer() or abs(number) >= 2**31:
        raise HardnegError(
            "The label of a row is not a grade.",
            where=where,
            found=repr(value)[:80],
            expected="a whole number; 0 for passages that are not relevant",
            remedy="remove the column, or rename it if it is a score: `pos_scores`, `neg_scores` or `scores`.",
        )
    return int(number)


def _joined(passage: Passage) -> str:
    return f"{passage.title} {passage.text}".strip()


def digest(text: str) -> int:
    """A 64-bit digest of a text without regard to white space."""
    return int.from_bytes(hashlib.sha256(" ".join(text.split()).encode()).digest()[:8])


def _query_id(row: Row) -> str:
    return f"q{digest(row.query):016x}"


def _passage_id(passage: Passage, names: Mapping[int, str]) -> str:
    number = digest(_joined(passage))
    return names.get(number, f"p{number:016x}")
