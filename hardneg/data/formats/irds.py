"""Collections of `ir_datasets`, which downloads and verifies them itself.

Each split is an id of its catalogue, such as `msmarco-passage/dev/small`, and all splits share the same documents. The
package is optional and imported when a collection is opened. It repairs some texts, for instance MS MARCO passages, so
they differ from the original files. Its version is therefore part of the provenance.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, get_type_hints

from hardneg.data.collection import Judgement, Passage, Query, judged_queries
from hardneg.data.lines import grade_of, valid_text
from hardneg.errors import HardnegError

PINNED = "ir_datasets==0.6.3"
KINDS = ("docs", "queries", "qrels")

# Field names in order of preference. Only fields of type str count.
BODIES = ("text", "body", "contents")
TITLES = ("title", "document_title", "page_title", "headline")
URLS = ("url", "document_url")
QUESTIONS = ("text", "query", "title")


def field_of(record_type: type, names: Iterable[str]) -> str | None:
    """The first of `names` that is a field of type str, or None."""
    types = get_type_hints(record_type)
    return next((name for name in names if types.get(name) is str), None)


def text_getter(record_type: type, names: Iterable[str], dataset_id: str) -> Callable[[Any], str]:
    """A function that returns a record's text: one of the fields `names`, or else its `default_text()`.

    Raises:
        HardnegError: the type has neither.
    """
    name = field_of(record_type, names)
    if name is not None:
        return lambda record: getattr(record, name) or ""
    if hasattr(record_type, "default_text"):
        return lambda record: record.default_text() or ""
    raise HardnegError(
        "Records of ir_datasets have no known text field.",
        where=dataset_id,
        found=", ".join(get_type_hints(record_type)),
        expected=f"{', '.join(names)}, or the method default_text()",
        remedy="write the collection to JSONL files with a text per record, and read those.",
    )


class IrDatasets:
    """Reads a collection of ir_datasets; a `CollectionReader`.

    A passage has the document's title and URL, and as text the first field of `BODIES`. If there is none, the text is
    the document's `default_text()`, which includes the title. The ids of the judged queries are held in memory.

    Args:
        splits: catalogue ids, by split name.

    Raises:
        HardnegError: the package is not installed, or an id is unknown, lacks documents, queries or judgements, or does
            not share the documents of the first.
    """

    def __init__(self, splits: Mapping[str, str]) -> None:
        try:
            import ir_datasets
        except ImportError as fault:
            raise HardnegError(
                "The package ir_datasets is not installed.",
                where="collection.format: ir_datasets",
                found=str(fault),
                expected=PINNED,
                remedy=f"pip install {PINNED}",
            ) from None
        if (found := metadata.version("ir_datasets")) != PINNED.partition("==")[2]:
            raise HardnegError(
                "The installed version of ir_datasets may give different texts.",
                where="collection.format: ir_datasets",
                found=f"ir_datasets=={found}",
                expected=PINNED,
                remedy=f"pip install {PINNED}",
            )
        self._package = ir_datasets
        self._ids = dict(splits)
        self._datasets = {split: self._open(split) for split in self._ids}
        self._first = next(iter(self._ids))
        documents = self._datasets[self._first].docs_handler()
        for split, dataset_id in self._ids.items():
            if self._datasets[split].docs_handler() is not documents:
                raise HardnegError(
                    "The splits judge different documents.",
                    where=f"collection.splits.{split}",
                    found=f"{dataset_id}: the documents of {ir_datasets.docs_parent_id(dataset_id)}",
                    expected=f"those of {ir_datasets.docs_parent_id(self._ids[self._first])}, as `{self._first}` has",
                    remedy="use ids of one collection, or make two collections.",
                )

    def _open(self, split: str) -> Any:
        dataset_id = self._ids[split]
        try:
            dataset = self._package.load(dataset_id)
        except KeyError:
            near = difflib.get_close_matches(dataset_id, list(self._package.registry), n=3)
            raise HardnegError(
                "ir_datasets knows no such id.",
                where=f"collection.splits.{split}",
                found=dataset_id,
                expected=f"perhaps {', '.join(near)}" if near else "an id of https://ir-datasets.com",
                remedy="correct the id; `ir_datasets list` prints all of them.",
            ) from None
        lacking = [kind for kind in KINDS if not dataset.has(kind)]
        if lacking:
            registry = self._package.registry
            below = [known for known in registry if known.startswith(f"{dataset_id}/")]
            below = [known for known in below if all(map(registry[known].has, KINDS))]
            raise HardnegError(
                "An id of ir_datasets is not complete enough for a split.",
                where=f"collection.splits.{split}",
                found=f"{dataset_id} without {', '.join(lacking)}",
                expected=", ".join(KINDS),
                remedy=f"use one below it: {', '.join(below[:8])}." if below else "use another id.",
            )
        return dataset

    def _records(self, split: str, kind: str) -> Iterator[tuple[str, Any]]:
        """Yield the place and the record, for each record of a kind (docs, queries, qrels). Downloads missing files."""
        dataset_id = self._ids[split]
        number = 0
        try:
            for number, record in enumerate(getattr(self._datasets[split], f"{kind}_iter")(), start=1):
                yield f"{dataset_id}, number {number} of its {kind}", record
        except Exception as fault:  # the package passes on errors of any type
            page = f"https://ir-datasets.com/{dataset_id.partition('/')[0]}.html"
            raise HardnegError(
                "ir_datasets cannot get or read a dataset.",
                where=f"{dataset_id}, its {kind}" + (f" after number {number}" if number else ""),
                found=f"{type(fault).__name__}: {fault}"[:500],
                remedy="without a network, run `ir_datasets export` on a machine that has one, copy its output here "
                f"and set IR_DATASETS_HOME to it. {page} says which files must be downloaded by hand.",
            ) from fault

    def splits(self) -> tuple[str, ...]:
        """The names of the splits, in the order given."""
        return tuple(self._ids)

    def files(self, splits: Iterable[str]) -> dict[str, Path]:
        """Empty: the package keeps its own files, checks their digests, and the ids identify them."""
        return {}

    def passages(self) -> Iterator[Passage]:
        """Every document, in the catalogue's order.

        Raises:
            HardnegError: the documents cannot be downloaded or read, or have no known text field.
        """
        kind = self._datasets[self._first].docs_cls()
        text = text_getter(kind, BODIES, self._ids[self._first])
        title = field_of(kind, TITLES) if field_of(kind, BODIES) else None  # default_text() includes the title
        url = field_of(kind, URLS)
        for where, record in self._records(self._first, "docs"):
            yield Passage(
                record.doc_id,
                valid_text(getattr(record, title) or "", title, where) if title else "",
                valid_text(text(record), "text", where),
                where,
                url=valid_text(getattr(record, url) or "", url, where) if url else "",
            )

    def queries(self, split: str) -> Iterator[Query]:
        """The judged queries of a split, in the catalogue's order.

        Raises:
            HardnegError: the queries cannot be downloaded or read, or have no known text field.
        """
        text = text_getter(self._datasets[split].queries_cls(), QUESTIONS, self._ids[split])
        asked = (
            Query(record.query_id, valid_text(text(record), "text", where), where)
            for where, record in self._records(split, "queries")
        )
        return judged_queries(asked, partial(self.judgements, split), self._ids[split])

    def judgements(self, split: str) -> Iterator[Judgement]:
        """The judgements of a split, in the catalogue's order.

        Raises:
            HardnegError: the judgements cannot be downloaded or read, or a grade is not an integer.
        """
        for where, record in self._records(split, "qrels"):
            grade = grade_of(str(record.relevance), where)
            yield Judgement(record.query_id, record.doc_id, grade, where)

    def provenance(self) -> dict[str, Any]:
        """The package's version, the ids, and the counts that the catalogue states, if any."""
        stated = {split: dataset.metadata() for split, dataset in self._datasets.items()}
        return {
            "ir_datasets": self._package.__version__,
            "collection": self._package.docs_parent_id(self._ids[self._first]),
            "passages": stated[self._first]["docs"].get("count"),
            "splits": {
                split: {
                    "id": dataset_id,
                    "queries": stated[split]["queries"].get("count"),
                    "judgements": stated[split]["qrels"].get("count"),
                }
                for split, dataset_id in self._ids.items()
            },
        }
