"""Table 4: how long each system takes until it has the score of the baseline."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from made_report import item_of, made_material, table

from hardneg.report.material import Material


@pytest.fixture(scope="module")
def material() -> Material:
    return made_material()


def scored(material: Material, values: dict[str, float]) -> Material:
    """The report with other values of MRR@10 on dev, where .1 stands for all that are not named."""
    measures = material.measures.copy()
    rows = (measures["split"] == "dev") & (measures["measure"] == "MRR@10")
    measures.loc[rows, "value"] = measures.loc[rows, "system"].map(values).fillna(0.1)
    return replace(material, measures=measures)


def followed(material: Material) -> Material:
    """The report with a query encoder that was evaluated at four steps of 300, and is best at the third."""
    steps = [("adore_bm25neg", step, "MRR@10", value) for step, value in ((0, 0.3), (100, 0.39), (200, 0.41))]
    steps += [("adore_bm25neg", 300, "MRR@10", 0.405), ("adore_bm25neg", 100, "R@100", 0.9)]
    return replace(material, trajectory=pd.DataFrame(steps, columns=["system", "step", "name", "value"]))


def test_seconds_to_the_score_of_the_baseline(material: Material) -> None:
    """A training takes 66 s, that of ance 1,290 and that of a query encoder 12; all but rand build on another."""
    values = {"ance": 0.4, "star": 0.41, "adore_star": 0.3, "adore_bm25neg": 0.405, "rand": 0.4, "adore_rand": 0.39}
    found = table("table4", scored(followed(material), values)).set_index("system")
    took, starts = found["seconds to its score"], found["starts from"]
    expected = {"ance": 66 + 1290, "star": 66 + 66, "adore_bm25neg": 66 + 12 * 200 / 300, "rand": 66}
    expected |= {str(name): expected[start] for name, start in starts.items() if start in ("ance", "star", "rand")}
    assert took.dropna().to_dict() == pytest.approx(expected)
    assert {"adore_star", "adore_rand"} <= set(expected) and np.isnan(took["bm25neg"])
    assert found["speed-up to its score"]["star"] == pytest.approx(1356 / 132)
    assert found["speed-up to its score"]["ance"] == 1


@pytest.mark.parametrize(
    ("known", "said"), [(True, "after 74.0 seconds in total, 18.3x"), (False, "after 78.0 seconds in total, 17.4x")]
)
def test_the_first_to_have_the_score_is_told(material: Material, known: bool, said: str) -> None:
    seen = followed(material) if known else replace(material, trajectory=None)
    here = item_of("table4", scored(seen, {"ance": 0.4, "star": 0.45, "adore_bm25neg": 0.405})).here
    assert here.startswith("It shows here: ")
    assert f"adore_bm25neg reaches ance's MRR@10 on dev, 0.4000, {said}" in here


def test_what_builds_on_a_system_that_has_the_score_is_not_the_first(material: Material) -> None:
    here = item_of(
        "table4", scored(replace(material, trajectory=None), {"ance": 0.4, "star": 0.41, "adore_star": 0.5})
    ).here
    assert "star reaches ance's MRR@10 on dev, 0.4000, after 132.0 seconds" in here
    assert "adore_star reaches" not in here


def test_what_starts_from_a_system_that_has_the_score_has_not_reached_it(material: Material) -> None:
    values = {"ance": 0.4, "bm25neg": 0.4, "star": 0.45, "adore_star": 0.5}
    here = item_of("table4", scored(replace(material, trajectory=None), values)).here
    assert "It does not show: each that has ance's MRR@10 on dev, 0.4000, starts from a system that has it." in here


def test_none_may_have_the_score_or_none_sooner(material: Material) -> None:
    unseen = replace(material, trajectory=None)
    nothing = item_of("table4", scored(unseen, {"ance": 0.4})).here
    assert "It does not show: none reaches ance's MRR@10 on dev, 0.4000." in nothing
    costs = material.training_costs.copy()
    costs.loc[costs["system"] == "ance", ["seconds", "whole_seconds"]] = 1.0
    later = item_of("table4", scored(replace(unseen, training_costs=costs), {"ance": 0.4, "star": 0.5})).here
    assert later.startswith("It does not show here: ")
    assert "star reaches ance's MRR@10 on dev, 0.4000, after 132.0 seconds in total, 0.00758x" in later
