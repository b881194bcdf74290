"""Mining: what is left of a ranking without judged positives and without what the filters remove."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset
from made import judged_by, seal, stage_of
from made_analysis import collection_of
from sentence_transformers.util import mine_hard_negatives

from hardneg.errors import HardnegError
from hardneg.methods.axes import function_of
from hardneg.methods.draws import PairScores, Ranked
from hardneg.methods.filters.margin import keep as margin
from hardneg.methods.filters.ranks import keep as ranks
from hardneg.methods.filters.scores import keep as bounds
from hardneg.methods.lists import MinedLists
from hardneg.retrieval import runs
from hardneg.retrieval.mine import NEGATIVES, POSITIVES, mine, positives_in
from workflow_scripts import mine_negatives

NAN = float("nan")


# --- mining ---


def test_mining_removes_judged_positives_and_keeps_ranks(tmp_path: Path) -> None:
    ranking = {0: [5, 1, 3], 1: [2], 3: [4, 0]}  # query 2 found nothing
    rows = [(query, p, rank) for query, found in ranking.items() for rank, p in enumerate(found, 1)]
    query, passage, rank = np.array(rows, np.int32).T
    run = pa.table({"query": query, "passage": passage, "rank": rank, "score": (10.0 - rank).astype(np.float32)})
    pq.write_table(run, tmp_path / "run.parquet")
    judged = judged_by([(0, 1, 1), (0, 3, 0), (1, 2, 2), (3, 5, 1)], queries=4, passages=6)
    facts = mine(tmp_path / "run.parquet", judged, 4, [], tmp_path)
    kept = pq.read_table(tmp_path / NEGATIVES)
    expected = [row for row in rows if row[:2] not in {(0, 1), (1, 2)}]
    assert [tuple(row.values())[:3] for row in kept.to_pylist()] == expected
    assert kept.schema.equals(run.schema)
    assert pc.all(pc.equal(kept.column("score"), pc.subtract(10.0, kept.column("rank")))).as_py()
    assert facts == {"candidates": 4, "positives_removed": 2, "queries_without_candidates": 2, "filters": {}}
    lists = MinedLists.read(tmp_path / NEGATIVES, 4)
    assert lists.of(np.arange(4)).available(10).tolist() == [2, 0, 0, 2]
    first = lists.of(np.array([0, 3]))
    assert first.at(np.array([[0, 1], [1, 0]])).tolist() == [[5, 3], [0, 4]]
    assert first.scores(np.array([[0, 1], [1, 0]])).tolist() == [[9, 7], [8, 9]]


def test_a_filter_sees_whole_queries_however_the_run_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(4)
    counts = rng.integers(0, 9, 50)
    query = np.repeat(np.arange(50), counts)
    passage = np.concatenate([rng.permutation(20)[:count] for count in counts])
    rank = np.concatenate([np.arange(1, count + 1) for count in counts])
    judged = judged_by([(q, p, 1) for q, p in zip(query[::5].tolist(), passage[::5].tolist(), strict=True)], 50, 20)

    def last_of_three(hits: Ranked) -> npt.NDArray[np.bool_]:
        """The last of a query's hits, where it has three or more."""
        found, sizes = np.unique(hits.query, return_counts=True)
        assert np.all(np.diff(hits.query) >= 0) and len(found) == len(np.flatnonzero(np.diff(hits.query))) + 1
        stays = np.zeros(len(hits.query), bool)
        stays[np.cumsum(sizes)[sizes >= 3] - 1] = True
        return stays

    results = []
    for rows in (1 << 20, 16, 1):
        monkeypatch.setattr(runs, "_ROW_GROUP", rows)
        folder = tmp_path / str(rows)
        folder.mkdir()
        runs.write_run(folder / "run.parquet", query, passage, rank, -rank)
        monkeypatch.setattr(runs, "_ROW_GROUP", 8)
        facts = mine(folder / "run.parquet", judged, 50, [("last", last_of_three)], folder)
        results.append((facts, (folder / NEGATIVES).read_bytes()))
    assert results[0] == results[1] == results[2]
    relevant = judged.contains(query, passage)
    last = np.array([counts[q] >= 3 and rank[n] == counts[q] for n, q in enumerate(query)])
    expected = np.flatnonzero(last & ~relevant)
    assert pq.read_table(tmp_path / "1" / NEGATIVES)["passage"].to_pylist() == passage[expected].tolist()
    assert results[0][0] == {
        "candidates": len(expected),
        "positives_removed": len(query[::5]),
        "queries_without_candidates": 50 - len(expected),
        "filters": {
            "last": {"removed": int((~last & ~relevant).sum()), "positives": int((~last & relevant).sum())},
        },
    }
    assert 0 < len(expected) < 50


def test_filters_are_counted_one_after_another(tmp_path: Path) -> None:
    """A candidate counts for the first filter that removes it; a judged positive for each that would remove it."""
    rng = np.random.default_rng(7)
    scores = np.sort(rng.normal(size=(20, 10)).astype(np.float32))[:, ::-1]
    query, rank = np.repeat(np.arange(20), 10), np.tile(np.arange(1, 11), 20)
    passage = np.concatenate([rng.permutation(30)[:10] for _ in range(20)])
    runs.write_run(tmp_path / "run.parquet", query, passage, rank, scores.ravel())
    pairs = list(zip(query.tolist(), passage.tolist(), strict=True))
    judged = judged_by([(*pairs[n], 1) for n in range(0, 200, 7)], 20, 30)
    chosen: list[dict[str, Any]] = [
        {"name": "ranks", "first": 3, "last": None},
        {"name": "scores", "least": -0.5, "most": 0.5},
    ]
    filters = [(each["name"], function_of("filter", each)) for each in chosen]
    facts = mine(tmp_path / "run.parquet", judged, 20, filters, tmp_path)
    removed = {name: {"removed": 0, "positives": 0} for name, _ in filters}
    kept = []
    for pair, place, score in zip(pairs, rank.tolist(), scores.ravel().tolist(), strict=True):
        thrown = [name for name, out in (("ranks", place < 3), ("scores", abs(score) > 0.5)) if out]
        if judged.contains(*map(np.array, pair)):
            for name in thrown:
                removed[name]["positives"] += 1
        elif thrown:
            removed[thrown[0]]["removed"] += 1
        else:
            kept.append(pair)
    table = pq.read_table(tmp_path / NEGATIVES)
    assert list(zip(table["query"].to_pylist(), table["passage"].to_pylist(), strict=True)) == kept
    assert facts["filters"] == removed
    assert all(count > 0 for counts in removed.values() for count in counts.values())
    assert facts["candidates"] == len(kept) < 200 - len(judged.keys)


@pytest.mark.parametrize("scored", [True, False])
def test_scores_of_the_positives(tmp_path: Path, scored: bool) -> None:
    """From scores of the judged pairs where there are such, else from the ranking, which lacks some."""
    judged = judged_by([(0, 1, 1), (0, 3, 2), (2, 0, 1), (2, 4, 0)], queries=3, passages=5)
    runs.write_run(tmp_path / "run.parquet", [0, 0, 1, 2], [3, 2, 1, 4], [1, 2, 1, 1], [-1.5, -2.0, 3.0, 1.0])
    given = None
    if scored:
        given = tmp_path / "scores.parquet"
        columns = {"query": [2, 0, 0], "passage": [0, 3, 1], "score": [0.5, -1.25, -7.0]}
        pq.write_table(pa.table(columns), given)
    facts = positives_in(tmp_path / "run.parquet", judged, tmp_path / POSITIVES, given)
    table = pq.read_table(tmp_path / POSITIVES)
    assert [(field.name, str(field.type)) for field in table.schema] == [
        ("query", "int32"),
        ("passage", "int32"),
        ("score", "float"),
    ]
    assert table["query"].to_pylist() == [0, 0, 2] and table["passage"].to_pylist() == [1, 3, 0]
    expected = [-7.0, -1.25, 0.5] if scored else [NAN, -1.5, NAN]
    assert np.array_equal(table["score"].to_numpy(), np.array(expected, np.float32), equal_nan=True)
    assert facts == {"positives": 3, "positives_without_score": 0 if scored else 2}


@pytest.mark.parametrize("scored", [True, False])
def test_the_stage(tmp_path: Path, scored: bool) -> None:
    """The margin is to the lowest of a query's positives; where none has a score, the candidates stay."""
    grades = {(0, 9): 1, (0, 8): 2, (1, 7): 1}
    ranking = {0: [5, 9, 4, 3], 1: [6, 5]}
    run = stage_of(tmp_path / "run", {})
    hits = [(q, p, rank, 10.0 - rank) for q, found in ranking.items() for rank, p in enumerate(found, 1)]
    runs.write_run(run.folder / "run.train.parquet", *zip(*hits, strict=True))
    parents = {
        "collection": collection_of(tmp_path / "collection", 10, {"train": 2}, {"train": grades}),
        "run": seal(run, ["run.train.parquet"]),
    }
    if scored:
        scores = stage_of(tmp_path / "scores", {})
        columns = {"query": [0, 0, 1], "passage": [8, 9, 7], "score": [9.5, 8.0, 8.5]}
        pq.write_table(pa.table(columns), scores.folder / "scores.parquet")
        parents["scores"] = seal(scores, ["scores.parquet"])
    chosen = [{"name": "margin", "absolute": 1.0, "relative": 0.0}]
    stage = stage_of(tmp_path / "mined", {"filter": chosen, "split": "train", "positives": True}, parents)
    assert mine_negatives.run(stage, {}, []) == [NEGATIVES, POSITIVES]
    table = pq.read_table(stage.folder / NEGATIVES)
    kept = list(zip(table["query"].to_pylist(), table["passage"].to_pylist(), strict=True))
    # scores of query 0: 9, (8), 7, 6, the positive's 8; of query 1: 9, 8, the positive's 8.5 or unknown
    assert kept == [(0, 4), (0, 3)] if scored else kept == [(0, 4), (0, 3), (1, 6), (1, 5)]
    assert stage.facts == {
        "positives": 3,
        "positives_without_score": 0 if scored else 2,
        "candidates": len(kept),
        "positives_removed": 1,
        "queries_without_candidates": int(scored),
        "filters": {"margin": {"removed": 3 if scored else 1, "positives": 1}},
    }


@pytest.mark.parametrize(
    ("hits", "filters", "said"),
    [
        ([], [], "0 candidates for 2 queries; the ranking is empty"),
        ([(0, 9, 1, 2.0)], [], "0 candidates for 2 queries; removed: judged positives 1"),
        ([(0, 9, 1, 2.0), (1, 5, 1, 3.0)], [{"name": "ranks", "first": 2, "last": None}], "filter ranks 1"),
    ],
)
def test_nothing_to_train_on_is_refused(
    tmp_path: Path, hits: list[tuple[int, int, int, float]], filters: list[dict[str, Any]], said: str
) -> None:
    run = stage_of(tmp_path / "run", {})
    columns = zip(*hits, strict=True) if hits else ([], [], [], [])
    runs.write_run(run.folder / "run.train.parquet", *columns)
    parents = {
        "collection": collection_of(tmp_path / "collection", 10, {"train": 2}, {"train": {(0, 9): 1, (1, 7): 1}}),
        "run": seal(run, ["run.train.parquet"]),
    }
    stage = stage_of(tmp_path / "mined", {"filter": filters, "split": "train", "positives": False}, parents)
    with pytest.raises(HardnegError, match=f"nothing to train on(.|\\n)*{said}"):
        mine_negatives.run(stage, {}, [])


# --- filters ---


def hits_of(score: Sequence[float], positive: Sequence[float]) -> Ranked:
    """Hits of one query a row of `positive`, with scores in the order of their ranks."""
    query = np.repeat(np.arange(len(positive)), len(score) // len(positive))
    rank = np.tile(np.arange(1, len(score) // len(positive) + 1), len(positive))
    known = np.array(positive, np.float32)[query]
    return Ranked(query, np.arange(len(score)), rank, np.array(score, np.float32), known)


@pytest.mark.parametrize(("absolute", "relative"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.25), (0.5, 0.25), (-0.5, 0.0)])
def test_margin_against_brute_force(absolute: float, relative: float) -> None:
    """Positive and negative scores, ties with the bound, and positives without a score; in numbers that are exact."""
    positives = [4.0, -4.0, 0.0, NAN, 2.0]
    scores = [level / 4 for level in range(20, -25, -1)]
    found = hits_of(scores * len(positives), positives)
    kept = margin(found, absolute=absolute, relative=relative)
    expected, ties = [], 0
    for score, positive in zip(found.score.tolist(), found.positive_score.tolist(), strict=True):
        bound = positive - absolute - relative * abs(positive)
        ties += score == bound
        expected.append(not score > bound)  # also where the bound is unknown
    assert kept.tolist() == expected
    assert ties == 4 and kept.dtype == bool
    assert kept[found.query == 3].all() and not kept.all()


@pytest.mark.parametrize(("least", "most"), [(None, None), (-1.0, None), (None, -0.5), (-1.0, 2.0), (1.0, -1.0)])
def test_bounds_of_the_score(least: float | None, most: float | None) -> None:
    """Both bounds themselves stay."""
    found = hits_of([3.0, 2.0, 2.0, 0.0, -0.5, -0.5, -1.0, -9.0], [NAN])
    expected = [
        not ((least is not None and s < least) or (most is not None and s > most)) for s in found.score.tolist()
    ]
    assert bounds(found, least=least, most=most).tolist() == expected


@pytest.mark.parametrize(("first", "last"), [(1, None), (3, None), (2, 4), (5, 5), (6, None)])
def test_a_range_of_ranks(first: int, last: int | None) -> None:
    """In each query; both ends stay. Ranks are those of the ranking, so equal scores change nothing."""
    found = hits_of([1.0] * 10, [0.0, NAN])
    kept = ranks(found, first=first, last=last)
    assert kept.tolist() == [first <= rank <= (last or 5) for rank in [1, 2, 3, 4, 5] * 2]


class Given:
    """A model that knows the vectors of some texts, for `mine_hard_negatives`."""

    device = torch.device("cpu")

    def __init__(self, vectors: dict[str, npt.NDArray[np.float32]]) -> None:
        self._vectors = vectors

    def encode_query(self, texts: Sequence[str], **options: Any) -> npt.NDArray[np.float32]:
        return np.stack([self._vectors[text] for text in texts])

    encode_document = encode_query

    def similarity(self, queries: npt.NDArray[np.float32], passages: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(queries) @ passages.T

    def similarity_pairwise(self, queries: Any, passages: Any) -> torch.Tensor:
        return (torch.as_tensor(queries) * torch.as_tensor(passages)).sum(1)


@pytest.mark.parametrize("setting", [{"absolute": 0.05}, {"relative": 0.05}, {"absolute": 0.0}, {"relative": 0.5}])
def test_margins_as_in_sentence_transformers(tmp_path: Path, setting: dict[str, float]) -> None:
    """Of a ranking by the same vectors, `mine_hard_negatives` keeps the same passages; one positive a query.

    With several positives both measure from the lowest.
    """
    count, passages, depth = 15, 60, 20
    rng = np.random.default_rng(8)
    vectors = rng.normal(size=(count + passages, 6))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    scores = vectors[:count] @ vectors[count:].T
    order = np.argsort(-scores, axis=1)[:, : depth + 1]
    positives = order[np.arange(count), rng.integers(0, 12, count)]
    positives[:3] = scores[:3].argmin(1)  # of a negative score, far below the ranking
    assert (scores[np.arange(3), positives[:3]] < 0).all()
    texts = [f"q{n}" for n in range(count)] + [f"p{n}" for n in range(passages)]
    mined = mine_hard_negatives(
        Dataset.from_dict({"query": texts[:count], "passage": [texts[count + p] for p in positives]}),
        Given(dict(zip(texts, vectors, strict=True))),  # type: ignore[arg-type]
        anchor_column_name="query",
        positive_column_name="passage",
        corpus=texts[count:],
        range_max=depth,
        num_negatives=depth,
        absolute_margin=setting.get("absolute"),
        relative_margin=setting.get("relative"),
        verbose=False,
    )
    theirs = {(int(row["query"][1:]), int(row["negative"][1:])) for row in mined}

    query, rank = np.repeat(np.arange(count), depth + 1), np.tile(np.arange(1, depth + 2), count)
    runs.write_run(tmp_path / "run.parquet", query, order.ravel(), rank, np.take_along_axis(scores, order, 1).ravel())
    judged = judged_by([(q, int(p), 1) for q, p in enumerate(positives)], count, passages)
    known = PairScores(np.arange(count), positives, scores[np.arange(count), positives], passages)
    chosen = {"name": "margin", "absolute": 0.0, "relative": 0.0, **setting}
    mine(tmp_path / "run.parquet", judged, count, [("margin", function_of("filter", chosen))], tmp_path, known)
    ours = pq.read_table(tmp_path / NEGATIVES)
    assert set(zip(ours["query"].to_pylist(), ours["passage"].to_pylist(), strict=True)) == theirs
    assert 0 < len(theirs) < count * depth
