"""What trainings were given, from the manifests of their stages."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from hardneg.report.budgets import budget_of


@pytest.fixture
def stage(tmp_path: Path) -> Any:
    def write(kind: str, facts: dict[str, int], **settings: Any) -> Path:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.json"
        path.write_text(json.dumps({"kind": kind, "facts": facts, "settings": settings}), encoding="utf-8")
        return path

    return write


def test_queries_and_passages_are_counted_over_stages(stage: Any) -> None:
    drawn = {"sampler": {"name": "uniform", "count": 2}, "source": [{"depth": 200}], "positives": "one"}
    star = stage("dual_encoder", {"steps": 10}, trains="both_encoders", train={"batch_size": 4}, **drawn)
    adore = stage("query_encoder", {"steps": 5}, trains="query_encoder", train={"batch_size": 8}, **drawn)
    vectors, other = stage("passages", {"rows": 1000}), stage("mine", {})
    assert budget_of([star, adore, vectors, other]) == (10 * 4 + 5 * 8, 10 * 4 * 3 + 1000)
    in_batch = {**drawn, "sampler": None}
    alone = stage("dual_encoder", {"steps": 10}, trains="both_encoders", train={"batch_size": 4}, **in_batch)
    assert budget_of([alone]) == (40, 40)
    taken = stage("dual_encoder", {}, trains="nothing")
    assert budget_of([taken]) == (0, 0)


def test_what_is_not_known_is_told_as_unknown(stage: Any, tmp_path: Path) -> None:
    lists: dict[str, Any] = {"sampler": None, "source": [], "positives": "missing", "train": {"batch_size": 4}}
    queries, encoded = budget_of([stage("cross_encoder", {"steps": 3}, trains="cross_encoder", **lists)])
    assert queries == 12
    assert math.isnan(encoded)
    assert all(map(math.isnan, budget_of([tmp_path / "gone.json"])))
