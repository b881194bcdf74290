"""What is told of Snakemake's jobs: their names, what came out of them, and why one failed."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from hardneg.stages.artifacts import MANIFEST
from hardneg.stages.stage import ARTIFACTS

STAGE = re.compile(
    rf"{ARTIFACTS}/(?P<dataset>[^/]+)/(?P<kind>[^/]+)/(?P<label>[^/]+)-[0-9a-f]{{12}}/(?P<file>[\w-]+)\.json"
)
LAST_LINES = 20  # of a log that has no message for people


def job_name(rule: str, output: Sequence[str]) -> str:
    """The kind and label of the stage, and the shard, that a job makes; else its rule, in words."""
    for path in output:
        if (stage := STAGE.match(path)) is not None:
            part = [] if path.endswith(f"/{MANIFEST}") else [stage["file"]]
            return " ".join([stage["kind"], stage["label"], *part])
    return rule.replace("_", " ")


def result(output: Sequence[str]) -> str:
    """What came out of a job, in a few words: the main measure of a system's run on each split; else nothing."""
    measured = [path for path in output if (stage := STAGE.match(path)) is not None and stage["kind"] == "measure"]
    if not measured:
        return ""
    import pyarrow.parquet as pq

    folder = Path(measured[0]).parent
    main = _main_measure(folder)
    means = []
    for path in sorted(folder.glob("measures.*.parquet")):
        rows = pq.read_table(path, columns=["measure", "value"], filters=[("measure", "==", main)])
        values = rows.column("value").to_pylist()
        if values:
            means.append(f"{path.name.split('.')[1]} {sum(values) / len(values):.4f}")
    return f"{main} {', '.join(means)}" if means else ""


def _main_measure(folder: Path) -> str:
    """The main measure of the study that runs, as it told its jobs; else the first one measured."""
    told = sorted(ARTIFACTS.glob(f".brief-{folder.parts[-3]}-*.json"), key=lambda path: path.stat().st_mtime)
    if told:
        return str(json.loads(told[-1].read_text(encoding="utf-8"))["main_measure"])
    return str(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["settings"]["measures"][0])


def failure(logs: Sequence[str]) -> str:
    """Why a job failed: the message for people at the end of its log, else the log's last lines."""
    for log in map(Path, logs):
        try:
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        starts = [number for number, line in enumerate(lines) if line.startswith("error: ")]
        told = lines[starts[-1] :] if starts else lines[-LAST_LINES:]
        if "".join(told).strip():
            return "\n".join(told).strip()
    return "It wrote no log."
