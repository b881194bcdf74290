"""Late interaction: a vector for each token, and a score that adds up each query token's best match (ColBERT)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from hardneg.model.token_head import TokenHead
from hardneg.stages.artifacts import StageFolder
from hardneg.text.tokens import TokenStore

LEAST = -1.0
"""What padding of a passage scores: a cosine cannot be lower, so that padding is never the best match."""

# From ids int64 [n, width] and mask int64 [n, width] to token vectors float32 [n, width, dim].
Tokens = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class LateInteraction(TokenHead):
    """A Transformer, and a linear layer from its hidden states to token vectors of length 1.

    All tokens of a text have a vector, special ones included. Queries and passages share the weights.
    """

    @property
    def facts(self) -> dict[str, Any]:
        """Facts for the manifest: the width of the token vectors."""
        return {"dim": self.head.out_features}

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Token vectors float32 [n, width, dim] of ids and mask int64 [n, width]; those of padding are zero."""
        vectors = nn.functional.normalize(self.of_tokens(input_ids, attention_mask), dim=-1)
        return vectors * attention_mask.unsqueeze(-1)

    def score(
        self, stores: tuple[TokenStore, TokenStore], pairs: tuple[np.ndarray, np.ndarray], rows: int
    ) -> torch.Tensor:
        """Scores float32 [n] of pairs, in the given order.

        Args:
            stores: of the queries and of the passages.
            pairs: query positions and passage positions, int64 [n] each.
            rows: pairs in one forward pass; passages of similar length are read together.
        """
        (asked, read), (queries, passages) = stores, pairs
        device = self.head.weight.device
        order = np.argsort(read.lengths(passages), kind="stable")
        parts = []
        for start in range(0, len(order), rows):
            chosen = order[start : start + rows]
            each, back = np.unique(queries[chosen], return_inverse=True)
            own = token_vectors(self, asked, each, rows, device)[torch.from_numpy(back).to(device)]
            theirs = token_vectors(self, read, passages[chosen], rows, device)
            with torch.autocast(device.type, enabled=False):
                parts.append(summed(torch.einsum("nld,nwd->nlw", own, theirs), own, theirs))
        return torch.cat(parts)[torch.from_numpy(np.argsort(order, kind="stable")).to(device)]

    @classmethod
    def starting(cls, stage: StageFolder, runtime: dict[str, Any]) -> Self:
        """The model that training starts from: the `from` system's, or the backbone with a random linear layer.

        Args:
            stage: settings `encoder` (with `width`) and `seed`; parents `tokenizer`, `tokens`, and perhaps `init`.
            runtime: `places`.

        Raises:
            HardnegError: the backbone cannot be loaded.
        """
        if "init" in stage.parents:
            return cls.load(stage.parents["init"])
        lengths = stage.parents["tokens"].facts
        return cls.of_backbone(stage, runtime, max(lengths["passage_length"], lengths["query_length"]))


def token_vectors(
    model: Tokens, store: TokenStore, positions: np.ndarray, rows: int, device: torch.device
) -> torch.Tensor:
    """Token vectors float32 [n, width, dim] of the texts at `positions`, in that order; zero behind a text's end.

    Texts of similar length are read together, at most `rows` at a time.
    """
    order = np.argsort(store.lengths(positions), kind="stable")
    parts = []
    for start in range(0, len(order), rows):
        ids, mask = store.batch(positions[order[start : start + rows]])
        parts.append(model(torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)))
    width = max(part.shape[1] for part in parts)
    wide = [nn.functional.pad(part, (0, 0, 0, width - part.shape[1])) for part in parts]
    return torch.cat(wide)[torch.from_numpy(np.argsort(order, kind="stable")).to(device)]


def max_sim(queries: torch.Tensor, passages: torch.Tensor) -> torch.Tensor:
    """Scores float32 [B, C]: for each token of the query the best match in the passage, added up.

    Args:
        queries: token vectors float32 [B, L, dim], zero where there is no token.
        passages: token vectors float32 [C, W, dim], zero where there is no token.
    """
    with torch.autocast(queries.device.type, enabled=False):  # mixed precision is for the backbone
        # One query at a time: the products of all with all, [B, C, L, W], would not fit.
        rows = [summed(torch.einsum("ld,cwd->clw", query, passages), query, passages) for query in queries]
        return torch.stack(rows)


def summed(products: torch.Tensor, query: torch.Tensor, passage: torch.Tensor) -> torch.Tensor:
    """Scores float32 [n] from the products float32 [n, L, W] of token vectors [L or n, L, dim] and [n, W, dim]."""
    asked, there = ((vectors != 0).any(-1) for vectors in (query, passage))
    best = products.masked_fill(~there.unsqueeze(1), LEAST).max(-1).values
    return (best * asked).sum(-1)
