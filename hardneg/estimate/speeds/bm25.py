"""BM25 with Lucene."""

from __future__ import annotations

from pathlib import Path

from hardneg.estimate.counts import Lengths
from hardneg.estimate.speeds.clock import affine, timed
from hardneg.estimate.speeds.measured import Bm25
from hardneg.estimate.speeds.synthetic import synthetic_texts
from hardneg.planning.plan import Plan

STOP_WORDS = 33  # as many as Lucene removes from English text


def bm25(plan: Plan, lengths: Lengths, folder: Path, count: int) -> Bm25:
    """Index two collections, one a fifth the size of the other, and search both.

    The cost per passage is their difference at depth 10, which both can fill. At the configured depth a small
    collection would return fewer hits, and the time to return hits would be counted as search time.
    """
    from hardneg.retrieval.lexical import build_index, search

    heap, settings = plan.config.runtime.java_heap_mib, plan.config.bm25
    texts = list(synthetic_texts(count, lengths.passage_characters, seed=3))
    queries = list(synthetic_texts(100, lengths.query_characters, seed=4, skipped=STOP_WORDS))
    depth = max(stage.settings["depth"] for stage in plan.of("bm25_run"))

    def each(path: Path, k: int) -> float:
        def ranked() -> None:
            for _ in search(path, queries, k, k1=settings.k1, b=settings.b, threads=1, heap_mib=heap):
                pass

        for _ in range(3):  # Java compiles frequently run code
            ranked()
        return min(timed(ranked) for _ in range(3)) / len(queries)

    sizes, paths = [count // 5, count], [folder / f"lucene-{name}" for name in ("small", "large")]
    index = 0.0
    for size, path in zip(sizes, paths, strict=True):
        part = texts[:size]
        index = sum(map(len, part)) / timed(lambda part=part, path=path: build_index(part, path, heap_mib=heap))  # type: ignore[misc]
    stored = sum(file.stat().st_size for file in paths[1].iterdir()) / sum(map(len, texts))
    _, slope = affine(sizes, [each(path, 10) for path in paths])
    return Bm25(index, stored, max(0.0, each(paths[1], depth) - slope * count), slope)
