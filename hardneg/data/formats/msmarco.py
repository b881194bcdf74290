"""MS MARCO (version 1) as it is given out: passage ranking and document ranking, with TREC DL 2019 and 2020.

Each file has its official name, plain or with `.gz`, all in one folder. The training and development queries without
judgements, and the evaluation queries, of which none is judged in public, are left out. Some passages hold characters
that were encoded twice before they were published; they are read as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hardneg.data.columns import Table
from hardneg.data.formats.tables import Files
from hardneg.data.lines import lines
from hardneg.errors import HardnegError


@dataclass(frozen=True)
class Layout:
    """Official names.

    Attributes:
        collection: the file of passages or documents.
        width: its columns.
        splits: for each split its queries and qrels; of several pairs the first that is there counts.
    """

    collection: str
    width: int
    splits: Mapping[str, tuple[tuple[str, str], ...]]


PASSAGE = Layout(
    "collection.tsv",  # id, text
    2,
    {
        "train": (("queries.train.tsv", "qrels.train.tsv"),),
        "dev": (("queries.dev.small.tsv", "qrels.dev.small.tsv"), ("queries.dev.tsv", "qrels.dev.tsv")),
        "dl2019": (("msmarco-test2019-queries.tsv", "2019qrels-pass.txt"),),
        "dl2020": (("msmarco-test2020-queries.tsv", "2020qrels-pass.txt"),),
    },
)
DOCUMENT = Layout(
    "msmarco-docs.tsv",  # id, url, title, body
    4,
    {
        "train": (("msmarco-doctrain-queries.tsv", "msmarco-doctrain-qrels.tsv"),),
        "dev": (("msmarco-docdev-queries.tsv", "msmarco-docdev-qrels.tsv"),),
        "dl2019": (("msmarco-test2019-queries.tsv", "2019qrels-docs.txt"),),
        "dl2020": (("msmarco-test2020-queries.tsv", "2020qrels-docs.txt"),),
    },
)


class MsMarco(Files):
    """One of the two tasks in its official layout; a `CollectionReader`.

    A split is there when both its files are.

    Args:
        folder: where the files are.
        layout: their names.

    Raises:
        HardnegError: the collection's file, or both files of every split, are missing.
    """

    def __init__(self, folder: Path | str, layout: Layout) -> None:
        self.folder, self.layout = Path(folder), layout
        collection = self._file(layout.collection)
        if collection is None:
            raise self._missing(layout.collection)
        splits = {}
        for split, pairs in layout.splits.items():
            for queries, qrels in ((self._file(queries), self._file(qrels)) for queries, qrels in pairs):
                if queries and qrels and split not in splits:
                    splits[split] = (Table(queries, header=False), Table(qrels, header=False))
        if not splits:
            raise self._missing("; or ".join(f"{_expected(pairs)} ({split})" for split, pairs in layout.splits.items()))
        super().__init__(Table(collection, header=False, width=layout.width), splits)

    def _file(self, name: str) -> Path | None:
        return next((path for path in (self.folder / name, self.folder / f"{name}.gz") if path.is_file()), None)

    def _missing(self, expected: str) -> HardnegError:
        there = sorted(path.name for path in self.folder.glob("*"))
        nothing = "an empty folder" if self.folder.is_dir() else "no such folder"
        return HardnegError(
            "A file of MS MARCO is missing.",
            where=str(self.folder),
            found=", ".join(there) or nothing,
            expected=f"{expected}; each plain or with .gz",
            remedy="put it there under its official name, or correct the path.",
        )

    def _no_split(self, split: str) -> HardnegError:
        pairs = self.layout.splits.get(split)
        return self._missing(f"{_expected(pairs)} ({split})") if pairs else super()._no_split(split)


def _expected(pairs: tuple[tuple[str, str], ...]) -> str:
    return " or ".join(f"{queries} with {qrels}" for queries, qrels in pairs)


class MsMarcoPassage(MsMarco):
    """Passage ranking: 8.8 million passages; splits train, dev (the small one where it is there), dl2019, dl2020.

    Args:
        folder: where the files are.

    Raises:
        HardnegError: as `MsMarco`.
    """

    def __init__(self, folder: Path | str) -> None:
        super().__init__(folder, PASSAGE)


class MsMarcoDocument(MsMarco):
    """Document ranking: 3.2 million documents with url, title and body; splits train, dev, dl2019, dl2020.

    Args:
        folder: where the files are.

    Raises:
        HardnegError: as `MsMarco`.
    """

    def __init__(self, folder: Path | str) -> None:
        super().__init__(folder, DOCUMENT)


def top1000_rows(path: Path) -> Iterator[tuple[str, str, int]]:
    """The candidates of a `top1000.<split>` file as (query id, passage id, rank from 1).

    A line holds query id, passage id, query and passage, and no score: the rank is its place among those of its query.

    Raises:
        HardnegError: a line has not four columns.
    """
    ranks: Counter[str] = Counter()
    for where, line in lines(path):
        columns = line.split("\t")
        if len(columns) != 4:
            raise HardnegError(
                "A line of candidates has not four columns.",
                where=where,
                found=f"{len(columns)}: {line[:80]!r}",
                expected="4: query id<tab>passage id<tab>query<tab>passage",
                remedy="get the file again.",
            )
        ranks[columns[0]] += 1
        yield columns[0], columns[1], ranks[columns[0]]
