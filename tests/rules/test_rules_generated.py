"""Negatives that a language model writes: from a server's answers to a training, each stage by its script."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chat_server import KEY, Server, serving
from conftest import TOPICS, small_config, write_collection
from faults import CHECKS, Check
from made_stages import TRAIN, Stages, columns

from hardneg.data.judgements import Judgements
from hardneg.methods.batch import Origin
from hardneg.training.draws import Draws

STEPS = 40
QUERIES = 4 * TOPICS
SYSTEM: dict[str, Any] = {"preset": "syneg", "from": "warm", "train": {**TRAIN, "steps": STEPS}}


def project(folder: Path, server: Server, **changes: Any) -> Stages:
    config = small_config()
    mined = {"name": "run", "depth": 30}
    mixed = [{**mined, "weight": 3.0}, {"name": "generated", "weight": 1.0}]
    four = {"name": "uniform", "k": 30, "count": 4}
    config["systems"] = {
        "warm": {"preset": "inbatch", "train": TRAIN},
        "syneg": {**SYSTEM, "source": mixed, "sampler": four},
        "retrieved": {**SYSTEM, "source": mined, "sampler": four},
    }
    config |= {"export": [], "arithmetic": {"training_threads": 1, "encoding_threads": 1}}
    config["splits"] = {"evaluate": ["test"]}
    config["generation"] = {"model": "small", "endpoint": server.url, "per_query": 2, **changes}
    return Stages(folder, config)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", KEY)
        yield server


@pytest.fixture(scope="module")
def made(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Stages:
    folder = tmp_path_factory.mktemp("generated")
    write_collection(folder / "data")
    return project(folder, server)


def test_each_training_query_is_asked_for_and_checked(made: Stages, server: Server) -> None:
    texts = columns(made.made("generated"), "generated.parquet")
    assert server.texts == 2 * QUERIES and len(server.asked) == 4 * QUERIES
    assert list(texts["query"]) == [query for query in range(QUERIES) for _ in range(2)]
    assert texts["accepted"].all() and len(set(texts["text"])) == 2 * QUERIES
    cost = json.loads((made.folder / made.stage("generated").folder / "cost.json").read_text(encoding="utf-8"))
    assert cost["input_tokens"] == 20 * 4 * QUERIES and cost["output_tokens"] == 10 * 4 * QUERIES


def test_the_texts_have_their_share_of_the_negatives(made: Stages) -> None:
    stage = made.stage("dual_encoder", "syneg")
    model, collection = made.make(stage), made.made("collection")
    passages = collection.facts["passages"]
    judged = Judgements.read(collection.path("qrels.train.parquet"), QUERIES, passages)
    draws = Draws.of(model.settings, {role: made.make(parent) for role, parent in stage.parents.items()}, judged)
    drawn = np.concatenate([draws.at(step).drawn.negatives for step in range(STEPS)])
    assert (drawn >= 0).all() and (drawn >= passages).mean() == 1 / 4
    meeting = draws.at(0)
    assert ((meeting.origin == Origin.GENERATED).sum(1) == 1).all()


def test_the_texts_are_indexed_evaluated_and_counted_nowhere(made: Stages) -> None:
    passages = made.made("collection").facts["passages"]
    assert made.made("passages", "syneg").facts["rows"] == passages
    run = columns(made.made("run", "syneg"), "run.test.parquet")
    assert run["passage"].max() < passages
    counted = made.made("diagnosis", "syneg").facts
    assert counted["mined_hits"] == QUERIES * 30 and counted["in_batch_judged"] <= counted["in_batch_pairs"]


def test_a_training_without_them_is_as_if_there_were_none(made: Stages) -> None:
    alone = dict(made.config, systems={name: made.config["systems"][name] for name in ("warm", "retrieved")})
    del alone["generation"]
    without = Stages(made.folder, alone)
    assert without.stage("dual_encoder", "retrieved").version == made.stage("dual_encoder", "retrieved").version


def test_other_settings_ask_only_what_is_new(made: Stages, server: Server) -> None:
    made.made("generated")
    before = len(server.asked)
    more = project(made.folder, server, per_query=3)
    assert len(columns(more.made("generated"), "generated.parquet")["text"]) == 3 * QUERIES
    assert len(server.asked) - before == 2 * QUERIES  # a third text each, and its check


def test_a_person_strikes_texts_from_the_review(made: Stages, server: Server) -> None:
    lines = made.made("generated").path("review.tsv").read_text(encoding="utf-8").splitlines()
    (made.folder / "kept.tsv").write_text("\n".join(lines[:5]), encoding="utf-8")
    before = len(server.asked)
    reviewed = project(made.folder, server, review="kept.tsv")
    assert reviewed.stage("generated").version == made.stage("generated").version
    facts = reviewed.made("outside").facts
    assert (facts["kept"], facts["struck"]) == (4, 2 * QUERIES - 4) and len(server.asked) == before


def test_a_review_of_other_texts_is_refused(made: Stages, server: Server) -> None:
    made.made("generated")
    (made.folder / "edited.tsv").write_text(
        made.made("generated").path("review.tsv").read_text(encoding="utf-8").replace("Text ", "Test ", 1),
        encoding="utf-8",
    )
    stage = project(made.folder, server, review="edited.tsv").stage("outside")
    for parent in stage.parents.values():
        made.make(parent)
    (command,) = project(made.folder, server, review="edited.tsv").commands(stage)
    said = made.call(command)
    assert said.status == 1 and "line 2" in said.err and "Traceback" not in said.err


@pytest.mark.parametrize("check", CHECKS)
def test_faults_of_generated_texts_are_told(made: Stages, check: Check, tmp_path: Path) -> None:
    check(made, made.stage("generated"), tmp_path / "texts")
    check(made, made.stage("outside"), tmp_path / "tokens")
