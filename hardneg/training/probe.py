"""Looks at a query encoder while it trains."""

from __future__ import annotations

import numpy as np
import torch

from hardneg.model.encoder import Encoder, encode_rows, texts_at_once
from hardneg.stages.artifacts import StageFolder
from hardneg.text.tokens import TokenStore
from hardneg.training.state import Log


class Probe:
    """Encodes all queries of a split in evaluation mode, every so many steps.

    It keeps `probe.<step>` [queries of the split, dim] in the log; the step keeps `batch.<step>.queries` and
    `batch.<step>.vectors` of the training step that follows.

    Args:
        stage: settings `probe` (`every` steps, `split`) and `train`; parent `tokens`.
        encoder: the one that trains.
        device: where it runs.
    """

    def __init__(self, stage: StageFolder, encoder: Encoder, device: torch.device) -> None:
        asked, train = stage.settings["probe"], stage.settings["train"]
        self._every, self._rows_per_forward = asked["every"], texts_at_once(train["rows_per_forward"], device)
        self._queries = TokenStore(stage.parents["tokens"], f"queries.{asked['split']}", None)
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
        rows = np.arange(len(self._queries))
        with torch.no_grad():
            vectors = encode_rows(self._encoder, self._queries, rows, self._rows_per_forward, self._device)
        self._encoder.train()
        log.kept[f"probe.{step:06d}"] = vectors.float().cpu()
        return True


def named(prefix: str, **tensors: torch.Tensor) -> dict[str, torch.Tensor]:
    """Copies of tensors on the CPU as `<prefix>.<name>`: what shares memory cannot be written to safetensors."""
    return {f"{prefix}.{name}": tensor.detach().cpu().clone() for name, tensor in tensors.items()}
