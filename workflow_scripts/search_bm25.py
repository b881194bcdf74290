"""Rank passages for the queries of some splits by BM25."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hardneg.artifacts import PROGRESS, StageFolder
from hardneg.lexical import search
from hardneg.runs import write_run
from hardneg.tokens import query_texts
from workflow_scripts.command import stage_command


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Rank."""
    settings, names = stage.settings, []
    for split in settings["splits"]:
        hits = search(
            stage.parents["index"].folder / "lucene",
            list(query_texts(stage.parents["collection"], split)),
            settings["depth"],
            k1=settings["k1"],
            b=settings["b"],
            threads=runtime["threads"],
            heap_mib=runtime["java_heap_mib"],
            progress_file=stage.folder / PROGRESS,
        )
        passages, scores = zip(*hits, strict=True)
        counts = [len(found) for found in passages]
        names.append(f"run.{split}.parquet")
        write_run(
            stage.folder / names[-1],
            np.repeat(np.arange(len(counts)), counts),
            np.concatenate(passages),
            np.concatenate([np.arange(1, count + 1) for count in counts]),
            np.concatenate(scores),
        )
        stage.facts[split] = {"queries": len(counts), "hits": sum(counts), "queries_without_hits": counts.count(0)}
    return names


if __name__ == "__main__":
    stage_command(
        run,
        __doc__,
        {"collection": "the prepared collection", "index": "the Lucene index"},
        {"threads": "queries searched at once"},
    )
