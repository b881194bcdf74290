"""The registry of collection formats and their readers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardneg.data.collection import CollectionReader
from hardneg.errors import HardnegError
from hardneg.stages.artifacts import canonical_json

if TYPE_CHECKING:
    from hardneg.data.columns import Table
    from hardneg.data.formats.hub import HubTable

FETCHED = "files"
"""The folder of downloaded files inside the folder of a download stage."""

ROOTS = {
    "pydocs": "hardneg.data.formats.pydocs:PyDocs",
    "beir": "hardneg.data.formats.beir:Beir",
    "msmarco-passage": "hardneg.data.formats.msmarco:MsMarcoPassage",
    "msmarco-document": "hardneg.data.formats.msmarco:MsMarcoDocument",
    "squad": "hardneg.data.formats.squad:Squad",
    "vaswani": "hardneg.data.formats.vaswani:Vaswani",
    "files": "hardneg.data.formats.tables:Files",
    "pairs": "hardneg.data.formats.pairs:Pairs",
    "ir_datasets": "hardneg.data.formats.irds:IrDatasets",
    "hf_datasets": "hardneg.data.formats.hub:HubDatasets",
    "joined": "hardneg.data.formats.joined:Joined",
}

MEMBERS = "hardneg.data.members:count_members"
"""The code that tells which of several collections a passage or a query is from."""

DOWNLOADED_BY = {
    "beir": "configs/beir.yaml and configs/nfcorpus.yaml",
    "msmarco-passage": "configs/msmarco-passage.yaml",
    "msmarco-document": "configs/msmarco-document.yaml",
    "squad": "configs/squad.yaml",
}
"""Configurations that say, under `collection.download`, where the files of a format come from."""


def roots(chosen: Mapping[str, Any]) -> list[str]:
    """The names of the code that reads a collection, for the stage's revision."""
    own = [ROOTS[chosen["format"]], *(["hardneg.data.holdout:HeldOut"] if chosen["holdout"] else [])]
    own += [MEMBERS] if chosen["format"] == "joined" else []
    return list(dict.fromkeys([*own, *(root for part in chosen.get("parts", ()) for root in roots(part))]))


def digest_of(digests: Mapping[str, str]) -> str:
    """One digest for all files of a collection, by their names: a table may come in thousands of parts."""
    return hashlib.sha256(canonical_json(digests).encode()).hexdigest()


def open_collection(
    chosen: Mapping[str, Any], train: str | None, fetched: Path | None = None, workers: int = 1
) -> CollectionReader:
    """The reader of a configured collection.

    Args:
        chosen: the section `collection` of the configuration, as JSON types.
        train: the training split, which held-out queries are taken from.
        fetched: the folder of its downloaded files, if any. `path` is then relative to it.
        workers: the number of processes that read.

    Raises:
        HardnegError: its files are missing.
    """
    if chosen["format"] == "joined":
        from hardneg.data.formats.joined import Joined

        parts = {part["name"]: open_collection(part, train, None, workers) for part in chosen["parts"]}
        reader: CollectionReader = Joined(parts, train)
    else:
        reader = _open(chosen, fetched, workers)
    if train is None or not chosen["holdout"]:
        return reader
    from hardneg.data.holdout import HeldOut

    return HeldOut(reader, train, chosen["holdout"])


def _open(chosen: Mapping[str, Any], fetched: Path | None, workers: int) -> CollectionReader:
    # Formats are imported on demand, because planning opens a collection at every start.
    folder = (fetched or Path()) / (chosen.get("path") or "")
    if fetched is None:
        _check_folder(folder, chosen["format"])
    match chosen["format"]:
        case "pydocs":
            from hardneg.data.formats.pydocs import PyDocs
            from hardneg.data.installed import installed_versions

            return PyDocs(installed_versions(), workers=workers, most=chosen.get("passages"))
        case "beir":
            from hardneg.data.formats.beir import Beir

            return Beir(folder)
        case "msmarco-passage":
            from hardneg.data.formats.msmarco import MsMarcoPassage

            return MsMarcoPassage(folder)
        case "msmarco-document":
            from hardneg.data.formats.msmarco import MsMarcoDocument

            return MsMarcoDocument(folder)
        case "squad":
            from hardneg.data.formats.squad import Squad

            return Squad({split: folder / name for split, name in chosen["splits"].items()})
        case "vaswani":
            from hardneg.data.formats.vaswani import Vaswani

            return Vaswani(folder)
        case "files":
            from hardneg.data.formats.tables import Files

            splits = chosen["splits"] or {"train": {"queries": chosen["queries"], "qrels": chosen["qrels"]}}
            return Files(
                _table(chosen["passages"]),
                {split: (_table(given["queries"]), _table(given["qrels"])) for split, given in splits.items()},
            )
        case "pairs":
            from hardneg.data.formats.pairs import Pairs

            rows = chosen["splits"] or {"train": {"path": chosen["path"], "header": None}}
            return Pairs(
                {split: _table(given) for split, given in rows.items()},
                {field: names for field, names in chosen["columns"].items() if names is not None},
                _table(chosen["corpus"]) if chosen["corpus"] else None,
            )
        case "ir_datasets":
            from hardneg.data.formats.irds import IrDatasets

            return IrDatasets(chosen["splits"])
        case "hf_datasets":
            from hardneg.data.formats.hub import HubDatasets

            return HubDatasets(
                _rows(chosen["passages"]),
                {split: (_rows(given["queries"]), _rows(given["qrels"])) for split, given in chosen["splits"].items()},
            )
    raise ValueError(chosen["format"])


def _check_folder(folder: Path, given: str) -> None:
    """Refuse a folder that is missing, and say who downloads the files of its format."""
    if given in DOWNLOADED_BY and not folder.is_dir():
        raise HardnegError(
            "The folder of the collection is missing.",
            where=str(folder),
            found="a file" if folder.exists() else "nothing",
            expected=f"a folder with the files of format {given}",
            remedy="correct `collection.path`, or have the files downloaded: `collection.download`, as in "
            f"{DOWNLOADED_BY[given]}, says where they are.",
        )


def _table(given: Mapping[str, Any]) -> Table:
    from hardneg.data.columns import Table

    return Table(Path(given["path"]), _columns(given), given["header"])


def _rows(given: Mapping[str, Any]) -> HubTable:
    from hardneg.data.formats.hub import HubTable

    place = {key: given[key] for key in ("dataset", "config", "split", "revision")}
    return HubTable(**place, columns={field: str(column) for field, column in _columns(given).items()})


def _columns(given: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that the configuration names, by field."""
    fields = ("id", "url", "title", "text", "query", "passage", "grade")
    return {field: given[field] for field in fields if given.get(field) is not None}
