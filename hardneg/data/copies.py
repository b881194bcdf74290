"""Equal texts under several ids: found while a collection is prepared, and read back for masks.

To an encoder equal texts are one text, whatever their ids. Texts count as equal if they differ at most in white space
and case. They are compared by 64-bit digests; two different texts of a collection of ten million share one with a
probability of three in a million.

Three files tell of them. Each exists only where there is something to tell:

* `equal_passages.parquet`: `passage` and `first`, the first passage with the same title and text;
* `equal_queries.<split>.parquet`: `query` and `first`, the first query of the split with the same text;
* `own_passages.<split>.parquet`: `query` and `passage`, a passage that is the query itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hardneg.data.ids import Ids
from hardneg.stages.artifacts import Artifact, atomic_path

if TYPE_CHECKING:
    from hardneg.data.collection import Passage

EQUAL_PASSAGES = "equal_passages.parquet"
EQUAL_QUERIES = "equal_queries.{split}.parquet"
OWN_PASSAGES = "own_passages.{split}.parquet"
IDS_AT_ONCE = 20_000
BLANK = 0  # the digest of a text without characters, which is no copy of another

Digests: TypeAlias = npt.NDArray[np.uint64]
Positions: TypeAlias = npt.NDArray[np.int64]
Own = Literal["auto", "same_text", "same_id", "keep"]
T = TypeVar("T")


def digest(text: str) -> int:
    """A 64-bit digest of a text without regard to white space and case; `BLANK` if nothing is left."""
    plain = " ".join(text.casefold().split())
    return int.from_bytes(hashlib.blake2b(plain.encode(), digest_size=8).digest()) or 1 if plain else BLANK


class Seen:
    """The digests of texts that stream by: 8 bytes a text, and 8 more for each passage that has a title."""

    def __init__(self) -> None:
        self._whole, self._bodies, self._titled = bytearray(), bytearray(), bytearray()

    def texts(self, rows: Iterable[T], at: slice) -> Iterator[T]:
        """Pass rows on, and keep the digest of their columns `at`, joined."""
        for row in rows:
            self._add(self._whole, digest(" ".join(row[at])))  # type: ignore[index]
            yield row

    def passages(self, passages: Iterable[Passage]) -> Iterator[Passage]:
        """Pass passages on, and keep the digests of title and text, and of the text alone."""
        for number, passage in enumerate(passages):
            self._add(self._whole, digest(f"{passage.title} {passage.text}"))
            if passage.title.strip():
                self._add(self._bodies, digest(passage.text))
                self._add(self._titled, number)
            yield passage

    @staticmethod
    def _add(to: bytearray, number: int) -> None:
        to += number.to_bytes(8, "little")

    @property
    def whole(self) -> Digests:
        """[n] of titles and texts together, in the order seen."""
        return np.frombuffer(bytes(self._whole), "<u8")

    def holders(self) -> tuple[Digests, Positions]:
        """Each digest that stands for a text, sorted, and the position of that text."""
        whole = self.whole
        digests = np.concatenate((whole, np.frombuffer(bytes(self._bodies), "<u8")))
        positions = np.concatenate((np.arange(len(whole)), np.frombuffer(bytes(self._titled), "<i8")))
        order = np.argsort(digests, kind="stable")
        return digests[order], positions[order]


def first_of(digests: Digests) -> Positions:
    """The position of the first text that equals each text: int64 [n]. Blank texts equal only themselves."""
    _, first, inverse = np.unique(digests, return_index=True, return_inverse=True)
    return np.where(digests == BLANK, np.arange(len(digests)), first[inverse])


def own_passages(
    rule: Own, digests: Digests, ids: Ids, holders: tuple[Digests, Positions], names: Ids
) -> tuple[Positions, Positions]:
    """The passages (or documents) that are a query themselves.

    Args:
        rule: `same_text`; `same_id`; `auto`, both, but ids that are numbers do not count; `keep` is as `auto`.
        digests: [queries], of the queries' texts.
        ids: of the queries.
        holders: see `Seen.holders`.
        names: ids of the passages.

    Returns:
        Positions of queries and of passages: int64 [n] each, by query, then by passage.
    """
    keys = [np.zeros(0, np.int64)]
    if rule != "same_id":
        low, high = (np.searchsorted(holders[0], digests, side=side) for side in ("left", "right"))
        counts = np.where(digests == BLANK, 0, high - low)
        query = np.repeat(np.arange(len(digests)), counts)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        keys.append(query * len(names) + holders[1][np.repeat(low, counts) + within])
    if rule != "same_text":
        for start in range(0, len(ids), IDS_AT_ONCE):
            texts: list[str] = ids.texts[start : start + IDS_AT_ONCE].to_pylist()
            found = names.positions(texts)
            if rule != "same_id":  # queries and passages that are both numbered share ids by chance
                found = np.where([text.isdecimal() for text in texts], -1, found)
            there = np.flatnonzero(found >= 0)
            keys.append((start + there) * len(names) + found[there])
    query, passage = np.divmod(np.unique(np.concatenate(keys)), max(len(names), 1))
    return query, passage


def windows_of(firsts: Positions, query: Positions, document: Positions) -> tuple[Positions, Positions]:
    """Pairs of queries and documents as pairs of queries and passages.

    Args:
        firsts: int64 [documents + 1], the first passage of each document.
        query: int64 [n].
        document: int64 [n].
    """
    counts = firsts[document + 1] - firsts[document]
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(query, counts), np.repeat(firsts[document], counts) + within


def write_pairs(path: Path, columns: dict[str, Positions]) -> list[Path]:
    """Write columns of positions as int32, unless they are empty. Returns the files written."""
    if not len(next(iter(columns.values()))):
        return []
    table = pa.table({name: pa.array(column.astype(np.int32)) for name, column in columns.items()})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    return [path]


def write_equal(path: Path, column: str, first: Positions) -> list[Path]:
    """Write the texts that equal an earlier one. Returns the files written."""
    copies = np.flatnonzero(first != np.arange(len(first)))
    return write_pairs(path, {column: copies, "first": first[copies]})


def read_pairs(path: Path) -> tuple[Positions, Positions]:
    """The two columns of one of the files: int64 [n] each; empty if there is no such file."""
    if not path.exists():
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    first, second = (column.to_numpy().astype(np.int64) for column in pq.read_table(path).columns)
    return first, second


def read_first(path: Path, count: int) -> Positions | None:
    """For each of `count` texts the first that equals it: int64 [count]; None if there is no such file."""
    if not path.exists():
        return None
    copy, original = read_pairs(path)
    first = np.arange(count)
    first[copy] = original
    return first


def own_of(collection: Artifact, split: str) -> tuple[Positions, Positions] | None:
    """The queries of a split and the passages that are these queries themselves, which runs leave out.

    Returns:
        Positions of queries and of passages: int64 [n] each; None if there are none.
    """
    name = OWN_PASSAGES.format(split=split)
    return read_pairs(collection.path(name)) if name in collection.manifest["files"] else None
