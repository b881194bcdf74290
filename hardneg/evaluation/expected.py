"""Expected scores: a small YAML file beside a configuration, compared with the scores of a run.

`configs/study.expected.yaml` belongs to `configs/study.yaml`:

    expected:
      - {system: star, split: dev, measure: MRR@10, value: 0.340, tolerance: 0.005, source: "Zhan et al. 2021, Table 2"}
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator

from hardneg.config import Model
from hardneg.errors import HardnegError, nearest
from hardneg.evaluation.measure_names import split_name
from hardneg.evaluation.several import COLLECTIONS
from hardneg.evaluation.several import COLUMNS as OF_COLLECTIONS

COLUMNS = ["system", "split", "measure", "value"]
ENTRY = "system, split, measure, value, tolerance, source"

Key = tuple[str, str, str]
"""System, split and measure. On a further collection the split is `<collection>:<split>`, and the mean is `mean`."""
Verdict = Literal["pass", "short", "beyond", "missing"]


class Entry(Model):
    """One expected score and its source."""

    system: str = Field(min_length=1)
    split: str = Field(min_length=1, description="or `<collection>:<split>` of evaluate_on, or `mean`")
    measure: str = Field(description="as in evaluation.measures, such as MRR@10")
    value: float = Field(allow_inf_nan=False)
    tolerance: float = Field(gt=0, allow_inf_nan=False, description="absolute: value - tolerance is good enough")
    source: str = Field(description="where the number comes from")

    @field_validator("source")
    @classmethod
    def _says_something(cls, source: str) -> str:
        if not source.strip():
            raise ValueError("a text that gives the source of the number")
        return source.strip()


class Expected(Model):
    """The whole file."""

    expected: tuple[Entry, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Outcome:
    """An expected score and the measured one (None if it was not measured)."""

    entry: Entry
    found: float | None
    verdict: Verdict


def expected_file(configfile: Path) -> Path:
    """The file of expected scores of a configuration: `study.expected.yaml` beside `study.yaml`."""
    return configfile.with_suffix(".expected.yaml")


def read_expected(path: Path) -> tuple[Entry, ...]:
    """Read expected scores.

    Raises:
        HardnegError: the file is missing, is not YAML, or has other content than entries of `ENTRY`; lists every fault
            with its line and key.
    """
    try:
        text = path.read_text(encoding="utf-8")
        tree, content = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except FileNotFoundError:
        raise HardnegError(
            "The file of expected scores does not exist.",
            where=str(path),
            expected=f"`expected:` and below it a list of entries, each with {ENTRY}",
            remedy="write it, or give another file: `hardneg expect EXPECTED.yaml`.",
        ) from None
    except UnicodeDecodeError as fault:
        raise HardnegError(
            "A file of expected scores is not UTF-8.", where=str(path), found=str(fault), remedy="save it as UTF-8."
        ) from None
    except yaml.YAMLError as fault:
        mark = getattr(fault, "problem_mark", None)
        raise HardnegError(
            "A file of expected scores is not valid YAML.",
            where=f"{path}, line {mark.line + 1}" if mark else str(path),
            found=str(getattr(fault, "problem", fault)),
            remedy="correct that line.",
        ) from None
    try:
        entries = Expected.model_validate(content).expected
    except ValidationError as fault:
        raise HardnegError("\n".join(_explain(path, tree, error) for error in fault.errors())) from None
    for number, entry in enumerate(entries):
        location = ("expected", number, "measure")
        split_name(entry.measure, f"{path}, line {_line(tree, location)}: {_dotted(location)}")
    return entries


def read_measures(path: Path) -> dict[Key, float]:
    """The scores of `measures.csv`, and of `collections.csv` beside it, by system, split and measure.

    Raises:
        HardnegError: the first file is missing, or one has other columns or lines than the report writes.
    """
    scores = {(system, split, measure): value for system, split, measure, value in _rows(path, COLUMNS)}
    if (several := path.with_name(COLLECTIONS)).exists():
        for system, collection, split, measure, value, _ in _rows(several, OF_COLLECTIONS):
            scores[system, f"{collection}:{split}".rstrip(":"), measure] = value
    return scores


def _rows(path: Path, columns: Sequence[str]) -> list[Any]:
    """The rows of a table, with its values as numbers.

    Raises:
        HardnegError: the file is missing, or has other columns or lines than the report writes.
    """
    value = columns.index("value")
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.reader(stream))
    except FileNotFoundError:
        raise HardnegError(
            "There are no measured scores yet.",
            where=str(path),
            found="no such file",
            remedy="run the workflow: `hardneg run ...`.",
        ) from None
    remedy = f"delete {path} and run the workflow again, which writes the file again."
    if not rows or rows[0] != columns:
        found = ",".join(rows[0]) if rows else "an empty file"
        raise HardnegError(
            "The table of measures has unexpected columns.",
            where=f"{path}:1",
            found=found,
            expected=",".join(columns),
            remedy=remedy,
        )
    read = []
    for number, row in enumerate(rows[1:], 2):
        try:
            if len(row) != len(columns):
                raise ValueError("a row of another length")
            read.append([*row[:value], float(row[value]), *row[value + 1 :]])
        except ValueError:
            raise HardnegError(
                "A line of the table of measures cannot be read.",
                where=f"{path}:{number}",
                found=",".join(row),
                expected=f"{len(columns)} columns, with a number as `value`",
                remedy=remedy,
            ) from None
    return read


def compare(entries: Sequence[Entry], scores: Mapping[Key, float], systems: Collection[str]) -> list[Outcome]:
    """Compare scores with the expected ones.

    The verdict is "pass" within `value` +- `tolerance`, limits included; "short" below; "beyond" above; "missing" if
    there is no score, or if the configuration does not have the system (an older run may have left a row).

    Args:
        entries: the expected scores.
        scores: the measured scores, from `read_measures`.
        systems: names of the configuration's systems.
    """
    outcomes = []
    for entry in entries:
        found = scores.get((entry.system, entry.split, entry.measure)) if entry.system in systems else None
        outcomes.append(Outcome(entry, found, _verdict(entry, found)))
    return outcomes


def reached(outcomes: Sequence[Outcome]) -> bool:
    """Whether every verdict is "pass" or "beyond"."""
    return all(outcome.verdict in ("pass", "beyond") for outcome in outcomes)


def table(outcomes: Sequence[Outcome]) -> str:
    """The outcomes as an aligned table."""
    rows = [("system", "split", "measure", "found", "expected", "tolerance", "verdict", "source")]
    for outcome in outcomes:
        entry = outcome.entry
        found = "-" if outcome.found is None else f"{outcome.found:.4f}"
        tolerance = f"{entry.tolerance:.4g}"
        rows.append(
            (
                entry.system,
                entry.split,
                entry.measure,
                found,
                f"{entry.value:.4f}",
                tolerance,
                outcome.verdict,
                entry.source,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if column in (3, 4, 5) else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _verdict(entry: Entry, found: float | None) -> Verdict:
    if found is None:
        return "missing"
    slack = 1e-9  # 0.345 - 0.340 is a little more than 0.005 in binary
    if abs(found - entry.value) <= entry.tolerance + slack:
        return "pass"
    return "short" if found < entry.value else "beyond"


def _explain(path: Path, tree: yaml.Node | None, error: Any) -> str:
    """The message for one pydantic error, with line and key."""
    location, kind = error["loc"], error["type"]
    where = f"{path}, line {_line(tree, location)}"
    if location:
        where += f": {_dotted(location)}"
    if kind == "extra_forbidden":
        known = Entry.model_fields if len(location) > 1 else Expected.model_fields
        near = nearest(str(location[-1]), known)
        remedy = f"did you mean {near}?" if near else "remove it or use one of these."
        return str(
            HardnegError("Unknown key.", where=where, found=str(location[-1]), expected=", ".join(known), remedy=remedy)
        )
    if kind == "missing":
        expected = ENTRY if len(location) > 1 else "expected"
        return str(HardnegError("A key is missing.", where=where, expected=expected, remedy="add it."))
    expected = error["msg"].removeprefix("Value error, ")
    if kind in ("model_type", "model_attributes_type"):
        expected = f"keys and values: {ENTRY}" if location else "`expected:` and below it a list of entries"
    return str(
        HardnegError(
            "A value is not allowed.",
            where=where,
            found=repr(error["input"])[:80],
            expected=expected,
            remedy="correct it.",
        )
    )


def _dotted(location: Sequence[str | int]) -> str:
    return ".".join(map(str, location))


def _line(node: yaml.Node | None, location: Sequence[str | int]) -> int:
    """The line (from 1) of a key, or of its nearest parent that exists."""
    line = node.start_mark.line if node is not None else 0
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = next((pair for pair in node.value if pair[0].value == part), None)
            if found is None:
                break
            line, node = found[0].start_mark.line, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line
        else:
            break
    return line + 1
