"""A small collection, its tokens, encoders and training stages, made for the tests."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from hardneg.config import System, Training
from hardneg.config.checks.answers import provided
from hardneg.data.judgements import Judgements
from hardneg.data.template import DEFAULT_TEMPLATE
from hardneg.methods.axes import AXES
from hardneg.methods.draws import Positions
from hardneg.model.encoder import Encoder, initial_encoder
from hardneg.planning.training import IN_COLUMNS, NOT_OF_TRAINING, answered, needs, positives_of
from hardneg.retrieval.mine import NEGATIVES
from hardneg.retrieval.outside import write_lists
from hardneg.retrieval.runs import RunWriter
from hardneg.stages.artifacts import MANIFEST, Artifact, StageFolder
from hardneg.text.tokens import make_tokenizer, tokenize, tokenize_more
from hardneg.training.draws import Draws
from hardneg.training.scorers import BothEncoders

QUERY_LENGTH, PASSAGE_LENGTH = 12, 24
ENCODER: dict[str, Any] = {
    "backbone": "builtin:tiny",
    "tiny": {"hidden": 16, "layers": 1, "heads": 2, "feed_forward": 16, "dropout": 0.1, "attention_dropout": 0.0},
    "pooling": "mean",
    "projection": None,
    "head_from": None,
    "normalize": True,
    "temperature": 0.05,
}
TRAIN: dict[str, Any] = Training(
    steps=6, batch_size=4, lr=1e-2, warmup_steps=2, rows_per_forward=4, log_every=2, log_retrieved_every=1
).model_dump(mode="json")
READING: dict[str, Any] = {"passage_template": DEFAULT_TEMPLATE, "characters": None}
TOKENIZER: dict[str, Any] = {
    **READING,
    "backbone": "builtin:tiny",
    "vocabulary": 300,
    "lower_case": True,
    "contract": None,
}
RUNTIME: dict[str, Any] = {"checkpoint_seconds": 0.0, "trackers": [], "places": {}}


def judged_by(entries: Sequence[tuple[int, int, int]], queries: int, passages: int) -> Judgements:
    """Judgements of (query, passage, grade)."""
    query, passage, grade = np.array(entries, np.int64).reshape(-1, 3).T
    return Judgements(query, passage, grade, queries, passages)


# (query, passage, grade). Queries 0 and 1 share a positive, 2 is graded, 11 has no positive.
QRELS = [(0, 3, 1), (1, 3, 1), (2, 5, 1), (2, 6, 3), (2, 7, 0), *((q, q + 8, 1) for q in range(3, 11)), (11, 30, 0)]
POSITIVE = {(query, passage): grade for query, passage, grade in QRELS if grade > 0}
QUERIES, PASSAGES = 12, 40
JUDGED = judged_by(QRELS, QUERIES, PASSAGES)


def training_settings(trains: str = "both_encoders", **answers: Any) -> dict[str, Any]:
    """The settings of a training stage, as a plan makes them.

    Args:
        trains: what trains.
        answers: those of the system that are not the default, and settings of the stage that are no answers.
    """
    given = {key: answers.pop(key) for key in AXES if key in answers}
    system = System.model_validate({"trains": trains, **given})
    plain: dict[str, Any] = {"sampler": None, "source": [], "loss": []}
    for key, answer in answered(system):
        dumped = answer.model_dump(mode="json", exclude=NOT_OF_TRAINING)
        if key in ("source", "loss"):
            plain[key].append(dumped)
        elif key != "filter":
            plain[key] = dumped
    return {
        "trains": trains,
        **plain,
        "positives": positives_of(system),
        "lists": trains not in IN_COLUMNS and not system.batch.across,
        "positive_scores": needs(system, "positive_score"),
        "live": "live" in provided(system),
        "round": 1,
        "train": TRAIN,
        "seed": 5,
        "split": "train",
        "precision": "fp32",
        "temperature": ENCODER["temperature"],
        "search": {"nprobe": None, "ef_search": None},
        "probe": None,
        **answers,
    }


def stage_of(folder: Path, settings: dict[str, Any], parents: dict[str, Artifact] | None = None) -> StageFolder:
    """A stage about to be written in a new folder."""
    folder.mkdir(parents=True)
    names = {"dataset": "made", "kind": "made", "label": folder.name, "version": "0" * 12}
    record = {**names, "settings": settings, "parents": {}, "revision": ""}
    return StageFolder(folder, record, parents or {})


def seal(stage: StageFolder, files: list[str]) -> Artifact:
    """The stage, sealed and opened."""
    stage.seal(stage.folder / MANIFEST, files)
    return Artifact.open(stage.folder / MANIFEST)


def mined_lists(folder: Path, lists: Mapping[int, Sequence[int]]) -> Artifact:
    """Mined negatives: the passages of each query, with scores of minus their ranks."""
    stage = stage_of(folder, {})
    with RunWriter(stage.folder / NEGATIVES) as writer:
        for query, found in sorted(lists.items()):
            ranks = np.arange(1, len(found) + 1)
            writer.append(np.full(len(found), query), np.array(found), ranks, -ranks.astype(np.float32))
    return seal(stage, [NEGATIVES])


def dense_teacher(folder: Path, vectors: Mapping[str, np.ndarray]) -> dict[str, Artifact]:
    """The vectors of a dense teacher, of `queries` and `passages`, by their roles."""
    made: dict[str, Artifact] = {}
    for what, file in (("queries", "queries.train.npy"), ("passages", "passages.npy")):
        stage = stage_of(folder / what, {})
        np.save(stage.folder / file, vectors[what])
        stage.facts = {"shards": [file]}
        made[f"{what}_teacher"] = seal(stage, [file])
    return made


def write_collection(folder: Path, passages: Sequence[str], queries: Sequence[str]) -> Artifact:
    """A prepared collection with one split, `train`, judged as `QRELS` says."""
    stage = stage_of(folder, {"train": "train"})
    query, passage, grade = (np.array(column, np.int32) for column in zip(*QRELS, strict=True))
    numbers = [str(number) for number in range(max(len(passages), len(queries)))]
    tables: dict[str, dict[str, Any]] = {
        "passages": {
            "passage_id": numbers[: len(passages)],
            "url": [""] * len(passages),
            "title": [""] * len(passages),
            "text": list(passages),
        },
        "queries.train": {"query_id": numbers[: len(queries)], "text": list(queries)},
        "qrels.train": {"query": query, "passage": passage, "grade": grade},
    }
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    stage.facts = {"passages": len(passages), "splits": {"train": {"queries": len(queries)}}}
    return seal(stage, [f"{name}.parquet" for name in tables])


def texts(count: int, lengths: Sequence[int], seed: int) -> list[str]:
    """Texts of made-up words, no two alike."""
    rng = Random(seed)
    known = ["".join(rng.choice("aeioubcdfglmnprst") for _ in range(rng.randint(2, 7))) for _ in range(80)]
    return [" ".join(rng.choice(known) for _ in range(lengths[number % len(lengths)])) for number in range(count)]


@dataclass
class Small:
    """40 passages (one empty, some of 300 words) and 12 queries, with tokens."""

    collection: Artifact
    tokenizer: Artifact
    tokens: Artifact

    def encoder(self, seed: int = 0, **changes: Any) -> Encoder:
        """An encoder from random weights."""
        facts = self.tokenizer.facts
        return initial_encoder({**ENCODER, **changes}, facts["vocabulary"], facts["pad"], PASSAGE_LENGTH, None, seed)

    def model(self, folder: Path, encoder: Encoder) -> Artifact:
        """An encoder as a training stage seals it."""
        stage = stage_of(folder, {})
        return seal(stage, encoder.save(stage.folder))

    def outside(self, folder: Path, texts: Sequence[str], query: np.ndarray) -> Artifact:
        """Texts from outside the collection, and the query that each is a negative of, ascending."""
        stage = stage_of(folder, {})
        names, stage.facts = tokenize_more(texts, len(texts), self.tokens, self.tokenizer, stage.folder)
        write_lists(query, PASSAGES, stage.folder / NEGATIVES)
        return seal(stage, [*names, NEGATIVES])

    def training(self, folder: Path, parents: dict[str, Artifact] | None = None, **changes: Any) -> StageFolder:
        """A stage that trains both encoders on what is given, in-batch if nothing else is said."""
        settings = {"encoder": ENCODER, **training_settings(**{"batch": "in_batch", **changes})}
        given = {"collection": self.collection, "tokenizer": self.tokenizer, "tokens": self.tokens, **(parents or {})}
        return stage_of(folder, settings, given)


def small(folder: Path) -> Small:
    """Make it."""
    passages = texts(40, [3, 8, 20, 40, 300], seed=1)
    passages[20] = ""
    collection = write_collection(folder / "collection", passages, texts(12, [2, 4, 30], seed=2))
    stage = stage_of(folder / "tokenizer", TOKENIZER)
    names, stage.facts = make_tokenizer(stage.settings, stage.folder, collection, None)
    tokenizer = seal(stage, names)
    lengths = {"query_length": QUERY_LENGTH, "passage_length": PASSAGE_LENGTH}
    stage = stage_of(folder / "tokens", {**lengths, **READING})
    names, stage.facts = tokenize(stage.settings, stage.folder, collection, tokenizer)
    return Small(collection, tokenizer, seal(stage, names))


class Killed(Exception):
    """Stands for a SIGKILL between two steps."""


@contextlib.contextmanager
def killed_at(killing: int) -> Iterator[None]:
    """A training inside the block must come to a step, and is killed there."""
    rows = Draws.rows

    def killed(draws: Draws, step: int) -> Positions:
        if step == killing:
            raise Killed
        return rows(draws, step)

    with mock.patch.object(Draws, "rows", killed), pytest.raises(Killed):
        yield


@contextlib.contextmanager
def noted_scores() -> Iterator[list[torch.Tensor]]:
    """The scores float32 [B, C] of each step of a training of both encoders inside the block."""
    seen: list[torch.Tensor] = []
    scores = BothEncoders.scores

    def noted(scorer: BothEncoders, *given: Any) -> torch.Tensor:
        seen.append(scores(scorer, *given))
        return seen[-1]

    with mock.patch.object(BothEncoders, "scores", noted):
        yield seen
