"""A folder for Pyserini's `FaissSearcher`: `index`, a FAISS file, and `docid`, one id per line (methods 3.7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import faiss

from hardneg.data.parquet import batches
from hardneg.retrieval.search.retrieve import files_of, vectors_of
from hardneg.retrieval.search.sizes import BLOCK
from hardneg.retrieval.search.vectors import VectorStore
from hardneg.stages.artifacts import Artifact, atomic_path

# FAISS's names of the search settings. Both are stored in the index file.
PARAMETERS = {"nprobe": "nprobe", "ef_search": "efSearch"}


def write_pyserini(
    folder: Path, collection: Artifact, passages: Artifact, index: Artifact | None, search: Mapping[str, int | None]
) -> bool:
    """Write the passage index, with the search settings of the system's run, and the passage ids.

    Plain vectors are streamed. Any other index is held in memory.

    Args:
        folder: the new folder.
        collection: the prepared collection, for the ids.
        passages: the stage with the vectors.
        index: the index of the run, in files over consecutive passages. For None or a Flat index, the vectors are
            written.
        search: `nprobe` and `ef_search`. None leaves FAISS's default.

    Returns:
        Whether the folder was written. Pyserini opens a single file, and FAISS cannot merge the files of every kind of
        index (not HNSW, for instance).
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
        for batch in batches(collection.path("passages.parquet"), ["passage_id"]):
            stream.writelines(f"{name}\n" for name in batch.column(0).to_pylist())
    return True


def join(paths: Sequence[Path]) -> Any | None:
    """Merge FAISS indexes over consecutive rows with the same training. None if FAISS cannot merge this kind."""
    first, *others = paths
    joined = faiss.read_index(str(first))
    for path in others:
        # Inverted lists store ids, which must be shifted. In other indexes the position is the id.
        shift = joined.ntotal if faiss.try_extract_index_ivf(joined) else 0
        try:
            joined.merge_from(faiss.read_index(str(path)), shift)
        except RuntimeError:
            return None
    return joined


def write_flat(vectors: VectorStore, path: Path) -> None:
    """Write the file of an `IndexFlatIP` over all vectors, block by block.

    The header is that of an empty index, with the counts of rows and of values filled in.
    """
    header = bytearray(faiss.serialize_index(faiss.IndexFlatIP(vectors.dim)))
    header[8:16] = vectors.rows.to_bytes(8, "little")
    header[-8:] = (vectors.rows * vectors.dim).to_bytes(8, "little")
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.write(header)
        for start in range(0, vectors.rows, BLOCK):
            stream.write(vectors.block(start, min(start + BLOCK, vectors.rows)).tobytes())
