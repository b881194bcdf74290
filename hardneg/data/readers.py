"""Which reader reads which format."""

from __future__ import annotations

from typing import Any

from hardneg.data.beir import Beir
from hardneg.data.collection import CollectionReader
from hardneg.data.pydocs import PyDocs


def open_collection(settings: dict[str, Any], place: str | None, workers: int) -> CollectionReader:
    """The reader of a collection stage's `format`.

    Args:
        settings: the stage's settings.
        place: where its files lie on this machine; None for the embedded collection.
        workers: processes that may read at once.
    """
    if settings["format"] == "pydocs":
        return PyDocs(settings["distributions"], workers=workers)
    assert place is not None
    return Beir(place)
