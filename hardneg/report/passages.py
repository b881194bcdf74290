"""Queries before and after: their passages side by side, with the query's words marked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from markupsafe import Markup, escape

from hardneg.report.material import Examples, Material
from hardneg.report.text import MISSING

WORD = re.compile(r"\w+")
SHORTEST = 3
"""Shorter words, most of them articles and prepositions, are not marked."""
UNMARKED = frozenset(
    "and are but can for from has have how its not one that the their this was what when which with".split()  # noqa: SIM905
)


def side_by_side(material: Material) -> list[dict[str, Any]]:
    """What the page shows of each example: the query, its relevant passages, and both systems' rankings.

    Returns:
        query_id, text, change (both values of the main measure), step (whether one system starts from the other),
        relevant (text, ranks), sides (system, rows); a row has rank, text (with the query's words marked) and note.
        Empty without examples.
    """
    found = material.examples
    if found is None:
        return []
    starts = dict(zip(material.systems["system"], material.systems["starts_from"], strict=True))
    queries = [_example(found, query, starts.get(found.chosen, "")) for query in found.content["queries"]]
    # They come as wins, then losses. Taken in turns, the first few show both.
    wins = sum(_gain(found, query) > 0 for query in found.content["queries"])
    turns = zip_longest(queries[:wins], queries[wins:])
    return [query for pair in turns for query in pair if query is not None]


def _gain(found: Examples, query: Mapping[str, Any]) -> float:
    return float(query["values"].get(found.chosen, 0) - query["values"].get(found.baseline, 0))


def _example(found: Examples, query: Mapping[str, Any], starts_from: str) -> dict[str, Any]:
    wanted = words(query["text"])

    def shown(passage: str) -> Markup:
        content = found.content["passages"][passage]
        title = Markup("<b>{}</b> ").format(marked(content["title"], wanted)) if content["title"] else Markup()
        return title + marked(content["text"], wanted)

    pair = (found.baseline, found.chosen)
    return {
        "query_id": query["query_id"],
        "text": query["text"],
        "change": " → ".join(f"{system} {_value(query['values'].get(system))}" for system in pair),
        "step": starts_from == found.baseline,
        "relevant": [{"text": shown(one["id"]), "ranks": one["ranks"]} for one in query["relevant"]],
        "sides": [{"system": system, "rows": _ranking(query, system, shown)} for system in pair],
    }


def _value(value: float | None) -> str:
    return MISSING if value is None else f"{value:.3f}"


def _ranking(query: Mapping[str, Any], system: str, shown: Any) -> list[dict[str, Any]]:
    """The first passages of a ranking, and the first relevant one, wherever it is."""
    rows = [
        {"rank": row["rank"], "text": shown(row["id"]), "note": "judged, not relevant" if row["judged"] else ""}
        for row in query["above"][system]
    ]
    ranks = [(one["ranks"][system], one["id"]) for one in query["relevant"] if one["ranks"].get(system) is not None]
    if ranks:
        rank, first = min(ranks)
        rows.append({"rank": rank, "text": shown(first), "note": "relevant"})
    return rows


def words(text: str) -> frozenset[str]:
    """The words of a query that are marked in passages, in lower case."""
    found = (word.lower() for word in WORD.findall(text))
    return frozenset(word for word in found if len(word) >= SHORTEST and word not in UNMARKED)


def marked(text: str, wanted: Sequence[str] | frozenset[str]) -> Markup:
    """A text as HTML, escaped, each of the wanted words in `<mark>`."""
    parts, end = [], 0
    for word in WORD.finditer(text):
        if word[0].lower() in wanted:
            parts += [escape(text[end : word.start()]), Markup("<mark>{}</mark>").format(word[0])]
            end = word.end()
    return Markup("").join([*parts, escape(text[end:])])
