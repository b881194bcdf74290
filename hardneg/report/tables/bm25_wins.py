"""Queries on which BM25 is better than the best other system."""

from __future__ import annotations

from hardneg.report.content import Content
from hardneg.report.material import Lexical, Material


def bm25_wins(material: Material, found: Lexical) -> Content:
    """The queries that BM25 wins, with their texts, the largest gain first."""
    names = {"query_id": "query", "bm25": found.system, "other": found.other}
    table = found.rows[["query_id", "text", "bm25", "other"]].rename(columns=names)
    return {
        "caption": f"Queries of {material.split} of {material.dataset} on which {found.system} has a better "
        f"{material.main_measure} than {found.other}, the best other system; the largest gain first.",
        "here": lexical_wins(found) + _lengths(found),
        "table": table,
        "digits": dict.fromkeys((found.system, found.other), 4),
    }


def lexical_wins(found: Lexical) -> str:
    """How often BM25 wins, in a sentence."""
    won = len(found.rows)
    if won == 0:
        return f"{found.system} is better than {found.other} on none of {found.queries:,} queries."
    return (
        f"{found.system} is better than {found.other} on {won:,} of {found.queries:,} queries "
        f"({won / found.queries:.0%}) and worse on {found.lost:,}."
    )


def _lengths(found: Lexical) -> str:
    if not len(found.rows) or not found.lost:
        return ""
    won, lost = f"{found.words_won:.1f}", f"{found.words_lost:.1f}"
    return f" The queries that it wins have {won} words on average, those that it loses {lost}."
