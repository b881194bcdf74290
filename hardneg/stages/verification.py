"""Every finished stage checked: its files, its manifest, its version and where its inputs are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hardneg.errors import HardnegError
from hardneg.stages.artifacts import MANIFEST, Artifact
from hardneg.stages.stage import name_of, version_of


@dataclass(frozen=True)
class Verified:
    """What was found of one stage.

    Attributes:
        folder: of the stage.
        finished: whether it has a manifest; another process may be writing it, or it was interrupted.
        files: listed in its manifest.
        bytes: of these files.
        fault: what is wrong with it; None if nothing is.
        lost: roles of the inputs that are not there any more, with their versions.
    """

    folder: Path
    finished: bool
    files: int = 0
    bytes: int = 0
    fault: HardnegError | None = None
    lost: tuple[str, ...] = ()


def verified(artifacts: Path) -> Iterator[Verified]:
    """Check each stage below `artifacts`, in the order of names; every byte of its files is read.

    A stage's version must be that of its settings, inputs and code as its manifest has them, and its folder's name must
    say the same. An input that is not there is no fault: it may have been pruned.
    """
    folders = sorted(folder for folder in artifacts.glob("*/*/*-*") if folder.is_dir())
    versions = {folder.name.rpartition("-")[2] for folder in folders}
    for folder in folders:
        if not (folder / MANIFEST).exists():
            yield Verified(folder, finished=False)
            continue
        try:
            stage = Artifact.open(folder / MANIFEST)
            _check_provenance(stage, artifacts)
        except HardnegError as fault:
            yield Verified(folder, finished=True, fault=fault)
            continue
        sizes = [facts["bytes"] for facts in stage.manifest["files"].values()]
        lost = [f"{role} {version}" for role, version in stage.manifest["parents"].items() if version not in versions]
        yield Verified(folder, finished=True, files=len(sizes), bytes=sum(sizes), lost=tuple(lost))


def _check_provenance(stage: Artifact, artifacts: Path) -> None:
    said = stage.manifest
    if (version := version_of(said)) != said["version"]:
        raise HardnegError(
            "A stage's version is not that of its settings, inputs and code.",
            where=str(stage.folder / MANIFEST),
            found=str(said["version"]),
            expected=version,
            remedy=f"delete {stage.folder} and run the workflow again, which makes that stage again.",
        )
    if (expected := artifacts / name_of(said)) != stage.folder:
        raise HardnegError(
            "A stage lies in another stage's folder.",
            where=str(stage.folder),
            expected=str(expected),
            remedy="move it back, or delete it and run the workflow again.",
        )
