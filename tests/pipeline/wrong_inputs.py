"""Wrong inputs: how projects are spoilt, and what a refusal must look like.

Each is reported once, with its place and a remedy, and leaves nothing behind. A case spoils a small project, runs it,
and lists the words that the terminal must show. Snakemake itself runs some of them; to be quick, the others are told by
the plan, as the Snakefile makes it, or by the script that fails.
"""

from __future__ import annotations

import contextlib
import json
import resource
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import Project
from made_stages import Stages

from hardneg.errors import HardnegError
from workflow_scripts.planning import planned

Spoil = Callable[[Project], None]

TRAIN = {"steps": 4, "batch_size": 8, "lr": 1e-3, "rows_per_forward": 8}
INBATCH = {"inbatch": {"preset": "inbatch", "train": TRAIN}}


# --- how projects are spoilt ----------------------------------------------------------------------------------------


def changed(**values: object) -> Spoil:
    """Set keys of config.yaml; `a__b=1` is a: {b: 1}, and None removes the key."""

    def spoil(project: Project) -> None:
        config = json.loads(json.dumps(project.config))  # YAML's anchors share what must differ
        for path, value in values.items():
            *parents, last = path.split("__")
            place: dict[str, Any] = config
            for key in parents:
                place = place.setdefault(key, {})
            place.pop(last, None) if value is None else place.update({last: value})
        project.write_config(config)

    return spoil


def written(name: str, text: str | bytes) -> Spoil:
    """Replace a file of the project."""

    def spoil(project: Project) -> None:
        path = project.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)

    return spoil


def line(name: str, number: int, text: str | bytes) -> Spoil:
    """Replace a line (counted from 1) of a file; one beyond the end is added."""

    def spoil(project: Project) -> None:
        path = project.folder / name
        lines = path.read_bytes().splitlines()
        lines[number - 1 : number] = [text.encode() if isinstance(text, str) else text]
        path.write_bytes(b"\n".join(lines) + b"\n")

    return spoil


def repeated(name: str, first: int, second: int) -> Spoil:
    """Put a line of a file in the place of another."""

    def spoil(project: Project) -> None:
        lines = (project.folder / name).read_bytes().splitlines()
        line(name, second, lines[first - 1])(project)

    return spoil


def all_of(*spoils: Spoil) -> Spoil:
    """One after the other."""

    def spoil(project: Project) -> None:
        for one in spoils:
            one(project)

    return spoil


# --- the table ------------------------------------------------------------------------------------------------------


def usual(project: Project) -> dict[str, str]:
    """No further variables."""
    return {}


@dataclass(frozen=True)
class Case:
    """A wrong input.

    Attributes:
        name: the test's name.
        spoil: makes the project wrong.
        says: what the terminal must show; the first, a sentence that no other message has, only once.
        fails: the kind of stage that fails; None where all is refused before any job.
        arguments: further arguments of snakemake.
        environment: further variables.
        file_bytes: files cannot grow beyond it, as on a full disk.
        prepared: whether collection and tokens are made before.
        whole: whether Snakemake is run, which takes seconds, even where the plan or one script alone refuses it.
    """

    name: str
    spoil: Spoil
    says: tuple[str, ...]
    fails: str | None = None
    arguments: tuple[str, ...] = ()
    environment: Callable[[Project], dict[str, str]] = usual
    file_bytes: int | None = None
    prepared: bool = False
    whole: bool = False

    @property
    def needs_snakemake(self) -> bool:
        """Whether Snakemake has a part in it."""
        return bool(self.whole or self.arguments or self.environment is not usual or self.file_bytes is not None)


def nothing(project: Project) -> None:
    """Leave the project as it is."""


def told(project: Project, case: Case) -> subprocess.CompletedProcess[str]:
    """Run a case; standard output and error come together."""

    def limit() -> None:
        if case.file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (case.file_bytes, case.file_bytes))

    return subprocess.run(
        project.command("--cores", "2", *case.arguments),
        cwd=project.folder,
        env=project.environment(**case.environment(project)),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        check=False,
        preexec_fn=limit,
    )


def manifests(folder: Path) -> list[str]:
    """The sealed stages of a project."""
    return sorted(str(path.relative_to(folder)) for path in folder.glob("artifacts/*/*/*/manifest.json"))


def check_said(case: Case, text: str) -> None:
    """The words of a case are there, the first of them once, and no traceback."""
    for words in case.says:
        assert words in text, f"{words!r} is not in:\n{text}"
    assert text.count(case.says[0]) == 1, text
    assert "Traceback" not in text, text


def check_refused_by_the_plan(case: Case, project: Project) -> None:
    """Spoil a project, and plan it as the Snakefile does."""
    case.spoil(project)
    with contextlib.chdir(project.folder), pytest.raises(HardnegError) as fault:
        planned([Path("config.yaml")], {})
    check_said(case, str(fault.value))
    assert not manifests(project.folder) and not (project.folder / "results").exists()


def check_refused_by_its_script(case: Case, project: Project) -> None:
    """Spoil a project, and make the stage that fails by its script."""
    assert case.fails is not None
    case.spoil(project)
    stages = Stages(project.folder, project.config)
    said = stages.call(stages.commands(stages.stage(case.fails))[0])
    assert said.status == 1
    check_said(case, said.out + said.err)
    assert not manifests(project.folder)
    assert not list(project.folder.rglob("*.tmp"))


def check_refused(case: Case, project: Project) -> None:
    """Spoil a project, run it, and check what the terminal shows and what is left behind."""
    case.spoil(project)
    before = manifests(project.folder)

    done = told(project, case)

    assert done.returncode != 0, done.stdout
    check_said(case, done.stdout)
    made = set(manifests(project.folder)) - set(before)
    if case.fails is None:
        assert not made
    else:
        assert not [name for name in made if name.split("/")[2] == case.fails]
        assert f"/{case.fails}/" in done.stdout
    assert not [path for path in project.folder.rglob("*.tmp") if ".snakemake" not in path.parts]
    assert not (project.folder / "results").exists()
