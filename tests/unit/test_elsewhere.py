"""Further collections in a configuration: what is refused at the start, and what commands know of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from conftest import small_config, write_collection

from hardneg.cli.main import main
from hardneg.config import load
from hardneg.errors import HardnegError
from hardneg.estimate.counts import count_elsewhere
from hardneg.estimate.resources import Resources
from hardneg.evaluation.expected import read_measures
from hardneg.evaluation.several import over_collections
from hardneg.planning.plan import Plan

TWO = {"format": "beir", "name": "two", "path": "two"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_collection(tmp_path / "data")
    write_collection(tmp_path / "two", 1)
    return tmp_path


def study(*entries: dict[str, Any], **more: Any) -> dict[str, Any]:
    config = small_config()
    config["systems"] = {"bm25": {"preset": "bm25"}}
    return {**config, "export": [], "evaluate_on": list(entries), **more}


REFUSED: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
    "a name twice": ([{"collection": TWO}, {"collection": TWO, "split": "dev"}], ["the same name", "two"]),
    "its own name": ([{"collection": {**TWO, "name": "small"}}], ["name of this study's own", "small"]),
    "the name of the mean": ([{"collection": {**TWO, "name": "mean"}}], ["stands for the mean"]),
    "given twice": ([{"collection": TWO, "config": "two.yaml"}], ["evaluate_on.0", "collection, config"]),
    "own twice": ([{"split": "test"}, {"split": "test"}], ["evaluate_on.1", "given twice"]),
    "own, not evaluated": ([{"split": "train"}], ["evaluate_on.0.split", "train", "dev, test"]),
    "own, another grade": ([{"relevant_grade": 2}], ["evaluation.relevant_grade"]),
    "an unknown split": ([{"collection": TWO, "split": "dl2019"}], ["no such split", "dl2019", "train, dev, test"]),
    "a missing folder": ([{"collection": {**TWO, "path": "none"}}], ["folder of the collection is missing", "none"]),
    "a wrong block": (
        [{"collection": {**TWO, "windows": {"words": 5, "overlap": 9}}}],
        ["evaluate_on.0", "overlap of windows"],
    ),
    "an unknown key": ([{"collection": {**TWO, "paths": "x"}}], ["Unknown key", "did you mean path?"]),
    "a missing file": ([{"config": "none.yaml"}], ["evaluate_on.0.config: none.yaml", "does not exist"]),
    "a split of a file": ([{"config": "two.yaml", "split": "dl19"}], ["evaluate_on.0.split", "dl19", "two.yaml"]),
    "a name of a file": ([{"collection": TWO}, {"config": "two.yaml"}], ["the same name", "two"]),
}


@pytest.mark.parametrize("what", REFUSED)
def test_wrong_collections_are_refused_before_anything_runs(folder: Path, what: str) -> None:
    entries, said = REFUSED[what]
    (folder / "two.yaml").write_text(yaml.safe_dump({**study(), "collection": TWO}), encoding="utf-8")
    with pytest.raises(HardnegError) as refused:
        Plan(load(study(*entries)))
    for text in said:
        assert text in str(refused.value)


def test_a_study_of_given_rankings_alone_is_refused(folder: Path) -> None:
    given = {"preset": "given_run", "runs": {"dev": "x", "test": "x"}}
    with pytest.raises(HardnegError, match="No system of this study can be evaluated on another"):
        load(study({"collection": TWO}, systems={"theirs": given}))


def test_a_reranker_moves_with_the_ranking_that_it_reorders(folder: Path) -> None:
    ranked = {"preset": "given_run", "runs": {"dev": "x", "test": "x"}}
    (folder / "x").write_text("q 0 p 1 1 x\n", encoding="utf-8")
    train = {"steps": 1}
    second = {"preset": "cross_encoder", "train": train, "rerank": {"depth": 5}}
    systems = {"bm25": {"preset": "bm25"}, "ranked": ranked, "second": second}
    plan = Plan(load(study({"collection": TWO}, systems=systems)))
    assert list(plan.scored[0].measures) == ["bm25", "second"]
    run = plan.scored[0].measures["second"].parents["run"]
    assert (run.dataset, run.kind) == ("two", "rerank")
    assert run.parents["model"] is plan.systems["second"].model
    assert run.parents["run"].settings["depth"] == 5 and run.parents["run"].dataset == "two"


def test_narrower_vectors_and_own_indexes_move_too(folder: Path) -> None:
    config = study({"collection": TWO})
    config["encoder"]["dims"] = [8]
    config["systems"] |= {
        "warm": {"preset": "inbatch_softmax", "train": {"steps": 1}},
        "coarse": {"from": "warm", "trains": "nothing", "index": "SQ8"},
    }
    plan = Plan(load(config))
    measures = plan.scored[0].measures
    assert list(measures) == ["bm25", "warm", "coarse", "warm.dim8"]
    cut = measures["warm.dim8"].parents["run"].parents["passages"]
    assert (cut.kind, cut.dataset, cut.settings["width"]) == ("narrowed", "two", 8)
    index = measures["coarse"].parents["run"].parents["index"]
    assert index.settings["factory"] == "SQ8" and index.dataset == "two"
    assert len([stage for stage in plan.of("passages") if stage.dataset == "two"]) == 1


def test_commands_know_the_collections(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = study({"collection": TWO})
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    main(["plan"])
    assert "two/bm25" in capsys.readouterr().out
    plan = Plan(load(config))
    counted = count_elsewhere(plan)
    assert (counted["two"].passages, counted["two"].queries) == (288, {"test": 24})
    index = next(stage for stage in plan.of("bm25_index") if stage.dataset == "two")
    assert Resources(plan).memory_mb(index) > 0
    stale = folder / "artifacts" / "two" / "measure" / "old-0123456789ab"
    stale.mkdir(parents=True)
    main(["prune", "--yes"])
    assert stale.exists() and "Nothing to remove" in capsys.readouterr().out
    main(["prune", "--yes", "--elsewhere"])
    assert not stale.exists()


def test_the_mean_weighs_every_collection_the_same(tmp_path: Path) -> None:
    def values(*numbers: float) -> pd.DataFrame:
        return pd.DataFrame({"query_id": range(len(numbers)), "measure": "nDCG@10", "value": numbers})

    scored = [
        ("a", "test", "s", values(1.0, 0.0, 0.5)),
        ("b", "dev", "s", values(0.2)),
        ("a", "test", "t", values(0.3)),
    ]
    found = over_collections([*scored, ("b", "dev", "t", values(0.5))])
    mean = found[found["collection"] == "mean"].set_index("system")
    assert mean["value"].to_dict() == pytest.approx({"s": (0.5 + 0.2) / 2, "t": (0.3 + 0.5) / 2})
    assert mean["queries"].to_dict() == {"s": 4, "t": 2}
    found.to_csv(tmp_path / "collections.csv", index=False)
    (tmp_path / "measures.csv").write_text("system,split,measure,value\ns,test,nDCG@10,0.5\n", encoding="utf-8")
    scores = read_measures(tmp_path / "measures.csv")
    assert scores["s", "mean", "nDCG@10"] == pytest.approx(0.35) and scores["t", "b:dev", "nDCG@10"] == 0.5
    assert scores["s", "test", "nDCG@10"] == 0.5


def test_the_key_is_in_no_version_and_not_in_the_configuration_of_others(folder: Path) -> None:
    alone = study()
    del alone["evaluate_on"]
    before, after = Plan(load(alone)), Plan(load(study({"collection": TWO})))
    assert [stage.folder for stage in before.stages] == [stage.folder for stage in after.stages][: len(before.stages)]
    assert "evaluate_on" not in json.dumps(before.config.model_dump(mode="json"))
    assert {stage.dataset for stage in after.stages} == {"small", "two"}
