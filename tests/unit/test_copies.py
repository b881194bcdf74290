"""Equal texts under several ids: what a prepared collection tells of them, and what training and runs make of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from hardneg.data.collection import Judgement, Passage, Query
from hardneg.data.copies import own_of
from hardneg.data.judgements import Judgements
from hardneg.data.prepare import prepare, repairs
from hardneg.retrieval.runs import read_run, write_run
from hardneg.stages.artifacts import Artifact

SPLITS = ("train", "test")


class Made:
    """A collection in memory: (id, title, text) of passages; by split (id, text) of queries, and judgements."""

    def __init__(self, passages: list[tuple[str, str, str]], **splits: tuple[list[Any], list[Any]]) -> None:
        self.rows, self.asked = passages, splits

    def splits(self) -> tuple[str, ...]:
        return tuple(self.asked)

    def files(self, splits: Iterable[str]) -> dict[str, Path]:
        return {}

    def passages(self) -> Iterator[Passage]:
        return (Passage(*row) for row in self.rows)

    def queries(self, split: str) -> Iterator[Query]:
        return (Query(*row) for row in self.asked[split][0])

    def judgements(self, split: str) -> Iterator[Judgement]:
        return (Judgement(*row) for row in self.asked[split][1])

    def provenance(self) -> dict[str, Any]:
        return {}


def prepared(folder: Path, reader: Made, **settings: Any) -> Artifact:
    names, facts = prepare(reader, folder, list(reader.asked), "train", **settings)
    assert sorted(names) == sorted(path.name for path in folder.iterdir())
    return Artifact(folder, {"files": dict.fromkeys(names), "facts": facts})


def judged(collection: Artifact, split: str = "train") -> Judgements:
    facts = collection.facts
    return Judgements.read(
        collection.path(f"qrels.{split}.parquet"), facts["splits"][split]["queries"], facts["passages"]
    )


def grades(collection: Artifact, split: str = "train") -> list[list[int]]:
    facts = collection.facts
    queries, passages = np.arange(facts["splits"][split]["queries"]), np.arange(facts["passages"])
    found = judged(collection, split)
    table = found.grades_of(queries[:, None], passages[None])
    assert ((table != 0) == found.contains(queries[:, None], passages[None])).all()
    return table.tolist()


def test_no_equal_texts_are_no_files_and_nothing_to_tell(tmp_path: Path) -> None:
    reader = Made(
        [("a", "", "one"), ("b", "", "two"), ("c", "", ""), ("d", "", " ")],
        train=([("x", "1?"), ("y", ""), ("z", "")], [("x", "a", 1), ("y", "b", 1), ("z", "c", 1)]),
    )
    collection = prepared(tmp_path, reader)
    assert [name for name in collection.manifest["files"] if "equal" in name or "own" in name] == []
    assert grades(collection) == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]  # blank texts are no copies
    assert not any("earlier one" in line for line in repairs(collection.facts))


def test_a_copy_of_a_positive_is_no_negative(tmp_path: Path) -> None:
    reader = Made(
        [("a", "T", "one two"), ("b", "", "other"), ("c", "t", " One  two "), ("d", "", "t one two")],
        train=([("x", "1?"), ("y", "2?")], [("x", "c", 2), ("y", "b", 1), ("y", "a", 0)]),
    )
    collection = prepared(tmp_path, reader)
    assert grades(collection) == [[2, 0, 2, 2], [0, 1, 0, 0]]
    assert judged(collection).of(0)[0].tolist() == [2]  # what was judged stays what was judged
    assert judged(collection).table(np.array([0]))[0].tolist() == [[2]]
    assert pq.read_table(tmp_path / "equal_passages.parquet").to_pydict() == {"passage": [2, 3], "first": [0, 0]}
    assert "passages with the text of an earlier one: 2 (kept; no negatives where one of them is relevant)" in list(
        repairs(collection.facts)
    )


def test_twin_queries_share_their_positives(tmp_path: Path) -> None:
    reader = Made(
        [("a", "", "one"), ("b", "", "two"), ("c", "", "three")],
        train=([("x", "Who?"), ("y", "where?"), ("z", " who? ")], [("x", "a", 1), ("y", "c", 1), ("z", "b", 3)]),
    )
    collection = prepared(tmp_path, reader)
    assert grades(collection) == [[1, 3, 0], [0, 0, 1], [1, 3, 0]]
    assert judged(collection).with_positives().tolist() == [0, 1, 2]
    assert "train queries with the text of an earlier one: 1" in "\n".join(repairs(collection.facts))


def test_a_query_of_two_splits_is_told(tmp_path: Path) -> None:
    reader = Made(
        [("a", "", "one"), ("b", "", "two")],
        train=([("x", "who?")], [("x", "a", 1)]),
        test=([("y", "Who? "), ("z", "why?"), ("e", "")], [("y", "a", 1), ("z", "b", 1), ("e", "b", 1)]),
    )
    collection = prepared(tmp_path, reader)
    told = [line for line in repairs(collection.facts) if "training query" in line]
    assert told == ["test queries with the text of a training query: 1 (kept; they make scores look better)"]


ARGUMENTS = [("p", "T", "first point"), ("q", "", "second point"), ("3", "", "third"), ("r", "T", "FIRST point")]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("auto", [[-1, 1, 0, -1], [1, -1, 0, 1], [0, 1, 0, 0]]),
        ("same_text", [[-1, 1, 0, -1], [1, 0, 0, 1], [0, 1, 0, 0]]),
        ("same_id", [[-1, 1, 0, -1], [1, -1, 0, 1], [0, 1, -1, 0]]),
        ("keep", [[0, 1, 0, 0], [1, 0, 0, 1], [0, 1, 0, 0]]),
    ],
)
def test_a_passage_that_is_the_query_itself(tmp_path: Path, rule: Any, expected: list[list[int]]) -> None:
    """By title and text, by the text alone, by id; a number is an id of both by chance. A copy of it is it too."""
    asked = [("p", "t first point"), ("q", "changed"), ("3", "other")]
    reader = Made(ARGUMENTS, train=(asked, [("p", "q", 1), ("q", "p", 1), ("3", "q", 1)]))
    collection = prepared(tmp_path, reader, own=rule)
    assert grades(collection) == expected
    told = [line for line in repairs(collection.facts) if "a passage themselves" in line]
    done = "kept as any other" if rule == "keep" else "left out of runs and never a negative"
    assert len(told) == 1 and done in told[0]


def test_a_judged_passage_with_the_text_of_its_query_stays(tmp_path: Path) -> None:
    reader = Made(
        [("a", "name", "one"), ("b", "", "one"), ("c", "", "two")],
        train=([("x", "one")], [("x", "a", 1)]),
    )
    collection = prepared(tmp_path, reader)
    assert grades(collection) == [[1, -1, 0]]
    query, passage = own_of(collection, "train") or ([], [])
    assert (list(query), list(passage)) == ([0], [1])


def test_all_windows_of_a_document_that_is_the_query_are_left_out(tmp_path: Path) -> None:
    words = "one two three four five"
    reader = Made([("a", "", words), ("b", "", "six one two three")], train=([("x", words)], [("x", "b", 1)]))
    collection = prepared(tmp_path, reader, windows=(3, 1))
    assert collection.facts["passages"] == 4
    assert grades(collection)[0][:2] == [-1, -1]
    assert min(grades(collection)[0][2:]) == 1


def test_a_run_is_read_without_what_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "run.parquet"
    write_run(path, [0, 0, 0, 2, 2, 3], [5, 1, 2, 5, 9, 5], [1, 2, 3, 1, 2, 1], [3, 2, 1, 2, 1, 1])
    left = (np.array([0, 0, 3, 1]), np.array([5, 2, 5, 9]))
    rows = [tuple(row.values()) for row in read_run(path, left).to_pylist()]
    assert rows == [(0, 1, 1, 2.0), (2, 5, 1, 2.0), (2, 9, 2, 1.0)]
    assert read_run(path, left).schema == read_run(path).schema
    assert read_run(path, (np.array([], np.int64), np.array([], np.int64))).equals(read_run(path))
