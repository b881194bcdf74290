"""`hardneg plan`: every stage of a configuration, its version, and why it would run."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

from hardneg.cli.options import config
from hardneg.planning.plan import Plan
from hardneg.stages.artifacts import MANIFEST
from hardneg.stages.stage import Stage


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    command.add_argument("--json", action="store_true", help="print the stages' records, as the scripts take them")
    command.add_argument("--runtime", action="store_true", help="print the runtime settings, as the scripts take them")


def run(given: argparse.Namespace) -> None:
    """Print the plan of the configuration."""
    plan = Plan(config(given))
    for note in plan.notes:
        print(f"warning: {note}", file=sys.stderr)
    if given.json:
        print(json.dumps([stage.record for stage in plan.stages], indent=2))
        return
    if given.runtime:
        print(json.dumps(plan.runtime))
        return
    waiting = 0
    print(f"{'stage':<17}{'label':<22}{'version':<15}state")
    for stage in plan.stages:
        state = "done" if stage.manifest.exists() else f"to do: {_reason(stage)}"
        waiting += state != "done"
        label = stage.label if stage.dataset == plan.dataset else f"{stage.dataset}/{stage.label}"
        print(f"{stage.kind:<17}{label:<22}{stage.version:<15}{state}")
    print(f"{len(plan.stages)} stages, {waiting} to do")


def _reason(stage: Stage) -> str:
    """Why a stage would run: it was never made, or what changed since its newest version."""
    sealed = sorted(stage.folder.parent.glob(f"{stage.label}-*/{MANIFEST}"), key=lambda path: path.stat().st_mtime)
    others = [json.loads(path.read_text(encoding="utf-8")) for path in sealed]
    others = [other for other in others if other["label"] == stage.label]
    if not others:
        return "never made"
    last = others[-1]
    changed = list(_differences(last["settings"], stage.settings, ""))
    changed += [f"parent {role}" for role, p in stage.parents.items() if last["parents"].get(role) != p.version]
    if last["revision"] != stage.revision:
        changed.append("its code")
    return "changed: " + ", ".join(changed) if changed else "its manifest is gone"


def _differences(old: Any, new: Any, key: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted({*old, *new}):
            yield from _differences(old.get(name), new.get(name), f"{key}.{name}" if key else name)
    elif old != new:
        yield f"{key} ({old} -> {new})"
