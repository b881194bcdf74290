"""Runs and vectors from elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hardneg.errors import HardnegError
from hardneg.retrieval.given import import_run, import_vectors
from hardneg.retrieval.runs import read_run
from hardneg.stages.artifacts import Artifact


@pytest.fixture
def collection(tmp_path: Path) -> Artifact:
    """Five passages p0 to p4 and two test queries."""
    folder = tmp_path / "collection"
    folder.mkdir()
    pq.write_table(pa.table({"passage_id": [f"p{n}" for n in range(5)]}), folder / "passages.parquet")
    pq.write_table(pa.table({"query_id": ["a", "b"]}), folder / "queries.test.parquet")
    return Artifact(folder, {"files": {"passages.parquet": {}, "queries.test.parquet": {}}, "facts": {"passages": 5}})


def rows(path: Path) -> list[tuple[int, int, int, float]]:
    return [tuple(row.values()) for row in read_run(path).to_pylist()]


def test_a_trec_run_is_ordered_by_score_then_rank_and_cut(collection: Artifact, tmp_path: Path) -> None:
    given = tmp_path / "given.trec"
    given.write_text("b Q0 p1 1 2.0 x\na Q0 p4 2 1.5 x\na Q0 p3 1 1.5 x\na Q0 p0 3 9.0 x\nother Q0 zzz 1 1.0 x\n")
    facts = import_run(given, collection, "test", 2, tmp_path / "run.parquet")
    assert rows(tmp_path / "run.parquet") == [(0, 0, 1, 9.0), (0, 3, 2, 1.5), (1, 1, 1, 2.0)]
    assert facts == {"form": "qid Q0 docid rank score tag", "queries": 2, "hits": 3, "rows_of_other_queries": 1}


def test_a_run_of_documents_stands_for_their_first_passages(tmp_path: Path) -> None:
    folder = tmp_path / "windows"
    folder.mkdir()
    passages = {"passage_id": ["x#0", "x#1", "y#0"], "document": pa.array([0, 0, 1], pa.int32())}
    pq.write_table(pa.table(passages), folder / "passages.parquet")
    pq.write_table(pa.table({"document_id": ["x", "y"]}), folder / "documents.parquet")
    pq.write_table(pa.table({"query_id": ["a"]}), folder / "queries.test.parquet")
    names = ["passages.parquet", "documents.parquet", "queries.test.parquet"]
    collection = Artifact(folder, {"files": {name: {} for name in names}, "facts": {"documents": 2}})
    given = tmp_path / "given.trec"
    given.write_text("a Q0 y 1 2.0 x\na Q0 x 2 1.0 x\n")
    import_run(given, collection, "test", 10, tmp_path / "run.parquet")
    assert rows(tmp_path / "run.parquet") == [(0, 2, 1, 2.0), (0, 0, 2, 1.0)]


def test_an_ms_marco_run_is_ordered_by_rank(collection: Artifact, tmp_path: Path) -> None:
    given = tmp_path / "given.tsv"
    given.write_text("b\tp2\t2\nb\tp4\t1\na\tp0\t1\n")
    import_run(given, collection, "test", 10, tmp_path / "run.parquet")
    assert rows(tmp_path / "run.parquet") == [(0, 0, 1, -1.0), (1, 4, 1, -1.0), (1, 2, 2, -2.0)]


def test_a_top1000_file_is_taken_line_by_line(collection: Artifact, tmp_path: Path) -> None:
    given = tmp_path / "top1000.dev"
    given.write_text("a\tp3\twhat is it\tsome text\na\tp1\twhat is it\tother text\nb\tp0\twhere\ttext\n")
    import_run(given, collection, "test", 10, tmp_path / "run.parquet")
    assert rows(tmp_path / "run.parquet") == [(0, 3, 1, -1.0), (0, 1, 2, -2.0), (1, 0, 1, -1.0)]


@pytest.mark.parametrize("between", ["\t", " "])
@pytest.mark.parametrize("start", ["", "qid pid rank score\n", "# made by us\n#\n", "# ours\nqid pid rank score\n"])
def test_a_ranking_with_rank_and_score_is_no_top1000_file(
    collection: Artifact, tmp_path: Path, between: str, start: str
) -> None:
    given = tmp_path / "ranking.tsv"
    given.write_text(f"{start}a p3 2 0.5\na p1 1 2.5e-1\nb p0 1 -3\n".replace(" ", between))
    facts = import_run(given, collection, "test", 10, tmp_path / "run.parquet")
    assert rows(tmp_path / "run.parquet") == [(0, 3, 1, 0.5), (0, 1, 2, 0.25), (1, 0, 1, -3.0)]
    assert facts["form"] == "qid pid rank score"


def test_lines_of_ir_metadata_are_comments(collection: Artifact, tmp_path: Path) -> None:
    given = tmp_path / "ours.trec"
    given.write_text("# ir_metadata.start\n# tag: a b c 1 2\n# ir_metadata.end\na Q0 p1 1 2 x\n# more\nb Q0 p0 1 1 x\n")
    import_run(given, collection, "test", 10, tmp_path / "run.parquet")
    assert rows(tmp_path / "run.parquet") == [(0, 1, 1, 2.0), (1, 0, 1, 1.0)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a Q0 p9 1 1.0 x\n", "p9 (1 such rows)"),
        ("z Q0 p1 1 1.0 x\n", "has no query of the split"),
        ("a\tp1\t1\na\tp2\tfirst\n", "given:2"),
        ("a\tp1\t1\na\tp1\t2\n", "twice"),
        ("a\tp1\t12\t1\na\tp2\t11\t2\n", "does not hold ranks"),
        ("a\tp1\t0.5\t1\na\tp2\t0.25\t2\n", "4 columns: qid pid rank score"),
        ("a\tp1\t1\tnan\na\tp2\t2\tnan\n", "neither a ranking nor an MS MARCO top1000 file"),
        ("a\tp1\tone text\tx\na\tp2\tother text\tx\n", "neither a ranking nor an MS MARCO top1000 file"),
        ("a Q0 p9 1 1.0 x\n# note\na p1\n", "given:3"),
        ("# only a note\n", "empty"),
    ],
)
def test_what_a_run_may_not_be(collection: Artifact, tmp_path: Path, text: str, said: str) -> None:
    given = tmp_path / "given"
    given.write_text(text)
    with pytest.raises(HardnegError) as fault:
        import_run(given, collection, "test", 10, tmp_path / "run.parquet")
    assert said in str(fault.value)
    assert not (tmp_path / "run.parquet").exists()


def test_vectors_are_put_in_our_order(collection: Artifact, tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float16)
    np.save(tmp_path / "one.npy", vectors[:4])
    np.save(tmp_path / "two.npy", vectors[4:])
    (tmp_path / "ids.txt").write_text("p4\np2\nunknown\np0\np1\np3\n")
    made = import_vectors(
        [tmp_path / "one.npy", tmp_path / "two.npy"],
        tmp_path / "ids.txt",
        collection.folder / "passages.parquet",
        "passage_id",
        tmp_path / "ours.npy",
    )
    assert made == (5, 3, "float16")
    assert np.array_equal(np.load(tmp_path / "ours.npy"), vectors[[3, 4, 1, 5, 0]])


@pytest.mark.parametrize(
    ("rows", "ids", "said"),
    [
        (4, None, "4 vectors"),
        (6, "p0\np1\np2\np3\np4\np1\n", "p1"),
        (5, "p0\np1\n", "2 ids"),
        (5, "p0\np1\np2\np3\nq\n", "no row for p4 (1 missing)"),
    ],
)
def test_vectors_that_do_not_fit(collection: Artifact, tmp_path: Path, rows: int, ids: str | None, said: str) -> None:
    np.save(tmp_path / "given.npy", np.ones((rows, 2), np.float32))
    if ids is not None:
        (tmp_path / "ids.txt").write_text(ids)
    with pytest.raises(HardnegError) as fault:
        import_vectors(
            [tmp_path / "given.npy"],
            tmp_path / "ids.txt" if ids is not None else None,
            collection.folder / "passages.parquet",
            "passage_id",
            tmp_path / "ours.npy",
        )
    assert said in str(fault.value)
    assert not (tmp_path / "ours.npy").exists()
