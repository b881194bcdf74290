"""Examples against values, judgements and rankings looked up one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_analysis import collection_of, run_of

from hardneg.analysis.examples import examples

QUERIES, PASSAGES, SYSTEMS = 12, 40, ("bm25", "star", "adore")
GRADES = {(q, (q * 3 + n) % PASSAGES): n for q in range(QUERIES - 1) for n in range(3)}  # grades 0, 1, 2
RUNS = {
    system: {q: np.random.default_rng([n, q]).permutation(PASSAGES)[:15].tolist() for q in range(QUERIES - 1)}
    for n, system in enumerate(SYSTEMS)
}
# adore less star: ties at 0.5, a zero, and a query that was not scored.
ADORE = [0.5, 0.0, 0.9, 0.5, 0.2, 0.1, 1.0, 0.3, 0.0, 0.4, 0.6]
STAR = [0.0, 0.5, 0.1, 0.0, 0.2, 0.4, 0.0, 0.8, 0.9, 0.4, 0.5]


def per_query() -> pd.DataFrame:
    rows = []
    for system, values in (("star", STAR), ("adore", ADORE), ("bm25", [0.25] * 10)):  # one value of bm25 is missing
        rows += [(system, "dev", f"dev{q}", "MRR@10", value) for q, value in enumerate(values)]
    return pd.DataFrame(rows, columns=["system", "split", "query_id", "measure", "value"])


@pytest.fixture
def shown(tmp_path: Path) -> Any:
    collection = collection_of(tmp_path / "collection", PASSAGES, {"dev": QUERIES}, {"dev": GRADES})
    runs: dict[str, Any] = {system: run_of(tmp_path / system, "dev", RUNS[system]) for system in SYSTEMS}
    runs["star"] = runs["star"].path("run.dev.parquet")

    def make(count: int, relevant_grade: int = 1) -> dict[str, Any]:
        found = examples(collection, "dev", per_query(), runs, "adore", "star", count, relevant_grade)
        assert json.loads(json.dumps(found)) == found
        return found

    return make


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (2, [6, 8]),
        (4, [6, 2, 8, 1]),
        (5, [6, 2, 0, 8, 1]),
        (8, [6, 2, 0, 3, 8, 1, 7, 5]),
        (100, [6, 2, 0, 3, 10, 8, 1, 7, 5]),
    ],
)
def test_wins_then_losses(shown: Any, count: int, expected: list[int]) -> None:
    assert [query["query_id"] for query in shown(count)["queries"]] == [f"dev{number}" for number in expected]


@pytest.mark.parametrize("relevant_grade", [1, 2, 3])
def test_passages_of_a_query(shown: Any, relevant_grade: int) -> None:
    found = shown(100, relevant_grade)
    named, cut_off = set(), 0
    for query in found["queries"]:
        q = int(query["query_id"].removeprefix("dev"))
        assert query["text"] == f"what is dev{q}?"
        assert query["values"] == {"adore": ADORE[q], "star": STAR[q], **({"bm25": 0.25} if q < 10 else {})}
        relevant = sorted(p for (query, p), grade in GRADES.items() if query == q and grade >= relevant_grade)
        places = {system: {p: rank for rank, p in enumerate(RUNS[system][q], 1)} for system in SYSTEMS}
        assert query["relevant"] == [
            {"id": f"p{p}", "ranks": {system: places[system].get(p) for system in SYSTEMS}} for p in relevant
        ]
        assert list(query["above"]) == ["adore", "star"]
        for system, above in query["above"].items():
            first = min((places[system][p] for p in relevant if p in places[system]), default=99)
            before = RUNS[system][q][: min(first - 1, 5)]
            cut_off += first > 6
            expected = [{"id": f"p{p}", "rank": n, "judged": (q, p) in GRADES} for n, p in enumerate(before, 1)]
            assert above == expected
            named |= {entry["id"] for entry in above}
        named |= {entry["id"] for entry in query["relevant"]}
    assert cut_off
    assert set(found["passages"]) == named
    for name, passage in found["passages"].items():
        assert passage == {"title": f"title {name}", "text": (f"{name} " * 150)[:400]}


def test_a_judged_passage_above_is_said_to_be(shown: Any) -> None:
    above = [entry for query in shown(100, 2)["queries"] for entries in query["above"].values() for entry in entries]
    assert {entry["judged"] for entry in above} == {True, False}


def test_nothing_differs(tmp_path: Path) -> None:
    collection = collection_of(tmp_path / "collection", PASSAGES, {"dev": QUERIES}, {"dev": GRADES})
    runs = {system: run_of(tmp_path / system, "dev", RUNS[system]) for system in SYSTEMS}
    found = examples(collection, "dev", per_query(), runs, "adore", "adore", 10, 1)
    assert found == {"passages": {}, "queries": []}
