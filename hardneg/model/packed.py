"""Texts one after another, without padding between them: where texts are encoded, and in training on a CPU.

All layers but attention read each token by itself. Attention, which Transformers calls in place of its own, is of each
text to itself: on a GPU torch's for texts of different lengths, which is for numbers of 16 bits; on a CPU, in float32,
by two products for the texts that are as long.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import nn

from hardneg.model.attended import CACHED, Attended, few
from hardneg.model.dropout import DropoutOfTexts, innermost
from hardneg.model.products import SMALLEST, batches, batches_by_onednn

ATTENTION = "hardneg_packed"
"""What Transformers calls this attention."""
FAMILIES = frozenset(
    {"bert", "camembert", "distilbert", "electra", "eurobert", "modernbert", "qwen2", "qwen3", "roberta", "xlm-roberta"}
)
"""Kinds of backbones that take each token's position, leave attention to a function, and mix tokens nowhere else."""
LEAST_WIDTH = 384
"""Fewest numbers in a hidden state for packing to pay in training: reading each text by itself takes time as well."""
TOKENS = 128
"""Tokens are a multiple of this on a CPU: oneDNN compiles for every shape, which takes as long as a narrow layer."""


class Packed(NamedTuple):
    """Texts one after another.

    Attributes:
        ids: token ids int64 [1, tokens]. Some at the end may belong to no text.
        positions: the place of each token in its text, from 0, int64 [1, tokens].
        bounds: where each text begins, and where the last one ends, int32 [n + 1].
        alike: how many texts that follow each other have as many tokens: their number and that of their tokens.
        places: the token at each place of the padded texts, int64 [n, width]; of padding, the first of all.
        mask: int64 [n, width], 1 where the padded texts have a token.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    bounds: torch.Tensor
    alike: tuple[tuple[int, int], ...]
    places: torch.Tensor
    mask: torch.Tensor

    @classmethod
    def of(cls, ids: np.ndarray, mask: np.ndarray, multiple: int = 1) -> Self:
        """The padded texts `ids` int64 [n, width] with their `mask` int64 [n, width], packed.

        Their tokens are made a multiple of `multiple`, also where there are none.
        """
        there, lengths = mask.astype(bool), mask.sum(axis=1)
        bounds = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        positions = (np.cumsum(mask, axis=1) - 1)[there]
        places = np.zeros_like(mask)
        places[there] = np.arange(len(positions))
        more = (0, -len(positions) % multiple if len(positions) else multiple)
        return cls(
            ids=torch.from_numpy(np.pad(ids[there], more)[None]),
            positions=torch.from_numpy(np.pad(positions, more)[None]),
            bounds=torch.from_numpy(bounds),
            alike=tuple((len(list(same)), length) for length, same in itertools.groupby(lengths.tolist())),
            places=torch.from_numpy(places),
            mask=torch.from_numpy(mask),
        )

    def on(self, device: torch.device) -> Self:
        """The same on a device."""
        return self._replace(
            ids=moved(self.ids, device),
            positions=moved(self.positions, device),
            bounds=moved(self.bounds, device),
            places=moved(self.places, device),
            mask=moved(self.mask, device),
        )


def moved(numbers: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The numbers on a device. A GPU goes on meanwhile with what it was given before."""
    return numbers.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else numbers


def packs(backbone: nn.Module) -> bool:
    """Whether a backbone, where it lies and under the mixed precision that is on, can read packed texts."""
    weight = next(backbone.parameters())
    kind = weight.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
    known = getattr(backbone.config, "model_type", None) in FAMILIES
    return known and dtype in {"cuda": (torch.float16, torch.bfloat16), "cpu": (torch.float32,)}.get(kind, ())


def in_training(backbone: nn.Module) -> bool:
    """Whether a backbone trains on a CPU, where `Dropout` draws for it."""
    return backbone.training and innermost() is not None and next(backbone.parameters()).is_cpu


def trains_packed(backbone: nn.Module) -> bool:
    """Whether a backbone is to read packed texts in training. This must not depend on the texts: see `DropoutOfAll`."""
    return in_training(backbone) and packs(backbone) and int(backbone.config.hidden_size) >= LEAST_WIDTH  # type: ignore[union-attr, arg-type]


def hidden_states(backbone: nn.Module, texts: Packed) -> torch.Tensor:
    """The last hidden states [n, width, hidden] of packed texts, padded again; padding has those of another token."""
    before = getattr(getattr(backbone, "embeddings", None), "padding_idx", None)
    first = 0 if before is None else before + 1  # RoBERTa and similar models number positions from there
    # Texts that are all as long need no padding. On a GPU attention of the backbone's own is the faster then.
    plain = len(texts.alike) == 1 and texts.ids.device.type == "cuda"
    shape, attention = (len(texts.mask), contextlib.nullcontext()) if plain else (1, _attention(backbone))
    with InTraining(backbone, texts) if in_training(backbone) else attention:
        read = backbone(
            input_ids=texts.ids.view(shape, -1),
            position_ids=texts.positions.view(shape, -1) + first,
            **({} if plain else {"bounds": texts.bounds, "alike": texts.alike}),
            **({"use_cache": False} if getattr(backbone.config, "use_cache", False) else {}),
        )
    hidden: torch.Tensor = read.last_hidden_state.flatten(0, 1)
    return hidden[texts.places]


class InTraining(DropoutOfTexts):
    """Inside it, attention in a backbone is for packed texts, and dropout is drawn for each of them.

    It may be entered again, to compute again what a backward pass needs.
    """

    def __init__(self, backbone: nn.Module, texts: Packed) -> None:
        lengths = np.diff(texts.bounds.numpy()).tolist()
        super().__init__(lengths, texts.ids.shape[1])
        self._backbone, self._entered = backbone, contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Begin."""
        self._entered.enter_context(_attention(self._backbone))
        return super().__enter__()

    def __exit__(self, *fault: Any) -> None:
        """End."""
        super().__exit__(*fault)
        self._entered.close()


@contextlib.contextmanager
def _attention(backbone: Any) -> Iterator[None]:
    """While this lasts, attention in a backbone is for packed texts."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, _attend)
    before = backbone.config._attn_implementation
    backbone.config._attn_implementation = ATTENTION
    try:
        yield
    finally:
        backbone.config._attn_implementation = before


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    *,
    bounds: torch.Tensor,
    alike: tuple[tuple[int, int], ...],
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention [1, tokens, heads, width] of each text to itself; Transformers says what it is called with.

    Args:
        module: an attention layer.
        query: [1, heads, tokens, width].
        key: [1, heads, tokens, width]; its heads may be fewer, each for several of the query's.
        value: as `key`.
        attention_mask: nothing, since there is no padding.
        bounds: see `Packed`.
        alike: see `Packed`.
        dropout: of the attention weights, in training.
        scaling: of the products; None: one over the root of the width.
        sliding_window: tokens, its own included, that a token may look back on (and ahead to); None: all.
    """
    # Rotary positions may make queries and keys float32.
    asked, keys, values = (each[0].transpose(0, 1).to(value.dtype) for each in (query, key, value))
    reach = -1 if sliding_window is None else sliding_window - 1
    window = (reach, 0 if module.is_causal else reach)
    if query.device.type == "cuda":
        return _on_gpu(asked, keys, values, bounds, max(length for _, length in alike), window, scaling)[None], None
    training = innermost()
    if isinstance(training, InTraining):
        return _in_training(asked, keys, values, alike, window, scaling, training, dropout)[None], None
    made, first = torch.empty_like(asked), 0
    for count, length in alike:
        part = slice(first, first + count * length)
        same = [each[part].reshape(count, length, *each.shape[1:]) for each in (asked, keys, values)]
        made[part] = _on_cpu(same[0], same[1], same[2], window, scaling).flatten(0, 1)
        first = part.stop
    made[first:] = 0  # of no text
    return made[None], None


def _in_training(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    alike: tuple[tuple[int, int], ...],
    window: tuple[int, int],
    scaling: float | None,
    training: InTraining,
    p: float,
) -> torch.Tensor:
    """Attention [tokens, heads, width] on a CPU, whose weights are dropped with probability p."""
    shared = query.shape[1] // key.shape[1]
    if shared > 1:
        key, value = (each.repeat_interleave(shared, 1) for each in (key, value))
    numbers = training.of_text() if p > 0 else None
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    made: torch.Tensor = Attended.apply(  # type: ignore[no-untyped-call]
        query, key, value, alike, scaling, lambda length: _seen(length, window), numbers, p
    )
    return made


def _seen(length: int, window: tuple[int, int]) -> torch.Tensor | None:
    """Which tokens [length, length] each of a text sees, `window` behind it and ahead; None: all."""
    if window == (-1, -1):
        return None
    ahead = torch.arange(length) - torch.arange(length)[:, None]
    left, right = (length if reach < 0 else reach for reach in window)
    return (ahead <= right) & (-ahead <= left)


def _on_gpu(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bounds: torch.Tensor,
    longest: int,
    window: tuple[int, int],
    scaling: float | None,
) -> torch.Tensor:
    """Attention [tokens, heads, width] of texts that follow each other."""
    from torch.nn.attention.varlen import varlen_attn  # a second, for what only a GPU needs

    shared = query.shape[1] != key.shape[1]
    lengths = (bounds, bounds, longest, longest)
    made = varlen_attn(query, key, value, *lengths, scale=scaling, window_size=window, enable_gqa=shared)
    assert isinstance(made, torch.Tensor)  # and not a pair, for nothing more was asked for
    return made


def _on_cpu(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, window: tuple[int, int], scaling: float | None
) -> torch.Tensor:
    """Attention [n, length, heads, width] of texts that are as long, from tensors of that shape."""
    query, key, value = (each.transpose(1, 2) for each in (query, key, value))
    _, heads, length, width = query.shape
    shared = heads != key.shape[1]
    # Whatever texts are read together, the same means must compute each: so what counts is the size of a single one.
    # The weights of a long one would take gigabytes, which torch's own attention does without.
    fits = heads * length**2 * width > SMALLEST and heads * length**2 <= CACHED
    if window == (-1, -1) and not shared and fits and batches_by_onednn():
        return _by_products(query, key, value, scaling or width**-0.5).transpose(1, 2)
    made = nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=_seen(length, window), scale=scaling, enable_gqa=shared
    )
    return made.transpose(1, 2)


def _by_products(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float) -> torch.Tensor:
    """Attention [n, heads, length, width] from tensors of that shape, by two products of oneDNN's."""
    count, heads, length, _ = query.shape
    made = torch.empty_like(query)
    with batches():
        for part in few(count, heads, length):
            weights = torch.matmul(query[part], key[part].transpose(2, 3)).mul_(scaling).softmax(-1)
            made[part] = torch.matmul(weights, value[part])
    return made
