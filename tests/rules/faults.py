"""What goes wrong with a stage of any kind: a flipped byte, a full disk, a folder that may not be written to.

Each check takes a stage that was made and works on a copy, so that others can go on with the stage.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from made_stages import Said, Stages

from hardneg.errors import HardnegError
from hardneg.stages.artifacts import MANIFEST, Artifact
from hardneg.stages.stage import ARTIFACTS, Stage
from hardneg.stages.verification import verified

VARIES = ("bm25_index",)
"""Kinds whose bytes are not the same each time: Lucene writes times and random ids."""

Check = Callable[[Stages, Stage, Path], None]

CAPABILITIES_V3 = 0x20080522
DAC_OVERRIDE = 1 << 1


def apart(stages: Stages, stage: Stage, folder: Path) -> Stages:
    """The project elsewhere, with a copy of a stage; what it reads, and all else, is linked."""
    stages.make(stage)
    elsewhere = copy.copy(stages)
    elsewhere.folder = folder
    folder.mkdir(exist_ok=True)
    for path in stages.folder.iterdir():
        if path.name not in (ARTIFACTS.name, "results", "logs"):
            (folder / path.name).symlink_to(path)
    markers = shutil.ignore_patterns("shard-????-of-????.json")  # Snakemake removes them when all shards are sealed
    shutil.copytree(stages.folder / stage.folder, folder / stage.folder, ignore=markers)
    for parent in stage.parents.values():
        link(stages, parent, folder)
    return elsewhere


def link(stages: Stages, stage: Stage, folder: Path) -> None:
    """Link a stage, made where it was not yet, into another project."""
    stages.make(stage)
    place = folder / stage.folder
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(stages.folder / stage.folder)


def flip(path: Path, share: float = 0.5) -> bytes:
    """Flip a bit of one byte of a file, at a share of its length; what it held before."""
    before = path.read_bytes()
    content = bytearray(before)
    content[int(share * len(content))] ^= 1
    path.write_bytes(content)
    return before


def check_refused(said: Said, *words: str) -> None:
    """One message, without a traceback, that has these words."""
    assert said.status == 1
    assert sum(line.startswith("error: ") for line in said.err.splitlines()) == 1, said.err
    assert "Traceback" not in said.err, said.err
    for part in words:
        assert part in said.err, said.err


def check_flipped_bytes(stages: Stages, stage: Stage, folder: Path) -> None:
    """A flipped byte of each file of a stage is refused by name; what is told to do makes the same stage again.

    `hardneg verify` tells it of every kind, and the next stage that reads it where there is one.
    """
    elsewhere = apart(stages, stage, folder)
    manifest = folder / stage.manifest
    sealed = manifest.read_bytes()
    names = sorted(Artifact.open(manifest).manifest["files"])
    filled = [*(name for name in names if (manifest.parent / name).stat().st_size), MANIFEST]
    for place, name in enumerate(filled):
        file = manifest.parent / name
        before = flip(file, share=(place + 1) / (len(filled) + 1))
        with pytest.raises(HardnegError) as refused:
            Artifact.open(manifest)
        assert str(file) in str(refused.value)
        assert f"delete {manifest} and run the workflow again" in str(refused.value)
        file.write_bytes(before)
    assert Artifact.open(manifest).manifest["files"].keys() == set(names)

    flip(manifest.parent / filled[0])
    faults = {str(found.folder): str(found.fault) for found in verified(folder / ARTIFACTS) if found.fault}
    assert list(faults) == [str(manifest.parent)] and filled[0] in faults[str(manifest.parent)]
    if reader := next((other for other in stages.plan.stages if stage in other.parents.values()), None):
        for parent in reader.parents.values():
            link(stages, parent, folder)
        said = elsewhere.call(elsewhere.commands(reader)[0])
        check_refused(said, "A file of a finished stage has changed.", filled[0], f"delete {stage.manifest}")
    (manifest.parent / filled[0]).unlink()
    manifest.unlink(missing_ok=True)
    again(elsewhere, stage)
    assert stage.kind in VARIES or manifest.read_bytes() == sealed


def again(stages: Stages, stage: Stage) -> None:
    """Call the stage's scripts, which make it."""
    for command in stages.commands(stage):
        said = stages.call(command)
        assert said.status == 0, said.err
    Artifact.open(stages.folder / stage.manifest)


def check_full_disk(stages: Stages, stage: Stage, folder: Path) -> None:
    """A disk that is full while the largest file is written is told; then the same command makes the same stage."""
    elsewhere = apart(stages, stage, folder)
    manifest = folder / stage.manifest
    sealed = manifest.read_bytes()
    sizes = [facts["bytes"] for facts in Artifact.open(manifest).manifest["files"].values()]
    largest = max([*sizes, len(sealed)])
    shutil.rmtree(manifest.parent)
    with files_up_to(largest // 2):
        failed = next(said for command in elsewhere.commands(stage) if (said := elsewhere.call(command)).status)
    check_refused(failed, "remedy:", "free")
    left = [path.name for path in manifest.parent.rglob("*") if path.name.endswith(".tmp")]
    assert left == [] and not manifest.exists()
    again(elsewhere, stage)
    assert stage.kind in VARIES or manifest.read_bytes() == sealed


CHECKS: tuple[Check, ...] = (check_flipped_bytes, check_full_disk)
"""What a stage of every kind goes through."""


@contextlib.contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """No file can grow beyond a size, which is told as a full disk is."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A folder in which nothing can be made, for root neither."""
    folder.chmod(0o555)
    head = (ctypes.c_uint32 * 2)(CAPABILITIES_V3, 0)
    held = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable; then their upper halves
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capget(head, held) == 0, os.strerror(ctypes.get_errno())
    less = (ctypes.c_uint32 * 6)(*held)
    less[0] &= ~DAC_OVERRIDE
    assert libc.capset(head, less) == 0, os.strerror(ctypes.get_errno())
    try:
        yield
    finally:
        libc.capset(head, held)
        folder.chmod(0o755)
