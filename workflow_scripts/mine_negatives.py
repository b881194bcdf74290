"""Mine static negatives: a ranking of the training queries less judged positives, filtered."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from hardneg.data.judgements import Judgements
from hardneg.errors import HardnegError
from hardneg.methods.axes import function_of
from hardneg.methods.draws import PairScores
from hardneg.retrieval.mine import NEGATIVES, POSITIVES, mine, positives_in
from hardneg.retrieval.pair_scores import FILE
from hardneg.stages.artifacts import StageFolder
from workflow_scripts.command import stage_command


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Mine."""
    collection, settings, split = stage.parents["collection"], stage.settings, stage.settings["split"]
    queries, passages = collection.facts["splits"][split]["queries"], collection.facts["passages"]
    judged = Judgements.read(collection.path(f"qrels.{split}.parquet"), queries, passages)
    ranking, names, scores = stage.parents["run"].path(f"run.{split}.parquet"), [NEGATIVES], None
    if settings["positives"]:
        scored = stage.parents["scores"].path(FILE) if "scores" in stage.parents else None
        stage.facts |= positives_in(ranking, judged, stage.folder / POSITIVES, scored)
        scores = PairScores.read(stage.folder / POSITIVES, passages)
        names.append(POSITIVES)
    filters = []
    for number, chosen in enumerate(settings["filter"], 1):
        keep = function_of("filter", chosen)
        if (teacher := stage.parents.get(f"teacher.{number}")) is not None:
            keep = partial(keep, scored=PairScores.read(teacher.path(FILE), passages), judged=judged)
        filters.append((chosen["name"], keep))
    mined = mine(ranking, judged, queries, filters, stage.folder, scores)
    refuse_nothing(mined, queries, stage.parents["run"].manifest.get("label", "the mined system"))
    if count := mined["queries_without_candidates"]:
        print(f"warning: training queries without a candidate negative: {count:,} of {queries:,}", file=sys.stderr)
    stage.facts |= mined
    return names


def refuse_nothing(mined: Mapping[str, Any], queries: int, label: str) -> None:
    """Check that mining left something to train on.

    Raises:
        HardnegError: it left no candidate for any query.
    """
    if mined["candidates"]:
        return
    removed = {"judged positives": mined["positives_removed"]}
    removed |= {f"filter {name}": counts["removed"] for name, counts in mined["filters"].items()}
    causes = ", ".join(f"{cause} {count:,}" for cause, count in removed.items() if count)
    raise HardnegError(
        "Mining left no candidate negatives, so there is nothing to train on.",
        where=f"the ranking of {label}",
        found=f"0 candidates for {queries:,} queries"
        + (f"; removed: {causes}" if causes else "; the ranking is empty"),
        expected="passages that are not judged relevant, for some of the queries",
        remedy="weaken the filters."
        if causes
        else "mine another system. BM25 finds little in languages other than English; source: random needs no ranking.",
    )


if __name__ == "__main__":
    stage_command(run, __doc__)
