"""The laws by kind of stage, and what a stage needs according to them."""

from __future__ import annotations

import math

from hardneg.estimate.laws import analyses, collection, encoding, index, lexical, mining, search, text, training
from hardneg.estimate.laws.base import Law
from hardneg.estimate.laws.sizes import Sizes
from hardneg.estimate.needs import Need
from hardneg.estimate.speeds.measured import Measured
from hardneg.stages.stage import Stage

LAWS: dict[str, Law] = {
    "collection": collection.Collection(),
    "tokenizer": text.Tokenizer(),
    "tokens": text.Tokens(),
    "bm25_index": lexical.Bm25Index(),
    "bm25_run": lexical.Bm25Run(),
    "mine": mining.Mine(),
    "dual_encoder": training.DualEncoder(),
    "query_encoder": training.QueryEncoder(),
    "passages": encoding.Passages(),
    "queries": encoding.Queries(),
    "index": index.Index(),
    "run": search.Run(),
    "given_run": search.GivenRun(),
    "given_lists": search.GivenRun(),
    "measure": analyses.Measure(),
    "pairwise_errors": analyses.Errors(),
    "diagnosis": analyses.Diagnosis(),
    "agreement": analyses.Agreement(),
}

UNTRAINED = training.Untrained()


def law_of(stage: Stage, sizes: Sizes) -> Law | None:
    """The law of a stage.

    None if nothing is known of it: another study's stage (its collection is another), a download, or a stage on
    vectors that were made elsewhere.
    """
    if stage.dataset != sizes.config.collection.name or _on_given_vectors(stage):
        return None
    if stage.kind == "dual_encoder" and stage.settings["trains"] == "nothing":
        return UNTRAINED
    return LAWS.get(stage.kind)


def memory_mb(stage: Stage, sizes: Sizes) -> int | None:
    """Host memory that one job of a stage needs, in megabytes, rounded up; None if it cannot be computed.

    Nothing needs to be measured for it, so a rule can ask for this much.
    """
    law = law_of(stage, sizes)
    size = None if law is None else law.memory(stage, sizes)
    return None if size is None else math.ceil(size / 1e6)


def need_of(stage: Stage, sizes: Sizes, measured: Measured) -> Need:
    """What a stage needs, without checking its inputs' digests and writing its outputs'."""
    law = law_of(stage, sizes)
    if law is None:
        return Need(None, None, None)
    return Need(
        seconds=law.seconds(stage, sizes, measured),
        memory=law.memory(stage, sizes),
        disk=law.disk(stage, sizes),
        gpu_memory=law.gpu_memory(stage, sizes),
        scratch=law.scratch(stage, sizes),
        processes=law.processes(stage, sizes),
    )


def _on_given_vectors(stage: Stage) -> bool:
    parents = [parent for role, parent in stage.parents.items() if role in ("passages", "index")]
    return any(parent.kind == "given_vectors" or _on_given_vectors(parent) for parent in parents)
