"""The report's diagnostics against independent computations."""

from __future__ import annotations

import statistics
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from made_report import item_of, made_material, table
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from hardneg.report.material import Material, Negatives


@pytest.fixture(scope="module")
def material() -> Material:
    return made_material()


def draw(name: str, material: Material) -> Figure:
    figure = item_of(name, material).figure
    assert figure is not None
    return figure()


def test_negatives_are_counted_by_system(material: Material) -> None:
    found = table("negatives", material).set_index("system")
    counts = [4_421_000, 18_290, 4_402_710, pytest.approx(6.3), 2_611_200, 1_404]
    assert found.T["star"].tolist() == ["bm25neg", 160, *counts]
    assert found.loc["rand"].isna().all()
    assert found.loc["inbatch", "in-batch judged relevant, masked"] == 912
    item = item_of("negatives", material)
    assert item.here.startswith("34,760 judged passages were removed from the hits of 2 distinct mined rankings, ")
    assert "2,316 judged pairs were masked in the batches of 2 trainings." in item.here
    assert material.negatives is not None
    rows = material.negatives.systems
    again = rows[rows["system"] == "star"].assign(system="ance")  # it mines the ranking that STAR mines
    more = replace(material.negatives, systems=pd.concat([rows, again], ignore_index=True))
    said = item_of("negatives", replace(material, negatives=more)).here
    assert said.startswith("34,760 judged passages were removed from the hits of 2 distinct mined rankings, ")
    assert "star has the largest share of likely false negatives, 6.3%" in item.here
    assert "that star scores above" in item.caption


def test_negatives_without_a_teacher(material: Material) -> None:
    assert material.negatives is not None
    systems, by_rank = material.negatives.systems, material.negatives.by_rank
    untaught = Negatives(None, systems.assign(likely_false_share=None), by_rank.assign(likely_false=None))
    item = item_of("negatives", replace(material, negatives=untaught))
    assert "Likely false candidates: not measured" in item.caption
    assert "likely false" not in item.here
    assert len(draw("negatives_by_rank", replace(material, negatives=untaught)).axes) == 1


def test_negatives_by_rank_draws_margins_with_their_quartiles(material: Material) -> None:
    assert material.negatives is not None
    rows = material.negatives.by_rank
    margin, likely = draw("negatives_by_rank", material).axes
    bands = [found for found in margin.collections if isinstance(found, PolyCollection)]
    for line, band, share in zip(margin.get_lines(), bands, likely.get_lines(), strict=True):
        own = rows[rows["system"] == line.get_label()]
        assert np.asarray(line.get_xdata()).tolist() == list(range(7))
        spread = np.mean([high - low for low, high in zip(own["margin_q25"], own["margin_q75"], strict=True)])
        assert np.asarray(line.get_ydata()).tolist() == pytest.approx((own["margin_median"] / spread).tolist())
        assert np.asarray(share.get_ydata()).tolist() == pytest.approx((100 * own["likely_false"]).tolist())
        corners = np.asarray(band.get_paths()[0].vertices)
        for place, (low, high) in enumerate(zip(own["margin_q25"], own["margin_q75"], strict=True)):
            at = corners[corners[:, 0] == place, 1]
            assert (at.min(), at.max()) == pytest.approx((low / spread, high / spread))
    labels = [label.get_text() for label in margin.get_xticklabels()]
    assert labels == ["1", "2–5", "6–10", "11–20", "21–50", "51–100", "101–200"]
    item = item_of("negatives_by_rank", material)
    assert "bm25neg down to rank 1, star down to rank 1" in item.here
    assert "bm25neg 40.0% and 1.7%, star 50.0% and 2.1%" in item.here


def test_margins_do_not_depend_on_the_scale_of_scores(material: Material) -> None:
    assert material.negatives is not None
    margins = ["margin_q25", "margin_median", "margin_q75"]
    scaled = material.negatives.by_rank.copy()
    scaled.loc[scaled["system"] == "star", margins] *= 1000
    again = replace(material, negatives=replace(material.negatives, by_rank=scaled))
    first, second = (draw("negatives_by_rank", one).axes[0].get_lines() for one in (material, again))
    for line, other in zip(first, second, strict=True):
        assert np.asarray(line.get_ydata()) == pytest.approx(np.asarray(other.get_ydata()))


def test_negatives_by_rank_where_no_candidate_wins_or_none_was_mined(material: Material) -> None:
    assert material.negatives is not None
    low = replace(material.negatives, by_rank=material.negatives.by_rank.assign(margin_median=-1.0))
    assert item_of("negatives_by_rank", replace(material, negatives=low)).here.startswith("The median candidate never ")
    none = replace(material, negatives=replace(material.negatives, by_rank=pd.DataFrame({"system": []})))
    assert item_of("negatives_by_rank", none).here == "No system mined a ranking."
    assert [text.get_text() for text in draw("negatives_by_rank", none).axes[0].texts] == ["nothing was measured"]


def test_agreement_shows_counts_and_rates(material: Material) -> None:
    rows = material.agreement
    assert rows is not None
    found = table("agreement", material)
    assert found["Hole, % ↓"].tolist() == pytest.approx(
        [100 * u / h for u, h in zip(rows["unjudged"], rows["hits"], strict=True)]
    )
    assert found["measured false negatives, %"].tolist() == pytest.approx(
        [100 * x for x in rows["measured_false_negative_rate"]]
    )
    assert f"agree on {sum(rows['agreed']) / sum(rows['unjudged']):.1%} of" in item_of("agreement", material).here
    assert "up to 10 per query" in item_of("agreement", material).caption
    sparse = replace(material, agreement=rows.assign(measured_false_negative_rate=None))
    assert "measured false negatives, %" not in table("agreement", sparse)


def test_seeds_are_summed_up_and_drawn(material: Material) -> None:
    rows = material.seeds
    assert rows is not None
    for row in table("seeds", material).to_dict("records"):
        chosen = rows[
            (rows["system"] == row["system"]) & (rows["split"] == row["split"]) & (rows["measure"] == row["measure"])
        ]
        own = chosen["value"].tolist()
        expected = [3, statistics.mean(own), statistics.stdev(own), min(own), max(own)]
        assert [row[key] for key in ("seeds", "mean", "sd", "min", "max")] == pytest.approx(expected)
    panel = draw("seeds", material).axes[0]
    main = rows[(rows["split"] == "test") & (rows["measure"] == "MRR@10")]
    dots = [line for line in panel.get_lines() if line.get_marker() == "o"]
    ticks = [line for line in panel.get_lines() if line.get_marker() == "|"]
    names = [label.get_text() for label in panel.get_yticklabels()]
    assert names == ["bm25neg", "star", "adore_star"]
    for name, line, tick in zip(names, dots, ticks, strict=True):
        own = main.loc[main["system"] == name, "value"].tolist()
        assert np.asarray(line.get_xdata()).tolist() == own
        assert np.asarray(tick.get_xdata()).tolist() == [pytest.approx(statistics.mean(own))]


def test_seeds_say_whether_the_best_is_apart(material: Material) -> None:
    def of(**values: list[float]) -> Material:
        rows = [(name, seed, "test", "MRR@10", value) for name, own in values.items() for seed, value in enumerate(own)]
        return replace(material, seeds=pd.DataFrame(rows, columns=["system", "seed", "split", "measure", "value"]))

    apart = of(star=[0.3, 0.31], adore_star=[0.41, 0.4], bm25neg=[0.1, 0.1])
    assert item_of("seeds", apart).here.startswith(
        "The worst seed of adore_star (0.4000) is above the best seed of star (0.3100)"
    )
    close = of(star=[0.3, 0.42], adore_star=[0.41, 0.4])
    assert item_of("seeds", close).here.startswith(
        "The worst seed of adore_star (0.4000) is not above the best seed of star (0.4200)"
    )
    assert item_of("seeds", of(star=[0.3, 0.4])).here == "Only one system was trained with several seeds."


def test_wins_are_counted_query_by_query(material: Material) -> None:
    values: dict[str, dict[str, float]] = {}
    for row in material.per_query.query("split == 'test' and measure == 'MRR@10'").to_dict("records"):
        values.setdefault(row["system"], {})[row["query_id"]] = row["value"]
    found = table("wins", material)
    pairs = {(row.system, row.baseline) for row in found.itertuples()}
    assert {("adore_star", "star"), ("adore_star", "bm25"), ("inbatch", "bm25neg")} <= pairs
    assert len(pairs) == len(found)
    for row in found.to_dict("records"):
        ours, theirs = values[row["system"]], values[row["baseline"]]
        assert row["won"] == sum(ours[query] > theirs[query] for query in ours)
        assert row["tied"] == sum(ours[query] == theirs[query] for query in ours)
        assert row["lost"] == sum(ours[query] < theirs[query] for query in ours)
    ((*_, won, tied, lost),) = found.query("system == 'adore_star' and baseline == 'star'").to_numpy().tolist()
    said = f"adore_star wins {won}, ties {tied} and loses {lost} against star"
    assert said in item_of("wins", material).here
