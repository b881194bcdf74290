"""The cluster profiles: what they make of a study's jobs, and a few real jobs through commands like OpenPBS's."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, Project, new_project, write_collection
from made_stages import every_kind, write_given

PROFILES = ROOT / "profiles"
GROUPED = ("groups", "group-components", "resources", "set-resource-scopes")

QSUB = """\
#!/bin/sh
# Starts a script in the background; prints its number. The first one is killed if KILLED is set.
for script; do :; done
number=$(($(ls "$QUEUE" | grep -c args) + 1))
echo "$*" > "$QUEUE/$number.args"
(
    if [ "$number" = "$KILLED" ]; then sh -c 'kill -9 $$'; else sh "$script"; fi > "$QUEUE/$number.out" 2>&1
    echo $? > "$QUEUE/$number.exit"
) < /dev/null > /dev/null 2>&1 &
echo "$number.server"
"""
QSTAT = """\
#!/bin/sh
for id; do :; done
echo "Job Id: $id"
if [ -s "$QUEUE/${id%.server}.exit" ]; then
    echo "    job_state = F"
    echo "    Exit_status = $(cat "$QUEUE/${id%.server}.exit")"
else
    echo "    job_state = R"
fi
"""


def grouping(folder: Path) -> Path:
    """A profile that groups jobs as those for clusters do, and needs no package."""
    content: dict[str, Any] = yaml.safe_load((PROFILES / "slurm/profile.yaml").read_text(encoding="utf-8"))
    (folder / "profile").mkdir()
    kept = {key: content[key] for key in GROUPED} | {"default-resources": {"at_once": 1}}
    (folder / "profile/profile.yaml").write_text(yaml.safe_dump(kept), encoding="utf-8")
    return folder / "profile"


def entries(told: str) -> tuple[int, int]:
    """Jobs, and entries in a queue that they make, by what a dry run tells; targets are no jobs."""
    rules = [line for line in told.splitlines() if re.match(r" *(local)?rule \w+:", line) and "rule all:" not in line]
    alone = [line for line in rules if not line.startswith(" ")]
    return len(rules), len(alone) + told.count("Group job ")


def test_the_demo_makes_half_as_many_entries_as_jobs(tmp_path: Path) -> None:
    shutil.copy(ROOT / "config.yaml", tmp_path)
    told = Project(tmp_path).snakemake("-n", "--profile", str(grouping(tmp_path))).stdout
    assert entries(told) == (61, 36)


def test_a_study_with_every_kind_of_stage_can_be_grouped(tmp_path: Path) -> None:
    """Snakemake refuses groups that wait for themselves."""
    write_collection(tmp_path / "data")
    write_given(tmp_path, 288)
    project = Project(tmp_path)
    project.write_config(every_kind())
    jobs, queued = entries(project.snakemake("-n", "--profile", str(grouping(tmp_path))).stdout)
    assert jobs == sum(project.jobs().values()) and queued < 0.6 * jobs


@pytest.mark.skipif(
    importlib.util.find_spec("snakemake_executor_plugin_cluster_generic") is None,
    reason="needs snakemake-executor-plugin-cluster-generic: pip install '.[cluster-generic]'",
)
def test_jobs_go_through_the_schedulers_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two entries for four jobs, of which the first is killed and submitted again; what they ask for is their own."""
    project, queue, commands = new_project(tmp_path / "project"), tmp_path / "queue", tmp_path / "bin"
    queue.mkdir()
    commands.mkdir()
    for name, text in (("qsub", QSUB), ("qstat", QSTAT)):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    # The project's environment puts the interpreter's folder first.
    monkeypatch.setenv("PATH", f"{commands}:{Path('/usr/bin')}:{Path('/bin')}")
    done = project.snakemake(
        *("--profile", str(PROFILES / "cluster-generic"), "--seconds-between-status-checks", "1", "bm25"),
        QUEUE=str(queue),
        KILLED="1",
    )
    assert [path.name for path in sorted(queue.glob("*.exit"))] == ["1.exit", "2.exit", "3.exit"], done.stdout
    assert [(queue / f"{number}.exit").read_text().strip() for number in (1, 2, 3)] == ["137", "0", "0"]
    first, again, searches = ((queue / f"{number}.args").read_text() for number in (1, 2, 3))
    memory, minutes = (int(x) for x in re.findall(r"mem=(\d+)mb.*walltime=(\d+):00", first)[0])
    assert f"mem={2 * memory}mb" in again and f"walltime={2 * minutes}:00" in again
    one_by_one = re.findall(r"ncpus=(\d+):mem=(\d+)mb:ngpus=(\d+) -l walltime=(\d+):00", searches)[0]
    told = (queue / "3.out").read_text()  # by Snakemake, which runs the group's jobs there
    asked = re.findall(r"(?:threads: (\d+)\n +)?resources: .*mem_mb=(\d+).*runtime=(\d+)", told)
    assert len(asked) == 3
    cores, memories, limits = zip(*((int(c or 1), int(m), int(r)) for c, m, r in asked), strict=True)
    assert tuple(map(int, one_by_one)) == (max(cores), max(memories), 0, sum(limits))
