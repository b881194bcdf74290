"""Which collection each passage and each query of a joined collection is from.

They come collection by collection, so a range of positions says it. The facts of the prepared collection have them
under `members`: name, passages ([first, last + 1]) and queries (the same, by split), in order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from hardneg.data.parquet import batches

SEPARATOR = "/"


class Member(NamedTuple):
    """A collection among those that were joined.

    Attributes:
        name: of it.
        passages: the positions of its passages.
        queries: the positions of its queries, by split; empty where it lacks the split.
    """

    name: str
    passages: range
    queries: dict[str, range]


def id_in(name: str, text: str) -> str:
    """An id in the joined collection."""
    return f"{name}{SEPARATOR}{text}"


def count_members(folder: Path, names: Sequence[str], splits: Sequence[str]) -> list[dict[str, Any]]:
    """The facts `members` of a joined collection that was written to a folder.

    Args:
        folder: with `passages.parquet` and `queries.<split>.parquet`.
        names: of the collections, in the order in which they were written.
        splits: that were written.
    """
    passages = _ranges(folder / "passages.parquet", "passage_id", names)
    queries = {split: _ranges(folder / f"queries.{split}.parquet", "query_id", names) for split in splits}
    return [
        {"name": name, "passages": passages[place], "queries": {split: queries[split][place] for split in splits}}
        for place, name in enumerate(names)
    ]


def members_of(facts: Mapping[str, Any]) -> list[Member]:
    """The collections that were joined, by the facts of the prepared one; none where that is one by itself."""
    return [
        Member(
            entry["name"],
            range(*entry["passages"]),
            {split: range(*positions) for split, positions in entry["queries"].items()},
        )
        for entry in facts.get("members", ())
    ]


def _ranges(file: Path, column: str, names: Sequence[str]) -> list[list[int]]:
    counts = dict.fromkeys(names, 0)
    for batch in batches(file, [column]):
        ids: pa.Array = batch.column(0)
        for name in names:
            counts[name] += pc.sum(pc.starts_with(ids, f"{name}{SEPARATOR}")).as_py() or 0
    found, first = [], 0
    for count in counts.values():
        found.append([first, first + count])
        first += count
    return found
