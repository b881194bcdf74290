# The configuration, the plan made from it, and what all rules share.
import gc
import json
import os
import sys
from hashlib import sha256
from pathlib import Path

# OpenMP threads that wait busily slow every other process of this machine down; it must be said before torch loads.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import snakemake
from snakemake.exceptions import WorkflowError
from snakemake.persistence import PersistenceBase
from snakemake.scheduling.job_scheduler import JobScheduler

from hardneg.cli import watch
from hardneg.cli.options import refuse_dropped
from hardneg.stages.artifacts import canonical_json, write_json
from hardneg.errors import HardnegError
from hardneg.planning.preflight import check_devices
from hardneg.planning.targets import targets
from hardneg.report.brief import brief
from hardneg.report.items import names
from hardneg.stages.dates import check_dates
from hardneg.stages.running import claim
from hardneg.stages.stage import ARTIFACTS
from workflow_scripts import warm
from workflow_scripts.beside import beside
from workflow_scripts.environment import tell_jobs
from workflow_scripts.planning import planned, reporting, rules_of
from workflow_scripts.stored import bring_counts, tell_storage

try:
    refuse_dropped(sys.argv)
    tell_storage(workflow.storage_settings, workflow.storage_registry)
    PLAN = planned(
        workflow.config_settings.configfiles or [Path(workflow.basedir) / "config.yaml"],
        workflow.config_settings.config,
    )
    if not workflow.remote_exec:
        bring_counts(stage.manifest for stage in PLAN.of("collection"))
except HardnegError as fault:
    raise WorkflowError(str(fault))

# The plan lives until the end, so to collect garbage among it, and once more at the end, would only take time.
gc.freeze()

# Both hold for the version that they were read in. Parameters here are text: Snakemake would load pandas (0.4 s at every
# start) to see whether one is a table. And a SIGTERM while it chooses jobs would stop it for ever: its handler takes the
# lock that the choosing holds.
if snakemake.__version__ == "9.27.1":
    PersistenceBase._serialize_param = PersistenceBase._serialize_param_builtin
    JobScheduler.exit_gracefully = beside(JobScheduler.exit_gracefully)

# Too long for a command line: the jobs that summarise read it from here, and run again when its digest changes.
BRIEF = brief(PLAN)
BRIEF_DIGEST = sha256(canonical_json(BRIEF).encode()).hexdigest()
BRIEF_FILE = ARTIFACTS / f".brief-{PLAN.dataset}-{BRIEF_DIGEST[:12]}.json"

SHARDS = PLAN.config.runtime.shards
stage_rule = rules_of(PLAN)

# What jobs need may differ from what this machine has, so the configuration says it, not a look at this machine.
ENVIRONMENT = f"../envs/{'gpu' if PLAN.config.runtime.device == 'cuda' else 'cpu'}.yaml"


def here(files):
    """Files for people, which stay on the disk of the machine that runs Snakemake, wherever artifacts lie."""
    return [local(str(file)) for file in files]


def shown(name, folder, ending, category, title):
    """A table's or figure's file, as Snakemake's own report shows it; its caption is written with it."""
    file = local(f"{PLAN.results}/{folder}/{name}.{ending}")
    caption = Path(PLAN.results, "captions", f"{name}.rst").absolute()
    return report(file, caption=str(caption), category=category, labels={"what": title})


wildcard_constraints:
    dataset=r"[\w.-]+",
    label=r"[\w.-]+",
    version=r"[0-9a-f]{12}",
    shard=r"\d{4}",


onstart:
    if workflow.local_exec:
        try:
            check_devices(PLAN, everything=not workflow.dag_settings.targets)
        except HardnegError as fault:
            raise WorkflowError(str(fault))
    if not workflow.remote_exec:
        try:
            check_dates(str(file) for job in workflow.dag.needrun_jobs() for file in job.input)
            claim((str(file) for job in workflow.dag.needrun_jobs() for file in job.output), ARTIFACTS / ".runs")
        except HardnegError as fault:
            raise WorkflowError(str(fault))
        for note in PLAN.notes:
            print(f"warning: {note}", file=sys.stderr)
        tell_jobs(workflow.dag_settings)
        if workflow.local_exec and sys.platform == "linux":
            warm.start()
        ARTIFACTS.mkdir(exist_ok=True)
        write_json(BRIEF_FILE, BRIEF)
    if sys.stderr.isatty() and "hardneg" not in workflow.output_settings.log_handler_settings:
        watch.start(ARTIFACTS)


onsuccess:
    from hardneg.data.prepare import repairs

    for prepared in [stage for stage in PLAN.of("collection") if stage.manifest.exists()]:
        for repair in repairs(json.loads(prepared.manifest.read_text())["facts"]):
            print(f"warning: {prepared.dataset}: {repair}", file=sys.stderr)
    table = PLAN.results / "measures.txt"
    if table.exists():
        print(f"\n{table.read_text()}\n{PLAN.results}/report.html", file=sys.stderr)
