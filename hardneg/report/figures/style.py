"""Colours, line styles and sizes, for a column of 8 cm. Colours stand for negatives, line styles for systems."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

import matplotlib
from matplotlib.figure import Figure

from hardneg.report.claims.kinds import kinds
from hardneg.report.material import Material

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

# The palette of Okabe and Ito, which colour-blind readers can distinguish.
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
WIDTH = 3.4  # inches; one column of a two-column page
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
_P = ParamSpec("_P")


def styled(draw: Callable[_P, Figure]) -> Callable[_P, Figure]:
    """Decorate a drawing function to use `STYLE`. Saving needs `STYLE` too, so that the bytes repeat."""

    @wraps(draw)
    def drawn(*args: _P.args, **kwargs: _P.kwargs) -> Figure:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


def line_styles(material: Material) -> dict[str, dict[str, Any]]:
    """The colour (by negatives) and dashes (by order) of each system's lines."""
    drawn: dict[str, int] = {}
    styles: dict[str, dict[str, Any]] = {}
    for system, family in families(material).items():
        colour = COLOURS[family]
        styles[system] = {"color": colour, "linestyle": DASHES[drawn.get(colour, 0) % len(DASHES)]}
        drawn[colour] = drawn.get(colour, 0) + 1
    return styles


def families(material: Material) -> dict[str, str]:
    """The kind of negatives of each system, without regard to which encoders are trained: a key of `COLOURS`."""
    return {system: kind.removesuffix(" (query encoder)") for system, kind in kinds(material.systems).items()}
