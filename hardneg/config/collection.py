"""The collection: where passages, queries and judgements come from, one model a format, and what its splits are for."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from hardneg.config.base import FolderName, Model, Path
from hardneg.config.tables import HubPassages, HubSplit, PairRows, PairsColumns, Passages, Qrels, Queries, SplitFiles


class Windows(Model):
    """Documents are cut into passages of at most `words` words. Neighbouring passages share `overlap` words."""

    words: int = Field(ge=1)
    overlap: int = Field(0, ge=0)


class Download(Model):
    """A file to download before the collection is read."""

    url: str = Field(pattern=r"^https?://", description="http or https")
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    md5: str | None = Field(None, pattern=r"^[0-9a-f]{32}$")
    size: int | None = Field(None, ge=0, description="bytes")
    unpack: bool = Field(False, description="unpack the file, a zip, tar, tar.gz or tgz archive")


class BaseCollection(Model):
    """What every format has in common."""

    provides: ClassVar[frozenset[str]] = frozenset()
    """What its rows give to answers that need it; see `hardneg.methods.base.NEEDS`."""

    name: FolderName
    holdout: dict[str, float] = Field(
        {},
        description="splits held out of the training queries, with their shares: {dev: 0.1, test: 0.1}; "
        "a hash of the query's id decides where it goes",
    )
    windows: Windows | None = Field(
        None, description="cut documents into passages; the best passage of a document gives its score"
    )
    own_passages: Literal["auto", "same_text", "same_id", "keep"] = Field(
        "auto",
        description="which passages are a query itself, as in ArguAna and Quora; unless judged relevant, they are left "
        "out of scored runs and are no negatives. auto: those with its text, or with its id if that is no number; "
        "keep: none is left out",
    )


class PyDocsCollection(BaseCollection):
    """The embedded collection: docstrings of the pinned packages and the standard library."""

    format: Literal["pydocs"]
    name: FolderName = "pydocs"
    passages: int | None = Field(
        None,
        ge=1000,
        exclude_if=lambda given: given is None,
        description="a sample of at most so many passages, with the queries that they answer; null: all",
    )


class FolderCollection(BaseCollection):
    """A folder of files with known names. They are downloaded first if `download` is given."""

    path: Path = Field(description="the folder; with `download`, relative to the folder of downloaded files")
    download: tuple[Download, ...] = Field((), description="files to download")


class BeirCollection(FolderCollection):
    """A folder in BEIR layout: corpus.jsonl, queries.jsonl (plain or .gz), qrels/<split>.tsv."""

    format: Literal["beir"]


class MsMarcoPassageCollection(FolderCollection):
    """MS MARCO passages under their official file names. Splits train, dev, dl2019, dl2020, if their files exist."""

    format: Literal["msmarco-passage"]


class MsMarcoDocumentCollection(FolderCollection):
    """MS MARCO documents under their official file names. Splits train, dev, dl2019, dl2020, if their files exist."""

    format: Literal["msmarco-document"]


class SquadCollection(FolderCollection):
    """SQuAD 1.1 or 2.0: paragraphs are passages, questions are queries."""

    format: Literal["squad"]
    splits: dict[str, str] = Field(min_length=1, description="the JSON file of each split, inside the folder")


class VaswaniCollection(FolderCollection):
    """The Vaswani collection (NPL): doc-text, query-text, rlv-ass. Its split is `train`; `holdout` makes the others."""

    format: Literal["vaswani"]


class FilesCollection(BaseCollection):
    """Your own files: passages, and queries and judgements for each split.

    If `queries` and `qrels` are given instead of `splits`, they form the split `train`; `holdout` makes the others.
    """

    format: Literal["files"]
    passages: Passages
    queries: Queries | None = None
    qrels: Qrels | None = None
    splits: dict[str, SplitFiles] = Field({})


class PairsCollection(BaseCollection):
    """Rows of a query, its relevant passages and perhaps negatives, without ids.

    If `path` is given instead of `splits`, its rows form the split `train`; `holdout` makes the others.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"given"})
    format: Literal["pairs"]
    path: Path | None = Field(None, description="a JSONL, CSV, TSV or Parquet file, a folder of parts, or a pattern")
    splits: dict[str, PairRows] = Field({}, description="the rows of each split")
    columns: PairsColumns = Field(default_factory=PairsColumns)
    corpus: Passages | None = Field(None, description="further passages, with ids, to be searched too")


class IrDatasetsCollection(BaseCollection):
    """A dataset of the package ir_datasets."""

    format: Literal["ir_datasets"]
    splits: dict[str, str] = Field(
        min_length=1, description="the ir_datasets id of each split; all must share one set of documents"
    )


class HubCollection(BaseCollection):
    """Datasets on the Hugging Face Hub."""

    format: Literal["hf_datasets"]
    passages: HubPassages
    splits: dict[str, HubSplit] = Field(min_length=1)


Part = Annotated[
    BeirCollection
    | MsMarcoPassageCollection
    | MsMarcoDocumentCollection
    | SquadCollection
    | VaswaniCollection
    | FilesCollection
    | PairsCollection,
    Field(discriminator="format"),
]
"""A collection that can be joined with others: its files are on this machine."""


class JoinedCollection(BaseCollection):
    """Several collections as one. A query is compared with passages of its own collection only.

    Split `test` has the queries of all, and `<name>.test` those of one.
    """

    format: Literal["joined"]
    parts: tuple[Part, ...] = Field(min_length=1, description="the collections, each with a name of its own")
    weights: dict[str, float] | str = Field(
        "equal",
        description="the chance of each to give a training batch, by name; all `equal`; or by their number of training "
        "`queries`",
    )


Collection = Annotated[
    PyDocsCollection
    | BeirCollection
    | MsMarcoPassageCollection
    | MsMarcoDocumentCollection
    | SquadCollection
    | VaswaniCollection
    | FilesCollection
    | PairsCollection
    | IrDatasetsCollection
    | HubCollection
    | JoinedCollection,
    Field(discriminator="format"),
]


class Splits(Model):
    """Which split is trained on, and which are searched and scored."""

    train: str | None = Field("train", description="null: train nothing; all systems come from elsewhere")
    evaluate: tuple[str, ...] = Field(("dev", "test"), min_length=1)
