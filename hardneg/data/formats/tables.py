"""Plain files with columns: JSON Lines, tab-separated text, CSV or Parquet.

The first line decides how a file is read where it can be nothing else: JSON, TREC documents and topics, XML topics and
SMART records (see `hardneg.data.formats.markup`). Otherwise the extension decides. .jsonl and .ndjson files have a JSON
object per line; .json files may also hold one array. .tsv and .txt files have tab-separated columns, and quotes have no
meaning there. .csv files follow RFC 4180. All but Parquet may be gzip-compressed. Queries and qrels with other
extensions are read as text, and qrels may be separated by any white space. What a file's name does not say is told.
`hardneg.data.columns` says how columns are found.

A table may consist of several files: a folder of parts, or a pattern such as `parts/*.parquet`, read in sorted order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from hardneg.data.collection import Judgement, Passage, Query, judged_queries
from hardneg.data.columns import PASSAGES, QRELS, QUERIES, Table
from hardneg.data.formats import trec
from hardneg.data.records import as_trec, check, parts, records, told
from hardneg.data.values import judgement_of, passage_of, query_of
from hardneg.errors import HardnegError
from hardneg.stages.artifacts import file_digest


class Files:
    """Reads passages, queries and qrels from tables; a `CollectionReader`.

    The queries of a split are those its qrels judge, in file order, so several splits can share a file of queries. The
    ids of the judged queries are held in memory.

    Args:
        passages: fields id and text, optionally title and url.
        splits: for each split its queries (fields id and text) and its qrels (fields query and passage, optionally
            grade, which defaults to 1).

    Raises:
        HardnegError: a file is missing or of unknown kind, or `columns` cannot be right.
    """

    def __init__(self, passages: Table, splits: Mapping[str, tuple[Table, Table]]) -> None:
        self._passages, self._splits = passages, dict(splits)
        check(passages, PASSAGES)
        for queries, qrels in self._splits.values():
            check(queries, QUERIES)
            check(qrels, QRELS)

    def splits(self) -> tuple[str, ...]:
        """The names of the splits, in the order given."""
        return tuple(self._splits)

    def files(self, splits: Iterable[str]) -> dict[str, Path]:
        """The files that these splits need, as `passages/...`, `queries.<split>/...` and `qrels.<split>/...`.

        Raises:
            HardnegError: there is no such split, or a file is missing.
        """
        tables = {"passages": self._passages}
        for split in splits:
            tables[f"queries.{split}"], tables[f"qrels.{split}"] = self._split(split)
        return {f"{role}/{name}": path for role, table in tables.items() for name, path in parts(table.path).items()}

    def _split(self, split: str) -> tuple[Table, Table]:
        if split not in self._splits:
            raise self._no_split(split)
        return self._splits[split]

    def _no_split(self, split: str) -> HardnegError:
        return HardnegError(
            "The collection has no such split.",
            where="splits",
            found=split,
            expected=", ".join(self._splits) or "none: the collection has no splits",
            remedy="give its queries and qrels, or choose other splits under `splits`.",
        )

    def passages(self) -> Iterator[Passage]:
        """Every passage, in the order of the files.

        Raises:
            HardnegError: as for `records`, an id is missing or empty, a value is not a string, or there is no passage.
        """
        where = ""
        for where, record in records(self._passages, PASSAGES):
            yield passage_of(record, where)
        if not where:
            raise HardnegError(
                "The collection has no passages.",
                where=str(self._passages.path),
                found="no record",
                remedy="put the passages there, or correct the path.",
            )

    def queries(self, split: str) -> Iterator[Query]:
        """The judged queries of a split, in file order.

        Raises:
            HardnegError: as for `records`, an id is missing or empty, a value is not a string, or a judged query is
                missing.
        """
        file = self._split(split)[0].path
        return judged_queries(self._all_queries(split), partial(self.judgements, split), file)

    def _all_queries(self, split: str) -> Iterator[Query]:
        table, _ = self._split(split)
        if as_trec(table, QUERIES):
            for path in parts(table.path).values():
                yield from trec.topics(path)
        else:
            for where, record in records(table, QUERIES):
                yield query_of(record, where)

    def judgements(self, split: str) -> Iterator[Judgement]:
        """The judgements of a split, in the order of its qrels.

        Raises:
            HardnegError: as for `records`, an id is missing or empty, or a grade is not an integer.
        """
        _, table = self._split(split)
        if as_trec(table, QRELS):
            for path in parts(table.path).values():
                yield from trec.qrels(path)
        else:
            for where, record in records(table, QRELS):
                yield judgement_of(record, where)

    def provenance(self) -> dict[str, Any]:
        """The size and SHA-256 of each file, the queries of each split left out as unjudged, and what was told."""
        facts: dict[Path, dict[str, Any]] = {}
        files = self.files(self._splits)
        for path in files.values():
            if path not in facts:  # splits may share a file of queries
                facts[path] = {"bytes": path.stat().st_size, "sha256": file_digest(path)}
        return {
            "files": {name: facts[path] for name, path in files.items()},
            "told": self._told(),
            "queries_without_judgements": {split: self._left_out(split) for split in self._splits},
        }

    def _told(self) -> dict[str, str]:
        """What is to be told of the files, by their path in the table: those whose names say something else."""
        tables = {(self._passages.path, PASSAGES.kind): (self._passages, PASSAGES)}
        for pair in self._splits.values():
            for table, fields in zip(pair, (QUERIES, QRELS), strict=True):
                tables[table.path, fields.kind] = table, fields
        return {name: line for table, fields in tables.values() for name, line in told(table, fields).items()}

    def _left_out(self, split: str) -> int:
        judged = {judgement.query_id for judgement in self.judgements(split)}
        return sum(query.query_id not in judged for query in self._all_queries(split))
