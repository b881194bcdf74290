"""BM25 through Pyserini: a Lucene index of the passages, and ranked lists for queries.

The analysis is Lucene's for the language of the texts, by default Pyserini's for English (Porter stemmer, stop
words removed). The work is done by the Java classes that Pyserini wraps. `LuceneSearcher` itself is not used: it rounds
scores to 1e-4, shifts tied scores, and returns hits one object at a time.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hardneg.data.languages import DEFAULT
from hardneg.data.prepare import in_groups
from hardneg.errors import HardnegError
from hardneg.retrieval.java import JavaClass, start_jvm
from hardneg.retrieval.languages import analyser_of, read_in
from hardneg.stages.progress import Progress

# Lucene breaks ties by ascending docid, compared as text. Zero-padding makes that the order of positions.
DOCID = "{:010d}"

BUFFER_MIB = 64  # of Lucene; a larger one is no faster

BRIEF = 50_000
"""Passages at most that are indexed sooner by code that Java has not optimized. The same code searches more slowly."""

BATCH_PASSAGES = 1000
BATCH_CHARACTERS = 8_000_000

# What Java's trim() removes. Anserini rejects a passage that holds nothing else as an empty document.
BLANK = "".join(map(chr, range(0x21)))

Hits = tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]


def build_index(
    passages: Iterable[str],
    index: Path,
    *,
    language: str = DEFAULT,
    heap_mib: int = 2048,
    threads: int = 1,
    progress_file: Path | None = None,
    total: int | None = None,
    brief: bool | None = None,
) -> dict[str, int]:
    """Index passages with Lucene.

    Passages are streamed: memory holds one batch and Lucene's buffer of 64 MiB, or a quarter of a heap that has less
    than four times as much. What is merged at the end is mapped, which the system may take back. The index is written
    under a temporary name and renamed to `index` when complete, replacing an older one. Rankings and scores do not
    depend on how passages are spread over threads and segments. The bytes of an index do vary: they contain random
    ids and times.

    Args:
        passages: the texts, in order of position (row number in `passages.parquet`).
        index: the folder to write.
        language: one of `hardneg.data.languages.LANGUAGES`.
        heap_mib: maximum heap of the JVM in MiB; ignored if the JVM is already running.
        threads: indexing threads.
        progress_file: where progress is written.
        total: number of passages, for the progress bar, if known.
        brief: Java runs for so few passages that it should not optimize its code; ignored if it is already running.
            None: it indexes these alone, and they are that few.

    Returns:
        Counts: `passages`, `blank` (white space only; such passages keep their position, but are not indexed and
        never retrieved), `tokens` (indexed, after analysis).

    Raises:
        HardnegError: no Java 21, not enough heap, or the index could not be written.
    """
    java = start_jvm(heap_mib, total is not None and total <= BRIEF if brief is None else brief)
    temporary = index.with_name(f".{index.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # left by a killed run
    with _java_faults(index), Progress("bm25 index", total, "passages", progress_file) as progress:
        indexer = _indexer(java, temporary, threads, analyser_of(language))
        writer = indexer.writer
        try:
            seen, indexed = _add(indexer, read_in(passages, language), index, progress)
            # Closed directly, not through Anserini, which hides faults on closing.
            writer.forceMerge(1)
            writer.close()
            with contextlib.closing(_open(java, temporary)) as reader:
                tokens = reader.getSumTotalTermFreq("contents")
        except BaseException:
            writer.rollback()
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    shutil.rmtree(index, ignore_errors=True)
    temporary.rename(index)
    return {"passages": seen, "blank": seen - indexed, "tokens": tokens}


def _indexer(java: JavaClass, folder: Path, threads: int, analyser: str | None) -> JavaClass:
    """An Anserini indexer that writes to `folder`."""
    arguments = {"input": "", "collection": "JsonCollection", "index": folder.absolute(), "threads": threads}
    arguments |= {"language": analyser} if analyser is not None else {}
    indexer = java("io.anserini.index.SimpleIndexer")(
        [word for name, value in arguments.items() for word in (f"-{name}", str(value))]
    )
    # Anserini sets a buffer of 2 GiB, whatever the heap.
    heap = java("java.lang.Runtime").getRuntime().maxMemory() / 2**20
    indexer.writer.getConfig().setRAMBufferSizeMB(min(heap / 4, BUFFER_MIB))
    return indexer


def _add(indexer: JavaClass, passages: Iterable[str], index: Path, progress: Progress) -> tuple[int, int]:
    """Add all passages that are not blank: the number of passages, and how many were indexed."""
    seen = indexed = 0
    for batch in in_groups(passages, BATCH_PASSAGES, len, BATCH_CHARACTERS):
        documents = tuple(
            json.dumps({"id": DOCID.format(position), "contents": text})
            for position, text in enumerate(batch, seen)
            if text.strip(BLANK)
        )
        if indexer.addRawDocuments(documents) != len(documents):
            cause = indexer.writer.getTragicException()
            raise _fault(index, cause.toString() if cause else f"passage {seen:,} or a later one was rejected")
        seen += len(batch)
        indexed += len(documents)
        progress.advance(len(batch))
    return seen, indexed


def search(
    index: Path,
    queries: Iterable[str],
    k: int,
    *,
    k1: float,
    b: float,
    threads: int,
    language: str = DEFAULT,
    heap_mib: int = 2048,
    batch: int = 1024,
    progress_file: Path | None = None,
    total: int | None = None,
) -> Iterator[Hits]:
    """Rank passages for each query by BM25, best first, ties by ascending passage position.

    Lucene's form of BM25, summed over the terms t of the query, repeated terms included:
    sum over t of ln(1 + (N - n_t + 0.5) / (n_t + 0.5)) * tf / (tf + k1 * (1 - b + b * length / mean length)).
    N counts passages with at least one term after analysis. Lengths of 40 or more are rounded down to four significant
    bits, since Lucene stores a length in one byte. Scores and order are the same for any number of threads.

    Args:
        index: the folder that `build_index` wrote.
        queries: their texts, streamed.
        k: maximum number of hits a query, at least 1.
        k1: saturation of term frequency.
        b: strength of length normalisation, 0 to 1.
        threads: queries searched at once.
        language: that of the index.
        heap_mib: maximum heap of the JVM in MiB; ignored if the JVM is already running.
        batch: queries whose hits are held in memory at once.
        progress_file: where progress is written.
        total: number of queries, for the progress bar, if known.

    Yields:
        For each query in order, passage positions (int32) and scores (float32), both of shape [hits], hits <= k.
        Hits share at least one term with the query, so a blank query has none.

    Raises:
        HardnegError: no Java 21, not enough heap, or no index there.
    """
    java = start_jvm(heap_mib)
    with _java_faults(index), contextlib.closing(_open(java, index)) as reader:
        rank = _ranker(java, reader, k, k1, b, analyser_of(language))
        with (
            ThreadPoolExecutor(threads) as pool,  # jnius lets other Python threads run while Java works
            Progress("bm25 search", total, "queries", progress_file) as progress,
        ):
            for texts in in_groups(read_in(queries, language), batch):
                ranked = list(pool.map(rank, texts))
                progress.advance(len(ranked))
                yield from ranked


def _ranker(
    java: JavaClass, reader: JavaClass, k: int, k1: float, b: float, analyser: str | None
) -> Callable[[str], Hits]:
    """A function that ranks the passages of an open index for one query."""
    searcher = java("org.apache.lucene.search.IndexSearcher")(reader.getContext())
    searcher.setSimilarity(java("org.apache.lucene.search.similarities.BM25Similarity")(k1, b))
    searcher.setMaxClauseCount(2**31 - 1)  # by default Lucene rejects queries of more than 1024 terms
    generator = java("io.anserini.search.query.BagOfWordsQueryGenerator")()
    if analyser is None:
        analyzer = java("io.anserini.index.IndexCollection").DEFAULT_ANALYZER
    else:
        analyzer = java("io.anserini.analysis.AnalyzerMap").getLanguageSpecificAnalyzer(analyser)
    field, kind = java("org.apache.lucene.search.SortField"), java("org.apache.lucene.search.SortField$Type")
    by_score_then_docid = java("org.apache.lucene.search.Sort")(field.FIELD_SCORE, field("id", kind.STRING_VAL))
    scored = java("io.anserini.search.ScoredDocs")

    def rank(query: str) -> Hits:
        parsed = generator.buildQuery("contents", analyzer, query)
        hits = scored.fromTopDocs(searcher.search(parsed, k, by_score_then_docid, True), searcher)
        return np.array([int(docid) for docid in hits.docids], np.int32), np.array(hits.scores, np.float32)

    return rank


def _open(java: JavaClass, index: Path) -> JavaClass:
    """A Lucene reader of an index folder."""
    if not index.is_dir():  # Lucene would create the folder
        raise _fault(index, "no such folder")
    path = java("java.nio.file.Paths").get(str(index.absolute()))  # Java's working folder does not follow Python's
    return java("org.apache.lucene.index.DirectoryReader").open(java("org.apache.lucene.store.FSDirectory").open(path))


@contextlib.contextmanager
def _java_faults(index: Path) -> Iterator[None]:
    """Turn Java exceptions into messages for the user."""
    from jnius import JavaException

    try:
        yield
    except JavaException as fault:
        raise _fault(index, f"{fault.classname}: {fault.innermessage}") from fault


def _fault(index: Path, found: str) -> HardnegError:
    if any(sign in found for sign in ("no such folder", "IndexNotFoundException", "CorruptIndexException")):
        what = "A BM25 index cannot be read."
        remedy = "delete it and run the workflow again, which rebuilds the index."
    else:
        what = "Lucene could not write or search a BM25 index."
        remedy = "free disk space, or give Java a larger heap (runtime.java_heap_mib); then run the same command."
    return HardnegError(what, where=str(index), found=found, remedy=remedy)
