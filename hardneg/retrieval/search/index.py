"""FAISS indexes from a factory string: building, searching, and the vectors that they score with.

Factory strings are FAISS's ("Flat", "PQ16", "IVF256,PQ16", "HNSW32" ...); scores are inner products. Works with
faiss-cpu and with faiss-gpu.

An index is stored in one or more files. Each is a complete FAISS index over consecutive vectors, with the same
training, so an index may be larger than memory as long as each file fits. Files are memory-mapped, so that the
operating system keeps as much of them in memory as there is room for.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import torch

from hardneg.errors import HardnegError
from hardneg.retrieval.search.blocks import require_finite
from hardneg.retrieval.search.exact import checked_queries
from hardneg.retrieval.search.factory import (
    centroids,
    graphs_of,
    ivf_of,
    new_index,
    parts,
    reason,
    require_decoded,
    searches_apart,
    transforms_of,
)
from hardneg.retrieval.search.sizes import BLOCK, QUERY_BATCH
from hardneg.retrieval.search.vectors import VectorStore
from hardneg.stages.artifacts import CHECKPOINTS, atomic_path
from hardneg.stages.progress import Progress

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

TRAINED = "trained-index"
# Vectors that a product quantiser encodes at once. Each needs 1 KiB of distances for each of the M sub-quantisers: a
# whole block, FAISS's default, would need 768 MiB for PQ48. The codes are the same.
ENCODED_AT_ONCE = 4096


def build_index(
    vectors: VectorStore,
    factory: str,
    folder: Path,
    *,
    train_rows: int,
    seed: int,
    rows_per_file: int,
    progress_file: Path | None = None,
) -> dict[str, Any]:
    """Build an index over all vectors, in order of position, in files `index-0000-of-0003` and so on.

    The index is trained once, on a sample; then each file is filled and written atomically. An interrupted build can be
    resumed: the next build in the same folder reuses the trained index and the finished files.

    Args:
        vectors: the vectors to index; read in blocks, so that memory holds the sample, or one file and one block.
        factory: FAISS factory string.
        folder: where the files are written, readable by `faiss.read_index`; used by this build only.
        train_rows: size of the training sample, drawn without replacement.
        seed: seed of that sample.
        rows_per_file: vectors in a file; the last file may hold fewer.
        progress_file: where progress is written.

    Returns:
        Facts for the manifest: factory, metric, rows, dim, train_rows (0 if nothing was trained), centroids of the
        largest quantiser, code_bytes (bytes of one vector's code; None for graphs), files (in the order of their
        rows), bytes (of all files).

    Raises:
        HardnegError: as `hardneg.retrieval.search.factory.check_factory`; or the training sample is too small, a
            vector is not finite, or a file cannot be written.
    """
    index = new_index(factory, vectors.dim)
    files = _file_starts(vectors.rows, rows_per_file)
    trained_on = 0 if index.is_trained else min(train_rows, vectors.rows)
    trained = folder / CHECKPOINTS / TRAINED
    try:
        if not trained.exists():
            for name in files:  # left by an earlier build
                (folder / name).unlink(missing_ok=True)
            _train(index, vectors, trained_on, seed, trained)
        _fill(trained, vectors, folder, files, rows_per_file, progress_file)
    except RuntimeError as fault:
        raise HardnegError(
            f"FAISS could not build the index {factory}.",
            found=f"{vectors.rows:,} vectors, {trained_on:,} of them for training: {reason(fault)}",
            remedy="train on more vectors, or choose an index with fewer centroids.",
        ) from None
    return {
        "factory": factory,
        "metric": "inner product",
        "rows": vectors.rows,
        "dim": vectors.dim,
        "train_rows": trained_on,
        "centroids": centroids(index),
        "code_bytes": _code_bytes(index),
        "files": list(files),
        "bytes": sum((folder / name).stat().st_size for name in files),
    }


def _file_starts(rows: int, rows_per_file: int) -> dict[str, int]:
    """The names of the index's files, and the first row of each."""
    count = -(-rows // rows_per_file)
    return {f"index-{number:04d}-of-{count:04d}": number * rows_per_file for number in range(count)}


def _code_bytes(index: faiss.Index) -> int | None:
    """Bytes of one vector's code; None for graphs."""
    return None if graphs_of(index) and ivf_of(index) is None else index.sa_code_size()


def _train(index: faiss.Index, vectors: VectorStore, rows: int, seed: int, target: Path) -> None:
    """Train the index on a sample of `rows` vectors, if it needs training, and write it to `target`."""
    if not index.is_trained:
        _train_on_sample(index, vectors, rows, seed)
    target.parent.mkdir(exist_ok=True)
    _write(index, target)


def _train_on_sample(index: faiss.Index, vectors: VectorStore, rows: int, seed: int) -> None:
    """Train the index on a sample of `rows` vectors, without FAISS's hundreds of warnings about small samples."""
    chosen = np.sort(np.random.default_rng(seed).choice(vectors.rows, rows, replace=False))
    sample = vectors.take_once(chosen)
    require_finite(torch.from_numpy(sample), "sampled passage", 0)
    lent = []  # FAISS keeps a bare pointer to the quantiser, which must therefore outlive the training
    for part in parts(index):
        for holder in (part, *(getattr(part, name) for name in ("pq", "rq") if hasattr(part, name))):
            if hasattr(holder, "cp"):
                holder.cp.min_points_per_centroid = 1
        for transform in transforms_of(part):
            if isinstance(transform, faiss.OPQMatrix):  # the same quantiser as FAISS would make
                quantiser = faiss.ProductQuantizer(transform.d_out, transform.M, 8)
                quantiser.cp.min_points_per_centroid = 1
                transform.pq = quantiser
                lent.append((transform, quantiser))
    index.train(sample)
    for transform, _ in lent:
        transform.pq = None


def _fill(
    trained: Path,
    vectors: VectorStore,
    folder: Path,
    files: dict[str, int],
    rows_per_file: int,
    progress_file: Path | None,
) -> None:
    """Write each file that is missing: the trained index with that file's vectors. `files` maps names to first rows."""
    with Progress("index", vectors.rows, "vectors", progress_file) as progress:
        for name, first in files.items():
            last = min(first + rows_per_file, vectors.rows)
            if (folder / name).exists():
                progress.advance(last - first)
            else:
                _write(_filled(faiss.read_index(str(trained)), vectors, first, last, progress), folder / name)


def _filled(index: faiss.Index, vectors: VectorStore, first: int, last: int, progress: Progress) -> faiss.Index:
    """The index after adding rows `first` to `last` (exclusive)."""
    faiss.cvar.product_quantizer_compute_codes_bs = ENCODED_AT_ONCE  # type: ignore[attr-defined]
    for start in range(first, last, BLOCK):
        block = vectors.block(start, min(start + BLOCK, last))
        require_finite(torch.from_numpy(block), "passage", start)
        index.add(block)
        progress.advance(len(block))
    return index


def _write(index: faiss.Index, path: Path) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        # Through a Python stream: FAISS's file writer does not report that the last bytes did not fit on the disk.
        faiss.write_index(index, faiss.PyCallbackIOWriter(stream.write))  # type: ignore[attr-defined]


def _mapped(path: Path) -> faiss.Index:
    """A file of an index, memory-mapped.

    Raises:
        HardnegError: the file is missing or is not an index.
    """
    try:
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as fault:
        raise HardnegError(
            "The index cannot be read.",
            where=str(path),
            found=reason(fault),
            remedy="delete that stage's folder and build the index again.",
        ) from None


class FaissSearcher:
    """Searches an index written by `build_index`, with the interface of `ExactSearcher`.

    Queries run in batches of `query_batch`. The last one is zero-padded where the last bits of FAISS's scores depend on
    the batch size too (see `searches_apart`). Results are ordered by score, then by ascending position. If several
    passages tie with the k-th, FAISS decides which are returned. The number of files does not change results otherwise,
    except for graphs and for indexes with refinement, which select candidates in each file.

    Args:
        paths: the index's files, in the order of their rows.
        devices: CUDA devices share each file if FAISS was built for GPUs and supports this kind of index there;
            otherwise the CPU searches. Files stay on the GPUs between calls if all fit in half of the free memory;
            otherwise each call moves them there one after the other.
        query_batch: queries in one call of FAISS; see `ExactSearcher`.
        nprobe: inverted lists of an IVF index that a query searches; None: FAISS's default, 1.
        ef_search: candidates that an HNSW index keeps; None: FAISS's default, 16.

    Attributes:
        rows: passages in the index.
        dim: width of its vectors.

    Raises:
        HardnegError: a file is missing, is not an index, or does not fit on the GPUs.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        devices: Sequence[torch.device] = (torch.device("cpu"),),
        query_batch: int = QUERY_BATCH,
        nprobe: int | None = None,
        ef_search: int | None = None,
    ) -> None:
        self._files = [_mapped(path) for path in paths]
        self._rows: list[int] = [file.ntotal for file in self._files]
        self.rows = sum(self._rows)
        self.dim: int = self._files[0].d
        for file in self._files:
            if nprobe is not None and (ivf := ivf_of(file)) is not None:
                ivf.nprobe = nprobe
            if ef_search is not None:
                for graph in graphs_of(file):
                    graph.hnsw.efSearch = ef_search
        self._batch = np.zeros((query_batch, self.dim), dtype=np.float32)
        self._gpus: _Gpus | None = None
        gpus = [device.index or 0 for device in devices if device.type == "cuda"]
        if gpus and faiss.get_num_gpus() > 0:
            self._move(_Gpus(gpus), sum(path.stat().st_size for path in paths), paths[0])
        self._apart = self._gpus is None and all(map(searches_apart, self._files))

    def _move(self, gpus: _Gpus, size: int, path: Path) -> None:
        try:
            if size <= gpus.free() // 2:
                self._files = [gpus.copy(file) for file in self._files]
            else:
                gpus.copy(self._files[0])  # fails if there is no GPU version, or if a file does not fit
                self._gpus = gpus
        except RuntimeError as fault:
            if "memory" not in str(fault).lower():
                print(
                    f"warning: the index is searched on the CPU, since it has no GPU version: {reason(fault)}",
                    file=sys.stderr,
                )
                return
            raise HardnegError(
                "FAISS could not move the index to the GPUs.",
                where=str(path),
                found=reason(fault),
                remedy="search it on the CPU (device: cpu) or on more GPUs, or lower index.rows_per_file.",
            ) from None

    def search(self, queries: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Search all passages.

        Args:
            queries: [n, dim] float, on any device; no gradient flows through the search.
            k: passages for each query, at least 1.

        Returns:
            positions [n, k'] int64 and scores [n, k'] float32, best first, on the queries' device; k' = min(k, rows).
            An index that searches only some of its lists may find fewer; the row then ends with position -1, score
            -inf.

        Raises:
            HardnegError: a query vector is not finite, or its width differs from the index's.
        """
        checked = checked_queries(queries, self.dim).cpu().numpy()
        k = min(k, self.rows)
        positions = np.full((len(checked), k), -1)
        scores = np.full((len(checked), k), -np.inf, dtype=np.float32)
        first = 0
        for file, rows in zip(self._files, self._rows, strict=True):
            index = self._gpus.copy(file) if self._gpus else file
            for start in range(0, len(checked), len(self._batch)):
                batch = slice(start, start + len(self._batch))
                self._merge(index, first, min(k, rows), checked[batch], positions[batch], scores[batch])
            first += rows
        return torch.from_numpy(positions).to(queries.device), torch.from_numpy(scores).to(queries.device)

    def _merge(self, index: faiss.Index, first: int, k: int, queries: Floats, positions: Ints, scores: Floats) -> None:
        """Search one file, whose rows begin at `first`, and merge its hits with those of the files before it."""
        if not self._apart:
            self._batch[: len(queries)] = queries
            self._batch[len(queries) :] = 0
        found, where = index.search(queries if self._apart else self._batch, k)
        found, where = found[: len(queries)], where[: len(queries)]
        found[where < 0] = -np.inf
        where[where >= 0] += first
        if first:
            found, where = np.hstack([scores, found]), np.hstack([positions, where])
        order = np.lexsort((where, -found), axis=1)[:, : positions.shape[1]]
        positions[:, : order.shape[1]] = np.take_along_axis(where, order, axis=1)
        scores[:, : order.shape[1]] = np.take_along_axis(found, order, axis=1)


class _Gpus:
    """Copies of indexes on GPUs, each spread over all of them."""

    def __init__(self, numbers: list[int]) -> None:
        self._numbers = numbers
        self._resources = [faiss.StandardGpuResources() for _ in numbers]
        self._options = faiss.GpuMultipleClonerOptions()
        self._options.shard = True

    def free(self) -> int:
        """Free memory of all GPUs together, in bytes."""
        return sum(torch.cuda.mem_get_info(number)[0] for number in self._numbers)

    def copy(self, index: faiss.Index) -> faiss.Index:
        return faiss.index_cpu_to_gpu_multiple_py(self._resources, index, self._options, self._numbers)


class ServedVectors:
    """The vectors that an index scores with: its score of passage p for query q is the product query(q) . take(p).

    They are the decoded vectors, in the space after the index's transforms (a rotation, a projection).

    Args:
        paths: the index's files, in the order of their rows.
        factory: the factory string, for messages.

    Attributes:
        rows: passages in the index.
        dim: width of the queries; the decoded vectors may have another width.

    Raises:
        HardnegError: a file is missing or is not an index; or as `hardneg.retrieval.search.factory.check_reconstruct`.
    """

    def __init__(self, paths: Sequence[Path], factory: str) -> None:
        self._files = [_mapped(path) for path in paths]
        transforms, _ = require_decoded(self._files[0], factory, "index.factory")
        self._decoders = [require_decoded(file, factory, "index.factory")[1] for file in self._files]
        for decoder in self._decoders:
            if isinstance(decoder, faiss.IndexIVF):
                decoder.make_direct_map()  # 8 bytes a vector; finds the list that holds a vector
        self._starts = np.cumsum([0] + [file.ntotal for file in self._files])
        self.rows = int(self._starts[-1])
        self.dim: int = self._files[0].d
        self._affine: tuple[torch.Tensor, torch.Tensor] | None = None
        if transforms:
            # The images of the origin and of the unit vectors determine an affine map.
            corners = np.vstack([np.zeros((1, self.dim), np.float32), np.eye(self.dim, dtype=np.float32)])
            for transform in transforms:
                corners = transform.apply(corners)
            self._affine = torch.from_numpy(corners[0]), torch.from_numpy(corners[1:] - corners[0])

    def query(self, queries: torch.Tensor) -> torch.Tensor:
        """Queries float32 [n, dim] after the index's transforms: [n, dim'] on their device; gradients flow through."""
        if self._affine is None:
            return queries
        bias, matrix = (part.to(queries.device) for part in self._affine)
        return torch.addmm(bias, queries, matrix)

    def take(self, positions: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """The decoded vectors at `positions` ([n] integers, in any order, repeats allowed): float32 [n, dim'].

        Raises:
            IndexError: a position is negative or beyond the last row.
        """
        wanted = np.asarray(positions, dtype=np.int64)
        if wanted.size and not (wanted.min() >= 0 and wanted.max() < self.rows):
            raise IndexError(f"positions {wanted.min()} to {wanted.max()} of {self.rows} rows")
        out = np.empty((len(wanted), self._decoders[0].d), dtype=np.float32)
        owner = np.searchsorted(self._starts, wanted, side="right") - 1
        for number in np.unique(owner):
            mine = owner == number
            out[mine] = self._decoders[number].reconstruct_batch(wanted[mine] - self._starts[number])
        return out
