"""BM25 through Pyserini: a Lucene index of the passages, and ranked lists for queries.

The analysis is Pyserini's default for English (Porter stemmer, stop words removed). The work is done by the Java
classes that Pyserini wraps. Its `LuceneSearcher` itself is not used, since it rounds scores to 1e-4, shifts tied ones
and hands over hits one object at a time.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hardneg.data.prepare import in_groups
from hardneg.errors import HardnegError
from hardneg.retrieval.java import JavaClass, start_jvm
from hardneg.stages.progress import Progress

# Lucene breaks ties by ascending docid, compared as text: padded with zeros that is the order of positions.
DOCID = "{:010d}"

BATCH_PASSAGES = 1000
BATCH_CHARACTERS = 8_000_000

# What Java's trim() removes. A passage of nothing else is refused by Anserini as an empty document.
BLANK = "".join(map(chr, range(0x21)))

Hits = tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]


def build_index(
    passages: Iterable[str],
    index: Path,
    *,
    heap_mib: int = 2048,
    threads: int = 1,
    progress_file: Path | None = None,
    total: int | None = None,
) -> dict[str, int]:
    """Index passages with Lucene.

    Streams: at most a batch of passages and Lucene's buffer, a quarter of the heap, are held. The index is written
    under a temporary name and renamed to `index` when complete, replacing what was there. How passages fall to
    threads and segments changes no ranking and no score; the bytes of an index hold random ids and times.

    Args:
        passages: the text of each, in the order of their positions (row numbers in `passages.parquet`).
        index: the folder to write.
        heap_mib: the JVM's largest heap in MiB, where this process has not started it yet.
        threads: indexing threads.
        progress_file: where lines of progress go.
        total: how many passages there are, for the progress bar, where known.

    Returns:
        Counts: `passages`, `blank` (white space only: they have a position, are not indexed and never found),
        `tokens` (indexed, after analysis).

    Raises:
        HardnegError: no Java 21, not enough heap, or the index could not be written.
    """
    java = start_jvm(heap_mib)
    temporary = index.with_name(f".{index.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # of a killed run
    seen = indexed = 0
    with _java_faults(index), Progress("bm25 index", total, "passages", progress_file) as progress:
        arguments = {"input": "", "collection": "JsonCollection", "index": temporary.absolute(), "threads": threads}
        indexer = java("io.anserini.index.SimpleIndexer")(
            [word for name, value in arguments.items() for word in (f"-{name}", str(value))]
        )
        # Below Anserini lies Lucene's writer. Anserini gives it a buffer of 2 GiB whatever the heap, and keeps to
        # itself what goes wrong on closing.
        writer = indexer.writer
        writer.getConfig().setRAMBufferSizeMB(java("java.lang.Runtime").getRuntime().maxMemory() / 2**20 / 4)
        try:
            for batch in in_groups(passages, BATCH_PASSAGES, len, BATCH_CHARACTERS):
                documents = tuple(
                    json.dumps({"id": DOCID.format(position), "contents": text})
                    for position, text in enumerate(batch, seen)
                    if text.strip(BLANK)
                )
                if indexer.addRawDocuments(documents) != len(documents):
                    cause = writer.getTragicException()
                    raise _fault(index, cause.toString() if cause else f"a passage refused at {seen:,} or later")
                seen += len(batch)
                indexed += len(documents)
                progress.advance(len(batch))
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


def search(
    index: Path,
    queries: Iterable[str],
    k: int,
    *,
    k1: float,
    b: float,
    threads: int,
    heap_mib: int = 2048,
    batch: int = 1024,
    progress_file: Path | None = None,
    total: int | None = None,
) -> Iterator[Hits]:
    """Rank passages for each query by BM25, best first, ties by ascending passage position.

    Lucene's form, with each term of the query counted as often as it occurs there:
    sum over t of ln(1 + (N - n_t + 0.5) / (n_t + 0.5)) * tf / (tf + k1 * (1 - b + b * length / mean length)),
    where N counts passages with at least one term after analysis, and a length of 40 or more is rounded down to four
    significant bits (Lucene keeps it in one byte). Scores and order are the same for any number of threads.

    Args:
        index: the folder that `build_index` wrote.
        queries: their texts, streamed.
        k: hits wanted for each query, at least 1.
        k1: saturation of term frequency.
        b: strength of length normalisation, 0 to 1.
        threads: queries searched at once.
        heap_mib: the JVM's largest heap in MiB, where this process has not started it yet.
        batch: queries whose hits are held at once.
        progress_file: where lines of progress go.
        total: how many queries there are, for the progress bar, where known.

    Yields:
        For each query in order, passage positions (int32) and scores (float32), both of shape [hits], hits <= k:
        only passages with a term of the query are hits, so a blank query has none.

    Raises:
        HardnegError: no Java 21, not enough heap, or no index there.
    """
    java = start_jvm(heap_mib)
    with _java_faults(index), contextlib.closing(_open(java, index)) as reader:
        searcher = java("org.apache.lucene.search.IndexSearcher")(reader.getContext())
        searcher.setSimilarity(java("org.apache.lucene.search.similarities.BM25Similarity")(k1, b))
        searcher.setMaxClauseCount(2**31 - 1)  # Lucene refuses queries of more than 1024 terms otherwise
        generator = java("io.anserini.search.query.BagOfWordsQueryGenerator")()
        analyzer = java("io.anserini.index.IndexCollection").DEFAULT_ANALYZER
        field, kind = java("org.apache.lucene.search.SortField"), java("org.apache.lucene.search.SortField$Type")
        by_score_then_docid = java("org.apache.lucene.search.Sort")(field.FIELD_SCORE, field("id", kind.STRING_VAL))
        scored = java("io.anserini.search.ScoredDocs")

        def rank(query: str) -> Hits:
            parsed = generator.buildQuery("contents", analyzer, query)
            hits = scored.fromTopDocs(searcher.search(parsed, k, by_score_then_docid, True), searcher)
            return np.array([int(docid) for docid in hits.docids], np.int32), np.array(hits.scores, np.float32)

        with (
            ThreadPoolExecutor(threads) as pool,  # jnius lets other Python threads run while Java works
            Progress("bm25 search", total, "queries", progress_file) as progress,
        ):
            for texts in in_groups(queries, batch):
                ranked = list(pool.map(rank, texts))
                progress.advance(len(ranked))
                yield from ranked


def _open(java: JavaClass, index: Path) -> JavaClass:
    """A Lucene reader of an index folder."""
    if not index.is_dir():  # Lucene would make the folder
        raise _fault(index, "no such folder")
    path = java("java.nio.file.Paths").get(str(index.absolute()))  # Java's working folder does not follow Python's
    return java("org.apache.lucene.index.DirectoryReader").open(java("org.apache.lucene.store.FSDirectory").open(path))


@contextlib.contextmanager
def _java_faults(index: Path) -> Iterator[None]:
    """Tell what went wrong in Java in the user's terms."""
    from jnius import JavaException

    try:
        yield
    except JavaException as fault:
        raise _fault(index, f"{fault.classname}: {fault.innermessage}") from fault


def _fault(index: Path, found: str) -> HardnegError:
    if any(sign in found for sign in ("no such folder", "IndexNotFoundException", "CorruptIndexException")):
        what = "A BM25 index cannot be read."
        remedy = "delete what is there and run the workflow again: it makes the index anew."
    else:
        what = "Lucene could not write or search a BM25 index."
        remedy = "free disk space if it ran out, or give Java a larger heap; then run the same command."
    return HardnegError(what, where=str(index), found=found, remedy=remedy)
