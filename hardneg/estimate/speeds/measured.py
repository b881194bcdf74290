"""What the probes measure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class TextCost(NamedTuple):
    """Training on one text: seconds of forward and backward, and bytes the forward keeps for the backward."""

    seconds: float
    bytes: int


@dataclass(frozen=True)
class Neural:
    """The encoder on the measured device, at the mean lengths of the texts.

    Attributes:
        model: what was measured, for people.
        parameters: number of weights.
        dim: width of its vectors.
        encode_passages: passages per second, without gradients.
        encode_queries: queries per second, without gradients.
        train: the cost of training on one text, by (width, gradient checkpointing).
        optimizer: seconds to clip gradients and take one optimizer step.
        search: exact search, passages per second, by (queries in a batch, passages retrieved for each).
    """

    model: str
    parameters: int
    dim: int
    encode_passages: float
    encode_queries: float
    train: dict[tuple[int, bool], TextCost]
    optimizer: float
    search: dict[tuple[int, int], float]


@dataclass(frozen=True)
class Compressed:
    """A FAISS index other than Flat: vectors per second for training and adding; search as in `Neural.search`."""

    train: float
    add: float
    search: dict[tuple[int, int], float]


@dataclass(frozen=True)
class Bm25:
    """Lucene. A query takes `query + query_passage * passages` seconds.

    Attributes:
        index: characters indexed per second.
        bytes: of index per character.
        query: seconds.
        query_passage: seconds per passage of the collection.
    """

    index: float
    bytes: float
    query: float
    query_passage: float


@dataclass(frozen=True)
class Measured:
    """What the probes found. None if a probe could not run; `missing` then says why.

    Attributes:
        base_bytes: resident memory of a process that has loaded torch, Transformers and FAISS, and its device.
        disk_write: bytes per second, flushed.
        digest: bytes per second of SHA-256, which seals and checks files.
        prepare: characters per second into Parquet, without reading the collection's own format.
        tokenizer: seconds to train the built-in tokenizer on nothing, and for each further character.
        tokenize: characters per second.
        run_rows: rows of a run per second, written and read back as Parquet.
        measure: queries scored per second, at the configured depth and measures.
        neural: the encoder; None if the configuration has only BM25.
        compressed: each index other than Flat, by its factory string.
        bm25: Lucene; None without Java.
        missing: what could not be measured, and why.
    """

    base_bytes: int
    disk_write: float
    digest: float
    prepare: float | None = None
    tokenizer: tuple[float, float] | None = None
    tokenize: float | None = None
    run_rows: float | None = None
    measure: float | None = None
    neural: Neural | None = None
    compressed: dict[str, Compressed] = field(default_factory=dict)
    bm25: Bm25 | None = None
    missing: list[str] = field(default_factory=list)
