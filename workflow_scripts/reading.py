"""What scores pairs of texts for a stage: the cross-encoder or the late interaction that one of its parents trained."""

from __future__ import annotations

import torch

from hardneg.model.cross_encoder import CrossEncoder
from hardneg.model.late_interaction import LateInteraction
from hardneg.retrieval.pair_scores import ROWS, Score, by_cross_encoder, by_late_interaction
from hardneg.stages.artifacts import StageFolder
from hardneg.text.pairs import PairStore
from hardneg.text.tokens import TokenStore


def reader_of(stage: StageFolder, split: str, device: torch.device) -> Score:
    """A scorer of pairs of a split's queries and the passages.

    Args:
        stage: setting `precision`; parents `model` and `tokens`.
        split: of the queries.
        device: where it scores.
    """
    model, tokens, precision = stage.parents["model"], stage.parents["tokens"], stage.settings["precision"]
    if model.manifest["kind"] == "late_interaction":
        stores = TokenStore(tokens, f"queries.{split}"), TokenStore(tokens, "passages")
        return by_late_interaction(LateInteraction.load(model), stores, device, precision)
    pairs = PairStore(tokens, split, {"query_length": None, "passage_length": None})
    return by_cross_encoder(CrossEncoder.load(model), pairs, ROWS, device, precision)
