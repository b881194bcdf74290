"""SIGKILL of the job, of its whole process group, and of Snakemake alone, at every long stage; then the same command.

One project is killed a dozen times on its way, and must end with the scores of one that nobody disturbed.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
from conftest import Project

PATIENCE = 240.0
POLL = 0.002
WRITTEN = ".passages-0001*.tmp"
TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?P<writer>\d+)\.tmp")


def wait_for(happened: Callable[[], bool], what: str, run: subprocess.Popen[bytes] | None = None) -> None:
    """Poll until something happened.

    Raises:
        AssertionError: it did not, in time or before the run ended.
    """
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, f"too late: {what}"
        assert run is None or run.poll() is None or happened(), f"the run ended before: {what}"
        time.sleep(POLL)


@dataclass
class Watched:
    """A stage of a project that will be killed.

    Attributes:
        project: where it runs.
        kind: kind of stage.
        label: whose.
        lock: the writer's lock.
    """

    project: Project
    kind: str
    label: str
    lock: str = ".writer.lock"

    def __str__(self) -> str:
        return f"{self.kind}/{self.label}"

    def folder(self) -> Path | None:
        """Its folder, once there is one."""
        return next((self.project.folder / "artifacts/small" / self.kind).glob(f"{self.label}-*"), None)

    def files(self, pattern: str) -> list[Path]:
        """Its files that match a pattern."""
        folder = self.folder()
        return sorted(folder.glob(pattern)) if folder else []

    def step(self) -> int:
        """The step of its newest checkpoint, 0 where there is none."""
        newest = self.files("checkpoints/step-*.safetensors")[-1:]
        return int(newest[0].stem.partition("-")[2]) if newest else 0

    def log(self) -> str:
        """What its process printed."""
        said = ""
        for path in sorted((self.project.folder / "logs/small" / self.kind).glob(f"{self.label}-*.log")):
            with contextlib.suppress(FileNotFoundError):  # Snakemake removes the last run's
                said += path.read_text(encoding="utf-8")
        return said

    def process(self) -> int:
        """The process that makes it: it may be forked from another and have that one's command line."""
        folder = self.folder()
        assert folder is not None
        return int((folder / f"{self.lock}.owner").read_text(encoding="utf-8").split()[1])


def processes(folder: Path) -> Iterator[tuple[int, str]]:
    """The processes (not the shells around them) that make stages in a folder, with their command lines."""
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            is_stage = " -m workflow_scripts." in line and "bash" not in line.split()[0]
            if is_stage and (entry / "cwd").readlink() == folder:
                yield int(entry.name), line
        except (OSError, ValueError):  # it ended meanwhile, or is no process
            continue


@dataclass
class Writers:
    """Who wrote in which folder, in order: a writer puts its process number in the name of every file it begins.

    Attributes:
        folder: the project's artifacts.
        seen: temporary files met, in order, by what they lie in.
    """

    folder: Path
    seen: dict[str, list[str]] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        """Look, again and again, until told to stop."""
        known: set[Path] = set()
        while not self.stop.wait(2 * POLL):
            for kind in ("dual_encoder", "query_encoder", "passages"):
                with contextlib.suppress(FileNotFoundError):  # a folder of checkpoints goes when its stage is sealed
                    self._look(kind, known)

    def _look(self, kind: str, known: set[Path]) -> None:
        for path in (self.folder / kind).glob("**/.*.tmp"):
            if path not in known and (match := TEMPORARY.fullmatch(path.name)):
                known.add(path)
                stage = path.relative_to(self.folder / kind).parts[0]
                file = match["name"] if kind == "passages" else ""  # shards are written side by side
                self.seen.setdefault(f"{kind}/{stage}/{file}", []).append(match["writer"])


@pytest.fixture
def interrupted(project: Project) -> Iterator[Project]:
    """A finished project less everything from the warm-up's training on; what is left running in it is ended."""
    for kind in ("dual_encoder", "passages", "queries", "index", "run", "query_encoder"):
        shutil.rmtree(project.folder / "artifacts/small" / kind)
    for folder in (project.folder / "artifacts/small/measure").glob("*-*"):
        if not folder.name.startswith("bm25-"):
            shutil.rmtree(folder)
    shutil.rmtree(project.stage("mine", "bm25neg"))
    shutil.rmtree(project.folder / "results")
    config = project.config
    config["runtime"]["checkpoint_seconds"] = 0.02
    project.write_config(config)
    yield project
    for number, _ in processes(project.folder):
        os.kill(number, signal.SIGKILL)


def parent_of(process: int) -> int:
    """The process that started another: what it was forked from, or the shell."""
    stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    return int(stat.rpartition(")")[2].split()[1])


def send(number: signal.Signals, to: Iterable[int]) -> None:
    for process in to:
        os.kill(process, number)


def kill_the_job(run: subprocess.Popen[bytes], victim: Watched) -> None:
    os.kill(victim.process(), signal.SIGKILL)
    assert run.wait(PATIENCE) == 1


def kill_everything(run: subprocess.Popen[bytes], victim: Watched) -> None:
    os.killpg(run.pid, signal.SIGKILL)
    run.wait(PATIENCE)
    wait_for(lambda: not list(processes(victim.project.folder)), "the whole group ends")


def stop_in_the_middle(run: subprocess.Popen[bytes], victim: Watched, step: int) -> None:
    """Wait until a training has passed a step in this run, or a shard is being written."""
    if victim.kind == "passages":
        old = set(victim.files(WRITTEN))
        wait_for(lambda: set(victim.files(WRITTEN)) > old, f"{victim} writes", run)
    else:
        step = max(step, victim.step() + 1)
        wait_for(lambda: victim.step() >= step, f"{victim} passes step {step}", run)


def wait_for_words(run: subprocess.Popen[bytes], victim: Watched, words: str) -> None:
    wait_for(lambda: words in victim.log(), f"{victim} says: {words}", run)


@pytest.mark.slow
def test_killed_anywhere_the_same_command_ends_with_the_same_scores(finished: Project, interrupted: Project) -> None:
    project, rng = interrupted, Random(20210711)
    writers = Writers(project.folder / "artifacts/small")
    watcher = threading.Thread(target=writers.watch, daemon=True)
    watcher.start()
    run = project.begin()

    for victim in (
        Watched(project, "dual_encoder", "bm25neg"),
        Watched(project, "passages", "bm25neg", ".shard-0001-of-0002.writer.lock"),
        Watched(project, "dual_encoder", "star"),
        Watched(project, "query_encoder", "adore_star"),
    ):
        for number, kill in enumerate((kill_the_job, kill_everything)):
            stop_in_the_middle(run, victim, rng.randint(1, 9) + 11 * number)
            if victim.kind != "passages":
                time.sleep(rng.random() * 0.02)  # between two checkpoints, or while one is written
            kill(run, victim)
            assert not victim.files("manifest.json")
            if victim.kind == "passages":
                assert len(victim.files(WRITTEN)) == number + 1
                assert not victim.files("passages-0001*.npy")
            elif number > 0:
                assert f"resuming train {victim.label} at step" in victim.log()
            run = project.begin()

        # Snakemake alone: the job lives on. What it is forked from is stopped too, whose end would end a stopped job.
        stop_in_the_middle(run, victim, 25)
        orphan = victim.process()
        stopped = (parent_of(orphan), orphan)  # they end when this test says so
        send(signal.SIGSTOP, stopped)
        os.kill(run.pid, signal.SIGKILL)
        run.wait(PATIENCE)
        if victim.kind == "query_encoder":  # before the next one starts
            send(signal.SIGCONT, stopped)
            wait_for(
                lambda: project.stage("query_encoder", "adore_star").joinpath("manifest.json").exists(),
                "the orphan ends",
            )
            run = project.begin()
            wait_for_words(run, victim, "was finished before")
        else:  # while the next one waits for it
            run = project.begin()
            wait_for_words(run, victim, f"is being written by process {orphan} on")
            send(signal.SIGCONT, stopped)
            wait_for_words(run, victim, "was finished by another process")

    assert run.wait(PATIENCE) == 0, (project.folder / "terminal.txt").read_text(encoding="utf-8")
    writers.stop.set()
    watcher.join()
    assert project.measures() == finished.measures()
    assert len(writers.seen) >= 4
    for place, sequence in writers.seen.items():
        turns = [writer for writer, _ in itertools.groupby(sequence)]
        assert len(turns) == len(set(turns)), f"writers took turns in {place}: {turns}"
    assert list((project.folder / "artifacts/small").glob("**/.*.tmp")) == []
    assert project.jobs() == {}
