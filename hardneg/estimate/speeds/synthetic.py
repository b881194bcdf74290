"""Made-up texts to measure with."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hardneg.data.collection import Judgement, Passage, Query
from hardneg.estimate.counts import Lengths

WORDS = 20_000


def synthetic_texts(count: int, characters: float, seed: int, skipped: int = 0) -> Iterator[str]:
    """Texts of made-up words with Zipf's frequencies, each of about this many characters.

    Args:
        count: number of texts.
        characters: in each.
        seed: changes the texts, not the words.
        skipped: how many of the most frequent words to leave out.
    """
    shapes = random.Random(0)
    rng = random.Random(seed)
    letters = "eeeeaaaiioouutttnnnrrrsssllddcmpbgfhvkw"
    known = ["".join(shapes.choices(letters, k=shapes.randint(2, 9))) for _ in range(WORDS)][skipped:]
    weights = [1 / rank for rank in range(skipped + 1, WORDS + 1)]
    mean = sum(len(word) * w for word, w in zip(known, weights, strict=True)) / sum(weights) + 1
    words = max(1, round(characters / mean))
    for _ in range(count):
        yield " ".join(rng.choices(known, weights, k=words))


class SyntheticCollection:
    """A collection of made-up texts, with the interface of a format's reader. Passage n is relevant to query n."""

    def __init__(self, lengths: Lengths, count: int) -> None:
        self.passage_texts = list(synthetic_texts(count, lengths.passage_characters, seed=1))
        self.query_texts = list(synthetic_texts(100, lengths.query_characters, seed=2))

    @property
    def characters(self) -> int:
        """Characters of all passages."""
        return sum(map(len, self.passage_texts))

    def splits(self) -> tuple[str, ...]:
        """The one split."""
        return ("train",)

    def passages(self) -> Iterator[Passage]:
        """All passages."""
        return (Passage(str(number), "", text) for number, text in enumerate(self.passage_texts))

    def queries(self, split: str) -> Iterator[Query]:
        """All queries."""
        return (Query(str(number), text) for number, text in enumerate(self.query_texts))

    def judgements(self, split: str) -> Iterator[Judgement]:
        """One for each query."""
        return (Judgement(str(number), str(number), 1) for number in range(len(self.query_texts)))

    def files(self, splits: Iterable[str]) -> dict[str, Path]:
        """None: the texts are made here."""
        return {}

    def provenance(self) -> dict[str, Any]:
        """None."""
        return {}
