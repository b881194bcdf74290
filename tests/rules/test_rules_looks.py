"""What the scripts that look at systems leave: scores, analyses, exports, the summary and the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import PASSAGES_EACH, TOPICS
from made_stages import TRAIN, Stages, columns

from hardneg.report.brief import brief
from hardneg.report.items import names

PASSAGES, TRAINING = TOPICS * PASSAGES_EACH, 4 * TOPICS
MEASURES = ["MRR@10", "nDCG@10", "R@100"]


def scores(stages: Stages, label: str) -> pd.DataFrame:
    """Values by query and measure."""
    table = pd.read_parquet(stages.made("measure", label).path("measures.test.parquet"))
    return table.pivot(index="query_id", columns="measure", values="value")


@pytest.mark.parametrize(("label", "mrr", "ndcg"), [("ranked", 1 / 3, 0.5), ("vectors", 1.0, 1.0)])
def test_scores_of_known_rankings(stages: Stages, label: str, mrr: float, ndcg: float) -> None:
    """The relevant passage is third in the ranking from elsewhere, and first by the vectors from elsewhere."""
    table = scores(stages, label)
    assert len(table) == TOPICS and sorted(table.columns) == sorted(MEASURES)
    np.testing.assert_allclose(table["MRR@10"], mrr)
    np.testing.assert_allclose(table["nDCG@10"], ndcg)
    np.testing.assert_allclose(table["R@100"], 1.0)


def test_the_trec_file_is_the_run(stages: Stages) -> None:
    made = stages.made("measure", "adore")
    table = columns(stages.make(stages.stage("measure", "adore").parents["run"]), "run.test.parquet")
    collection = stages.made("collection")
    queries = columns(collection, "queries.test.parquet")["query_id"][table["query"]]
    passages = columns(collection, "passages.parquet")["passage_id"][table["passage"]]
    rows = [line.split() for line in made.path("test.trec").read_text(encoding="utf-8").splitlines()]
    assert [row[0] for row in rows] == list(queries)
    assert [row[2] for row in rows] == list(passages)
    assert {(row[1], row[5]) for row in rows} == {("Q0", "adore")}


def test_pairwise_errors_are_counted_by_ranks(stages: Stages) -> None:
    """With one relevant passage a query, its errors are what ranks above it."""
    made = stages.made("pairwise_errors", "adore")
    table = columns(made, "errors.parquet")
    assert table["query"].tolist() == list(range(TOPICS))
    assert (table["top_k"] == np.minimum(table["errors"], 20)).all() and table["errors"].max() < PASSAGES
    assert made.facts["total_per_query"] == pytest.approx(table["errors"].mean())
    run = columns(stages.make(stages.stage("measure", "adore").parents["run"]), "run.test.parquet")
    ranks = dict(zip(zip(run["query"].tolist(), run["passage"].tolist(), strict=True), run["rank"], strict=True))
    errors = dict(
        zip(zip(table["query"].tolist(), table["passage"].tolist(), strict=True), table["errors"], strict=True)
    )
    found = [pair for pair in errors if pair in ranks]
    assert len(found) > TOPICS / 2
    assert [errors[pair] for pair in found] == [ranks[pair] - 1 for pair in found]


def test_a_vector_that_equals_its_query_has_no_errors(stages: Stages) -> None:
    assert columns(stages.made("pairwise_errors", "vectors"), "errors.parquet")["errors"].sum() == 0


@pytest.mark.parametrize("label", ["inbatch", "star", "tas", "cross_encoder"])
def test_a_diagnosis_counts_what_was_mined(stages: Stages, label: str) -> None:
    stage = stages.stage("diagnosis", label)
    made = stages.make(stage)
    facts = made.facts
    if label == "inbatch":
        assert facts["in_batch_pairs"] == TRAIN["steps"] * TRAIN["batch_size"] * (TRAIN["batch_size"] - 1)
        assert made.manifest["files"] == {} and facts["candidates"] is None
        return
    mined = stages.make(stage.parents["negatives"])
    assert facts["mined"] == stage.parents["run"].label
    assert facts["candidates"] == mined.facts["candidates"]
    assert facts["mined_judged_positives"] == mined.facts["positives_removed"]
    assert 0 <= facts["likely_false_share"] <= 1
    table = pd.read_parquet(made.path("by_rank.parquet"))
    depth = stage.parents["run"].settings["depth"]
    assert table["first"].iloc[0] == 1 and table["last"].iloc[-1] == depth
    assert (table["first"].iloc[1:].to_numpy() == table["last"].iloc[:-1].to_numpy() + 1).all()
    assert table["candidates"].sum() == facts["candidates"]
    assert table["judged_positives"].sum() == facts["mined_judged_positives"]


def test_agreement_counts_the_top_of_every_system(stages: Stages) -> None:
    table = pd.read_parquet(stages.made("agreement").path("agreement.parquet")).set_index("system")
    assert table.index.to_list() == sorted(stages.config["systems"])
    assert (table["queries"] == TOPICS).all()
    assert (table["hits"] == table["relevant"] + table["judged_not_relevant"] + table["unjudged"]).all()
    assert (table["agreed"] <= table["unjudged"]).all()
    np.testing.assert_allclose(table["hole"], table["unjudged"] / table["hits"])
    assert (table.loc["ranked", "hits"], table.loc["ranked", "relevant"]) == (5 * TOPICS, TOPICS)
    assert table.loc["vectors", "relevant"] == TOPICS


def test_a_trajectory_begins_at_the_start_and_ends_at_the_system(stages: Stages) -> None:
    table = pd.read_parquet(stages.made("trajectory").path("trajectory.parquet"))
    by_step = table.pivot(index="step", columns="name", values="value")
    assert list(by_step.index) == [0, 2, 4, 6] and set(by_step.columns) == {*MEASURES, "MRR@10, training queries"}
    for step, label in ((0, "star"), (TRAIN["steps"], "adore")):
        np.testing.assert_allclose(by_step.loc[step, MEASURES], scores(stages, label)[MEASURES].mean(), atol=0.02)


def test_movement_shows_a_query_its_positives_and_what_is_near(stages: Stages) -> None:
    made = stages.made("movement")
    table = pd.read_parquet(made.path("movement.parquet"))
    counts = table["kind"].value_counts()
    assert table.loc[table["kind"] == "query", "step"].tolist() == [0, 2, 4, 6]
    assert counts["relevant"] == 1 and counts["near_before"] == 10 and counts.get("near_after", 0) <= 10
    assert not table.loc[table["kind"] != "query", "passage"].duplicated().any()
    assert np.isfinite(table[["x", "y"]].to_numpy()).all()
    inputs = np.load(made.path("inputs.npy"))
    assert len(inputs) == len(table)
    assert made.facts["rank_before"] >= 1 and made.facts["rank_after"] >= 1


def test_an_export_holds_the_vectors_runs_and_both_encoders(stages: Stages) -> None:
    made = stages.made("export")
    for encoder in ("query_encoder", "passage_encoder"):
        assert made.path(f"{encoder}/model.safetensors").stat().st_size > 1000
        modules = json.loads(made.path(f"{encoder}/modules.json").read_text(encoding="utf-8"))
        assert len(modules) >= 2
    ids = made.path("pyserini/docid").read_text(encoding="utf-8").split()
    assert ids == list(columns(stages.made("collection"), "passages.parquet")["passage_id"])
    ranked = stages.made("measure", "adore").path("test.trec").read_text(encoding="utf-8")
    assert made.path("runs/plain/test.trec").read_text(encoding="utf-8") == ranked
    described = made.path("runs/test.trec").read_text(encoding="utf-8").splitlines(keepends=True)
    assert "".join(line for line in described if not line.startswith("#")) == ranked
    card = made.path("README.md").read_text(encoding="utf-8")
    assert "adore" in card and "MRR@10" in card


# --- for people ---


@pytest.fixture(scope="module")
def summary(stages: Stages) -> Path:
    """results/small, with measures.csv and what lies beside it; the brief is brief.json of the project."""
    for name in stages.config["systems"]:
        stages.make(stages.plan.systems[name].measure)
    stages.made("export")
    (stages.folder / "brief.json").write_text(json.dumps(brief(stages.plan)), encoding="utf-8")
    target = stages.folder / "results" / "small"
    said = stages.call(["summarise_measures", "--brief", "brief.json", "--output", "results/small/measures.csv"])
    assert said.status == 0, said.err
    return target


def test_the_summary_holds_the_means_of_every_system(stages: Stages, summary: Path) -> None:
    table = pd.read_csv(summary / "measures.csv").set_index(["system", "split", "measure"])["value"]
    assert len(table) == len(stages.config["systems"]) * len(MEASURES)
    for name in stages.config["systems"]:
        for measure in MEASURES:
            assert table[name, "test", measure] == pytest.approx(scores(stages, name)[measure].mean())
    runs = {path.name for path in (summary / "runs").iterdir()}
    assert runs >= {f"{name}.test.trec" for name in stages.config["systems"]}


def test_the_report_has_every_item(stages: Stages, summary: Path) -> None:
    for kind in ("pairwise_errors", "diagnosis", "agreement", "trajectory", "movement"):
        for stage in stages.plan.of(kind):
            stages.make(stage)
    arguments = ["--brief", "brief.json", "--measures", "results/small/measures.csv"]
    said = stages.call(["write_report", *arguments, "--output", "results/small/report.html"])
    assert said.status == 0, said.err
    page = (summary / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!") and all(name in page for name in stages.config["systems"])
    made = {path.stem for folder in ("tables", "figures") for path in (summary / folder).iterdir()}
    assert made == {item[0] for item in names(set(brief(stages.plan)["parts"]))}
    budgets = pd.read_csv(summary / "tables" / "table2.csv").set_index("system")[["queries met", "passages encoded"]]
    training = stages.plan.systems["star"].model
    assert training is not None
    train, start = training.settings["train"], stages.config["systems"]["star"]["from"]
    own = train["steps"] * train["batch_size"]
    assert budgets.loc["star", "queries met"] == budgets.loc[start, "queries met"] + own
    assert budgets.loc["star", "passages encoded"] > budgets.loc[start, "passages encoded"] + own
    lag = pd.read_csv(summary / "tables" / "negatives.csv").set_index("system")["steps on one ranking"]
    assert lag[["star", "adore"]].tolist() == [train["steps"], 0]
    assert np.isnan(lag["inbatch"])


def test_exported_negatives_are_the_first_of_the_mined_lists_with_the_teachers_scores(stages: Stages) -> None:
    stage = stages.stage("negatives_export")
    made = stages.make(stage)
    mined = columns(stages.make(stage.parents["negatives"]), "negatives.parquet")
    taught = columns(stages.make(stage.parents["teacher"]), "scores.parquet")
    collection = stages.made("collection")
    texts = columns(collection, "passages.parquet")
    whole = [f"{title} {text}".strip() for title, text in zip(texts["title"], texts["text"], strict=True)]
    scores = dict(zip(zip(taught["query"], taught["passage"], strict=True), taught["score"], strict=True))
    rows = [json.loads(line) for line in made.path("flagembedding.jsonl").read_text(encoding="utf-8").splitlines()]
    asked = columns(collection, "queries.train.parquet")["text"].tolist()
    assert made.facts["scores"] and 0 < len(rows) <= len(asked)
    for row in rows:
        query = asked.index(row["query"])
        first = mined["passage"][mined["query"] == query][:3]
        assert row["neg"] == [whole[p] for p in first]
        assert row["neg_scores"] == [scores[query, p] for p in first]
