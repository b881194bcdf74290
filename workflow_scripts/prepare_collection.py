"""Prepare a collection: Parquet files of passages, queries and judgements, checked."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from hardneg.data.installed import installed_versions
from hardneg.data.members import count_members
from hardneg.data.prepare import prepare, repairs
from hardneg.data.readers import FETCHED, digest_of, open_collection
from hardneg.errors import HardnegError
from hardneg.stages.artifacts import PROGRESS, StageFolder, file_digest
from workflow_scripts.command import stage_command
from workflow_scripts.told import absent


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Prepare it."""
    settings, windows = stage.settings, stage.settings["windows"]
    parts, own = settings.get("parts"), settings["own_passages"]
    refuse_other_packages(settings)
    reader = open_collection(
        runtime["places"]["collection"],
        settings["train"],
        stage.parents["files"].folder / FETCHED if "files" in stage.parents else None,
        runtime["threads"],
    )
    names, facts = prepare(
        reader,
        stage.folder,
        settings["splits"],
        settings["train"],
        stage.folder / PROGRESS,
        (windows["words"], windows["overlap"]) if windows else None,
        # The ids of a joined collection begin with a name, so that none is told to be a number.
        "same_text" if parts and own == "auto" else own,
    )
    least = runtime.get("least_passages")
    if least and facts["passages"] < least["rows"]:
        raise HardnegError(
            "The collection is too small to train its index on.",
            where=least["where"],
            found=f"{facts['passages']:,} passages for {least['factory']}",
            expected=f"at least {least['rows']:,}",
            remedy="choose fewer lists or bits (IVF64, PQ16x4), or Flat, which a small collection is served best by.",
        )
    refuse_changed(reader, settings)
    stage.facts |= facts
    if parts:
        stage.facts["members"] = count_members(stage.folder, [part["name"] for part in parts], settings["splits"])
    for repair in (*repairs(facts), *absent(stage.facts.get("members", ()))):
        print(f"warning: {repair}", file=sys.stderr)
    return names


def refuse_other_packages(settings: Mapping[str, Any]) -> None:
    """Check that the embedded collection's packages are those that the plan saw.

    Args:
        settings: of the stage.

    Raises:
        HardnegError: the job has others, as where it runs in another environment.
    """
    planned = settings.get("distributions")
    if planned is not None and planned != (found := installed_versions()):
        other = [name for name in planned if found[name] != planned[name]]
        raise HardnegError(
            "The packages that the embedded collection is read from are not those that the run was planned with.",
            found=", ".join(f"{name} {found[name]}" for name in other),
            expected=", ".join(f"{name} {planned[name]}" for name in other),
            remedy="let the job and the command that starts it use the same environment.",
        )


def refuse_changed(reader: Any, settings: Mapping[str, Any]) -> None:
    """Check that the files are those that the plan saw.

    Args:
        reader: a `hardneg.data.collection.CollectionReader`.
        settings: of the stage.

    Raises:
        HardnegError: one of them has changed since.
    """
    if "files" not in settings:  # they were downloaded, or come from a package
        return
    found = digest_of({name: file_digest(path) for name, path in reader.files(settings["splits"]).items()})
    if found != settings["files"]:
        raise HardnegError(
            "A file of the collection has changed since this run began.",
            where="collection",
            found=f"files of digest {found[:12]}",
            expected=f"those of digest {settings['files'][:12]}",
            remedy="let whatever writes it finish, then run the same command: it plans with the new files.",
        )


if __name__ == "__main__":
    stage_command(run, __doc__, options={"threads": "processes that read sources"})
