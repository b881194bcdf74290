"""What the names of targets stand for."""

from __future__ import annotations

from pathlib import Path

from hardneg.planning.plan import Plan
from hardneg.planning.systems import TRAINED
from hardneg.stages.stage import Stage

TARGETS = ("bm25", "generate", "warmup", "encode", "mine", "star", "index", "adore")


def targets(plan: Plan, name: str) -> list[Path]:
    """The files behind a target.

    `bm25`, `encode`, `mine` and `index` are all stages of that kind. `star` and `adore` are the trained models of the
    systems with that preset. `warmup` is every model that another system starts from, unless it is one of those.

    Args:
        plan: of the configuration.
        name: one of `TARGETS`.
    """
    match name:
        case "bm25":
            chosen = plan.of("bm25_index", "bm25_run")
        case "generate":
            chosen = plan.of("generated")
        case "encode":
            chosen = plan.of("passages", "queries")
        case "warmup":
            chosen = _warmup(plan)
        case "star" | "adore":
            chosen = _preset(plan, name)
        case _:
            chosen = plan.of(name)
    return [stage.manifest for stage in chosen]


def _preset(plan: Plan, preset: str) -> list[Stage]:
    systems = [name for name, system in plan.config.systems.items() if system.preset == preset]
    return [stage for name in systems for stage in plan.rounds.get(name, [])]


def _warmup(plan: Plan) -> list[Stage]:
    named = {stage.manifest for preset in ("star", "adore") for stage in _preset(plan, preset)}
    started = {stage.parents["init"] for stage in plan.of(*TRAINED) if "init" in stage.parents}
    return [stage for stage in plan.of(*TRAINED) if stage in started and stage.manifest not in named]
