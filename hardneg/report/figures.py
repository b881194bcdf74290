"""The paper's figures, readable in a column of 8 cm. Colours stand for negatives, line styles for systems."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, ParamSpec

import matplotlib
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from scipy import special

from hardneg.report.findings import (
    TESTED,
    UNTESTED,
    Claim,
    kinds,
    measured,
    of_kind,
    queries_of,
    scores,
    starts,
    tested,
    verdict,
)
from hardneg.report.material import Errors, Material, Movement
from hardneg.report.tables import Content

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

# Okabe and Ito's colours, told apart by colour-blind readers.
BLACK, ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
COLOURS = {
    "random": ORANGE,
    "static hard": BLUE,
    "STAR": PURPLE,
    "dynamic": SKY,
    "ADORE": GREEN,
    "other": "#777777",
}
DASHES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 3)))
WIDTH = 3.4  # inches: a column of two
STYLE: dict[RcKeyType, Any] = {
    "svg.hashsalt": "hardneg",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.3,
}

_HARDEST = 0.05
_LOW = 10  # a median rank beyond which static negatives are said to rank very low
_P = ParamSpec("_P")


def styled(draw: Callable[_P, Figure]) -> Callable[_P, Figure]:
    """Draw with `STYLE`; saving wants it too, for an SVG of the same bytes."""

    @wraps(draw)
    def drawn(*args: _P.args, **kwargs: _P.kwargs) -> Figure:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


def line_styles(material: Material) -> dict[str, dict[str, Any]]:
    """Colour (by negatives) and dashes (in the order of the systems) of each system's lines."""
    drawn: dict[str, int] = {}
    styles: dict[str, dict[str, Any]] = {}
    for system, family in families(material).items():
        colour = COLOURS[family]
        styles[system] = {"color": colour, "linestyle": DASHES[drawn.get(colour, 0) % len(DASHES)]}
        drawn[colour] = drawn.get(colour, 0) + 1
    return styles


def effectiveness(material: Material) -> Content:
    """The main measure by system with 95% t intervals of the mean."""
    found = scores(material).groupby("system", sort=False)["value"].agg(["mean", "std", "count"])
    half = special.stdtrit(found["count"] - 1, 0.975) * found["std"] / np.sqrt(found["count"])
    best = str(found["mean"].idxmax())
    reaching = int((found["mean"] + half >= found["mean"][best] - half[best]).sum()) - 1
    return {
        "caption": f"{material.main_measure} on {material.split} of {material.dataset}: mean over "
        f"{queries_of(material, material.split):,} queries with its 95% interval (Student's t). Colours: what a system "
        "is trained with. Systems are scored on the same queries, so overlapping intervals do not say that two are "
        "alike: the paired tests do.",
        "here": f"The highest mean is {best}'s, {found['mean'][best]:.4f} ± {half[best]:.4f}; the intervals of "
        f"{reaching} of {len(found) - 1} other systems reach into its own.",
        "figure": partial(
            _draw_bars, found["mean"], half.fillna(0), families(material), f"{material.main_measure}, {material.split}"
        ),
    }


def figure3(material: Material, errors: Errors) -> Content:
    """How pairwise errors are spread over queries, and how much the hardest hold."""
    by_query = errors.rows.groupby(["system", "query"], sort=False)["errors"].sum()
    systems = list(by_query.index.get_level_values("system").unique())
    shares = pd.DataFrame([_shares(system, by_query[system], errors.hard) for system in systems])
    shares.columns = pd.Index(
        [
            "system",
            f"queries with more than {errors.hard:,} errors, %",
            "their share of all errors, %",
            "share of the hardest 5%, %",
        ]
    )
    random = sorted(
        (system for system in of_kind(material, "random") if system in systems),
        key=lambda system: system not in set(material.systems.query("source == 'random'")["system"]),
    )
    claims = []
    for row in shares[shares["system"].isin(random[:1])].itertuples(index=False):
        text = (
            f"of the errors of {row[0]}, trained with random negatives, {row[2]:.1f}% come from the {row[1]:.1f}% of "
            f"queries with more than {errors.hard:,} errors, and {row[3]:.1f}% from the hardest 5%"
        )
        claims.append(Claim(bool(row[3] > 50), text))
    panel = (
        f"Above: queries by the errors of {random[0]} (bins of equal width in the logarithm; no errors: left). "
        if random
        else ""
    )
    note = "A few queries are taken to dominate where the hardest 5% hold more than half."
    return {
        "caption": f"Pairwise errors a query on {material.analysis_split} of {material.dataset}, "
        f"{errors.rows['query'].nunique():,} queries. {panel}Lines: share of a system's errors held by its hardest "
        f"queries (grey: 5%); hard: more than {errors.hard:,} errors.",
        "paper": "Difficult queries contribute a surprising share of the total pairwise errors of Rand Neg on MS MARCO "
        "Dev Passage.",
        "here": verdict(claims, note, "no system is trained with random negatives"),
        "table": shares,
        "digits": dict.fromkeys(shares.columns[1:], 1),
        "figure": partial(
            _draw_errors,
            {system: by_query[system].to_numpy() for system in systems},
            random[0] if random else None,
            line_styles(material),
            errors.hard,
        ),
    }


def figure4a(material: Material, trajectory: pd.DataFrame) -> Content:
    """How much of the static lists the live ranking still holds, over training."""
    overlap = trajectory[trajectory["name"].str.startswith("overlap@")]
    depth = overlap["name"].iloc[0].removeprefix("overlap@") if len(overlap) else "K"
    rank = trajectory[trajectory["name"] == "best static rank"]
    claims = []
    for system, rows in overlap.sort_values("step").groupby("system", sort=False):
        line = rows.set_index("step")["value"]
        first, highest, lowest, at = line.iloc[0], line.max(), line.min(), int(line[line == line.min()].index[0])
        numbers = (
            f"{system} starts at {first:.0%}, is never above {highest:.0%} and falls to {lowest:.0%} at step {at:,}"
        )
        claims.append(Claim(bool(highest < 1 and lowest < first), numbers))
    for system, rows in rank.sort_values("step").groupby("system", sort=False):
        step, last = int(rows["step"].iloc[-1]), rows["value"].iloc[-1]
        low = f"the best of {system}'s ranks {last:g} at step {step:,} (beyond {_LOW} is taken as very low)"
        claims.append(Claim(bool(last > _LOW), low))
    panels = [(overlap.assign(value=100 * overlap["value"]), f"overlap with the live\ntop-{depth}, %", "linear")]
    panels += [(rank, "rank of the best\nstatic negative", "log")] if len(rank) else []
    return {
        "caption": f"Static hard negatives while the query encoder trains on {material.dataset}: share of a query's "
        f"static list that is among the live top-{depth} of passages not judged relevant, mean over the queries of a "
        "training step, under the vectors of that step (dropout on)."
        + (" Below: the rank of the best of them, median over these queries." if len(rank) else ""),
        "paper": "On MS MARCO, starting from BM25 Neg, static hard negatives are quickly ranked very low; the overlap "
        "always stays below a limit, since static lists cannot follow the noise of dropout.",
        "here": verdict(claims, UNTESTED, "no system that is followed trains on static lists"),
        "figure": partial(_draw_steps, panels, line_styles(material)),
    }


def figure4b(material: Material, trajectory: pd.DataFrame) -> Content:
    """Effectiveness over training, by kind of negatives."""
    known = list(dict.fromkeys(trajectory["name"]))
    measure = material.main_measure if material.main_measure in known else known[0]
    rows = trajectory[trajectory["name"] == measure].sort_values("step", kind="stable")
    kind = families(material)
    named = {name: f"{name} ({kind[name]})" for name in rows["system"].unique()}
    return {
        "caption": f"{measure} on {material.analysis_split} of {material.dataset}, mean over "
        f"{queries_of(material, material.analysis_split):,} queries, while query encoders train on fixed passage "
        "vectors, by kind of negatives. Dynamic: the live index, every pair alike; ADORE: lambda-weighted.",
        "paper": "On MS MARCO, starting from BM25 Neg, dynamic hard negatives steadily improve the ranking; static "
        "ones with a periodic refresh fluctuate and are most of the time significantly below random negatives, which "
        "decrease it.",
        "here": verdict(
            _trajectory_claims(material, rows, kind), UNTESTED, "no training with these negatives was looked at twice"
        ),
        "figure": partial(
            _draw_steps, [(rows, f"{measure}, {material.analysis_split}", "linear")], line_styles(material), named
        ),
    }


def figure5(material: Material, ablation: pd.DataFrame) -> Content:
    """What dynamic negatives and the lambda weights each add."""
    values = measured(material, material.split, material.main_measure)
    return {
        "caption": f"Ablation of ADORE: {material.main_measure} on {material.split} of {material.dataset}, mean over "
        f"{queries_of(material, material.split):,} queries, by the system that is started from.",
        "paper": "On MS MARCO, dynamic hard negatives greatly improve the ranking; LambdaLoss helps further for models "
        "like Rand Neg but not for STAR.",
        "here": verdict(_ablation_claims(material, ablation), TESTED, "no variant trains on the live index"),
        "figure": partial(_draw_ablation, ablation, values, f"{material.main_measure}, {material.split}"),
    }


def figure6(material: Material, movement: Movement) -> Content:
    """Where one query goes while its encoder trains."""
    numbers = f"its first relevant passage goes from rank {movement.rank_before:,} to {movement.rank_after:,}"
    return {
        "caption": f"t-SNE of one query of {material.analysis_split} of {material.dataset}, “{movement.text}”, while "
        f"{movement.system} trains; its relevant passages, and those ranked best before and after. Axes have no unit, "
        "and distances are true only between near neighbours.",
        "paper": "For a query of TREC DL Doc (MS MARCO documents), ADORE on BM25 Neg maps the query closer to the "
        "relevant documents.",
        "here": verdict(
            [Claim(movement.rank_after < movement.rank_before, numbers)], "It is one query, and no proof.", ""
        ),
        "figure": partial(_draw_movement, movement),
    }


@styled
def draw_bands(
    panels: Sequence[tuple[pd.DataFrame, str]], buckets: Sequence[str], label: str, styles: Mapping[str, dict[str, Any]]
) -> Figure:
    """A line a system over buckets, with a band where there is one.

    Args:
        panels: system, place (of the bucket), value, low and high where a band is drawn; and the y axis's name.
        buckets: what they are called.
        label: of the x axis.
        styles: as `line_styles` gives them.
    """
    figure, axes = _panels(len(panels))
    for panel, (rows, name) in zip(axes, panels, strict=True):
        for system, line in rows.groupby("system", sort=False):
            panel.plot(line["place"], line["value"], marker="o", markersize=3, label=system, **styles[str(system)])
            if "low" in line:
                panel.fill_between(
                    line["place"],
                    line["low"],
                    line["high"],
                    color=styles[str(system)]["color"],
                    alpha=0.18,
                    linewidth=0,
                )
        _say_if_empty(panel, rows)
        panel.set_ylabel(name)
        panel.set_xticks(range(len(buckets)), buckets, rotation=30)
    axes[-1].set_xlabel(label)
    _legend(figure, axes)
    return figure


@styled
def draw_dots(rows: pd.DataFrame, colours: Mapping[str, str], label: str) -> Figure:
    """A row of dots a system, and a tick at their mean; `rows`: system, value."""
    systems = list(rows["system"].unique())
    figure = Figure(figsize=(WIDTH, 0.7 + 0.26 * len(systems)), layout="constrained")
    panel = figure.subplots()
    for place, system in enumerate(systems):
        values = rows.loc[rows["system"] == system, "value"]
        panel.plot(values, [place] * len(values), "o", color=colours[system], markersize=4.5, alpha=0.75, clip_on=False)
        panel.plot(values.mean(), place, "|", color="#000000", markersize=12, markeredgewidth=1.2)
    panel.set_yticks(range(len(systems)), systems)
    panel.set_ylim(len(systems) - 0.5, -0.5)
    panel.grid(axis="y", color="#e5e5e5", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.set_xlabel(label)
    return figure


@styled
def _draw_bars(values: pd.Series, half: pd.Series, families: Mapping[str, str], label: str) -> Figure:
    figure = Figure(figsize=(WIDTH, 0.7 + 0.19 * len(values)), layout="constrained")
    panel = figure.subplots()
    for family, colour in COLOURS.items():
        places = [place for place, system in enumerate(values.index) if families[system] == family]
        if places:
            chosen, error = values.iloc[places], half.iloc[places]
            panel.barh(places, chosen, xerr=error, color=colour, height=0.7, ecolor="#333333", label=family)
    for place, (value, error) in enumerate(zip(values, half, strict=True)):
        at = (value + error, place)
        panel.annotate(f"{value:.3f}", at, (3, 0), textcoords="offset points", va="center", fontsize=7)
    panel.set_yticks(range(len(values)), values.index)
    panel.set_xlim(0, max(1.16 * (values + half).max(), 1e-3))
    panel.set_xlabel(label)
    panel.invert_yaxis()
    _legend(figure, [panel])
    return figure


@styled
def _draw_errors(
    errors: Mapping[str, npt.NDArray[np.int64]], random: str | None, styles: Mapping[str, dict[str, Any]], hard: int
) -> Figure:
    figure, axes = _panels(2 if random else 1)
    if random:
        _histogram(axes[0], errors[random], random, hard)
    panel = axes[-1]
    for system, found in errors.items():
        queries, share = _concentration(found)
        panel.plot(queries, share, label=system, **styles[system])
    panel.axvline(100 * _HARDEST, color="#999999", linewidth=0.6, zorder=0)
    panel.set_xscale("log")
    panel.xaxis.set_major_formatter("{x:g}")
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.set_ylim(0, 102)
    panel.set_xlabel("hardest queries, % (logarithmic)")
    panel.set_ylabel("share of errors, %")
    _legend(figure, [panel])
    return figure


@styled
def _draw_steps(
    panels: Sequence[tuple[pd.DataFrame, str, str]],
    styles: Mapping[str, dict[str, Any]],
    named: Mapping[str, str] | None = None,
) -> Figure:
    """A panel of lines over training steps a table (system, step, value), with its y axis's name and scale."""
    figure, axes = _panels(len(panels))
    for panel, (rows, name, scale) in zip(axes, panels, strict=True):
        for system, line in rows.sort_values("step", kind="stable").groupby("system", sort=False):
            label = (named or {}).get(str(system), str(system))
            panel.plot(line["step"], line["value"], marker="o", markersize=2.5, label=label, **styles[str(system)])
        _say_if_empty(panel, rows)
        panel.set_yscale(scale)
        if scale == "log":  # of ranks, from 1 and over one decade at least, so that some labels fall on it
            panel.set_ylim(0.9, max(12, 1.3 * rows["value"].max()))
            panel.yaxis.set_major_formatter("{x:g}")
            panel.yaxis.set_minor_formatter(NullFormatter())
        panel.set_ylabel(name)
        if name.endswith("%"):
            panel.set_ylim(0, 102)
    axes[-1].set_xlabel("training step")
    _legend(figure, axes)
    return figure


@styled
def _draw_ablation(ablation: pd.DataFrame, values: pd.Series, label: str) -> Figure:
    """Groups of bars by base: the base itself, then each variant, in the same colour everywhere."""
    bases, variants = list(ablation["base"].unique()), list(ablation["variant"].unique())
    rows = [(base, "before", base) for base in bases] + list(
        ablation[["base", "variant", "system"]].itertuples(index=False, name=None)
    )
    figure = Figure(figsize=(WIDTH, 2.4), layout="constrained")
    panel = figure.subplots()
    width = 0.85 / (len(variants) + 1)
    palette = ("#bbbbbb", BLUE, SKY, GREEN, ORANGE, VERMILION, PURPLE)
    for number, name in enumerate(["before", *variants]):
        here = [(base, values[system]) for base, variant, system in rows if variant == name]
        places = [bases.index(base) + (number - len(variants) / 2) * width for base, _ in here]
        bars = panel.bar(places, [value for _, value in here], width * 0.92, label=name, color=palette[number % 7])
        panel.bar_label(bars, fmt="%.3f", rotation=90, padding=2, fontsize=7)
    panel.set_xticks(range(len(bases)), bases)
    panel.set_ylim(0, 1.22 * max(values[system] for _, _, system in rows))
    panel.set_xlabel("started from")
    panel.set_ylabel(label)
    _legend(figure, [panel])
    return figure


@styled
def _draw_movement(movement: Movement) -> Figure:
    points = dict(list(movement.rows.groupby("kind", sort=False)))
    path = points["query"].sort_values("step")[["step", "x", "y"]].to_numpy(np.float64)
    figure = Figure(figsize=(WIDTH, 3.3), layout="constrained")
    panel = figure.subplots()
    for kind, marker, colour, size, name in (
        ("near_before", "o", "#999999", 14, "ranked best before"),
        ("near_after", "^", SKY, 16, "ranked best after"),
        ("relevant", "*", VERMILION, 90, "relevant"),
    ):
        if kind in points:
            face = "none" if kind == "near_before" else colour
            at = points[kind]
            panel.scatter(
                at["x"], at["y"], size, marker=marker, facecolors=face, edgecolors=colour, linewidths=0.7, label=name
            )
    segments = np.stack([path[:-1, 1:], path[1:, 1:]], axis=1)
    graded = LineCollection(list(segments), array=path[1:, 0], cmap="cividis_r", linewidths=2, zorder=3)
    panel.add_collection(graded)
    end = {"arrowstyle": "-|>", "color": BLACK, "lw": 1.5, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 12}
    panel.annotate("", tuple(path[-1, 1:]), tuple(path[-2, 1:]), arrowprops=end, zorder=4)
    panel.plot(
        *path[0, 1:], "s", color=BLACK, markersize=5, zorder=4, label=f"query before (rank {movement.rank_before:,})"
    )
    panel.plot([], [], marker=">", color=BLACK, linestyle="-", label=f"query after (rank {movement.rank_after:,})")
    figure.colorbar(graded, ax=panel, label="training step", shrink=0.6, aspect=25, pad=0.02)
    panel.set_xlabel("t-SNE, first dimension")
    panel.set_ylabel("t-SNE, second dimension")
    panel.set_aspect("equal", adjustable="datalim")
    panel.tick_params(labelbottom=False, labelleft=False, length=0)
    _legend(figure, [panel])
    return figure


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(WIDTH, 0.5 + 1.5 * count), layout="constrained")
    return figure, list(figure.subplots(count, 1, squeeze=False)[:, 0])


def _say_if_empty(panel: Axes, rows: pd.DataFrame) -> None:
    if rows.empty:
        panel.text(0.5, 0.5, "nothing was measured", transform=panel.transAxes, ha="center", color="#777777")


def _legend(figure: Figure, axes: Iterable[Axes]) -> None:
    """One legend below all panels, each name once, in as many columns as there is room for; the figure grows by it."""
    entries = {
        label: handle for panel in axes for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    if not entries:
        return
    columns = max(1, min(3, int(WIDTH / (0.55 + 0.062 * max(map(len, entries))))))
    figure.legend(list(entries.values()), list(entries), loc="outside lower center", ncols=columns, handlelength=2.6)
    figure.set_figheight(figure.get_figheight() + 0.15 * -(-len(entries) // columns))


def _histogram(panel: Axes, errors: npt.NDArray[np.int64], system: str, hard: int) -> None:
    """Queries by errors; the errors' axis is logarithmic from 1 on, 0 has a bin of its own."""
    top = max(int(errors.max()), 2)
    edges = np.unique(np.concatenate([[0], np.ceil(np.geomspace(1, top + 1, 4 * len(str(top)) + 1))]))
    panel.hist(errors, bins=list(edges), color=ORANGE, edgecolor="white", linewidth=0.4)
    if hard < top:
        panel.axvline(hard, color="#333333", linewidth=0.8, linestyle="--")
        panel.annotate("hard", (hard, 1), (3, -2), ("data", "axes fraction"), "offset points", va="top", fontsize=7)
    panel.set_xscale("symlog", linthresh=1, linscale=0.4)
    panel.xaxis.set_major_formatter("{x:g}")
    panel.set_xlim(0, edges[-1])
    panel.set_xlabel(f"pairwise errors a query, {system} (logarithmic)")
    panel.set_ylabel("queries")


def _concentration(errors: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Percent of queries, hardest first, and percent of all errors they hold, at up to 200 places."""
    held = np.cumsum(np.sort(errors)[::-1])
    places = np.unique(np.geomspace(1, len(held), 200).round().astype(np.int64))
    return 100 * places / len(held), 100 * held[places - 1] / max(int(held[-1]), 1)


def _shares(system: str, errors: pd.Series, hard: int) -> tuple[str, float, float, float]:
    """Percent of queries that are hard, and of errors that these hold, and that the hardest 5% of queries hold."""
    hardest = errors.nlargest(max(1, round(_HARDEST * len(errors))))
    total = max(int(errors.sum()), 1)
    difficult = errors[errors > hard]
    return system, 100 * len(difficult) / len(errors), 100 * difficult.sum() / total, 100 * hardest.sum() / total


def _trajectory_claims(material: Material, rows: pd.DataFrame, kind: Mapping[str, str]) -> list[Claim]:
    """Figure 4b's claims, among systems that start from the same one."""
    lines = rows.pivot(index="step", columns="system", values="value")
    begun = starts(material)
    claims = []
    for system, line in ((str(name), line.dropna()) for name, line in lines.items()):
        if len(line) < 2:
            continue
        ends = f"{system} ({kind[system]}) goes from {line.iloc[0]:.4f} to {line.iloc[-1]:.4f}"
        if kind[system] in ("dynamic", "ADORE"):
            above = int((line.iloc[1:] > line.iloc[0]).sum())
            numbers = f"{ends}, above its start at {above} of {len(line) - 1} looks"
            claims.append(Claim(bool(line.iloc[-1] > line.iloc[0]) and above == len(line) - 1, numbers))
        elif kind[system] == "random":
            claims.append(Claim(bool(line.iloc[-1] < line.iloc[0]), ends))
        elif kind[system] == "static hard":
            for other in map(str, lines):
                if kind[other] != "random" or begun.get(other) != begun.get(system):
                    continue
                both = lines[[system, other]].dropna().iloc[1:]
                below = int((both[system] < both[other]).sum())
                numbers = f"{system} (static hard) is below {other} (random) at {below} of {len(both)} looks"
                claims.append(Claim(2 * below > len(both), numbers))
    return claims


def _ablation_claims(material: Material, ablation: pd.DataFrame) -> list[Claim]:
    """Figure 5's claims: the live index helps every base, lambda weights any but STAR."""
    kind = kinds(material.systems)
    helps: list[tuple[str, str]] = []
    weighs: list[tuple[str, str]] = []
    for base, rows in ablation.groupby("base", sort=False):
        dynamic, adore = ([name for name in rows["system"] if kind[name] == each] for each in ("dynamic", "ADORE"))
        still = [str(base), *(name for name in rows["system"] if name not in dynamic + adore)]
        helps += [(name, other) for name in dynamic or adore for other in still]
        weighs += [(weighted, plain) for weighted in adore for plain in dynamic]
    on_star = set(ablation.loc[ablation["base"].map(kind) == "STAR", "system"])
    claims = []
    for each in tested(scores(material), list(dict.fromkeys(helps + weighs))):
        if (each.system, each.baseline) in weighs and each.system in on_star:
            gain = "a significant further gain on STAR" if each.higher else "no significant further gain on STAR"
            claims.append(Claim(not each.higher, f"{gain}, {each.text()}"))
        else:
            claims.append(Claim(each.higher, each.text()))
    return claims


def families(material: Material) -> dict[str, str]:
    """What each system is trained with, whichever encoders train: a key of `COLOURS`."""
    return {system: kind.removesuffix(" (query encoder)") for system, kind in kinds(material.systems).items()}
