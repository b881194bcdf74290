"""From the hidden states of a text's tokens to one vector, and the layers that a published model puts after that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from hardneg.errors import HardnegError

# The name of the weights in a module's own file, and here, where an activation may follow.
WEIGHTS = {"Dense": ("linear.", "0."), "LayerNorm": ("norm.", "")}


def pool(hidden: torch.Tensor, mask: torch.Tensor, mode: str) -> torch.Tensor:
    """One vector of each text: float [n, width].

    Args:
        hidden: hidden states, float [n, tokens, width].
        mask: 1 for tokens and 0 for padding, which is on one side, int64 [n, tokens].
        mode: `cls`, the first token; `last_token`; `mean`; `weighted_mean`, in which token i of the text has weight i.
    """
    rows = torch.arange(len(mask), device=mask.device)
    match mode:
        case "cls":
            return hidden[rows, mask.argmax(1)]
        case "last_token":
            return hidden[rows, mask.shape[1] - 1 - mask.flip(1).argmax(1)]
        case "mean":
            weight = mask.unsqueeze(-1).to(hidden.dtype)
        case "weighted_mean":
            weight = (mask.cumsum(1) * mask).unsqueeze(-1).to(hidden.dtype)
        case unknown:
            raise ValueError(unknown)
    return (hidden * weight).sum(1) / weight.sum(1).clamp_min(1)  # a text may have no token at all


def positions_in(mask: torch.Tensor) -> torch.Tensor:
    """The position of each token in its text, from 0; that of padding means nothing. int64 [n, tokens]."""
    return (mask.cumsum(1) - 1).clamp_min(0)


def layer_of(module: Mapping[str, Any]) -> nn.Module:
    """A layer after pooling, as `hardneg.model.described.Described.modules` describes it, with random weights."""
    if module["type"] == "LayerNorm":
        return nn.LayerNorm(module["outputs"])
    linear = nn.Linear(module["inputs"], module["outputs"], bias=module["bias"])
    return nn.Sequential(linear, getattr(nn, module["activation"])())


def load_layers(
    layers: nn.Sequential, modules: Sequence[Mapping[str, Any]], place: str, revision: str | None = None
) -> None:
    """Load the weights of the layers after pooling from a local folder or a hub model; safetensors only.

    Raises:
        HardnegError: a file is missing, damaged or of another shape.
    """
    for layer, module in zip(layers, modules, strict=True):
        theirs, ours = WEIGHTS[module["type"]]
        name = f"{module['path']}/model.safetensors"
        try:
            found = load_file(_file(place, name, revision))
            layer.load_state_dict({key.replace(theirs, ours, 1): tensor.float() for key, tensor in found.items()})
        except (OSError, RuntimeError, SafetensorError) as fault:
            raise HardnegError(
                "The weights of a layer after pooling cannot be loaded.",
                where=f"encoder.backbone: {place}/{name}",
                found=str(fault).splitlines()[0],
                expected=f"safetensors weights of {dict(module)}; pickled ones (.bin) are not read",
                remedy="save the model again with sentence-transformers, which writes safetensors.",
            ) from None


def _file(place: str, name: str, revision: str | None) -> Path:
    if Path(place).is_dir():
        return Path(place) / name
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(place, name, revision=revision))
