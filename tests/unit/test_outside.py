"""Texts outside the collection: a training meets them as passages, and nothing else knows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from made import PASSAGES, POSITIVE, QRELS, QUERIES, RUNTIME, Small, mined_lists, seal, small, stage_of, texts
from made import write_collection as write_made

from hardneg.data.judgements import Equal, Judgements
from hardneg.generation.types import Generated
from hardneg.methods.batch import Origin
from hardneg.methods.draws import MinedVectors, PairScores
from hardneg.retrieval.mine import NEGATIVES
from hardneg.retrieval.outside import GENERATED, kept_texts, read_texts, requests_of, write_lists, write_texts
from hardneg.stages.artifacts import Artifact
from hardneg.text.outside import JoinedTokens, passage_store
from hardneg.text.tokens import TokenStore, tokenize
from hardneg.training.draws import Draws, by_vectors
from hardneg.training.train import train

WRITTEN = texts(24, [5, 60, 9], seed=9)
QUERY = np.repeat(np.arange(QUERIES), 2).astype(np.int32)  # two texts a query
MIXED = [{"name": "run", "depth": 10, "weight": 1.0}, {"name": "generated", "weight": 1.0}]


def together(made: Small, folder: Path) -> Artifact:
    """The tokens of a collection that has the outside texts as its last passages."""
    passages = pq.read_table(made.collection.path("passages.parquet"))["text"].to_pylist()
    asked = pq.read_table(made.collection.path("queries.train.parquet"))["text"].to_pylist()
    collection = write_made(folder / "all", [*passages, *WRITTEN], asked)
    stage = stage_of(folder / "all_tokens", made.tokens.settings)
    names, stage.facts = tokenize(stage.settings, stage.folder, collection, made.tokenizer)
    return seal(stage, names)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return small(tmp_path_factory.mktemp("outside"))


def test_joined_tokens_are_those_of_one_collection_with_all_texts(made: Small, tmp_path: Path) -> None:
    parents = {"tokens": made.tokens, "outside": made.outside(tmp_path / "outside", WRITTEN, QUERY)}
    one = TokenStore(together(made, tmp_path), "passages", 12)
    joined = passage_store(parents, 12)
    assert isinstance(joined, JoinedTokens) and len(joined) == len(one) == PASSAGES + len(WRITTEN)
    rng = np.random.default_rng(0)
    for chosen in (rng.integers(0, len(one), 9), np.arange(3), np.arange(PASSAGES, PASSAGES + 3)):
        assert joined.lengths(chosen).tolist() == one.lengths(chosen).tolist()
        for got, expected in zip(joined.batch(chosen), one.batch(chosen), strict=True):
            np.testing.assert_array_equal(got, expected)
        for position in chosen.tolist():
            assert joined.body(position).tolist() == one.body(position).tolist()


def test_outside_texts_are_judged_by_nobody() -> None:
    query, passage, grade = np.array(QRELS).T
    for equal in (None, Equal(query=np.zeros(QUERIES, np.int64)), Equal(passage=np.arange(PASSAGES) // 2)):
        judged = Judgements(query, passage, grade, QUERIES, PASSAGES, equal)
        asked, outside = np.arange(QUERIES)[:, None], np.arange(PASSAGES, 3 * PASSAGES)[None]
        assert not judged.contains(asked, outside).any()
        assert not judged.grades_of(asked, outside).any()
    scores = PairScores(query, passage, grade.astype(np.float32), PASSAGES)
    assert np.isnan(scores(asked, outside)).all()
    assert not np.isnan(scores(query, passage)).any()


def test_a_teachers_vectors_know_the_collection_alone() -> None:
    rng = np.random.default_rng(1)
    queries, passages = rng.normal(size=(3, 4)).astype(np.float32), rng.normal(size=(5, 4)).astype(np.float32)
    teacher = by_vectors(MinedVectors(lambda at: queries[at], lambda at: passages[at]), 5)
    rows = np.arange(3)[:, None]
    for met in (np.array([[0, 5, 4, -1]]), np.array([[0, 6, 4, -1]] * 3)):
        scores = teacher(rows, met)
        assert np.isnan(scores[:, [1, 3]]).all()
        np.testing.assert_allclose(scores[:, [0, 2]], queries @ passages[[0, 4]].T, atol=1e-6)


@pytest.mark.parametrize("trains", ["both_encoders", "cross_encoder"])
def test_a_step_tells_generated_negatives_from_mined_ones(made: Small, tmp_path: Path, trains: str) -> None:
    draws = Draws.of(*mixed_training(made, tmp_path, trains, count=2))
    for step in range(20):
        meeting = draws.at(step)
        own = meeting.origin == Origin.GENERATED
        assert (own.sum(1) == 1).all(), "half of two negatives, by the sources' weights"
        passages = np.broadcast_to(meeting.passages, own.shape)
        assert (QUERY[passages[own] - PASSAGES] == meeting.rows[np.nonzero(own)[0]]).all(), "each query's own texts"
        assert (passages[meeting.origin == Origin.MINED] < PASSAGES).all()
        assert not meeting.grades[passages >= PASSAGES].any()


def mixed_training(made: Small, folder: Path, trains: str, count: int) -> tuple[Any, Any, Any]:
    """Settings, parents and judgements of a training that mixes mined and generated negatives."""
    found = {q: [p for p in range(20, 30) if (q, p) not in POSITIVE] for q in range(QUERIES)}
    parents = {
        "negatives": mined_lists(folder / "mined", found),
        "outside": made.outside(folder / "outside", WRITTEN, QUERY),
    }
    stage = made.training(
        folder / "training", parents, trains=trains, source=MIXED, sampler={"name": "uniform", "k": 10, "count": count}
    )
    judged = Judgements.read(made.collection.path("qrels.train.parquet"), QUERIES, PASSAGES)
    return stage.settings, stage.parents, judged


def test_a_training_is_the_one_on_a_collection_that_holds_the_texts(made: Small, tmp_path: Path) -> None:
    """Weights to the bit: a passage is its tokens, wherever they are kept."""
    outside = made.outside(tmp_path / "outside", WRITTEN, QUERY)
    source = {"source": [{"name": "generated"}], "sampler": {"name": "uniform", "k": 2}}
    first = made.training(tmp_path / "first", {"outside": outside}, **source)
    names = train(first, RUNTIME, [torch.device("cpu")])
    query = pq.read_table(outside.path(NEGATIVES)).to_pydict()
    lists = {q: [p for q_, p in zip(query["query"], query["passage"], strict=True) if q_ == q] for q in range(QUERIES)}
    parents = {"tokens": together(made, tmp_path), "negatives": mined_lists(tmp_path / "mined", lists)}
    mined = {**source, "source": [{"name": "run", "depth": 2}]}
    second = made.training(tmp_path / "second", parents, **mined)
    train(second, RUNTIME, [torch.device("cpu")])
    (weights,) = (name for name in names if name.endswith(".safetensors") and "kept" not in name)
    assert (first.folder / weights).read_bytes() == (second.folder / weights).read_bytes()


def test_what_is_no_negative_is_left_out(made: Small, tmp_path: Path) -> None:
    passages = pq.read_table(made.collection.path("passages.parquet"))["text"].to_pylist()
    asked = pq.read_table(made.collection.path("queries.train.parquet"))["text"].to_pylist()
    texts: list[tuple[int, int, int, str, bool]] = [
        (3, 11, 1, "a near miss", True),
        (3, 11, 2, passages[11].upper(), True),  # the relevant passage itself
        (3, 11, 3, f" {asked[3]}\n", True),  # the query itself
        (3, 11, 4, "A near  miss", True),  # again
        (3, 11, 5, "an answer", False),  # which the self-check found
        (1, 3, 1, "another", True),
        (1, 3, 2, "struck by a person", True),
        (4, 12, 1, passages[11], True),  # relevant to another query
    ]
    written = [Generated(q, p, number, text, "digest", accepted, "") for q, p, number, text, accepted in texts]
    write_texts(written, tmp_path / GENERATED)
    assert read_texts(tmp_path / GENERATED) == written
    left = {(one.query, one.passage, one.number) for one in written} - {(1, 3, 2)}
    kept = kept_texts(tmp_path / GENERATED, made.collection, "train", left)
    assert kept.query.tolist() == [1, 3, 4]
    assert kept.texts == ["another", "a near miss", passages[11]]
    assert kept.facts == {"written": 8, "rejected": 1, "struck": 1, "relevant_or_query": 2, "repeated": 1}
    write_lists(np.array([1, 3, 3, 3, 7], np.int32), PASSAGES, tmp_path / NEGATIVES)
    lists = pq.read_table(tmp_path / NEGATIVES).to_pydict()
    assert lists["passage"] == list(range(PASSAGES, PASSAGES + 5))
    assert lists["rank"] == [1, 1, 2, 3, 1]
    assert np.isnan(lists["score"]).all()


def test_texts_are_asked_for_by_each_querys_best_passage(made: Small) -> None:
    passages = pq.read_table(made.collection.path("passages.parquet"))["text"].to_pylist()
    asked = requests_of(made.collection, "train", None, 0)
    best = {0: 3, 1: 3, 2: 6, **{query: query + 8 for query in range(3, 11)}}  # 2 has a passage of grade 3; 11 has none
    assert {one.query: one.passage for one in asked} == best and [one.query for one in asked] == sorted(best)
    assert all(one.passage_text == passages[one.passage].strip() for one in asked)
    some = requests_of(made.collection, "train", 4, 0)
    assert len(some) == 4 and set(some) < set(asked) and some == requests_of(made.collection, "train", 4, 0)
