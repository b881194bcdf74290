"""Where passages, queries and judgements are found in tables: files on this machine, or datasets of the Hub."""

from __future__ import annotations

from pathlib import Path as AnyPath
from typing import Annotated

from pydantic import BeforeValidator, Field

from hardneg.config.base import Model, Path


def _number_in_text(value: object) -> object:
    """Read "0" as 0: values given by --config arrive as text."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdecimal() else value


Column = Annotated[str | int, BeforeValidator(_number_in_text)]
"""The name of a column, or its number from 0 where there is no header."""


class PassageColumns(Model):
    """The columns of a passage's fields."""

    id: Column | None = None
    url: Column | None = None
    title: Column | None = None
    text: Column | None = None


class QueryColumns(Model):
    """The columns of a query's fields."""

    id: Column | None = None
    text: Column | None = None


class QrelsColumns(Model):
    """The columns of a judgement's fields."""

    query: Column | None = None
    passage: Column | None = None
    grade: Column | None = None


# --- files ----------------------------------------------------------------------------------------------------------


class TableFile(Model):
    """A JSONL, TSV, CSV or Parquet file, gzipped or not. Columns that are not given are looked up by common names."""

    path: Path = Field(description="a file, a folder of parts, or a pattern with *")
    header: bool | None = Field(None, description="whether the first line names the columns; null: detect it")


class PassageFile(TableFile, PassageColumns):
    """Columns are given by name, or by number from 0 where there is no header."""


class QueryFile(TableFile, QueryColumns):
    """Columns are given by name, or by number from 0 where there is no header. TREC topics are read too."""


class QrelsFile(TableFile, QrelsColumns):
    """Columns are given by name, or by number from 0 where there is no header.

    TREC qrels with 2, 3 or 4 columns are read too.
    """


def _from_bare_path(value: object) -> object:
    """Let users write a file as its path alone."""
    return {"path": value} if isinstance(value, str | AnyPath) else value


Passages = Annotated[PassageFile, BeforeValidator(_from_bare_path, json_schema_input_type=str | PassageFile)]
Queries = Annotated[QueryFile, BeforeValidator(_from_bare_path, json_schema_input_type=str | QueryFile)]
Qrels = Annotated[QrelsFile, BeforeValidator(_from_bare_path, json_schema_input_type=str | QrelsFile)]


class SplitFiles(Model):
    """The queries and judgements of one split."""

    queries: Queries
    qrels: Qrels


class PairsFile(TableFile):
    """Rows of a query, its relevant passages and perhaps negatives."""


class PairsColumns(Model):
    """The columns of a row of pairs. Those that are not given are looked up by common names."""

    query: str | None = None
    positive: str | None = Field(None, description="one relevant passage, or a list of them")
    negative: str | tuple[str, ...] | None = Field(None, description="one column or several")
    positive_scores: str | None = None
    negative_scores: str | None = None
    scores: str | None = Field(None, description="of the relevant passages and then of the negatives")
    label: str | None = Field(None, description="0: the row's passages are negatives; above 0: their grade")


PairRows = Annotated[PairsFile, BeforeValidator(_from_bare_path, json_schema_input_type=str | PairsFile)]


# --- datasets of the Hugging Face Hub -------------------------------------------------------------------------------


class HubRows(Model):
    """Rows of a dataset on the Hugging Face Hub."""

    dataset: str = Field(description="owner/name")
    config: str | None = Field(None, description="the dataset's configuration (subset)")
    split: str = "train"
    revision: str | None = Field(None, description="the commit; null: the newest")


class HubPassages(HubRows, PassageColumns):
    """Columns that are not given are looked up by common names."""


class HubQueries(HubRows, QueryColumns):
    """Columns that are not given are looked up by common names."""


class HubQrels(HubRows, QrelsColumns):
    """Columns that are not given are looked up by common names."""


class HubSplit(Model):
    """The queries and judgements of one split."""

    queries: HubQueries
    qrels: HubQrels
