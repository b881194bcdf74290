"""Preparing a collection: the files and their counts, what is refused with its place, windows over documents."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hardneg.data import prepare as module
from hardneg.data.collection import Judgement, Passage, Query
from hardneg.data.lacking import scored_judgements
from hardneg.data.prepare import in_groups, prepare, repairs
from hardneg.errors import HardnegError
from hardneg.evaluation.measures import evaluate, parse_measures
from hardneg.retrieval.runs import read_run, write_run
from hardneg.stages.artifacts import Artifact

TEXT = "alpha  beta\tgamma delta\nepsilon zeta eta"  # seven words
PASSAGES = [
    ("p3", "Three", TEXT, "http://three"),
    ("p1", "", "one two", ""),
    ("p2", "Two", "", "http://two"),
    ("p0", " ", "\n", "http://only"),
]
QUERIES = [("q2", "second"), ("q1", "first"), ("q9", " "), ("q0", "zero")]
QRELS = [("q1", "p2", 2), ("q2", "p0", 1), ("q1", "p3", 1), ("q9", "p1", 0), ("q1", "p0", 0)]


@dataclass
class Made:
    """A collection in memory, with places as files have them; one split, `train`."""

    rows: list[tuple[str, str, str, str]] = field(default_factory=lambda: list(PASSAGES))
    asked: list[tuple[str, str]] = field(default_factory=lambda: list(QUERIES))
    qrels: list[tuple[str, str, int]] = field(default_factory=lambda: list(QRELS))
    places: bool = True

    def where(self, name: str, line: int) -> str:
        return f"{name}:{line}" if self.places else ""

    def splits(self) -> tuple[str, ...]:
        return ("train",)

    def files(self, splits: Iterable[str]) -> dict[str, Path]:
        return {}

    def passages(self) -> Iterator[Passage]:
        for line, (name, title, text, url) in enumerate(self.rows, 1):
            yield Passage(name, title, text, self.where("corpus", line), url=url)

    def queries(self, split: str) -> Iterator[Query]:
        return (Query(*row, self.where("queries", line)) for line, row in enumerate(self.asked, 1))

    def judgements(self, split: str) -> Iterator[Judgement]:
        return (Judgement(*row, self.where("qrels", line)) for line, row in enumerate(self.qrels, 1))

    def provenance(self) -> dict[str, Any]:
        return {"made": True}


def prepared(folder: Path, reader: Made, windows: tuple[int, int] | None = None) -> dict[str, Any]:
    names, facts = prepare(reader, folder, ["train"], "train", windows=windows)
    assert sorted(names) == sorted(path.name for path in folder.iterdir())
    return facts


def rows(path: Path) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in pq.read_table(path).to_pylist()]


@pytest.fixture(params=[20_000, 2, 1])
def batches(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows are held at once, the result is the same."""
    for name in ("ROWS_AT_ONCE", "PAIRS_AT_ONCE"):
        monkeypatch.setattr(module, name, request.param)


@pytest.mark.usefixtures("batches")
def test_files_and_facts(tmp_path: Path) -> None:
    facts = prepared(tmp_path, Made())
    assert rows(tmp_path / "passages.parquet") == [(name, url, title, text) for name, title, text, url in PASSAGES]
    assert rows(tmp_path / "queries.train.parquet") == QUERIES
    # query_id, passage_id, grade, query, passage: by position of the query, then of the passage
    assert rows(tmp_path / "qrels.train.parquet") == [
        ("q2", "p0", 1, 0, 3),
        ("q1", "p3", 1, 1, 0),
        ("q1", "p2", 2, 1, 2),
        ("q1", "p0", 0, 1, 3),
        ("q9", "p1", 0, 2, 1),
    ]
    for name, schema in (("passages", module.PASSAGES), ("qrels.train", module.QRELS)):
        assert pq.read_schema(tmp_path / f"{name}.parquet").equals(schema)
    assert facts == {
        "passages": 4,
        "empty_passages": 1,  # a url is no text
        "equal_passages": 0,
        "own_passages": "auto",
        "splits": {
            "train": {
                "queries": 4,
                "empty_queries": 1,
                "judgements": 5,
                "repeated_judgements": 0,
                "positives": 3,
                "queries_without_positives": 2,
                "lacking_judgements": 0,
                "lacking_positives": 0,
                "equal_queries": 0,
                "own_passages": 0,
            }
        },
        "provenance": {"made": True},
    }


def test_equal_collections_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        prepared(tmp_path / name, Made(), windows=(3, 1))
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@pytest.mark.usefixtures("batches")
def test_repeated_judgements_are_merged_and_counted(tmp_path: Path) -> None:
    facts = prepared(tmp_path, Made(qrels=[*QRELS, ("q1", "p2", 2), ("q2", "p0", 1), ("q1", "p2", 2)]))
    assert len(rows(tmp_path / "qrels.train.parquet")) == 5
    split = facts["splits"]["train"]
    assert (split["judgements"], split["repeated_judgements"], split["positives"]) == (5, 3, 3)
    assert list(repairs(facts)) == [
        "passages without title and text: 1 (kept, but hardly ever retrieved)",
        "train queries without text: 1 (kept)",
        "train judgements that repeat an earlier one: 3 (counted once)",
        "train queries without a relevant passage: 2 (kept)",
    ]


def test_nothing_to_repair_is_nothing_to_tell(tmp_path: Path) -> None:
    facts = prepared(tmp_path, Made(rows=PASSAGES[:2], asked=QUERIES[:1], qrels=[("q2", "p1", 1)]))
    assert list(repairs(facts)) == []


@pytest.mark.usefixtures("batches")
@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (
            {"qrels": [("q9", "p9", 1), ("q0", "p8", 1)]},
            [
                "A judgement names a passage that does not exist.",
                "where:    qrels:1\n",
                "passage 'p9' (2 such judgements, all of them)",
                "an id of the passage file",
            ],
        ),
        (
            {"qrels": [("q1", "p9", 2), ("q1", "p2", 0)]},
            ["A split has no positive judgement.", "none above grade 0; 1 above it, all of passages that the coll"],
        ),
        (
            {"qrels": [*QRELS, ("q1", "p9", 2), ("q1", "p9", 1)]},
            ["with different grades.", "query 'q1', passage 'p9': grades 2 and 1"],
        ),
        (
            {"qrels": [("q1", "p9", 1), *QRELS, ("q7", "p1", 1)]},
            ["A judgement names a query that does not exist.", "where:    qrels:7\n", "query 'q7' (1 such judgements)"],
        ),
        (
            {"qrels": [*QRELS, ("q7", "p1", 1)], "places": False},
            ["A judgement names a query that does not exist.", "where:    qrels of split train, number 6\n"],
        ),
        (
            {"qrels": [*QRELS, ("q1", "p2", 2), ("q1", "p2", 0)]},
            [
                "A query and a passage are judged with different grades.",
                "where:    qrels:1 and qrels:7\n",
                "query 'q1', passage 'p2': grades 2 and 0 (1 such judgements)",
                "remove the other",
            ],
        ),
        (
            {"qrels": [*QRELS, ("q1", "p2", 1)], "places": False},
            ["with different grades.", "where:    qrels of split train\n"],
        ),
        (
            {"rows": [*PASSAGES, *PASSAGES[1:3], PASSAGES[2]]},
            ["The passages have duplicate ids.", "corpus:2 and corpus:5\n", "'p1', 'p2' (2 in all)"],
        ),
        (
            {"asked": [*QUERIES, QUERIES[3]]},
            ["The train queries have duplicate ids.", "queries:4 and queries:5\n", "'q0' (1 in all)"],
        ),
        ({"rows": [*PASSAGES, ("", "", "x", "")]}, ["An id is empty.", "passages, number 5\n"]),
        ({"rows": []}, ["The collection has no passages."]),
        ({"asked": []}, ["A split has no queries.", "split train"]),
        (
            {"qrels": [("q9", "p1", 0), ("q1", "p1", -1)]},
            ["A split has no positive judgement.", "split train, from qrels:1\n", "2 judgements, none above grade 0"],
        ),
        ({"qrels": []}, ["A split has no positive judgement.", "split train, from its first judgement\n"]),
    ],
)
def test_what_is_wrong_is_reported_with_its_place(tmp_path: Path, changed: dict[str, Any], expected: list[str]) -> None:
    with pytest.raises(HardnegError) as caught:
        prepared(tmp_path, Made(**changed))
    for words in expected:
        assert words in str(caught.value)
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.usefixtures("batches")
def test_judged_passages_that_the_collection_lacks_are_kept_apart_and_told(tmp_path: Path) -> None:
    facts = prepared(tmp_path, Made(qrels=[*QRELS, ("q1", "gone", 2), ("q2", "lost", 0), ("q1", "gone", 2)]))
    assert len(rows(tmp_path / "qrels.train.parquet")) == 5
    assert rows(tmp_path / "lacking.train.parquet") == [(0, "lost", 0), (1, "gone", 2)]
    split = facts["splits"]["train"]
    assert (split["judgements"], split["lacking_judgements"], split["lacking_positives"]) == (5, 2, 1)
    assert split["repeated_judgements"] == 1
    assert any("the collection lacks: 2, 1 of them relevant (scored as never found" in line for line in repairs(facts))


@pytest.mark.parametrize("windows", [None, (3, 1)])
def test_lacking_judgements_are_scored_at_positions_that_no_run_holds(
    tmp_path: Path, windows: tuple[int, int] | None
) -> None:
    names, _ = prepare(Made(qrels=[*QRELS, ("q1", "gone", 2)]), tmp_path, ["train"], "train", windows=windows)
    facts = {"documents": 4} if windows else {}
    scored = scored_judgements(Artifact(tmp_path, {"files": dict.fromkeys(names), "facts": facts}), "train")
    assert sorted(map(tuple, (row.values() for row in scored.to_pylist()))) == sorted(
        [(0, 3, 1), (1, 0, 1), (1, 2, 2), (1, 3, 0), (2, 1, 0), (1, -1, 2)]
    )


def test_a_split_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        HardnegError, match=r"no such split\.\n +where: +splits\n +found: +dev, tset\n +expected: train"
    ):
        prepare(Made(), tmp_path, ["dev", "train", "tset"], "train")


# --- windows --------------------------------------------------------------------------------------------------------


def windows_of(words: int, size: int, overlap: int) -> list[list[int]]:
    """The words of each window, from a plain loop."""
    found = [list(range(min(size, words)))]
    while found[-1] and found[-1][-1] < words - 1:
        start = found[-1][0] + size - overlap
        found.append(list(range(start, min(start + size, words))))
    return found


@pytest.mark.parametrize(("size", "overlap"), [(1, 0), (4, 0), (4, 1), (4, 3), (5, 2), (100, 50)])
def test_windows_cover_every_document_with_the_overlap(tmp_path: Path, size: int, overlap: int) -> None:
    lengths = [0, 1, 3, 4, 5, 7, 8, 9, 10, 50]
    texts = [" ".join(f"w{document}.{word}" for word in range(count)) for document, count in enumerate(lengths)]
    documents = [(f"d{number}", "T", text, "u") for number, text in enumerate(texts)]
    facts = prepared(tmp_path, Made(rows=documents, qrels=[("q1", "d1", 1)]), (size, overlap))
    expected = [
        (f"d{number}#{place}", "u", "T", " ".join(f"w{number}.{word}" for word in window), number)
        for number, count in enumerate(lengths)
        for place, window in enumerate(windows_of(count, size, overlap))
    ]
    assert rows(tmp_path / "passages.parquet") == expected
    assert rows(tmp_path / "documents.parquet") == [(f"d{number}",) for number in range(len(lengths))]
    assert (facts["passages"], facts["documents"]) == (len(expected), len(lengths))
    assert pq.read_schema(tmp_path / "passages.parquet").equals(module.WINDOWS)


@pytest.mark.usefixtures("batches")
def test_every_passage_of_a_judged_document_is_judged(tmp_path: Path) -> None:
    # An id that itself ends like a passage's.
    documents = [("p1#0", "", "one two", ""), ("p3", "Three", TEXT, "u"), ("p1", "", "x " * 30, ""), ("p2", "", "", "")]
    qrels = [("q1", "p2", 0), ("q1", "p3", 2), ("q2", "p1#0", 1), ("q1", "p1#0", 1), ("q1", "p3", 2)]
    facts = prepared(tmp_path, Made(rows=documents, qrels=qrels), (4, 2))
    passages = rows(tmp_path / "passages.parquet")
    assert [row[3] for row in passages if row[0].startswith("p3#")] == [
        "alpha  beta\tgamma delta",
        "gamma delta\nepsilon zeta",
        "epsilon zeta eta",
    ]
    assert rows(tmp_path / "documents.parquet") == [("p1#0",), ("p3",), ("p1",), ("p2",)]
    assert rows(tmp_path / "qrels.train.parquet") == [
        ("q2", "p1#0#0", 1, 0, 0),
        ("q1", "p1#0#0", 1, 1, 0),
        ("q1", "p3#0", 2, 1, 1),
        ("q1", "p3#1", 2, 1, 2),
        ("q1", "p3#2", 2, 1, 3),
        ("q1", "p2#0", 0, 1, len(passages) - 1),
    ]
    for _, passage_id, _, _, passage in rows(tmp_path / "qrels.train.parquet"):
        assert passages[passage][0] == passage_id
    split = facts["splits"]["train"]
    assert (split["judgements"], split["repeated_judgements"], split["positives"]) == (4, 1, 3)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"rows": [*PASSAGES, PASSAGES[0]]}, "The documents have duplicate ids.*corpus:1 and corpus:5.*'p3'"),
        ({"qrels": [("q1", "p3#0", 1)]}, "names a document that does not exist.*qrels:1.*'p3#0'.*document file"),
        (
            {"qrels": [*QRELS, ("q1", "p2", 1)]},
            "a document are judged with different grades.*qrels:1 and qrels:6.*document 'p2'",
        ),
    ],
)
def test_faults_of_documents_are_reported_by_document(tmp_path: Path, changed: dict[str, Any], expected: str) -> None:
    with pytest.raises(HardnegError, match=f"(?s){expected}"):
        prepared(tmp_path, Made(**changed), (3, 1))


@pytest.mark.parametrize("windows", [(3, 3), (3, -1), (0, 0)])
def test_windows_that_would_not_move_on(tmp_path: Path, windows: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"windows of {windows[0]} words"):
        prepared(tmp_path, Made(), windows)


# --- what is held ---------------------------------------------------------------------------------------------------


def test_groups_are_bounded_in_number_and_weight() -> None:
    words = ["a" * length for length in (1, 2, 3, 9, 1, 1, 1, 1, 1, 4, 1)]
    groups = list(in_groups(words, 4, len, 5))
    assert [word for group in groups for word in group] == words
    assert [[len(word) for word in group] for group in groups] == [[1, 2], [3], [9], [1, 1, 1, 1], [1, 4], [1]]
    assert list(in_groups(range(5), 2)) == [(0, 1), (2, 3), (4,)]
    assert list(in_groups([], 2)) == []


def test_long_texts_make_smaller_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHARACTERS_AT_ONCE", 1000)
    texts = ["x" * length for length in (400, 400, 400, 5000, 1, 1, 999)]
    prepared(tmp_path, Made(rows=[(f"p{n}", "", text, "") for n, text in enumerate(texts)]))
    metadata = pq.read_metadata(tmp_path / "passages.parquet")
    groups = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    assert groups == [2, 1, 1, 2, 1]


class Large(Made):
    """Passages, and judgements of their positions (`judged`; None: all), that are made while they are read."""

    def __init__(self, count: int, judged: int | None = None) -> None:
        super().__init__(asked=[(f"q{number}", "what") for number in range(100)])
        self.count, self.judged = count, count if judged is None else judged

    def passages(self) -> Iterator[Passage]:
        return (Passage(f"D{number}", "", f"{number} " * 10, f"corpus:{number}") for number in range(self.count))

    def judgements(self, split: str) -> Iterator[Judgement]:
        for number in range(self.judged):
            yield Judgement(f"q{number % 100}", f"D{number}", 1, f"qrels:{number}")


@pytest.mark.parametrize(("judged", "each"), [(None, 100), (100, 2)])
def test_memory_is_some_bytes_a_judgement_and_nothing_a_passage(
    judged: int | None, each: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Python objects, 60,000 ids or judgements would take some 10 MB; NumPy's arrays are counted too."""
    for name in ("prepare.ROWS_AT_ONCE", "prepare.PAIRS_AT_ONCE"):
        monkeypatch.setattr(f"hardneg.data.{name}", 1000)
    for name in ("ids.ROWS_AT_ONCE", "buckets.ROWS_AT_ONCE"):
        monkeypatch.setattr(f"hardneg.data.{name}", 4000)
    peaks, pools = [], []
    for count in (20_000, 60_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        before = pa.total_allocated_bytes()
        tracemalloc.start()
        prepared(folder, Large(count, judged))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        pools.append(pa.total_allocated_bytes() - before)
    assert peaks[1] - peaks[0] < 40_000 * each
    assert max(pools) < 1_000_000  # nothing stays behind


def test_positions_are_those_of_the_ids_at_any_size(tmp_path: Path) -> None:
    prepared(tmp_path, Large(45_000))
    table = pq.read_table(tmp_path / "qrels.train.parquet")
    query, passage = table["query"].to_numpy(), table["passage"].to_numpy()
    assert np.array_equal(np.sort(passage), np.arange(45_000))
    assert np.array_equal(query, passage % 100)
    assert all(re.fullmatch(f"D{p}", name) for p, name in zip(passage, table["passage_id"].to_pylist(), strict=True))
    assert np.all(np.diff(query.astype(np.int64) * 45_000 + passage) > 0)


def test_a_relevant_passage_that_is_lacking_counts_as_never_found(tmp_path: Path) -> None:
    """As in trec_eval: one of two relevant passages found is a recall of a half, also where the other is no passage."""
    made = Made(qrels=[("q1", "p2", 1), ("q1", "gone", 1), ("q2", "p0", 1), ("q2", "lost", 0)])
    names, facts = prepare(made, tmp_path, ["train"], "train")
    scored = scored_judgements(Artifact(tmp_path, {"files": dict.fromkeys(names), "facts": facts}), "train")
    write_run(tmp_path / "run.parquet", [0, 1], [3, 2], [1, 1], [1, 1])
    ids = [query for query, _ in QUERIES]
    values = evaluate(read_run(tmp_path / "run.parquet"), scored, ids, parse_measures(["R@100", "MRR@10"]))
    found = {(row.query_id, row.measure): row.value for row in values.itertuples()}
    assert found == {("q2", "R@100"): 1, ("q1", "R@100"): 0.5, ("q2", "MRR@10"): 1, ("q1", "MRR@10"): 1}
