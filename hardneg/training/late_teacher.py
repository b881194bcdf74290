"""A late interaction that teaches: it scores all that meets at a step, and does not train."""

from __future__ import annotations

import numpy as np
import torch

from hardneg.methods.draws import Positions, Scores
from hardneg.model.late_interaction import LateInteraction, max_sim, token_vectors
from hardneg.stages.artifacts import Artifact
from hardneg.text.tokens import TokenStore

ROWS = 64


class LateTeacher:
    """A `hardneg.methods.draws.Teacher` without dropout or gradients.

    Args:
        model: the stage that trained it.
        tokens: of its texts.
        split: of the queries.
        device: where it scores.
    """

    def __init__(self, model: Artifact, tokens: Artifact, split: str, device: torch.device) -> None:
        self._model = LateInteraction.load(model).to(device).eval().requires_grad_(False)
        self._queries, self._passages = TokenStore(tokens, f"queries.{split}"), TokenStore(tokens, "passages")
        self._device = device

    @torch.no_grad()
    def __call__(self, query: Positions, passage: Positions) -> Scores:
        """Scores float32 [B, C] of queries [B, 1] and passages [1, C] or [B, C]; NaN for texts of elsewhere."""
        there = (passage >= 0) & (passage < len(self._passages))
        each, back = np.unique(np.where(there, passage, 0), return_inverse=True)
        asked = token_vectors(self._model, self._queries, query[:, 0], ROWS, self._device)
        read = token_vectors(self._model, self._passages, each, ROWS, self._device)
        column = torch.from_numpy(back.reshape(passage.shape)).to(self._device)
        if len(passage) == 1:  # all queries meet the same passages
            scores = max_sim(asked, read)[:, column[0]]
        else:
            rows = [max_sim(asked[row : row + 1], read[column[row]]) for row in range(len(passage))]
            scores = torch.cat(rows)
        return np.where(there, scores.float().cpu().numpy(), np.float32(np.nan))
