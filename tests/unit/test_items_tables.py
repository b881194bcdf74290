"""The report's tables against independent computations, and its verdicts both ways."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from itertools import chain, combinations
from string import ascii_letters
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_report import PARTS, K, item_of, made_material, table
from scipy import stats

from hardneg.report.claims import differences
from hardneg.report.claims.kinds import kinds
from hardneg.report.claims.verdicts import Claim, verdict
from hardneg.report.content import LOWER, MARKS
from hardneg.report.items import ITEMS, items, names
from hardneg.report.material import Compression, Errors, Material
from hardneg.report.text import cell_text


@pytest.fixture(scope="module")
def material() -> Material:
    return made_material()


def holm(p_values: list[float]) -> list[float]:
    """By the definition: the largest, over all smaller p-values, of p times the number that are not smaller."""
    return [min(1.0, max(q * sum(r >= q for r in p_values) for q in p_values if q <= p)) for p in p_values]


def without_parts(material: Material, but: set[str]) -> Material:
    without: dict[str, Any] = dict.fromkeys(PARTS - but)
    return replace(material, **without)


def bare(material: Material) -> Material:
    """A study of BM25 alone, nothing tested, nothing trained."""
    alone: dict[str, Any] = {
        field: getattr(material, field).query("system == 'bm25'").reset_index(drop=True)
        for field in ("systems", "measures", "per_query", "significance", "marks", "costs", "training_costs")
    }
    return replace(without_parts(material, set()), **alone, speed_baseline=None)


@pytest.mark.parametrize(
    "chosen", list(chain.from_iterable(combinations(sorted(PARTS), n) for n in (0, 1, 9))), ids=", ".join
)
def test_names_are_those_of_the_items(material: Material, chosen: tuple[str, ...]) -> None:
    parts = set(chosen)
    found = [
        (
            item.name,
            {(True, True): "both", (True, False): "table", (False, True): "figure"}[
                item.table is not None, item.figure is not None
            ],
            item.category,
            item.title,
        )
        for item in items(without_parts(material, parts))
    ]
    assert found == names(parts)
    assert [name for name in ITEMS if name in {row[0] for row in found}] == [row[0] for row in found]


def test_names_are_asked_at_every_start_and_import_nothing_heavy() -> None:
    code = "import sys; from hardneg.report import items; items.names(set()); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not {"pandas", "numpy", "matplotlib", "scipy", "torch"} & set(done.stdout.split())


def test_the_paper_s_numbers_are_all_there(material: Material) -> None:
    titles = [item.title.split(":")[0] for item in items(material) if ":" in item.title]
    tables, figures = (
        [f"Table {n}" for n in range(1, 6)],
        ["Figure 3", "Figure 4a", "Figure 4b", "Figure 5", "Figure 6"],
    )
    assert sorted(titles) == sorted(tables + figures)


@pytest.mark.parametrize("name", ITEMS)
def test_what_is_said_names_the_data_and_the_paper_s_data(material: Material, name: str) -> None:
    item = item_of(name, material)
    assert material.dataset in item.caption
    assert item.caption.endswith(".")
    assert item.here
    if item.paper:
        assert "MS MARCO" in item.paper
        assert item.here.startswith(("It shows here: ", "It shows in part: ", "It does not show here: "))
    for column in item.digits:
        assert item.table is not None
        assert column not in item.table or pd.api.types.is_numeric_dtype(item.table[column])


def test_a_study_of_one_untrained_system_has_its_items(material: Material) -> None:
    found = {item.name: item for item in items(bare(material))}
    assert found["table2"].here.startswith("Cannot be checked here: ")
    assert found["table4"].here.startswith("Cannot be checked here: ")
    drawn = found["table2"].table
    assert drawn is not None
    assert list(drawn["system"]) == ["bm25"]
    assert not [name for name in drawn if str(name).endswith(MARKS)]


def test_kinds_are_read_from_the_answers() -> None:
    columns = ["system", "starts_from", "trains", "source", "loss", "batch"]
    both, query = "both encoders", "query encoder"
    rows = [
        ("a", None, "nothing", "", "", "", "other"),
        ("b", None, both, "none", "softmax", "in_batch", "random"),
        ("c", None, both, "random", "ranknet", "shared", "random"),
        ("d", "", both, "run (a)", "ranknet", "own", "static hard"),
        ("e", "d", both, "self", "ranknet", "own", "static hard"),
        ("f", "d", both, "run (d)", "ranknet", "in_batch", "STAR"),
        ("g", None, both, "run (a)", "softmax", "in_batch", "other"),
        ("h", "f", query, "live", "lambda_ranknet", "", "ADORE"),
        ("i", "f", query, "live", "list_ranknet", "", "dynamic"),
        ("j", "f", query, "random", "ranknet", "", "random (query encoder)"),
        ("k", "f", query, "run (f)", "ranknet", "", "static hard (query encoder)"),
    ]
    systems = pd.DataFrame([row[:6] for row in rows], columns=columns)
    assert kinds(systems) == {row[0]: row[6] for row in rows}


def test_verdicts() -> None:
    yes, no = Claim(True, "two is more than one", "one is more"), Claim(False, "three is less than one", "it is more")
    end = "Counted. It would be refuted if"
    shown, missing = "two is more than one", "three is less than one"
    assert verdict([yes, yes], "Counted.", "-") == f"It shows here: {shown}; {shown}. {end} one is more."
    assert verdict([no], "Counted.", "-") == f"It does not show here: {missing}. {end} it is more."
    assert verdict([no, yes], "Counted.", "-") == (
        f"It shows in part: {shown}. It does not show: {missing}. {end} it is more; one is more."
    )
    assert verdict([], "Counted.", "nobody counted") == "Cannot be checked here: nobody counted."


def test_differences_are_tested_by_paired_t_with_holm_over_the_pairs() -> None:
    generator = np.random.default_rng(0)
    base = generator.normal(size=40)
    values = {"a": base, "b": base + generator.normal(0.5, 1, 40), "c": base - generator.normal(1, 1, 40)}
    ids = [str(number) for number in range(40)]
    frames = [pd.DataFrame({"system": name, "query_id": ids, "value": value}) for name, value in values.items()]
    pairs = [("a", "b"), ("c", "a"), ("b", "c")]
    found = differences.tested(pd.concat(frames), pairs)
    p_values = holm([stats.ttest_rel(values[one], values[two]).pvalue for one, two in pairs])
    for pair, p, each in zip(pairs, p_values, found, strict=True):
        assert (each.system, each.baseline) == pair
        assert (each.value, each.other) == pytest.approx((values[pair[0]].mean(), values[pair[1]].mean()))
        assert each.p == pytest.approx(p)
    assert (found[1].lower, found[1].higher, found[2].higher, found[2].lower) == (True, False, True, False)


def errors_of(means: dict[str, tuple[int, int]], queries: int = 30) -> Errors:
    """A positive a query, errors a little around what is given: the total in one hard query, the rest in all others."""
    frames = []
    for place, (system, (total, top)) in enumerate(means.items()):
        noise = np.random.default_rng(place).integers(0, 2, queries)
        errors = np.where(np.arange(queries) % 3 == 0, total, top) + noise
        columns = {"query": np.arange(queries), "passage": 0, "errors": errors, "top_k": np.minimum(errors, K)}
        frames.append(pd.DataFrame(columns).assign(system=system))
    return Errors(K, 1000, pd.concat(frames, ignore_index=True))


def test_table1_counts_by_query_and_by_positive(material: Material) -> None:
    rows = [  # query 0 has two judged passages
        ("star", 0, 5, 1000, 200),
        ("star", 0, 6, 4, 4),
        ("star", 1, 7, 10, 10),
        ("rand", 0, 5, 300, 200),
        ("rand", 0, 6, 0, 0),
        ("rand", 1, 7, 30, 30),
    ]
    columns = ["system", "query", "passage", "errors", "top_k"]
    small = replace(material, errors=Errors(200, 1000, pd.DataFrame(rows, columns=columns)))
    found = table("table1", small).set_index("system")
    assert found.T["star"].tolist() == ["STAR", 1014 / 2, 214 / 2, 1014 / 3, pytest.approx(214 / 3)]
    assert found.T["rand"].tolist() == ["random", 330 / 2, 230 / 2, 330 / 3, pytest.approx(230 / 3)]
    assert all(str(name).endswith(LOWER) for name in found.columns[1:])
    assert "2 queries with 3 judged passages" in item_of("table1", small).caption


def test_table1_says_whether_the_paper_s_claims_show(material: Material) -> None:
    as_in_the_paper = {"rand": (300, 40), "bm25neg": (3000, 60), "star": (1500, 20), "adore_star": (1400, 10)}
    here = item_of("table1", replace(material, errors=errors_of(as_in_the_paper))).here
    assert here.startswith("It shows here: random negatives have the fewest total errors: rand ")
    assert "adore_star has the fewest top-200 errors on average" in here
    turned = {"rand": (3000, 20), "bm25neg": (300, 40), "star": (1500, 60), "adore_star": (1500, 70)}
    here = item_of("table1", replace(material, errors=errors_of(turned))).here
    assert here.startswith("It does not show here: hard negatives have the fewest total errors: rand ")
    part = {"rand": (300, 40), "bm25neg": (3000, 60), "star": (1500, 20), "adore_star": (1500, 20)}
    here = item_of("table1", replace(material, errors=errors_of(part))).here
    assert here.startswith("It shows in part: ")
    assert "not significant" in here.split("It does not show: ")[1]


def test_table2_has_every_value(material: Material) -> None:
    found = table("table2", material).set_index("system")
    by_hand = material.per_query.groupby(["system", "split", "measure"])["value"].mean()
    *values, met, encoded, seconds = [str(name) for name in found if not str(name).endswith(MARKS)]
    assert values == [f"{s} {m}" for s in ("test", "dev") for m in ("MRR@10", "nDCG@10", "R@100")]
    assert [met, encoded, seconds] == ["queries met", "passages encoded", "device-seconds"]
    assert found.T["adore_star"][[met, encoded]].tolist() == [3 * 10_240, 3 * 20_480]  # with warm-up and STAR
    assert found.loc["adore_star", seconds] == pytest.approx(66 + 66 + 2 * 12)
    assert found.loc["bm25", [met, encoded, seconds]].isna().all()
    for name in values:
        split, measure = str(name).split(" ")
        for system in material.systems["system"]:
            assert found[name][system] == pytest.approx(by_hand[system, split, measure])


def test_table2_marks_what_differs_significantly(material: Material) -> None:
    found = table("table2", material).set_index("system")
    baselines = {"a": "bm25", "b": "bm25neg"}
    assert "significantly better than a bm25, b bm25neg" in item_of("table2", material).caption
    seen = set()
    for (split, measure), rows in material.per_query.groupby(["split", "measure"]):
        values = rows.pivot(index="query_id", columns="system", values="value")
        pairs = [(one, letter) for one in values for letter, two in baselines.items() if one != two]
        tests = [stats.ttest_rel(values[one], values[baselines[letter]]) for one, letter in pairs]
        expected = dict.fromkeys(values, "")
        for better in (True, False):
            for (system, letter), test, p in zip(pairs, tests, holm([t.pvalue for t in tests]), strict=True):
                if p < 0.05 and (test.statistic > 0) == better:
                    expected[system] += letter if better else f"▼{letter}"
        marks = found[f"{split} {measure}{MARKS}"].to_dict()
        assert marks == expected
        seen |= set(marks.values())
    assert {"", "a", "ab", "▼b"} <= seen


def test_table2_without_named_baselines_marks_each_system_s_own(material: Material) -> None:
    own = replace(material, marks=material.marks.iloc[:0])
    found = table("table2", own).set_index("system")[f"dev R@100{MARKS}"]
    tests = material.significance.query("split == 'dev' and measure == 'R@100' and p_t_holm < .05")
    assert set(found[found != ""].index) == set(tests["system"])
    assert "each system against its own baselines" in item_of("table2", own).caption


def test_table2_has_a_mark_for_each_of_many_baselines(material: Material) -> None:
    many = [f"system{number}" for number in range(60)]
    tests = material.significance.query("split == 'dev' and measure == 'R@100'").iloc[:1]
    marks = pd.concat([tests.assign(system="star", baseline=name, p_t_holm=0.001, difference=1.0) for name in many])
    rows = pd.concat([material.systems, material.systems.iloc[:1].loc[[0] * 60].assign(system=many)], ignore_index=True)
    found = table("table2", replace(material, marks=marks, systems=rows)).set_index("system")
    marked = found.loc["star", f"dev R@100{MARKS}"]
    assert re.findall(r"[a-zA-Z]\d*", str(marked)) == sorted([*ascii_letters, *(f"{letter}1" for letter in "abcdefgh")])


def with_scores(material: Material, means: dict[str, float]) -> Material:
    """Only these systems, each at its mean, give or take a little, a query."""
    frames = []
    for place, (system, mean) in enumerate(means.items()):
        noise = np.random.default_rng(place).normal(0, 0.05, 60)
        frames.append(pd.DataFrame({"query_id": [str(n) for n in range(60)], "value": mean + noise - noise.mean()}))
        frames[-1] = frames[-1].assign(system=system, split="test", measure="MRR@10")
    per_query = pd.concat(frames, ignore_index=True)
    measures = per_query.groupby(["system", "split", "measure"], sort=False)["value"].mean().reset_index()
    return replace(material, per_query=per_query, measures=measures)


def test_table2_says_whether_the_paper_s_claims_show(material: Material) -> None:
    better = with_scores(material, {"rand": 0.3, "bm25neg": 0.31, "star": 0.5, "adore_rand": 0.4, "adore_star": 0.6})
    here = item_of("table2", better).here
    assert here.startswith("It shows here: adore_rand 0.4000 against rand 0.3000 (p <.0001); adore_star 0.6000 ")
    assert "star 0.5000 against bm25neg 0.3100 (p <.0001)" in here
    worse = with_scores(material, {"rand": 0.5, "bm25neg": 0.6, "star": 0.4, "adore_rand": 0.4, "adore_star": 0.2})
    assert item_of("table2", worse).here.startswith("It does not show here: adore_rand 0.4000 against rand 0.5000 ")
    alike = with_scores(material, {"star": 0.5, "adore_star": 0.501})
    here = item_of("table2", alike).here
    assert here.startswith("It shows in part: the best trained system is adore_star")
    assert "0.5010 against star 0.5000 (p = " in here.split("It does not show: ")[1]
    assert "not significant" in here.split("It does not show: ")[1]


def test_star_is_compared_with_its_budget(material: Material) -> None:
    scored = with_scores(material, {"rand": 0.3, "bm25neg": 0.31, "star": 0.5})
    text = item_of("table2", scored).here
    assert "star 0.5000 against rand 0.3000 (p <.0001) at unequal budgets, queries met 20,480 against 10,240, " in text
    costs = material.training_costs
    equal = costs.assign(whole_queries=20_480, whole_encoded=40_960)
    text = item_of("table2", replace(scored, training_costs=equal)).here
    assert "against rand 0.3000 (p <.0001) at equal budgets, 20,480 queries met" in text
    unknown = costs.assign(whole_encoded=np.nan)
    text = item_of("table2", replace(scored, training_costs=unknown)).here
    assert "queries met 20,480 against 10,240, passages encoded unknown" in text


def test_verdicts_do_not_hang_on_names(material: Material) -> None:
    """With every system renamed the same is said of the new names."""
    new = {name: f"<{place}>" for place, name in enumerate(material.systems["system"])}
    scored = with_scores(material, {"rand": 0.3, "bm25neg": 0.31, "star": 0.5, "adore_rand": 0.4, "adore_star": 0.5})
    systems = scored.systems.assign(
        system=scored.systems["system"].map(new),
        starts_from=scored.systems["starts_from"].map(new).fillna(""),
        source=scored.systems["source"].replace({"run (bm25)": f"run ({new['bm25']})"}),
    )
    renamed = replace(
        scored,
        systems=systems,
        per_query=scored.per_query.assign(system=scored.per_query["system"].map(new)),
        measures=scored.measures.assign(system=scored.measures["system"].map(new)),
        training_costs=scored.training_costs.assign(system=scored.training_costs["system"].map(new)),
    )
    said = item_of("table2", scored).here
    for name in sorted(new, key=len, reverse=True):
        said = said.replace(f"{name} ", f"{new[name]} ").replace(f"{name}'", f"{new[name]}'")
    assert item_of("table2", renamed).here == said


def test_comparisons_have_every_pair_with_its_verdict(material: Material) -> None:
    found = table("comparisons", material)
    assert len(found) == len(material.marks) + len(material.significance)
    one = found.query("split == 'test' and measure == 'MRR@10' and system == 'adore_star' and baseline == 'bm25'").iloc[
        0
    ]
    values = material.per_query.query("split == 'test' and measure == 'MRR@10'")
    values = values.pivot(index="query_id", columns="system", values="value")
    test = stats.ttest_rel(values["adore_star"], values["bm25"])
    interval = test.confidence_interval()
    assert one["p (t)"] == pytest.approx(test.pvalue)
    assert (one["95% interval, low"], one["95% interval, high"]) == pytest.approx((interval.low, interval.high))
    for row in found.to_dict("records"):
        sure = row["p (t, Holm)"] < 0.05
        assert (row["verdict"] == "better") == (sure and row["difference"] > 0)
        assert (row["verdict"] == "worse") == (sure and row["difference"] < 0)
    assert set(found["verdict"]) == {"better", "worse", "no difference shown"}


def test_comparisons_begin_with_what_ranks_the_systems_and_the_verdict_stands_by_the_names(material: Material) -> None:
    found = table("comparisons", material)
    assert list(found)[:4] == ["system", "baseline", "verdict", "difference"]
    main = (found["split"] == "test") & (found["measure"] == "MRR@10")
    assert main[: main.sum()].all() and main.sum() < len(found)
    smallest = cell_text(found["p (t, Holm)"].min(), item_of("comparisons", material).digits["p (t, Holm)"])
    assert smallest == "<.0001"


def test_bm25_wins_are_the_queries_that_it_is_better_on(material: Material) -> None:
    found = table("bm25_wins", material)
    assert material.lexical is not None
    values = material.per_query.query("split == 'test' and measure == 'MRR@10'")
    values = values.pivot(index="query_id", columns="system", values="value")
    won = values["bm25"] > values[material.lexical.other]
    assert set(found["query"]) == set(values.index[won])
    gains = found["bm25"] - found[material.lexical.other]
    assert gains.is_monotonic_decreasing and (gains > 0).all()
    said = item_of("bm25_wins", material).here
    assert f"on {won.sum()} of 150 queries" in said and said.endswith("4.0 words on average, those that it loses 4.5.")
    none = replace(material, lexical=replace(material.lexical, rows=material.lexical.rows.iloc[:0]))
    assert item_of("bm25_wins", none).here.endswith(" on none of 150 queries.")


def test_table3_is_the_matrix_and_its_diagonal_decides(material: Material) -> None:
    assert material.compression is not None
    cells = material.compression.cells
    found = table("table3", material).set_index("trained on")
    assert list(found.index) == ["not trained (bm25neg)", "Flat", "PQ32", "PQ16", "PQ8"]
    for row in cells.query("split == 'dev'").to_dict("records"):
        assert found.loc[row["trained_on"] or "not trained (bm25neg)", f"served on {row['served_on']}"] == row["value"]
    here = item_of("table3", material).here
    assert here.startswith("It shows here: served on Flat, 0.5110 trained on it vs. 0.5010 trained on PQ32; ")
    assert "These differences were not tested. It would be refuted if an index is served as well by " in here

    def beside(wins: tuple[str, ...]) -> Compression:
        """The diagonal wins where it is said, and loses elsewhere."""
        own = cells["trained_on"] == cells["served_on"]
        value = (
            cells["value"]
            .mask(own & cells["served_on"].isin(wins), 0.9)
            .mask(own & ~cells["served_on"].isin(wins), 0.1)
        )
        assert material.compression is not None
        return replace(material.compression, cells=cells.assign(value=value))

    part = item_of("table3", replace(material, compression=beside(("PQ8",)))).here
    assert part.startswith("It shows in part: served on PQ8, 0.9000 trained on it")
    assert item_of("table3", replace(material, compression=beside(()))).here.startswith(
        "It does not show here: served on Flat"
    )


def test_table4_in_seconds_and_in_hours(material: Material) -> None:
    found = table("table4", material).set_index("system")
    assert found.loc["star", "speed-up"] == pytest.approx(1290 / 66)
    assert found.loc["adore_star", "total speed-up"] == pytest.approx((1290 + 66) / (66 + 66 + 12))
    assert found.loc["adore_star", "seconds"] == 12
    assert item_of("table4", material).here.startswith("It shows here: star 19.5x alone, 10.3x in total (MRR@10 0.")
    assert "at step counts that the configuration chose" in item_of("table4", material).here
    assert found.T["adore_star"][["queries met", "passages encoded"]].tolist() == [10_240, 20_480]
    assert found.loc["adore_star", "device-seconds"] == pytest.approx(2 * 12)
    slow = material.training_costs.assign(
        seconds=material.training_costs["seconds"] * 3600, whole_seconds=material.training_costs["whole_seconds"] * 3600
    )
    assert table("table4", replace(material, training_costs=slow)).set_index("system").loc["adore_star", "hours"] == 12
    quick = material.training_costs.copy()
    quick.loc[quick["system"] == "ance", ["seconds", "whole_seconds"]] = 1.0
    here = item_of("table4", replace(material, training_costs=quick)).here
    assert here.startswith("It does not show here: star 0.0152x alone")
    unnamed = replace(material, speed_baseline=None)
    assert "speed-up" not in table("table4", unnamed)
    assert item_of("table4", unnamed).here.startswith("Cannot be checked here: ")


def test_table5_says_what_small_indexes_lose(material: Material) -> None:
    assert material.compression is not None
    indexes = material.compression.indexes
    found = table("table5", material)
    assert found["MiB"].tolist() == indexes["mib"].tolist()
    assert found["index quality (bm25neg, MRR@10)"].tolist() == indexes["quality"].tolist()
    assert item_of("table5", material).here.startswith(
        "It does not show here: PQ32 has 3.1% of the size of Flat and loses 3.0% "
    )
    for values, start in (
        ([0.5, 0.495, 0.492, 0.491], "It shows here: PQ32"),
        ([0.5, 0.495, 0.3, 0.2], "It shows in part: PQ32"),
    ):
        changed = replace(material.compression, indexes=indexes.assign(value=values))
        assert item_of("table5", replace(material, compression=changed)).here.startswith(start)
    alone = replace(material.compression, indexes=indexes.iloc[:1])
    assert item_of("table5", replace(material, compression=alone)).here.startswith(
        "Cannot be checked here: no index has at most 10% "
    )


def test_stages_cost_is_all_of_it(material: Material) -> None:
    found = table("stages_cost", material)
    assert found["seconds"].tolist() == material.costs["seconds"].tolist()
    hours = sum(row["seconds"] * row["devices"] for row in material.costs.to_dict("records")) / 3600
    total = sum(material.costs["seconds"])
    assert item_of("stages_cost", material).here.startswith(
        f"In total {total:,.1f} seconds and {hours:,.2f} device-hours. "
    )


def test_a_measure_with_its_own_grade_has_its_column_and_its_marks(material: Material) -> None:
    renamed = {"nDCG@10": "R(rel=1)@100"}
    frames = {
        name: getattr(material, name).replace({"measure": renamed})
        for name in ("measures", "per_query", "significance", "marks")
    }
    before, after = table("table2", material), table("table2", replace(material, **frames))
    for end in ("", MARKS):
        assert after[f"test R(rel=1)@100{end}"].tolist() == before[f"test nDCG@10{end}"].tolist()


def test_less_of_what_is_not_judged_is_better(material: Material) -> None:
    """The same values named Hole@10: every mark and verdict turns round."""
    renamed = {"nDCG@10": "Hole@10"}
    frames = {
        name: getattr(material, name).replace({"measure": renamed})
        for name in ("measures", "per_query", "significance", "marks")
    }
    other = replace(material, **frames)
    before, after = table("table2", material), table("table2", other)
    column = f"test Hole@10{LOWER}"
    turned = before["test nDCG@10" + MARKS].map(lambda marks: "".join(sorted(inverted(marks))))
    assert after[column + MARKS].tolist() == turned.tolist() and set(turned) != {""}
    words = {"better": "worse", "worse": "better"}
    first, second = table("comparisons", material), table("comparisons", other)
    chosen = first["measure"] == "nDCG@10"
    assert second.loc[chosen, "verdict"].tolist() == [words.get(v, v) for v in first.loc[chosen, "verdict"]]
    assert second.loc[~chosen, "verdict"].tolist() == first.loc[~chosen, "verdict"].tolist()


def inverted(marks: str) -> list[str]:
    return [mark[1:] if mark.startswith("▼") else f"▼{mark}" for mark in re.findall("▼?[a-z]", marks)]
