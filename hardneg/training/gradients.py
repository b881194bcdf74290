"""Gradient caching: the gradient of a large batch in the memory of a chunk of it (GradCache, Gao et al. 2021).

It wraps `encode` and knows nothing of losses, nor losses of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.utils.checkpoint import checkpoint

from hardneg.model.dropout import around_recomputing
from hardneg.model.encoder import Encoder, encode_rows

if TYPE_CHECKING:
    from hardneg.methods.draws import Positions
    from hardneg.text.tokens import TokenStore
    from hardneg.training.scorers import Encode


def in_chunks(chunk: int) -> Encode:
    """An `encode` that holds the activations of `chunk` texts at a time.

    Chunks are encoded without keeping activations. The loss gives u_i = dL/df(s_i) for the representations f(s_i) of
    the whole batch. In the backward pass each chunk is encoded again and adds sum_i u_i^T df(s_i)/dTheta. Its second
    forward pass draws the dropout of its first, whose random state is kept, and runs in the precision of the first.
    """

    def encode(
        encoder: Encoder, store: TokenStore, positions: Positions, rows: int, device: torch.device
    ) -> torch.Tensor:
        """See `hardneg.model.encoder.encode_rows`; a chunk stands for `rows`."""

        def twice(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            vectors: torch.Tensor = checkpoint(
                encoder, ids, mask, use_reentrant=False, preserve_rng_state=True, context_fn=around_recomputing
            )
            return vectors

        return encode_rows(twice, store, positions, chunk, device)  # type: ignore[arg-type] # it is only called

    return encode


def encode_of(chunk: int | None) -> Encode:
    """`encode_rows`, or where `chunk` is set, `in_chunks`."""
    return encode_rows if chunk is None else in_chunks(chunk)
