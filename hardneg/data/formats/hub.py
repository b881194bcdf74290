"""Datasets of the Hugging Face Hub, read by column name.

Local folders in the layout of the Hub can be read too. For your own files, prefer `format: files`, which notices when
they change.

Rows are streamed. Datasets that cannot be streamed, such as some archives, are copied to the library's cache first.
Datasets with a loading script are refused, so no code from the Hub ever runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hardneg.data.collection import Judgement, Passage, Query, judged_queries
from hardneg.data.columns import PASSAGES, QRELS, QUERIES, Fields, Table, match_columns
from hardneg.data.values import judgement_of, passage_of, query_of
from hardneg.errors import HardnegError

HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
ROWS_AT_ONCE = 1_000
BYTES_AT_ONCE = 1 << 23  # of a Parquet column


@dataclass(frozen=True)
class HubTable:
    """A dataset with passages, queries or qrels.

    Attributes:
        dataset: a Hub id such as `BeIR/nfcorpus`, or a local folder of Parquet, JSONL, CSV, ... files.
        config: the dataset's configuration (subset). None if there is only one.
        split: the dataset's split, as the library names it. In a folder, files `dev*` and `val*` are `validation`.
        revision: the branch, tag or commit. Only a commit fixes the rows. None for a local folder.
        columns: the column name of each field. Other fields are found by well-known names.
    """

    dataset: str
    config: str | None = None
    split: str = "train"
    revision: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_local(self) -> bool:
        """Whether it is a local folder."""
        return Path(self.dataset).is_dir()

    def __str__(self) -> str:
        return f"{self.dataset}{f' ({self.config})' if self.config else ''}, split {self.split}"


class HubDatasets:
    """Reads passages, queries and qrels from datasets; a `CollectionReader`.

    The queries of a split are those its qrels judge, in dataset order. The ids of the judged queries are held in
    memory. The library is imported and the network used only when the first record is read.

    Args:
        passages: fields id and text, optionally title and url.
        splits: for each split its queries (fields id and text) and its qrels (fields query and passage, optionally
            grade, which defaults to 1).

    Raises:
        HardnegError: a dataset is neither a folder nor a Hub id.
    """

    def __init__(self, passages: HubTable, splits: Mapping[str, tuple[HubTable, HubTable]]) -> None:
        self._passages, self._splits = passages, dict(splits)
        for table in (passages, *(table for pair in self._splits.values() for table in pair)):
            if not (table.is_local or HUB_ID.fullmatch(table.dataset)):
                raise HardnegError(
                    "A dataset is neither a folder nor a Hugging Face Hub id.",
                    where="collection",
                    found=f"{table.dataset} ({'a file' if Path(table.dataset).exists() else 'not a local path'})",
                    expected="the path of a folder, or an id such as owner/name",
                    remedy="correct it.",
                )
        self._builder = cache(_builder)  # one commit is read throughout, even if the dataset changes meanwhile

    def _open(self, table: HubTable) -> Any:
        """The dataset's rows, streamed if possible."""
        try:
            builder = self._builder(table.dataset, table.config, table.revision)
            try:
                return builder.as_streaming_dataset(split=table.split)
            except NotImplementedError:  # raised if it cannot be streamed
                builder.download_and_prepare()
                return builder.as_dataset(split=table.split)
        except Exception as fault:  # the library passes on errors of any type
            raise _fault(
                "A dataset cannot be opened.",
                str(table),
                fault,
                "check the dataset's name, configuration, split and revision. Get damaged files again. Private and "
                "gated datasets need `hf auth login`. For a dataset with a script, try the revision "
                "refs/convert/parquet.",
            ) from fault

    def _records(self, table: HubTable, fields: Fields) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the place of each row and its values by field. Fields without a column are left out."""
        named = Table(Path(table.dataset), table.columns)
        for number, batch in self._batches(table):
            found = match_columns(batch.column_names, named, fields, str(table))
            columns = [batch.column(column).to_pylist() for column in found.values()]
            for row, values in enumerate(zip(*columns, strict=True), start=number + 1):
                yield f"{table}, row {row}", dict(zip(found, values, strict=True))

    def _batches(self, table: HubTable) -> Iterator[tuple[int, Any]]:
        """Yield Arrow tables of at most `ROWS_AT_ONCE` rows, each with the number of rows before it."""
        rows, number = self._open(table), 0
        try:
            for batch in rows.with_format("arrow").iter(batch_size=ROWS_AT_ONCE):
                yield number, batch
                number += len(batch)
        except Exception as fault:  # as above
            raise _fault(
                "A dataset cannot be read completely.",
                f"{table}, after row {number}",
                fault,
                "all files must be complete and have the same columns and types: get or write them again.",
            ) from fault

    def splits(self) -> tuple[str, ...]:
        """The names of the splits, in the order given."""
        return tuple(self._splits)

    def files(self, splits: Iterable[str]) -> dict[str, Path]:
        """Empty: a dataset is identified by its id and revision. Do not change a local folder while it is used."""
        return {}

    def passages(self) -> Iterator[Passage]:
        """Every passage, in dataset order.

        Raises:
            HardnegError: the dataset cannot be read or lacks a column, or an id or text is invalid.
        """
        for where, record in self._records(self._passages, PASSAGES):
            yield passage_of(record, where)

    def queries(self, split: str) -> Iterator[Query]:
        """The judged queries of a split, in dataset order.

        Raises:
            HardnegError: a dataset cannot be read or lacks a column, or an id or text is invalid.
        """
        table, _ = self._splits[split]
        asked = (query_of(record, where) for where, record in self._records(table, QUERIES))
        return judged_queries(asked, partial(self.judgements, split), str(table))

    def judgements(self, split: str) -> Iterator[Judgement]:
        """The judgements of a split, in dataset order.

        Raises:
            HardnegError: the dataset cannot be read or lacks a column, or an id or grade is invalid.
        """
        for where, record in self._records(self._splits[split][1], QRELS):
            yield judgement_of(record, where)

    def provenance(self) -> dict[str, Any]:
        """The library's version, and for each dataset the request and the commit that was read."""
        return {
            "datasets": version("datasets"),
            "passages": self._facts(self._passages),
            "splits": {
                split: {"queries": self._facts(queries), "qrels": self._facts(qrels)}
                for split, (queries, qrels) in self._splits.items()
            },
        }

    def _facts(self, table: HubTable) -> dict[str, Any]:
        builder = None if table.is_local else self._builder(table.dataset, table.config, table.revision)
        return {
            "dataset": table.dataset if builder else Path(table.dataset).name,
            "config": table.config,
            "split": table.split,
            "revision": table.revision,
            "commit": builder.hash if builder else None,
        }


def _builder(dataset: str, config: str | None, revision: str | None) -> Any:
    import datasets  # imported here so that planning starts without it
    from pyarrow.dataset import ParquetFragmentScanOptions

    builder = datasets.load_dataset_builder(dataset, config, revision=revision)
    if hasattr(builder.config, "fragment_scan_options"):  # Parquet; by default it would keep whole files in memory
        builder.config.batch_size = ROWS_AT_ONCE
        builder.config.fragment_scan_options = ParquetFragmentScanOptions(
            pre_buffer=False, use_buffered_stream=True, buffer_size=BYTES_AT_ONCE
        )
    return builder


def _fault(what: str, where: str, fault: Exception, remedy: str) -> HardnegError:
    if isinstance(fault, ConnectionError):
        remedy = (
            "check the network and HF_HUB_OFFLINE. Without a network, copy the dataset's files to this machine and "
            "read them with `format: files`."
        )
    found = " ".join(f"{type(fault).__name__}: {fault}".split())
    return HardnegError(what, where=where, found=found[:500], remedy=remedy)
