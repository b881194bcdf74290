"""Looks at a query encoder while it trains."""

from __future__ import annotations

import numpy as np
import torch

from hardneg.methods.draws import Positions
from hardneg.model.encoder import Encoder, encode_rows, texts_at_once
from hardneg.stages.artifacts import StageFolder
from hardneg.text.tokens import TokenStore
from hardneg.training.schedule import generator
from hardneg.training.state import Log


class Probe:
    """Encodes all queries of a split, and some of those that it trains on, in evaluation mode, every so many steps.

    It keeps `probe.<step>` [queries of the split, dim] in the log, and `seen.queries` [n] and `seen.<step>` [n, dim] of
    the training queries. The step keeps `batch.<step>.queries` and `batch.<step>.vectors` of the training step that
    follows.

    Args:
        stage: settings `probe` (`every` steps, `split`, `training`: how many training queries), `seed`, `split` and
            `train`; parent `tokens`.
        encoder: the one that trains.
        trainable: the queries that it trains on, positions int64 [n].
        device: where it runs.
    """

    def __init__(self, stage: StageFolder, encoder: Encoder, trainable: Positions, device: torch.device) -> None:
        asked, train = stage.settings["probe"], stage.settings["train"]
        self._every = asked["every"]
        self._queries = TokenStore(stage.parents["tokens"], f"queries.{asked['split']}", None)
        self._rows_per_forward = texts_at_once(train["rows_per_forward"], device, self._queries.longest)
        self._training = TokenStore(
            stage.parents["tokens"], f"queries.{stage.settings['split']}", train["query_length"]
        )
        drawn = generator(stage.settings["seed"], 0, purpose=3).permutation(trainable)[: asked["training"]]
        self._sample = np.sort(drawn)
        encoder.require_length(self._queries.longest)
        self._encoder, self._device = encoder, device

    def take(self, step: int, log: Log, last: bool = False) -> bool:
        """Keep the vectors if it is their turn, and say whether they were kept.

        Args:
            step: steps done so far.
            log: where they are kept.
            last: whether the training is over, when they are kept in any case.
        """
        if step % self._every and not last:
            return False
        self._encoder.eval()
        log.kept[f"probe.{step:06d}"] = self._vectors(self._queries, np.arange(len(self._queries)))
        if len(self._sample):
            log.kept["seen.queries"] = torch.from_numpy(self._sample)
            log.kept[f"seen.{step:06d}"] = self._vectors(self._training, self._sample)
        self._encoder.train()
        return True

    @torch.no_grad()
    def _vectors(self, queries: TokenStore, rows: Positions) -> torch.Tensor:
        return encode_rows(self._encoder, queries, rows, self._rows_per_forward, self._device).float().cpu()


def named(prefix: str, **tensors: torch.Tensor) -> dict[str, torch.Tensor]:
    """Copies of tensors on the CPU as `<prefix>.<name>`: what shares memory cannot be written to safetensors."""
    return {f"{prefix}.{name}": tensor.detach().cpu().clone() for name, tensor in tensors.items()}
