"""Two workflows in one folder: they run side by side where they make different stages, and only there."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

from conftest import Project

from hardneg.stages.artifacts import writer_lock

PATIENCE = 120.0


def without(project: Project, kind: str, label: str) -> Path:
    """A stage's manifest, relative to the project; the stage is not there any more."""
    folder = project.stage(kind, label)
    shutil.rmtree(folder)
    return folder.relative_to(project.folder) / "manifest.json"


def wait_until_claimed(project: Project, run: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + PATIENCE
    while not list((project.folder / "artifacts/.runs").glob("*.json")):
        assert run.poll() is None and time.monotonic() < end
        time.sleep(0.02)


def test_a_second_run_is_refused_only_where_both_make_the_same(finished: Project, project: Project) -> None:
    theirs, ours = without(project, "measure", "bm25neg"), without(project, "measure", "bm25")
    shutil.rmtree(project.folder / "artifacts/.runs")
    with writer_lock(project.folder / theirs.parent):  # the first run's job waits, until this test lets it go
        first = subprocess.Popen(
            project.command("--cores", "1", str(theirs)),
            cwd=project.folder,
            env=project.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until_claimed(project, first)
            project.snakemake(str(ours))
            assert first.poll() is None
            shared = project.snakemake(str(theirs), check=False)
            assert shared.returncode == 1
            assert "Another run in this folder makes some of the same stages." in shared.stdout
            assert f"process {first.pid} on " in shared.stdout and str(theirs.parent) in shared.stdout
            assert "Traceback" not in shared.stdout
        except BaseException:
            first.kill()
            raise
    assert first.wait(PATIENCE) == 0
    for manifest in (theirs, ours):
        assert (project.folder / manifest).read_bytes() == (finished.folder / manifest).read_bytes()
