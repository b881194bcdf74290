"""MS MARCO version 1, passage and document ranking, with TREC DL 2019 and 2020.

All files are in one folder under their official names, plain or `.gz`. Unjudged training and development queries are
left out, and so are the evaluation queries, which have no public judgements. Some published passages contain doubly
encoded characters; they are kept as they are. White space at the end of a url, title, text or query is removed, as
published work on this collection does before it tokenizes: it would be a token more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from hardneg.data.collection import Passage, Query
from hardneg.data.columns import Table
from hardneg.data.formats.tables import Files
from hardneg.data.lines import lines
from hardneg.errors import HardnegError


@dataclass(frozen=True)
class Layout:
    """The official file names of a task.

    Attributes:
        collection: the file of passages or documents.
        width: its number of columns.
        splits: the queries and qrels of each split. The first pair that exists is used.
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

    A split exists if both its files do.

    Args:
        folder: where the files are.
        layout: their names.

    Raises:
        HardnegError: the collection file is missing, or no split is complete.
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

    def passages(self) -> Iterator[Passage]:
        """As for `Files`, without white space at the end of a field."""
        for passage in super().passages():
            bare = {name: getattr(passage, name).rstrip() for name in ("url", "title", "text")}
            yield replace(passage, **bare)

    def _all_queries(self, split: str) -> Iterator[Query]:
        for query in super()._all_queries(split):
            yield replace(query, text=query.text.rstrip())

    def _file(self, name: str) -> Path | None:
        return next((path for path in (self.folder / name, self.folder / f"{name}.gz") if path.is_file()), None)

    def _missing(self, expected: str) -> HardnegError:
        present = sorted(path.name for path in self.folder.glob("*"))
        nothing = "an empty folder" if self.folder.is_dir() else "no such folder"
        return HardnegError(
            "A file of MS MARCO is missing.",
            where=str(self.folder),
            found=", ".join(present) or nothing,
            expected=f"{expected}; each plain or .gz",
            remedy="put it there under its official name, or correct the path.",
        )

    def _no_split(self, split: str) -> HardnegError:
        pairs = self.layout.splits.get(split)
        return self._missing(f"{_expected(pairs)} ({split})") if pairs else super()._no_split(split)


def _expected(pairs: tuple[tuple[str, str], ...]) -> str:
    return " or ".join(f"{queries} with {qrels}" for queries, qrels in pairs)


class MsMarcoPassage(MsMarco):
    """Passage ranking: 8.8 million passages; splits train, dev (the small set if present), dl2019, dl2020.

    Args:
        folder: where the files are.

    Raises:
        HardnegError: as for `MsMarco`.
    """

    def __init__(self, folder: Path | str) -> None:
        super().__init__(folder, PASSAGE)


class MsMarcoDocument(MsMarco):
    """Document ranking: 3.2 million documents with url, title and body; splits train, dev, dl2019, dl2020.

    Args:
        folder: where the files are.

    Raises:
        HardnegError: as for `MsMarco`.
    """

    def __init__(self, folder: Path | str) -> None:
        super().__init__(folder, DOCUMENT)


def top1000_rows(path: Path) -> Iterator[tuple[str, str, int]]:
    """Yield the candidates of a `top1000.<split>` file as (query id, passage id, rank from 1).

    A line has query id, passage id, query and passage, but no score. The rank is its order among the query's lines.

    Raises:
        HardnegError: a line does not have four columns.
    """
    ranks: Counter[str] = Counter()
    for where, line in lines(path):
        columns = line.split("\t")
        if len(columns) != 4:
            raise HardnegError(
                "A line of candidates does not have four columns.",
                where=where,
                found=f"{len(columns)}: {line[:80]!r}",
                expected="4: query id<tab>passage id<tab>query<tab>passage",
                remedy="get the file again.",
            )
        ranks[columns[0]] += 1
        yield columns[0], columns[1], ranks[columns[0]]
