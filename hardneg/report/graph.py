"""The layout of the stage graph: one column per depth, stages grouped by kind, lines from parents to children."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean
from typing import Any

import networkx as nx

BOX_WIDTH, BOX_HEIGHT = 176, 42

_COLUMN, _ROW, _GROUP, _HEADING, _MARGIN = BOX_WIDTH + 64, BOX_HEIGHT + 8, 14, 20, 12


@dataclass(frozen=True)
class Box:
    """A stage: its index, its top left corner (pixels), its parents' indices, and its time relative to the longest."""

    stage: Mapping[str, Any]
    place: int
    x: int
    y: int
    parents: Sequence[int]
    share: float


@dataclass(frozen=True)
class Line:
    """A line from a parent to a child. `implied`: a path through other stages connects them too."""

    parent: int
    child: int
    path: str
    implied: bool


@dataclass(frozen=True)
class Heading:
    """The heading above the stages of one kind."""

    text: str
    x: int
    y: int


@dataclass(frozen=True)
class Layout:
    """The drawing, in pixels."""

    width: int
    height: int
    boxes: Sequence[Box]
    lines: Sequence[Line]
    headings: Sequence[Heading]


def layout(stages: Sequence[Mapping[str, Any]]) -> Layout:
    """Lay out stages from left to right by depth, the longest path from a stage without parents.

    A column is grouped by kind. Kinds and stages are sorted by the position of their parents, so that few lines cross.

    Args:
        stages: kind, label, version, seconds, parents (indices into this list).

    Raises:
        networkx.NetworkXUnfeasible: the graph has a cycle.
    """
    graph = nx.DiGraph()
    graph.add_nodes_from(range(len(stages)))
    graph.add_edges_from((parent, child) for child, stage in enumerate(stages) for parent in stage["parents"])
    needed = nx.transitive_reduction(graph)
    longest = max((stage["seconds"] or 0.0 for stage in stages), default=0.0) or 1.0
    corners: dict[int, tuple[int, int]] = {}
    headings: list[Heading] = []
    bottom = 0
    for depth, column in enumerate(nx.topological_generations(graph)):
        x, y = _MARGIN + depth * _COLUMN, _MARGIN
        for kind, middle, places in _by_kind(column, stages, needed, corners):
            y = max(y, round(middle) - len(places) * _ROW // 2)
            headings.append(Heading(f"{kind} ({len(places)})" if len(places) > 1 else kind, x, y + _HEADING - 8))
            y += _HEADING
            for place in places:
                corners[place] = (x, y)
                y += _ROW
            y += _GROUP
        bottom = max(bottom, y)
    return Layout(
        width=max((x for x, _ in corners.values()), default=0) + BOX_WIDTH + _MARGIN,
        height=bottom,
        boxes=[
            Box(stage, place, *corners[place], stage["parents"], (stage["seconds"] or 0.0) / longest)
            for place, stage in enumerate(stages)
        ],
        lines=[
            Line(parent, child, _path(corners[parent], corners[child]), not needed.has_edge(parent, child))
            for parent, child in sorted(graph.edges, key=lambda edge: edge[::-1])
        ],
        headings=headings,
    )


def _by_kind(
    column: Sequence[int],
    stages: Sequence[Mapping[str, Any]],
    needed: nx.DiGraph,
    corners: Mapping[int, tuple[int, int]],
) -> list[tuple[str, float, list[int]]]:
    """The kinds of a column from top to bottom: name, mean height of the parents, and the stages."""

    def middle(place: int) -> float:
        return fmean([corners[parent][1] for parent in needed.predecessors(place)] or [0])

    def kind(place: int) -> str:
        return str(stages[place]["kind"])

    groups = []
    for name, places in groupby(sorted(column, key=kind), key=kind):
        ordered = sorted(places, key=lambda place: (middle(place), place))
        groups.append((name, fmean(map(middle, ordered)), ordered))
    return sorted(groups, key=lambda group: (group[1], group[2]))


def _path(parent: tuple[int, int], child: tuple[int, int]) -> str:
    """A curve from the middle of the parent's right side to that of the child's left side."""
    (x1, y1), (x2, y2) = parent, child
    x1, y1, y2 = x1 + BOX_WIDTH, y1 + BOX_HEIGHT // 2, y2 + BOX_HEIGHT // 2
    return f"M{x1} {y1}C{x1 + 40} {y1} {x2 - 40} {y2} {x2} {y2}"
