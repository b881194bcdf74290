"""SIGKILL and SIGTERM at random moments of a study, to any of its processes; then the same command until it ends.

A seed names a stage, a process, a signal and a moment. A copy of the finished small study loses that stage and one or
two that read it, and the command makes them again. At the moment the signal is sent, and the same command is given
until it ends well. Then every sealed file of every stage, and measures.csv, must have the bytes of the study that
nobody disturbed. Of every sixth seed all that follows from the stage is lost, to the results.

    python tests/pipeline/random_kills.py FOLDER FIRST LAST

makes the study in FOLDER, where it is not there yet, tries the seeds from FIRST to LAST, and prints a row of each.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from conftest import Project, new_project

PATIENCE = 1800.0
POLL = 0.01
TRIES = 5
ROLES = {"job": 8, "client": 2, "server": 2, "snakemake": 3, "all": 2}
"""Which process is sent the signal, by how often: the one that makes the stage, the one that waits for it in its shell,
the one that jobs are forked from, Snakemake, or all of them."""

TARGETS = ["evaluate", "analyse", "export"]
"""All but the report, which has no other figures."""

WHOLE = 6
"""Of how many seeds one loses all that follows."""

CHECKPOINTS = 0.02
"""Seconds between two checkpoints of a training, so that the next run has something to go on from."""

VARIES = "bm25_index"
"""The kind whose bytes are not the same each time: Lucene writes times and random ids."""

SAYS = re.compile(r"resuming .* at step \d+|waiting: .* is being written|was finished (?:before|by another process)")
HEADER = "| Seed | Signal | To | While this was made | After (s) | Exit | The next run | Commands | Same bytes |"


@dataclass(frozen=True)
class Kill:
    """What is done to a run.

    Attributes:
        stage: folder of the stage in whose time it happens, relative to the project.
        role: a key of `ROLES`.
        number: the signal.
        share: when, as a share of the stage's time in the undisturbed run, from when its job is seen.
        whole: whether all that follows from the stage is lost, and not only what reads it.
    """

    stage: Path
    role: str
    number: signal.Signals
    share: float
    whole: bool = False


@dataclass
class Outcome:
    """What came of it.

    Attributes:
        kill: what was asked for.
        hit: what the process was that got the signal.
        second: seconds from when the job was seen to the signal.
        status: how the killed run ended.
        said: what the next run said of the stage.
        commands: how often the command was given.
        differs: files that are not as in the undisturbed run, and what else is wrong.
    """

    kill: Kill
    hit: str = ""
    second: float = 0.0
    status: int = 0
    said: str = ""
    commands: int = 1
    differs: list[str] = field(default_factory=list)

    def row(self, seed: int) -> str:
        """A row of the table."""
        same = "yes" if not self.differs else f"**no**: {', '.join(self.differs[:3])}"
        made = f"{self.kill.stage.parent.name}/{self.kill.stage.name.rpartition('-')[0]}"
        cells = [seed, self.kill.number.name, self.hit, made, f"{self.second:.2f}", self.status, self.said]
        return "| " + " | ".join(map(str, [*cells, self.commands, same])) + " |"


def stages_of(project: Project) -> dict[Path, dict[str, str]]:
    """Each stage's folder, relative to the project, and the versions of its parents."""
    found: dict[Path, dict[str, str]] = {}
    for manifest in sorted((project.folder / "artifacts").glob("*/*/*/manifest.json")):
        parents = json.loads(manifest.read_text(encoding="utf-8"))["parents"]
        found[manifest.parent.relative_to(project.folder)] = parents
    return found


def drawn(finished: Project, seed: int) -> Kill:
    """The kill of a seed: seeds take the kinds in turn, and the rest at random."""
    rng = Random(seed)
    stages = list(stages_of(finished))
    kinds = sorted({stage.parent.name for stage in stages})
    stage = rng.choice([stage for stage in stages if stage.parent.name == kinds[seed % len(kinds)]])
    (role,) = rng.choices(list(ROLES), list(ROLES.values()))
    return Kill(stage, role, rng.choice([signal.SIGKILL, signal.SIGTERM]), rng.random() * 1.2, seed % WHOLE == 0)


def readers(finished: Project, stages: Sequence[Path]) -> list[Path]:
    """The stages that read some of these, and are not among them."""
    versions = {stage.name.rpartition("-")[2] for stage in stages}
    every = stages_of(finished).items()
    return [other for other, parents in every if other not in stages and versions & set(parents.values())]


def near(finished: Project, stage: Path) -> list[Path]:
    """At most two readers of a stage that read nothing else which follows from it, so that two suffice to be made."""
    following = {stage}
    while more := readers(finished, list(following)):
        following.update(more)
    lie = {one.name.rpartition("-")[2] for one in following - {stage}}
    every = stages_of(finished)
    return [one for one in readers(finished, [stage]) if not lie & set(every[one].values())][:2]


def prepare(finished: Project, folder: Path, kill: Kill) -> tuple[Project, list[str]]:
    """A copy of the finished study without a stage and readers of it, and the targets that make it whole again.

    Where all that follows is lost, all readers are among that. Stages that follow from afar lose their manifests only,
    and are put back if what they were made from has the same bytes.
    """
    shutil.copytree(finished.folder, folder, symlinks=True)
    first = readers(finished, [kill.stage]) if kill.whole else near(finished, kill.stage)
    project, gone = Project(folder, finished.source), [kill.stage, *first]
    config = project.config
    config["runtime"]["checkpoint_seconds"] = CHECKPOINTS
    project.write_config(config)
    for one in gone:
        shutil.rmtree(folder / one)
    if not kill.whole:
        return project, [str(one / "manifest.json") for one in gone]
    while following := readers(finished, gone):
        for one in following:
            (folder / one / "manifest.json").unlink()
        gone += following
    shutil.rmtree(folder / "results")
    return project, TARGETS


def running(folder: Path) -> Iterator[tuple[int, int, str]]:
    """The processes that run in a folder: number, parent's number and command line."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):  # it ended meanwhile, or is no process of this user's
            if (entry / "cwd").readlink() != folder:
                continue
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            state, parent = (entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[:2]
            if line and state != "Z":
                yield int(entry.name), int(parent), line


def seen(project: Project, stage: Path) -> dict[str, int]:
    """The processes of a stage by role, and the server's; those that are not there are left out.

    A job may run in a process of its own or in one that was forked, whose command line is the server's. So its process
    is told by the writer's lock, or, before it has that, by its command line.
    """
    found: dict[str, int] = {}
    for number, _, line in running(project.folder):
        if "workflow_scripts.warm" in line:
            found["server"] = min(number, found.get("server", number))  # the forked ones came after it
        elif (
            " -m workflow_scripts." in line and f"{stage}/" in line.partition(" --output ")[2].partition(" --inputs")[0]
        ):
            shell = "bash" in line.split()[0]
            found["shell" if shell else "client" if "workflow_scripts.job" in line else "job"] = number
    for owner in (project.folder / stage).glob(".*.owner"):
        with contextlib.suppress(OSError, ValueError, IndexError):  # it was removed, or is not written yet
            number = int(owner.read_text(encoding="utf-8").split()[1])
            os.kill(number, 0)
            found["job"] = number
    return found


def strike(project: Project, run: subprocess.Popen[bytes], kill: Kill, span: float) -> tuple[str, float]:
    """Wait for the stage's job and the moment, and send the signal: to what, and how long after the job was seen.

    A process that is not there at that moment, since the job has ended or there is no such process in this run, is
    replaced by Snakemake.
    """
    end = time.monotonic() + PATIENCE
    awaited = {kill.role} if kill.role in ("job", "client") else {"shell", "job", "client"}
    while not (seen(project, kill.stage).keys() & awaited) and run.poll() is None:
        assert time.monotonic() < end, f"no job made {kill.stage}"
        time.sleep(POLL)
    begun = time.monotonic()
    time.sleep(kill.share * span)
    there = seen(project, kill.stage)
    second = time.monotonic() - begun
    if kill.role == "all":
        for number, _, _ in list(running(project.folder)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, kill.number)
        return "all", second
    victim = there.get(kill.role, run.pid if run.poll() is None else None)
    if victim is None:
        return "nothing: it had ended", second
    with contextlib.suppress(ProcessLookupError):
        os.kill(victim, kill.number)
    return (kill.role if kill.role in there else "snakemake"), second


def said_of(project: Project, stage: Path, known: int) -> str:
    """What the logs say of a stage, beyond a number of characters that were known before."""
    words = SAYS.findall(log_of(project, stage)[known:])
    return "; ".join(dict.fromkeys("waiting for its writer" if "waiting" in word else word for word in words))


def log_of(project: Project, stage: Path) -> str:
    """The logs of a stage; that of a job is written anew by each run."""
    place = project.folder / "logs" / stage.relative_to("artifacts")
    texts = sorted(place.parent.glob(f"{place.name}*.log"))
    return "".join(path.read_text(encoding="utf-8") for path in texts)


def differing(finished: Project, project: Project) -> list[str]:
    """What is not as in the undisturbed study: bytes of sealed files and of measures.csv, and what was left over."""
    wrong = []
    for stage in stages_of(finished):
        if stage.parent.name == VARIES:
            continue
        sealed = json.loads((finished.folder / stage / "manifest.json").read_text(encoding="utf-8"))
        for name in ("manifest.json", *sealed["files"]):
            file = project.folder / stage / name
            if not file.exists() or file.read_bytes() != (finished.folder / stage / name).read_bytes():
                wrong.append(str(stage / name))
    if project.measures() != finished.measures():
        wrong.append("measures.csv")
    if stages_of(project).keys() != stages_of(finished).keys():
        wrong.append("other stages")
    wrong += [str(path.relative_to(project.folder)) for path in (project.folder / "artifacts").rglob(".*.tmp")]
    return wrong


def ended(project: Project) -> bool:
    """Whether no process runs in the project's folder any more, after some seconds at most."""
    end = time.monotonic() + 10
    while list(running(project.folder)) and time.monotonic() < end:
        time.sleep(0.05)
    return not list(running(project.folder))


def tried(finished: Project, folder: Path, kill: Kill) -> Outcome:
    """Do it, give the same command until it ends, and compare. The copy of the study is made in `folder`."""
    outcome, (project, targets) = Outcome(kill), prepare(finished, folder, kill)
    cost = json.loads((finished.folder / kill.stage / "cost.json").read_text(encoding="utf-8"))
    try:
        run = project.begin(*targets)
        outcome.hit, outcome.second = strike(project, run, kill, max(cost["seconds"], 0.2))
        status = outcome.status = run.wait(PATIENCE)
        while status != 0 and outcome.commands < TRIES:
            status = project.begin(*targets).wait(PATIENCE)
            outcome.commands += 1
            if outcome.commands == 2:
                outcome.said = said_of(project, kill.stage, 0) or "it was made from its beginning"
        outcome.said = outcome.said or "none was needed"
        outcome.differs = [*([f"exit {status}"] * (status != 0)), *differing(finished, project)]
        outcome.differs += [] if ended(project) else ["a process is left"]
    finally:
        for number, _, _ in list(running(project.folder)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
    return outcome


def main() -> None:
    """Try the seeds of the command line."""
    folder, first, last = Path(sys.argv[1]).resolve(), int(sys.argv[2]), int(sys.argv[3])
    finished = Project(folder / "finished")
    if not (finished.folder / "results/small/report.html").exists():
        finished = new_project(finished.folder)
        finished.snakemake()
    print(HEADER, "| --- " * HEADER.count(" | ") + "| --- |", sep="\n", flush=True)
    wrong = 0
    for seed in range(first, last + 1):
        place = folder / f"seed-{seed}"
        shutil.rmtree(place, ignore_errors=True)
        outcome = tried(finished, place, drawn(finished, seed))
        print(outcome.row(seed), flush=True)
        if outcome.differs:
            wrong += 1
        else:
            shutil.rmtree(place)
    sys.exit(f"{wrong} of {last + 1 - first} differ" if wrong else 0)


if __name__ == "__main__":
    main()
