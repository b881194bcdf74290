"""The folder that Pyserini's `FaissSearcher` opens: `index`, a FAISS file, and `docid`, an id a line (methods 3.7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import faiss
import pyarrow.parquet as pq

from hardneg.retrieval.search.exact import BLOCK
from hardneg.retrieval.search.retrieve import files_of, vectors_of
from hardneg.retrieval.search.vectors import VectorStore
from hardneg.stages.artifacts import Artifact, atomic_path

# Search settings by FAISS's names; both are kept in the file.
PARAMETERS = {"nprobe": "nprobe", "ef_search": "efSearch"}


def write_pyserini(
    folder: Path, collection: Artifact, passages: Artifact, index: Artifact | None, search: Mapping[str, int | None]
) -> bool:
    """Write the passages' index, searched as the system's run searched it, and the passages' ids.

    Vectors are written without being held in memory; an index of another kind is held whole.

    Args:
        folder: to be made.
        collection: the prepared collection, for the ids.
        passages: the stage with the vectors.
        index: the index that served, in files over consecutive passages; None or a Flat one: the vectors themselves.
        search: `nprobe` and `ef_search`, each None where it is FAISS's own.

    Returns:
        whether there is a folder: FAISS joins the files of some kinds of index only (not HNSW), and Pyserini opens one.
    """
    if index is None or index.settings["factory"] == "Flat":
        folder.mkdir()
        write_flat(vectors_of(passages), folder / "index")
    else:
        joined = join(files_of(index))
        if joined is None:
            return False
        for name, value in search.items():
            if value is not None:
                faiss.ParameterSpace().set_index_parameter(joined, PARAMETERS[name], value)
        folder.mkdir()
        with atomic_path(folder / "index") as temporary, temporary.open("wb") as stream:
            faiss.write_index(joined, faiss.PyCallbackIOWriter(stream.write))  # type: ignore[attr-defined]
    with atomic_path(folder / "docid") as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        for batch in pq.ParquetFile(collection.path("passages.parquet")).iter_batches(columns=["passage_id"]):
            stream.writelines(f"{name}\n" for name in batch.column(0).to_pylist())
    return True


def join(paths: Sequence[Path]) -> Any | None:
    """One FAISS index of several over consecutive rows, trained alike; None where FAISS cannot join their kind."""
    first, *others = paths
    joined = faiss.read_index(str(first))
    for path in others:
        # Inverted lists keep ids, which must be moved on; elsewhere the place of a vector is its id.
        shift = joined.ntotal if faiss.try_extract_index_ivf(joined) else 0
        try:
            joined.merge_from(faiss.read_index(str(path)), shift)
        except RuntimeError:
            return None
    return joined


def write_flat(vectors: VectorStore, path: Path) -> None:
    """Write the file that FAISS would for `IndexFlatIP` over all vectors, a block at a time.

    It is that of an empty index, which ends with the count of its numbers, with both counts put in.
    """
    header = bytearray(faiss.serialize_index(faiss.IndexFlatIP(vectors.dim)))
    header[8:16] = vectors.rows.to_bytes(8, "little")
    header[-8:] = (vectors.rows * vectors.dim).to_bytes(8, "little")
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.write(header)
        for start in range(0, vectors.rows, BLOCK):
            stream.write(vectors.block(start, min(start + BLOCK, vectors.rows)).tobytes())
