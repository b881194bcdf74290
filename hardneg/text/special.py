"""The special tokens of a pair of texts."""

from __future__ import annotations

from typing import Any


def pair_form(tokenizer: Any) -> dict[str, Any] | None:
    """A tokenizer's template for two texts: the special ids before, between and after them.

    Args:
        tokenizer: a Transformers tokenizer.

    Returns:
        `prefix`, `middle`, `suffix` (lists of ids) and `second` (the token type of the second text; 0 if the tokenizer
        has no token types), or None if the tokenizer adds no special token between the texts.
    """
    first, second = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("a", "b"))
    joined = tokenizer("a", "b")
    ids: list[int] = joined["input_ids"]
    starts = [at for at in range(len(ids)) if ids[at : at + len(first)] == first]
    for start in starts:
        end = start + len(first)
        for again in range(end, len(ids)):
            if ids[again : again + len(second)] == second and again > end:
                types = joined.get("token_type_ids") or [0] * len(ids)
                parts = {"prefix": ids[:start], "middle": ids[end:again], "suffix": ids[again + len(second) :]}
                return {**parts, "second": types[again]}
    return None
