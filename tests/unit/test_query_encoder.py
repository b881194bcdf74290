"""ADORE: it trains on the exact top-k under each step's query vectors, and never touches a passage vector."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from made import (
    ENCODER,
    JUDGED,
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

from hardneg.methods.batch import Origin
from hardneg.methods.draws import Positions, TrainingQueries
from hardneg.methods.order.shuffle import rows as shuffled
from hardneg.model.embedding import encode_passages
from hardneg.model.encoder import Encoder, encode_rows
from hardneg.retrieval.search.index import build_index
from hardneg.retrieval.search.vectors import VectorStore
from hardneg.stages.artifacts import Artifact, StageFolder, file_digest
from hardneg.text.tokens import TokenStore
from hardneg.training.draws import Draws, Meeting
from hardneg.training.scorers import Scorer, scorer_of
from hardneg.training.train import train

CPU = torch.device("cpu")
DEPTH = 7
STILL = {**ENCODER["tiny"], "dropout": 0.0}
LIVE: dict[str, Any] = {
    "source": {"name": "live", "depth": DEPTH},
    "sampler": {"name": "all"},
    "refresh": "every_step",
}
STATIC: dict[str, Any] = {"source": "run", "sampler": {"name": "top", "count": DEPTH}, "refresh": "never"}


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
    loss = {"name": "lambda_ranknet", "metric": metric, "cut": 5}
    answers = {**LIVE, "loss": loss, "train": {**TRAIN, **options}, **changes}
    settings = training_settings("query_encoder", **answers)
    return stage_of(folder, settings, parents)


def static_lists(folder: Path, per_query: int) -> Artifact:
    """For each query some passages that are not judged relevant, the same number, in an order of their own."""
    orders = {query: np.random.default_rng(query).permutation(40).tolist() for query in range(QUERIES)}
    return mined_lists(
        folder, {q: [p for p in found if (q, p) not in POSITIVE][:per_query] for q, found in orders.items()}
    )


def rows_of_step(step: int) -> Positions:
    positives = np.array(sorted({query for query, _ in POSITIVE}))
    return shuffled(TrainingQueries(positives, TRAIN["batch_size"], 5), step)


def first_step(stage: StageFolder) -> tuple[Scorer, torch.Tensor, Meeting, torch.Tensor]:
    """What trains, and the query vectors, what meets and its scores at the first step."""
    judged, live = JUDGED, stage.settings["live"]
    scorer = scorer_of(stage, RUNTIME, [CPU], judged, live)
    draws = Draws.of(stage.settings, stage.parents, judged, scorer.live)
    query = scorer.queries(draws.rows(0))
    assert query is not None
    meeting = draws.at(0, query)
    return scorer, query, meeting, scorer.scores(query, meeting)


def parents_of(made: Small, folder: Path, **changes: Any) -> dict[str, Artifact]:
    """A model, the vectors of all passages in two shards, and the settings of a Flat index."""
    encoder, store = made.encoder(seed=1, **changes), TokenStore(made.tokens, "passages")
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
    trained = seal(stage, train(stage, RUNTIME, [CPU]))
    assert [file_digest(path) for path in shards] == before

    passages = np.concatenate([np.load(path) for path in shards]).astype(np.float64)
    kept = load_file(trained.path("kept.safetensors"))
    store, start = TokenStore(made.tokens, "queries.train"), made.encoder(seed=1).eval()
    for step in range(1, TRAIN["steps"] + 1):
        queries, vectors, retrieved, scores = (
            kept[f"{step:06d}.{name}"].numpy() for name in ("queries", "vectors", "retrieved", "scores")
        )
        assert np.array_equal(queries, rows_of_step(step - 1))
        every = vectors.astype(np.float64) @ passages.T
        order = np.argsort(-every, axis=1, kind="stable")[:, :DEPTH]
        assert np.array_equal(retrieved, order)
        np.testing.assert_allclose(scores, np.take_along_axis(every, order, 1), atol=1e-6)
        with torch.inference_mode():
            plain = encode_rows(start, store, queries, 4, CPU).numpy()
        assert np.abs(vectors - plain).max() > 1e-3  # dropout is on, and after the first step the weights moved

    first, last = (made.encoder(seed=1).state_dict(), load_file(trained.path("encoder/backbone/model.safetensors")))
    assert any(not torch.equal(tensor, first[f"backbone.{name}"]) for name, tensor in last.items())


@pytest.mark.parametrize("autocast", [False, True])
def test_the_loss_sees_the_list_in_float32(made: Small, tmp_path: Path, autocast: bool) -> None:
    """Under mixed precision too: the retrieved list with its scores, then the positives that are not in it."""
    stage = adore_of(tmp_path / "adore", parents_of(made, tmp_path))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        scorer, _, meeting, scores = first_step(stage)
    assert scorer.found is not None and meeting.ranked
    retrieved, found = scorer.found
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores[:, :DEPTH], found / 0.05, rtol=1e-5, atol=1e-5)
    assert np.array_equal(meeting.rows, rows_of_step(0))
    for row, query in enumerate(meeting.rows.tolist()):
        top = retrieved[row].tolist()
        joined = [passage for q, passage in sorted(POSITIVE) if q == query and passage not in top]
        listed = meeting.listed[row]
        assert meeting.passages[row][listed].tolist() == top + joined
        assert meeting.grades[row][listed].tolist() == [POSITIVE.get((query, passage), 0) for passage in top + joined]
        best = sorted((grade for (q, _), grade in POSITIVE.items() if q == query), reverse=True)
        assert meeting.judged[row].tolist() == best + [0] * (meeting.judged.shape[1] - len(best))


def list_loss(query: int, scored: list[tuple[float, int]], metric: str, cut: int = 5) -> float:
    """Lambda-weighted RankNet of one list of (score, grade), best first, as the paper has it."""
    best = sorted((grade for (q, _), grade in POSITIVE.items() if q == query), reverse=True)[:cut]
    ideal = sum(grade / math.log2(rank + 1) for rank, grade in enumerate(best, 1))
    total, pairs = 0.0, 0
    for i, (high, better) in enumerate(scored, 1):
        for j, (low, worse) in enumerate(scored, 1):
            if better > worse:
                if metric == "MRR":
                    values = [1 / rank if rank <= cut else 0.0 for rank in (i, j)]
                    weight = abs(values[0] - values[1]) * (worse == 0)  # a swap of two relevant ones changes nothing
                else:
                    values = [1 / math.log2(1 + rank) if rank <= cut else 0.0 for rank in (i, j)]
                    weight = abs((better - worse) * (values[0] - values[1])) / ideal
                total, pairs = total + weight * float(np.logaddexp(0, low - high)), pairs + 1
    return total / pairs


@pytest.mark.parametrize("metric", ["MRR", "nDCG"])
@pytest.mark.parametrize("dynamic", [True, False])
def test_the_loss_of_a_step(made: Small, tmp_path: Path, dynamic: bool, metric: str) -> None:
    """From passage vectors and lists put together here. Static lists are read in the order of the present scores."""
    parents = {**parents_of(made, tmp_path, tiny=STILL), "negatives": static_lists(tmp_path / "mined", DEPTH + 2)}
    changes: dict[str, Any] = {} if dynamic else STATIC
    stage = adore_of(tmp_path / "run", parents, metric, changes, steps=1, log_every=1, warmup_steps=0)
    names = train(stage, RUNTIME, [CPU])
    assert "loss.csv" in names
    (line,) = (stage.folder / "loss.csv").read_text().splitlines()[1:]

    passages = np.concatenate([np.load(parents["passages"].path(name)) for name in ("a.npy", "b.npy")]).astype(float)
    lists = {
        q: [p for p in np.random.default_rng(q).permutation(40).tolist() if (q, p) not in POSITIVE] for q in range(12)
    }
    encoder, store = made.encoder(seed=1, tiny=STILL).eval(), TokenStore(made.tokens, "queries.train")
    expected = []
    for query in rows_of_step(0).tolist():
        with torch.inference_mode():
            vector = encode_rows(encoder, store, np.array([query]), 4, CPU)[0].double().numpy()
        scores = passages @ vector / 0.05
        relevant = [p for q, p in sorted(POSITIVE) if q == query]
        if dynamic:  # positives that were not retrieved stand behind the list
            top = np.argsort(-scores, kind="stable")[:DEPTH].tolist()
            ranked = top + [p for p in relevant if p not in top]
        else:
            ranked = sorted(lists[query][:DEPTH] + relevant, key=lambda passage: -float(scores[passage]))
        scored = [(float(scores[p]), POSITIVE.get((query, p), 0)) for p in ranked]
        expected.append(list_loss(query, scored, metric))
    assert float(line.split(",")[1]) == pytest.approx(np.mean(expected), rel=1e-4)


def test_a_batch_may_share_the_passages_of_an_index(made: Small, tmp_path: Path) -> None:
    """With `batch: in_batch` all queries meet the same passages, whose vectors are the index's."""
    parents = {**parents_of(made, tmp_path), "negatives": static_lists(tmp_path / "mined", 3)}
    sampler = {"name": "uniform", "k": 3, "count": 1, "positives": "one"}
    stage = adore_of(tmp_path / "run", parents, changes={**STATIC, "sampler": sampler, "batch": "in_batch"})
    _, query, meeting, scores = first_step(stage)
    assert meeting.passages.shape == (8,) and (meeting.origin == Origin.IN_BATCH).sum() == 12
    vectors = np.concatenate([np.load(parents["passages"].path(name)) for name in ("a.npy", "b.npy")])
    by_hand = query.detach().double().numpy() @ vectors[meeting.passages].T.astype(float) / 0.05
    np.testing.assert_allclose(scores.detach().numpy(), by_hand, rtol=1e-4, atol=1e-4)


def test_queries_may_be_shorter_in_training(made: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first step's vectors are those of queries cut at `query_length`; gradient checkpointing changes no byte."""
    parents = parents_of(made, tmp_path)
    trained: dict[str, dict[str, bytes]] = {}
    layers: dict[str, int] = {}
    checkpoint = torch.utils.checkpoint.checkpoint

    def noted(*given: Any, **more: Any) -> Any:
        layers[name] += 1
        return checkpoint(*given, **more)

    monkeypatch.setattr("transformers.modeling_utils.checkpoint", noted)
    options: dict[str, dict[str, Any]] = {
        "plain": {},
        "cut": {"query_length": 4},
        "longer": {"query_length": 99},
        "checkpointed": {"gradient_checkpointing": True},
    }
    for name, changes in options.items():
        layers[name] = 0
        stage = adore_of(tmp_path / name, parents, **changes)
        names = train(stage, RUNTIME, [CPU])
        trained[name] = {file: (stage.folder / file).read_bytes() for file in names}
    assert trained["longer"] == trained["checkpointed"] == trained["plain"]
    assert {name for name, count in layers.items() if count} == {"checkpointed"}
    before, after = (load_file(tmp_path / name / "kept.safetensors") for name in ("plain", "cut"))
    whole = TokenStore(made.tokens, "queries.train")
    long = whole.lengths(before["000001.queries"].numpy()) > 4
    assert long.any() and torch.equal(before["000001.queries"], after["000001.queries"])
    changed = (before["000001.vectors"] != after["000001.vectors"]).any(1).numpy()
    assert changed[long].all()


@pytest.mark.parametrize("changes", [{}, STATIC], ids=["live", "static"])
def test_probes_look_and_change_nothing(made: Small, tmp_path: Path, changes: dict[str, Any]) -> None:
    parents = {**parents_of(made, tmp_path), "negatives": static_lists(tmp_path / "mined", DEPTH)}
    trained = {}
    for name, probe in (("plain", None), ("probed", {"every": 4, "split": "train", "training": 5})):
        stage = adore_of(tmp_path / name, parents, changes={**changes, "probe": probe})
        trained[name] = seal(stage, train(stage, RUNTIME, [CPU]))
    weights = "encoder/backbone/model.safetensors"
    assert trained["plain"].path(weights).read_bytes() == trained["probed"].path(weights).read_bytes()

    kept, store = load_file(trained["probed"].path("kept.safetensors")), TokenStore(made.tokens, "queries.train")
    assert sorted(key for key in kept if key.startswith("probe")) == ["probe.000000", "probe.000004", "probe.000006"]
    for step, encoder in ((0, made.encoder(seed=1)), (6, Encoder.load(trained["probed"]))):
        with torch.inference_mode():
            plain = encode_rows(encoder.eval(), store, np.arange(len(store)), 4, CPU)
        torch.testing.assert_close(kept[f"probe.{step:06d}"], plain, rtol=0, atol=1e-6)
        assert len(set(kept["seen.queries"].tolist())) == 5
        torch.testing.assert_close(kept[f"seen.{step:06d}"], plain[kept["seen.queries"]], rtol=0, atol=1e-6)
    assert sorted(key for key in kept if key.startswith("batch")) == [
        f"batch.{step:06d}.{name}" for step in (0, 4) for name in ("queries", "vectors")
    ]
    assert np.array_equal(kept["batch.000004.queries"].numpy(), rows_of_step(4))


def test_it_is_scored_with_the_vectors_of_the_index_that_serves(made: Small, tmp_path: Path) -> None:
    """Product quantiser after a projection: the loss sees the index's own scores, not those of the exact vectors."""
    parents = parents_of(made, tmp_path)
    index = stage_of(tmp_path / "pq", {"factory": "PCA12,PQ4x4"})
    options: dict[str, Any] = {"train_rows": 40, "seed": 0, "rows_per_file": 15}
    vectors = VectorStore([parents["passages"].path(name) for name in ("a.npy", "b.npy")])
    index.facts = build_index(vectors, "PCA12,PQ4x4", index.folder, **options)
    parents["index"] = seal(index, index.facts["files"])
    scorer, query, _, scores = first_step(adore_of(tmp_path / "adore", parents))
    assert scorer.found is not None
    retrieved, found = scorer.found
    torch.testing.assert_close(scores.detach()[:, :DEPTH], found / 0.05, rtol=1e-4, atol=1e-4)
    exact = vectors.take(retrieved.numpy().ravel()).reshape(len(found), DEPTH, -1)
    plain = np.einsum("qd,qld->ql", query.detach().numpy(), exact) / 0.05
    assert np.abs(plain - found.numpy() / 0.05).max() > 0.1
    torch.autograd.backward(scores.sum())
    gradients = [weight.grad for weight in scorer.module.parameters() if weight.grad is not None]
    assert gradients and any(gradient.any() for gradient in gradients)


def test_the_positives_are_scored_as_the_index_scores(made: Small, tmp_path: Path) -> None:
    """A sampler that asks for them gets the scores of positives, retrieved or not; none where there is none."""
    sampler = {"name": "simans", "k": DEPTH, "count": 2}
    parents = parents_of(made, tmp_path)
    stage = adore_of(tmp_path / "adore", parents, changes={"sampler": sampler})
    assert stage.settings["positive_scores"]
    scorer, query, meeting, _ = first_step(stage)
    assert scorer.live is not None
    positives, _ = JUDGED.table(meeting.rows)
    scores = scorer.live.score(query, positives)
    vectors = np.concatenate([np.load(parents["passages"].path(name)) for name in ("a.npy", "b.npy")])
    by_hand = np.einsum("qd,qpd->qp", query.detach().numpy(), vectors[np.maximum(positives, 0)])
    assert np.array_equal(np.isnan(scores), positives < 0)
    np.testing.assert_allclose(scores[positives >= 0], by_hand[positives >= 0], rtol=1e-5, atol=1e-6)
