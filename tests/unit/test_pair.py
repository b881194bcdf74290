"""PAIR: the passage-centric loss, the signs of its gradients, and the recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from batches import assert_same, in_batch, loss_of, scores_of
from made import JUDGED, RUNTIME, TRAIN, Small, mined_lists, small

from hardneg.config import load
from hardneg.errors import HardnegError
from hardneg.methods.batch import TrainingBatch
from hardneg.training import train as training
from hardneg.training.draws import Draws
from hardneg.training.scorers import scorer_of

CPU = torch.device("cpu")


def by_hand(scores: torch.Tensor, among: torch.Tensor, left_out: set[tuple[str, int, int]]) -> torch.Tensor:
    """Row i: the positive i against all queries and the mined columns, but for ("query" or "negative", i, j)."""
    count = len(scores)
    terms = []
    for i in range(count):
        queries = [scores[j, i] for j in range(count) if ("query", i, j) not in left_out]
        negatives = [among[i, n] for n in range(count, scores.shape[1]) if ("negative", i, n) not in left_out]
        terms.append(-(scores[i, i].exp() / torch.stack([*queries, *negatives]).exp().sum()).log())
    return torch.stack(terms).mean()


def test_it_is_a_plain_loop_over_queries_and_negatives() -> None:
    scores, among = scores_of(4, 12), scores_of(4, 12, seed=1)
    ours = loss_of(in_batch(scores, among=among), "p_centric")
    assert_same(ours, by_hand(scores, among, set()), scores, among)
    masked = loss_of(in_batch(scores, ((2, 1), (3, 5)), among=among), "p_centric")
    assert_same(masked, by_hand(scores, among, {("query", 1, 2), ("negative", 3, 5)}), scores, among)


def test_signs_of_the_gradients() -> None:
    """A positive is drawn to its query and pushed from negatives; scores of two positives have no part."""
    scores, among = scores_of(4, 12), scores_of(4, 12, seed=1)
    ours = loss_of(in_batch(scores, among=among), "p_centric")
    by_scores, by_among = torch.autograd.grad(ours, (scores, among))
    assert (by_scores.diagonal() < 0).all() and (by_among[:, 4:] > 0).all()
    assert not by_among[:, :4].any() and not by_scores[:, 4:].any()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return small(tmp_path_factory.mktemp("made"))


SOURCE = {
    "source": "run",
    "sampler": {"name": "uniform", "k": 3, "count": 1},
    "loss": [{"name": "softmax", "weight": 0.9}, {"name": "p_centric", "weight": 0.1}],
    "passage_scores": True,
}


def test_among_are_the_scores_of_each_rows_positive(made: Small, tmp_path: Path) -> None:
    mined = mined_lists(tmp_path / "mined", {query: [20, 21, 22] for query in range(12)})
    stage = made.training(tmp_path / "run", {"negatives": mined}, **SOURCE)
    scorer = scorer_of(stage, RUNTIME, [CPU], JUDGED, False)
    scorer.module.eval()
    meeting = Draws.of(stage.settings, stage.parents, JUDGED).at(0)
    scorer.scores(scorer.queries(meeting.rows), meeting)
    found = scorer.among(meeting).detach().numpy()
    own = scorer.encode_passages(meeting.drawn.positives[:, 0]).numpy()
    scorer.module.eval()
    assert found == pytest.approx(own @ scorer.encode_passages(meeting.passages).numpy().T / 0.05, abs=1e-3)
    assert found.diagonal() == pytest.approx(20, abs=1e-3)  # of unit length, over a temperature of .05


def test_a_training_adds_it_by_its_weight(made: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[TrainingBatch] = []

    def noted(*given: Any) -> TrainingBatch:
        seen.append(TrainingBatch(*given))
        return seen[-1]

    monkeypatch.setattr(training, "TrainingBatch", noted)
    mined = mined_lists(tmp_path / "mined", {query: [20, 21, 22] for query in range(12)})
    stage = made.training(tmp_path / "run", {"negatives": mined}, train={**TRAIN, "steps": 1, "log_every": 1}, **SOURCE)
    training.train(stage, RUNTIME, [CPU])
    logged = np.loadtxt(stage.folder / "loss.csv", delimiter=",", skiprows=1)[1]
    expected = 0.9 * loss_of(seen[0], "softmax") + 0.1 * loss_of(seen[0], "p_centric")
    assert logged == pytest.approx(expected.item(), rel=1e-5)
    plain = made.training(
        tmp_path / "plain", {"negatives": mined}, **{**SOURCE, "loss": "softmax", "passage_scores": False}
    )
    training.train(plain, RUNTIME, [CPU])
    assert seen[1].among is None  # the fine-tuning compares no passages with each other


def test_the_recipe_and_what_cannot_have_it() -> None:
    train = {"steps": 5}
    systems: dict[str, Any] = {
        "bm25": {"preset": "bm25"},
        "warm": {"preset": "bm25neg", "train": train},
        "pair": {"preset": "pair", "from": "warm", "train": train},
    }
    loaded = load({"collection": {"format": "pydocs"}, "systems": systems}).systems
    assert [(loss.name, loss.weight) for loss in loaded["pair.centric"].loss] == [("softmax", 0.9), ("p_centric", 0.1)]
    assert [loss.name for loss in loaded["pair"].loss] == ["softmax"] and loaded["pair"].from_ == "pair.centric"
    systems["wrong"] = {"preset": "adore", "from": "warm", "loss": "p_centric", "train": train}
    with pytest.raises(HardnegError, match="scores among the passages of a step"):
        load({"collection": {"format": "pydocs"}, "systems": systems})
