"""Systems, rankings and vectors from elsewhere, other formats, and documents cut into passages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from conftest import Project, new_project, small_config
from made_stages import Stages

FILES = {
    "format": "files",
    "name": "other",
    "passages": "data/corpus.jsonl",
    "splits": {"test": {"queries": "data/queries.jsonl", "qrels": "data/qrels/test.tsv"}},
}


def run(project: Project, config: dict[str, Any], name: str) -> pd.DataFrame:
    """Run the workflow on another configuration in the project's folder; the values by system and measure."""
    path = project.folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    project.snakemake("evaluate", "--configfile", str(path))
    measures = pd.read_csv(project.folder / "results" / name / "measures.csv")
    return measures[measures["split"] == "test"].pivot(index="system", columns="measure", values="value")


@pytest.fixture
def other(project: Project) -> dict[str, Any]:
    """An evaluate-only study of the same texts, read as plain files, with what the finished study has made."""
    star, adore = project.stage("passages", "star"), project.stage("queries", "adore_star")
    return {
        "collection": FILES,
        "splits": {"train": None, "evaluate": ["test"]},
        "studies": {"small": "config.yaml"},
        "encoder": small_config()["encoder"],
        "systems": {
            "star": {"preset": "zero_shot", "from": "small:star"},
            "adore": {"preset": "zero_shot", "from": "small:adore_star"},
            "ranked": {"preset": "given_run", "runs": {"test": "results/small/runs/star.test.trec"}},
            "vectors": {
                "preset": "given_vectors",
                "vectors": {
                    "passages": sorted(str(path.relative_to(project.folder)) for path in star.glob("*.npy")),
                    "queries": {"test": str((adore / "queries.test.npy").relative_to(project.folder))},
                },
            },
        },
        "evaluation": small_config()["evaluation"],
        "runtime": {"java_heap_mib": 512},
    }


def test_what_another_study_made_scores_the_same_here(project: Project, other: dict[str, Any]) -> None:
    made = pd.read_csv(project.folder / "results" / "small" / "measures.csv")
    there = made[made["split"] == "test"].pivot(index="system", columns="measure", values="value")
    here = run(project, other, "other")
    for ours, theirs in {"star": "star", "ranked": "star", "adore": "adore_star", "vectors": "adore_star"}.items():
        assert here.loc[ours].to_dict() == pytest.approx(there.loc[theirs].to_dict(), abs=1e-12), ours
    assert not (project.folder / "artifacts" / "other" / "dual_encoder").exists()
    assert project.jobs() == {}, "the study that was drawn on must not run again"


def test_a_study_that_has_no_such_system_is_refused(project: Project, other: dict[str, Any]) -> None:
    other["systems"]["star"]["from"] = "small:bm25"
    (project.folder / "other.yaml").write_text(yaml.safe_dump(other), encoding="utf-8")
    done = project.snakemake("--configfile", str(project.folder / "other.yaml"), "-n", check=False)
    assert done.returncode != 0 and "Traceback" not in done.stdout
    for said in ("A study has no such trained system.", "systems.star.from", "bm25neg, star, adore_star"):
        assert said in done.stdout


@pytest.fixture
def unmade(tmp_path: Path) -> Project:
    """A project that has run nothing; its stages are made by their scripts, without Snakemake."""
    return new_project(tmp_path / "project")


def test_documents_are_judged_by_their_best_passage(unmade: Project) -> None:
    config = small_config()
    config["collection"] |= {"name": "windows", "windows": {"words": 30, "overlap": 10}}
    config |= {"systems": {"bm25": {"preset": "bm25"}}, "export": []}
    stages = Stages(unmade.folder, config)
    measured, facts = stages.made("measure"), stages.made("collection").facts
    scores = pd.read_parquet(measured.path("measures.test.parquet"))
    assert scores.loc[scores["measure"] == "R@100", "value"].mean() > 0.5
    assert facts["documents"] == 288 and facts["passages"] > 1000
    lines = measured.path("test.trec").read_text(encoding="utf-8").splitlines()
    found = [tuple(line.split()[::2][:2]) for line in lines]
    assert len(set(found)) == len(found), "a document comes once for a query"
    assert not any("#" in line for line in lines)


def test_queries_are_held_out_of_three_files(unmade: Project) -> None:
    for split in ("train", "dev", "test"):
        text = (unmade.folder / "data" / "qrels" / f"{split}.tsv").read_text(encoding="utf-8")
        with (unmade.folder / "qrels.tsv").open("a", encoding="utf-8") as stream:
            stream.writelines(line.replace("\t", " 0 ", 1).replace("\t", " ") + "\n" for line in text.splitlines()[1:])
    config = small_config()
    config["collection"] = {
        "format": "files",
        "name": "held",
        "passages": "data/corpus.jsonl",
        "queries": "data/queries.jsonl",
        "qrels": "qrels.tsv",
        "holdout": {"dev": 0.2, "test": 0.3},
    }
    config |= {"systems": {"bm25": {"preset": "bm25"}}, "export": []}
    counts = Stages(unmade.folder, config).made("collection").facts["splits"]
    assert sum(split["queries"] for split in counts.values()) == 144
    assert 15 <= counts["dev"]["queries"] <= 43 and 28 <= counts["test"]["queries"] <= 59
