"""What stages tell of data that they can make nothing of. It stands here, since wording is no part of a version."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

MANY_UNKNOWN = 0.01


def without_hits(split: str, queries: int, without: int) -> Iterator[str]:
    """What to tell of queries for which BM25 found nothing, if there are any.

    Args:
        split: of the queries.
        queries: how many there are.
        without: how many of them have no hit.
    """
    if without:
        line = f"{split}: BM25 found nothing for {without:,} of {queries:,} queries"
        if 2 * without >= queries:
            line += (
                ". It analyses English, and words are what stands between spaces: other languages need a dense system"
            )
        yield line


def unknown_tokens(name: str, ids: npt.NDArray[np.unsignedinteger], unknown: int | None) -> Iterator[str]:
    """What to tell of texts whose characters the tokenizer does not know, if these are many.

    Args:
        name: of the texts.
        ids: [n] token ids.
        unknown: the id that stands for what is unknown; None if the tokenizer has none.
    """
    share = float((ids == unknown).mean()) if unknown is not None and len(ids) else 0.0
    if share >= MANY_UNKNOWN:
        yield (
            f"{name}: {share:.0%} of the tokens are unknown to the tokenizer, so the encoder cannot tell them apart; "
            "use the backbone of a model that knows this language"
        )


def nothing_learnt(losses: Path) -> Iterator[str]:
    """What to tell of a training whose logged losses are all 0.

    Args:
        losses: its `loss.csv`: step, loss, learning rate.
    """
    rows = [line.split(",") for line in losses.read_text(encoding="utf-8").splitlines()[1:]]
    if rows and all(float(row[1]) == 0 for row in rows):
        yield (
            f"the loss is 0 at every logged step ({len(rows):,} of them): no positive was compared with a "
            "negative, or all were told apart already. Nothing was learnt. Look for queries without candidates and for "
            "equal texts"
        )
