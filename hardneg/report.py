"""The report: what won, by how much, whether that can be told from chance, and what it cost; one HTML file."""

from __future__ import annotations

import io
from collections.abc import Hashable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import jinja2
import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from hardneg.artifacts import atomic_path
from hardneg.measure_names import meaning

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

LEVEL = 0.05

_BAR, _BEST_BAR, _INK = "#9db4c8", "#1f5f8b", "#222222"
_FIGURE_STYLE: dict[RcKeyType, Any] = {
    "svg.hashsalt": "hardneg",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
}


class Facts(TypedDict):
    """What the report says about where its numbers come from.

    Attributes:
        collection: such as the number of passages, and of queries and judgements by split.
        relevant_grade: the lowest grade that counts as relevant, by split.
        command: the command line that makes the report.
        versions: of hardneg, its commit, Python and the libraries that decide numbers.
    """

    collection: Mapping[str, object]
    relevant_grade: Mapping[str, int]
    command: str
    versions: Mapping[str, str]


def write_report(
    path: Path,
    dataset: str,
    measures: pd.DataFrame,
    significance: pd.DataFrame,
    costs: pd.DataFrame,
    plan_rows: Sequence[Mapping[str, object]],
    facts: Facts,
) -> None:
    """Write the report: self-contained, without scripts, and the same bytes for the same arguments.

    Args:
        path: the HTML file.
        dataset: the collection's name.
        measures: system, split, measure, value. Systems, splits and measures are shown in the order given; the first
            measure decides which system is best, on the split `test` or else the last one.
        significance: as `hardneg.measures.significance_table` gives it.
        costs: stage, system, version, seconds, device, peak_memory_mib; one row a stage, in the order of the flow.
        plan_rows: one mapping a system: how it was made. The keys of the first are the table's headings.
        facts: see `Facts`.

    Raises:
        HardnegError: the file could not be written.
    """
    main = _main_split(measures)
    splits = sorted(measures["split"].unique(), key=lambda split: split != main)
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(resources.files("hardneg").joinpath("templates/report.html").read_text("utf-8"))
    page = template.render(
        dataset=dataset,
        summary=summary(measures, significance, costs),
        tables=[_effectiveness(measures, split) for split in splits],
        meanings={name: meaning(name) for name in measures["measure"].unique()},
        chart=_bar_chart(measures, main),
        level=LEVEL,
        comparisons=[
            {"split": split, "measure": measure, "queries": int(rows["queries"].iloc[0]), "rows": _with_verdicts(rows)}
            for split in splits
            for measure, rows in significance[significance["split"] == split].groupby("measure", sort=False)
        ],
        costs=_cost_rows(costs),
        total=duration(float(costs["seconds"].sum())),
        plan_rows=plan_rows,
        facts=facts,
        grades=_grades(facts["relevant_grade"]),
    )
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")


def _grades(lowest: Mapping[str, int]) -> str:
    """The lowest relevant grade in words; by split where the splits differ."""
    if len(set(lowest.values())) == 1:
        return str(next(iter(lowest.values())))
    return ", ".join(f"{grade} ({split})" for split, grade in lowest.items())


def measures_text(measures: pd.DataFrame, split: str) -> str:
    """Systems by measures on one split as aligned text for a terminal; the best of each measure has a star."""
    table, best = _table(measures, split)
    text = table.map("{:.4f}".format).where(table.notna(), "–") + best.replace({True: "*", False: " "})
    return text.rename_axis(index=None, columns=split).to_string()


def summary(measures: pd.DataFrame, significance: pd.DataFrame, costs: pd.DataFrame) -> list[str]:
    """Say in sentences which system is best, its lead over each of its baselines, its cost; arguments as above."""
    split, measure = _main_split(measures), str(measures["measure"].iloc[0])
    ranking = _table(measures, split)[0][measure].dropna()
    best, value = str(ranking.idxmax()), ranking.max()
    of_best = significance[(significance["split"] == split) & (significance["measure"] == measure)]
    of_best = of_best[of_best["system"] == best]
    sentences = [f"On {split}, {best} ranks best of {len(ranking)} systems, with {measure} {value:.4f}."]
    for row in of_best.to_dict("records"):
        certainty = "significant" if row["p_t_holm"] < LEVEL else "not significant"
        sentences.append(
            f"That is {_signed(row['difference'])} over {row['baseline']} (95% interval {_interval(row)}; {certainty}, "
            f"corrected p {_p_value(row['p_t_holm'])}, {row['queries']:,} queries)."
        )
    own, total = costs.loc[costs["system"] == best, "seconds"].sum(), costs["seconds"].sum()
    sentences.append(f"Its own stages took {duration(own)}; all stages together took {duration(total)}.")
    return sentences


def duration(seconds: float) -> str:
    """A length of time as people say it: 8.3 s, 95 s, 12 min, 5.4 h."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _main_split(measures: pd.DataFrame) -> str:
    splits = list(measures["split"].unique())
    return "test" if "test" in splits else str(splits[-1])


def _table(measures: pd.DataFrame, split: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Values by system (rows) and measure (columns) in the order given, and which of them are their column's best."""
    chosen = measures[measures["split"] == split]
    table = chosen.pivot(index="system", columns="measure", values="value")
    table = table.reindex(index=chosen["system"].unique(), columns=chosen["measure"].unique())
    return table, table.eq(table.max())


def _effectiveness(measures: pd.DataFrame, split: str) -> dict[str, object]:
    table, best = _table(measures, split)
    rows = [
        (system, [("–" if pd.isna(value) else f"{value:.4f}", bold) for value, bold in zip(values, bolds, strict=True)])
        for system, values, bolds in zip(table.index, table.to_numpy(), best.to_numpy(), strict=True)
    ]
    return {"split": split, "measures": list(table.columns), "rows": rows}


def _with_verdicts(comparisons: pd.DataFrame) -> list[dict[str, str]]:
    """Comparisons as text, each with its verdict."""
    return [
        {
            "system": str(row["system"]),
            "baseline": str(row["baseline"]),
            "verdict": _verdict(row["difference"], row["p_t_holm"]),
            "difference": _signed(row["difference"]),
            "95% interval": _interval(row),
            **{
                f"p, {test} (corrected)": f"{_p_value(row[column])} ({_p_value(row[f'{column}_holm'])})"
                for test, column in (("t-test", "p_t"), ("randomisation", "p_randomisation"))
            },
        }
        for row in comparisons.to_dict("records")
    ]


def _verdict(difference: float, p_value: float) -> str:
    if p_value >= LEVEL:
        return "no difference shown"
    return "better" if difference > 0 else "worse"


def _cost_rows(costs: pd.DataFrame) -> list[dict[Hashable, str]]:
    texts = costs[["stage", "system", "version", "device"]].fillna("–")
    numbers = costs[["seconds", "peak_memory_mib"]].map(lambda value: "–" if pd.isna(value) else f"{value:,.1f}")
    return texts.assign(**numbers).rename(columns={"peak_memory_mib": "peak memory, MiB"}).to_dict("records")


def _interval(row: Mapping[Hashable, Any]) -> str:
    return f"{_signed(row['ci_low'])} to {_signed(row['ci_high'])}"


def _signed(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:+.4f}".replace("-", "\N{MINUS SIGN}")


def _p_value(value: float) -> str:
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def _bar_chart(measures: pd.DataFrame, split: str) -> str:
    """A panel a measure, a bar a system, as an SVG element; the same bytes for the same values."""
    table, best = _table(measures, split)
    columns = min(2, len(table.columns))
    rows = -(-len(table.columns) // columns)
    with matplotlib.rc_context(_FIGURE_STYLE):
        figure = Figure(figsize=(4.8 * columns, rows * (0.75 + 0.3 * len(table))), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False, sharey=True).flat
        for measure, panel in zip(table.columns, panels, strict=False):
            values = table[measure].fillna(0.0)
            colours = [_BEST_BAR if bold else _BAR for bold in best[measure]]
            bars = panel.barh(range(len(table)), values, color=colours, height=0.7)
            labels = ["–" if pd.isna(value) else f"{value:.3f}" for value in table[measure]]
            panel.bar_label(bars, labels, padding=3)
            panel.set_xlim(0, max(1.18 * values.max(), 1e-3))
            panel.locator_params(axis="x", nbins=5)
            panel.set_xlabel(f"{measure} (mean over queries)")
            panel.set_yticks(range(len(table)), table.index)
            panel.spines[["top", "right"]].set_visible(False)
        for spare in panels:
            spare.remove()
        figure.axes[0].invert_yaxis()
        figure.supylabel("system", fontsize=10)
        drawing = io.StringIO()
        figure.savefig(drawing, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = drawing.getvalue()
    return text[text.index("<svg") :]
