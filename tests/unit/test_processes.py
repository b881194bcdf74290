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

from hardneg.errors import Stopped
from hardneg.model.embedding import encode_passages
from hardneg.retrieval.search import exact
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
KINDS = ["star", "untied", "chunks", "recomputed", "dropped", "adore", "jpq", "cross_encoder"]


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
    mined = {"source": "run", "sampler": {"name": "uniform", "k": 5, "count": 1, "positives": "one"}}
    both = {"encoder": {**ENCODER, "tiny": TINY}, "batch": "in_batch", **mined}
    live = {"source": {"name": "live", "depth": DEPTH}, "sampler": "all", "refresh": "every_step"}
    lists = {"loss": {"name": "lambda_ranknet", "metric": "MRR", "cut": 5}, **live}
    searched = ("collection", "tokens", "init", "passages")
    trained_alone = ("collection", "tokenizer", "tokens", "negatives")
    chosen: dict[str, tuple[str, dict[str, Any], dict[str, Any], tuple[str, ...]]] = {
        "star": ("both_encoders", both, {}, trained_alone),
        "untied": ("both_encoders", {**both, "untied": True}, {}, trained_alone),
        "chunks": ("both_encoders", both, {"chunk": 3}, trained_alone),
        "recomputed": ("both_encoders", both, {"gradient_checkpointing": True}, trained_alone),
        "dropped": ("both_encoders", both, {"batch_size": 8, "rows_per_forward": 64}, trained_alone),
        "adore": ("query_encoder", lists, {}, (*searched, "index")),
        "jpq": ("query_encoder", lists, {"centroids": {"lr": 1e-3}}, (*searched, "coded")),
        "cross_encoder": (
            "cross_encoder",
            {"encoder": {"backbone": "builtin:tiny", "tiny": TINY}, **mined},
            {},
            trained_alone,
        ),
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
    found = {}
    for path in sorted(folder.rglob("*.safetensors")):
        if path.parent.name != "checkpoints" and path.name != "kept.safetensors":
            found |= {f"{path.parent.relative_to(folder)}/{name}": tensor for name, tensor in load_file(path).items()}
    for path in folder.glob("*.npy"):
        found[path.name] = torch.from_numpy(np.load(path))
    return found


def work(stage: StageFolder, runtime: dict[str, Any], devices: list[torch.device], processes: Processes) -> list[str]:
    """In each process: every training; then STAR again, stopped by a signal to the last process, and going on."""
    torch.set_num_threads(1)
    exact.BLOCK = exact.TILE = BLOCK
    for each in runtime["stages"].values():
        train(each, RUNTIME, devices, processes)
    rows = Draws.rows

    def signalled(draws: Draws, step: int) -> Any:
        if step == STOPS_AT and processes.rank == processes.count - 1:
            os.kill(os.getpid(), signal.SIGUSR1)
        return rows(draws, step)

    Draws.rows = signalled  # type: ignore[method-assign]
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
        patch.setattr(exact, "TILE", BLOCK)
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


@pytest.mark.parametrize("count", [2, 4])
def test_weights_are_those_of_one_process(alone: Path, request: pytest.FixtureRequest, count: int) -> None:
    """Batches of 7, in forward passes of 4 and of 3 rows, with dropout on."""
    folder: Path = request.getfixturevalue({2: "by_two", 4: "by_four"}[count])
    for name in KINDS:
        one, several = weights_of(alone / name), weights_of(folder / name)
        assert one.keys() == several.keys() and len(one) > 5, name
        apart = {key: float((several[key] - tensor).abs().max()) for key, tensor in one.items()}
        assert {key: distance for key, distance in apart.items() if distance > 1e-5} == {}, name
