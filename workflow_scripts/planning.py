"""What the rules need of the plan: where stages lie, what they read, what their jobs ask for, and their commands."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hardneg import config as configuration
from hardneg.estimate.resources import Resources
from hardneg.planning.plan import Plan
from hardneg.planning.preflight import check_machine, least_passages
from hardneg.stages.kinds import KINDS
from hardneg.stages.stage import ARTIFACTS, Stage
from workflow_scripts.environment import RUNTIME


def planned(files: Sequence[Path | str], over: Mapping[str, Any]) -> Plan:
    """The plan of configuration files, later ones and then `over` (--config) winning.

    Runtime settings go to the jobs through the environment. As a parameter they would rerun stages, and they never
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


class StageRule:
    """What a rule needs to know of its kind of stage.

    Attributes:
        folder: where a stage lies, with the wildcards `dataset`, `label` and `version`; another study's stages lie
            under its own dataset.
        manifest: the file that the rule declares.
        log: where its log goes.
        benchmark: where Snakemake writes what a job took.
        threads: of a job.
        gpu: devices of a job.
        mem_mb: a function of the job and its attempt: the memory that it asks for.
        runtime: a function of the job and its attempt: its time limit in minutes.
    """

    def __init__(self, plan: Plan, resources: Resources, kind: str, part: str = "") -> None:
        self._plan, self._kind = plan, kind
        chosen = KINDS[kind]
        self.script = chosen.script
        self.folder = f"{ARTIFACTS}/{{dataset}}/{kind}/{{label}}-{{version}}"
        self.manifest = f"{self.folder}/manifest.json"
        logs = f"logs/{{dataset}}/{kind}/{{label}}-{{version}}{part}"
        self.log, self.benchmark = f"{logs}.log", f"{logs}.tsv"
        self.threads = resources.threads(chosen)
        self.gpu = resources.gpus(chosen)
        self.mem_mb: Callable[[Any, int], int] = lambda wildcards, attempt: (
            resources.memory_mb(self.stage(wildcards)) * attempt
        )
        self.runtime: Callable[[Any, int], int] = lambda wildcards, attempt: (
            resources.minutes(self.stage(wildcards), chosen.minutes) * attempt
        )

    def stage(self, wildcards: Any) -> Stage:
        """The stage of a job."""
        return self._plan.stage(wildcards.dataset, self._kind, wildcards.label, wildcards.version)

    def inputs(self, wildcards: Any) -> dict[str, str]:
        """An input function for `unpack`: the manifests of the stage's parents by role."""
        # A family of roles, such as run.star, is no Python name.
        parents = self.stage(wildcards).parents.items()
        return {role.replace(".", "__"): str(parent.manifest) for role, parent in parents}

    def record(self, wildcards: Any) -> str:
        """A parameter function: the stage's record, which holds all that may change its result."""
        return json.dumps(self.stage(wildcards).record, sort_keys=True)

    def shell(self, more: str = "", script: str | None = None, inputs: str = "{input:q}") -> str:
        """The shell command: the stage's record, its inputs, what was granted, where the log goes.

        Args:
            more: further arguments.
            script: where it is not the kind's own.
            inputs: the manifests of the parents, where the rule has other inputs too.
        """
        return (
            f"python -m workflow_scripts.job {script or self.script} --record {{params.record:q}}"
            f" --gpus {{resources.gpu}} --output {{output.manifest:q}} --inputs {inputs} {more} > {{log:q}} 2>&1"
        )


def rules_of(plan: Plan) -> Callable[..., StageRule]:
    """A maker of `StageRule`s by kind."""
    resources = Resources(plan)
    return lambda kind, part="": StageRule(plan, resources, kind, part)


def reporting(script: str, output: str, *inputs: str) -> str:
    """The shell command of a rule that writes for people: what the plan says, the named output and inputs."""
    named = " ".join(f"--{name} {{input.{name}:q}}" for name in inputs)
    return (
        f"python -m workflow_scripts.job {script} --brief {{params.brief:q}} {named} --output {{output.{output}:q}}"
        " > {log:q} 2>&1"
    )
