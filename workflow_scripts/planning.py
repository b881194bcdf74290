"""What the rules need of the plan: where stages lie, what they read, the shell commands that make them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from hardneg import config as configuration
from hardneg.planning.graph import ARTIFACTS, Plan, Stage
from hardneg.planning.preflight import check_machine, least_passages

RUNTIME = "HARDNEG_RUNTIME"
FORCED = "HARDNEG_FORCED"
RUN = "HARDNEG_RUN"
ALL = "*"


def planned(files: Sequence[Path | str], over: Mapping[str, Any]) -> Plan:
    """The plan of configuration files, later ones and then `over` (--config) winning.

    Runtime settings go to the jobs through the environment: as a parameter they would rerun stages, and they never
    change a result.

    Raises:
        HardnegError: the configuration, or what it needs of this machine, is wrong.
    """
    raw: dict[str, Any] = {}
    for path in files:
        raw = configuration.merge(raw, configuration.read_yaml(Path(path)))
    plan = Plan(configuration.load(configuration.merge(raw, dict(over))))
    check_machine(plan)
    os.environ[RUNTIME] = json.dumps({**plan.runtime, "least_passages": least_passages(plan)})
    return plan


def tell_jobs(settings: Any) -> None:
    """Tell the jobs which run of Snakemake they belong to, and which rules or files it was told to make again.

    By the first a retry knows what was said before; without the second a finished stage that lost its manifest gets it
    back.
    """
    os.environ[RUN] = uuid4().hex
    forced = [ALL] if settings.forceall else [*settings.forcerun, *(settings.targets if settings.forcetargets else ())]
    os.environ[FORCED] = "\n".join(map(str, forced))


def is_forced(rule: str) -> bool:
    """Whether this rule, everything, or some file by its name is to be made again."""
    names = os.environ.get(FORCED, "").split("\n")
    return any(name in (ALL, rule) or "/" in name for name in names)


def command(script: str, *inputs: str, more: str = "") -> str:
    """The shell command of a script: the stage's record, its inputs by name, what was granted, where the log goes."""
    named = " ".join(f"--{name} {{input.{name}:q}}" for name in inputs)
    return (
        f"python -m workflow_scripts.{script} --record {{params.record:q}} --gpus {{resources.gpu}}"
        f" --output {{output.manifest:q}} {named} {more} > {{log:q}} 2>&1"
    )


class StageRule:
    """Where a kind of stage lies, and what the plan says of the stage that a job's wildcards name.

    Attributes:
        folder: with the wildcards `dataset`, `label` and `version`; another study's stages lie under its dataset.
        manifest: the file that a rule declares.
        log: where its logs go, without an ending.
    """

    def __init__(self, plan: Plan, kind: str) -> None:
        self.plan, self.kind = plan, kind
        self.folder = f"{ARTIFACTS}/{{dataset}}/{kind}/{{label}}-{{version}}"
        self.manifest = f"{self.folder}/manifest.json"
        self.log = f"logs/{{dataset}}/{kind}/{{label}}-{{version}}"

    def stage(self, wildcards: Any) -> Stage:
        """The stage of a job."""
        return self.plan.stage(wildcards.dataset, self.kind, wildcards.label, wildcards.version)

    def parent(self, role: str) -> Callable[[Any], str | list[str]]:
        """An input function: the manifest of the parent in a role, nothing where the stage has none."""

        def manifest(wildcards: Any) -> str | list[str]:
            parents = self.stage(wildcards).parents
            return str(parents[role].manifest) if role in parents else []

        return manifest

    def parents(self, wildcards: Any) -> list[str]:
        """An input function: the manifests of all parents, where their number depends on the configuration."""
        return [str(parent.manifest) for parent in self.stage(wildcards).parents.values()]

    def record(self, wildcards: Any) -> str:
        """A parameter function: the stage's record, which holds all that may change its result."""
        return json.dumps(self.stage(wildcards).record, sort_keys=True)
