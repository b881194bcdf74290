"""Progress: a bar on a terminal, and JSON lines for `hardneg watch` and for Snakemake's output."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tqdm import tqdm

REPORT_SECONDS = 2.0
BAR_SECONDS = 1.0  # shorter work gets no bar


class Progress:
    """Counts work done, and reports its rate and the time left.

    Args:
        label: the work, such as "train star".
        total: number of units, or None if not known.
        unit: name of the unit, such as "steps".
        file: where JSON lines are written: `label`, `state`, `done`, `total`, `unit`, `rate` (units a second),
            `seconds_left`, `values`, `time`.
        done: units already done when a run is resumed.
        silent: say nothing, since another process does.
    """

    def __init__(
        self,
        label: str,
        total: int | None,
        unit: str,
        file: Path | None = None,
        done: int = 0,
        silent: bool = False,
    ) -> None:
        self.label, self.total, self.unit, self.file = label, total, unit, None if silent else file
        self.done = self.first = done
        self.started = time.monotonic()
        self.reported = float("-inf")
        self.bar = tqdm(
            desc=label,
            total=total,
            unit=f" {unit}",
            initial=done,
            disable=silent or not sys.stderr.isatty(),
            dynamic_ncols=True,
            delay=BAR_SECONDS,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._report({}, "failed" if kind else "done")
        self.bar.close()

    def advance(self, count: int = 1, **values: float) -> None:
        """Count `count` more units. `values`, such as the loss, are shown beside the bar."""
        self.done += count
        self.bar.update(count)
        if time.monotonic() - self.reported >= REPORT_SECONDS:
            if values:
                self.bar.set_postfix({name: f"{value:.4g}" for name, value in values.items()})
            self._report(values, "running")

    def _report(self, values: dict[str, float], state: str) -> None:
        self.reported = time.monotonic()
        if self.file is None:
            return
        seconds = max(self.reported - self.started, 1e-9)
        rate = (self.done - self.first) / seconds
        left = (self.total - self.done) / rate if self.total is not None and rate > 0 else None
        line = {
            "label": self.label,
            "state": state,
            "done": self.done,
            "total": self.total,
            "unit": self.unit,
            "rate": round(rate, 3),
            "seconds_left": None if left is None else round(left, 1),
            "values": {name: float(value) for name, value in values.items()},
            "time": round(time.time(), 1),
        }
        with self.file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
