"""FAISS indexes from a factory string: checked, built and searched.

The factory string is FAISS's own language ("Flat", "PQ16", "IVF256,PQ16", "HNSW32" ...); scores are inner products.
faiss-cpu and faiss-gpu have the same interface, and either will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import faiss
import numpy as np
import torch

from hardneg.artifacts import atomic_path
from hardneg.errors import HardnegError
from hardneg.progress import Progress
from hardneg.search.exact import BLOCK, QUERY_BATCH, checked_queries, require_finite
from hardneg.search.factory import new_index, reason
from hardneg.search.vectors import VectorStore


def build_index(
    vectors: VectorStore, factory: str, path: Path, *, train_rows: int, seed: int, progress_file: Path | None = None
) -> dict[str, str | int]:
    """Build an index over all vectors, in the order of their positions, and write it to `path` atomically.

    Args:
        vectors: what is indexed; read in blocks, so that memory holds the index and one block.
        factory: FAISS's factory string.
        path: the file to write, readable by `faiss.read_index`.
        train_rows: how many vectors, drawn without replacement, an index that needs training is trained on.
        seed: of that draw.
        progress_file: where progress is written.

    Returns:
        Facts for the manifest: factory, metric, rows, dim, train_rows (0 where nothing was trained), bytes.

    Raises:
        HardnegError: see `hardneg.search.factory.check_factory`; or the training sample is too small, a vector is not
            finite, or the file cannot be written.
    """
    index = new_index(factory, vectors.dim)
    trained = 0 if index.is_trained else min(train_rows, vectors.rows)
    try:
        if not index.is_trained:
            drawn = np.random.default_rng(seed).choice(vectors.rows, trained, replace=False)
            sample = vectors.take(np.sort(drawn))
            require_finite(torch.from_numpy(sample), "sampled passage", 0)
            index.train(sample)
        with Progress("index", vectors.rows, "vectors", progress_file) as progress:
            for start in range(0, vectors.rows, BLOCK):
                block = vectors.block(start, min(start + BLOCK, vectors.rows))
                require_finite(torch.from_numpy(block), "passage", start)
                index.add(block)
                progress.advance(len(block))
    except RuntimeError as fault:
        raise HardnegError(
            f"FAISS could not build the index {factory}.",
            found=f"{vectors.rows:,} vectors, {trained:,} of them to train on: {reason(fault)}",
            remedy="train on more vectors, or choose an index with fewer centroids.",
        ) from None
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        # Through a stream of our own: FAISS's own file writer says nothing when the last bytes do not fit on the disk.
        faiss.write_index(index, faiss.PyCallbackIOWriter(stream.write))  # type: ignore[attr-defined]
    return {
        "factory": factory,
        "metric": "inner product",
        "rows": vectors.rows,
        "dim": vectors.dim,
        "train_rows": trained,
        "bytes": path.stat().st_size,
    }


class FaissSearcher:
    """Searches an index written by `build_index`, with the interface of `ExactSearcher`.

    Queries run in batches of `query_batch`, the last one filled up with zeros, since FAISS too gives other last bits
    to other batch sizes. Results are ordered by score, then by ascending position; which of several passages that
    tie with the k-th are returned is FAISS's choice.

    Args:
        path: the index.
        devices: CUDA devices share the index where FAISS was built for GPUs; otherwise the CPU searches.
        query_batch: queries in one call of FAISS; see `ExactSearcher`.

    Attributes:
        rows: passages in the index.
        dim: the width of its vectors.

    Raises:
        HardnegError: the file is missing or no index, or FAISS has no GPU form of it that fits there.
    """

    def __init__(
        self, path: Path, devices: Sequence[torch.device] = (torch.device("cpu"),), query_batch: int = QUERY_BATCH
    ) -> None:
        try:
            index = faiss.read_index(str(path))
        except RuntimeError as fault:
            raise HardnegError(
                "The index is not readable.",
                where=str(path),
                found=reason(fault),
                remedy="delete that stage's folder and build the index again.",
            ) from None
        self.rows: int = index.ntotal
        self.dim: int = index.d
        gpus = [device.index or 0 for device in devices if device.type == "cuda"]
        if gpus and faiss.get_num_gpus() > 0:
            options = faiss.GpuMultipleClonerOptions()
            options.shard = True
            try:
                index = faiss.index_cpu_to_gpus_list(index, co=options, gpus=gpus)
            except RuntimeError as fault:
                raise HardnegError(
                    "FAISS could not move the index to the GPUs.",
                    where=str(path),
                    found=reason(fault),
                    remedy="search it on the CPU (device: cpu) or on more GPUs.",
                ) from None
        self._index = index
        self._batch = np.zeros((query_batch, self.dim), dtype=np.float32)

    def search(self, queries: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Search all passages.

        Args:
            queries: [n, dim] float, on any device; no gradient flows through the search.
            k: how many passages a query gets, at least 1.

        Returns:
            positions [n, k'] int64 and scores [n, k'] float32, best first, on the queries' device; k' = min(k, rows).
            An index that looks at some of its lists only may find fewer: the row then ends with position -1, score
            -inf.

        Raises:
            HardnegError: a query vector is not finite or has another width than the index.
        """
        checked = checked_queries(queries, self.dim).cpu().numpy()
        k = min(k, self.rows)
        positions = np.empty((len(checked), k), dtype=np.int64)
        scores = np.empty((len(checked), k), dtype=np.float32)
        for start in range(0, len(checked), len(self._batch)):
            batch = checked[start : start + len(self._batch)]
            self._batch[: len(batch)] = batch
            self._batch[len(batch) :] = 0
            found, where = (part[: len(batch)] for part in self._index.search(self._batch, k))
            found[where < 0] = -np.inf
            order = np.lexsort((where, -found), axis=1)
            positions[start : start + len(batch)] = np.take_along_axis(where, order, axis=1)
            scores[start : start + len(batch)] = np.take_along_axis(found, order, axis=1)
        return torch.from_numpy(positions).to(queries.device), torch.from_numpy(scores).to(queries.device)
