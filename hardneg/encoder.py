"""Text to vector: a Transformer, pooled, with an optional head. One encoder serves queries and passages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from hardneg.artifacts import Artifact, write_json
from hardneg.errors import HardnegError
from hardneg.tokens import TokenStore

FOLDER = "encoder"


class Encoder(nn.Module):
    """Backbone, pooling, optional projection with LayerNorm (the head of ANCE, STAR and ADORE), optional length 1.

    Args:
        backbone: a Transformers encoder whose output has `last_hidden_state`.
        settings: `pooling` (cls or mean), `projection` (width or None), `normalize`, `temperature`.
    """

    def __init__(self, backbone: nn.Module, settings: dict[str, Any]) -> None:
        super().__init__()
        self.settings = settings
        self.backbone = backbone
        width: int = backbone.config.hidden_size  # type: ignore[union-attr, assignment]
        projection = settings["projection"]
        self.head = (
            nn.Sequential(nn.Linear(width, projection), nn.LayerNorm(projection)) if projection else nn.Identity()
        )
        self.dim = projection or width
        self.temperature: float = settings["temperature"]

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Vectors float32 [n, dim] of ids int64 [n, width] under a mask int64 [n, width]."""
        hidden = self.backbone(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        if self.settings["pooling"] == "cls":
            pooled = hidden[:, 0]
        else:
            weight = attention_mask.unsqueeze(-1).to(hidden.dtype)
            pooled = (hidden * weight).sum(1) / weight.sum(1).clamp_min(1)  # a text may have no token at all
        vector = self.head(pooled).float()
        return nn.functional.normalize(vector, dim=-1) if self.settings["normalize"] else vector

    def save(self, folder: Path) -> list[str]:
        """Write the encoder under `folder/encoder/`; the names of the files, relative to `folder`."""
        from transformers.utils import logging

        target = folder / FOLDER
        logging.disable_progress_bar()  # one file is written in a moment
        self.backbone.save_pretrained(target / "backbone")  # type: ignore[operator]
        head = {name: tensor.contiguous() for name, tensor in self.head.state_dict().items()}
        if head:
            save_file(head, target / "head.safetensors")
        write_json(target / "settings.json", self.settings)
        return sorted(str(path.relative_to(folder)) for path in target.rglob("*") if path.is_file())

    @classmethod
    def load(cls, model: Artifact) -> Self:
        """Read the encoder that a training stage sealed. Weights are safetensors; pickles are never read."""
        target = model.folder / FOLDER
        settings = json.loads((target / "settings.json").read_text(encoding="utf-8"))
        encoder = cls(_pretrained(str(target / "backbone"), settings), settings)
        if (target / "head.safetensors").exists():
            encoder.head.load_state_dict(load_file(target / "head.safetensors"))
        return encoder


def initial_encoder(
    settings: dict[str, Any], vocabulary: int, pad: int, longest: int, place: str | None, seed: int
) -> Encoder:
    """The encoder that training starts from when no system is named: random `builtin:tiny`, or pretrained weights.

    Args:
        settings: the `encoder` settings of a training stage.
        vocabulary: tokens of the tokenizer.
        pad: the padding token's id.
        longest: tokens of the longest text.
        place: the local folder of a local backbone.
        seed: for the weights that are drawn at random (`builtin:tiny`, a projection).

    Raises:
        HardnegError: the backbone cannot be loaded.
    """
    torch.manual_seed(seed)
    if settings["backbone"] == "builtin:tiny":
        return Encoder(_tiny(settings["tiny"], vocabulary, pad, longest), settings)
    return Encoder(_pretrained(place or settings["backbone"], settings), settings)


def _tiny(size: dict[str, Any], vocabulary: int, pad: int, longest: int) -> nn.Module:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=size["hidden"],
        num_hidden_layers=size["layers"],
        num_attention_heads=size["heads"],
        intermediate_size=size["feed_forward"],
        hidden_dropout_prob=size["dropout"],
        attention_probs_dropout_prob=size["attention_dropout"],
        max_position_embeddings=max(longest, 512),
        pad_token_id=pad,
    )
    return BertModel(config, add_pooling_layer=False)


def _pretrained(place: str, settings: dict[str, Any]) -> nn.Module:
    from transformers import AutoModel
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        backbone: nn.Module = AutoModel.from_pretrained(
            place,
            revision=settings.get("revision"),
            trust_remote_code=settings.get("trust_remote_code", False),
            use_safetensors=True,
            dtype=torch.float32,
        )
    except (OSError, ValueError) as fault:
        raise HardnegError(
            "The backbone cannot be loaded.",
            where=f"encoder.backbone: {place}",
            found=str(fault).splitlines()[0],
            expected="safetensors weights of a Transformers encoder",
            remedy="correct the name, or save the model with safetensors.",
        ) from None
    if getattr(backbone, "pooler", None) is not None:
        del backbone.pooler  # pooling is ours; the backbone's own head would never be trained
        backbone.register_module("pooler", None)
    return backbone


def encode_rows(
    encoder: Encoder, store: TokenStore, positions: np.ndarray, rows_per_forward: int, device: torch.device
) -> torch.Tensor:
    """Vectors float32 [n, dim] of texts, in the order given, with gradients if these are on.

    Texts of similar length go through together, which spares most of the padding.
    """
    order = np.argsort(store.lengths(positions), kind="stable")
    parts = []
    for start in range(0, len(order), rows_per_forward):
        ids, mask = store.batch(positions[order[start : start + rows_per_forward]])
        parts.append(encoder(torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)))
    back = torch.from_numpy(np.argsort(order, kind="stable")).to(device)
    return torch.cat(parts)[back]
