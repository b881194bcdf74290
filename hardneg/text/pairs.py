"""Pairs of a query and a passage as one token sequence, the input of cross-encoders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hardneg.errors import HardnegError
from hardneg.stages.artifacts import Artifact
from hardneg.text.tokens import TokenStore


class PairStore:
    """Pairs of a split's queries and the collection's passages.

    Args:
        tokens: the tokens stage.
        split: the split of the queries.
        lengths: `query_length` and `passage_length`, the maximum tokens of a single text, special ones included; None:
            the stored length.

    Raises:
        HardnegError: the tokenizer has no template for two texts.
    """

    def __init__(self, tokens: Artifact, split: str, lengths: Mapping[str, Any]) -> None:
        form = tokens.facts["pair"]
        if form is None:
            raise HardnegError(
                "The tokenizer has no template for pairs of texts.",
                where="cross_encoder.backbone",
                expected="a tokenizer that adds special tokens to a pair of query and passage",
                remedy="choose a backbone for cross-encoders.",
            )
        self._queries = TokenStore(tokens, f"queries.{split}", lengths["query_length"])
        self._passages = TokenStore(tokens, "passages", lengths["passage_length"])
        self._prefix, self._middle, self._suffix = form["prefix"], form["middle"], form["suffix"]
        self._second, self._special = form["second"], sum(len(form[part]) for part in ("prefix", "middle", "suffix"))
        self.pad: int = tokens.facts["pad"]
        alone = len(tokens.facts["prefix"]) + len(tokens.facts["suffix"])
        self._alone = alone
        self.longest = self._queries.longest + self._passages.longest - 2 * alone + self._special

    def lengths(self, queries: np.ndarray, passages: np.ndarray) -> np.ndarray:
        """Number of tokens of each pair, special ones included: int64 [n]."""
        bare = self._queries.lengths(queries) + self._passages.lengths(passages) - 2 * self._alone
        return np.asarray(bare + self._special)

    def batch(
        self, queries: np.ndarray, passages: np.ndarray, multiple: int = 8
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ids, mask and token types, int64 [n, width] each, as wide as the longest pair rounded up to `multiple`."""
        lengths = self.lengths(queries, passages)
        width = -(-int(lengths.max()) // multiple) * multiple
        ids = np.full((len(queries), width), self.pad, np.int64)
        types = np.zeros((len(queries), width), np.int64)
        for row, (query, passage, length) in enumerate(zip(queries, passages, lengths, strict=True)):
            asked, read = self._queries.body(int(query)), self._passages.body(int(passage))
            ids[row, :length] = np.concatenate((self._prefix, asked, self._middle, read, self._suffix))
            types[row, len(self._prefix) + len(asked) + len(self._middle) : length] = self._second
        return ids, (np.arange(width) < lengths[:, None]).astype(np.int64), types
