"""Every table and figure, compressed indexes, training followed, other seeds and export, in one small project."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pandas as pd
import pytest
from conftest import Project, new_project
from made_stages import Stages

from hardneg.report.items import ITEMS
from hardneg.stages.artifacts import Artifact
from hardneg.stages.kinds import KINDS

FACTORY = "PQ4x4"
LEFT = ("agreement", "movement", "export")


def everything(config: dict[str, Any]) -> dict[str, Any]:
    systems = config["systems"]
    adore = systems["adore_star"]["train"]
    listed = {"preset": "static", "from": "star", "loss": "list_ranknet", "train": adore}
    mined = {"source": {"depth": 40}, "sampler": {"count": 40}}
    compressed = {"factory": FACTORY, "rows_per_file": 100}
    systems |= {
        "static": {**listed, **mined},
        "refreshed": {
            **listed,
            **mined,
            "source": {"name": "self", "depth": 40},
            "refresh": {"name": "rounds", "rounds": 2},
        },
        "adore_pq": {"preset": "adore", "from": "star", "index": compressed, "source": {"depth": 50}, "train": adore},
    }
    config["analyses"] = {
        "baselines": ["bm25", "bm25neg"],
        "speed_baseline": "star",
        "negatives": {"teacher": "adore_star"},
        "agreement": {"exhaustive": True},
        "examples": {"system": "adore_star", "baseline": "bm25neg", "count": 20},
        "compression": {"base": "star", "systems": ["adore_pq", "adore_star"]},
        "trajectory": {"systems": ["static", "refreshed", "adore_star"], "every": 8, "k": 40},
        "movement": {"system": "adore_star", "passages": 10},
        "ablation": {"star": {"static": "static", "dynamic": "adore_star"}},
        "seeds": {"more": [5], "systems": ["bm25neg"]},
    }
    return config


@pytest.fixture(scope="module")
def whole(shared_folder: Path) -> Project:
    """Made once, in a folder of its own: its stages by their scripts, but for some that are left to Snakemake.

    A job of Snakemake's is seconds of start-up, and there would be a hundred.
    """
    project = Project(shared_folder / "everything")
    with filelock.FileLock(shared_folder / "everything.lock"):
        if not (project.folder / "results" / "small" / "report.html").exists():
            project = new_project(project.folder)
            project.write_config(everything(project.config))
            stages = Stages(project.folder, project.config)
            for stage in stages.plan.stages:
                if stage.kind not in LEFT:
                    stages.make(stage)
            left = Counter(KINDS[stage.kind].script for stage in stages.plan.of(*LEFT))
            assert project.jobs() == left | {"summarise_measures": 1, "write_report": 1}
            project.snakemake()
    return project


def test_every_item_is_made_and_says_whether_it_shows(whole: Project) -> None:
    results = whole.folder / "results" / "small"
    assert {path.stem for path in (results / "captions").iterdir()} == set(ITEMS) - {
        "collections"
    }  # there is one collection
    tables, figures = ({path.stem for path in (results / kind).iterdir()} for kind in ("tables", "figures"))
    assert tables | figures == set(ITEMS) - {"collections"}  # there is one collection
    of_the_paper = {name for name in ITEMS if name.startswith(("table", "figure"))}
    assert of_the_paper == {
        *(f"table{n}" for n in range(1, 6)),
        "figure3",
        "figure4a",
        "figure4b",
        "figure5",
        "figure6",
    }
    for name in of_the_paper:
        caption = (results / "captions" / f"{name}.rst").read_text(encoding="utf-8")
        assert "*The paper:*" in caption and "*Here:*" in caption, caption
    assert whole.jobs() == {}


def test_snakemakes_own_report_has_them(whole: Project) -> None:
    target = whole.folder / "report.zip"
    whole.snakemake("--report", str(target))
    with zipfile.ZipFile(target) as archive:
        names = {Path(name).name for name in archive.namelist()}
    assert {"report.html", "figure4a.svg", "figure6.svg", "table1.csv", "table5.csv"} <= names


def cells(whole: Project) -> pd.DataFrame:
    (path,) = (whole.folder / "artifacts").glob(".brief-small-*.json")
    brief = json.loads(path.read_text(encoding="utf-8"))
    rows = []
    for cell in brief["compression"]:
        measured = Artifact.open(whole.folder / cell["measure"])
        values = pd.read_parquet(measured.path("measures.dev.parquet"))
        value = values.loc[values["measure"] == "MRR@10", "value"].mean()
        rows.append((cell["system"], cell["served_on"], value))
    return pd.DataFrame(rows, columns=["system", "served_on", "value"])


def test_the_compression_table_is_of_runs_from_those_indexes(whole: Project) -> None:
    table = pd.read_csv(whole.folder / "results" / "small" / "tables" / "table3.csv")
    found = cells(whole)
    assert len(found) == 6
    shown = table.select_dtypes("number").to_numpy().ravel()
    assert sorted(np.round(shown[~np.isnan(shown)], 4)) == sorted(np.round(found["value"], 4))
    by_system = pd.read_csv(whole.folder / "results" / "small" / "measures.csv").set_index(
        ["system", "split", "measure"]
    )
    own = found.set_index(["system", "served_on"])["value"]
    for system, index in (("adore_pq", FACTORY), ("adore_star", "Flat")):
        assert own[system, index] == pytest.approx(by_system.loc[(system, "dev", "MRR@10"), "value"], abs=1e-12)


def test_an_index_in_several_files_serves_and_its_codes_are_as_long_as_computed(whole: Project) -> None:
    (folder,) = [
        path
        for path in (whole.folder / "artifacts" / "small" / "index").iterdir()
        if json.loads((path / "manifest.json").read_text(encoding="utf-8"))["settings"]["factory"] == FACTORY
    ]
    facts = Artifact.open(folder / "manifest.json").facts
    assert facts["files"] == [f"index-{number:04d}-of-0003" for number in range(3)]
    assert facts["code_bytes"] == 4 * 4 // 8


def test_another_seed_is_another_model_on_the_same_negatives(whole: Project) -> None:
    table = pd.read_csv(whole.folder / "results" / "small" / "tables" / "seeds.csv")
    assert len(table) and set(table["system"]) == {"bm25neg"}
    trained = list((whole.folder / "artifacts" / "small" / "dual_encoder").glob("bm25neg-*"))
    assert len(trained) == 2
    records = [json.loads((path / "manifest.json").read_text(encoding="utf-8")) for path in trained]
    assert {record["settings"]["seed"] for record in records} == {3, 5}
    assert len({record["parents"]["negatives"] for record in records}) == 1


def test_the_live_list_is_its_own_and_static_ones_drift(whole: Project) -> None:
    """What static lists share with the live top-k is a share, is measured at each probe, and is high at the start."""
    (folder,) = (whole.folder / "artifacts" / "small" / "trajectory").glob("static-*")
    rows = pd.read_parquet(folder / "trajectory.parquet")
    overlap = rows[rows["name"] == "overlap@40"].set_index("step")["value"]
    assert list(overlap.index) == [0, 8, 16, 24, 32] and overlap.between(0, 1).all()
    assert overlap[0] > 0.5
    measured = rows[rows["name"] == "MRR@10"].set_index("step")["value"]
    assert list(measured.index) == [0, 8, 16, 24, 32, 40]
    scores = pd.read_csv(whole.folder / "results" / "small" / "measures.csv").set_index(["system", "split", "measure"])
    assert measured[40] == pytest.approx(scores.loc[("static", "dev", "MRR@10"), "value"], abs=0.02)
    assert measured[0] == pytest.approx(scores.loc[("star", "dev", "MRR@10"), "value"], abs=0.02)
