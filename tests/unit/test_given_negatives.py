"""Given negatives and scores: the lists and pairs are those of the rows, and what lacks is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from made import seal, stage_of

from hardneg.config import load
from hardneg.data.columns import Table
from hardneg.data.formats.pairs import Pairs
from hardneg.data.prepare import prepare
from hardneg.errors import HardnegError
from hardneg.methods.published import preset
from hardneg.planning.plan import Plan
from hardneg.retrieval.given_lists import given_lists
from hardneg.retrieval.pair_scores import FILE
from hardneg.stages.artifacts import Artifact

QUERIES = 30


def rows(seed: int = 0, scored: str = "all") -> list[dict[str, Any]]:
    """FlagEmbedding's rows; in some, a negative is relevant. Scores of `all` passages, of `some` rows, or of `none`."""
    rng = np.random.default_rng(seed)
    found: list[dict[str, Any]] = []
    for query in range(QUERIES):
        texts = [f"text {number}" for number in rng.permutation(60)[: 1 + int(rng.integers(1, 9))]]
        cut = int(rng.integers(1, 3))
        row: dict[str, Any] = {"query": f"question {query}?", "pos": texts[:cut], "neg": texts[cut:]}
        if row["neg"] and query % 7 == 0:
            row["neg"].insert(0, texts[0])  # which is relevant
        if scored == "all" or (scored == "some" and query % 2):
            for key in ("pos", "neg"):
                row[f"{key}_scores"] = np.round(rng.normal(size=len(row[key])), 3).tolist()
        found.append(row)
    return found


def collection_of(folder: Path, given: Sequence[dict[str, Any]]) -> Artifact:
    folder.mkdir()
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in given), encoding="utf-8")
    stage = stage_of(folder / "collection", {})
    names, stage.facts = prepare(Pairs({"train": Table(path)}), stage.folder, ["train"], "train")
    return seal(stage, names)


def texts_of(collection: Artifact) -> tuple[list[str], list[str]]:
    queries = pq.read_table(collection.path("queries.train.parquet"))["text"].to_pylist()
    return queries, pq.read_table(collection.path("passages.parquet"))["text"].to_pylist()


def test_lists_are_the_rows_negatives_in_their_order_and_scores_are_theirs(tmp_path: Path) -> None:
    given = rows()
    collection = collection_of(tmp_path / "c", given)
    queries, passages = texts_of(collection)
    names, counts = given_lists(collection, "train", 4, ["negatives", "every_score", "positive_scores"], tmp_path)
    assert names == ["run.train.parquet", FILE]
    lists: dict[str, list[tuple[str, int, float]]] = {}
    for row in pq.read_table(tmp_path / "run.train.parquet").to_pylist():
        lists.setdefault(queries[row["query"]], []).append((passages[row["passage"]], row["rank"], row["score"]))
    scores: dict[tuple[str, str], float] = {}
    for row in given:
        own = [(text, s) for text, s in zip(row["neg"], row["neg_scores"], strict=True) if text not in row["pos"]]
        expected: list[Any] = [(text, rank, pytest.approx(score)) for rank, (text, score) in enumerate(own[:4], 1)]
        assert lists.pop(row["query"], []) == expected
        relevant = zip(row["pos"], row["pos_scores"], strict=True)
        scores |= {(row["query"], text): score for text, score in (*own, *relevant)}
    assert not lists
    found = pq.read_table(tmp_path / FILE).to_pylist()
    assert len(found) == len(scores) == counts.scores + counts.positive_scores
    assert {(queries[r["query"]], passages[r["passage"]]): pytest.approx(r["score"]) for r in found} == scores


@pytest.mark.parametrize("scored", ["some", "none"])
def test_without_all_scores_a_list_has_those_of_its_ranks(tmp_path: Path, scored: str) -> None:
    collection = collection_of(tmp_path / "c", rows(scored=scored))
    names, counts = given_lists(collection, "train", 200, ["negatives"], tmp_path)
    run = pq.read_table(tmp_path / "run.train.parquet")
    assert run["score"].to_pylist() == [-rank for rank in run["rank"].to_pylist()]
    assert (FILE in names) == (scored == "some") and counts.scores < counts.taken == counts.negatives


def test_a_depth_of_none_takes_scores_alone(tmp_path: Path) -> None:
    collection = collection_of(tmp_path / "c", rows())
    names, counts = given_lists(collection, "train", 0, ["scores", "positive_scores"], tmp_path)
    assert names == [FILE] and counts.taken == 0 < counts.scores


@pytest.mark.parametrize(
    ("scored", "negatives", "needed", "said"),
    [
        ("all", False, ["negatives"], "give no negatives"),
        ("some", True, ["negatives", "every_score"], "negatives without a score"),
        ("none", True, ["every_score"], "some have none"),
        ("none", True, ["scores"], "scores of negatives"),
        ("none", True, ["positive_scores"], "scores of relevant passages"),
    ],
)
def test_what_lacks_is_refused(
    tmp_path: Path, scored: str, negatives: bool, needed: Collection[str], said: str
) -> None:
    given = rows(scored=scored)
    if not negatives:
        given = [{"query": row["query"], "pos": row["pos"]} for row in given]
    collection = collection_of(tmp_path / "c", given)
    with pytest.raises(HardnegError, match=said) as raised:
        given_lists(collection, "train", 200, needed, tmp_path)
    assert "collection made, split train" in str(raised.value)
    assert not list(tmp_path.glob("*.parquet"))


# --- configurations and plans ---

TRAIN = {"steps": 5}
PAIRS = {"format": "pairs", "name": "x", "path": "pairs.jsonl", "holdout": {"dev": 0.1, "test": 0.1}}


def planned(folder: Path, monkeypatch: pytest.MonkeyPatch, **systems: Any) -> Plan:
    monkeypatch.chdir(folder)
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows()), encoding="utf-8")
    return Plan(load({"collection": PAIRS, "systems": {"bm25": {"preset": "bm25"}, **systems}}))


@pytest.mark.parametrize("key", ["source", "labels"])
def test_another_format_is_refused_by_its_configuration(key: str) -> None:
    own = {"source": "given"} if key == "source" else {"labels": "given", "loss": "margin_mse"}
    system = {"preset": "dpr", "train": TRAIN, **own}
    with pytest.raises(HardnegError, match=r"collection\.format pairs") as raised:
        load({"collection": {"format": "pydocs"}, "systems": {"bm25": {"preset": "bm25"}, "ours": system}})
    assert f"systems.ours.{key}" in str(raised.value)


@pytest.mark.parametrize(
    ("own", "needed", "depth"),
    [
        ({}, ["negatives"], 200),
        ({"source": {"depth": 9}, "sampler": {"k": 9}}, ["negatives"], 9),
        ({"filter": {"name": "scores", "most": 0.5}}, ["every_score", "negatives"], 200),
        ({"filter": {"name": "margin", "absolute": 0.1}}, ["every_score", "negatives", "positive_scores"], 200),
        ({"sampler": "simans"}, ["every_score", "negatives", "positive_scores"], 200),
        ({"labels": "given", "loss": "kl_list", "batch": "own"}, ["negatives", "positive_scores", "scores"], 200),
    ],
)
def test_the_plan_asks_for_what_the_answers_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: dict[str, Any], needed: list[str], depth: int
) -> None:
    plan = planned(tmp_path, monkeypatch, ours={"preset": "given_negatives", "train": TRAIN, **own})
    training = plan.rounds["ours"][-1]
    mined = training.parents["negatives"]
    given = mined.parents["run"]
    assert (given.kind, given.label) == ("given_lists", "given")
    assert given.settings == {"splits": ["train"], "depth": depth, "needed": needed}
    reads_positives = "margin" in str(own) or "simans" in str(own)
    assert mined.settings["positives"] == (mined.parents.get("scores") is given) == reads_positives
    assert (training.parents.get("teacher") is given) == ("labels" in own)


def test_given_scores_teach_what_another_source_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(tmp_path, monkeypatch, ours={"preset": "margin_mse", "labels": "given", "train": TRAIN})
    training = plan.rounds["ours"][-1]
    assert training.parents["negatives"].parents["run"].kind == "bm25_run"
    assert training.parents["teacher"].settings["depth"] == 0


def test_the_preset_takes_seven() -> None:
    system = preset("given_negatives")["system"]
    assert system["source"] == {"name": "given", "depth": 200} and system["sampler"]["count"] == 7
