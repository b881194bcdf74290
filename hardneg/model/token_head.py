"""A Transformer with a linear layer over each token's hidden state, in place of one vector for a text."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from hardneg.model.encoder import FOLDER, Encoder, initial_encoder
from hardneg.model.pooling import positions_in
from hardneg.model.products import Linear
from hardneg.stages.artifacts import Artifact, StageFolder

HEAD = "tokens.safetensors"
BARE: dict[str, Any] = {
    "pooling": "mean",
    "projection": None,
    "head_from": None,
    "normalize": False,
    "temperature": 1.0,
}
"""How the encoder around the backbone would make one vector of a text, which is not asked of it here."""


class TokenHead(nn.Module):
    """What subclasses share: the backbone of an encoder, and a linear layer.

    Args:
        encoder: whose backbone is used; its pooling and head are not.
        width: of the linear layer's output.
    """

    def __init__(self, encoder: Encoder, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        hidden: int = encoder.backbone.config.hidden_size  # type: ignore[union-attr, assignment]
        self.head = Linear(hidden, width, bias=False)
        # A decoder numbers its tokens from the left edge, padding included, unless it is told their positions.
        self._causal = any(getattr(module, "is_causal", False) for module in encoder.backbone.modules())

    def of_tokens(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """The head's outputs float32 [n, width, dim] of ids and mask int64 [n, width]."""
        more = {"position_ids": positions_in(attention_mask), "use_cache": False} if self._causal else {}
        hidden = self.encoder.backbone(input_ids=input_ids, attention_mask=attention_mask, **more).last_hidden_state
        made: torch.Tensor = self.head(hidden)
        return made.float()

    def require_length(self, longest: int) -> None:
        """See `Encoder.require_length`."""
        self.encoder.require_length(longest)

    def checkpoint_gradients(self) -> None:
        """See `Encoder.checkpoint_gradients`."""
        self.encoder.checkpoint_gradients()

    def save(self, folder: Path) -> list[str]:
        """Write the model into `folder/encoder/`; returns the names of the files, relative to `folder`."""
        names = self.encoder.save(folder)
        save_file({"weight": self.head.weight.detach().contiguous()}, folder / FOLDER / HEAD)
        return sorted([*names, f"{FOLDER}/{HEAD}"])

    @classmethod
    def load(cls, model: Artifact) -> Self:
        """Load the model of a finished training stage."""
        head = load_file(model.folder / FOLDER / HEAD)
        made = cls(Encoder.load(model), head["weight"].shape[0])
        made.head.load_state_dict(head)
        return made

    @classmethod
    def of_backbone(cls, stage: StageFolder, runtime: dict[str, Any], longest: int) -> Self:
        """The backbone with a random linear layer.

        Args:
            stage: settings `encoder` (with `width`) and `seed`; parent `tokenizer`.
            runtime: `places`.
            longest: tokens of the longest text.

        Raises:
            HardnegError: the backbone cannot be loaded.
        """
        settings, template = dict(stage.settings["encoder"]), stage.parents["tokenizer"].facts
        width, place = settings.pop("width"), runtime["places"].get("backbone")
        given = (template["vocabulary"], template["pad"], longest, place, stage.settings["seed"])
        return cls(initial_encoder({**BARE, **settings}, *given), width)
