"""Count a collection's files from a sample of their first lines."""

from __future__ import annotations

import contextlib
import gzip
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from hardneg.errors import HardnegError
from hardneg.planning.plan import Plan

SAMPLED = 3000
SAMPLED_BYTES = 8 << 20
# Names of passage files: corpus.jsonl, collection.tsv, msmarco-docs.tsv.gz, passages.parquet.
PASSAGE_FILE = re.compile(r"corpus|collection|passages|docs|documents", re.IGNORECASE)
OTHER_FILE = re.compile(r"quer|qrels|top1", re.IGNORECASE)


@dataclass(frozen=True)
class Sample:
    """Lengths of the first passages and queries, in characters."""

    passages: list[int]
    queries: list[int]


def read_collection(plan: Plan, *, count_passages: bool) -> tuple[int, dict[str, int], Sample, str]:
    """Number of passages, queries in each split, a sample of lengths, and the source, from the collection's files.

    Args:
        plan: of the configuration.
        count_passages: False if their number is known already, so that the sample is enough.

    Raises:
        HardnegError: counting would be expensive, or a file cannot be read.
    """
    from hardneg.data.readers import FETCHED, open_collection

    config, splits = plan.config, plan.collection.settings["splits"]
    if config.collection.format == "pydocs":
        raise _cannot_count("the embedded collection is built from sources, which takes as long as the stage itself")
    files = plan.collection.parents.get("files")
    if files is not None and not files.manifest.exists():
        raise _cannot_count("its files are not downloaded yet")
    fetched = files.folder / FETCHED if files is not None else None
    reader = open_collection(config.collection.model_dump(mode="json"), config.splits.train, fetched)
    queries = dict.fromkeys(splits, 0)
    asked: list[int] = []
    for split in splits:
        for query in reader.queries(split):
            queries[split] += 1
            if len(asked) < SAMPLED:
                asked.append(len(query.text))
    texts = [f"{p.title} {p.text}".strip() for p in islice(reader.passages(), SAMPLED)]
    each, characters = 1.0, [len(text) for text in texts]
    if (cut := config.collection.windows) is not None and texts:
        counts = [windows(len(text.split()), cut.words, cut.overlap) for text in texts]
        each = mean(counts)
        characters = [round(n / parts) for n, parts in zip(characters, counts, strict=True)]
    sample, source = Sample(characters, asked), "counted in the collection's files"
    if len(texts) < SAMPLED or not count_passages:
        return round(each * len(texts)), queries, sample, source
    paths = _passage_files(reader.files(splits))
    if any(path.suffix == ".json" for path in paths):  # a single JSON value; never large
        return round(each * sum(1 for _ in reader.passages())), queries, sample, source
    rows = sum(map(rows_of_file, paths))
    return round(each * rows), queries, sample, f"about, from {', '.join(path.name for path in paths)}"


def windows(words: int, window: int, overlap: int) -> int:
    """Number of windows over a document of this many words."""
    return 1 + max(0, math.ceil((words - window) / (window - overlap)))


def rows_of_file(path: Path) -> int:
    """Number of records in a file. Exact for Parquet and short files, else estimated from the first lines."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        rows: int = pq.ParquetFile(path).metadata.num_rows
        return rows
    with path.open("rb") as raw, contextlib.ExitStack() as opened:
        stream = opened.enter_context(gzip.GzipFile(fileobj=raw)) if path.suffix == ".gz" else raw
        lines = 0
        # gzip reads ahead, so the position in the file means little until much has been read.
        while lines < SAMPLED or (stream is not raw and raw.tell() < SAMPLED_BYTES):
            if not stream.readline():
                return lines
            lines += 1
        read = raw.tell()
    return round(path.stat().st_size / read * lines)


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean."""
    return sum(values) / len(values)


def _passage_files(files: Mapping[str, Path]) -> list[Path]:
    """The files that hold passages, judged by name; if none matches, the largest file."""
    named = [
        path
        for name, path in files.items()
        for said in [f"{Path(name).name} {path.name}"]
        if PASSAGE_FILE.search(said) and not OTHER_FILE.search(said)
    ]
    paths = named or sorted(files.values(), key=lambda path: path.stat().st_size)[-1:]
    if not paths:
        raise _cannot_count("this format names no files")
    return paths


def _cannot_count(found: str) -> HardnegError:
    return HardnegError(
        "Counting this collection would be expensive.",
        where="collection",
        found=found,
        remedy="pass --passages, --queries-train and --queries-eval, or run the collection stage first.",
    )
