"""Words of a text and the tokens that stand for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hardneg.data.parquet import batches
from hardneg.data.template import Reading
from hardneg.stages.artifacts import Artifact
from hardneg.text.words import WORD

NOWHERE = -1
WEIGHTED = "texts.parquet"


class Read(NamedTuple):
    """A text as a model reads it.

    Attributes:
        ids: int64 [tokens], special ones included.
        words: in the text's order, as they are written there.
        first: int64 [words], the place in `ids` of the first token of each word; `NOWHERE` for a word that lies beyond
            the greatest length.
    """

    ids: npt.NDArray[np.int64]
    words: list[str]
    first: npt.NDArray[np.int64]


Reader = Callable[[Sequence[str]], list[Read]]


def reading_of(passage_template: str, tokenizer: Mapping[str, Any]) -> Reading:
    """How passages are read: as BM25 reads them, and in lower case where the encoder has them so.

    Args:
        passage_template: of BM25.
        tokenizer: facts of the tokenizer stage.
    """
    return Reading(passage_template, separator=" ", lower_case=tokenizer["reading"]["lower_case"])


def reader_of(tokenizer: Any, facts: Mapping[str, Any], length: int) -> Reader:
    """A function that reads texts.

    Args:
        tokenizer: from Transformers, one that tells where in the text its tokens are.
        facts: of the tokenizer stage: `prefix` and `suffix`, the special tokens around a text.
        length: maximum tokens of a text, special ones included.
    """
    prefix, suffix = facts["prefix"], facts["suffix"]

    def read(texts: Sequence[str]) -> list[Read]:
        encoded = tokenizer(
            list(texts),
            add_special_tokens=False,
            truncation=True,
            max_length=length - len(prefix) - len(suffix),
            return_attention_mask=False,
            return_offsets_mapping=True,
        )
        return [
            _read(text, [*prefix, *ids, *suffix], spans, len(prefix))
            for text, ids, spans in zip(texts, encoded["input_ids"], encoded["offset_mapping"], strict=True)
        ]

    return read


def _read(text: str, ids: Sequence[int], spans: Sequence[tuple[int, int]], before: int) -> Read:
    words, first, at = [], [], 0
    for found in WORD.finditer(text):
        while at < len(spans) and spans[at][1] <= found.start():
            at += 1
        words.append(found[0])
        inside = at < len(spans) and spans[at][0] < found.end()
        first.append(before + at if inside else NOWHERE)
    return Read(np.array(ids, np.int64), words, np.array(first, np.int64))


def weighted_texts(weighted: Artifact) -> Iterator[str]:
    """The passages of the stage that repeats their words by their weights, in order of position."""
    for batch in batches(weighted.path(WEIGHTED)):
        yield from batch.column("text").to_pylist()
