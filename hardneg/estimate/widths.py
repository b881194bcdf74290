"""Widths of padded batches, which decide the cost of encoding and training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hardneg.estimate.counts import Lengths


def padded_width(tokens: float) -> int:
    """Width of a batch of texts of similar length, padded to a multiple of 8."""
    return -(-int(tokens + 0.999) // 8) * 8


def training_widths(train: Mapping[str, Any], lengths: Lengths) -> tuple[tuple[int, bool], tuple[int, bool]]:
    """The (width, gradient checkpointing) of passages and of queries, for a stage's `train` settings."""
    checkpointed = bool(train["gradient_checkpointing"])
    longest = [train[key] or float("inf") for key in ("passage_length", "query_length")]
    passage, query = (
        padded_width(min(tokens, limit))
        for tokens, limit in zip((lengths.passage_tokens, lengths.query_tokens), longest, strict=True)
    )
    return (passage, checkpointed), (query, checkpointed)
