"""What is told of Snakemake's jobs: their names, what came out of them, and why one failed."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hardneg.stages.artifacts import MANIFEST
from hardneg.stages.stage import ARTIFACTS
from hardneg.stages.storage import STORAGE

STAGE = re.compile(
    rf"{ARTIFACTS}/(?P<dataset>[^/]+)/(?P<kind>[^/]+)/(?P<label>[^/]+)-[0-9a-f]{{12}}/(?P<file>[\w-]+)\.json"
)
LAST_LINES = 20  # of a log that has no message for people


def job_name(rule: str, output: Sequence[str]) -> str:
    """The kind and label of the stage, and the shard, that a job makes; else its rule, in words."""
    for path in map(on_this_disk, output):
        if (stage := STAGE.match(path)) is not None:
            part = [] if path.endswith(f"/{MANIFEST}") else [stage["file"]]
            return " ".join([stage["kind"], stage["label"], *part])
    return rule.replace("_", " ")


def on_this_disk(told: str) -> str:
    """The path of a file that Snakemake speaks of: of one in storage, that of its copy or of the stage's own."""
    if STORAGE not in os.environ:
        return told
    known = json.loads(os.environ[STORAGE])
    if not told.startswith(f"{known['prefix']}/"):
        return told
    path = told.removeprefix(f"{known['prefix']}/").partition(" (")[0]
    return path if path.startswith(f"{ARTIFACTS}/") else f"{known['copies']}/{path}"


def result(output: Sequence[str]) -> str:
    """What came out of a job, in a few words.

    Of a measured run the main measure on each split, of vectors and rankings the splits, of others nothing.
    """
    for path in (Path(on_this_disk(told)) for told in output):
        if (stage := STAGE.match(str(path))) is None or path.name != MANIFEST:
            continue
        if not path.exists():  # another machine made it
            return ""
        settings = json.loads(path.read_text(encoding="utf-8"))["settings"]
        return _measured(path.parent, settings) if stage["kind"] == "measure" else ", ".join(settings.get("splits", ()))
    return ""


def _measured(folder: Path, settings: Mapping[str, Any]) -> str:
    import pyarrow.parquet as pq

    main, means = _main_measure(folder, settings), []
    for path in sorted(folder.glob("measures.*.parquet")):
        rows = pq.read_table(path, columns=["measure", "value"], filters=[("measure", "==", main)])
        values = rows.column("value").to_pylist()
        if values:
            means.append(f"{path.name.split('.')[1]} {sum(values) / len(values):.4f}")
    return f"{main} {', '.join(means)}" if means else ""


def _main_measure(folder: Path, settings: Mapping[str, Any]) -> str:
    """The main measure of the study that runs, as it told its jobs; else the first one measured."""
    told = sorted(ARTIFACTS.glob(f".brief-{folder.parts[-3]}-*.json"), key=lambda path: path.stat().st_mtime)
    return str(json.loads(told[-1].read_text(encoding="utf-8"))["main_measure"] if told else settings["measures"][0])


def failure(logs: Sequence[str]) -> str:
    """Why a job failed: the message for people at the end of its log, else the log's last lines."""
    for log in (Path(on_this_disk(told)) for told in logs):
        try:
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        starts = [number for number, line in enumerate(lines) if line.startswith("error: ")]
        told = lines[starts[-1] :] if starts else lines[-LAST_LINES:]
        if "".join(told).strip():
            return "\n".join(told).strip()
    return "It wrote no log."
