"""Fine-tune with sentence-transformers, at the budget of a study's own training.

First in-batch negatives (`MultipleNegativesRankingLoss`), then one hard negative a query, mined with the model of the
first step (`mine_hard_negatives`). Model, judged pairs, batch size, lengths, temperature and schedule are the study's.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.util import mine_hard_negatives

from hardneg.config import Config
from hardneg.data.judgements import Judgements
from hardneg.planning.backbone import local_backbone
from hardneg.stages.artifacts import Artifact, write_json
from hardneg.text.tokens import passage_texts, query_texts

NAMES = ("peer_inbatch", "peer_hard")
MINING: dict[str, Any] = {"range_max": 200, "num_negatives": 1, "sampling_strategy": "random"}
"""As STAR draws: one of the best 200 that are not judged relevant, any of them."""
FIRST = "inbatch_softmax"
"""The system whose steps, learning rate and warm-up the first training has."""
SECOND = ("star",)
"""Those that the second training matches: the sum of their steps, the rest as in the last."""
SPARE = 10
"""Batches of rows beyond those needed, for rows that would repeat a text of their batch."""
LIKE = "star_softmax"
"""The system with the loss of the second training, which has its learning rate where the study has such a system."""
DYNAMIC = "adore_star"
"""The system whose queries the second training is given too, as more steps."""


@dataclass(frozen=True)
class Material:
    """What is trained on: texts, and for each training query its judged passages (positions)."""

    passages: list[str]
    queries: list[str]
    judged: list[np.ndarray]

    @classmethod
    def of(cls, collection: Artifact, split: str) -> Material:
        """Of a prepared collection."""
        passages, queries = list(passage_texts(collection)), list(query_texts(collection, split))
        judgements = Judgements.read(collection.path(f"qrels.{split}.parquet"), len(queries), len(passages))
        return cls(passages, queries, [judgements.of(row)[0] for row in range(len(queries))])

    def pairs(self, seed: int, count: int) -> Iterator[tuple[int, int]]:
        """Queries and one of their judged passages, drawn uniformly; each query once in each pass."""
        generator, there = np.random.default_rng(seed), [row for row, judged in enumerate(self.judged) if len(judged)]
        for number in range(count):
            if number % len(there) == 0:
                order = generator.permutation(there)
            row = int(order[number % len(there)])
            yield row, int(generator.choice(self.judged[row]))


def second(config: Config) -> str:
    """The system whose learning rate, batch and lengths the second training has."""
    return LIKE if LIKE in config.systems else SECOND[-1]


def further_steps(config: Config, material: Material) -> int:
    """Steps of the second training, so that both sides train on as many tokens.

    A step of `SECOND` encodes a query, a positive and a negative for each row, as a step of the peer does. One of
    `DYNAMIC` encodes queries alone.
    """
    steps = sum(config.systems[name].train.steps or 0 for name in SECOND)
    static, dynamic = config.systems[SECOND[-1]].train, config.systems[DYNAMIC].train
    query = 2 + 1.5 * float(np.mean([len(text.split()) for text in material.queries]))  # word pieces, about
    row = query + 2 * (static.passage_length or 128)
    return steps + round((dynamic.steps or 0) * dynamic.batch_size * query / (row * static.batch_size))


def train(model: SentenceTransformer, rows: dict[str, list[str]], name: str, config: Config, steps: int) -> None:
    """Train a model in place, with the settings of one of the study's systems."""
    train = config.systems[name].train
    arguments = SentenceTransformerTrainingArguments(
        output_dir="benchmarks/results/trainer",
        max_steps=steps,
        per_device_train_batch_size=train.batch_size,
        learning_rate=train.lr,
        warmup_steps=train.warmup_steps,
        weight_decay=train.weight_decay,
        max_grad_norm=train.max_grad_norm,
        batch_sampler="no_duplicates",
        seed=config.seed,
        bf16=torch.cuda.is_available(),  # as the workflow trains there
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        logging_steps=25,
    )
    longest, model.max_seq_length = model.max_seq_length, train.passage_length
    loss = MultipleNegativesRankingLoss(model, scale=1 / config.encoder.temperature)
    SentenceTransformerTrainer(model=model, args=arguments, train_dataset=Dataset.from_dict(rows), loss=loss).train()
    model.max_seq_length = longest


def hard_negatives(model: SentenceTransformer, material: Material, seed: int, cache: Path) -> dict[str, str]:
    """One hard negative for each query text. The miner knows all judged pairs, so it leaves them out.

    It leaves the vectors that it computed under `cache`.
    """
    pairs = [(row, passage) for row, judged in enumerate(material.judged) for passage in judged]
    rows = {
        "anchor": [material.queries[row] for row, _ in pairs],
        "positive": [material.passages[passage] for _, passage in pairs],
    }
    random.seed(seed)
    mined = mine_hard_negatives(
        Dataset.from_dict(rows),
        model,
        corpus=material.passages,
        output_format="triplet",
        batch_size=64,
        cache_folder=str(cache),
        **MINING,
    )
    return dict(zip(mined["anchor"], mined["negative"], strict=True))


def encoded(model: SentenceTransformer, material: Material, cache: Path | None = None) -> np.ndarray:
    """The vectors of the passages: those that mining left under `cache`, one for each text, or new ones."""
    for kept in cache.glob("corpus_embeddings_*.npy") if cache is not None else ():
        rows = {text: row for row, text in enumerate(dict.fromkeys(material.passages))}
        return np.load(kept)[[rows[text] for text in material.passages]]
    return model.encode(material.passages, batch_size=64)


def save(model: SentenceTransformer, passages: np.ndarray, queries: dict[str, list[str]], folder: Path) -> None:
    """Write a model, and its vectors of the passages and of the evaluated queries of each split."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "passages.npy", passages)
    for split, texts in queries.items():
        np.save(folder / f"queries.{split}.npy", model.encode(texts, batch_size=64))
    model.save(str(folder / "model"))


def columns(material: Material, seed: int, count: int) -> dict[str, list[str]]:
    """The columns of a training: texts of queries and of a judged passage of each."""
    drawn = list(material.pairs(seed, count))
    return {
        "anchor": [material.queries[row] for row, _ in drawn],
        "positive": [material.passages[passage] for _, passage in drawn],
    }


@dataclass(frozen=True)
class Peer:
    """Both trainings of one seed.

    Attributes:
        config: the study's, with the seed.
        material: what is trained on.
        evaluated: the query texts of each evaluated split.
        folder: where models, vectors, mined negatives and `facts.json` are written.
    """

    config: Config
    material: Material
    evaluated: dict[str, list[str]]
    folder: Path

    def in_batch(self, steps: int) -> None:
        """The first training, and what is mined with its model."""
        model, batch = self._model(local_backbone(self.config.encoder.backbone)), self._batch(FIRST)
        rows = columns(self.material, self.config.seed, (steps + SPARE) * batch)
        train(model, rows, FIRST, self.config, steps)
        with tempfile.TemporaryDirectory() as cache:
            negatives = hard_negatives(model, self.material, self.config.seed, Path(cache))
            save(model, encoded(model, self.material, Path(cache)), self.evaluated, self.folder / NAMES[0])
        write_json(self.folder / "negatives.json", negatives)

    def hard(self, steps: int) -> None:
        """The second training, from the first's model and with its negatives."""
        model, batch = self._model(self.folder / NAMES[0] / "model"), self._batch(second(self.config))
        negatives = json.loads((self.folder / "negatives.json").read_text(encoding="utf-8"))
        rows = columns(self.material, self.config.seed + 1, (steps + SPARE) * batch)
        rows["negative"] = [negatives[query] for query in rows["anchor"]]
        train(model, rows, second(self.config), self.config, steps)
        save(model, encoded(model, self.material), self.evaluated, self.folder / NAMES[1])

    def _model(self, start: Path | None) -> SentenceTransformer:
        model = SentenceTransformer(str(start))
        model.max_seq_length = self.config.encoder.passage_length or model.max_seq_length
        return model

    def _batch(self, name: str) -> int:
        return self.config.systems[name].train.batch_size


def run(config: Config, collection: Artifact, folder: Path) -> dict[str, Any]:
    """Train and encode both of the peer's models; what is there from the same settings is kept.

    Args:
        config: the study's, with the seed.
        collection: the prepared collection.
        folder: where everything is written.

    Returns:
        For each of `NAMES` its steps and the minutes of training, mining and encoding.
    """
    assert config.splits.train is not None
    material = Material.of(collection, config.splits.train)
    lengths = (config.systems[FIRST].train.steps or 0, further_steps(config, material))
    asked = {
        "train": [config.systems[name].train.model_dump(mode="json") for name in (FIRST, second(config))],
        "steps": list(lengths),
        "mining": MINING,
        "encoder": config.encoder.model_dump(mode="json"),
        "seed": config.seed,
    }
    facts: dict[str, Any] = {"asked": asked}
    if (folder / "facts.json").exists():
        found = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        facts = found if found["asked"] == asked else facts
    torch.set_num_threads(config.arithmetic.training_threads)
    evaluated = {split: list(query_texts(collection, split)) for split in config.splits.evaluate}
    peer = Peer(config, material, evaluated, folder)
    for name, steps, make in zip(NAMES, lengths, (peer.in_batch, peer.hard), strict=True):
        if name not in facts:
            begun = time.perf_counter()
            make(steps)
            facts[name] = {"steps": steps, "minutes": (time.perf_counter() - begun) / 60}
            write_json(folder / "facts.json", facts)
    return facts
