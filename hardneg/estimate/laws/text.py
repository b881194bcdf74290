"""The tokenizer and the token ids."""

from __future__ import annotations

from hardneg.estimate.laws.base import Law, over
from hardneg.estimate.laws.sizes import POSITION_BYTES, Sizes
from hardneg.estimate.speeds.measured import Measured
from hardneg.stages.stage import Stage

TOKENIZER_BYTES = 4 << 20
BYTES = 256  # tokens of single bytes, which the built-in tokenizer has besides those that it learnt


class Tokenizer(Law):
    """Training the built-in tokenizer, or copying a backbone's."""

    def memory(self, stage: Stage, sizes: Sizes) -> int:
        """The libraries alone."""
        return sizes.base_bytes

    def disk(self, stage: Stage, sizes: Sizes) -> int:
        """A few megabytes."""
        return TOKENIZER_BYTES

    def seconds(self, stage: Stage, sizes: Sizes, measured: Measured) -> float | None:
        """Fixed seconds, and characters / rate, if it is trained here. Copying a backbone's is not measured.

        Of a large collection it reads a part.
        """
        from hardneg.text.built_in import PASSAGES

        if "collection" not in stage.parents or measured.tokenizer is None:
            return None
        fixed, each = measured.tokenizer
        return fixed + each * sizes.passage_characters * min(1, PASSAGES / sizes.counts.passages)


class Tokens(Law):
    """Token ids of all texts."""

    def memory(self, stage: Stage, sizes: Sizes) -> int:
        """The libraries alone; texts are streamed."""
        return sizes.base_bytes

    def disk(self, stage: Stage, sizes: Sizes) -> int:
        """2 bytes per token (4 if the vocabulary exceeds 65,536), and an offset of 8 bytes for each text."""
        counts, encoder = sizes.counts, sizes.config.encoder
        width = 2 if encoder.backbone != "builtin:tiny" or encoder.tiny.vocabulary + BYTES <= 65536 else 4
        tokens = counts.passages * counts.lengths.passage_tokens + sizes.queries * counts.lengths.query_tokens
        return round(width * tokens) + POSITION_BYTES * (counts.passages + sizes.queries)

    def seconds(self, stage: Stage, sizes: Sizes, measured: Measured) -> float | None:
        """Characters / rate."""
        return over(sizes.characters, measured.tokenize)
