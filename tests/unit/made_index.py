"""Vectors whose inner products are exact, and indexes over them, for the tests of indexes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch

from hardneg.retrieval.search.index import build_index
from hardneg.retrieval.search.vectors import VectorStore

ROWS, DIM, PER_FILE = 1000, 16, 300


def made_vectors(folder: Path) -> VectorStore:
    """Passage vectors [ROWS, DIM] of whole numbers."""
    path = folder / "x.npy"
    np.save(path, (np.random.default_rng(1).normal(size=(ROWS, DIM)) * 200).round().astype(np.float32))
    return VectorStore([path])


def made_queries() -> torch.Tensor:
    """Query vectors [70, DIM] of whole numbers."""
    return torch.from_numpy((np.random.default_rng(2).normal(size=(70, DIM)) * 200).round().astype(np.float32))


def built(vectors: VectorStore, factory: str, folder: Path, rows_per_file: int = ROWS, **changes: Any) -> list[Path]:
    """The files of an index."""
    folder.mkdir(exist_ok=True)
    options = {"train_rows": ROWS, "seed": 0, "rows_per_file": rows_per_file, **changes}
    return [folder / name for name in build_index(vectors, factory, folder, **options)["files"]]


def opened(path: Path) -> Any:
    """A file of an index, as FAISS reads it."""
    return faiss.read_index(str(path))
