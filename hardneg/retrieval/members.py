"""Rankings in a joined collection: a query finds passages of its own collection only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hardneg.data.members import members_of
from hardneg.retrieval.lexical import BRIEF, Hits, build_index, search
from hardneg.retrieval.search.exact import ExactSearcher
from hardneg.retrieval.search.retrieve import Ranking
from hardneg.retrieval.search.sizes import HITS_AT_ONCE, QUERY_BATCH
from hardneg.retrieval.search.vectors import VectorStore
from hardneg.stages.progress import Progress


class VectorsOf(VectorStore):
    """The rows `first` to `last` (exclusive) of other vectors, as if they were all."""

    def __init__(self, whole: VectorStore, first: int, last: int) -> None:
        self._whole, self._first = whole, first
        self.dim, self.dtype, self.rows = whole.dim, whole.dtype, last - first

    def block(self, start: int, stop: int) -> np.ndarray:
        """See `VectorStore.block`."""
        if not 0 <= start <= stop <= self.rows:
            raise IndexError(f"rows {start} to {stop} of {self.rows}")
        return self._whole.block(self._first + start, self._first + stop)

    def mapped(self, start: int, stop: int) -> np.ndarray | None:
        """See `VectorStore.mapped`."""
        return self._whole.mapped(self._first + start, self._first + stop)

    def forget(self) -> None:
        """See `VectorStore.forget`."""
        self._whole.forget()

    def take(self, positions: Any) -> np.ndarray:
        """See `VectorStore.take`."""
        wanted = np.asarray(positions, dtype=np.int64)
        if wanted.size and not (wanted.min() >= 0 and wanted.max() < self.rows):
            raise IndexError(f"positions {wanted.min()} to {wanted.max()} of {self.rows} rows")
        return self._whole.take(wanted + self._first)


def retrieve_within(
    vectors: VectorStore,
    facts: Mapping[str, Any],
    split: str,
    queries: Path,
    depth: int,
    devices: Sequence[torch.device],
    label: str,
    progress: Path | None = None,
) -> Iterator[Ranking]:
    """Rank `depth` passages of its own collection for each query vector of a split; yields consecutive parts.

    Args:
        vectors: of the passages.
        facts: of the joined collection.
        split: of the queries.
        queries: `.npy` file [queries, dim].
        depth: passages a query.
        devices: where to search, exactly.
        label: for the progress.
        progress: the file for progress lines.
    """
    asked = np.load(queries, mmap_mode="r")
    at_once = QUERY_BATCH * max(HITS_AT_ONCE // (depth * QUERY_BATCH), 1)
    with Progress(label, len(asked), "queries", progress) as bar:
        for member in (member for member in members_of(facts) if member.queries[split]):
            first, own = member.passages.start, member.queries[split]
            searcher = ExactSearcher(VectorsOf(vectors, first, member.passages.stop), devices)
            for start in range(own.start, own.stop, at_once):
                chunk = torch.from_numpy(np.array(asked[start : min(start + at_once, own.stop)]))
                positions, scores = (part.numpy() for part in searcher.search(chunk, depth))
                query, rank = np.nonzero(positions >= 0)
                yield Ranking(query + start, positions[query, rank] + first, rank + 1, scores[query, rank])
                bar.advance(len(chunk))


def index_within(
    passages: Iterable[str], facts: Mapping[str, Any], folder: Path, **settings: Any
) -> tuple[list[str], dict[str, int]]:
    """Index each collection by itself, so that BM25 counts words in it alone.

    Args:
        passages: the texts of all, in order of position.
        facts: of the joined collection.
        folder: where an index `lucene/<number>` is made of each.
        settings: further arguments of `hardneg.retrieval.lexical.build_index`.

    Returns:
        The files, and the counts of `build_index`, summed up.
    """
    texts, files, counts = iter(passages), [], {"passages": 0, "blank": 0, "tokens": 0}
    members = members_of(facts)
    brief = sum(len(member.passages) for member in members) <= BRIEF
    for number, member in enumerate(members):
        index, size = _index(folder, number), len(member.passages)
        index.parent.mkdir(exist_ok=True)
        found = build_index(islice(texts, size), index, total=size, brief=brief, **settings)
        counts = {name: counts[name] + count for name, count in found.items()}
        files += [path.relative_to(folder).as_posix() for path in index.iterdir()]
    return files, counts


def search_within(
    folder: Path, facts: Mapping[str, Any], split: str, queries: Iterable[str], k: int, **settings: Any
) -> Iterator[Hits]:
    """Rank passages of its own collection for each query by BM25.

    Args:
        folder: that `index_within` wrote to.
        facts: of the joined collection.
        split: of the queries.
        queries: the texts of all queries of the split, in order.
        k: hits a query, at most.
        settings: further arguments of `hardneg.retrieval.lexical.search`.
    """
    texts = iter(queries)
    for number, member in enumerate(members_of(facts)):
        own = member.queries[split]
        if own:
            found = search(_index(folder, number), islice(texts, len(own)), k, total=len(own), **settings)
            for positions, scores in found:
                yield positions + np.int32(member.passages.start), scores


def _index(folder: Path, number: int) -> Path:
    return folder / "lucene" / f"{number:03d}"
