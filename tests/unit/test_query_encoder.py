"""ADORE: it trains on the exact top-k under each step's query vectors, and never touches a passage vector."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made import QRELS, RUNTIME, TRAIN, Small, seal, small, stage_of
from safetensors.torch import load_file

from hardneg.artifacts import Artifact, StageFolder, file_digest
from hardneg.data.judgements import Judgements
from hardneg.embedding import encode_passages
from hardneg.encoder import Encoder, encode_rows
from hardneg.tokens import TokenStore
from hardneg.training import query_encoder
from hardneg.training.loop import Log, rows_of_step

CPU = torch.device("cpu")
DEPTH = 7


@pytest.mark.parametrize(("cut", "expected"), [(None, 3 + 2 / math.log2(3) + 1 / 2), (2, 3 + 2 / math.log2(3)), (1, 3)])
def test_ideal_dcg(cut: int | None, expected: float) -> None:
    """Query 0 is judged 1, 3, 0 and 2; query 1 only 0."""
    query, passage, grade = np.array([[0, 4, 1], [0, 2, 3], [0, 7, 0], [0, 9, 2], [1, 3, 0], [2, 5, 1]]).T
    judged = Judgements(query, passage, grade, 3, 10)
    best = query_encoder.ideal_dcg(judged, np.array([2, 0, 1]), cut)
    assert best.dtype == np.float32
    assert best.tolist() == pytest.approx([1, expected, 0])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return small(tmp_path_factory.mktemp("small"))


def adore_of(folder: Path, parents: dict[str, Artifact], metric: str = "MRR", **options: Any) -> StageFolder:
    settings = {
        "source": {"name": "live", "depth": DEPTH, "append": "missing"},
        "loss": {"name": "lambda_ranknet", "metric": metric, "cut": 5},
        "train": {**TRAIN, **options},
        "seed": 5,
        "split": "train",
        "precision": "fp32",
    }
    return stage_of(folder, settings, parents)


def parents_of(made: Small, folder: Path) -> dict[str, Artifact]:
    """A model, the vectors of all passages in two shards, and the settings of a Flat index."""
    encoder, store = made.encoder(seed=1), TokenStore(made.tokens, "passages")
    stage = stage_of(folder / "passages", {})
    stage.facts = {"shards": ["a.npy", "b.npy"]}
    for name, rows in zip(stage.facts["shards"], [(0, 25), (25, 40)], strict=True):
        target = stage.folder / name
        encode_passages(encoder, store, target, rows, dtype="float32", precision="fp32", device=CPU, label="encode")
    return {
        "collection": made.collection,
        "tokens": made.tokens,
        "init": made.model(folder / "model", encoder),
        "passages": seal(stage, stage.facts["shards"]),
        "index": seal(stage_of(folder / "index", {"factory": "Flat"}), []),
    }


@pytest.mark.parametrize("metric", ["MRR", "nDCG"])
def test_it_trains_on_the_exact_top_k(made: Small, tmp_path: Path, metric: str) -> None:
    parents = parents_of(made, tmp_path)
    shards = [parents["passages"].path(name) for name in ("a.npy", "b.npy")]
    before = [file_digest(path) for path in shards]
    stage = adore_of(tmp_path / "adore", parents, metric)
    trained = seal(stage, query_encoder.train(stage, RUNTIME, [CPU]))
    assert [file_digest(path) for path in shards] == before

    passages = np.concatenate([np.load(path) for path in shards]).astype(np.float64)
    kept = load_file(trained.path("kept.safetensors"))
    positives = np.array(sorted({query for query, _, grade in QRELS if grade > 0}))
    store, start = TokenStore(made.tokens, "queries.train"), made.encoder(seed=1).eval()
    for step in range(1, TRAIN["steps"] + 1):
        queries, vectors, retrieved, scores = (
            kept[f"{step:06d}.{name}"].numpy() for name in ("queries", "vectors", "retrieved", "scores")
        )
        assert np.array_equal(queries, rows_of_step(positives, step - 1, TRAIN["batch_size"], 5))
        every = vectors.astype(np.float64) @ passages.T
        order = np.argsort(-every, axis=1, kind="stable")[:, :DEPTH]
        assert np.array_equal(retrieved, order)
        np.testing.assert_allclose(scores, np.take_along_axis(every, order, 1), atol=1e-6)
        with torch.inference_mode():
            plain = encode_rows(start, store, queries, 4, CPU).numpy()
        assert np.abs(vectors - plain).max() > 1e-3  # dropout is on, and after the first step the weights moved

    first, last = (made.encoder(seed=1).state_dict(), load_file(trained.path("encoder/backbone/model.safetensors")))
    assert any(not torch.equal(tensor, first[f"backbone.{name}"]) for name, tensor in last.items())


def test_the_loss_sees_the_list_in_float32(made: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under mixed precision too: the retrieved list with its scores, then the positives that are not in it."""
    seen: list[torch.Tensor] = []
    log = Log()

    def note(*given: torch.Tensor, metric: str, cut: int) -> torch.Tensor:
        seen.extend(given)
        return given[0].sum()

    def one_step(module: Any, compute_loss: Any, *rest: Any, **more: Any) -> Log:
        with torch.autocast("cpu", torch.bfloat16):
            compute_loss(0, log)
        return Log()

    monkeypatch.setattr("hardneg.losses.lambda_ranknet", note)
    monkeypatch.setattr(query_encoder, "fit", one_step)
    query_encoder.train(adore_of(tmp_path / "adore", parents_of(made, tmp_path), "MRR"), RUNTIME, [CPU])
    scores, grades, listed, ideal = (tensor.detach() for tensor in seen)
    torch.testing.assert_close(scores[:, :DEPTH], log.kept["000001.scores"] / 0.05, rtol=1e-5, atol=1e-5)
    relevant = {(query, passage): grade for query, passage, grade in QRELS if grade > 0}
    for row, query in enumerate(log.kept["000001.queries"].tolist()):
        top = log.kept["000001.retrieved"][row].tolist()
        joined = [grade for (q, passage), grade in sorted(relevant.items()) if q == query and passage not in top]
        expected = [relevant.get((query, passage), 0) for passage in top] + joined
        assert grades[row][listed[row]].tolist() == expected
        best = sorted((grade for (q, _), grade in relevant.items() if q == query), reverse=True)
        dcg = sum(grade / math.log2(rank + 2) for rank, grade in enumerate(best))
        assert ideal[row].item() == pytest.approx(dcg)


def test_queries_may_be_shorter_in_training(made: Small, tmp_path: Path) -> None:
    """The first step's vectors are those of queries cut at `query_length`; gradient checkpointing changes no byte."""
    parents = parents_of(made, tmp_path)
    trained: dict[str, dict[str, bytes]] = {}
    options: dict[str, dict[str, Any]] = {
        "plain": {},
        "cut": {"query_length": 4},
        "longer": {"query_length": 99},
        "checkpointed": {"gradient_checkpointing": True},
    }
    for name, changes in options.items():
        stage = adore_of(tmp_path / name, parents, **changes)
        names = query_encoder.train(stage, RUNTIME, [CPU])
        trained[name] = {file: (stage.folder / file).read_bytes() for file in names}
    assert trained["longer"] == trained["checkpointed"] == trained["plain"]
    before, after = (load_file(tmp_path / name / "kept.safetensors") for name in ("plain", "cut"))
    whole = TokenStore(made.tokens, "queries.train")
    long = whole.lengths(before["000001.queries"].numpy()) > 4
    assert long.any() and torch.equal(before["000001.queries"], after["000001.queries"])
    changed = (before["000001.vectors"] != after["000001.vectors"]).any(1).numpy()
    assert changed[long].all()


def test_gradient_checkpointing_reaches_the_query_encoder(
    made: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Encoder] = []
    monkeypatch.setattr(Encoder, "checkpoint_gradients", lambda encoder: asked.append(encoder))
    parents = parents_of(made, tmp_path)
    query_encoder.train(adore_of(tmp_path / "adore", parents, gradient_checkpointing=True), RUNTIME, [CPU])
    query_encoder.train(adore_of(tmp_path / "plain", parents), RUNTIME, [CPU])
    assert len(asked) == 1
