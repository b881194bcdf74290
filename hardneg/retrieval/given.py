"""Import of runs and vectors that other tools produced."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hardneg.data.documents import read_documents
from hardneg.data.formats.msmarco import top1000_rows
from hardneg.data.ids import Ids
from hardneg.data.lines import lines
from hardneg.errors import HardnegError
from hardneg.retrieval.runs import read_trec, write_run
from hardneg.retrieval.search.vectors import VectorStore
from hardneg.stages.artifacts import Artifact, atomic_path
from hardneg.stages.progress import Progress

ROWS_AT_ONCE = 65_536


def import_run(
    source: Path, collection: Artifact, split: str, depth: int, target: Path, progress: Path | None = None
) -> dict[str, int]:
    """Write a split's run from a TREC run (six columns), an MS MARCO run (`qid pid rank`) or an MS MARCO top1000 file.

    A TREC run is sorted by score, ties by its rank column; an MS MARCO run by rank. A top1000 file (query id, passage
    id and both texts, tab-separated) keeps the order of its lines: they are candidates to mine, not a ranking.

    Args:
        source: the file.
        collection: the prepared collection, whose ids the file uses.
        split: the split of its queries; queries of other splits are skipped.
        depth: how many passages are kept for each query.
        target: the run to write.
        progress: where progress is written.

    Returns:
        Facts: queries with hits, hits kept, rows of queries that are not in the split.

    Raises:
        HardnegError: a line is malformed, a passage is not in the collection, or no query of the split is ranked.
    """
    table = _ranked(source)
    with Progress(f"import {source.name}", len(table), "rows", progress) as bar:
        query = Ids(collection.path(f"queries.{split}.parquet"), "query_id").positions(table["query_id"].tolist())
        passage = _positions(collection, table["passage_id"].tolist())
        bar.advance(len(table))
    ours = query >= 0
    if not ours.any():
        raise HardnegError(
            "A run has no query of the split.",
            where=str(source),
            found=f"queries such as {table['query_id'].iloc[0]}",
            expected=f"the queries of split {split}",
            remedy="check the file and the split it is given for.",
        )
    if (unknown := np.flatnonzero(ours & (passage < 0))).size:
        raise HardnegError(
            "A run contains a passage that is not in the collection.",
            where=str(source),
            found=f"{table['passage_id'].iloc[unknown[0]]} ({len(unknown):,} such rows)",
            expected="ids of the collection's passages",
            remedy="check that the run is over the same collection.",
        )
    rows = pd.DataFrame({"query": query, "passage": passage, "score": table["score"], "given": table["rank"]})[ours]
    rows = rows.sort_values(["query", "score", "given"], ascending=[True, False, True], kind="stable")
    rank = rows.groupby("query").cumcount().to_numpy() + 1
    kept, rank = rows[rank <= depth], rank[rank <= depth]
    write_run(target, kept["query"].to_numpy(), kept["passage"].to_numpy(), rank, kept["score"].to_numpy())
    return {"queries": kept["query"].nunique(), "hits": len(kept), "rows_of_other_queries": int((~ours).sum())}


def _positions(collection: Artifact, wanted: list[str]) -> np.ndarray:
    """Positions of passages. The id of a document that was split into passages gives its first passage."""
    document = read_documents(collection)
    if document is not None:
        found = Ids(collection.path("documents.parquet"), "document_id").positions(wanted)
        if (found >= 0).any():
            return np.where(found >= 0, np.searchsorted(document, found), -1)
    return Ids(collection.path("passages.parquet"), "passage_id").positions(wanted)


def _ranked(source: Path) -> pd.DataFrame:
    """query_id, passage_id, rank and score of a run file; its first line shows the format."""
    _, first = next(lines(source), ("", ""))
    if len(first.split("\t")) == 4:
        rows = [(query_id, passage_id, rank, -float(rank)) for query_id, passage_id, rank in top1000_rows(source)]
    elif len(first.split()) == 3:
        rows = list(_msmarco_rows(source))
    else:
        return read_trec(source)
    table = pd.DataFrame(rows, columns=["query_id", "passage_id", "rank", "score"])
    if (again := table.duplicated(["query_id", "passage_id"])).any():
        row = table[again].iloc[0]
        raise HardnegError(
            "A run lists a passage twice for one query.",
            where=str(source),
            found=f"passage {row['passage_id']} for query {row['query_id']}",
            expected="each passage at most once a query",
            remedy="remove one of the lines.",
        )
    return table


def _msmarco_rows(source: Path) -> Iterator[tuple[str, str, int, float]]:
    for where, line in lines(source):
        columns = line.split()
        if len(columns) != 3 or not columns[2].isdecimal():
            raise HardnegError(
                "A line of an MS MARCO run cannot be read.",
                where=where,
                found=line[:80],
                expected="three columns: query id, passage id, rank",
                remedy="correct that line.",
            )
        yield columns[0], columns[1], int(columns[2]), -float(columns[2])


def import_vectors(
    sources: Sequence[Path], names: Path | None, ours: Path, column: str, target: Path, progress: Path | None = None
) -> tuple[int, int, str]:
    """Write one `.npy` with a vector for each text of the collection, in order of position.

    Args:
        sources: `.npy` files of float16 or float32 [rows, width], whose rows are concatenated.
        names: a text file with the id of each row. None: the rows are in order of position.
        ours: the collection's Parquet file of passages or queries.
        column: its id column.
        target: the file to write, in the dtype of the sources.
        progress: where progress is written.

    Returns:
        Rows, width and dtype.

    Raises:
        HardnegError: a source is not such a matrix, the numbers of ids and rows differ, a vector is not finite, or a
            text has no vector.
    """
    remedy = "save the vectors with numpy.save as float32 or float16, [rows, width]."
    store, ids = VectorStore(sources, remedy), Ids(ours, column)
    rows = _rows_of(names, store, ids, column) if names is not None else np.arange(store.rows)
    if names is None and store.rows != len(ids):
        raise HardnegError(
            "The number of vectors differs from the number of texts.",
            where=", ".join(map(str, sources)),
            found=f"{store.rows:,} vectors",
            expected=f"{len(ids):,}, one for each {column}",
            remedy="give the ids of the rows (`passage_ids`, `query_ids`), or the vectors of exactly this collection.",
        )
    with atomic_path(target) as temporary, temporary.open("wb") as stream:
        shape: dict[str, Any] = {"descr": store.dtype.str, "fortran_order": False, "shape": (len(ids), store.dim)}
        np.lib.format.write_array_header_1_0(stream, shape)
        with Progress(f"import {target.name}", len(ids), "vectors", progress) as bar:
            for start in range(0, len(ids), ROWS_AT_ONCE):
                block = store.take(rows[start : start + ROWS_AT_ONCE])
                if not np.isfinite(block).all():
                    raise HardnegError(
                        "An imported vector is not finite.",
                        where=", ".join(map(str, sources)),
                        found="NaN or infinity",
                        expected="finite numbers",
                        remedy="compute the vectors again.",
                    )
                stream.write(block.astype(store.dtype).tobytes())
                bar.advance(len(block))
    return len(ids), store.dim, store.dtype.name


def _rows_of(names: Path, store: VectorStore, ids: Ids, column: str) -> np.ndarray:
    """The row of each text's vector: int64 [texts]."""
    listed = [line.strip() for _, line in lines(names)]
    if len(listed) != store.rows:
        raise HardnegError(
            "The number of ids differs from the number of vectors.",
            where=str(names),
            found=f"{len(listed):,} ids",
            expected=f"{store.rows:,}",
            remedy="give one id a line, in the order of the rows.",
        )
    positions = ids.positions(listed)
    known, counts = np.unique(positions[positions >= 0], return_counts=True)
    if (counts > 1).any():
        raise HardnegError(
            "An id has two vectors.",
            where=str(names),
            found=ids.texts[int(known[counts > 1][0])].as_py(),
            expected="each id once",
            remedy="remove one of the two, both id and vector.",
        )
    rows = np.full(len(ids), -1, np.int64)
    rows[positions[positions >= 0]] = np.flatnonzero(positions >= 0)
    if (lacking := np.flatnonzero(rows < 0)).size:
        raise HardnegError(
            "Some texts of the collection have no vector.",
            where=str(names),
            found=f"no row for {ids.texts[int(lacking[0])].as_py()} ({len(lacking):,} missing)",
            expected=f"every {column} of the collection",
            remedy="add their vectors.",
        )
    return rows
