"""Weights of terms in their context: a number for each token of a passage (DeepCT)."""

from __future__ import annotations

import torch

from hardneg.model.token_head import TokenHead


class TermWeights(TokenHead):
    """A Transformer, and a linear layer from each token's hidden state to its weight."""

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Weights float32 [n, width] of ids and mask int64 [n, width]; any real number."""
        return self.of_tokens(input_ids, attention_mask).squeeze(-1)
