"""The training loop: data order, resuming, rounds, and what is said when training diverges."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from made import ENCODER, JUDGED, POSITIVE, QUERIES, RUNTIME, TRAIN, Killed, Small, killed_at, mined_lists, seal, small
from torch import nn

from hardneg.errors import HardnegError
from hardneg.methods.axes import function_of
from hardneg.methods.draws import Positions, TrainingQueries
from hardneg.methods.order.shuffle import rows as rows_of_step
from hardneg.model.encoder import Encoder, encode_rows
from hardneg.stages.artifacts import Artifact, StageFolder
from hardneg.text.tokens import TokenStore
from hardneg.training.draws import Draws
from hardneg.training.loop import Budget, fit, new_accelerator
from hardneg.training.schedule import generator, total_steps
from hardneg.training.state import Log
from hardneg.training.train import train as train_stage

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return small(tmp_path_factory.mktemp("small"))


# --- data order ---


def shuffled(positions: Positions, step: int, batch_size: int, seed: int) -> Positions:
    return rows_of_step(TrainingQueries(positions, batch_size, seed), step)


def test_each_epoch_is_a_permutation() -> None:
    rows = np.arange(100, 111)
    stream = np.concatenate([shuffled(rows, step, 4, seed=1) for step in range(33)])
    epochs = stream.reshape(12, 11)
    assert all(sorted(epoch) == rows.tolist() for epoch in epochs.tolist())
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 12
    assert not np.array_equal(shuffled(rows, 0, 4, seed=2), stream[:4])


def test_a_batch_may_be_larger_than_an_epoch() -> None:
    rows = np.arange(3)
    stream = np.concatenate([shuffled(rows, step, 8, seed=0) for step in range(3)]).reshape(8, 3)
    assert all(sorted(epoch) == [0, 1, 2] for epoch in stream.tolist())


def test_random_numbers_belong_to_seed_step_and_purpose() -> None:
    drawn = [generator(*key).random() for key in [(1, 2, 0), (1, 2, 1), (1, 3, 0), (2, 2, 0), (2, 1, 0)]]
    assert len(set(drawn)) == 5 and generator(1, 2).random() == drawn[0]


# --- schedule ---


@pytest.mark.parametrize(("total", "rounds"), [(10, 3), (9, 3), (7, 2), (100, 8)])
def test_rounds_partition_the_steps(total: int, rounds: int) -> None:
    steps = function_of("refresh", {"name": "rounds", "rounds": rounds})
    parts = [steps(total, number) for number in range(1, rounds + 1)]
    assert [step for first, end in parts for step in range(first, end)] == list(range(total))
    lengths = [end - first for first, end in parts]
    assert max(lengths) - min(lengths) <= 1
    assert all(function_of("refresh", {"name": name})(total, 1) == (0, total) for name in ("never", "every_step"))


def test_total_steps() -> None:
    assert total_steps(7, None, 100, 8) == 7
    assert total_steps(None, 1, 100, 8) == 13
    assert total_steps(None, 2.5, 100, 10) == 25
    assert total_steps(None, 0.001, 100, 10) == 1


# --- the loop, with a small module ---


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.LayerNorm(8), nn.Linear(8, 1))


def run(
    module: nn.Module,
    folder: Path,
    stop: int | None = None,
    last: float | None = None,
    scaler: torch.amp.GradScaler | None = None,
    **options: Any,
) -> Log:
    """Eight steps, with a checkpoint after each; killed at step `stop`, or with the loss `last` at the end."""
    folder.mkdir(exist_ok=True)
    stage = StageFolder(folder, {"settings": {"train": {**TRAIN, **options}, "seed": 7}}, {})

    def compute_loss(step: int, log: Log) -> torch.Tensor:
        if step == stop:
            raise Killed
        batch = torch.from_numpy(generator(7, step).normal(size=(16, 4)).astype(np.float32))
        log.kept[f"{step:03d}"] = batch[0]
        loss: torch.Tensor = (module(batch).squeeze(1) - batch.sum(1)).pow(2).mean()
        return loss * last if last is not None and step == 7 else loss

    accelerator = new_accelerator(CPU, "fp32", [], folder)
    accelerator.scaler = scaler
    return fit(module, compute_loss, stage, Budget(0, 8, 8), accelerator, checkpoint_seconds=0.0, label="train made")


def assert_same(one: tuple[nn.Module, Log], other: tuple[nn.Module, Log]) -> None:
    before, after = (module.state_dict() for module, _ in (one, other))
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert one[1].rows == other[1].rows
    assert one[1].kept.keys() == other[1].kept.keys()
    assert all(torch.equal(tensor, other[1].kept[name]) for name, tensor in one[1].kept.items())


@pytest.fixture
def undisturbed(tmp_path: Path) -> tuple[nn.Module, Log]:
    module = network()
    return module, run(module, tmp_path / "undisturbed")


def test_a_resumed_run_ends_as_an_undisturbed_one(undisturbed: tuple[nn.Module, Log], tmp_path: Path) -> None:
    for stop in (5, 6):  # killed twice
        with pytest.raises(Killed):
            run(network(), tmp_path / "killed", stop)
    checkpoints = sorted(path.name for path in (tmp_path / "killed" / "checkpoints").iterdir())
    assert checkpoints == ["step-000000005.safetensors", "step-000000006.safetensors"]
    module = network()
    assert_same(undisturbed, (module, run(module, tmp_path / "killed")))
    assert [step for step, _, _ in undisturbed[1].rows] == [2, 4, 6, 8]
    assert not torch.equal(module.state_dict()["0.weight"], network().state_dict()["0.weight"])


@pytest.mark.parametrize("left", [0, 5, 700])
def test_an_unreadable_checkpoint_is_passed_over(
    undisturbed: tuple[nn.Module, Log], tmp_path: Path, capsys: pytest.CaptureFixture[str], left: int
) -> None:
    with pytest.raises(Killed):
        run(network(), tmp_path / "killed", 5)
    newest = tmp_path / "killed" / "checkpoints" / "step-000000005.safetensors"
    newest.write_bytes(newest.read_bytes()[:left])
    module = network()
    assert_same(undisturbed, (module, run(module, tmp_path / "killed")))
    said = capsys.readouterr().out
    assert f"passing over an unreadable checkpoint: {newest}" in said and "resuming train made at step 4" in said


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.6, 0.95])
def test_a_checkpoint_with_a_flipped_bit_is_passed_over(
    undisturbed: tuple[nn.Module, Log], tmp_path: Path, capsys: pytest.CaptureFixture[str], share: float
) -> None:
    with pytest.raises(Killed):
        run(network(), tmp_path / "killed", 5)
    newest = tmp_path / "killed" / "checkpoints" / "step-000000005.safetensors"
    content = bytearray(newest.read_bytes())
    content[int(share * len(content))] ^= 4
    newest.write_bytes(content)
    module = network()
    assert_same(undisturbed, (module, run(module, tmp_path / "killed")))
    assert f"passing over an unreadable checkpoint: {newest}" in capsys.readouterr().out


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_diverged_loss_is_told(tmp_path: Path, bad: float) -> None:
    with pytest.raises(HardnegError, match=r"Training diverged\.\n.*step 8\n.*loss (nan|inf)"):
        run(network(), tmp_path / "diverged", last=bad)


def test_the_learning_rate_rises_and_falls(undisturbed: tuple[nn.Module, Log]) -> None:
    """Linear: two steps up to the peak, then down to nothing at the end of all 8."""
    rates = [lr for _, _, lr in undisturbed[1].rows]
    assert rates == pytest.approx([TRAIN["lr"] * factor for factor in (1 / 2, 5 / 6, 3 / 6, 1 / 6)])


def test_a_schedule_may_be_planned_for_more_steps_than_are_run(tmp_path: Path) -> None:
    """The reference implementation plans 196k steps and stops at 50k: the rate never comes near 0."""
    rates = [lr for _, _, lr in run(network(), tmp_path / "planned", schedule_steps=22).rows]
    assert rates == pytest.approx([TRAIN["lr"] * factor for factor in (1 / 2, 19 / 20, 17 / 20, 15 / 20)])
    same = run(network(), tmp_path / "same", schedule_steps=8)
    assert same.rows == run(network(), tmp_path / "plain", schedule_steps=None).rows


def test_a_schedule_that_ends_before_the_training_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HardnegError, match=r"ends before the training\.\n.*train.schedule_steps\n.*7 steps .* for 8"):
        run(network(), tmp_path / "short", schedule_steps=7)


def test_lamb_resumes_too(tmp_path: Path) -> None:
    whole, resumed = network(), network()
    log = run(whole, tmp_path / "whole", optimizer="lamb")
    with pytest.raises(Killed):
        run(network(), tmp_path / "killed", 5, optimizer="lamb")
    assert_same((whole, log), (resumed, run(resumed, tmp_path / "killed", optimizer="lamb")))
    plain = network()
    run(plain, tmp_path / "adamw")
    assert not torch.equal(plain.state_dict()["0.weight"], whole.state_dict()["0.weight"])


def test_the_loss_scale_of_fp16_is_resumed(tmp_path: Path) -> None:
    """On a CPU with a scaler set by hand. Half-way the scale has grown; a new scaler would begin where it began."""

    def scaler() -> torch.amp.GradScaler:
        return torch.amp.GradScaler("cpu", init_scale=2.0**-30, growth_interval=2)

    whole, resumed, last = network(), network(), scaler()
    log = run(whole, tmp_path / "whole", scaler=last)
    assert last.get_scale() == 2.0**-26
    with pytest.raises(Killed):
        run(network(), tmp_path / "killed", 5, scaler=scaler())
    assert_same((whole, log), (resumed, run(resumed, tmp_path / "killed", scaler=(again := scaler()))))
    assert again.get_scale() == last.get_scale()


def test_fp16_needs_a_gpu(tmp_path: Path) -> None:
    with pytest.raises(HardnegError, match=r"fp16 training needs a GPU\.\n.*arithmetic.precision"):
        new_accelerator(CPU, "fp16", [], tmp_path)


# --- an encoder ---


def train(made: Small, folder: Path, parents: dict[str, Artifact] | None = None, **settings: Any) -> dict[str, bytes]:
    stage = made.training(folder, parents, **settings)
    return {name: (folder / name).read_bytes() for name in train_stage(stage, RUNTIME, [CPU])}


def test_a_resumed_encoder_has_the_same_bytes(made: Small, tmp_path: Path) -> None:
    undisturbed = train(made, tmp_path / "undisturbed", source="random")
    stage = made.training(tmp_path / "killed", source="random")
    with killed_at(4):
        train_stage(stage, RUNTIME, [CPU])
    names = train_stage(stage, RUNTIME, [CPU])
    assert {name: (stage.folder / name).read_bytes() for name in names} == undisturbed
    seal(stage, names)
    assert not (stage.folder / "checkpoints").exists()
    assert train(made, tmp_path / "other", source="random", seed=6) != undisturbed


def test_two_rounds_with_the_same_negatives_are_one_run(made: Small, tmp_path: Path) -> None:
    """Weights, moments, schedule and data order go on; only the negatives would be mined anew."""
    whole = train(made, tmp_path / "whole")
    rounds: dict[str, Any] = {"refresh": {"name": "rounds", "rounds": 2}}
    stage = made.training(tmp_path / "first", round=1, **rounds)
    first = seal(stage, train_stage(stage, RUNTIME, [CPU]))
    assert first.facts["steps"] == 3 and "handover.safetensors" in first.manifest["files"]
    second = train(made, tmp_path / "second", {"continues": first}, round=2, **rounds)
    encoder = {name for name in whole if name.startswith("encoder/")}
    assert encoder and {name: second[name] for name in encoder} == {name: whole[name] for name in encoder}
    assert "handover.safetensors" not in second
    assert second["loss.csv"].splitlines()[-2:] == whole["loss.csv"].splitlines()[-2:]


def met(made: Small, stage: StageFolder) -> tuple[Artifact, list[int]]:
    """Train a stage, and return it with the queries that its steps met."""
    seen: dict[int, list[int]] = {}
    rows = Draws.rows

    def noted(draws: Draws, step: int) -> Positions:
        found = rows(draws, step)
        seen[step] = found.tolist()
        return found

    with mock.patch.object(Draws, "rows", noted):
        done = seal(stage, train_stage(stage, RUNTIME, [CPU]))
    return done, [query for step in sorted(seen) for query in seen[step]]


def test_a_chain_of_trainings_may_meet_new_queries(made: Small, tmp_path: Path) -> None:
    """11 queries have a positive; the third training is in the second epoch."""
    order = [query for step in range(6) for query in shuffled(JUDGED.with_positives(), step, 4, seed=5).tolist()]
    first, seen = met(made, made.training(tmp_path / "first", train={**TRAIN, "steps": 1, "batch_size": 4}))
    assert seen == order[:4] and "queries_before" not in first.facts

    _, seen = met(made, made.training(tmp_path / "again", {"init": first}, train={**TRAIN, "steps": 1}))
    assert seen == order[:4]

    train = {**TRAIN, "steps": 1, "batch_size": 7, "new_queries": True}
    # Steps are whole: the first batch of 7 holds all that was met.
    second, seen = met(made, made.training(tmp_path / "second", {"init": first}, train=train))
    assert seen == order[7:14] and second.facts["queries_before"] == 7

    train = {**TRAIN, "steps": 2, "batch_size": 4, "new_queries": True}
    third, seen = met(made, made.training(tmp_path / "third", {"init": second}, train=train))
    assert seen == order[16:24] and third.facts["queries_before"] == 16


def test_the_rounds_of_a_training_begin_behind_the_same_queries(made: Small, tmp_path: Path) -> None:
    first, _ = met(made, made.training(tmp_path / "first", train={**TRAIN, "steps": 2}))
    train = {**TRAIN, "steps": 4, "new_queries": True}
    whole, expected = met(made, made.training(tmp_path / "whole", {"init": first}, train=train))
    rounds: dict[str, Any] = {"refresh": {"name": "rounds", "rounds": 2}, "train": train}
    one, seen = met(made, made.training(tmp_path / "one", {"init": first}, round=1, **rounds))
    other, more = met(made, made.training(tmp_path / "other", {"continues": one}, round=2, **rounds))
    assert seen + more == expected
    assert whole.facts["queries_before"] == one.facts["queries_before"] == other.facts["queries_before"] == 8


def test_gradient_checkpointing_changes_no_byte(made: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = train(made, tmp_path / "plain")
    layers = []
    own = torch.utils.checkpoint.checkpoint

    def noted(function: Any, *given: Any, **more: Any) -> Any:
        layers.append(function)
        return own(function, *given, **more)

    monkeypatch.setattr("transformers.modeling_utils.checkpoint", noted)
    assert train(made, tmp_path / "checkpointed", train={**TRAIN, "gradient_checkpointing": True}) == plain
    assert layers


def test_training_may_read_shorter_texts(made: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The encoder sees no more than `query_length` and `passage_length` tokens of each text."""
    widths: dict[str, set[int]] = {"queries": set(), "passages": set()}
    batch = TokenStore.batch

    def noted(self: TokenStore, positions: Any, multiple: int = 8) -> tuple[np.ndarray, np.ndarray]:
        ids, mask = batch(self, positions, multiple)
        widths["passages" if len(self) == 40 else "queries"].update(mask.sum(1).tolist())
        assert (ids[np.arange(len(ids)), mask.sum(1) - 1] == self.suffix[0]).all()
        return ids, mask

    monkeypatch.setattr(TokenStore, "batch", noted)
    plain = train(made, tmp_path / "plain")
    assert (max(widths["queries"]), max(widths["passages"])) == (12, 24)
    for seen in widths.values():
        seen.clear()
    cut = train(made, tmp_path / "cut", train={**TRAIN, "query_length": 5, "passage_length": 7})
    assert (max(widths["queries"]), max(widths["passages"])) == (5, 7) and cut != plain


def test_training_lowers_the_loss(made: Small, tmp_path: Path) -> None:
    options = {**TRAIN, "steps": 60, "log_every": 1, "batch_size": 8}
    losses = [loss for _, loss, _ in logged(train(made, tmp_path / "run", train=options))]
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])


# --- the loss of a step, with several sources and losses ---

STILL = {**ENCODER, "tiny": {**ENCODER["tiny"], "dropout": 0.0}}


def logged(files: dict[str, bytes]) -> list[tuple[float, ...]]:
    """Step, loss and learning rate, as they were logged."""
    return [tuple(map(float, line.split(","))) for line in files["loss.csv"].decode().splitlines()[1:]]


def lists_from(first: int) -> dict[int, list[int]]:
    return {q: [p for p in range(first, first + 9) if (q, p) not in POSITIVE] for q in range(QUERIES)}


def first_loss(made: Small, folder: Path, parents: dict[str, Artifact] | None = None, **settings: Any) -> float:
    """The loss of the first step, without dropout."""
    options = {**TRAIN, "log_every": 1, "steps": 1, "warmup_steps": 0}
    given = {"encoder": STILL, "train": options, **settings}
    return logged(train(made, folder, parents, **given))[0][1]


def test_the_loss_of_a_step_with_several_sources(made: Small, tmp_path: Path) -> None:
    """From the weights and from what meets: RankNet over the query's own negatives of both sources."""
    parents = {
        name: mined_lists(tmp_path / name, lists_from(at)) for name, at in (("negatives", 12), ("negatives_2", 25))
    }
    sources = [{"name": "run", "weight": 1.0}, {"name": "run", "system": "other", "weight": 3.0}]
    settings = {"source": sources, "sampler": {"name": "uniform", "k": 9, "count": 4}, "batch": "own"}
    got = first_loss(made, tmp_path / "run", parents, **settings)

    stage = made.training(tmp_path / "replayed", parents, encoder=STILL, **settings)
    draws = Draws.of(stage.settings, stage.parents, JUDGED)
    encoder = made.encoder(seed=stage.settings["seed"], tiny=STILL["tiny"]).eval()
    meeting = draws.at(0)
    with torch.inference_mode():
        query, passage = (
            encode_rows(encoder, TokenStore(made.tokens, name), positions, 4, CPU).double().numpy()
            for name, positions in (("queries.train", meeting.rows), ("passages", meeting.passages))
        )
    scores, terms = query @ passage.T / 0.05, []
    for i in range(4):
        own = range(4 + 4 * i, 8 + 4 * i)
        assert sorted(int(meeting.passages[c]) >= 25 for c in own) == [False, True, True, True]
        terms += [np.logaddexp(0, scores[i, c] - scores[i, i]) for c in own]
    assert got == pytest.approx(np.mean(terms), rel=1e-4)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.25, 3.0)])
def test_losses_add_up_by_their_weights(made: Small, tmp_path: Path, weights: tuple[float, float]) -> None:
    names = ("ranknet", "softmax")
    alone = [first_loss(made, tmp_path / name, loss=name) for name in names]
    together = first_loss(
        made,
        tmp_path / "together",
        loss=[{"name": name, "weight": weight} for name, weight in zip(names, weights, strict=True)],
    )
    assert abs(alone[0] - alone[1]) > 0.1
    assert together == pytest.approx(sum(weight * loss for weight, loss in zip(weights, alone, strict=True)), rel=1e-5)


def test_the_weight_of_a_single_loss_counts(made: Small, tmp_path: Path) -> None:
    """Twice the loss is twice the gradient, which the optimizer is told of."""
    plain = first_loss(made, tmp_path / "plain")
    assert first_loss(made, tmp_path / "twice", loss={"name": "ranknet", "weight": 2.0}) == pytest.approx(2 * plain)


def test_what_is_said_of_a_training(made: Small, tmp_path: Path) -> None:
    stage = made.training(tmp_path / "run", encoder=STILL)
    names = train_stage(stage, RUNTIME, [CPU])
    assert {key: stage.facts[key] for key in ("first_step", "steps", "queries")} == {
        "first_step": 0,
        "steps": TRAIN["steps"],
        "queries": 11,
    }
    sealed = seal(stage, names)
    before, after = made.encoder(seed=5, tiny=STILL["tiny"]).state_dict(), Encoder.load(sealed).state_dict()
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
