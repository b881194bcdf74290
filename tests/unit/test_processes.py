"""Training in several processes is the training of one: rows, dropout, masks, hits, and what a kill leaves."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made import (
    ENCODER,
    JUDGED,
    PASSAGES,
    POSITIVE,
    QUERIES,
    RUNTIME,
    TRAIN,
    Small,
    mined_lists,
    seal,
    small,
    stage_of,
    training_settings,
)
from safetensors.torch import load_file

from hardneg.errors import HardnegError, Stopped
from hardneg.model.dropout import Dropout
from hardneg.model.embedding import encode_passages
from hardneg.model.rows import DropoutOfAll, Rows, share_of
from hardneg.retrieval.search import exact, on_cpu
from hardneg.retrieval.search.index import build_index
from hardneg.retrieval.search.vectors import VectorStore
from hardneg.stages.artifacts import Artifact, StageFolder
from hardneg.text.tokens import TokenStore
from hardneg.training.draws import Draws
from hardneg.training.launch import trained
from hardneg.training.processes import Processes
from hardneg.training.train import train

CPU = torch.device("cpu")
TINY = {**ENCODER["tiny"], "dropout": 0.2, "attention_dropout": 0.2}
SEVEN = {**TRAIN, "batch_size": 7, "lr": 1e-3}  # forward passes of 4 rows and of 3
BLOCK = 8
DEPTH = 7
STOPS_AT = 3
KINDS = [
    "star",
    "untied",
    "chunks",
    "recomputed",
    "one_pass",
    "adore",
    "jpq",
    "cross_encoder",
    "late_interaction",
]


def parents_of(made: Small, folder: Path) -> dict[str, Artifact]:
    """A model, its vectors of all passages, a Flat index, a PQ index, and mined lists."""
    encoder, stage = made.encoder(seed=1, tiny=TINY), stage_of(folder / "passages", {})
    stage.facts, target = {"shards": ["all.npy"], "rows": PASSAGES}, stage.folder / "all.npy"
    store, rows = TokenStore(made.tokens, "passages"), (0, PASSAGES)
    encode_passages(encoder, store, target, rows, dtype="float32", precision="fp32", device=CPU, label="encode")
    coded, factory = stage_of(folder / "coded", {"factory": "PQ4x4"}), "PQ4x4"
    coded.facts = build_index(VectorStore([target]), factory, coded.folder, train_rows=40, seed=0, rows_per_file=15)
    lists = {q: [p for p in range(PASSAGES) if (q, p) not in POSITIVE][q : q + 6] for q in range(QUERIES)}
    return {
        "collection": made.collection,
        "tokenizer": made.tokenizer,
        "tokens": made.tokens,
        "init": made.model(folder / "model", encoder),
        "passages": seal(stage, stage.facts["shards"]),
        "index": seal(stage_of(folder / "index", {"factory": "Flat"}), []),
        "coded": seal(coded, coded.facts["files"]),
        "negatives": mined_lists(folder / "mined", lists),
    }


def stages_of(parents: dict[str, Artifact], folder: Path) -> dict[str, StageFolder]:
    """A training of each kind, about to begin."""
    mined: dict[str, Any] = {"source": "run", "sampler": {"name": "uniform", "k": 5, "count": 1, "positives": "one"}}
    both: dict[str, Any] = {"encoder": {**ENCODER, "tiny": TINY}, "batch": "in_batch", **mined}
    read = {"encoder": {"backbone": "builtin:tiny", "tiny": TINY}, **mined}
    late = {**read, "encoder": {**read["encoder"], "width": 6}, "batch": "in_batch"}
    live = {"source": {"name": "live", "depth": DEPTH}, "sampler": "all", "refresh": "every_step"}
    lists = {"loss": {"name": "lambda_ranknet", "metric": "MRR", "cut": 5}, **live}
    searched = ("collection", "tokens", "init", "passages")
    trained_alone = ("collection", "tokenizer", "tokens", "negatives")
    chosen: dict[str, tuple[str, dict[str, Any], dict[str, Any], tuple[str, ...]]] = {
        "star": ("both_encoders", both, {}, trained_alone),
        "untied": ("both_encoders", {**both, "untied": True}, {}, trained_alone),
        "chunks": ("both_encoders", both, {"chunk": 3}, trained_alone),
        "recomputed": ("both_encoders", both, {"gradient_checkpointing": True}, trained_alone),
        "one_pass": ("both_encoders", both, {"batch_size": 8, "rows_per_forward": 64}, trained_alone),
        "adore": ("query_encoder", lists, {}, (*searched, "index")),
        "jpq": ("query_encoder", lists, {"centroids": {"lr": 1e-3}}, (*searched, "coded")),
        "cross_encoder": ("cross_encoder", {**read, "loss": "pointwise"}, {}, trained_alone),
        "late_interaction": ("late_interaction", {**late, "loss": "softmax"}, {"chunk": 3}, trained_alone),
    }
    made = {}
    for name in KINDS:
        trains, answers, options, roles = chosen[name]
        settings = training_settings(trains, **answers, train={**SEVEN, **options})
        made[name] = stage_of(
            folder / name, settings, {role.replace("coded", "index"): parents[role] for role in roles}
        )
    return made


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    """All that was trained, and the passages that the last search found."""
    found: dict[str, torch.Tensor] = {}
    for path in sorted(folder.rglob("*.safetensors")):
        if path.parent.name != "checkpoints" and path.name != "kept.safetensors":
            found |= {f"{path.parent.relative_to(folder)}/{name}": tensor for name, tensor in load_file(path).items()}
    for path in folder.glob("*.npy"):
        found[path.name] = torch.from_numpy(np.load(path))
    return found


def work(stage: StageFolder, runtime: dict[str, Any], devices: list[torch.device], processes: Processes) -> list[str]:
    """In each process: every training; then STAR again, stopped by a signal to the last process, and going on."""
    torch.set_num_threads(1)
    vars(exact).update(BLOCK=BLOCK)
    vars(on_cpu).update(COLUMNS=BLOCK)
    for each in runtime["stages"].values():
        train(each, RUNTIME, devices, processes)
    rows = Draws.rows

    def signalled(draws: Draws, step: int) -> Any:
        if step == STOPS_AT and processes.rank == processes.count - 1:
            os.kill(os.getpid(), signal.SIGUSR1)
        return rows(draws, step)

    Draws.rows = signalled  # type: ignore[method-assign, assignment]
    try:
        train(runtime["stopped"], {**RUNTIME, "checkpoint_seconds": 1e9}, devices, processes)
    except Stopped as asked:
        stage.facts["stopped"] = str(asked)
    Draws.rows = rows  # type: ignore[method-assign]
    train(runtime["stopped"], RUNTIME, devices, processes)
    return ["done"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return small(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def parents(made: Small, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    return parents_of(made, tmp_path_factory.mktemp("parents"))


@pytest.fixture(scope="module")
def alone(parents: dict[str, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trainings in this process."""
    folder = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "BLOCK", BLOCK)
        patch.setattr(on_cpu, "COLUMNS", BLOCK)
        for stage in stages_of(parents, folder).values():
            train(stage, RUNTIME, [CPU])
    return folder


def launched(parents: dict[str, Artifact], folder: Path, count: int) -> StageFolder:
    """The trainings in `count` processes."""
    runtime = {
        "gpus_per_training": count,
        "stages": stages_of(parents, folder),
        "stopped": stages_of(parents, folder / "stopped")["star"],
    }
    stage = stage_of(folder / "launched", {"train": SEVEN})
    assert trained(stage, runtime, ["cpu"] * count, work) == ["done"]
    return stage


@pytest.fixture(scope="module")
def by_two(parents: dict[str, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    return launched(parents, folder, 2).folder.parent


@pytest.fixture(scope="module")
def by_four(parents: dict[str, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("four")
    return launched(parents, folder, 4).folder.parent


TWO_OR_FOUR = [2, pytest.param(4, marks=pytest.mark.slow)]


@pytest.mark.parametrize("count", TWO_OR_FOUR)
def test_weights_are_those_of_one_process(alone: Path, request: pytest.FixtureRequest, count: int) -> None:
    """Batches of 7, in forward passes of 4 and of 3 rows, with dropout on."""
    folder: Path = request.getfixturevalue({2: "by_two", 4: "by_four"}[count])
    for name in KINDS:
        one, several = weights_of(alone / name), weights_of(folder / name)
        assert one.keys() == several.keys() and len(one) > 5, name
        apart = {key: float((several[key] - tensor).abs().max()) for key, tensor in one.items()}
        assert {key: distance for key, distance in apart.items() if distance > 1e-5} == {}, name


@pytest.mark.parametrize("count", TWO_OR_FOUR)
def test_live_search_finds_what_one_process_finds(alone: Path, request: pytest.FixtureRequest, count: int) -> None:
    """The passages lie in five blocks, which two or four processes share."""
    folder: Path = request.getfixturevalue({2: "by_two", 4: "by_four"}[count])
    one = load_file(alone / "adore" / "kept.safetensors")
    hits = [name for name in one if name.endswith(".retrieved")]
    assert len(hits) == TRAIN["steps"] and all(one[name].shape == (7, DEPTH) for name in hits)
    kept = load_file(folder / "adore" / "kept.safetensors")
    assert kept.keys() == one.keys() and all(torch.equal(kept[name], one[name]) for name in hits)
    for name in one.keys() - set(hits):
        torch.testing.assert_close(kept[name], one[name], rtol=0, atol=1e-4)


@pytest.mark.parametrize("count", [2, 4])
def test_a_passage_that_is_judged_for_a_row_of_another_process_is_no_negative(
    alone: Path, parents: dict[str, Artifact], tmp_path: Path, count: int
) -> None:
    """Queries 0 and 1 share their positive. In some step of the trainings above different processes encode the two."""
    stage = stages_of(parents, tmp_path)["star"]
    draws, store = Draws.of(stage.settings, stage.parents, JUDGED), TokenStore(parents["tokens"], "queries.train")
    apart = 0
    for step in range(TRAIN["steps"]):
        meeting = draws.at(step)
        rows = meeting.rows.tolist()
        if not {0, 1} <= set(rows):
            continue
        order = np.argsort(store.lengths(meeting.rows), kind="stable").tolist()
        owner: dict[int, int] = {}
        for start in range(0, len(order), TRAIN["rows_per_forward"]):
            within = order[start : start + TRAIN["rows_per_forward"]]
            for rank in range(count):
                first, end, _ = share_of(len(within), rank, count)
                owner |= dict.fromkeys(within[first:end], rank)
        one, other = rows.index(0), rows.index(1)
        assert sorted(owner) == list(range(7)) and meeting.passages[other] == 3
        assert meeting.met[one, other] and not meeting.listed[one, other]
        apart += owner[one] != owner[other]
    assert apart


def test_stopped_by_a_signal_to_one_process_and_going_on_it_ends_with_the_same_bytes(by_two: Path) -> None:
    whole, resumed = by_two / "star", by_two / "stopped" / "star"
    for name in ("encoder/backbone/model.safetensors", "loss.csv"):
        assert (whole / name).read_bytes() == (resumed / name).read_bytes()
    kept = {path.name for path in (resumed / "checkpoints").iterdir()}
    assert kept == {"step-000000004.safetensors", "step-000000005.safetensors"}, "at the signal, then after each step"
    assert not list(by_two.rglob("*.tmp"))
    steps = [line.split(",")[0] for line in (whole / "loss.csv").read_text(encoding="utf-8").splitlines()[1:]]
    assert steps == ["2", "4", "6"], "one process writes it"


# --- what goes wrong ---


def failing(
    stage: StageFolder, runtime: dict[str, Any], devices: list[torch.device], processes: Processes
) -> list[str]:
    """The last process ends in the third step, by a fault or by force."""
    (stage.folder / f"process-{processes.rank}").write_text(str(os.getpid()), encoding="utf-8")
    rows = Draws.rows

    def ending(draws: Draws, step: int) -> Any:
        if step == 2 and processes.rank == processes.count - 1:
            if runtime["by_force"]:
                os.kill(os.getpid(), signal.SIGKILL)
            raise HardnegError("The third step is bad.", where="here", remedy="none.")
        return rows(draws, step)

    Draws.rows = ending  # type: ignore[method-assign, assignment]
    return train(stage, runtime, devices, processes)


@pytest.mark.parametrize("by_force", [False, True], ids=["fault", "killed"])
def test_a_process_that_ends_ends_the_job_with_its_message(
    parents: dict[str, Artifact], tmp_path: Path, by_force: bool
) -> None:
    stage = stages_of(parents, tmp_path)["star"]
    said = r"ended from outside\.\n.*process 1\n.*SIGKILL" if by_force else r"^The third step is bad\.\n.*here"
    with pytest.raises(HardnegError, match=said):
        trained(stage, {**RUNTIME, "gpus_per_training": 2, "by_force": by_force}, ["cpu", "cpu"], failing)
    for path in stage.folder.glob("process-*"):
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.read_text(encoding="utf-8")), 0)
        path.unlink()
    assert sorted(path.name for path in stage.folder.iterdir()) == ["checkpoints", "progress.jsonl"]
    assert [path.name for path in stage.checkpoints.iterdir()] == [f"step-{n:09d}.safetensors" for n in (1, 2)]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


# --- rows and dropout ---


@pytest.mark.parametrize("total", [1, 3, 4, 7, 64])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_shares_are_all_rows_once_and_differ_by_one(total: int, count: int) -> None:
    shares = [share_of(total, rank, count) for rank in range(count)]
    assert [row for first, end, _ in shares for row in range(first, end)] == list(range(total))
    sizes = [end - first for first, end, _ in shares]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("causal", [False, True])
def test_dropout_over_some_rows_is_that_over_all(causal: bool) -> None:
    """In a module, and in attention with grouped heads."""
    rng = torch.Generator().manual_seed(0)
    drop, values = torch.nn.Dropout(0.3), torch.randn(5, 6, 8, generator=rng)
    query, key = torch.randn(5, 4, 6, 8, generator=rng), torch.randn(5, 2, 6, 8, generator=rng)
    options = {"dropout_p": 0.4, "is_causal": causal, "enable_gqa": True}

    def both(first: int, end: int) -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(3)
        part = slice(first, end)
        dropped = drop(values[part])
        attend = torch.nn.functional.scaled_dot_product_attention
        return dropped, attend(query[part], key[part], key[part], **options)  # type: ignore[arg-type]

    with Dropout():
        every = both(0, 5)
    for first, end in ((0, 2), (2, 5), (4, 5)):
        with DropoutOfAll(Rows(first, end, 5)):
            some = both(first, end)
        assert torch.equal(some[0], every[0][first:end])
        torch.testing.assert_close(some[1], every[1][first:end], rtol=1e-5, atol=1e-6)
