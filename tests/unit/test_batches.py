"""Which (query, passage) pairs a training step compares: masks of the batch and of the judgements together."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from made import QRELS, RUNTIME, TRAIN, Small, seal, small, stage_of

from hardneg import batches
from hardneg.model.encoder import encode_rows
from hardneg.stages.artifacts import Artifact
from hardneg.training import dual_encoder
from hardneg.training.loop import Log

POSITIVE = {(query, passage) for query, passage, grade in QRELS if grade > 0}
BATCHES = {"own": batches.own, "in_batch": batches.in_batch, "shared": batches.shared}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return small(tmp_path_factory.mktemp("small"))


class Seen(NamedTuple):
    """One step, as the loss function saw it."""

    rows: np.ndarray
    columns: np.ndarray
    query: torch.Tensor
    passage: torch.Tensor
    scores: torch.Tensor
    positive: torch.Tensor
    in_batch: torch.Tensor
    mined: torch.Tensor


def steps_of(
    made: Small, folder: Path, monkeypatch: pytest.MonkeyPatch, negatives: Artifact | None, count: int, **settings: Any
) -> list[Seen]:
    """Some steps of a training, each with all that reached its loss."""
    encoded: list[tuple[np.ndarray, torch.Tensor]] = []
    seen: list[Seen] = []

    def note_rows(encoder: Any, store: Any, positions: np.ndarray, *rest: Any) -> torch.Tensor:
        encoded.append((positions, encode_rows(encoder, store, positions, *rest)))
        return encoded[-1][1]

    def note_loss(*arguments: torch.Tensor, alpha: float | None) -> torch.Tensor:
        (rows, query), (columns, passage) = encoded[-2:]
        seen.append(Seen(rows, columns, query, passage, *arguments))
        return arguments[0].sum()

    def no_optimizer(module: Any, compute_loss: Any, *rest: Any, **more: Any) -> Log:
        for step in range(count):
            compute_loss(step, Log())
        return Log()

    monkeypatch.setattr(dual_encoder, "encode_rows", note_rows)
    monkeypatch.setattr(dual_encoder, "fit", no_optimizer)
    monkeypatch.setattr("hardneg.losses.ranknet", note_loss)
    parents = {} if negatives is None else {"negatives": negatives}
    dual_encoder.train(made.training(folder, parents, **settings), RUNTIME, torch.device("cpu"))
    return seen


def mined_lists(folder: Path, lists: dict[int, list[int]]) -> Artifact:
    stage = stage_of(folder, {})
    query = np.repeat(sorted(lists), [len(lists[q]) for q in sorted(lists)]).astype(np.int32)
    passage = np.concatenate([lists[q] for q in sorted(lists)]).astype(np.int32)
    pq.write_table(pa.table({"query": query, "passage": passage}), folder / "negatives.parquet")
    return seal(stage, ["negatives.parquet"])


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("batch", ["own", "in_batch", "shared"])
def test_pairs_against_brute_force(
    made: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: str, count: int
) -> None:
    """Lists hold other queries' positives, and query 4 has no list, query 5 a short one."""
    lists = {
        query: [p for p in range(3, 30, 2 + query % 3) if (query, p) not in POSITIVE]
        for query in range(12)
        if query != 4
    }
    lists[5] = [40 - 1]
    settings: dict[str, Any] = {
        "source": {"name": "run"},
        "sampler": {"name": "uniform", "k": 10, "count": count},
        "batch": {"name": batch},
        "train": {**TRAIN, "batch_size": 8},
    }
    steps = steps_of(made, tmp_path / "run", monkeypatch, mined_lists(tmp_path / "mined", lists), 12, **settings)
    judged_away = absent = 0
    for step in steps:
        size = len(step.rows)
        assert step.scores.shape == (size, size * (1 + count))
        for i, query in enumerate(step.rows.tolist()):
            assert (query, int(step.columns[i])) in POSITIVE
            assert step.positive[i] == step.scores[i, i]
            for c, passage in enumerate(step.columns.tolist()):
                owner = c if c < size else (c - size) // count
                relevant = (query, passage) in POSITIVE
                # a list never holds its own query's positives: one in its place stands for a negative that is missing
                missing = c >= size and (int(step.rows[owner]), passage) in POSITIVE
                judged_away, absent = judged_away + (relevant and owner != i), absent + missing
                other_positive = c < size and owner != i and batch == "in_batch"
                negative = c >= size and (owner == i or batch != "own")
                assert step.in_batch[i, c] == (other_positive and not relevant)
                assert step.mined[i, c] == (negative and not relevant and not missing)
                if negative and not missing:
                    assert passage in lists[int(step.rows[owner])]
    assert judged_away > 10 and absent > 10


def test_queries_that_share_a_positive_contribute_no_pair(
    made: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    met = 0
    for step in steps_of(made, tmp_path / "run", monkeypatch, None, 30):
        places = [np.flatnonzero(step.rows == query) for query in (0, 1)]
        if all(map(len, places)):
            met += 1
            i, j = int(places[0][0]), int(places[1][0])
            assert not step.in_batch[i, j] and not step.in_batch[j, i]
            assert step.in_batch[i].sum() == len(step.rows) - 2
    assert met > 0


def test_number_of_pairs_of_star(made: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """B(B-1) in-batch and B x B mined pairs, one negative a query, where no relevant passage is shared."""
    negatives = mined_lists(tmp_path / "mined", {query: [20 + query, 28 + query] for query in range(12)})
    settings: dict[str, Any] = {"source": {"name": "run"}, "sampler": {"name": "uniform", "k": 2, "count": 1}}
    counted = 0
    for step in steps_of(made, tmp_path / "run", monkeypatch, negatives, 10, **settings):
        size = len(step.rows)
        if len(set(step.rows)) == size and not {0, 1} <= set(step.rows):
            counted += 1
            assert (int(step.in_batch.sum()), int(step.mined.sum())) == (size * (size - 1), size * size)
    assert counted > 0


@pytest.mark.parametrize("mixed", [False, True])
def test_scores_are_float32_inner_products(
    made: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mixed: bool
) -> None:
    """Mixed precision is for the encoder: rounded to bf16, scores over a temperature of 0.05 are off by up to 0.06."""
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        step = steps_of(made, tmp_path / "run", monkeypatch, None, 1)[0]
    by_hand = step.query.double() @ step.passage.double().T / 0.05
    torch.testing.assert_close(step.scores.double(), by_hand, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "in_batch", "mined"), [("own", 0, 2), ("in_batch", 3, 8), ("shared", 0, 8)])
def test_columns_of_a_row(name: str, in_batch: int, mined: int) -> None:
    columns = BATCHES[name](4, 2)
    assert columns.in_batch.shape == columns.mined.shape == (4, 12)
    assert columns.in_batch.sum(1).tolist() == [in_batch] * 4
    assert columns.mined.sum(1).tolist() == [mined] * 4
    assert not (columns.in_batch & columns.mined).any() and not columns.in_batch.diagonal().any()
    for row in range(4):
        assert columns.mined[row, 4 + 2 * row : 6 + 2 * row].all()
