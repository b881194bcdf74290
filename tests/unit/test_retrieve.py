"""Rankings in parts: the same rows however many queries are searched at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hardneg.retrieval.search import retrieve as module
from hardneg.retrieval.search.exact import ExactSearcher
from hardneg.retrieval.search.retrieve import Ranking, retrieve
from hardneg.retrieval.search.sizes import QUERY_BATCH
from hardneg.retrieval.search.vectors import VectorStore

QUERIES, PASSAGES, DEPTH = 3 * QUERY_BATCH + 5, 300, 7


class Counting:
    """A searcher that counts what it is asked; every fifth query finds one passage less."""

    def __init__(self, searcher: ExactSearcher) -> None:
        self.searcher = searcher
        self.asked: list[int] = []

    def search(self, queries: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        first = sum(self.asked)
        self.asked.append(len(queries))
        positions, scores = self.searcher.search(queries, k)
        positions[torch.arange(first, first + len(queries)) % 5 == 0, -1] = -1
        return positions, scores


@pytest.mark.parametrize(
    ("hits", "batches", "parts"),
    [(8_000_000, 64, 1), (2 * QUERY_BATCH * DEPTH, 64, 2), (1, 64, 4), (8_000_000, 1, 4)],
)
def test_parts_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hits: int, batches: int, parts: int
) -> None:
    rng = np.random.default_rng(0)
    queries, passages = (rng.standard_normal((count, 8)).astype(np.float32) for count in (QUERIES, PASSAGES))
    np.save(tmp_path / "queries.npy", queries)
    np.save(tmp_path / "passages.npy", passages)
    monkeypatch.setattr(module, "HITS_AT_ONCE", hits)
    monkeypatch.setattr(module, "BATCHES_AT_ONCE", batches)
    searcher = Counting(ExactSearcher(VectorStore([tmp_path / "passages.npy"])))
    found = list(retrieve(searcher, tmp_path / "queries.npy", DEPTH, "search"))
    assert len(found) == len(searcher.asked) == parts
    ranking = Ranking(*(np.concatenate(columns) for columns in zip(*found, strict=True)))
    counts = np.where(np.arange(QUERIES) % 5 == 0, DEPTH - 1, DEPTH)
    assert np.array_equal(ranking.query, np.repeat(np.arange(QUERIES), counts))
    assert np.array_equal(ranking.rank, np.concatenate([np.arange(1, count + 1) for count in counts]))
    scores = queries @ passages.T
    best = np.argsort(-scores, axis=1)[:, :DEPTH]
    kept = np.arange(DEPTH) < counts[:, None]
    assert np.array_equal(ranking.passage, best[kept])
    assert np.allclose(ranking.score, np.take_along_axis(scores, best, axis=1)[kept], atol=1e-5)
