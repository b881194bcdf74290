"""Small random backbones of the families that read packed texts."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel

SIZE = {
    "vocab_size": 90,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
OWN: dict[str, dict[str, Any]] = {
    "distilbert": {"dim": 32, "n_heads": 4, "n_layers": 3, "hidden_dim": 48},
    "electra": {"embedding_size": 32},
    "eurobert": {"num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0},
    "modernbert": {"local_attention": 8, "global_attn_every_n_layers": 2, "pad_token_id": 0},
    "qwen2": {"num_key_value_heads": 2, "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 8},
}


def backbone_of(family: str, **more: Any) -> nn.Module:
    """One whose weights are so large that positions and attention matter."""
    torch.manual_seed(0)
    backbone: nn.Module = AutoModel.from_config(AutoConfig.for_model(family, **SIZE | OWN.get(family, {}) | more))
    for weight in backbone.parameters():
        if weight.dim() > 1:
            nn.init.normal_(weight, std=0.3)
    return backbone
