"""Low-rank adapters (LoRA, Hu et al. 2022): each chosen linear layer W becomes W + (alpha / rank) B A.

A and B train, the backbone does not. A trained encoder keeps its adapters and says where its backbone lies, which the
stage of the untrained encoder holds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hardneg.errors import HardnegError

ADAPTERS, REFERENCE = "adapters.safetensors", "backbone.json"


def attach(backbone: nn.Module, lora: Mapping[str, Any]) -> None:
    """Put new adapters into a backbone. Only they train from now on, and B is 0, so no vector changes.

    Args:
        backbone: the Transformer; it is changed.
        lora: `rank`, `alpha`, `dropout` and `targets`.

    Raises:
        HardnegError: peft is not installed, or the backbone has no such layer.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise HardnegError(
            "Adapters need the package peft.",
            where="encoder.lora",
            remedy="pip install '.[lora]', in this project's folder, or remove the key.",
        ) from None
    linear = sorted({name.rpartition(".")[2] for name, part in backbone.named_modules() if isinstance(part, nn.Linear)})
    targets = list(lora["targets"] or linear)
    if unknown := [name for name in targets if name not in linear]:
        raise HardnegError(
            "The backbone has no such linear layer.",
            where="encoder.lora.targets",
            found=", ".join(unknown),
            expected=", ".join(linear),
            remedy="name some of these, or remove the key for all of them.",
        )
    config = LoraConfig(
        r=lora["rank"], lora_alpha=lora["alpha"], lora_dropout=lora["dropout"], target_modules=targets, bias="none"
    )
    inject_adapter_in_model(config, backbone)
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_("lora_" in name)


def adapters(backbone: nn.Module) -> dict[str, torch.Tensor]:
    """The adapters' weights."""
    return {name: tensor.contiguous() for name, tensor in backbone.state_dict().items() if "lora_" in name}


def without(backbone: nn.Module) -> dict[str, torch.Tensor]:
    """The backbone's own weights, under its own names."""
    state = backbone.state_dict()
    return {name.replace(".base_layer.", "."): tensor for name, tensor in state.items() if "lora_" not in name}


def merged(backbone: nn.Module) -> dict[str, torch.Tensor]:
    """The weights of a backbone without adapters that gives the same vectors. The given one is changed."""
    for part in backbone.modules():
        if hasattr(part, "lora_A") and hasattr(part, "merge"):
            part.merge()  # type: ignore[operator]
    return without(backbone)


def reference(base: Path, target: Path) -> dict[str, str]:
    """What says where the backbone of the encoder in the folder `target` lies, whatever folder all artifacts are in."""
    return {"folder": Path(os.path.relpath(base.resolve(), target.resolve())).as_posix()}


def referred(target: Path) -> Path | None:
    """The folder of the backbone that the encoder in the folder `target` refers to; None if it has its own.

    Raises:
        HardnegError: it is not there any more.
    """
    if not (target / REFERENCE).exists():
        return None
    base = target / json.loads((target / REFERENCE).read_text(encoding="utf-8"))["folder"]
    if not base.is_dir():
        raise HardnegError(
            "The backbone that these adapters belong to is missing.",
            where=str(target / REFERENCE),
            found=f"no folder {base}",
            remedy="run the workflow again: it makes the backbone's stage anew. An export has the two merged.",
        )
    return base
