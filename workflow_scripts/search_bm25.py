"""Rank passages for the queries of some splits by BM25."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from hardneg.data.prepare import in_groups
from hardneg.retrieval.lexical import search
from hardneg.retrieval.members import search_within
from hardneg.retrieval.runs import RunWriter
from hardneg.stages.artifacts import PROGRESS, StageFolder
from hardneg.text.tokens import query_texts
from workflow_scripts.command import stage_command
from workflow_scripts.told import without_hits

QUERIES_AT_ONCE = 1024


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Rank."""
    settings, collection, names = stage.settings, stage.parents["collection"], []
    language = stage.parents["index"].facts["language"]
    for split in settings["splits"]:
        how: dict[str, Any] = {
            "language": language,
            "k1": settings["k1"],
            "b": settings["b"],
            "threads": runtime["threads"],
            "heap_mib": runtime["java_heap_mib"],
            "progress_file": stage.folder / PROGRESS,
        }
        texts, index = query_texts(collection, split), stage.parents["index"].folder
        if "members" in collection.facts:
            hits = search_within(index, collection.facts, split, texts, settings["depth"], **how)
        else:
            total = collection.facts["splits"][split]["queries"]
            hits = search(index / "lucene", texts, settings["depth"], total=total, **how)
        names.append(f"run.{split}.parquet")
        counts = {"queries": 0, "hits": 0, "queries_without_hits": 0}
        with RunWriter(stage.folder / names[-1]) as writer:
            for group in in_groups(hits, QUERIES_AT_ONCE):
                passages, scores = zip(*group, strict=True)
                found = np.array([len(ranked) for ranked in passages])
                writer.append(
                    np.repeat(counts["queries"] + np.arange(len(group)), found),
                    np.concatenate(passages),
                    np.concatenate([np.arange(1, count + 1) for count in found]),
                    np.concatenate(scores),
                )
                counts["queries"] += len(group)
                counts["hits"] += int(found.sum())
                counts["queries_without_hits"] += int((found == 0).sum())
        stage.facts[split] = counts
        for line in without_hits(split, counts["queries"], counts["queries_without_hits"], language):
            print(f"warning: {line}", file=sys.stderr)
    return names


if __name__ == "__main__":
    stage_command(run, __doc__, options={"threads": "queries searched at once"})
