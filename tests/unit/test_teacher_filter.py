"""The filter by a teacher: against plain loops, against sentence-transformers, and what the plan adds for it."""

from __future__ import annotations

import math
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from made import judged_by

from hardneg.config import load
from hardneg.data.judgements import Judgements
from hardneg.errors import HardnegError
from hardneg.methods.axes import answers, function_of
from hardneg.methods.draws import PairScores, Ranked
from hardneg.planning.plan import Plan
from hardneg.retrieval import runs
from hardneg.retrieval.mine import NEGATIVES, mine

QUERIES, PASSAGES, DEPTH = 12, 30, 14
Pairs = dict[tuple[int, int], float]


def settings(**own: Any) -> dict[str, Any]:
    chosen = answers("filter")["teacher"].model_validate({"name": "teacher", "system": "judge", **own})
    return chosen.model_dump(mode="json", exclude={"system"})


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray, Judgements, Pairs]:
    """A ranking, judgements and a teacher's scores.

    Scores are quarters, so that there are ties, and mostly negative. Query 0 has no positive, query 1 has one without a
    score, query 2 has two of which one has no score, the others have up to three. Some candidates of query 3 have none.
    """
    rng = np.random.default_rng(seed)
    passage = np.concatenate([rng.permutation(PASSAGES)[:DEPTH] for _ in range(QUERIES)])
    query = np.repeat(np.arange(QUERIES), DEPTH)
    relevant = {
        q: rng.choice(PASSAGES, 1 if q == 1 else 2 if q == 2 else rng.integers(1, 4), False) for q in range(1, 12)
    }
    every = product(range(QUERIES), range(PASSAGES))
    scores = {pair: float(np.round(rng.normal(-1, 1.5) * 4) / 4) for pair in every}
    lacking = [(1, int(relevant[1][0])), (2, int(relevant[2][0])), *((3, int(p)) for p in passage[query == 3][:4])]
    for pair in lacking:
        scores.pop(pair, None)
    judged = judged_by([(q, int(p), 1) for q, found in relevant.items() for p in found], QUERIES, PASSAGES)
    return query, passage, judged, scores


def pair_scores(scores: Pairs) -> PairScores:
    query, passage = np.array(list(scores), np.int64).T
    return PairScores(query, passage, np.array(list(scores.values()), np.float32), PASSAGES)


def keep_of(chosen: dict[str, Any], scores: Pairs, judged: Judgements) -> Any:
    return partial(function_of("filter", chosen), scored=pair_scores(scores), judged=judged)


def stays(pair: tuple[int, int], judged: Judgements, scores: Pairs, chosen: dict[str, Any]) -> bool:
    """The rule of the docstring, for one candidate."""

    def scaled(score: float) -> float:
        return 1 / (1 + math.exp(-score)) if chosen["scale"] == "sigmoid" else score

    if pair not in scores:
        return True
    score = scaled(scores[pair])
    if chosen["most"] is not None and score > chosen["most"]:
        return False
    known = [scaled(scores[pair[0], int(p)]) for p in judged.of(pair[0])[0] if (pair[0], int(p)) in scores]
    if not known or (chosen["absolute"] is None and chosen["relative"] is None):
        return True
    lowest = min(known)
    return score <= lowest - (chosen["absolute"] or 0) - (chosen["relative"] or 0) * abs(lowest)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "own",
    [
        {"most": -1.0},
        {"most": 0.25, "scale": "sigmoid"},
        {"absolute": 0.0},
        {"absolute": 0.5},
        {"absolute": -0.5},
        {"relative": 0.25},
        {"relative": 0.5, "absolute": 0.25},
        {"most": -0.5, "absolute": 0.25},
        {"absolute": 0.1, "scale": "sigmoid"},
        {"relative": 0.05, "most": 0.4, "scale": "sigmoid"},
    ],
)
def test_it_is_the_rule(seed: int, own: dict[str, Any]) -> None:
    query, passage, judged, scores = drawn(seed)
    chosen = settings(**own)
    nan = np.full(len(query), np.nan, np.float32)
    found = Ranked(query, passage, np.tile(np.arange(1, DEPTH + 1), QUERIES), nan, nan)
    kept = keep_of(chosen, scores, judged)(found)
    pairs = list(zip(query.tolist(), passage.tolist(), strict=True))
    assert kept.tolist() == [stays(pair, judged, scores, chosen) for pair in pairs]
    assert 0 < kept.sum() < len(kept)
    if "most" not in own:
        assert kept[query <= 1].all(), "without a scored positive a margin throws nothing out"


def test_a_tie_with_the_bound_or_the_positive_stays() -> None:
    judged = judged_by([(0, 0, 1)], 1, 4)
    scores: Pairs = {(0, 0): -2.0, (0, 1): -2.0, (0, 2): -2.0 + 2**-20, (0, 3): -2.25}
    rows = np.arange(4)
    found = Ranked(rows * 0, rows, rows + 1, rows.astype(np.float32), rows.astype(np.float32))
    for own in ({"most": -2.0}, {"absolute": 0.0}, {"relative": 0.0}):
        kept = keep_of(settings(**own), scores, judged)(found)
        assert kept.tolist() == [True, True, False, True]
    assert keep_of(settings(absolute=0.25), scores, judged)(found).tolist() == [False, False, False, True]
    assert keep_of(settings(relative=0.125), scores, judged)(found).tolist() == [False, False, False, True]


def test_rocketqas_rule_is_a_bound_of_the_sigmoid_or_of_the_score() -> None:
    query, passage, judged, scores = drawn(7)
    rank = np.tile(np.arange(1, DEPTH + 1), QUERIES)
    found = Ranked(query, passage, rank, rank.astype(np.float32), rank.astype(np.float32))
    by_sigmoid = keep_of(settings(scale="sigmoid", most=0.1), scores, judged)(found)
    by_score = keep_of(settings(most=math.log(0.1 / 0.9)), scores, judged)(found)
    assert by_sigmoid.tolist() == by_score.tolist() and 0 < by_sigmoid.sum() < len(query)


@pytest.mark.parametrize("score", [-1e4, 1e4])
def test_large_scores_have_a_sigmoid(score: float) -> None:
    judged, zero = judged_by([(0, 0, 1)], 1, 2), np.zeros(1, np.float32)
    found = Ranked(np.zeros(1, np.int64), np.ones(1, np.int64), np.ones(1, np.int64), zero, zero)
    with np.errstate(all="raise"):
        kept = keep_of(settings(scale="sigmoid", most=0.5), {(0, 0): score, (0, 1): score}, judged)(found)
    assert kept.tolist() == [score < 0]


def test_mining_counts_what_it_threw_out_and_the_positives_that_it_would_have(tmp_path: Path) -> None:
    query, passage, judged, scores = drawn(3)
    rank = np.tile(np.arange(1, DEPTH + 1), QUERIES)
    runs.write_run(tmp_path / "run.parquet", query, passage, rank, -rank.astype(np.float32))
    chosen = settings(most=-1.5)
    facts = mine(tmp_path / "run.parquet", judged, QUERIES, [("teacher", keep_of(chosen, scores, judged))], tmp_path)
    pairs = list(zip(query.tolist(), passage.tolist(), strict=True))
    relevant = [bool(judged.contains(np.array(q), np.array(p))) for q, p in pairs]
    out = [not stays(pair, judged, scores, chosen) for pair in pairs]
    assert facts["filters"]["teacher"] == {
        "removed": sum(o and not r for o, r in zip(out, relevant, strict=True)),
        "positives": sum(o and r for o, r in zip(out, relevant, strict=True)),
    }
    kept = pq.read_table(tmp_path / NEGATIVES)
    expected = [pair for pair, o, r in zip(pairs, out, relevant, strict=True) if not o and not r]
    assert list(zip(kept["query"].to_pylist(), kept["passage"].to_pylist(), strict=True)) == expected
    assert facts["filters"]["teacher"]["positives"] > 0


# --- against sentence-transformers ---


class Encodes:
    """A model that gives texts the vectors it was made with."""

    similarity_fn_name = "dot"
    device = torch.device("cpu")

    def __init__(self, vectors: dict[str, np.ndarray]) -> None:
        self._vectors = vectors

    def encode_query(self, texts: list[str], **options: Any) -> np.ndarray:
        return np.stack([self._vectors[text] for text in texts])

    encode_document = encode_query

    def similarity(self, queries: Any, passages: Any) -> torch.Tensor:
        return torch.as_tensor(queries) @ torch.as_tensor(passages).T

    def similarity_pairwise(self, queries: Any, passages: Any) -> torch.Tensor:
        return (torch.as_tensor(queries) * torch.as_tensor(passages)).sum(1)


class Judges:
    """A cross-encoder that gives pairs the scores it was made with."""

    def __init__(self, scores: Pairs) -> None:
        self._scores = scores

    def predict(self, pairs: list[tuple[str, str]], **options: Any) -> torch.Tensor:
        return torch.tensor([self._scores[int(q[1:]), int(p[1:])] for q, p in pairs], dtype=torch.float32)


def theirs(count: int, vectors: np.ndarray, positives: np.ndarray, **options: Any) -> set[tuple[int, int]]:
    """The (query, passage) pairs that `mine_hard_negatives` keeps."""
    datasets = pytest.importorskip("datasets", reason="datasets, which is optional, is not installed")
    util = pytest.importorskip("sentence_transformers.util", reason="sentence-transformers is not installed")
    texts = [f"q{n}" for n in range(count)] + [f"p{n}" for n in range(len(vectors) - count)]
    mined = util.mine_hard_negatives(
        datasets.Dataset.from_dict({"query": texts[:count], "passage": [texts[count + int(p)] for p in positives]}),
        Encodes(dict(zip(texts, vectors, strict=True))),
        anchor_column_name="query",
        positive_column_name="passage",
        corpus=texts[count:],
        num_negatives=options["range_max"] - options.get("range_min", 0),
        verbose=False,
        **options,
    )
    return {(int(row["query"][1:]), int(row["negative"][1:])) for row in mined}


@pytest.fixture
def ranked(tmp_path: Path) -> tuple[int, np.ndarray, np.ndarray, np.ndarray, Path]:
    """How many queries, all vectors, scores, the first 20 of each query, and that as a run."""
    count, passages, depth = 15, 60, 20
    vectors = np.random.default_rng(5).normal(size=(count + passages, 6)).astype(np.float32)
    scores = vectors[:count] @ vectors[count:].T
    order = np.argsort(-scores, axis=1)[:, :depth]
    query, rank = np.repeat(np.arange(count), depth), np.tile(np.arange(1, depth + 1), count)
    runs.write_run(tmp_path / "run.parquet", query, order.ravel(), rank, np.take_along_axis(scores, order, 1).ravel())
    return count, vectors, scores, order, tmp_path / "run.parquet"


def ours(run: Path, judged: Judgements, count: int, name: str, keep: Any) -> set[tuple[int, int]]:
    mine(run, judged, count, [(name, keep)], run.parent)
    table = pq.read_table(run.parent / NEGATIVES)
    return set(zip(table["query"].to_pylist(), table["passage"].to_pylist(), strict=True))


def test_score_bounds_as_in_sentence_transformers(
    ranked: tuple[int, np.ndarray, np.ndarray, np.ndarray, Path],
) -> None:
    """Theirs looks at one passage more than `range_max`, for the positive, which is among the 20 here."""
    count, vectors, _, order, run = ranked
    judged = judged_by([(q, int(p), 1) for q, p in enumerate(order[:, 10])], count, 60)
    expected = theirs(count, vectors, order[:, 10], range_max=19, min_score=1.0, max_score=4.0)
    keep = function_of("filter", {"name": "scores", "least": 1.0, "most": 4.0})
    assert ours(run, judged, count, "scores", keep) == expected and 0 < len(expected) < count * 19


def test_ranks_as_in_sentence_transformers(ranked: tuple[int, np.ndarray, np.ndarray, np.ndarray, Path]) -> None:
    """Positives lie outside the ranking: theirs counts ranks without judged passages, ours with them."""
    count, vectors, scores, _, run = ranked
    judged = judged_by([(q, int(p), 1) for q, p in enumerate(scores.argmin(1))], count, 60)
    expected = theirs(count, vectors, scores.argmin(1), range_min=5, range_max=15)
    keep = function_of("filter", {"name": "ranks", "first": 6, "last": 15})
    assert ours(run, judged, count, "ranks", keep) == expected and len(expected) == count * 10


@pytest.mark.parametrize(
    ("own", "options"),
    [
        ({"most": 0.5}, {"max_score": 0.5}),
        ({"absolute": 0.25}, {"absolute_margin": 0.25}),
        ({"relative": 0.5}, {"relative_margin": 0.5}),
        ({"relative": 0.25, "most": 0.0}, {"relative_margin": 0.25, "max_score": 0.0}),
    ],
)
def test_a_cross_encoder_as_in_sentence_transformers(
    ranked: tuple[int, np.ndarray, np.ndarray, np.ndarray, Path], own: dict[str, Any], options: dict[str, Any]
) -> None:
    count, vectors, _, order, run = ranked
    rng = np.random.default_rng(2)
    taught = {(q, p): float(np.round(rng.normal() * 4) / 4) for q, p in product(range(count), range(60))}
    positives = order[np.arange(count), rng.integers(0, 20, count)]
    judged = judged_by([(q, int(p), 1) for q, p in enumerate(positives)], count, 60)
    expected = theirs(count, vectors, positives, range_max=19, cross_encoder=Judges(taught), **options)
    query, passage = np.array(list(taught), np.int64).T
    scored = PairScores(query, passage, np.array(list(taught.values()), np.float32), 60)
    keep = partial(function_of("filter", settings(**own)), scored=scored, judged=judged)
    assert ours(run, judged, count, "teacher", keep) == expected and 0 < len(expected) < count * 19


# --- configurations and plans ---

TRAIN = {"steps": 5}
SYSTEMS: dict[str, Any] = {
    "bm25": {"preset": "bm25"},
    "warm": {"preset": "bm25neg", "train": TRAIN},
    "judge": {"preset": "cross_encoder", "train": TRAIN},
    "plain": {"preset": "star", "from": "warm", "train": TRAIN},
}
RANKS = {"name": "ranks", "first": 2, "last": 50}


def planned(own: Any, **renamed: Any) -> Plan:
    tried = {"preset": "star", "from": "warm", "train": TRAIN, "filter": own}
    return Plan(load({"collection": {"format": "pydocs"}, "systems": {**SYSTEMS, **renamed, "tried": tried}}))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_cross_encoder_scores_what_the_filters_before_it_leave() -> None:
    plan = planned([RANKS, {"name": "teacher", "system": "judge", "most": 0.0}])
    training, plain = plan.rounds["tried"][-1], plan.rounds["plain"][-1]
    mined = training.parents["negatives"]
    taught = mined.parents["teacher.2"]
    assert taught.kind == "pair_scores" and taught.parents["model"] is plan.systems["judge"].model
    left = taught.parents["negatives"]
    assert [chosen["name"] for chosen in left.settings["filter"]] == ["ranks"]
    assert left.parents["run"] is mined.parents["run"] is plain.parents["negatives"].parents["run"]
    assert "teacher" not in training.parents, "it filters; it does not teach"
    assert mined.settings["filter"][1] == settings(most=0.0)


def test_a_dense_teacher_scores_by_its_vectors_and_two_filters_follow_each_other() -> None:
    both = [{"name": "teacher", "system": "warm", "absolute": 0.1}, {"name": "teacher", "system": "judge", "most": 0.0}]
    plan = planned(both)
    mined = plan.rounds["tried"][-1].parents["negatives"]
    first, second = mined.parents["teacher.1"], mined.parents["teacher.2"]
    assert first.parents["passages"] is plan.systems["warm"].passages and "model" not in first.parents
    assert first.parents["negatives"] is plan.rounds["plain"][-1].parents["negatives"], "mined without a filter"
    assert second.parents["negatives"].parents["teacher.1"] is first


def test_it_changes_no_other_systems_stages() -> None:
    without = {s.version for s in Plan(load({"collection": {"format": "pydocs"}, "systems": SYSTEMS})).stages}
    assert without <= {s.version for s in planned({"name": "teacher", "system": "judge", "most": 0.0}).stages} | {
        s.version for s in Plan(load({"collection": {"format": "pydocs"}, "systems": SYSTEMS})).of("agreement")
    }


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"system": "judge"}, ["systems.tried.filter", "give most, absolute or relative"]),
        ({"system": "bm25", "most": 1}, ["systems.tried.filter.system", "retriever bm25", "dense or rerank"]),
        ({"system": "tried", "most": 1}, ["circle"]),
        ({"system": "jugde", "most": 1}, ["did you mean judge?"]),
        ({"most": 1}, ["A key is missing.", "systems.tried.filter.system"]),
    ],
)
def test_what_cannot_be_is_refused(own: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(HardnegError) as raised:
        planned({"name": "teacher", **own})
    assert all(word in str(raised.value) for word in words), str(raised.value)
