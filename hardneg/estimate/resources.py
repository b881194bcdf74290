"""What a stage's jobs ask of a scheduler, by the laws of the estimate, before anything was measured.

Counts come from the prepared collection, or are those of a million passages as long as there is none. Activations are
computed from the shape of a Transformer, and times with the speeds of a slow machine. A job that ran out of memory or
time asks for more at its next attempt.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from hardneg.estimate.counts import Counts, Lengths
from hardneg.estimate.laws.sizes import EncoderSize, Sizes
from hardneg.estimate.laws.table import law_of, memory_mb
from hardneg.estimate.machine import Machine
from hardneg.estimate.speeds.assumed import assumed
from hardneg.estimate.speeds.measured import Measured
from hardneg.planning.backbone import local_backbone
from hardneg.planning.plan import Plan
from hardneg.stages.kinds import Kind
from hardneg.stages.stage import Stage

ASSUMED = 1_000_000
"""Passages of a collection that is not prepared yet, and those that `Kind.minutes` is meant for where no law is."""

BASE_BYTES = 600 << 20
"""Of a process that has loaded torch and Transformers."""

MARGIN = 1.5
"""How much more memory is asked for than the laws say: allocators keep what is freed."""

TIMES = 2
"""How many times the time that the laws say is asked for: checkpoints, digests and a slow disk come on top."""

LEAST_MB = 2000
UNKNOWN_MB = 8000
"""For kinds without a law."""

BASE_SHAPE = {"hidden": 768, "layers": 12, "heads": 12, "feed_forward": 3072, "vocabulary": 50_000}
"""Of a backbone whose shape is not known before it is loaded."""


class Resources:
    """What jobs ask for.

    Args:
        plan: of the configuration.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan, self._config = plan, plan.config
        self._known: Sizes | None = None
        self._elsewhere = {name: Resources(other) for name, other in plan.elsewhere.items()}

    def threads(self, kind: Kind) -> int:
        """CPU threads of a job, in all its processes."""
        each = kind.threads if isinstance(kind.threads, int) else int(getattr(self._config.arithmetic, kind.threads))
        return each * self._config.runtime.gpus_per_training if kind.trains else each

    def gpus(self, kind: Kind) -> int:
        """Devices of a job."""
        runtime = self._config.runtime
        return kind.gpu if isinstance(kind.gpu, int) else max(int(getattr(runtime, name)) for name in kind.gpu)

    def memory_mb(self, stage: Stage) -> int:
        """Megabytes of host memory at the first attempt."""
        if stage.dataset in self._elsewhere:
            return self._elsewhere[stage.dataset].memory_mb(stage)
        known = memory_mb(stage, self._sizes)
        return UNKNOWN_MB if known is None else max(LEAST_MB, math.ceil(MARGIN * known / 100) * 100)

    def minutes(self, stage: Stage, least: int) -> int:
        """The time limit of the first attempt: what the law says of a slow machine, twice, but no less than `least`.

        Where there is no law, `least` is for a million passages, and more of them take as much longer.
        """
        if stage.dataset in self._elsewhere:
            return self._elsewhere[stage.dataset].minutes(stage, least)
        law = law_of(stage, self._sizes)
        if law is None:
            return math.ceil(least * max(1.0, self._sizes.counts.passages / ASSUMED))
        seconds = law.seconds(stage, self._sizes, self._speeds) or 0
        return max(least, math.ceil(TIMES * seconds / law.jobs(self._sizes) / 60))

    @property
    def _speeds(self) -> Measured:
        return assumed(self._sizes, _shape(self._plan))

    @property
    def _sizes(self) -> Sizes:
        if self._known is None:
            manifest = self._plan.collection.manifest
            sizes = self._sizes_of(manifest)
            if not manifest.exists():
                return sizes
            self._known = sizes
        return self._known

    def _sizes_of(self, manifest: Path) -> Sizes:
        encoder, splits = self._config.encoder, self._config.splits
        named = [*splits.evaluate, *([splits.train] if splits.train else [])]
        passages, queries = ASSUMED, dict.fromkeys(named, ASSUMED)
        if manifest.exists():
            facts = json.loads(manifest.read_text(encoding="utf-8"))["facts"]
            passages = facts["passages"]
            queries = {split: counts["queries"] for split, counts in facts["splits"].items()}
        lengths = Lengths(
            passage_characters=5.0 * encoder.passage_tokens,
            query_characters=5.0 * encoder.query_tokens,
            passage_tokens=encoder.passage_tokens,
            query_tokens=encoder.query_tokens,
        )
        counts = Counts(passages, queries, splits.train, lengths, "the plan")
        machine = Machine("any", cores=1, memory=0, disk=0)
        processes = self._config.runtime.gpus_per_training
        return Sizes(self._config, counts, machine, BASE_BYTES, _encoder_size(self._plan), processes=processes)


class _Activations(dict[tuple[int, bool], int]):
    """Bytes of activations that a text of some width keeps for the backward pass, in float32.

    A layer keeps some 16 vectors of the hidden width a token, and two matrices of attention a head; with gradient
    checkpointing only its input.
    """

    def __init__(self, shape: dict[str, int]) -> None:
        self._shape = shape

    def __missing__(self, key: tuple[int, bool]) -> int:
        (width, checkpointed), shape = key, self._shape
        layer = width * (8 * shape["hidden"] + 2 * shape["feed_forward"]) + 2 * shape["heads"] * width * width
        return 4 * shape["layers"] * (width * shape["hidden"] if checkpointed else layer)


def _encoder_size(plan: Plan) -> EncoderSize:
    shape = _shape(plan)
    hidden, forward = shape["hidden"], shape["feed_forward"]
    parameters = shape["vocabulary"] * hidden + shape["layers"] * (4 * hidden * hidden + 2 * hidden * forward)
    return EncoderSize(parameters, plan.config.encoder.projection or hidden, _Activations(shape))


def _shape(plan: Plan) -> dict[str, int]:
    encoder = plan.config.encoder
    if encoder.backbone == "builtin:tiny":
        return {key: getattr(encoder.tiny, key) for key in BASE_SHAPE}
    folder = local_backbone(encoder.backbone)
    if folder is None:
        return BASE_SHAPE
    content: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    named = {
        "hidden": "hidden_size",
        "layers": "num_hidden_layers",
        "heads": "num_attention_heads",
        "feed_forward": "intermediate_size",
        "vocabulary": "vocab_size",
    }
    return {key: int(content.get(name) or BASE_SHAPE[key]) for key, name in named.items()}
