"""Indexes are checked when the workflow starts, as far as the plan and what is there tell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made import seal, stage_of

from hardneg.config import load
from hardneg.errors import HardnegError
from hardneg.planning.plan import Plan
from hardneg.planning.preflight import check_machine, least_passages
from hardneg.stages.artifacts import MANIFEST, StageFolder
from hardneg.stages.stage import Stage
from workflow_scripts import prepare_collection
from workflow_scripts.environment import RUNTIME
from workflow_scripts.planning import planned

ROOT = Path(__file__).parents[2]
DIM = 16


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A collection of three passages, in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(RUNTIME, "")
    Path("passages.tsv").write_text("p1\tsort a list\np2\topen a file\np3\tread a line\n", encoding="utf-8")
    Path("queries.tsv").write_text("q1\tsort\nq2\topen\n", encoding="utf-8")
    Path("qrels.txt").write_text("q1 0 p1 1\nq2 0 p2 1\n", encoding="utf-8")


def config(index: dict[str, Any], **systems: Any) -> dict[str, Any]:
    split = {"queries": "queries.tsv", "qrels": "qrels.txt"}
    return {
        "collection": {
            "name": "small",
            "format": "files",
            "passages": "passages.tsv",
            "splits": {"train": split, "dev": split},
        },
        "splits": {"train": "train", "evaluate": ["dev"]},
        "encoder": {"tiny": {"hidden": DIM}},
        "analyses": {"pairwise_errors": None, "negatives": None, "agreement": None, "examples": None},
        "index": index,
        "systems": {"inbatch": {"preset": "inbatch", "train": {"steps": 1}}, **systems},
    }


def plan_of(index: dict[str, Any], **systems: Any) -> Plan:
    return Plan(load(config(index, **systems)))


def finish(stage: Stage, **facts: Any) -> None:
    stage.folder.mkdir(parents=True)
    made = StageFolder(stage.folder, stage.record, {})
    made.facts = facts
    seal(made, [])


ADORE: dict[str, Any] = {"preset": "adore", "from": "inbatch", "train": {"steps": 1}}


@pytest.mark.parametrize(
    ("index", "systems", "words"),
    [
        ({"factory": "PQ5"}, {}, ["index.factory", "'PQ5' for vectors of width 16"]),
        ({"factory": "HNSW8,PQ4"}, {}, ["index.factory", "Euclidean"]),
        ({"factory": "IVF16,Flat", "nprobe": 17}, {}, ["index.nprobe", "1 to 16"]),
        ({"factory": "Flat", "nprobe": 1}, {}, ["index.nprobe", "no inverted lists"]),
        ({"factory": "PQ4x4", "ef_search": 9}, {}, ["index.ef_search", "no graph"]),
        ({"factory": "PQ4", "train_rows": 255}, {}, ["index.train_rows", "255 vectors", "at least 256"]),
        (
            {},
            {"pq": {**ADORE, "index": "OPQ3,PQ3"}},
            ["systems.pq.index.factory", "'OPQ3,PQ3' for vectors of width 16"],
        ),
        ({}, {"pq": {**ADORE, "index": {"factory": "IVF8,PQ4x4", "nprobe": 9}}}, ["systems.pq.index.nprobe", "1 to 8"]),
        ({}, {"pq": {**ADORE, "index": "PQ8x4fs"}}, ["systems.pq.index.factory", "return the vectors"]),
    ],
)
def test_a_wrong_index_is_refused_before_anything_runs(
    index: dict[str, Any], systems: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(HardnegError) as refusal:
        check_machine(plan_of(index, **systems))
    assert all(word in str(refusal.value) for word in words), str(refusal.value)


@pytest.mark.parametrize(
    ("index", "systems"),
    [
        ({}, {}),
        ({"factory": "PQ4"}, {"adore": ADORE}),
        ({"factory": "IVF16,PQ4x4", "nprobe": 16}, {"adore": ADORE}),
        ({"factory": "HNSW8", "ef_search": 50}, {}),
        ({"factory": "PQ8x4fs"}, {}),  # nothing trains on it
    ],
)
def test_a_good_index_passes(index: dict[str, Any], systems: dict[str, Any]) -> None:
    check_machine(plan_of(index, **systems))


def test_what_is_finished_is_not_checked_again() -> None:
    plan = plan_of({"factory": "PQ8x4fs"}, adore=ADORE)
    with pytest.raises(HardnegError, match="cannot return the vectors"):
        check_machine(plan)
    for stage in plan.of("index"):
        finish(stage)
    check_machine(plan)
    assert least_passages(plan) is None


def test_parameters_are_checked_until_all_searches_are_done() -> None:
    plan = plan_of({"factory": "IVF16,Flat", "nprobe": 17})
    for stage in plan.of("index"):
        finish(stage)
    with pytest.raises(HardnegError, match=r"1 to 16"):
        check_machine(plan)
    for stage in plan.of("run"):
        finish(stage)
    check_machine(plan)


def test_a_collection_that_is_there_must_be_large_enough() -> None:
    plan = plan_of({"factory": "PQ4x4"})
    check_machine(plan)
    finish(plan.collection, passages=15)
    with pytest.raises(HardnegError, match="too few vectors") as refusal:
        check_machine(plan)
    assert "15 vectors for PQ4x4" in str(refusal.value) and "at least 16" in str(refusal.value)


def test_the_most_demanding_index_says_how_many_passages_there_must_be() -> None:
    plan = plan_of({"factory": "PQ4x5"}, pq={**ADORE, "index": "OPQ4,PQ4x4"}, other={**ADORE, "index": "IVF40,PQ4x4"})
    assert least_passages(plan) == {"rows": 256, "where": "systems.pq.index", "factory": "OPQ4,PQ4x4"}
    assert least_passages(plan_of({})) is None


def test_widths_of_given_vectors_are_theirs() -> None:
    for name in ("p.npy", "q.npy"):
        np.save(name, np.zeros((3, 10), np.float32))
    given = {
        "retriever": "vectors",
        "trains": "nothing",
        "vectors": {"passages": ["p.npy"], "queries": {"dev": "q.npy"}},
    }
    check_machine(plan_of({}, theirs={**given, "index": "PQ5x1"}))
    with pytest.raises(HardnegError, match="'PQ4x1' for vectors of width 10"):
        check_machine(plan_of({}, theirs={**given, "index": "PQ4x1"}))


def test_jobs_are_told_and_a_small_collection_is_refused(tmp_path: Path) -> None:
    Path("config.yaml").write_text(json.dumps(config({"factory": "PQ4x4"})), encoding="utf-8")
    plan = planned(["config.yaml"], {})
    runtime = json.loads(os.environ[RUNTIME])
    assert runtime == {
        **json.loads(json.dumps(plan.runtime)),
        "least_passages": {"rows": 16, "where": "index", "factory": "PQ4x4"},
    }
    job = {**runtime, "places": {"collection": plan.config.collection.model_dump(mode="json")}, "threads": 1}
    stage = stage_of(tmp_path / "collection", plan.collection.settings)
    with pytest.raises(HardnegError, match="too small to train") as refusal:
        prepare_collection.run(stage, job, ["cpu"])
    assert "3 passages for PQ4x4" in str(refusal.value) and "at least 16" in str(refusal.value)
    job["least_passages"]["rows"] = 3
    prepare_collection.run(stage, job, ["cpu"])
    assert stage.facts["passages"] == 3 and not (stage.folder / MANIFEST).exists()


@pytest.mark.parametrize(("factory", "imported"), [("Flat", False), ("PQ4x4", True)])
def test_faiss_is_imported_only_for_an_index_of_its_own(factory: str, imported: bool) -> None:
    Path("config.yaml").write_text(json.dumps(config({"factory": factory})), encoding="utf-8")
    code = (
        "import sys\nfrom workflow_scripts.planning import planned\nplanned(['config.yaml'], {})\n"
        "print('faiss' in sys.modules, 'torch' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.split() == [str(imported), "False"]
