"""What to change if a stage does not fit."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hardneg.estimate.laws.index import index_bytes
from hardneg.estimate.laws.sizes import Sizes
from hardneg.estimate.laws.training import kept_bytes, negatives
from hardneg.estimate.needs import Need, size_text
from hardneg.stages.stage import Stage


def less_memory(stage: Stage, need: Need, sizes: Sizes) -> str:
    """What to do about a stage that needs too much host or GPU memory."""
    machine, runtime = sizes.machine, sizes.config.runtime
    if stage.kind in ("dual_encoder", "query_encoder") and stage.settings["trains"] != "nothing":
        return _smaller_batch(stage, need, sizes)
    if stage.kind == "passages" and need.processes > 1:
        fits = max(1, machine.memory // (need.memory or 1))
        return f"Set runtime.shards to {fits}, so that only {fits} run{'s' if fits == 1 else ''} at a time."
    if stage.kind.startswith("bm25"):
        return f"Lower runtime.java_heap_mib ({runtime.java_heap_mib})."
    if stage.kind in ("index", "run") and (smaller := _smaller_index(sizes)):
        return f"Set {smaller}."
    return "Use a machine with more memory."


def less_disk(stages: Sequence[Stage], sizes: Sizes) -> str:
    """What would save disk space."""
    remedies = []
    vectors = sum(stage.kind == "passages" for stage in stages)
    if vectors and sizes.config.arithmetic.vectors == "float32":
        remedies.append(f"arithmetic.vectors: float16 saves {size_text(vectors * sizes.vectors('float16'))}")
    if any(stage.kind == "index" for stage in stages) and (smaller := _smaller_index(sizes)):
        remedies.append(smaller)
    remedies.append("`hardneg prune` removes artifacts that no configuration uses")
    return f"To save space: {'; '.join(remedies)}."


def or_smaller_index(sizes: Sizes) -> str:
    """The end of a sentence that proposes a smaller index; empty if there is none."""
    smaller = _smaller_index(sizes)
    return f", or set {smaller}" if smaller else ""


def _smaller_batch(stage: Stage, need: Need, sizes: Sizes) -> str:
    machine, batch = sizes.machine, stage.settings["train"]["batch_size"]
    free = machine.gpu_memory if machine.gpus else machine.memory
    needed = (need.gpu_memory if machine.gpus else need.memory) or 0
    passage, each = kept_bytes(stage.settings, sizes)
    if stage.kind == "dual_encoder":
        each += (1 + negatives(stage.settings)) * passage
    fits = batch - math.ceil((needed - free) / max(each, 1))
    if fits >= 1:
        return f"Lower systems.{stage.label}.train.batch_size from {batch} to {fits}, or lower encoder.passage_length."
    return "Lower encoder.passage_length, or use a smaller encoder."


def _smaller_index(sizes: Sizes) -> str:
    """A product quantizer with 8 dimensions per byte, and its size; empty if the index is compressed already."""
    dim = sizes.dense.dim
    if sizes.config.index.factory != "Flat" or dim < 16:
        return ""
    factory = f"PQ{max(m for m in range(1, dim // 8 + 1) if dim % m == 0)}"
    size = size_text(index_bytes(factory, sizes.counts.passages, dim) or 0)
    return f"index.factory: {factory} ({size} for each index)"
