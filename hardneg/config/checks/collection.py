"""Whether the settings of the collection fit together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hardneg.config.collection import BaseCollection, FilesCollection, FolderCollection, HubCollection, PairsCollection
from hardneg.config.config import Config
from hardneg.config.hints import repeated
from hardneg.errors import HardnegError


def problems(config: Config) -> Iterator[HardnegError]:
    """Problems of the collection: holdout, windows, then what its format asks for."""
    collection = config.collection
    yield from _holdout(collection, config.splits.train)
    if collection.windows and collection.windows.overlap >= collection.windows.words:
        yield HardnegError(
            "The overlap of windows must be shorter than a window.",
            where="collection.windows.overlap",
            found=f"{collection.windows.overlap} of {collection.windows.words} words",
            expected="less than collection.windows.words",
            remedy="lower the overlap.",
        )
    if isinstance(collection, FolderCollection) and collection.download:
        yield from _download(collection)
    if isinstance(collection, HubCollection):
        yield from _hub(collection)
    if isinstance(collection, FilesCollection):
        yield from _files(collection)
    if isinstance(collection, PairsCollection) and (collection.path is None) != bool(collection.splits):
        yield HardnegError(
            "The rows of pairs must be given in exactly one of two ways.",
            where="collection",
            found="path, splits" if collection.splits else "none",
            expected="either `path`, with `holdout` for the other splits, or `splits` with the rows of each",
            remedy="see configs/pairs.yaml.",
        )


def _holdout(collection: BaseCollection, train: str | None) -> Iterator[HardnegError]:
    shares = collection.holdout.values()
    if shares and not all(0 < share < 1 for share in (*shares, sum(shares))):
        yield HardnegError(
            "The held-out shares must be above 0 and leave queries to train on.",
            where="collection.holdout",
            found=", ".join(f"{split} {share}" for split, share in collection.holdout.items()),
            expected="shares above 0 with a sum below 1",
            remedy="correct them, for example {dev: 0.1, test: 0.1}.",
        )
    if shares and train is None:
        yield HardnegError(
            "Queries are held out of the training split, but there is no training split.",
            where="collection.holdout",
            found="splits.train: null",
            remedy="name the split to hold them out of in splits.train, or remove the holdout.",
        )


def _download(collection: FolderCollection) -> Iterator[HardnegError]:
    if collection.path.is_absolute() or ".." in collection.path.parts:
        yield HardnegError(
            "The path is outside the folder of downloaded files.",
            where="collection.path",
            found=str(collection.path),
            expected="a path inside that folder, such as . or scifact",
            remedy="correct it, or set `download: []` to read files that you already have.",
        )
    names = [file.url.rpartition("/")[2] for file in collection.download]
    for name in repeated(names):
        yield HardnegError(
            "Two downloads have the same file name.",
            where="collection.download",
            found=name,
            expected="different names, because all files go into one folder",
            remedy="use another URL for one of them, or download it yourself.",
        )


def _hub(collection: HubCollection) -> Iterator[HardnegError]:
    tables = [
        collection.passages,
        *(table for split in collection.splits.values() for table in (split.queries, split.qrels)),
    ]
    # `datasets` would read such a folder, but its content would be part of no version.
    for dataset in dict.fromkeys(table.dataset for table in tables if Path(table.dataset).exists()):
        yield HardnegError(
            "A Hub dataset has the name of a path on this machine.",
            where="collection",
            found=dataset,
            expected="the id of a dataset on the Hub, owner/name",
            remedy="use `format: files` for your own files; their changes are noticed.",
        )


def _files(collection: FilesCollection) -> Iterator[HardnegError]:
    single = (collection.queries is not None) + (collection.qrels is not None)
    if single != (0 if collection.splits else 2):
        found = [key for key in ("queries", "qrels", "splits") if getattr(collection, key)]
        yield HardnegError(
            "Queries and judgements must be given in exactly one of two ways.",
            where="collection",
            found=", ".join(found) or "none",
            expected="either `queries` and `qrels`, or `splits` with both for each split",
            remedy="see configs/own-data.yaml.",
        )
