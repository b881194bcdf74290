"""Score the judged pairs of the training queries, and the candidates mined for them: by a reader or by vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from hardneg.data.judgements import Judgements
from hardneg.retrieval.mine import NEGATIVES
from hardneg.retrieval.pair_scores import (
    FILE,
    Score,
    by_vectors,
    judged_pairs,
    listed_pairs,
    write_scores,
)
from hardneg.retrieval.search.retrieve import vectors_of
from hardneg.stages.artifacts import PROGRESS, StageFolder
from workflow_scripts.command import stage_command
from workflow_scripts.reading import reader_of


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Score them."""
    collection, split = stage.parents["collection"], stage.settings["split"]
    queries, passages = collection.facts["splits"][split]["queries"], collection.facts["passages"]
    judged = judged_pairs(Judgements.read(collection.path(f"qrels.{split}.parquet"), queries, passages))
    lists = [parent.path(NEGATIVES) for role, parent in stage.parents.items() if role.startswith("negatives")]
    count = len(judged[0]) + sum(pq.ParquetFile(path).metadata.num_rows for path in lists)
    parts: Iterator[tuple[np.ndarray, np.ndarray]] = chain([judged], *map(listed_pairs, lists))
    label = f"score pairs {stage.record['label']}"
    score = _score(stage, split, torch.device(devices[0]))
    stage.facts |= write_scores(parts, count, score, stage.folder / FILE, label, stage.folder / PROGRESS)
    return [FILE]


def _score(stage: StageFolder, split: str, device: torch.device) -> Score:
    if "model" in stage.parents:
        return reader_of(stage, split, device)
    return by_vectors(stage.parents["queries"].path(f"queries.{split}.npy"), vectors_of(stage.parents["passages"]))


if __name__ == "__main__":
    stage_command(run, __doc__)
