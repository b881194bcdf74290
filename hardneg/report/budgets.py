"""What trainings were given: queries met and passages encoded, from the manifests of finished stages."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from hardneg.estimate.laws.training import negatives
from hardneg.stages.kinds import TRAINS


class Budget(NamedTuple):
    """What some stages met; NaN where it is unknown.

    Attributes:
        queries: queries of all training steps, each as often as it was met.
        encoded: passages encoded: those of all training steps of both encoders, and the collection each time that a
            training, its mining or its index needed the vectors.
    """

    queries: float
    encoded: float


def budget_of(manifests: Iterable[Path]) -> Budget:
    """The budget of some stages together."""
    each = [_of(path) for path in manifests]
    return Budget(sum(one.queries for one in each), sum(one.encoded for one in each))


def _of(path: Path) -> Budget:
    unknown = float("nan")
    if not path.exists():  # a stage of another study may be gone
        return Budget(unknown, unknown)
    manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    kind, settings, facts = manifest["kind"], manifest["settings"], manifest["facts"]
    if kind == "passages":
        return Budget(0, facts["rows"])
    if kind not in TRAINS.values() or settings["trains"] == "nothing":
        return Budget(0, 0)
    queries = facts["steps"] * settings["train"]["batch_size"]
    if kind == "query_encoder":  # the passages' vectors are there already
        return Budget(queries, 0)
    return Budget(queries, queries * (1 + negatives(settings)) if settings["positives"] == "one" else unknown)
