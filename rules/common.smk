# The configuration, the plan made from it, and what the rules of a stage have in common.
import json
import shutil
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from hardneg import config as configuration
from hardneg import watch
from hardneg.errors import HardnegError
from hardneg.plan import ARTIFACTS, Plan
from hardneg.preflight import check_machine


def planned():
    """config.yaml, or what --configfile names instead, with --config on top, as a plan."""
    settings = workflow.config_settings
    files = settings.configfiles or [Path(workflow.basedir) / "config.yaml"]
    raw = {}
    for path in files:
        raw = configuration.merge(raw, configuration.read_yaml(Path(path)))
    plan = Plan(configuration.load(configuration.merge(raw, dict(settings.config))))
    check_machine(plan)
    return plan


try:
    PLAN = planned()
except HardnegError as fault:
    raise WorkflowError(str(fault))

COMMAND = " ".join(["snakemake", *sys.argv[1:]])
RUNTIME = json.dumps(PLAN.runtime)
SHARDS = PLAN.config.runtime.shards
TRAINING_THREADS = PLAN.config.arithmetic.training_threads
ENCODING_THREADS = PLAN.config.arithmetic.encoding_threads
SEARCH_GPUS = PLAN.config.runtime.gpus_per_search
on_gpu = PLAN.config.runtime.device == "cuda" or shutil.which("nvidia-smi")
ENVIRONMENT = f"../envs/{'gpu' if on_gpu else 'cpu'}.yaml"


wildcard_constraints:
    label=r"[\w.-]+",
    version=r"[0-9a-f]{12}",
    shard=r"\d{4}",


class StageRule:
    """Where a kind of stage lies, and what the plan says of the stage that a job's wildcards name."""

    def __init__(self, kind):
        self.kind = kind
        self.folder = f"{ARTIFACTS}/{PLAN.dataset}/{kind}/{{label}}-{{version}}"
        self.manifest = f"{self.folder}/manifest.json"
        self.log = f"logs/{PLAN.dataset}/{kind}/{{label}}-{{version}}"

    def stage(self, wildcards):
        return PLAN.stage(self.kind, wildcards.label, wildcards.version)

    def parent(self, role):
        """The manifest of the parent in a role; nothing where the stage has none."""

        def manifest(wildcards):
            parents = self.stage(wildcards).parents
            return str(parents[role].manifest) if role in parents else []

        return manifest

    def record(self, wildcards):
        return json.dumps(self.stage(wildcards).record, sort_keys=True)


def command(script, *inputs, more=""):
    """The shell command of a stage's script, with its record, its inputs by name and what was granted."""
    named = " ".join(f"--{name} {{input.{name}:q}}" for name in inputs)
    return (
        f"python -m workflow_scripts.{script} --record {{params.record:q}} --runtime {{RUNTIME:q}}"
        f" --gpus {{resources.gpu}} --output {{output.manifest:q}} {named} {more} > {{log:q}} 2>&1"
    )


onstart:
    if sys.stderr.isatty():
        watch.start(ARTIFACTS)


onsuccess:
    table = PLAN.results / "measures.txt"
    if table.exists():
        print(f"\n{table.read_text()}\n{PLAN.results}/report.html", file=sys.stderr)
