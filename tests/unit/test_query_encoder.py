"""ADORE: it trains on the exact top-k under each step's query vectors, and never touches a passage vector."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from made import QRELS, RUNTIME, TRAIN, Small, seal, small, stage_of
from safetensors.torch import load_file

from hardneg.data.judgements import Judgements
from hardneg.losses import lambda_ranknet
from hardneg.model.embedding import encode_passages
from hardneg.model.encoder import Encoder, encode_rows
from hardneg.retrieval.mine import FILE
from hardneg.retrieval.runs import RunWriter
from hardneg.retrieval.search.index import build_index
from hardneg.retrieval.search.vectors import VectorStore
from hardneg.stages.artifacts import Artifact, StageFolder, file_digest
from hardneg.text.tokens import TokenStore
from hardneg.training import query_encoder
from hardneg.training.lists import by_score
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


def adore_of(
    folder: Path,
    parents: dict[str, Artifact],
    metric: str = "MRR",
    changes: Mapping[str, Any] = MappingProxyType({}),
    **options: Any,
) -> StageFolder:
    settings = {
        "source": {"name": "live", "depth": DEPTH, "append": "missing"},
        "sampler": {"name": "all"},
        "refresh": {"name": "every_step"},
        "round": 1,
        "loss": {"name": "lambda_ranknet", "metric": metric, "cut": 5},
        "train": {**TRAIN, **options},
        "seed": 5,
        "split": "train",
        "precision": "fp32",
        "search": {"nprobe": None, "ef_search": None},
        "probe": None,
        **changes,
    }
    return stage_of(folder, settings, parents)


def static_lists(folder: Path, per_query: int) -> Artifact:
    """For each query some passages that are not judged relevant, the same number, in an order of their own."""
    stage, relevant = stage_of(folder, {}), {(query, passage) for query, passage, grade in QRELS if grade > 0}
    with RunWriter(stage.folder / FILE) as writer:
        for query in range(12):
            order = np.random.default_rng(query).permutation(40)
            passages = [passage for passage in order if (query, passage) not in relevant][:per_query]
            ranks = np.arange(1, per_query + 1)
            writer.append(np.full(per_query, query), np.array(passages), ranks, -ranks.astype(np.float32))
    return seal(stage, [FILE])


def parents_of(made: Small, folder: Path) -> dict[str, Artifact]:
    """A model, the vectors of all passages in two shards, and the settings of a Flat index."""
    encoder, store = made.encoder(seed=1), TokenStore(made.tokens, "passages")
    stage = stage_of(folder / "passages", {})
    stage.facts = {"shards": ["a.npy", "b.npy"], "rows": 40}
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


STATIC = {
    "source": {"name": "run"},
    "sampler": {"name": "top", "count": DEPTH},
    "refresh": {"name": "never"},
}


def test_static_lists_are_trained_on_in_the_order_of_the_present_scores(
    made: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of a step, from passage vectors and lists put together here."""
    losses: list[float] = []

    def one_step(module: Any, compute_loss: Any, *rest: Any, **more: Any) -> Log:
        losses.append(compute_loss(0, Log()).item())
        return Log()

    monkeypatch.setattr(query_encoder, "fit", one_step)
    parents = {**parents_of(made, tmp_path), "negatives": static_lists(tmp_path / "mined", DEPTH + 2)}
    encoder = made.encoder(seed=1).eval()
    monkeypatch.setattr(Encoder, "load", lambda stage: encoder)  # without dropout
    query_encoder.train(adore_of(tmp_path / "static", parents, changes=STATIC), RUNTIME, [CPU])

    passages = np.concatenate([np.load(parents["passages"].path(name)) for name in ("a.npy", "b.npy")])
    mined = pq.read_table(parents["negatives"].path(FILE)).to_pandas()
    rows = rows_of_step(np.array(sorted({q for q, _, grade in QRELS if grade > 0})), 0, TRAIN["batch_size"], 5)
    expected = []
    for row in rows.tolist():
        with torch.inference_mode():
            query = encode_rows(encoder, TokenStore(made.tokens, "queries.train"), np.array([row]), 4, CPU)
        grades = dict.fromkeys(mined[mined["query"] == row]["passage"].head(DEPTH), 0)
        grades |= {passage: grade for q, passage, grade in QRELS if q == row and grade > 0}
        scored = sorted(((float(query[0] @ torch.from_numpy(passages[p])), g) for p, g in grades.items()), reverse=True)
        scores, labels = (torch.tensor([column]) for column in zip(*scored, strict=True))
        listed = torch.ones_like(labels, dtype=torch.bool)
        expected.append(float(lambda_ranknet(scores / 0.05, labels, listed, torch.ones(1), metric="MRR", cut=5)))
    assert losses == [pytest.approx(np.mean(expected), rel=1e-5)]


def test_entries_beyond_a_lists_end_stay_last() -> None:
    scores = torch.tensor([[0.5, 9.0, 2.0, 0.5], [1.0, 3.0, 2.0, 0.0]], requires_grad=True)
    listed = torch.tensor([[True, False, True, True], [True, True, True, True]])
    ordered, names, kept = by_score(scores, torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]]), listed=listed)
    assert names.tolist() == [[3, 1, 4, 2], [6, 7, 5, 8]]
    assert kept.tolist() == [[True, True, True, False], [True] * 4]
    torch.autograd.backward((ordered * torch.tensor([[1.0, 2, 3, 4]])).sum())
    assert scores.grad is not None and scores.grad.tolist() == [[2, 4, 1, 3], [3, 1, 2, 4]]


@pytest.mark.parametrize("changes", [{}, STATIC], ids=["live", "static"])
def test_probes_look_and_change_nothing(made: Small, tmp_path: Path, changes: dict[str, Any]) -> None:
    parents = {**parents_of(made, tmp_path), "negatives": static_lists(tmp_path / "mined", DEPTH)}
    trained = {}
    for name, probe in (("plain", None), ("probed", {"every": 4, "split": "train"})):
        stage = adore_of(tmp_path / name, parents, changes={**changes, "probe": probe})
        trained[name] = seal(stage, query_encoder.train(stage, RUNTIME, [CPU]))
    weights = "encoder/backbone/model.safetensors"
    assert trained["plain"].path(weights).read_bytes() == trained["probed"].path(weights).read_bytes()

    kept, store = load_file(trained["probed"].path("kept.safetensors")), TokenStore(made.tokens, "queries.train")
    assert sorted(key for key in kept if key.startswith("probe")) == ["probe.000000", "probe.000004", "probe.000006"]
    for step, encoder in ((0, made.encoder(seed=1)), (6, Encoder.load(trained["probed"]))):
        with torch.inference_mode():
            plain = encode_rows(encoder.eval(), store, np.arange(len(store)), 4, CPU)
        torch.testing.assert_close(kept[f"probe.{step:06d}"], plain, rtol=0, atol=1e-6)
    assert sorted(key for key in kept if key.startswith("batch")) == [
        f"batch.{step:06d}.{name}" for step in (0, 4) for name in ("queries", "vectors")
    ]
    positives = np.array(sorted({query for query, _, grade in QRELS if grade > 0}))
    assert np.array_equal(kept["batch.000004.queries"].numpy(), rows_of_step(positives, 4, TRAIN["batch_size"], 5))


def test_it_is_scored_with_the_vectors_of_the_index_that_serves(
    made: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Product quantiser after a projection: the loss sees the index's own scores, not those of the exact vectors."""
    seen: list[torch.Tensor] = []
    log = Log()

    def note(*given: torch.Tensor, metric: str, cut: int) -> torch.Tensor:
        seen.extend(given)
        return given[0].sum()

    def one_step(module: Any, compute_loss: Any, *rest: Any, **more: Any) -> Log:
        compute_loss(0, log).backward()
        return Log()

    monkeypatch.setattr("hardneg.losses.lambda_ranknet", note)
    monkeypatch.setattr(query_encoder, "fit", one_step)
    parents = parents_of(made, tmp_path)
    index = stage_of(tmp_path / "pq", {"factory": "PCA12,PQ4x4"})
    options: dict[str, Any] = {"train_rows": 40, "seed": 0, "rows_per_file": 15}
    vectors = VectorStore([parents["passages"].path(name) for name in ("a.npy", "b.npy")])
    index.facts = build_index(vectors, "PCA12,PQ4x4", index.folder, **options)
    parents["index"] = seal(index, index.facts["files"])
    query_encoder.train(adore_of(tmp_path / "adore", parents), RUNTIME, [CPU])
    found = log.kept["000001.scores"] / 0.05
    torch.testing.assert_close(seen[0].detach()[:, :DEPTH], found, rtol=1e-4, atol=1e-4)
    exact = vectors.take(log.kept["000001.retrieved"].ravel()).reshape(len(found), DEPTH, -1)
    plain = np.einsum("qd,qld->ql", log.kept["000001.vectors"].numpy(), exact) / 0.05
    assert np.abs(plain - found.numpy()).max() > 0.1
