"""Documents cut into windows of words, which are the passages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hardneg.data.collection import Passage
from hardneg.data.parquet import batches
from hardneg.stages.artifacts import atomic_path

DOCUMENTS = pa.schema([("document_id", pa.string())])

_WORD = re.compile(r"\S+")
_FIRST_WINDOW = "#0"


def in_windows(documents: Iterable[Passage], size: int, overlap: int) -> Iterator[tuple[str, str, str, str, int]]:
    """Cut documents into windows of at most `size` words, of which neighbours share `overlap`.

    Yields:
        The id of each window, the document's url and title, the window's text with the white space inside it, and the
        number of the document.

    Raises:
        ValueError: the overlap is as large as the window.
    """
    if not 0 <= overlap < size:
        raise ValueError(f"windows of {size} words cannot overlap by {overlap}")
    for number, document in enumerate(documents):
        words = [word.span() for word in _WORD.finditer(document.text)]
        # Another window starts only if the previous one did not reach the end.
        starts = range(0, max(len(words) - overlap, 1), size - overlap)
        for window, start in enumerate(starts):
            text = document.text
            if len(starts) > 1:
                text = text[words[start][0] : words[min(start + size, len(words)) - 1][1]]
            yield f"{document.passage_id}#{window}", document.url, document.title, text, number


def write_documents(passages: Path, path: Path) -> npt.NDArray[np.int64]:
    """Write `documents.parquet`. Returns the first passage of each document and, last, the number of passages."""
    firsts, seen = [np.zeros(0, np.int64)], 0
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, DOCUMENTS, compression="zstd") as writer:
        for batch in batches(passages, ["passage_id"]):
            is_first = pc.ends_with(batch.column(0), _FIRST_WINDOW)
            ids = pc.utf8_slice_codeunits(batch.column(0).filter(is_first), 0, -len(_FIRST_WINDOW))
            writer.write_table(pa.table([ids], schema=DOCUMENTS))
            firsts.append(seen + np.flatnonzero(is_first))
            seen += len(batch)
    return np.concatenate([*firsts, [seen]])
