"""Effectiveness of runs, and significance of differences between them.

`ir_measures` computes the values for each query. Significance tests follow common practice: they are paired over
queries, and p-values are corrected for multiple comparisons.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import ir_measures
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from scipy import stats

from hardneg.evaluation.measure_names import KNOWN, lower_is_better, split_name

RESAMPLES = 10_000

_QUERY_BATCH = 500
_FLIP_BATCH = 200


def parse_measures(names: Sequence[str]) -> dict[str, ir_measures.Measure]:
    """Parse the names of measures, such as MRR@10, nDCG@10, R@100, R(rel=2)@100, MAP, Success@20, Judged@10, Hole@10.

    Returns:
        The measures of ir_measures by the given names, in the given order.

    Raises:
        HardnegError: a name is unknown, or lacks a required cut-off.
    """
    return {name: _parse(name) for name in names}


def evaluate(
    run: pa.Table,
    qrels: pa.Table,
    query_ids: Sequence[str],
    measures: Mapping[str, ir_measures.Measure],
    relevant_grade: int = 1,
) -> pd.DataFrame:
    """Score a run for each query, in the order of its rank column.

    As in `ir_measures`, every query with a judgement is scored. It gets 0 if it has no hits, or if it has no relevant
    passage (for nDCG: no grade above 0). Queries without a judgement are omitted.

    Args:
        run: query, passage and rank, sorted by query and rank, as from `hardneg.retrieval.runs.read_run`.
        qrels: query and passage (positions) and grade.
        query_ids: id of each query position.
        measures: from `parse_measures`.
        relevant_grade: the lowest relevant grade where a name gives none; nDCG uses the grades themselves.

    Returns:
        query_id (str), measure (str) and value (float64), by measure in the given order, then by query position.

    Raises:
        ValueError: `relevant_grade` is below 1; grade 0 is never relevant.
    """
    if relevant_grade < 1:
        raise ValueError(f"the lowest relevant grade must be at least 1, not {relevant_grade}")
    asked = {
        name: measure(rel=relevant_grade) if "rel" in measure.SUPPORTED_PARAMS.keys() - measure.params else measure
        for name, measure in measures.items()
    }
    qrels = qrels.sort_by("query")
    judged, first_judgement = np.unique(qrels["query"].to_numpy(), return_index=True)
    judgements = np.append(first_judgement, len(qrels))
    hits = np.searchsorted(run["query"].to_numpy(), np.stack([judged, judged + 1]))
    judged_passage, grade = qrels["passage"].to_numpy(), qrels["grade"].to_numpy()
    found_passage, rank = run["passage"].to_numpy(), run["rank"].to_numpy()

    values: dict[tuple[ir_measures.Measure, str], float] = {}
    for start in range(0, len(judged), _QUERY_BATCH):
        truth: dict[str, dict[str, int]] = {}
        ranking: dict[str, dict[str, float]] = {}
        for place in range(start, min(start + _QUERY_BATCH, len(judged))):
            rows = slice(judgements[place], judgements[place + 1])
            truth[str(place)] = dict(zip(map(str, judged_passage[rows].tolist()), grade[rows].tolist(), strict=True))
            rows = slice(hits[0, place], hits[1, place])
            if rows.start < rows.stop:
                # Scores are negated ranks, so that ties in the model's scores keep the order of the run.
                names = map(str, found_passage[rows].tolist())
                ranking[str(place)] = dict(zip(names, (-rank[rows].astype(np.float64)).tolist(), strict=True))
        for result in ir_measures.iter_calc(list(dict.fromkeys(asked.values())), truth, ranking):
            values[result.measure, result.query_id] = float(result.value)
    scored = []
    for name, measure in asked.items():
        for place, query in enumerate(judged.tolist()):
            value = values[measure, str(place)]
            if lower_is_better(name):
                value = 1 - value if hits[0, place] < hits[1, place] else 0.0
            scored.append((query_ids[query], name, value))
    return pd.DataFrame(scored, columns=["query_id", "measure", "value"])


def aggregate(per_query: pd.DataFrame) -> pd.DataFrame:
    """Mean `value` over queries for each system, split and measure (of the columns that exist), in order."""
    keys = [column for column in ("system", "split", "measure") if column in per_query]
    return per_query.groupby(keys, sort=False)["value"].mean().reset_index()


class Comparison(NamedTuple):
    """System A compared with system B on the same queries; `difference` is the mean of A minus B."""

    queries: int
    difference: float
    ci_low: float
    ci_high: float
    p_t: float
    p_randomisation: float


def compare(a: pd.Series, b: pd.Series, resamples: int = RESAMPLES, seed: int = 0) -> Comparison:
    """Paired two-sided tests of A against B: Student's t-test and Fisher's randomisation test.

    The interval is the 95% confidence interval of the mean difference by Student's t. If t is undefined, because all
    differences are 0 or there is only one query, its p-value is 1.

    Args:
        a: values of system A, indexed by query id.
        b: values of system B for the same queries, in any order.
        resamples: number of random sign assignments of the randomisation test.
        seed: seed of these.

    Raises:
        ValueError: the two systems were scored on different queries.
    """
    if len(a) != len(b) or not a.index.isin(b.index).all():
        raise ValueError("both systems must be scored on the same queries")
    ours, theirs = a.to_numpy(np.float64), b.loc[a.index].to_numpy(np.float64)
    difference = ours - theirs
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        # scipy warns if all differences are equal, which is legitimate for two equal systems.
        warnings.simplefilter("ignore", RuntimeWarning)
        test = stats.ttest_rel(ours, theirs)
        interval = test.confidence_interval(0.95)
    return Comparison(
        queries=len(difference),
        difference=float(difference.mean()),
        ci_low=float(interval.low),
        ci_high=float(interval.high),
        p_t=1.0 if np.isnan(test.pvalue) else float(test.pvalue),
        p_randomisation=_randomisation(difference, resamples, seed),
    )


def holm(p_values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Holm's step-down correction: the i-th smallest of m p-values times (m - i + 1), never decreasing, at most 1."""
    values = np.asarray(p_values, np.float64)
    order = np.argsort(values, kind="stable")
    corrected = np.empty_like(values)
    corrected[order] = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)).clip(max=1.0)
    return corrected


def significance_table(
    per_query: pd.DataFrame, pairs: Iterable[tuple[str, str]], resamples: int = RESAMPLES, seed: int = 0
) -> pd.DataFrame:
    """Compare pairs of systems on every split and measure, with Holm's correction over the pairs of each.

    Args:
        per_query: system, split, query_id, measure, value.
        pairs: (system, baseline); a pair is omitted on splits where either was not scored.
        resamples: as for `compare`.
        seed: as for `compare`.

    Returns:
        split, measure, system, baseline, the fields of `Comparison`, p_t_holm and p_randomisation_holm, in the order of
        `per_query` and of the pairs.
    """
    wanted = list(pairs)
    columns = ["split", "measure", "system", "baseline", *Comparison._fields]
    rows = []
    for (split, measure), group in per_query.groupby(["split", "measure"], sort=False):
        scored = {system: values.set_index("query_id")["value"] for system, values in group.groupby("system")}
        rows += [
            (split, measure, system, baseline, *compare(scored[system], scored[baseline], resamples, seed))
            for system, baseline in wanted
            if system in scored and baseline in scored
        ]
    table = pd.DataFrame(rows, columns=columns)
    for column in ("p_t", "p_randomisation"):
        table[f"{column}_holm"] = table.groupby(["split", "measure"], sort=False)[column].transform(holm)
    return table


def _parse(name: str) -> ir_measures.Measure:
    base, cut, grade = split_name(name)
    measure = getattr(ir_measures, KNOWN[base].name)
    measure = measure(rel=grade) if grade is not None else measure
    return measure @ cut if cut else measure


def _randomisation(difference: npt.NDArray[np.float64], resamples: int, seed: int) -> float:
    """Compute p = (1 + #{|sum d*| >= |sum d|}) / (resamples + 1), with randomly flipped signs of the differences d.

    The same test as scipy's permutation_test of paired samples, but about twenty times faster, since signs are drawn in
    blocks.
    """
    moving = difference[difference != 0]  # flipping a zero has no effect
    observed = abs(moving.sum()) * (1 - 1e-9)  # sums that differ only by rounding must count as equal
    generator = np.random.default_rng(seed)
    extreme = 0
    for start in range(0, resamples, _FLIP_BATCH):
        size = (min(_FLIP_BATCH, resamples - start), len(moving))
        signs = 2.0 * generator.integers(0, 2, size, dtype=np.int8) - 1.0
        extreme += int(np.count_nonzero(np.abs(signs @ moving) >= observed))
    return (1 + extreme) / (resamples + 1)
