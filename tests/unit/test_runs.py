"""Runs on disk: the Parquet form, the TREC form, and that every tool sees the order that was written."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import ir_measures
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytrec_eval

from hardneg.errors import HardnegError
from hardneg.retrieval import runs

QUERY_IDS = ["q-b", "q-a", "q-c"]
PASSAGE_IDS = ["d10", "d9", "d100", "e1", "a5", "D9", "é3"]
# Query 0 is all ties in an order that is neither ascending nor descending by id; query 1 has no hits.
ROWS: dict[str, list[float]] = {
    "query": [0, 0, 0, 0, 2, 2, 2],
    "passage": [1, 4, 2, 6, 0, 5, 3],
    "rank": [1, 2, 3, 4, 1, 2, 3],
    "score": [1.25, 1.25, 1.25, 1.25, 0.0, 0.0, -3e-7],
}


def write(path: Path, **changed: list[float]) -> pa.Table:
    runs.write_run(path, **(ROWS | changed))
    return runs.read_run(path)


def test_parquet_round_trip_in_the_documented_types(tmp_path: Path) -> None:
    run = write(tmp_path / "run.test.parquet")
    assert run.schema.remove_metadata() == runs.SCHEMA
    assert {name: run[name].to_pylist() for name in ("query", "passage", "rank")} == {
        name: ROWS[name] for name in ("query", "passage", "rank")
    }
    assert run["score"].to_pylist() == np.array(ROWS["score"], np.float32).tolist()


def test_equal_arrays_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    "changed",
    [{"query": [0, 0, 0, 2, 0, 2, 2]}, {"rank": [1, 2, 2, 3, 1, 2, 3]}, {"rank": [0, 1, 2, 3, 0, 1, 2]}],
)
def test_unsorted_rows_are_refused(tmp_path: Path, changed: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match="sorted"):
        write(tmp_path / "run", **changed)


def test_a_score_that_is_not_finite_is_told_with_its_query_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(HardnegError, match="nan for query position 2"):
        write(tmp_path / "run", score=[4, 3, 2, 1, 3, float("nan"), 1])
    assert not list(tmp_path.iterdir())


def made_run(queries: int, deepest: int, seed: int = 0) -> dict[str, np.ndarray]:
    """A run in which some queries have no hits."""
    generator = np.random.default_rng(seed)
    counts = generator.integers(0, deepest + 1, queries)
    return {
        "query": np.repeat(np.arange(queries), counts),
        "passage": np.concatenate([generator.permutation(10 * deepest)[:count] for count in counts]),
        "rank": np.concatenate([np.arange(1, count + 1) for count in counts]),
        "score": np.concatenate([-np.sort(-generator.standard_normal(count)) for count in counts]),
    }


@pytest.mark.parametrize("part", [1, 7, 64, 100, 1000])
def test_rows_in_any_parts_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int) -> None:
    monkeypatch.setattr(runs, "_ROW_GROUP", 64)
    run = made_run(40, 20)
    runs.write_run(tmp_path / "whole", **run)
    with runs.RunWriter(tmp_path / "parts") as writer:
        for start in range(0, len(run["query"]) + part, part):  # the last part has no rows
            writer.append(**{name: column[start : start + part] for name, column in run.items()})
            assert len(writer._held) < 64
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "parts").read_bytes()
    metadata = pq.read_metadata(tmp_path / "parts")
    sizes = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    assert set(sizes[:-1]) == {64} and sum(sizes) == len(run["query"])


@pytest.mark.parametrize(("query", "rank"), [(3, 2), (3, 1), (2, 3), (4, 0)])
def test_a_part_that_does_not_go_on_where_the_last_one_ended(tmp_path: Path, query: int, rank: int) -> None:
    with pytest.raises(ValueError, match="sorted"), runs.RunWriter(tmp_path / "run") as writer:
        writer.append([0, 3, 3], [5, 5, 6], [1, 1, 2], [1.0, 1.0, 0.5])
        writer.append([], [], [], [])
        writer.append([query], [7], [rank], [0.0])
    assert not list(tmp_path.iterdir())


def test_a_query_may_go_on_in_the_next_part(tmp_path: Path) -> None:
    with runs.RunWriter(tmp_path / "run") as writer:
        writer.append([0, 3], [5, 5], [1, 1], [1.0, 1.0])
        writer.append([3, 4], [7, 7], [2, 1], [0.5, 2.0])
    assert runs.read_run(tmp_path / "run")["query"].to_pylist() == [0, 3, 3, 4]


def test_what_interrupts_a_run_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), runs.RunWriter(tmp_path / "run") as writer:
        writer.append(**ROWS)
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
    with pytest.raises(HardnegError, match="Could not write a file"), runs.RunWriter(tmp_path / "none" / "run"):
        pass


def test_a_disk_that_fills_up_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    script = f"""
import resource
from pathlib import Path
import numpy as np
from hardneg import errors
from hardneg.retrieval import runs
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
score = -np.sort(np.random.default_rng(0).standard_normal(100_000))
try:
    runs.write_run(Path({str(tmp_path)!r}) / "run", np.zeros(100_000), range(100_000), range(1, 100_001), score)
except errors.HardnegError as fault:
    print(fault)
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "Could not write a file" in said and "free space" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("group", [1, 5, 64, 10_000])
def test_a_streamed_run_is_cut_between_queries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: int) -> None:
    monkeypatch.setattr(runs, "_ROW_GROUP", group)
    runs.write_run(tmp_path / "run", **made_run(60, 12))
    parts = list(runs.whole_queries(tmp_path / "run"))
    assert pa.concat_tables(parts).equals(runs.read_run(tmp_path / "run"))
    assert all(len(part) for part in parts)
    seen = [set(part["query"].to_pylist()) for part in parts]
    assert sum(map(len, seen)) == len(set().union(*seen))
    assert max(map(len, parts)) <= group + 12


def test_an_empty_run_is_streamed_as_nothing(tmp_path: Path) -> None:
    write(tmp_path / "run", query=[], passage=[], rank=[], score=[])
    assert list(runs.whole_queries(tmp_path / "run")) == []


def test_best_passage_against_a_plain_loop(tmp_path: Path) -> None:
    made = made_run(30, 25, seed=2)
    document = np.sort(np.random.default_rng(3).integers(0, 40, 250)).astype(np.int32)
    runs.write_run(tmp_path / "run", **made)
    expected: list[tuple[int, int, int, float]] = []
    seen: dict[int, set[int]] = {}
    for query, passage, score in zip(made["query"], made["passage"], made["score"], strict=True):
        owner = int(document[passage])
        if owner not in seen.setdefault(int(query), set()):
            seen[int(query)].add(owner)
            expected.append((int(query), owner, len(seen[int(query)]), float(np.float32(score))))
    found = runs.best_passage(runs.read_run(tmp_path / "run"), document)
    assert found.schema.equals(runs.SCHEMA)
    assert [tuple(row.values()) for row in found.to_pylist()] == expected
    assert len(expected) < len(made["query"])
    runs.write_trec(tmp_path / "trec", found, [f"q{n}" for n in range(30)], [f"D{n}" for n in range(40)], "maxp")
    assert len(runs.read_trec(tmp_path / "trec")) == len(expected)


def test_best_passage_of_an_empty_run() -> None:
    assert runs.best_passage(runs.SCHEMA.empty_table(), np.zeros(0, np.int32)).equals(runs.SCHEMA.empty_table())


def test_an_empty_run_is_a_run(tmp_path: Path) -> None:
    run = write(tmp_path / "run", query=[], passage=[], rank=[], score=[])
    runs.write_trec(tmp_path / "run.trec", run, QUERY_IDS, PASSAGE_IDS, "none")
    assert (len(run), (tmp_path / "run.trec").read_text()) == (0, "")


def test_strictly_decreasing_equals_a_plain_loop() -> None:
    generator = np.random.default_rng(5)
    query = np.sort(generator.integers(0, 40, 2000)).astype(np.int32)
    some = np.array([1e30, 2.5, 2.5000002, 1.0, 1e-45, 0.0, -0.0, -1e-45, -7.5, -1e30], np.float32)
    score = generator.choice(some, 2000)
    expected = score.copy()
    for row in range(1, len(query)):
        if query[row] == query[row - 1]:
            expected[row] = min(score[row], np.nextafter(expected[row - 1], np.float32(-np.inf)))
    assert np.array_equal(runs.strictly_decreasing(query, score), expected)


def test_scores_that_decrease_already_are_unchanged() -> None:
    score = np.array([3.5, 3.4999998, 0.1, -2.0, 9.0, 8.0], np.float32)
    assert np.array_equal(runs.strictly_decreasing(np.array([0, 0, 0, 0, 4, 4]), score), score)


@pytest.mark.parametrize("rows", [1, 3, 5, 1000])
def test_batches_cover_all_rows_and_cut_no_query(rows: int) -> None:
    query = np.repeat([0, 3, 4, 9, 10], [4, 1, 7, 2, 2])
    parts = [query[batch] for batch in runs.query_batches(query, rows)]
    assert np.array_equal(np.concatenate(parts), query)
    assert all(not set(a) & set(b) for a, b in itertools.pairwise(parts))
    assert max(len(part) for part in parts) < rows + 7
    assert all(len(part) for part in parts)


def test_trec_lines(tmp_path: Path) -> None:
    runs.write_trec(tmp_path / "run.trec", write(tmp_path / "run"), QUERY_IDS, PASSAGE_IDS, "star")
    lines = (tmp_path / "run.trec").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "q-b Q0 d9 1 1.25 star"
    assert lines[4] == "q-c Q0 d10 1 0 star"
    assert [line.split(" ")[:4] for line in lines] == [
        [QUERY_IDS[int(query)], "Q0", PASSAGE_IDS[int(passage)], str(rank)]
        for query, passage, rank in zip(ROWS["query"], ROWS["passage"], ROWS["rank"], strict=True)
    ]


def test_ties_are_read_back_in_the_written_order_by_ir_measures_and_trec_eval(tmp_path: Path) -> None:
    path = tmp_path / "run.trec"
    runs.write_trec(path, write(tmp_path / "run"), QUERY_IDS, PASSAGE_IDS, "star")
    read = list(ir_measures.read_trec_run(str(path)))
    for query in (0, 2):
        hits = [row for row in read if row.query_id == QUERY_IDS[query]]
        wanted = [PASSAGE_IDS[int(p)] for q, p in zip(ROWS["query"], ROWS["passage"], strict=True) if q == query]
        ascending = sorted(hits, key=lambda row: (-row.score, row.doc_id))
        by_name = sorted(hits, key=lambda row: row.doc_id, reverse=True)
        descending = sorted(by_name, key=lambda row: -np.float32(row.score))
        assert [row.doc_id for row in ascending] == wanted
        assert [row.doc_id for row in descending] == wanted
        for rank, passage in enumerate(wanted, 1):
            qrels = {QUERY_IDS[query]: {passage: 1}}
            evaluator = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"})
            scores = {QUERY_IDS[query]: {row.doc_id: row.score for row in hits}}
            assert evaluator.evaluate(scores)[QUERY_IDS[query]]["recip_rank"] == pytest.approx(1 / rank)
            assert ir_measures.calc_aggregate([ir_measures.RR @ 10], qrels, read)[ir_measures.RR @ 10] == 1 / rank


def test_batches_and_the_kind_of_ids_change_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write(tmp_path / "run")
    runs.write_trec(tmp_path / "whole", run, QUERY_IDS, PASSAGE_IDS, "star")
    monkeypatch.setattr(runs, "_TREC_BATCH", 2)
    chunks = pa.chunked_array([PASSAGE_IDS[:3], PASSAGE_IDS[3:]])
    runs.write_trec(tmp_path / "parts", run, pa.array(QUERY_IDS), chunks, "star")
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "parts").read_bytes()


def test_scores_survive_the_text_in_single_precision(tmp_path: Path) -> None:
    score = np.sort(np.random.default_rng(1).standard_normal(300).astype(np.float32) * 1e4)[::-1]
    runs.write_run(tmp_path / "run", np.zeros(300), np.arange(300), np.arange(1, 301), score)
    ids = [f"d{number}" for number in range(300)]
    runs.write_trec(tmp_path / "run.trec", runs.read_run(tmp_path / "run"), ["q"], ids, "dense")
    table = runs.read_trec(tmp_path / "run.trec")
    assert np.array_equal(table["score"].to_numpy(np.float32), score)
    assert table["passage_id"].tolist() == ids
    assert table["rank"].tolist() == list(range(1, 301))


@pytest.mark.parametrize(
    ("queries", "passages", "tag", "told"),
    [
        (["q 1", "b", "c"], PASSAGE_IDS, "star", "a query id .*'q 1'"),
        (QUERY_IDS, [*PASSAGE_IDS[:4], "tab\there", *PASSAGE_IDS[5:]], "star", "a passage id .*tab"),
        (["", "b", "c"], PASSAGE_IDS, "star", "a query id"),
        (["a", "b", "c\u00a0d"], PASSAGE_IDS, "star", "a query id"),
        (QUERY_IDS, PASSAGE_IDS, "my star", "a tag .*'my star'"),
    ],
)
def test_white_space_would_break_the_format(
    tmp_path: Path, queries: list[str], passages: list[str], tag: str, told: str
) -> None:
    run = write(tmp_path / "run")
    with pytest.raises(HardnegError, match=f"(?s){told}"):
        runs.write_trec(tmp_path / "run.trec", run, queries, passages, tag)
    assert [file.name for file in tmp_path.iterdir()] == ["run"]


def test_a_foreign_run_with_tabs_bom_and_blank_lines_is_read(tmp_path: Path) -> None:
    path = tmp_path / "run.trec"
    path.write_bytes(b"\xef\xbb\xbf7\tQ0\tD1\t1\t-1e1\tx\r\n\r\n7 Q0  D2 2 -10.5 x\r\n8 Q0 D1 1 .5 x\n")
    assert runs.read_trec(path).to_dict("list") == {
        "query_id": ["7", "7", "8"],
        "passage_id": ["D1", "D2", "D1"],
        "rank": [1, 2, 1],
        "score": [-10.0, -10.5, 0.5],
    }


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("7 Q0 D1 2 3.5", "5 columns"),
        ("7 Q0 D2 2 3.5 my tag", "7 columns"),
        ("7 Q0 D2 two 3.5 x", "two"),
        ("7 Q0 D2 2.5 3.5 x", "2.5"),
        ("7 Q0 D2 2 high x", "high"),
        ("7 Q0 D2 2 nan x", "nan"),
        ("7 Q0 D2 2 inf x", "inf"),
        ("7 Q0 D1 2 3.5 x", "D1 a second time for query 7"),
        ("7 Q0 D\udcff 2 3.5 x", "not UTF-8"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, told: str) -> None:
    path = tmp_path / "run.trec"
    path.write_bytes(f"7 Q0 D1 1 4.5 x\n\n{line}\n".encode(errors="surrogateescape"))
    with pytest.raises(HardnegError) as caught:
        runs.read_trec(path)
    assert told in str(caught.value)
    assert f"{path}:3" in str(caught.value)


def test_a_missing_or_empty_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(HardnegError, match="run does not exist"):
        runs.read_trec(tmp_path / "none.trec")
    (tmp_path / "empty.trec").write_text("\n")
    with pytest.raises(HardnegError, match="empty"):
        runs.read_trec(tmp_path / "empty.trec")
