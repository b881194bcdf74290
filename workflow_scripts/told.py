"""What stages tell of data that they can make nothing of. It stands here, since wording is no part of a version."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hardneg.data.languages import Detected

MANY_UNKNOWN = 0.01


def language_of(given: str | None, found: Detected) -> Iterator[str]:
    """What to tell of the language that BM25 analyses texts in.

    Args:
        given: what `bm25.language` sets, or None.
        found: what the texts seem to be in.
    """
    if given is None:
        yield f"BM25 analyses language {found.language}: {found.why}. Set bm25.language if that is wrong."
    elif given != found.language:
        yield (
            f"warning: bm25.language is {given}, but the passages seem to be in {found.language}: {found.why}. BM25 "
            f"analyses them as {given}; remove the key to have the language detected"
        )


def without_hits(split: str, queries: int, without: int, language: str) -> Iterator[str]:
    """What to tell of queries for which BM25 found nothing, if there are any.

    Args:
        split: of the queries.
        queries: how many there are.
        without: how many of them have no hit.
        language: that BM25 analysed them in.
    """
    if without:
        line = f"{split}: BM25 found nothing for {without:,} of {queries:,} queries"
        if 2 * without >= queries:
            line += (
                f". It analyses language {language}; for texts in another one set bm25.language, or use a dense system"
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


def absent(members: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What to tell of splits that a joined collection has no queries for, though another has.

    Args:
        members: the facts `members` of the prepared collection, see `hardneg.data.members`.
    """
    own = tuple(f"{member['name']}." for member in members)
    for member in members:
        for split, (first, last) in member["queries"].items():
            if first == last and not split.startswith(own):
                yield f"{split}: no queries of {member['name']}, which lacks this split"
