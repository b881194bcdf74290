"""Measures against values worked by hand, tests against their formulas and against all sign assignments."""

from __future__ import annotations

import itertools
import math

import ir_measures
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import stats

from hardneg.errors import HardnegError
from hardneg.evaluation import measures as m
from hardneg.evaluation.measure_names import BINARY, KNOWN, lower_is_better, meaning, split_name

QUERY_IDS = ["unjudged", "graded", "tied", "no-hits", "only-zero", "deep"]
NAMES = ["MRR@2", "MRR@10", "nDCG@10", "nDCG@2", "R@2", "R@100", "P@2", "MAP", "Success@1", "Judged@2", "Hole@2"]


def judgements(rows: list[tuple[int, int, int]]) -> pa.Table:
    return pa.table(dict(zip(("query", "passage", "grade"), map(list, zip(*rows, strict=True)), strict=True)))


def ranking(rows: dict[int, list[int]], score: float | None = None) -> pa.Table:
    """Passages by query, best first; the same score for all of them where one is given."""
    flat = [(q, p, r, -float(r) if score is None else score) for q, ps in rows.items() for r, p in enumerate(ps, 1)]
    columns = dict(zip(("query", "passage", "rank", "score"), map(list, zip(*flat, strict=True)), strict=True))
    return pa.table(columns)


QRELS = judgements(
    [
        # deliberately unsorted
        (5, 90, 1),
        (5, 91, 1),
        (5, 92, 1),
        (5, 93, 1),
        (1, 10, 1),
        (1, 11, 3),
        (1, 12, 0),
        (1, 13, 2),
        (3, 1, 1),
        (2, 7, 1),
        (4, 5, 0),
    ]
)
RUN = ranking({0: [1, 2], 1: [12, 10, 50, 11], 2: [3, 7, 9], 4: [5, 6], 5: [90, 1, 2, 3, 91]})


def values(run: pa.Table = RUN, qrels: pa.Table = QRELS, grade: int = 1, names: list[str] = NAMES) -> pd.DataFrame:
    frame = m.evaluate(run, qrels, QUERY_IDS, m.parse_measures(names), grade)
    return frame.pivot(index="query_id", columns="measure", values="value")


def test_every_judged_query_is_scored_once_by_measure_then_by_position() -> None:
    frame = m.evaluate(RUN, QRELS, QUERY_IDS, m.parse_measures(["R@100", "MRR@10"]))
    assert list(frame.itertuples(index=False, name=None))[:2] == [("graded", "R@100", 2 / 3), ("tied", "R@100", 1.0)]
    assert frame["query_id"].tolist() == QUERY_IDS[1:] * 2
    assert frame["measure"].tolist() == ["R@100"] * 5 + ["MRR@10"] * 5


def test_hand_worked_graded_query() -> None:
    got = values().loc["graded"]
    dcg2, dcg = 1 / math.log2(3), 1 / math.log2(3) + 3 / math.log2(5)
    ideal2, ideal = 3 + 2 / math.log2(3), 3 + 2 / math.log2(3) + 1 / math.log2(4)
    assert got.to_dict() == pytest.approx(
        {
            "MRR@2": 1 / 2,
            "MRR@10": 1 / 2,
            "nDCG@10": dcg / ideal,
            "nDCG@2": dcg2 / ideal2,
            "R@2": 1 / 3,
            "R@100": 2 / 3,
            "P@2": 1 / 2,
            "MAP": (1 / 2 + 2 / 4) / 3,
            "Success@1": 0,
            "Judged@2": 1,
            "Hole@2": 0,
        }
    )


def test_hand_worked_deep_query() -> None:
    got = values().loc["deep"]
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, 5))
    assert got.to_dict() == pytest.approx(
        {
            "MRR@2": 1,
            "MRR@10": 1,
            "nDCG@10": (1 + 1 / math.log2(6)) / ideal,
            "nDCG@2": 1 / (1 + 1 / math.log2(3)),
            "R@2": 1 / 4,
            "R@100": 1 / 2,
            "P@2": 1 / 2,
            "MAP": (1 + 2 / 5) / 4,
            "Success@1": 1,
            "Judged@2": 1 / 2,
            "Hole@2": 1 / 2,
        }
    )


def test_a_query_without_hits_and_one_judged_only_at_0_count_as_0() -> None:
    got = values()
    assert (got.loc["no-hits"] == 0).all()
    assert (got.loc["only-zero"].drop(["Judged@2", "Hole@2"]) == 0).all()
    assert (got.loc["only-zero", ["Judged@2", "Hole@2"]] == 0.5).all()


def test_the_mean_is_over_all_judged_queries_as_ir_measures_has_it() -> None:
    frame = m.evaluate(RUN, QRELS, QUERY_IDS, m.parse_measures(NAMES))
    means = m.aggregate(frame).set_index("measure")["value"].to_dict()
    truth = [ir_measures.Qrel(str(r["query"]), str(r["passage"]), r["grade"]) for r in QRELS.to_pylist()]
    hits = [ir_measures.ScoredDoc(str(r["query"]), str(r["passage"]), r["score"]) for r in RUN.to_pylist()]
    asked = {name: ir_measures.parse_measure(name) for name in NAMES if name != "Hole@2"}
    expected = ir_measures.calc_aggregate(list(asked.values()), truth, hits)
    assert means == pytest.approx(
        # the query without hits shows nothing unjudged
        {name: expected[measure] for name, measure in asked.items()} | {"Hole@2": 4 / 5 - means["Judged@2"]}
    )
    assert means["MRR@10"] == pytest.approx((1 / 2 + 1 / 2 + 0 + 0 + 1) / 5)


def test_tied_scores_are_ranked_as_the_run_ranks_them() -> None:
    tied = ranking({2: [3, 7, 9], 5: [1, 90]}, score=1.0)
    assert values(tied).loc[["tied", "deep"], "MRR@10"].tolist() == [0.5, 0.5]
    swapped = ranking({2: [7, 3, 9], 5: [90, 1]}, score=1.0)
    assert values(swapped).loc[["tied", "deep"], "MRR@10"].tolist() == [1.0, 1.0]


def test_the_relevant_grade_moves_binary_measures_and_leaves_ndcg() -> None:
    one, two, three = (values(grade=grade).loc["graded"] for grade in (1, 2, 3))
    assert [got["MRR@10"] for got in (one, two, three)] == [1 / 2, 1 / 4, 1 / 4]
    assert [got["R@100"] for got in (one, two, three)] == pytest.approx([2 / 3, 1 / 2, 1])
    assert two["nDCG@10"] == one["nDCG@10"]
    assert two["Judged@2"] == one["Judged@2"]
    assert values(grade=2).loc["deep", "R@100"] == 0


def test_grade_0_can_never_be_relevant() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        values(grade=0)


def test_a_measure_with_its_own_grade_is_that_of_ir_measures_beside_the_splits_grade() -> None:
    names = ["R(rel=1)@100", "R@100", "MRR(rel=3)@10", "nDCG@10", "MAP(rel=2)", "P(rel=1)@2", "Success(rel=2)@1"]
    frame = m.evaluate(RUN, QRELS, QUERY_IDS, m.parse_measures(names), relevant_grade=2)
    assert frame["measure"].unique().tolist() == names
    truth = [ir_measures.Qrel(str(r["query"]), str(r["passage"]), r["grade"]) for r in QRELS.to_pylist()]
    hits = [ir_measures.ScoredDoc(str(r["query"]), str(r["passage"]), r["score"]) for r in RUN.to_pylist()]
    theirs = {name: ir_measures.parse_measure(name) for name in names if name != "R@100"}
    theirs["R@100"] = ir_measures.parse_measure("R(rel=2)@100")
    expected = {
        (QUERY_IDS[int(value.query_id)], value.measure): value.value
        for value in ir_measures.iter_calc(list(theirs.values()), truth, hits)
    }
    for row in frame.to_dict("records"):
        assert row["value"] == pytest.approx(expected[row["query_id"], theirs[row["measure"]]]), row
    graded = frame[frame["query_id"] == "graded"].set_index("measure")["value"]
    assert graded["R(rel=1)@100"] == pytest.approx(2 / 3)
    assert graded["R@100"] == pytest.approx(1 / 2)


def test_without_judgements_nothing_is_scored() -> None:
    nobody = m.evaluate(RUN, QRELS.slice(0, 0), QUERY_IDS, m.parse_measures(["R(rel=1)@100", "R@100"]))
    assert nobody.empty
    assert list(nobody) == ["query_id", "measure", "value"]


def test_the_measures_that_take_a_grade_are_those_of_ir_measures() -> None:
    theirs = [name for name, known in KNOWN.items() if "rel" in getattr(ir_measures, known.name).SUPPORTED_PARAMS]
    assert sorted(theirs) == sorted(BINARY)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nDCG(rel=2)@10", "write nDCG@10."),
        ("Hole(rel=1)@10", "write Hole@10."),
        ("R(rel=0)@100", "write R(rel=1)@100"),
        ("R(grade=1)@100", "write R(rel=1)@100"),
        ("R()@100", "write R(rel=1)@100"),
        ("RR(rel=1)@10", "did you mean MRR@10?"),
        ("R(rel=1)", "R@k"),
        ("R@100(rel=1)", "R@k"),
    ],
)
def test_a_grade_that_no_measure_takes_is_told(name: str, told: str) -> None:
    with pytest.raises(HardnegError) as caught:
        split_name(name, "evaluation.measures.0")
    assert told in str(caught.value)
    assert "evaluation.measures.0" in str(caught.value)


def test_a_name_says_its_grade() -> None:
    assert split_name("R(rel=2)@100") == ("R", 100, 2)
    assert split_name("MAP") == ("MAP", None, None)
    assert "grade 2 or more" in meaning("MRR(rel=2)@10")
    assert "grade" not in meaning("MRR@10")
    assert lower_is_better("Hole@10")
    assert not lower_is_better("R(rel=1)@100")


def test_batches_of_queries_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = m.evaluate(RUN, QRELS, QUERY_IDS, m.parse_measures(NAMES))
    monkeypatch.setattr(m, "_QUERY_BATCH", 2)
    pd.testing.assert_frame_equal(m.evaluate(RUN, QRELS, QUERY_IDS, m.parse_measures(NAMES)), whole)


def test_a_run_without_any_hit_scores_0() -> None:
    nothing = RUN.slice(0, 0)
    assert (values(nothing).to_numpy() == 0).all()
    assert len(values(nothing)) == 5


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("MMR@10", "MRR@10"),
        ("ndcg@10", "nDCG@10"),
        ("sucess@5", "Success@10"),
        ("R", "R@10"),
        ("MRR@0", "MRR@10"),
        ("MRR@-1", "MRR@10"),
        ("MRR@ten", "MRR@10"),
        ("MRR@10 ", "MRR@10"),
        ("qqqqqqq@10", "Judged"),
        ("", "Judged"),
    ],
)
def test_an_unknown_measure_is_told_with_the_nearest_known(name: str, told: str) -> None:
    with pytest.raises(HardnegError) as caught:
        m.parse_measures(["MRR@10", name])
    assert f"found:    {name}" in str(caught.value)
    assert told in str(caught.value)
    assert ("did you mean" in str(caught.value)) == told.endswith("@10")


def test_measures_keep_the_users_names_and_have_a_meaning() -> None:
    parsed = m.parse_measures(["MRR@10", "MAP", "R@1000"])
    assert list(parsed) == ["MRR@10", "MAP", "R@1000"]
    assert list(map(str, parsed.values())) == ["RR@10", "AP", "R@1000"]
    assert "in the first 10" in meaning("MRR@10")
    assert "first" not in meaning("MAP")


A = pd.Series([0.5, 1.0, 0.25, 0.0, 1.0, 0.2, 1.0, 0.5], index=list("abcdefgh"))
B = pd.Series([0.5, 0.5, 0.20, 0.1, 0.3, 0.1, 0.5, 0.0], index=list("abcdefgh"))


def test_t_test_is_the_explicit_formula() -> None:
    d = (A - B).to_numpy()
    n = len(d)
    error = math.sqrt(sum((x - d.mean()) ** 2 for x in d) / (n - 1)) / math.sqrt(n)
    margin = stats.t.ppf(0.975, n - 1) * error
    got = m.compare(A, B)
    assert got.queries == 8
    assert got.difference == pytest.approx(d.mean())
    assert got.p_t == pytest.approx(2 * stats.t.sf(abs(d.mean() / error), n - 1))
    assert (got.ci_low, got.ci_high) == pytest.approx((d.mean() - margin, d.mean() + margin))


def test_randomisation_is_near_the_enumeration_of_all_sign_assignments() -> None:
    d = (A - B).to_numpy()
    sums = [abs(np.dot(signs, d)) for signs in itertools.product((-1, 1), repeat=8)]
    exact = sum(total >= abs(d.sum()) - 1e-12 for total in sums) / 2**8
    scipys = stats.permutation_test(
        (A, B), lambda x, y: abs(np.mean(x - y)), permutation_type="samples", alternative="greater"
    )
    assert scipys.pvalue == pytest.approx(exact)
    got = m.compare(A, B, resamples=100_000, seed=3).p_randomisation
    assert got == pytest.approx(exact, abs=5 * math.sqrt(exact * (1 - exact) / 100_000))


def test_randomisation_is_seeded_and_never_0() -> None:
    better = pd.Series(np.ones(60))
    worse = pd.Series(np.zeros(60))
    assert m.compare(better, worse, resamples=10_000).p_randomisation == 1 / 10_001
    one, same, other = (m.compare(A, B, seed=seed).p_randomisation for seed in (1, 1, 2))
    assert one == same != other


def test_a_system_against_itself_shows_no_difference() -> None:
    assert m.compare(A, A) == (8, 0.0, 0.0, 0.0, 1.0, 1.0)


def test_queries_are_matched_by_id_and_must_be_the_same() -> None:
    assert m.compare(A, B.iloc[::-1]) == m.compare(A, B)
    for other in (B.iloc[:-1], B.rename({"h": "z"})):
        with pytest.raises(ValueError, match="same queries"):
            m.compare(A, other)


def test_holm_by_hand() -> None:
    # sorted .005 .01 .03 .04 times 4 3 2 1 is .02 .03 .06 .04, and the last may not fall below the one before
    assert m.holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert m.holm([0.6, 0.5]).tolist() == [1.0, 1.0]
    assert m.holm([]).tolist() == []


def test_significance_table_corrects_within_a_split_and_measure() -> None:
    generator = np.random.default_rng(0)
    rows = [
        (system, split, f"q{query}", measure, generator.random() + lift)
        for split, measure in (("dev", "MRR@10"), ("test", "MRR@10"), ("test", "R@100"))
        for system, lift in (("bm25", 0), ("star", 0.1), ("adore", 0.3), *([("late", 0)] if split == "test" else []))
        for query in range(30)
    ]
    frame = pd.DataFrame(rows, columns=["system", "split", "query_id", "measure", "value"])
    pairs = [("star", "bm25"), ("adore", "star"), ("late", "bm25")]
    table = m.significance_table(frame, pairs, resamples=2000)
    assert [tuple(row) for row in table[["split", "measure", "system", "baseline"]].to_numpy()] == [
        ("dev", "MRR@10", *pairs[0]),
        ("dev", "MRR@10", *pairs[1]),
        *(("test", measure, *pair) for measure in ("MRR@10", "R@100") for pair in pairs),
    ]
    for _, group in table.groupby(["split", "measure"]):
        assert group["p_t_holm"].tolist() == m.holm(group["p_t"]).tolist()
        assert group["p_randomisation_holm"].tolist() == m.holm(group["p_randomisation"]).tolist()
    dev = frame[frame["split"] == "dev"].pivot(index="query_id", columns="system", values="value")
    assert table["p_t"].iloc[1] == pytest.approx(stats.ttest_rel(dev["adore"], dev["star"]).pvalue)
    assert table["difference"].iloc[1] == pytest.approx((dev["adore"] - dev["star"]).mean())


def test_no_pairs_give_an_empty_table_with_all_columns() -> None:
    columns = ["system", "split", "query_id", "measure", "value"]
    table = m.significance_table(pd.DataFrame([("bm25", "test", "q", "MRR@10", 1.0)], columns=columns), [])
    assert len(table) == 0
    assert {"p_t", "p_t_holm", "p_randomisation_holm"} <= set(table.columns)


def test_aggregate_keeps_the_order_given() -> None:
    frame = pd.DataFrame(
        {
            "system": ["star", "star", "bm25", "bm25"],
            "split": "test",
            "query_id": ["a", "b", "a", "b"],
            "measure": "MRR@10",
            "value": [1.0, 0.5, 0.0, 0.5],
        }
    )
    means = m.aggregate(frame).to_numpy().tolist()
    assert means == [["star", "test", "MRR@10", 0.75], ["bm25", "test", "MRR@10", 0.25]]
