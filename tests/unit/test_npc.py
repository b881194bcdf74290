"""NPC: flags recover a mixture, the average moves by its share, and a flagged label has no gradient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from batches import assert_same, chosen, in_batch, loss_of, scores_of
from made import JUDGED, PASSAGES, POSITIVE, QUERIES, RUNTIME, TRAIN, Small, small
from sklearn.mixture import GaussianMixture

from hardneg.methods.axes import answers, function_of
from hardneg.methods.following import SelfTeacher, lower_component, perplexities
from hardneg.training.draws import Draws
from hardneg.training.scorers import BothEncoders, scorer_of
from hardneg.training.train import train

CPU = torch.device("cpu")
NPC: dict[str, Any] = {
    "labels": {"name": "self_corrected", "alpha": 0.9, "negatives": 6},
    "loss": ["gated_softmax", {"name": "kl_list", "teacher_temperature": 1.0, "student_temperature": 1.0}],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return small(tmp_path_factory.mktemp("made"))


def test_two_separated_gaussians_are_recovered() -> None:
    rng = np.random.default_rng(1)
    noisy = rng.random(3000) < 0.3
    values = np.where(noisy, rng.normal(5, 0.7, 3000), rng.normal(1, 0.4, 3000))
    found = lower_component(values)
    assert ((found > 0.5) == ~noisy).mean() >= 0.99
    theirs = GaussianMixture(2, random_state=0).fit(values[:, None])
    expected = theirs.predict_proba(values[:, None])[:, theirs.means_[:, 0].argmin()]
    assert found == pytest.approx(expected, abs=0.02)


def test_equal_and_few_perplexities_are_clean_or_split() -> None:
    assert lower_component(np.full(5, 2.0)).tolist() == [1.0] * 5 and lower_component(np.zeros(0)).shape == (0,)
    assert (lower_component(np.array([1.0, 1.0, 1.0, 9.0])) > 0.5).tolist() == [True, True, True, False]


def test_a_flagged_pair_has_no_gradient_from_its_label() -> None:
    scores, clean = scores_of(4, 8), torch.ones(4, 8, dtype=torch.bool)
    clean[1, 1] = False
    terms = [-scores[row].log_softmax(0)[row] for row in (0, 2, 3)]
    ours = loss_of(in_batch(scores, clean=clean), "gated_softmax")
    assert_same(ours, torch.stack(terms).sum() / 4, scores)
    assert not torch.autograd.grad(loss_of(in_batch(scores, clean=clean), "gated_softmax"), scores)[0][1].any()
    every = loss_of(in_batch(scores, clean=torch.ones_like(clean)), "gated_softmax")
    assert every.item() == pytest.approx(loss_of(in_batch(scores), "softmax").item())


def started(made: Small, folder: Path, **changes: Any) -> tuple[Draws, BothEncoders, SelfTeacher]:
    stage = made.training(folder, **{**NPC, **changes})
    scorer = scorer_of(stage, RUNTIME, [CPU], JUDGED, False)
    draws = Draws.of(stage.settings, stage.parents, JUDGED)
    assert isinstance(scorer, BothEncoders) and isinstance(draws.follower, SelfTeacher)
    return draws, scorer, draws.follower


def test_the_average_moves_by_its_share(made: Small, tmp_path: Path) -> None:
    draws, scorer, teacher = started(made, tmp_path / "run")
    teacher.before(0, draws.followed(), scorer.module, scorer.plain)
    old = {name: value.clone() for name, value in teacher.weights.items()}
    assert all(torch.equal(old[name], own) for name, own in scorer.module.named_parameters())
    with torch.no_grad():
        for own in scorer.module.parameters():
            own.add_(torch.randn_like(own))
    new = {name: own.detach().clone() for name, own in scorer.module.named_parameters()}
    teacher.before(1, draws.followed(), scorer.module, scorer.plain)
    for name, value in teacher.weights.items():
        torch.testing.assert_close((value - old[name]).abs(), 0.1 * (new[name] - old[name]).abs(), rtol=1e-3, atol=1e-5)


def test_perplexity_is_the_share_among_random_passages(made: Small, tmp_path: Path) -> None:
    draws, scorer, _ = started(made, tmp_path / "run")
    followed = draws.followed()
    pairs = list(zip(followed.queries.tolist(), followed.passages.tolist(), strict=True))
    assert pairs == sorted(POSITIVE) and followed.epoch == -(-(QUERIES - 1) // TRAIN["batch_size"])
    negatives = np.array([3, 25, 30, 31])
    found = perplexities(followed, negatives, scorer.plain)
    query = scorer.plain("queries", np.arange(QUERIES), None).double().numpy()
    passage = scorer.plain("passages", np.arange(PASSAGES), None).double().numpy()
    for value, (q, p) in zip(found, pairs, strict=True):
        own = np.exp(query[q] @ passage[p] / 0.05)
        others = sum(np.exp(query[q] @ passage[n] / 0.05) for n in negatives if n != p)
        assert value == pytest.approx(-np.log(own / (own + others)), rel=1e-3, abs=1e-4)


def test_the_teacher_scores_all_that_meets_with_the_average(made: Small, tmp_path: Path) -> None:
    draws, scorer, teacher = started(made, tmp_path / "run")
    teacher.before(0, draws.followed(), scorer.module, scorer.plain)
    teacher.weights = {name: value + 0.1 for name, value in teacher.weights.items()}
    meeting = draws.at(0)
    scores, clean = teacher.teach(meeting.rows, meeting.passages, scorer.plain)
    other = made.encoder()
    other.load_state_dict({**other.state_dict(), **teacher.weights})
    scorer.module = other
    query, passage = scorer.plain("queries", meeting.rows, None), scorer.plain("passages", meeting.passages, None)
    torch.testing.assert_close(scores, query @ passage.T / 0.05, rtol=1e-4, atol=1e-4)
    flagged = {pair for pair in POSITIVE if not clean_of(teacher, pair)}
    for i, j in np.ndindex(*clean.shape):
        assert clean[i, j] == ((int(meeting.rows[i]), int(meeting.passages[j])) not in flagged)


def clean_of(teacher: SelfTeacher, pair: tuple[int, int]) -> bool:
    state = teacher.state_dict()
    return bool(state["clean"][sorted(POSITIVE).index(pair)])


def test_a_training_that_is_interrupted_goes_on_to_the_same_bytes(made: Small, tmp_path: Path) -> None:
    whole = made.training(tmp_path / "whole", **NPC)
    names = train(whole, RUNTIME, [CPU])
    assert whole.facts["pairs"] == len(POSITIVE) and 0 <= whole.facts["pairs_flagged_as_noise"] < len(POSITIVE)
    killed = made.training(tmp_path / "killed", **NPC)
    with pytest.MonkeyPatch.context() as patch:
        own = Draws.rows

        def until_4(draws: Draws, step: int) -> Any:
            if step == 4:
                raise KeyboardInterrupt
            return own(draws, step)

        patch.setattr(Draws, "rows", until_4)
        with pytest.raises(KeyboardInterrupt):
            train(killed, RUNTIME, [CPU])
    assert train(killed, RUNTIME, [CPU]) == names
    assert all((killed.folder / name).read_bytes() == (whole.folder / name).read_bytes() for name in names)


def test_its_teacher_is_there_for_losses_and_not_for_samplers() -> None:
    sampler, labels = answers("sampler")["margin_bins"], answers("labels")
    assert sampler.needs - labels["self_corrected"].provides >= {"scored_pairs"}
    assert all("scored_pairs" in labels[name].provides for name in ("teacher", "groups"))


def test_settings_reach_the_function() -> None:
    made = function_of("labels", chosen("labels", "self_corrected", alpha=0.5, negatives=3))(None)
    assert isinstance(made, SelfTeacher)
