"""What systems rank at the top, counted again with sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from made import stage_of
from made_analysis import collection_of, run_of

from hardneg.errors import HardnegError
from hardneg.stages.artifacts import Artifact, manifest_digest, write_json
from workflow_scripts import compare_rankings
from workflow_scripts.command import open_parents

QUERIES, PASSAGES = 6, 12
# Query 4 is judged, but not relevant; query 1 has two best positives.
GRADES = {(0, 0): 1, (0, 1): 3, (0, 2): 0, (1, 3): 2, (1, 4): 2, (1, 5): 1, (2, 6): 1, (3, 1): 2, (4, 2): 0, (5, 7): 3}
SYSTEMS = ("bm25", "star", "adore", "ance")
RUNS = {
    # The last system found nothing for the last query.
    system: {q: np.random.default_rng([n, q]).permutation(PASSAGES)[:8].tolist() for q in range(QUERIES - (n == 3))}
    for n, system in enumerate(SYSTEMS)
}


def given(folder: Path) -> tuple[dict[str, str], list[Artifact]]:
    """A collection and runs, each with a version of its own, in no order; and the versions by role."""
    artifacts = {"collection": collection_of(folder / "collection", PASSAGES, {"dev": QUERIES}, {"dev": GRADES})}
    artifacts |= {f"run.{system}": run_of(folder / system, "dev", RUNS[system]) for system in SYSTEMS}
    for number, artifact in enumerate(artifacts.values()):
        manifest = artifact.folder / "manifest.json"
        content = {**json.loads(manifest.read_text(encoding="utf-8")), "version": f"{number:012d}"}
        write_json(manifest, {**content, "digest": manifest_digest(content)})
    return {role: f"{number:012d}" for number, role in enumerate(artifacts)}, list(artifacts.values())[::-1]


def compared(folder: Path, **settings: Any) -> list[dict[str, Any]]:
    versions, artifacts = given(folder)
    inputs = [artifact.folder / "manifest.json" for artifact in artifacts]
    parents = open_parents(inputs, {"parents": versions})
    stage = stage_of(folder / "agreement", {"split": "dev", **settings}, parents)
    assert compare_rankings.run(stage, {}, ["cpu"]) == ["agreement.parquet"]
    return pq.read_table(stage.folder / "agreement.parquet").to_pylist()


@pytest.mark.parametrize("k", [1, 3, 8])
@pytest.mark.parametrize("agree", [1, 2, 3])
@pytest.mark.parametrize("relevant_grade", [1, 2])
@pytest.mark.parametrize("exhaustive", [True, False])
def test_counts(tmp_path: Path, k: int, agree: int, relevant_grade: int, exhaustive: bool) -> None:
    rows = compared(tmp_path, k=k, agree=agree, relevant_grade=relevant_grade, exhaustive=exhaustive)
    tops = {name: {(q, p) for q, found in run.items() for p in found[:k]} for name, run in RUNS.items()}
    relevant = {pair for pair, grade in GRADES.items() if grade >= relevant_grade}
    # The best grade of each query that has a relevant passage; of equal ones the first.
    kept = {(0, 1), (1, 3), (3, 1), (5, 7)} | ({(2, 6)} if relevant_grade == 1 else set())
    assert [row["system"] for row in rows] == sorted(SYSTEMS)
    for row in rows:
        name, top = row["system"], tops[row["system"]]
        unjudged = top - set(GRADES)
        others = (top & set(GRADES)) - kept
        rate = len(others & relevant) / len(others) if exhaustive and others else None
        assert row == {
            "system": name,
            "queries": len(RUNS[name]),
            "hits": len(top),
            "relevant": len(top & relevant),
            "judged_not_relevant": len(top & set(GRADES) - relevant),
            "unjudged": len(unjudged),
            "agreed": sum(sum(pair in tops[other] for other in SYSTEMS if other != name) >= agree for pair in unjudged),
            "hole": pytest.approx(len(unjudged) / len(top)),
            "measured_false_negative_rate": rate if rate is None else pytest.approx(rate),
        }


def test_the_cases_differ(tmp_path: Path) -> None:
    """The parameters above tell different answers apart."""
    rows = [compared(tmp_path / f"{n}", k=8, agree=n, relevant_grade=1, exhaustive=True) for n in (1, 2, 3)]
    agreed = [sum(row["agreed"] for row in some) for some in rows]
    assert agreed[0] > agreed[1] > agreed[2] > 0
    assert all(0 < row["measured_false_negative_rate"] < 1 for row in rows[0])


def test_a_run_that_is_not_given(tmp_path: Path) -> None:
    versions, artifacts = given(tmp_path)
    inputs = [artifact.folder / "manifest.json" for artifact in artifacts[1:]]
    with pytest.raises(HardnegError, match=f"{versions['run.ance']}, for run.ance"):
        open_parents(inputs, {"parents": versions})
