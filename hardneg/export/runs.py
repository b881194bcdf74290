"""TREC runs, plain and with a metadata header (ir-metadata.org, schema 0.1; methods 3.9)."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from hardneg.stages.artifacts import Artifact, atomic_path

START, END = "# ir_metadata.start", "# ir_metadata.end"
PLAIN = "plain"


def write_runs(folder: Path, measure: Artifact, metadata: Mapping[str, Mapping[str, Any]]) -> None:
    """Write `<split>.trec`, with the header, and `plain/<split>.trec`, without it, for each split.

    The plain run is for tools that do not accept lines starting with `#`, such as trec_eval before version 10.

    Args:
        folder: the new folder.
        measure: the stage with the runs.
        metadata: the content of the header by split, JSON types only.
    """
    (folder / PLAIN).mkdir(parents=True)
    for split, content in metadata.items():
        run = measure.path(f"{split}.trec")
        shutil.copyfile(run, folder / PLAIN / run.name)
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        lines = [START, *(f"# {line}" for line in text.splitlines()), END]
        with atomic_path(folder / run.name) as temporary, temporary.open("wb") as stream, run.open("rb") as source:
            stream.write("".join(f"{line}\n" for line in lines).encode())
            shutil.copyfileobj(source, stream)
