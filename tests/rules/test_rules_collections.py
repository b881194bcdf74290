"""Systems of one study on further collections, as they are, and the mean over all of them."""

from __future__ import annotations

import contextlib
import json
from math import log2
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import PASSAGES_EACH, TOPICS, small_config, write_collection
from made_stages import TRAIN, Stages

from hardneg.config import load
from hardneg.planning.plan import Plan
from hardneg.report.brief import brief

OTHERS = {"two": 1, "three": 2}
SYSTEMS = ["bm25", "inbatch", "adore"]


def config() -> dict[str, Any]:
    """A study of BM25, an encoder, and a query encoder on its passages."""
    given = small_config()
    given["systems"] = {
        "bm25": {"preset": "bm25"},
        "inbatch": {"preset": "inbatch_softmax", "train": TRAIN},
        "adore": {"preset": "adore", "from": "inbatch", "source": {"depth": 30}, "train": TRAIN},
    }
    given |= {"export": [], "arithmetic": {"training_threads": 1, "encoding_threads": 1}}
    given["splits"] = {"evaluate": ["test"]}
    given["evaluation"] |= {"main_measure": "nDCG@10", "depth": 20}
    given["analyses"] = dict.fromkeys(("pairwise_errors", "negatives", "agreement", "examples"))
    given["evaluate_on"] = [
        {"split": "test"},
        {"collection": {"format": "beir", "name": "two", "path": "two"}},
        {"config": "three.yaml", "split": "dev"},
    ]
    return given


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Stages:
    folder = tmp_path_factory.mktemp("collections")
    write_collection(folder / "data")
    for name, seed in OTHERS.items():
        write_collection(folder / name, seed)
    other = {**small_config(), "collection": {"format": "beir", "name": "three", "path": "three"}}
    (folder / "three.yaml").write_text(json.dumps(other), encoding="utf-8")
    return Stages(folder, config())


@pytest.fixture(scope="module")
def results(made: Stages) -> Path:
    """`results/small`, with all that people read."""
    for scored in made.plan.scored:
        for measure in scored.measures.values():
            made.make(measure)
    with contextlib.chdir(made.folder):
        (made.folder / "brief.json").write_text(json.dumps(brief(made.plan)), encoding="utf-8")
    table = "results/small/measures.csv"
    for script, *more in (
        ["summarise_measures", "--output", table],
        ["write_report", "--measures", table, "--output", "results/small/report.html"],
    ):
        said = made.call([script, "--brief", "brief.json", *more])
        assert said.status == 0, said.err
    return made.folder / "results" / "small"


def ndcg(run: Path, qrels: Path) -> float:
    """nDCG@10 with one relevant passage a query: the mean of 1 / log2(1 + its rank), 0 below rank 10."""
    judged = dict(line.split("\t")[:2] for line in qrels.read_text(encoding="utf-8").splitlines()[1:])
    gains = dict.fromkeys(judged, 0.0)
    for line in run.read_text(encoding="utf-8").splitlines():
        query, _, passage, rank, *_ = line.split()
        if judged[query] == passage and int(rank) <= 10:
            gains[query] = 1 / log2(1 + int(rank))
    return sum(gains.values()) / len(gains)


def test_the_mean_is_that_of_the_collections(made: Stages, results: Path) -> None:
    found = pd.read_csv(results / "collections.csv", keep_default_na=False)
    rows = found[found["measure"] == "nDCG@10"].to_dict("records")
    chosen = {(row["collection"], row["system"]): row for row in rows}
    for system in SYSTEMS:
        expected = {}
        for name, folder, split in (("small", "data", "test"), ("two", "two", "test"), ("three", "three", "dev")):
            ending = split if name == "small" else f"{name}.{split}"
            expected[name] = ndcg(
                results / "runs" / f"{system}.{ending}.trec", made.folder / folder / f"qrels/{split}.tsv"
            )
            row = chosen[name, system]
            assert row["value"] == pytest.approx(expected[name], abs=1e-12)
            assert (row["split"], row["queries"]) == (split, TOPICS)
        mean = chosen["mean", system]
        assert mean["value"] == pytest.approx(sum(expected.values()) / 3, abs=1e-12)
        assert (mean["split"], mean["queries"]) == ("", 3 * TOPICS)
    assert len(found) == 4 * len(SYSTEMS) * 3


def test_the_report_has_one_table_with_the_best_marked(results: Path) -> None:
    table = pd.read_csv(results / "tables" / "collections.csv")
    columns = [f"{name} nDCG@10" for name in ("small", "two", "three", "mean")]
    assert list(table.columns) == ["system", *columns, "mean MRR@10", "mean R@100"]
    assert list(table["system"]) == SYSTEMS
    assert table["mean nDCG@10"].to_numpy() == pytest.approx(table[columns[:3]].mean(axis=1).to_numpy())
    best = float(table["mean nDCG@10"].max())
    latex = (results / "tables" / "collections.tex").read_text(encoding="utf-8")
    assert f"\\textbf{{{best:.4f}}}" in latex
    page = (results / "report.html").read_text(encoding="utf-8")
    assert "two: 24 of test; three: 24 of dev" in page and "plain mean over collections" in page
    text = (results / "measures.txt").read_text(encoding="utf-8")
    assert "nDCG@10 by collection" in text and f"{best:.4f}*" in text


def test_stages_lie_with_their_collection_and_are_shared(made: Stages) -> None:
    labels = {(s.dataset, s.kind, s.label) for s in made.plan.stages if s.dataset != "small"}
    each = {("passages", "small.inbatch"), ("index", "small.inbatch"), ("tokens", "small")}
    each |= {("queries", "inbatch"), ("queries", "adore"), ("bm25_index", "lucene"), ("bm25_run", "bm25")}
    each |= {("run", name) for name in SYSTEMS[1:]} | {("measure", name) for name in SYSTEMS}
    assert labels == {(name, *one) for name in OTHERS for one in {*each, ("collection", name)}}
    with contextlib.chdir(made.folder):
        other = Plan(load(json.loads((made.folder / "three.yaml").read_text(encoding="utf-8"))))
    assert other.collection.manifest == made.stage("collection", "three").manifest
    facts = made.made("collection", "three").facts
    assert facts["passages"] == TOPICS * PASSAGES_EACH and set(facts["splits"]) == {"train", "dev", "test"}
    assert set(made.made("collection", "two").facts["splits"]) == {"test"}


def test_evaluating_elsewhere_changes_no_other_stage(made: Stages) -> None:
    alone = {key: value for key, value in made.config.items() if key != "evaluate_on"}
    with contextlib.chdir(made.folder):
        before = [str(stage.folder) for stage in Plan(load(alone)).stages]
    assert before == [str(stage.folder) for stage in made.plan.stages][: len(before)]
