"""Runs: ranked passages for each query, as Parquet between stages and as TREC files for other tools.

A run is ordered by its rank column. TREC tools ignore that column: trec_eval sorts by score in single precision and
breaks ties by descending document id; Pyserini and ir_measures break them by ascending id. The TREC files written here
have strictly decreasing single-precision scores within a query, so that every tool sees the same order.
"""

from __future__ import annotations

import codecs
import contextlib
import itertools
import re
import sys
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hardneg.data.ids import WHITE_SPACE
from hardneg.data.lines import open_bytes
from hardneg.data.parquet import opened
from hardneg.errors import HardnegError
from hardneg.stages.artifacts import atomic_path

SCHEMA = pa.schema([("query", pa.int32()), ("passage", pa.int32()), ("rank", pa.int32()), ("score", pa.float32())])
TREC_FIELDS = ("qid", "Q0", "docid", "rank", "score", "tag")

_ROW_GROUP = 1 << 20
_TREC_BATCH = 100_000
_WHOLE = re.compile(r"[0-9]{1,18}")
_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,2})?")

Ids: TypeAlias = Sequence[str] | pa.Array | pa.ChunkedArray


class RunWriter:
    """Writes a run as Parquet, in parts and atomically: the file appears when the `with` block ends without a fault.

    All row groups have the same size, so that the bytes do not depend on how the rows were divided into parts. Memory
    holds the current part and less than one row group.

    Args:
        path: the file to write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._held, self._last = SCHEMA.empty_table(), (-1, 0)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            temporary = stack.enter_context(atomic_path(self.path))
            self._file = stack.enter_context(pq.ParquetWriter(temporary, SCHEMA, compression="zstd"))
            stack.push(self._finish)
            self._exits = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.__exit__(kind, fault, trace)

    def append(self, query: npt.ArrayLike, passage: npt.ArrayLike, rank: npt.ArrayLike, score: npt.ArrayLike) -> None:
        """Append rows.

        Args:
            query: [rows] query positions, non-decreasing.
            passage: [rows] passage positions.
            rank: [rows] from 1, increasing within a query.
            score: [rows] finite; kept as float32.

        Raises:
            HardnegError: a score is not finite, or the file could not be written.
            ValueError: the rows are not sorted by query and rank.
        """
        columns = (query, passage, rank, score)
        arrays = [np.asarray(column, kind.type.to_pandas_dtype()) for column, kind in zip(columns, SCHEMA, strict=True)]
        queries, _, ranks, scores = arrays
        if not len(queries):
            return
        falls = queries[1:] < queries[:-1]
        falls |= (queries[1:] == queries[:-1]) & (ranks[1:] <= ranks[:-1])
        if falls.any() or (queries[0], ranks[0]) <= self._last or (ranks < 1).any():
            raise ValueError("a run must be sorted by query, then by rank, with ranks from 1")
        if not np.isfinite(scores).all():
            row = int(np.flatnonzero(~np.isfinite(scores))[0])
            raise HardnegError(
                "A run contains a score that is not finite.",
                where=str(self.path),
                found=f"{scores[row]} for query position {queries[row]}",
                expected="finite scores",
                remedy="the model has probably diverged: lower its learning rate and train it again.",
            )
        self._last = int(queries[-1]), int(ranks[-1])
        added = pa.Table.from_arrays([pa.array(column) for column in arrays], schema=SCHEMA)
        self._held = pa.concat_tables([self._held, added])
        self._write(len(self._held) // _ROW_GROUP * _ROW_GROUP)

    def _write(self, rows: int) -> None:
        """Write the first `rows` rows held, each column as one chunk: chunk limits would change the bytes."""
        if rows:
            self._file.write_table(self._held.slice(0, rows).combine_chunks(), _ROW_GROUP)
            self._held = self._held.slice(rows)

    def _finish(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._write(len(self._held))


def write_run(
    path: Path, query: npt.ArrayLike, passage: npt.ArrayLike, rank: npt.ArrayLike, score: npt.ArrayLike
) -> None:
    """Write a run that is in memory; arguments and errors as for `RunWriter.append`."""
    with RunWriter(path) as run:
        run.append(query, passage, rank, score)


def whole_queries(path: Path) -> Iterator[pa.Table]:
    """Stream a run as non-empty tables like those of `read_run`, about a row group each, without splitting a query."""
    file = opened(path)
    held = SCHEMA.empty_table()
    for number in range(file.num_row_groups):
        held = pa.concat_tables([held, file.read_row_group(number, SCHEMA.names)]).combine_chunks()
        query = held["query"].to_numpy()
        last = int(np.searchsorted(query, query[-1]))  # the last query may go on in the next row group
        if last:
            yield held.slice(0, last)
        held = held.slice(last)
    if len(held):
        yield held


def read_run(path: Path, left_out: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None = None) -> pa.Table:
    """Read a run: query, passage, rank (int32) and score (float32), sorted by query and rank.

    Each column is one chunk, so that `run["query"].to_numpy()` copies nothing.

    Args:
        path: the file.
        left_out: positions of queries and passages, int64 [n] each, that the run is read without. What follows moves
            up in rank.
    """
    run = pq.read_table(path, columns=SCHEMA.names).combine_chunks()
    if left_out is None or not len(left_out[0]) or not len(run):
        return run
    query, passage = run["query"].to_numpy().astype(np.int64), run["passage"].to_numpy()
    width = 1 + max(int(passage.max()), int(left_out[1].max()))
    keep = ~np.isin(query * width + passage, left_out[0] * width + left_out[1])
    kept = run.filter(pa.array(keep)).combine_chunks()
    gone = np.cumsum(~keep)
    before = gone - np.append(0, gone)[np.searchsorted(query, query)]  # left out of the same query, further up
    ranks = pa.array((run["rank"].to_numpy() - before)[keep].astype(np.int32))
    return kept.set_column(kept.schema.get_field_index("rank"), SCHEMA.field("rank"), ranks)


def best_passage(run: pa.Table, document: npt.NDArray[np.integer]) -> pa.Table:
    """Turn a run over passages into a run over documents: a document has the score of its best passage (MaxP).

    Args:
        run: a run as from `read_run`.
        document: [passages] position of the document that each passage belongs to.

    Returns:
        A run whose `passage` column holds document positions, ranked from 1.
    """
    query, owner = run["query"].to_numpy(), document[run["passage"].to_numpy()]
    pairs = query.astype(np.int64) * (int(document.max(initial=0)) + 1) + owner
    first = np.sort(np.unique(pairs, return_index=True)[1])
    kept = query[first]
    rank = np.arange(len(kept)) - np.searchsorted(kept, kept) + 1
    columns = (kept, owner[first], rank, run["score"].to_numpy()[first])
    return pa.Table.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )


def write_trec(path: Path, run: pa.Table, query_ids: Ids, passage_ids: Ids, tag: str) -> None:
    """Write a run as `qid Q0 docid rank score tag` lines, atomically.

    Tied scores are lowered by the smallest single-precision steps that make scores strictly decrease with the rank.

    Args:
        path: the file to write.
        run: a run as from `read_run`.
        query_ids: id of each query position.
        passage_ids: id of each passage position; an Arrow array avoids one Python string a passage.
        tag: the last column, the system's name.

    Raises:
        HardnegError: an id or the tag is empty or contains white space, or the file could not be written.
    """
    names = {"query": _arrow_ids(query_ids), "passage": _arrow_ids(passage_ids)}
    literal = {text: pa.scalar(text, pa.large_string()) for text in ("Q0", tag, " ")}
    _refuse_white_space(path, "tag", pa.array([tag]))
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        for rows in query_batches(run["query"].to_numpy(), _TREC_BATCH):
            batch = run.slice(rows.start, rows.stop - rows.start).combine_chunks()
            ids = {column: values.take(batch[column].combine_chunks()) for column, values in names.items()}
            for column, values in ids.items():
                _refuse_white_space(path, f"{column} id", values)
            score = strictly_decreasing(batch["query"].to_numpy(), batch["score"].to_numpy())
            lines = pc.binary_join_element_wise(
                ids["query"],
                literal["Q0"],
                ids["passage"],
                batch["rank"].combine_chunks().cast(pa.large_string()),
                pa.array(score).cast(pa.large_string()),
                literal[tag],
                literal[" "],
            )
            stream.writelines(f"{line}\n" for line in lines.to_pylist())


def read_trec(path: Path) -> pd.DataFrame:
    """Read a TREC run, plain or gzipped, and check every line.

    Returns:
        query_id (str), passage_id (str), rank (int64) and score (float64), in the order of the file. Ranks are as
        written, from 0 or 1. Blank lines are skipped, and so are comments: lines that start with # and do not have the
        six columns of a run.

    Raises:
        HardnegError: a line does not have six columns, a rank is not a whole number, a score is not finite, or a
            passage is listed twice for one query (names the line); or the file is missing, empty or not UTF-8.
    """
    queries: list[str] = []
    passages: list[str] = []
    ranks, scores, lines = array("q"), array("d"), array("q")
    try:
        with open_bytes(path) as stream:
            for number, line in enumerate(stream, 1):
                try:
                    fields = [field.decode() for field in line.removeprefix(codecs.BOM_UTF8).split()]
                except UnicodeDecodeError:
                    raise _trec_fault(path, number, "bytes that are not UTF-8", "UTF-8 text") from None
                if not fields or is_comment(fields):
                    continue
                if len(fields) != len(TREC_FIELDS):
                    raise _trec_fault(path, number, f"{len(fields)} columns", f"six: {' '.join(TREC_FIELDS)}")
                queries.append(sys.intern(fields[0]))
                passages.append(sys.intern(fields[2]))
                if not _WHOLE.fullmatch(fields[3]):
                    raise _trec_fault(path, number, fields[3], "a whole number in column 4, the rank")
                if not _NUMBER.fullmatch(fields[4]):
                    raise _trec_fault(path, number, fields[4], "a finite number in column 5, the score")
                ranks.append(int(fields[3]))
                scores.append(float(fields[4]))
                lines.append(number)
    except FileNotFoundError:
        raise HardnegError("The run does not exist.", where=str(path), remedy="check the path.") from None
    if not lines:
        raise HardnegError("A TREC run is empty.", where=str(path), expected=" ".join(TREC_FIELDS))
    run = pd.DataFrame(
        {
            "query_id": queries,
            "passage_id": passages,
            "rank": np.frombuffer(ranks, np.int64),
            "score": np.frombuffer(scores, np.float64),
        }
    )
    if len(repeated := np.flatnonzero(run.duplicated(["query_id", "passage_id"]))):
        row = int(repeated[0])
        found = f"passage {passages[row]} a second time for query {queries[row]}"
        raise _trec_fault(path, lines[row], found, "each passage at most once a query")
    return run


def is_comment(fields: Sequence[str]) -> bool:
    """Whether a line of a TREC run is a comment, as ir_metadata and trec_eval 10 have them, and not query `#...`."""
    if not fields[0].startswith("#"):
        return False
    ranked = len(fields) == len(TREC_FIELDS) and _WHOLE.fullmatch(fields[3]) and _NUMBER.fullmatch(fields[4])
    return not ranked


def strictly_decreasing(query: npt.NDArray[np.integer], score: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Lower scores by as little as possible so that they strictly decrease within each query, in single precision.

    Let k_i be the rank of row i's score among all float32 values. Its new rank is k'_i = min(k_i, k'_{i-1} - 1), so
    k'_i + i is the running minimum of k_i + i.

    Args:
        query: [rows] non-decreasing query positions.
        score: [rows] finite scores in the order of the ranking.

    Returns:
        [rows] float32; a score that is already below the previous one is unchanged.
    """
    bits = np.ascontiguousarray(score, np.float32).view(np.int32).astype(np.int64)
    place = np.where(bits >= 0, bits, -(2**31) - bits) + np.arange(len(bits))
    # Subtracting more than the range of ranks at each new query lets one running minimum serve all queries.
    drop = np.cumsum(np.diff(query, prepend=query[:1]) != 0) * (2**33 + len(bits))
    place = np.minimum.accumulate(place - drop) + drop - np.arange(len(bits))
    lowered: npt.NDArray[np.float32] = np.where(place >= 0, place, -(2**31) - place).astype(np.int32).view(np.float32)
    return lowered


def query_batches(query: npt.NDArray[np.integer], rows: int) -> Iterator[slice]:
    """Slices of about `rows` rows that do not split a query; `query` is non-decreasing."""
    starts = np.flatnonzero(np.diff(query, prepend=-1))
    cuts = np.unique(starts[np.searchsorted(starts, np.arange(0, len(query), rows), side="right") - 1])
    for start, stop in itertools.pairwise([*cuts.tolist(), len(query)]):
        yield slice(start, stop)


def _arrow_ids(ids: Ids) -> pa.Array:
    """The ids as one Arrow array. Offsets have 64 bits, since the ids of a large collection exceed 2 GiB."""
    if isinstance(ids, pa.ChunkedArray):
        return ids.cast(pa.large_string()).combine_chunks()
    return ids.cast(pa.large_string()) if isinstance(ids, pa.Array) else pa.array(ids, pa.large_string())


def _refuse_white_space(path: Path, what: str, ids: pa.Array) -> None:
    bad = ids.filter(pc.match_substring_regex(ids, f"{WHITE_SPACE}|^$"))
    if len(bad):
        raise HardnegError(
            f"The columns of a TREC run are separated by white space, so a {what} cannot contain any or be empty.",
            where=str(path),
            found=repr(bad[0].as_py()),
            remedy=f"rename that {what}.",
        )


def _trec_fault(path: Path, line: int, found: str, expected: str) -> HardnegError:
    return HardnegError("A line of a TREC run cannot be read.", where=f"{path}:{line}", found=found, expected=expected)
