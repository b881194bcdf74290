"""The report page: a single HTML file that opens from disk, loads nothing else, and is readable without scripts."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from hardneg.evaluation.measure_names import meaning
from hardneg.report.claims.differences import LEVEL
from hardneg.report.content import MARKS
from hardneg.report.files import drawn
from hardneg.report.graph import BOX_HEIGHT, BOX_WIDTH, layout
from hardneg.report.headline import summary
from hardneg.report.material import Item, Material
from hardneg.report.passages import side_by_side
from hardneg.report.text import (
    best_cells,
    by_system,
    cell_text,
    duration,
    interval,
    main_comparisons,
    p_value,
    signed,
    verdict,
)
from hardneg.stages.artifacts import atomic_path

SHOWN_ROWS = 10
"""Of a longer table, the others show when it is opened."""
LONG = 40
"""Characters from which on the text of a cell is broken into lines."""
NARROW = 5
"""Tables of so few columns stand two side by side."""
DIFFERENCES, APPENDIX = "Differences", "Appendix"
_VERDICT = re.compile(r"It shows here|It shows in part|It does not show here|Cannot be checked here")
_TAG = re.compile(r"<[^>]+>")
_IDENTIFIER = re.compile(r'(\bid="|url\(#|href="#)')


@dataclass(frozen=True)
class Cell:
    """A table cell: its text, the number to sort by (None for text), if it is the best, its marks, if it is long."""

    text: str
    number: float | None
    missing: bool
    best: bool
    marks: str | None = None
    long: bool = False


@dataclass(frozen=True)
class Table:
    """A table: headings, each with whether its column is numeric, and rows of cells."""

    headings: Sequence[tuple[str, bool]]
    rows: Sequence[Sequence[Cell]]


def write_report(material: Material, items: Sequence[Item], path: Path) -> None:
    """Write the page. The same arguments give the same bytes.

    The page links to `tables/` and `figures/` beside it (see `hardneg.report.files.write_files`).

    Args:
        material: the results.
        items: the tables and figures, grouped by category.
        path: the HTML file.

    Raises:
        HardnegError: the file could not be written.
    """
    environment = page_environment()
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "allow_nan": False, "separators": (",", ":")}
    environment.filters |= {"duration": duration}
    templates = resources.files("hardneg").joinpath("templates")
    style, script = (templates.joinpath(f"report.{kind}").read_text("utf-8") for kind in ("css", "js"))
    page = environment.get_template("report.html").render(
        material=material,
        style=Markup(style),
        script=Markup(script),
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        summary=summary(material),
        bars=_bars(material),
        steps=_steps(material),
        level=LEVEL,
        shown_rows=SHOWN_ROWS,
        parts=_parts(items),
        appendix=[_shown(item) for item in items if item.category == APPENDIX],
        examples=side_by_side(material),
        queries=_queries(material),
        systems=table(material.systems.rename(columns=lambda name: name.replace("_", " "))),
        costs=_costs(material.costs),
        graph=layout(material.stages),
        box=(BOX_WIDTH, BOX_HEIGHT),
        meanings={name: meaning(name) for name in material.measures["measure"].unique()},
        targets=table(material.targets),
    )
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")


def page_environment() -> jinja2.Environment:
    """What pages are rendered with: the package's templates, with collection text escaped."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("hardneg"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def table(frame: pd.DataFrame, digits: Mapping[str, int] | None = None) -> Table:
    """A data frame as a table, without its index.

    Args:
        frame: numbers and texts. Missing values become a dash. A column whose name ends with `MARKS` holds superscripts
            for the column before it.
        digits: the number of decimals by column; 0 for the others.
    """
    columns: list[list[Cell]] = []
    headings: list[tuple[str, bool]] = []
    best = best_cells(frame)
    for name, column in frame.items():
        if str(name).endswith(MARKS):
            columns[-1] = [replace(cell, marks=marks) for cell, marks in zip(columns[-1], column, strict=True)]
            continue
        is_number = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
        headings.append((str(name), is_number))
        columns.append(
            [
                Cell(
                    text=cell_text(value, (digits or {}).get(str(name), 0)),
                    number=value if is_number and pd.notna(value) else None,
                    missing=pd.isna(value) or value == "",
                    best=is_best,
                    long=isinstance(value, str) and len(value) > LONG,
                )
                for value, is_best in zip(column, best[name], strict=True)
            ]
        )
    return Table(headings, list(zip(*columns, strict=True)))


def _parts(items: Sequence[Item]) -> list[tuple[str, list[dict[str, Any]]]]:
    """The sections between the first screen and the appendix; differences come first, also if nothing is there."""
    parts: dict[str, list[dict[str, Any]]] = {DIFFERENCES: []}
    for item in items:
        if item.category != APPENDIX:
            parts.setdefault(item.category, []).append(_shown(item))
    return list(parts.items())


def _shown(item: Item) -> dict[str, Any]:
    said = _VERDICT.match(item.here)
    return {
        "item": item,
        "said": said[0] if said is not None else "",
        "table": None if item.table is None else table(item.table, item.digits),
        "narrow": item.table is not None and len(item.table.columns) <= NARROW,
        "figure": None if item.figure is None else _inline(item),
    }


def _inline(item: Item) -> Markup:
    """An item's figure as inline SVG. Its ids get the item's name as a prefix, so figures do not clash."""
    text = drawn(item, "svg").decode()
    text = text[text.index("<svg") :].replace("<svg", f'<svg role="img" aria-label="{Markup.escape(item.title)}"', 1)
    return Markup(_TAG.sub(lambda tag: _IDENTIFIER.sub(rf"\g<1>{item.name}-", tag[0]), text))


def _bars(material: Material) -> list[dict[str, Any]]:
    """The main measure of each system: text, length relative to the longest bar, and whether it is the best."""
    values = by_system(material.measures, material.split)[material.main_measure]
    longest = values.max() or 1.0
    return [
        {"system": system, "text": cell_text(value, 4), "share": 0 if pd.isna(value) else value / longest, "best": best}
        for system, value, best in zip(values.index, values, values.eq(values.max()), strict=True)
    ]


def _steps(material: Material) -> list[dict[str, Any]]:
    """The comparisons of the main measure. `step`: the baseline is the system's starting point.

    `low`, `middle` and `high` are positions of the interval on a scale from 0 to 100, where 50 means no difference.
    """
    rows = main_comparisons(material)
    starts = dict(zip(material.systems["system"], material.systems["starts_from"], strict=True))
    widest = rows[["ci_low", "ci_high", "difference"]].abs().max().max() or 1.0

    def place(value: float) -> float | None:
        return None if pd.isna(value) else round(50 + 48 * value / widest, 2)

    is_step = [
        starts.get(system) == baseline for system, baseline in zip(rows["system"], rows["baseline"], strict=True)
    ]
    rows = rows.assign(step=is_step).sort_values("step", ascending=False, kind="stable")
    return [
        {
            "system": row["system"],
            "baseline": row["baseline"],
            "step": row["step"],
            "more": number >= SHOWN_ROWS,
            "difference": signed(row["difference"]),
            "interval": interval(row),
            "p": p_value(row["p_t_holm"]),
            "verdict": verdict(row["difference"], row["p_t_holm"]),
            "queries": row["queries"],
            "low": place(row["ci_low"]),
            "middle": place(row["difference"]),
            "high": place(row["ci_high"]),
        }
        for number, row in enumerate(rows.to_dict("records"))
    ]


def _queries(material: Material) -> dict[str, Any]:
    """The data of the query list, as JSON types: the main measure by system and query, and the examples' texts."""
    rows = material.per_query
    rows = rows[(rows["split"] == material.split) & (rows["measure"] == material.main_measure)]
    values = rows.pivot(index="query_id", columns="system", values="value")
    values = values.reindex(index=rows["query_id"].unique(), columns=rows["system"].unique())
    examples = material.examples
    pair = [examples.chosen, examples.baseline] if examples else []
    return {
        "ids": [str(name) for name in values.index],
        "systems": list(values.columns),
        "values": [[None if pd.isna(value) else round(value, 4) for value in values[system]] for system in values],
        "pair": pair or main_comparisons(material)[["system", "baseline"]].tail(1).to_numpy().ravel().tolist(),
        "texts": {query["query_id"]: query["text"] for query in examples.content["queries"]} if examples else {},
    }


def _costs(costs: pd.DataFrame) -> Table:
    """Time, device-hours and peak memory by kind of stage, in workflow order."""
    kinds = costs.assign(device_seconds=costs["seconds"] * costs["devices"]).groupby("stage", sort=False)
    return table(
        pd.DataFrame(
            {
                "stage": list(kinds.groups),
                "stages": kinds["version"].nunique().to_numpy(),
                "seconds": kinds["seconds"].sum().to_numpy(),
                "share of all seconds, %": (100 * kinds["seconds"].sum() / costs["seconds"].sum()).to_numpy(),
                "device-hours": (kinds["device_seconds"].sum() / 3600).to_numpy(),
                "highest peak memory, MiB": kinds["peak_memory_mib"].max().to_numpy(),
            }
        ),
        {"seconds": 1, "share of all seconds, %": 1, "device-hours": 4},
    )
