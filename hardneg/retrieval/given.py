"""Import of runs and vectors that other tools produced."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hardneg.data.columns import QRELS
from hardneg.data.documents import read_documents
from hardneg.data.formats.msmarco import top1000_rows
from hardneg.data.ids import Ids
from hardneg.data.lines import lines
from hardneg.errors import HardnegError
from hardneg.retrieval.runs import is_comment, read_trec, write_run
from hardneg.retrieval.search.vectors import VectorStore
from hardneg.stages.artifacts import Artifact, atomic_path
from hardneg.stages.progress import Progress

ROWS_AT_ONCE = 65_536
LINES_AHEAD = 20  # lines of a run that tell its form

TREC = "qid Q0 docid rank score tag"
MSMARCO = "qid pid rank"
WITH_SCORE = "qid pid rank score"
TOP1000 = "qid pid query passage"
NAMES = {"rank", "score", "q0", "iter", "iteration", "tag", "run", *QRELS.names["query"], *QRELS.names["passage"]}
NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,2})?")


def import_run(
    source: Path, collection: Artifact, split: str, depth: int, target: Path, progress: Path | None = None
) -> dict[str, Any]:
    """Write a split's run from a TREC run (six columns), an MS MARCO run (`qid pid rank`) or an MS MARCO top1000 file.

    A TREC run is sorted by score, ties by its rank column; an MS MARCO run by rank. Four columns are `qid pid rank
    score`, sorted as a TREC run is, if the last two are numbers. Otherwise they are a top1000 file (query id, passage
    id and both texts, tab-separated), which keeps the order of its lines: they are candidates to mine, not a ranking.
    Lines that start with # are comments, and a first line of names is passed over.

    Args:
        source: the file.
        collection: the prepared collection, whose ids the file uses.
        split: the split of its queries; queries of other splits are skipped.
        depth: how many passages are kept for each query.
        target: the run to write.
        progress: where progress is written.

    Returns:
        Facts: the form of the file, queries with hits, hits kept, rows of queries that are not in the split.

    Raises:
        HardnegError: a line is malformed, a passage is not in the collection, or no query of the split is ranked.
    """
    form, table = _ranked(source)
    with Progress(f"import {source.name}", len(table), "rows", progress) as bar:
        asked = Ids(collection.path(f"queries.{split}.parquet"), "query_id", target.parent)
        query = asked.positions(table["query_id"].tolist())
        passage = _positions(collection, table["passage_id"].tolist(), target.parent)
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
    return {
        "form": form,
        "queries": kept["query"].nunique(),
        "hits": len(kept),
        "rows_of_other_queries": int((~ours).sum()),
    }


def _positions(collection: Artifact, wanted: list[str], scratch: Path) -> np.ndarray:
    """Positions of passages. The id of a document that was split into passages gives its first passage."""
    document = read_documents(collection)
    if document is not None:
        found = Ids(collection.path("documents.parquet"), "document_id", scratch).positions(wanted)
        if (found >= 0).any():
            return np.where(found >= 0, np.searchsorted(document, found), -1)
    return Ids(collection.path("passages.parquet"), "passage_id", scratch).positions(wanted)


def _ranked(source: Path) -> tuple[str, pd.DataFrame]:
    """The form of a run file, and its query_id, passage_id, rank and score."""
    form, names = _form(source)
    if form == TREC:
        return form, read_trec(source)
    rows = _top1000(source) if form == TOP1000 else _numbered(source, form, names)
    table = pd.DataFrame(list(rows), columns=["query_id", "passage_id", "rank", "score"])
    if (again := table.duplicated(["query_id", "passage_id"])).any():
        row = table[again].iloc[0]
        raise HardnegError(
            "A run lists a passage twice for one query.",
            where=str(source),
            found=f"passage {row['passage_id']} for query {row['query_id']}",
            expected="each passage at most once a query",
            remedy="remove one of the lines.",
        )
    lowest = table.groupby("query_id")["rank"].min()
    if form == WITH_SCORE and (odd := lowest > 1).any():
        raise HardnegError(
            "The third column of a ranking does not hold ranks.",
            where=str(source),
            found=f"{lowest[odd].iloc[0]} as the lowest of query {lowest[odd].index[0]}",
            expected=f"{WITH_SCORE}; ranks start at 1 or 0",
            remedy="write a TREC run: qid Q0 docid rank score tag.",
        )
    return form, table


def _form(source: Path) -> tuple[str, bool]:
    """The form of a run file by its first lines, and whether the first of them names the columns."""
    start = [line for _, line in islice(_ranking_lines(source), LINES_AHEAD)]
    names = bool(start) and {name.casefold() for name in start[0].split()} <= NAMES
    ranked = start[names:]
    if not ranked:
        return TREC, False  # whose reader says what is wrong
    if any(len(line.split("\t")) == 4 and not _is_ranking(line.split("\t")) for line in ranked):
        return TOP1000, False
    columns = {len(line.split()) for line in ranked}
    if columns == {4}:
        return WITH_SCORE, names
    return (MSMARCO, names) if len(ranked[0].split()) == 3 else (TREC, False)


def _is_ranking(columns: Sequence[str]) -> bool:
    return all(NUMBER.fullmatch(column.strip()) for column in columns[2:])


def _ranking_lines(source: Path) -> Iterator[tuple[str, str]]:
    return ((where, line) for where, line in lines(source) if not is_comment(line.split()))


def _numbered(source: Path, form: str, names: bool) -> Iterator[tuple[str, str, int, float]]:
    """The rows of a ranking with a rank and perhaps a score."""
    for where, line in islice(_ranking_lines(source), int(names), None):
        columns = line.split()
        good = len(columns) == len(form.split()) and columns[2].isdecimal()
        if not good or not all(NUMBER.fullmatch(number) for number in columns[3:]):
            raise HardnegError(
                "A line of an MS MARCO run cannot be read.",
                where=where,
                found=line[:80],
                expected=f"{len(form.split())} columns: {form}; the rank is a whole number",
                remedy="correct that line, or write a TREC run: qid Q0 docid rank score tag.",
            )
        yield columns[0], columns[1], int(columns[2]), float(columns[3]) if len(columns) == 4 else -float(columns[2])


def _top1000(source: Path) -> Iterator[tuple[str, str, int, float]]:
    """The rows of a top1000 file. The third column must be the text of the query, the same in all its lines."""
    texts: dict[str, str] = {}
    for (where, line), (query_id, passage_id, rank) in zip(lines(source), top1000_rows(source), strict=True):
        text = line.split("\t")[2]
        if texts.setdefault(query_id, text) != text:
            raise HardnegError(
                "A file of four columns is neither a ranking nor an MS MARCO top1000 file.",
                where=where,
                found=f"{text[:40]!r} after {texts[query_id][:40]!r} for query {query_id}",
                expected=f"{WITH_SCORE}, with numbers; or query id, passage id, the query's text, the passage's text",
                remedy="write a TREC run: qid Q0 docid rank score tag.",
            )
        yield query_id, passage_id, rank, -float(rank)


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
    store, ids = VectorStore(sources, remedy), Ids(ours, column, target.parent)
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
            found=ids.take(known[counts > 1][:1])[0].as_py(),
            expected="each id once",
            remedy="remove one of the two, both id and vector.",
        )
    rows = np.full(len(ids), -1, np.int64)
    rows[positions[positions >= 0]] = np.flatnonzero(positions >= 0)
    if (lacking := np.flatnonzero(rows < 0)).size:
        raise HardnegError(
            "Some texts of the collection have no vector.",
            where=str(names),
            found=f"no row for {ids.take(lacking[:1])[0].as_py()} ({len(lacking):,} missing)",
            expected=f"every {column} of the collection",
            remedy="add their vectors.",
        )
    return rows
