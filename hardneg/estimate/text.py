"""An estimate as a table for people, and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from hardneg.estimate.estimate import Estimate
from hardneg.estimate.machine import Machine
from hardneg.estimate.needs import size_text, time_text


def table(estimate: Estimate, gpus_asked: int | None) -> str:
    """The estimate as an aligned table, with notes and warnings.

    Args:
        estimate: the estimate.
        gpus_asked: the value of --gpus, to say that it is ignored if there is no GPU.
    """
    return "\n".join([*_head(estimate, gpus_asked), "", *_aligned(_cells(estimate)), "", *_foot(estimate)])


def as_json(estimate: Estimate) -> dict[str, Any]:
    """The estimate as JSON types: seconds and bytes; null if something was not measured or computed."""
    return {
        "dataset": estimate.dataset,
        "counts": asdict(estimate.counts),
        "machine": asdict(estimate.machine),
        "measured": {name: _keys_as_text(value) for name, value in asdict(estimate.measured).items()},
        "stages": [
            {
                "dataset": row.stage.dataset,
                "stage": row.kind,
                "system": row.label,
                "predicted": row.predicted,
                **asdict(row.need),
            }
            for row in estimate.rows
        ],
        "total": {"seconds": estimate.seconds, "disk": estimate.disk, "scratch": estimate.scratch},
        "warnings": estimate.warnings,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _head(estimate: Estimate, gpus_asked: int | None) -> list[str]:
    """Lines on the data, the encoder and the machine."""
    counts, lengths = estimate.counts, estimate.counts.lengths
    asked = ", ".join(f"{number:,} {split}" for split, number in counts.queries.items())
    lines = [
        f"{estimate.dataset}: {counts.passages:,} passages; queries: {asked} ({counts.source})",
        f"mean passage: {lengths.passage_characters:,.0f} characters, {lengths.passage_tokens:.0f} tokens; "
        f"mean query: {lengths.query_characters:,.0f} characters, {lengths.query_tokens:.0f} tokens",
    ]
    if (neural := estimate.measured.neural) is not None:
        lines.append(f"encoder: {neural.model}; {neural.parameters / 1e6:,.1f}M parameters, {neural.dim} dimensions")
    date = datetime.now(UTC).strftime("%Y-%m-%d")
    return [*lines, f"measured on {estimate.machine.name}, {date}; {_devices(estimate.machine, gpus_asked)}"]


def _devices(machine: Machine, asked: int | None) -> str:
    if machine.gpus:
        return f"predicted for {machine.gpus} GPU{'s' if machine.gpus > 1 else ''} of this kind"
    if asked:
        return f"there is no GPU here, so --gpus {asked} is ignored and all times are for this CPU"
    return "all times are for this CPU"


def _cells(estimate: Estimate) -> list[tuple[str, ...]]:
    """The rows of the table, with its head and the total."""
    cells = [("stage", "system", "", "time", "memory", "GPU memory", "disk")]
    for row in estimate.rows:
        need = row.need
        memory = size_text(need.memory)
        if need.processes > 1:
            memory = f"{need.processes} x {memory}"
        gpu = "-" if need.gpu_memory in (0, None) else size_text(need.gpu_memory)
        how = "predicted" if row.predicted else "done"
        label = row.label if row.stage.dataset == estimate.dataset else f"{row.stage.dataset}/{row.label}"
        cells.append((row.kind, label, how, time_text(need.seconds), memory, gpu, size_text(need.disk)))
    return [*cells, ("total", "", "predicted", time_text(estimate.seconds), "", "", size_text(estimate.disk))]


def _aligned(cells: list[tuple[str, ...]]) -> list[str]:
    """Lines with aligned columns: words to the left, quantities to the right."""
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = []
    for row in cells:
        padded = [
            cell.ljust(width) if column < 3 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(padded).rstrip())
    return lines


def _foot(estimate: Estimate) -> list[str]:
    """Notes and warnings."""
    unknown = sum(row.predicted and row.need.seconds is None for row in estimate.rows)
    without = f", without the {unknown} that {'was' if unknown == 1 else 'were'} not measured" if unknown else ""
    lines = [
        f"The total is for the remaining stages, run one after another{without}. Job start-up is not included. "
        f"While running, the stages need up to {size_text(estimate.scratch)} of temporary disk space."
    ]
    if any(row.kind == "bm25_run" and row.predicted for row in estimate.rows):
        lines.append(
            "The time of bm25_run is a rough guess: its growth with the collection is hard to measure on a small one."
        )
    lines += [f"not measured: {reason}" for reason in estimate.measured.missing]
    return lines + ([f"warning: {warning}" for warning in estimate.warnings] or ["All stages are predicted to fit."])


def _keys_as_text(value: Any) -> Any:
    """Turn keys that are pairs, such as (512, 1000), into text: `512 1000`."""
    if isinstance(value, dict):
        return {
            " ".join(map(str, key)) if isinstance(key, tuple) else key: _keys_as_text(inner)
            for key, inner in value.items()
        }
    return value
