"""Untied encoders: gradients of both sides, checkpoints, what starts from what, and versions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from made import ENCODER, JUDGED, PASSAGES, QUERIES, RUNTIME, TRAIN, Small, killed_at, mined_lists, seal, small
from torch import nn
from transformers import AutoModel

from hardneg.config import load
from hardneg.errors import HardnegError
from hardneg.methods.batch import Origin
from hardneg.methods.draws import Positions
from hardneg.methods.following import SelfTeacher
from hardneg.model.encoder import Encoder
from hardneg.model.untied import Untied, passage_side
from hardneg.planning.plan import Plan
from hardneg.stages.artifacts import Artifact
from hardneg.text.tokens import TokenStore
from hardneg.training.draws import Draws, Meeting
from hardneg.training.scorers import BothEncoders, scorer_of, starting_encoders
from hardneg.training.train import train

CPU = torch.device("cpu")
STILL = {**ENCODER, "tiny": {**ENCODER["tiny"], "dropout": 0.0}}
LISTS = {query: [p for p in range(20, 26) if p != query + 8] for query in range(QUERIES)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return small(tmp_path_factory.mktemp("made"))


def mined(folder: Path) -> dict[str, Any]:
    """DPR: the positives and one mined negative of every query, for all."""
    source: dict[str, Any] = {"source": "run", "sampler": {"name": "top", "count": 1}, "loss": "softmax"}
    return {"parents": {"negatives": mined_lists(folder, LISTS)}, "untied": True, **source}


def files(made: Small, folder: Path, parents: dict[str, Artifact] | None = None, **settings: Any) -> dict[str, bytes]:
    stage = made.training(folder, parents, **settings)
    return {name: (folder / name).read_bytes() for name in train(stage, RUNTIME, [CPU])}


def trained(made: Small, folder: Path, parents: dict[str, Artifact] | None = None, **settings: Any) -> Artifact:
    stage = made.training(folder, parents, **settings)
    return seal(stage, train(stage, RUNTIME, [CPU]))


def states(pair: Encoder | Untied) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    assert isinstance(pair, Untied)
    return pair.query.state_dict(), pair.passage.state_dict()


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# --- a step ---


class Plain(nn.Module):
    """The mean of a BERT's hidden states, of length 1; nothing of this project."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.bert = AutoModel.from_pretrained(folder)

    def forward(self, store: TokenStore, rows: Positions) -> torch.Tensor:
        vectors = []
        for row in rows:
            ids, mask = (torch.from_numpy(part) for part in store.batch(np.array([row])))
            hidden = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state[0]
            vector = hidden[mask[0] == 1].sum(0) / mask.sum()
            vectors.append(vector / vector.norm())
        return torch.stack(vectors)


def by_hand(made: Small, folder: Path, meeting: Meeting) -> tuple[Plain, Plain]:
    """Two modules with the gradients of softmax over what is listed."""
    query, passage = Plain(folder / "encoder/backbone"), Plain(folder / "passages/encoder/backbone")
    asked = query(TokenStore(made.tokens, "queries.train"), meeting.rows)
    found = passage(TokenStore(made.tokens, "passages"), meeting.passages)
    scores = (asked @ found.T / 0.05).masked_fill(~torch.from_numpy(meeting.listed), -torch.inf)
    own = torch.from_numpy((meeting.origin == Origin.OWN).argmax(1))
    nn.functional.cross_entropy(scores, own).backward()  # type: ignore[no-untyped-call]
    return query, passage


@pytest.mark.parametrize("chunk", [None, 3])
def test_gradients_of_both_sides_are_those_of_two_modules(made: Small, tmp_path: Path, chunk: int | None) -> None:
    stage = made.training(tmp_path / "run", **mined(tmp_path / "mined"), encoder=STILL, train={**TRAIN, "chunk": chunk})
    scorer = scorer_of(stage, RUNTIME, [CPU], JUDGED, False)
    assert isinstance(scorer, BothEncoders) and isinstance(scorer.module, Untied)
    with torch.no_grad():  # the sides start alike, and must not be taken for each other
        for parameter in scorer.module.passage.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(4)))
    scorer.module.save(tmp_path / "saved")
    meeting = Draws.of(stage.settings, stage.parents, JUDGED).at(0)
    scores = scorer.scores(scorer.queries(meeting.rows), meeting)
    masked = scores.masked_fill(~torch.from_numpy(meeting.listed), -torch.inf)
    own = torch.from_numpy((meeting.origin == Origin.OWN).argmax(1))
    nn.functional.cross_entropy(masked, own).backward()  # type: ignore[no-untyped-call]
    sides = (scorer.module.query.backbone, scorer.module.passage.backbone)
    for ours, theirs in zip(sides, by_hand(made, tmp_path / "saved", meeting), strict=True):
        expected = {name: own.grad for name, own in theirs.bert.named_parameters() if own.grad is not None}
        found = {name: own.grad for name, own in ours.named_parameters() if own.grad is not None}
        assert expected.keys() - {"pooler.dense.weight", "pooler.dense.bias"} == found.keys()
        for name, gradient in found.items():
            torch.testing.assert_close(gradient, expected[name], rtol=1e-3, atol=1e-5)
        assert max(float(gradient.abs().max()) for gradient in found.values()) > 1e-2


def test_one_training_step_moves_both_sides_as_adamw_does(made: Small, tmp_path: Path) -> None:
    options = {**TRAIN, "steps": 1, "warmup_steps": 0, "schedule": "constant", "weight_decay": 0.0, "eps": 1e-3}
    stage = made.training(tmp_path / "run", **mined(tmp_path / "mined"), encoder=STILL, train=options)
    starting_encoders(stage, RUNTIME).save(tmp_path / "saved")
    meeting = Draws.of(stage.settings, stage.parents, JUDGED).at(0)
    modules = by_hand(made, tmp_path / "saved", meeting)
    every = [parameter for module in modules for parameter in module.parameters() if parameter.grad is not None]
    nn.utils.clip_grad_norm_(every, options["max_grad_norm"])
    torch.optim.AdamW(every, lr=options["lr"], eps=options["eps"], weight_decay=0.0).step()
    after = seal(stage, train(stage, RUNTIME, [CPU]))
    for artifact, module in zip((after, passage_side(after)), modules, strict=True):
        expected = module.bert.state_dict()
        for name, value in Encoder.load(artifact).backbone.state_dict().items():
            torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=2e-5)


# --- checkpoints ---


def test_a_resumed_pair_has_the_same_bytes(made: Small, tmp_path: Path) -> None:
    given = mined(tmp_path / "mined")
    whole = files(made, tmp_path / "whole", **given)
    assert {name.partition("/")[0] for name in whole} == {"encoder", "passages", "loss.csv"}
    stage = made.training(tmp_path / "killed", **given)
    with killed_at(4):
        train(stage, RUNTIME, [CPU])
    assert {name: (stage.folder / name).read_bytes() for name in train(stage, RUNTIME, [CPU])} == whole
    checkpointed = {**TRAIN, "gradient_checkpointing": True}
    assert files(made, tmp_path / "less", **given, train=checkpointed) == whole


def test_rounds_of_a_pair_go_on(made: Small, tmp_path: Path) -> None:
    given = mined(tmp_path / "mined")
    parents, rounds = given.pop("parents"), {"name": "rounds", "rounds": 2}
    whole = files(made, tmp_path / "whole", parents, **given)
    first = trained(made, tmp_path / "first", parents, **given, round=1, refresh=rounds)
    second = files(made, tmp_path / "second", {**parents, "continues": first}, **given, round=2, refresh=rounds)
    weights = {name for name in whole if name.endswith(".safetensors")}
    assert len(weights) == 2 and {name: second[name] for name in weights} == {name: whole[name] for name in weights}


def test_bf16_and_the_width_losses_and_a_following_teacher_train_both_sides(made: Small, tmp_path: Path) -> None:
    npc = {"labels": {"name": "self_corrected", "negatives": 6}, "loss": ["gated_softmax", {"name": "kl_list"}]}
    every: list[dict[str, Any]] = [{"precision": "bf16"}, {"dims": [8, 4]}, npc]
    for number, given in enumerate(every):
        AcceleratorState._reset_state(True)  # which holds one precision a process
        after = trained(made, tmp_path / str(number), untied=True, source="random", **given)
        before = states(starting_encoders(made.training(tmp_path / f"{number}-start", untied=True), RUNTIME))
        for artifact, old in zip((after, passage_side(after)), before, strict=True):
            new = Encoder.load(artifact).state_dict()
            assert new.keys() == old.keys() and not same(new, old)
            assert all(torch.isfinite(value).all() for value in new.values())


def test_a_following_teacher_encodes_each_text_with_its_side(made: Small, tmp_path: Path) -> None:
    stage = made.training(tmp_path / "run", untied=True, labels={"name": "self_corrected", "negatives": 6})
    scorer = scorer_of(stage, RUNTIME, [CPU], JUDGED, False)
    draws = Draws.of(stage.settings, stage.parents, JUDGED)
    assert isinstance(scorer, BothEncoders) and isinstance(draws.follower, SelfTeacher)
    draws.follower.before(0, draws.followed(), scorer.module, scorer.plain)
    average, every = draws.follower.weights, np.arange(PASSAGES)
    own = scorer.plain("passages", every, average)
    torch.testing.assert_close(own, scorer.plain("passages", every, None))
    queries = {name: value + 0.1 * torch.randn_like(value) for name, value in average.items() if name[:6] == "query."}
    torch.testing.assert_close(scorer.plain("passages", every, {**average, **queries}), own)
    moved = scorer.plain("queries", np.arange(QUERIES), {**average, **queries})
    assert (moved - scorer.plain("queries", np.arange(QUERIES), None)).abs().max() > 1e-3


# --- what it starts from ---


def test_a_pair_starts_from_one_encoder_or_from_two(made: Small, tmp_path: Path) -> None:
    query, passage = states(starting_encoders(made.training(tmp_path / "fresh", untied=True), RUNTIME))
    assert same(query, passage), "both start from the backbone"
    tied = trained(made, tmp_path / "tied", source="random")
    query, passage = states(starting_encoders(made.training(tmp_path / "a", {"init": tied}, untied=True), RUNTIME))
    assert same(query, Encoder.load(tied).state_dict()) and same(passage, query)
    apart = trained(made, tmp_path / "apart", source="random", untied=True)
    query, passage = states(starting_encoders(made.training(tmp_path / "b", {"init": apart}, untied=True), RUNTIME))
    assert same(query, Encoder.load(apart).state_dict()) and not same(query, passage)
    assert same(passage, Encoder.load(passage_side(apart)).state_dict())
    both = {"init": tied, "init_passages": apart}  # after a query encoder that was trained alone
    query, passage = states(starting_encoders(made.training(tmp_path / "c", both, untied=True), RUNTIME))
    assert same(query, Encoder.load(tied).state_dict())
    assert same(passage, Encoder.load(passage_side(apart)).state_dict())


def test_the_sides_must_be_of_one_width(made: Small) -> None:
    with pytest.raises(HardnegError, match="differ in width"):
        Untied(made.encoder(), made.encoder(projection=6))


# --- the plan ---


def study(untied: bool | None, **more: Any) -> dict[str, Any]:
    budget = {"steps": 10}
    systems = {
        "bm25": {"preset": "bm25"},
        "dpr": {"preset": "dpr", "train": budget},
        "star": {"preset": "star", "from": "dpr", "train": budget},
        "adore": {"preset": "adore", "from": "star", "train": budget},
        "ance": {"preset": "ance", "from": "star", "train": budget},
        "plain": {"preset": "pretrained"},
    }
    given = {} if untied is None else {"untied": untied}
    collection = {"collection": {"format": "pydocs"}, "export": ["adore"]}
    return {**collection, "encoder": given, "systems": systems, **more}


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def versions(raw: dict[str, Any]) -> dict[tuple[str, str], str]:
    return {(stage.kind, stage.label): stage.version for stage in Plan(load(raw)).stages}


def test_the_default_changes_no_version_and_untied_none_that_is_shared() -> None:
    plain = versions(study(None))
    assert versions(study(False)) == plain
    assert not any(
        "untied" in stage.settings or "untied" in stage.settings.get("encoder", {})
        for stage in Plan(load(study(False))).stages
    )
    apart = versions(study(True))
    assert plain.keys() == apart.keys()
    kept = {key for key in plain if plain[key] == apart[key]}
    assert {kind for kind, _ in kept} >= {"collection", "tokenizer", "tokens", "bm25_run", "bm25_index"}
    assert kept >= {("dual_encoder", "pretrained"), ("passages", "pretrained"), ("run", "plain")}
    assert not kept & {(kind, label) for kind, label in plain if label in ("dpr", "star", "adore", "ance")} - {
        ("mine", "bm25")
    }


def test_a_query_encoder_builds_on_the_pair() -> None:
    plan = Plan(load(study(True)))
    star, adore = plan.systems["star"], plan.systems["adore"]
    assert star.model is not None and adore.model is not None and adore.passages is not None
    assert star.model.settings["untied"] is True and "untied" not in adore.model.settings
    assert adore.model.parents["init"] is star.model is adore.passage_model and adore.passages is star.passages
    assert adore.passages.parents["model"] is star.model
    rounds = plan.rounds["ance"]
    assert [stage.settings["untied"] for stage in rounds] == [True] * len(rounds)
    assert "init" in rounds[0].parents and "init_passages" not in rounds[0].parents


def test_a_pair_that_starts_from_a_query_encoder_keeps_the_passages_encoder() -> None:
    raw = study(True)
    raw["systems"]["further"] = {"preset": "star", "from": "adore", "train": {"steps": 10}}
    plan = Plan(load(raw))
    model = plan.systems["further"].model
    assert model is not None and model.parents["init"] is plan.systems["adore"].model
    assert model.parents["init_passages"] is plan.systems["star"].model


def other_study(folder: Path, untied: bool, here: bool, trains: str = "both_encoders") -> Plan:
    """A study whose system starts from one of another study."""
    (folder / "other.yaml").write_text(json.dumps(study(untied)), encoding="utf-8")
    budget: dict[str, Any] = {"batch": "in_batch", "train": {"steps": 10}}
    system = {"from": "other:star", "trains": trains, **({} if trains == "nothing" else budget)}
    more = {"systems": {"ours": system}, "studies": {"other": "other.yaml"}, "export": []}
    return Plan(load(study(here, **more)))


def test_one_encoder_cannot_start_from_two(tmp_path: Path) -> None:
    with pytest.raises(HardnegError) as fault:
        other_study(tmp_path, untied=True, here=False)
    assert "cannot start from two" in str(fault.value) and "systems.ours.from" in str(fault.value)
    assert "other:star" in str(fault.value)
    model = other_study(tmp_path, untied=False, here=True).systems["ours"].model
    assert model is not None and model.settings["untied"] and not model.parents["init"].settings.get("untied")


@pytest.mark.parametrize("untied", [True, False])
def test_systems_of_another_study_are_evaluated_as_they_are(tmp_path: Path, untied: bool) -> None:
    found = other_study(tmp_path, untied=untied, here=not untied, trains="nothing").systems["ours"].passages
    assert found is not None
    assert found.parents["model"].settings.get("untied", False) is untied
    assert found.parents["model"].label == "star"


@pytest.mark.parametrize(
    ("encoder", "said"),
    [
        ({"passage_backbone": "made/ctx", "backbone": "made/question"}, "cannot start from two backbones"),
        ({"untied": True, "passage_backbone": "made/ctx"}, "builtin:tiny cannot be paired"),
        ({"untied": True, "passage_revision": "abc"}, "without the backbone that it is of"),
    ],
)
def test_settings_that_contradict_are_refused(encoder: dict[str, Any], said: str) -> None:
    with pytest.raises(HardnegError, match=said):
        load({**study(None), "encoder": encoder})
