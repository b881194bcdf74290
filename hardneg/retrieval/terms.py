"""What Lucene makes of a word: its stem, or nothing of a stop word."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from hardneg.retrieval.java import start_jvm
from hardneg.retrieval.languages import analyser_of

# From a word to its term; None of a word that is not indexed.
TermOf = Callable[[str], str | None]


def analysis(language: str, heap_mib: int) -> TermOf:
    """A function from words to the terms that BM25 compares; of a word with several, the first.

    Args:
        language: one of `hardneg.data.languages.LANGUAGES`.
        heap_mib: maximum heap of the JVM in MiB; ignored if the JVM is already running.

    Raises:
        HardnegError: no Java 21.
    """
    java, analyser = start_jvm(heap_mib), analyser_of(language)
    if analyser is None:
        analyzer = java("io.anserini.index.IndexCollection").DEFAULT_ANALYZER
    else:
        analyzer = java("io.anserini.analysis.AnalyzerMap").getLanguageSpecificAnalyzer(analyser)
    utils = java("io.anserini.analysis.AnalyzerUtils")

    @cache
    def term(word: str) -> str | None:
        found = utils.analyze(analyzer, word).toArray()
        return str(found[0]) if found else None

    return term
