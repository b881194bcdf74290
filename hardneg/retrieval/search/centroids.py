"""Product-quantised indexes whose centroids train, while the codes of the passages stay (JPQ).

The score of passage d for query q is <A q, e_d>, with A the index's transforms and e_d the concatenation over m of
T[m, c_d[m]]: T are the centroids, c_d the codes of d. A and c never change here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import torch

from hardneg.retrieval.search.factory import require_centroids
from hardneg.retrieval.search.index import FaissSearcher, ServedVectors
from hardneg.retrieval.search.retrieve import files_of
from hardneg.retrieval.search.sizes import QUERY_BATCH
from hardneg.stages.artifacts import Artifact, atomic_path

FILE = "centroids.npy"
"""The trained centroids in the folder of a training: float32 [M, centroids, width of a part]."""

Floats = npt.NDArray[np.float32]


class CodedIndex(FaissSearcher):
    """An index written by `build_index` as its parts: transforms, codes, and centroids that may be replaced.

    It is searched on the CPU: FAISS has no product quantiser without lists for GPUs.

    Args:
        paths: the index's files, in the order of their rows.
        factory: the factory string, for messages.
        query_batch: queries in one call of FAISS; see `FaissSearcher`.

    Raises:
        HardnegError: a file is missing or is not an index; or as `hardneg.retrieval.search.factory.check_centroids`.
    """

    def __init__(self, paths: Sequence[Path], factory: str, query_batch: int = QUERY_BATCH) -> None:
        super().__init__(paths, query_batch=query_batch)
        self._names = [path.name for path in paths]
        self._quantised = [require_centroids(file, factory, "index.factory") for file in self._files]
        self._starts = np.cumsum([0, *self._rows])
        self._served = ServedVectors(paths, factory)

    def query(self, queries: torch.Tensor) -> torch.Tensor:
        """Queries float32 [n, dim] after the index's transforms: [n, dim'] on their device; gradients flow through."""
        return self._served.query(queries)

    def codes(self, positions: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """The codes of the passages at `positions` ([n] integers, in any order, repeats allowed): int64 [n, M].

        Raises:
            IndexError: a position is negative or beyond the last row.
        """
        wanted = np.asarray(positions, dtype=np.int64)
        if wanted.size and not (wanted.min() >= 0 and wanted.max() < self.rows):
            raise IndexError(f"positions {wanted.min()} to {wanted.max()} of {self.rows} rows")
        quantiser = self._quantised[0].pq
        packed = np.empty((len(wanted), quantiser.code_size), dtype=np.uint8)
        owner = np.searchsorted(self._starts, wanted, side="right") - 1
        for number in np.unique(owner):
            mine, part = owner == number, self._quantised[number]
            stored = faiss.rev_swig_ptr(part.codes.data(), part.ntotal * quantiser.code_size)
            packed[mine] = stored.reshape(part.ntotal, -1)[wanted[mine] - self._starts[number]]
        bits = np.unpackbits(packed, axis=1, count=quantiser.M * quantiser.nbits, bitorder="little")
        values: npt.NDArray[np.int64] = bits.reshape(-1, quantiser.M, quantiser.nbits) @ (
            1 << np.arange(quantiser.nbits)
        )
        return values

    def centroids(self) -> Floats:
        """A copy of the centroids: float32 [M, centroids, width of a part]."""
        quantiser = self._quantised[0].pq
        flat: Floats = faiss.vector_to_array(quantiser.centroids)
        return flat.reshape(quantiser.M, quantiser.ksub, quantiser.dsub)

    def put(self, centroids: Floats) -> None:
        """Search with other centroids, of the shape that `centroids()` gives, from now on."""
        for part in self._quantised:
            faiss.copy_array_to_vector(np.ascontiguousarray(centroids, np.float32).ravel(), part.pq.centroids)

    def write(self, folder: Path) -> list[str]:
        """Write the index's files, with the centroids of now and the codes that it came with; their names."""
        for name, file in zip(self._names, self._files, strict=True):
            with atomic_path(folder / name) as temporary, temporary.open("wb") as stream:
                # Through a Python stream, as when an index is built: a full disk is then reported.
                faiss.write_index(file, faiss.PyCallbackIOWriter(stream.write))  # type: ignore[attr-defined]
        return self._names


def decoded(centroids: torch.Tensor, codes: npt.NDArray[np.int64]) -> torch.Tensor:
    """The vectors that codes stand for, with gradients to the centroids.

    Args:
        centroids: float32 [M, centroids, width of a part].
        codes: [n, M].

    Returns:
        float32 [n, M times the width of a part], on the device of the centroids.
    """
    parts, count, width = centroids.shape
    rows = torch.from_numpy(codes + count * np.arange(parts)).to(centroids.device)
    # An embedding and not an index: its gradient adds up in the same order every time, on any number of threads.
    return torch.nn.functional.embedding(rows, centroids.reshape(-1, width)).reshape(len(codes), -1)


def write_trained(index: Artifact, training: Artifact, folder: Path) -> dict[str, Any]:
    """Write an index again with the centroids that a training left, and say what it is.

    Args:
        index: what was trained on; its codes and transforms are kept.
        training: has the file `FILE`.
        folder: where the files are written.

    Returns:
        The facts of `build_index`.
    """
    trained = CodedIndex(files_of(index), index.settings["factory"])
    trained.put(np.load(training.path(FILE)))
    files = trained.write(folder)
    return {**index.facts, "files": files, "bytes": sum((folder / name).stat().st_size for name in files)}
