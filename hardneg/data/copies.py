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
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hardneg.data.buckets import Buckets, within
from hardneg.data.ids import Ids
from hardneg.stages.artifacts import Artifact, atomic_path

if TYPE_CHECKING:
    from hardneg.data.collection import Passage

EQUAL_PASSAGES = "equal_passages.parquet"
EQUAL_QUERIES = "equal_queries.{split}.parquet"
OWN_PASSAGES = "own_passages.{split}.parquet"
BLANK = 0  # the digest of a text without characters, which is no copy of another

Digests: TypeAlias = npt.NDArray[np.uint64]
Positions: TypeAlias = npt.NDArray[np.int64]
Own = Literal["auto", "same_text", "same_id", "keep"]
T = TypeVar("T")


def digest(text: str) -> int:
    """A 64-bit digest of a text without regard to white space and case; `BLANK` if nothing is left."""
    plain = " ".join(text.casefold().split())
    return int.from_bytes(hashlib.blake2b(plain.encode(), digest_size=8).digest()) or 1 if plain else BLANK


class PassageDigests:
    """The digests of passages (or documents) that stream by. They are on disk: 16 bytes for each text.

    Args:
        scratch: a folder for files without a name.

    Attributes:
        whole: digest and position of each title and text together.
        bodies: those of the text alone, where there is a title.
    """

    def __init__(self, scratch: Path) -> None:
        self.whole, self.bodies = Buckets(2, scratch), Buckets(2, scratch)

    def passing(self, passages: Iterable[Passage]) -> Iterator[Passage]:
        """Pass passages on, and keep their digests."""
        for number, passage in enumerate(passages):
            _keep(self.whole, f"{passage.title} {passage.text}", number)
            if passage.title.strip():
                _keep(self.bodies, passage.text, number)
            yield passage


def _keep(among: Buckets, text: str, number: int) -> None:
    """Keep a text's digest, unless the text is blank: it is no copy of another."""
    if (found := digest(text)) != BLANK:
        among.append(found, number)


def digested(rows: Iterable[T], at: slice, among: Buckets) -> Iterator[T]:
    """Pass rows on, and keep the digest of their columns `at`, joined."""
    for number, row in enumerate(rows):
        _keep(among, " ".join(row[at]), number)  # type: ignore[index]
        yield row


def digests_of(digests: Buckets, count: int) -> Digests:
    """The digests of `count` texts in order: uint64 [count]; `BLANK` of those that are blank."""
    ordered = np.full(count, BLANK, np.uint64)
    for rows in digests:
        ordered[rows[:, 1]] = rows[:, 0]
    return ordered


def copies_among(digests: Buckets) -> tuple[Positions, Positions]:
    """The texts that equal an earlier one, and the first text that each equals: int64 [n] each, by position."""
    copies, firsts = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for rows in digests:
        start = np.flatnonzero(np.diff(rows[:, 0], prepend=~rows[:1, 0]))
        first = np.repeat(rows[start, 1], np.diff(start, append=len(rows)))
        copy = rows[:, 1] != first
        copies.append(rows[copy, 1].astype(np.int64))
        firsts.append(first[copy].astype(np.int64))
    copy, first = np.concatenate(copies), np.concatenate(firsts)
    order = np.argsort(copy)
    return copy[order], first[order]


def own_passages(
    rule: Own, digests: Digests, ids: Ids, holders: Sequence[Buckets], names: Ids
) -> tuple[Positions, Positions]:
    """The passages (or documents) that are a query themselves.

    Args:
        rule: `same_text`; `same_id`; `auto`, both, but ids that are numbers do not count; `keep` is as `auto`.
        digests: [queries], of the queries' texts.
        ids: of the queries.
        holders: digests and positions of passages.
        names: ids of the passages.

    Returns:
        Positions of queries and of passages: int64 [n] each, by query, then by passage.
    """
    keys = [np.zeros(0, np.int64)]
    if rule != "same_id":
        for each in holders:
            query, rows = each.find(digests)
            keys.append(query * len(names) + rows[:, 1].astype(np.int64))
    if rule != "same_text":
        start = 0
        for batch in ids:
            texts: list[str] = batch.to_pylist()
            found = names.positions(texts)
            if rule != "same_id":  # queries and passages that are both numbered share ids by chance
                found = np.where([text.isdecimal() for text in texts], -1, found)
            there = np.flatnonzero(found >= 0)
            keys.append((start + there) * len(names) + found[there])
            start += len(texts)
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
    return np.repeat(query, counts), np.repeat(firsts[document], counts) + within(counts)


def write_pairs(path: Path, columns: dict[str, Positions]) -> list[Path]:
    """Write columns of positions as int32, unless they are empty. Returns the files written."""
    if not len(next(iter(columns.values()))):
        return []
    table = pa.table({name: pa.array(column.astype(np.int32)) for name, column in columns.items()})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    return [path]


def write_equal(path: Path, column: str, copy: Positions, first: Positions) -> list[Path]:
    """Write the texts that equal an earlier one, see `copies_among`. Returns the files written."""
    return write_pairs(path, {column: copy, "first": first})


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
