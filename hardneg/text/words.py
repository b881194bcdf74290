"""Words of texts and how often passages have them, for features that read words rather than vectors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int32]

WORD = re.compile(r"\w+")
OTHER = -1
"""Stands for a word that no query has."""


def words_of(text: str) -> list[str]:
    """The words of a text, in its order: runs of letters, digits and underscores, without regard to case."""
    return WORD.findall(text.casefold())


@dataclass(frozen=True)
class Words:
    """What is known of words.

    Attributes:
        queries: int32 [words] for each query, the numbers of its words in their order.
        passages: by position, of the passages that were asked for: int32 [words], the numbers of their words in their
            order, `OTHER` for words that no query has.
        idf: float64 [vocabulary], ln(1 + (N - n + 0.5) / (n + 0.5)), of N passages n of which have the word.
        mean: words of a passage, on average.
    """

    queries: Sequence[Ids]
    passages: dict[int, Ids]
    idf: npt.NDArray[np.float64]
    mean: float


def read_words(queries: Iterable[str], passages: Iterable[str], wanted: npt.NDArray[np.integer]) -> Words:
    """Read all passages once. Memory holds the words of the wanted ones, and counts of the words of queries.

    Args:
        queries: texts, in order of position.
        passages: texts of all passages, in order of position.
        wanted: positions of the passages whose words are kept, in any order.
    """
    number: dict[str, int] = {}
    asked = [np.array([number.setdefault(word, len(number)) for word in words_of(text)], np.int32) for text in queries]
    kept, found = set(np.unique(wanted).tolist()), dict[int, Ids]()
    having, total, count = np.zeros(len(number), np.int64), 0, 0
    for position, text in enumerate(passages):
        ids = np.array([number.get(word, OTHER) for word in words_of(text)], np.int32)
        having[np.unique(ids[ids != OTHER])] += 1
        total, count = total + len(ids), count + 1
        if position in kept:
            found[position] = ids
    idf = np.log1p((count - having + 0.5) / (having + 0.5))
    return Words(asked, found, idf, total / max(count, 1))
