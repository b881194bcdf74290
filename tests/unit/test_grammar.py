"""All pairs of answers, for everything that trains: each configuration is refused in plain words, or runs."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import small_config
from made import PASSAGES, POSITIVE, QUERIES, RUNTIME, Small, mined_lists, seal, small, stage_of, texts

from hardneg.config import load
from hardneg.config.checks.answers import BY_TRAINED
from hardneg.errors import HardnegError
from hardneg.methods.axes import AXES, answers
from hardneg.model.embedding import encode_passages
from hardneg.model.late_interaction import LateInteraction
from hardneg.planning.plan import Plan
from hardneg.retrieval.clusters import CLUSTERS
from hardneg.retrieval.mine import NEGATIVES, POSITIVES
from hardneg.retrieval.pair_scores import FILE as SCORES
from hardneg.stages.artifacts import Artifact
from hardneg.stages.kinds import KINDS, TRAINS
from hardneg.stages.stage import Stage
from hardneg.text.tokens import TokenStore
from hardneg.training.train import train

CPU = torch.device("cpu")
TINY = {"vocabulary": 300, "hidden": 8, "layers": 1, "heads": 2, "feed_forward": 8}
TRAIN = {"steps": 2, "batch_size": 4, "lr": 1e-3, "rows_per_forward": 16, "log_every": 1}
BASES: dict[str, dict[str, Any]] = {
    "both_encoders": {"from": "warm"},
    "query_encoder": {"from": "warm"},
    "cross_encoder": {"retriever": "rerank", "rerank": {"system": "bm25", "depth": 20}},
    "late_interaction": {"retriever": "rerank", "rerank": {"system": "bm25", "depth": 20}},
}
MINED = ("source", "run")
"""Where candidates come from if a pair does not say it; without any, all else would be refused for that."""

SETTINGS: dict[tuple[str, str], dict[str, Any]] = {
    ("source", "run"): {"system": "warm"},
    ("source", "cache"): {"size": 20},
    ("order", "topics"): {"clusters": 2, "system": "warm"},
    ("labels", "teacher"): {"system": "judge"},
    ("labels", "late_interaction"): {"system": "late"},
    ("labels", "two_teachers"): {"system": "judge", "in_batch": "late"},
    ("filter", "teacher"): {"system": "judge", "most": 0.0},
    ("refresh", "rounds"): {"rounds": 2},
}
"""Settings that a small collection, or the configuration of this test, asks for."""

SPLITS = ("train", "dev", "test")
Chosen = dict[str, str]


def pairs() -> Iterator[Chosen]:
    """All pairs of answers to different questions, by the keys of the questions."""
    for one, other in combinations(AXES, 2):
        for first in answers(one):
            for second in answers(other):
                yield {one: first, other: second}


def completed(chosen: Mapping[str, str], trains: str) -> Chosen:
    """A pair with the answers to other questions that provide what it needs."""
    full, added = {MINED[0]: MINED[1], **chosen}, set(chosen)
    for _ in AXES:
        given = [answers(key)[name] for key, name in full.items()]
        there = BY_TRAINED[trains].union({"given"}, *(answer.provides for answer in given))
        lacking = frozenset[str]().union(*(answer.needs for answer in given)) - there
        for key in AXES.keys() - added:
            providing = [name for name, answer in answers(key).items() if answer.provides & lacking]
            if providing:
                full[key] = providing[0]
                added.add(key)
    return full


def system_of(chosen: Mapping[str, str], trains: str) -> dict[str, Any]:
    """A system as a configuration has it."""
    given = {key: {"name": name, **SETTINGS.get((key, name), {})} for key, name in chosen.items()}
    return {**BASES[trains], "trains": trains, "train": TRAIN, **given}


def configuration(**systems: Any) -> dict[str, Any]:
    config = small_config()
    others = {
        "bm25": {"preset": "bm25"},
        "warm": {"preset": "bm25neg", "train": TRAIN},
        "judge": {"preset": "cross_encoder", "train": TRAIN},
        "late": {"preset": "colbert", "train": TRAIN},
    }
    config["encoder"]["tiny"] = TINY
    config["cross_encoder"] = {"backbone": "builtin:tiny", "tiny": TINY}
    return {
        **config,
        "collection": {"format": "pairs", "name": "small", "splits": dict.fromkeys(SPLITS, "rows.jsonl")},
        "systems": {**others, **systems},
        "generation": {"model": "written"},
        "export": [],
        "analyses": dict.fromkeys(("pairwise_errors", "negatives", "agreement")),
    }


def cases(trains: str) -> list[Chosen]:
    """The pairs, bare and completed, each once."""
    tried = [each for pair in pairs() for each in ({MINED[0]: MINED[1], **pair}, completed(pair, trains))]
    return list({json.dumps(each, sort_keys=True): each for each in tried}.values())


def refusal(system: Mapping[str, Any]) -> str | None:
    """What is said of a system; None where it is accepted."""
    try:
        load(configuration(tried=system))
    except HardnegError as fault:
        return str(fault)
    return None


@pytest.mark.parametrize("trains", BASES)
def test_a_configuration_is_accepted_or_refused_in_a_paragraph_a_fault(trains: str) -> None:
    said = [text for chosen in cases(trains) if (text := refusal(system_of(chosen, trains))) is not None]
    assert 0 < len(said) < len(cases(trains))
    for text in said:
        paragraphs = re.split(r"\n(?! )", text)
        assert len(paragraphs) == len(set(paragraphs)) <= 4, text
        for paragraph in paragraphs:
            what, *lines = paragraph.split("\n")
            assert re.fullmatch(r"[A-Z][^.]*\.", what) and len(what) <= 120, text
            assert re.match(r"  where: +systems\.tried", lines[0]), text
            assert lines[-1].startswith("  remedy:"), text
            assert len(lines) <= 4, text


# --- plans ---


@dataclass
class Planned:
    """What was accepted, and the first training stage of each.

    Attributes:
        chosen: the answers, by the name of the system.
        stages: the stage of the first round, by the name of the system.
    """

    chosen: dict[str, Chosen]
    stages: dict[str, Stage]


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Planned]]:
    """One plan of all systems that are accepted, by what trains."""
    folder = tmp_path_factory.mktemp("planned")
    (folder / "rows.jsonl").write_text('{"query": "q", "pos": "p", "neg": "n"}\n', encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield {trains: plan_of(trains) for trains in BASES}


def plan_of(trains: str) -> Planned:
    accepted = [chosen for chosen in cases(trains) if refusal(system_of(chosen, trains)) is None]
    chosen = {f"system{number}": each for number, each in enumerate(accepted)}
    plan = Plan(load(configuration(**{name: system_of(each, trains) for name, each in chosen.items()})))
    return Planned(chosen, {name: plan.rounds[name][0] for name in chosen})


@pytest.mark.parametrize("trains", BASES)
def test_what_is_accepted_has_a_training_with_what_its_answers_need(planned: dict[str, Planned], trains: str) -> None:
    for name, stage in planned[trains].stages.items():
        chosen = planned[trains].chosen[name]
        assert stage.kind == TRAINS[trains]
        roles = {role.rstrip("_0123456789") for role in stage.parents}
        assert roles <= KINDS[stage.kind].roles.keys(), chosen
        stages = {key: answers(key)[answer].stages for key, answer in chosen.items()}
        assert ("late_teacher" in roles) == ("late_interaction" in stages.get("labels", ())), chosen
        assert ("negatives" in roles) == ("mine" in stages["source"]), chosen
        assert ("outside" in roles) == ("generated" in stages["source"]), chosen
        assert ("clusters" in roles) == ("clusters" in stages.get("order", ())), chosen
        teaches = {"pair_scores", "given_lists"} & {*stages.get("labels", ())}
        assert {stage.parents[role].kind for role in roles & {"teacher"}} == teaches, chosen
        for key, answer in chosen.items():
            settings = stage if key != "filter" else stage.parents["negatives"]
            told = settings.settings[key]
            assert answer in [each["name"] for each in (told if isinstance(told, list) else [told])], chosen


# --- trainings ---


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """A finished stage for each role that a training may have."""
    folder = tmp_path_factory.mktemp("prepared")
    made = small(folder)
    encoder = made.encoder(seed=1)
    store = TokenStore(made.tokens, "passages")
    stage = stage_of(folder / "passages", {})
    stage.facts = {"shards": ["all.npy"], "rows": PASSAGES}
    target = stage.folder / "all.npy"
    encode_passages(encoder, store, target, (0, PASSAGES), dtype="float32", precision="fp32", device=CPU, label="")
    passages = seal(stage, stage.facts["shards"])
    queries = stage_of(folder / "queries", {})
    vectors = np.random.default_rng(2).normal(size=(QUERIES, encoder.dim))
    np.save(queries.folder / "queries.train.npy", vectors.astype(np.float32))
    asked = seal(queries, ["queries.train.npy"])
    return {
        "collection": made.collection,
        "tokenizer": made.tokenizer,
        "tokens": made.tokens,
        "init": made.model(folder / "model", encoder),
        "passages": passages,
        "index": seal(stage_of(folder / "index", {"factory": "Flat"}), []),
        "negatives": mined(folder / "negatives"),
        "outside": made.outside(folder / "outside", texts(2 * QUERIES, [8], seed=4), np.repeat(np.arange(QUERIES), 2)),
        "passages_negatives": passages,
        "queries_negatives": asked,
        "passages_teacher": passages,
        "queries_teacher": asked,
        "late_teacher": late_model(folder / "late", made),
        "late_tokens": made.tokens,
        "clusters": table(folder / "clusters", CLUSTERS, topic=np.arange(QUERIES, dtype=np.int32) % 2),
        "teacher": scored(folder / "teacher", SCORES),
    }


def late_model(folder: Path, made: Small) -> Artifact:
    """A late interaction from random weights."""
    stage = stage_of(folder, {})
    return seal(stage, LateInteraction(made.encoder(seed=2), 4).save(stage.folder))


def table(folder: Path, name: str, **columns: np.ndarray) -> Artifact:
    """A stage with one table."""
    stage = stage_of(folder, {})
    pq.write_table(pa.table(columns), stage.folder / name)
    return seal(stage, [name])


def scored(folder: Path, name: str) -> Artifact:
    """Scores of all pairs."""
    query, passage = (side.ravel().astype(np.int32) for side in np.mgrid[:QUERIES, :PASSAGES])
    score = np.random.default_rng(0).normal(size=len(query)).astype(np.float32)
    return table(folder, name, query=query, passage=passage, score=score)


def mined(folder: Path) -> Artifact:
    """20 candidates of each query, none of them judged relevant, and the scores of all pairs for the positives."""
    rng = np.random.default_rng(1)
    orders = {query: rng.permutation(PASSAGES).tolist() for query in range(QUERIES)}
    stage = stage_of(folder, {})
    lists = mined_lists(
        folder / "lists", {q: [p for p in found if (q, p) not in POSITIVE][:20] for q, found in orders.items()}
    )
    for source, name in (
        (lists.path(NEGATIVES), NEGATIVES),
        (scored(folder / "pairs", SCORES).path(SCORES), POSITIVES),
    ):
        shutil.copy(source, stage.folder / name)
    return seal(stage, [NEGATIVES, POSITIVES])


def reads(stage: Stage, prepared: Mapping[str, Artifact]) -> dict[str, Artifact]:
    """The made stages that stand for the parents of a planned one."""
    return {role: prepared[role] for role in stage.parents}


@pytest.mark.parametrize("trains", BASES)
def test_what_is_accepted_trains(
    planned: dict[str, Planned], prepared: dict[str, Artifact], tmp_path: Path, trains: str
) -> None:
    """Two steps of each; a filter changes nothing of a training but the lists it reads."""
    different: dict[str, str] = {}  # each training once, by its settings
    for name, stage in planned[trains].stages.items():
        different.setdefault(json.dumps(stage.settings, sort_keys=True), name)
    for name in different.values():
        stage, chosen = planned[trains].stages[name], planned[trains].chosen[name]
        begun = stage_of(tmp_path / name, stage.settings, reads(stage, prepared))
        try:
            files = train(begun, {**RUNTIME, "checkpoint_seconds": 1e9}, [CPU])
        except Exception as fault:
            raise AssertionError(f"{chosen} does not train") from fault
        with (begun.folder / "loss.csv").open(encoding="utf-8") as log:
            losses = [float(row["loss"]) for row in csv.DictReader(log)]
        assert "loss.csv" in files and len(losses) == begun.facts["steps"] and np.isfinite(losses).all(), chosen
        shutil.rmtree(begun.folder)
