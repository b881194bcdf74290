"""Figure 6: one query's path during training."""

from __future__ import annotations

from functools import partial

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from hardneg.report.claims.verdicts import Claim, verdict
from hardneg.report.content import Content
from hardneg.report.figures.panels import legend
from hardneg.report.figures.style import (
    BLACK,
    SKY,
    VERMILION,
    WIDTH,
    styled,
)
from hardneg.report.material import Material, Movement


def figure6(material: Material, movement: Movement) -> Content:
    """The path of one query's vector during training."""
    numbers = f"its first relevant passage moves from rank {movement.rank_before:,} to {movement.rank_after:,}"
    return {
        "caption": f"t-SNE of one query of {material.analysis_split} of {material.dataset}, “{movement.text}”, during "
        f"training of {movement.system}, with its relevant passages and the top-ranked passages before and after. The "
        "axes have no unit, and only distances between near neighbours are meaningful.",
        "paper": "For a query of TREC DL Doc (MS MARCO documents), ADORE on BM25 Neg maps the query closer to the "
        "relevant documents.",
        "here": verdict(
            [Claim(movement.rank_after < movement.rank_before, numbers, "its rank does not rise")],
            "This is a single query, not evidence; if it was chosen because its rank rises most, it can hardly fail.",
            "",
        ),
        "figure": partial(_draw_movement, movement),
    }


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
    legend(figure, [panel])
    return figure
