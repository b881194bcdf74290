"""All tables and figures of the report, in order. Imports nothing heavy, because every start reads the names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from hardneg.report.material import Item, Material

Shows = Literal["table", "figure", "both"]
Category = Literal[
    "Differences", "Effectiveness", "Training", "Why", "Compressed indexes", "Cost", "Negatives", "Appendix"
]


class Entry(NamedTuple):
    """The properties of a table or figure that are known before there are results.

    Attributes:
        shows: whether it has a table, a figure or both.
        category: the section of the report, as in `Item`.
        title: the heading, as in `Item`.
        part: the optional field of `Material` that it needs, or None.
        module: a module below `hardneg.report`. Its function with the item's name takes the material and, if set, the
            part.
    """

    shows: Shows
    category: Category
    title: str
    part: str | None
    module: str


_ENTRIES: Mapping[str, Entry] = {
    "wins": Entry("table", "Differences", "Wins and losses by query", None, "tables.wins"),
    "bm25_wins": Entry("table", "Differences", "Where BM25 wins", "lexical", "tables.bm25_wins"),
    "table2": Entry("table", "Effectiveness", "Table 2: Effectiveness", None, "tables.table2"),
    "effectiveness": Entry(
        "figure", "Effectiveness", "Effectiveness with confidence intervals", None, "figures.effectiveness"
    ),
    "collections": Entry(
        "table", "Effectiveness", "Effectiveness on several collections", "collections", "tables.collections"
    ),
    "figure5": Entry("figure", "Effectiveness", "Figure 5: Ablation of ADORE", "ablation", "figures.figure5"),
    "seeds": Entry("both", "Effectiveness", "Variation across seeds", "seeds", "figures.seeds"),
    "losses": Entry("figure", "Training", "Training curves", "losses", "figures.losses"),
    "table1": Entry("table", "Why", "Table 1: Total and top-K pairwise errors", "errors", "tables.table1"),
    "figure3": Entry("both", "Why", "Figure 3: Distribution of pairwise errors", "errors", "figures.figure3"),
    "figure4a": Entry("figure", "Why", "Figure 4a: Static and live hard negatives", "trajectory", "figures.figure4a"),
    "figure4b": Entry("figure", "Why", "Figure 4b: Effectiveness during training", "trajectory", "figures.figure4b"),
    "figure6": Entry("figure", "Why", "Figure 6: The path of one query", "movement", "figures.figure6"),
    "table3": Entry(
        "table",
        "Compressed indexes",
        "Table 3: Training index and serving index",
        "compression",
        "tables.compression",
    ),
    "table5": Entry(
        "table", "Compressed indexes", "Table 5: Size and effectiveness", "compression", "tables.compression"
    ),
    "table4": Entry("table", "Cost", "Table 4: Training time", None, "tables.costs"),
    "negatives": Entry(
        "table",
        "Negatives",
        "Positives and likely positives among negatives",
        "negatives",
        "tables.negatives",
    ),
    "negatives_by_rank": Entry(
        "figure", "Negatives", "Mined negatives by rank", "negatives", "figures.negatives_by_rank"
    ),
    "agreement": Entry("table", "Negatives", "Unjudged passages at the top ranks", "agreement", "tables.agreement"),
    "comparisons": Entry("table", "Appendix", "Differences and significance tests", None, "tables.comparisons"),
    "stages_cost": Entry("table", "Appendix", "Cost of every stage", None, "tables.costs"),
}


def _maker(name: str, entry: Entry) -> Callable[[Material], Item]:
    def make(material: Material) -> Item:
        from hardneg.report.material import Item

        part: tuple[Any, ...] = () if entry.part is None else (getattr(material, entry.part),)
        content = getattr(import_module(f"hardneg.report.{entry.module}"), name)(material, *part)
        return Item(name, entry.title, entry.category, **content)

    return make


ITEMS: dict[str, Callable[[Material], Item]] = {name: _maker(name, entry) for name, entry in _ENTRIES.items()}


def items(material: Material) -> list[Item]:
    """The items whose part of the material exists."""
    parts = {entry.part for entry in _ENTRIES.values() if entry.part and getattr(material, entry.part) is not None}
    return [ITEMS[name](material) for name, *_ in names(parts)]


def names(parts: set[str]) -> list[tuple[str, Shows, Category, str]]:
    """Name, `shows`, category and title of each item of `items`. The workflow declares its output files from these.

    Args:
        parts: the optional fields of `Material` that will exist.
    """
    return [
        (name, entry.shows, entry.category, entry.title)
        for name, entry in _ENTRIES.items()
        if entry.part is None or entry.part in parts
    ]
