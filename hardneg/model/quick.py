"""Encoder and tokenizer for `hardneg search`, without importing Transformers, which would take seconds.

torch and tokenizers load `builtin:tiny` directly; Transformers loads all other encoders.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors.torch import load_file
from torch import nn

from hardneg.model.encoder import FOLDER, Encoder
from hardneg.stages.artifacts import Artifact

BUILT_IN = "builtin:tiny"
# torch's names for the parts of a BERT layer.
QUICK_NAMES = {
    "attention.output.dense": "self_attn.out_proj",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "linear1",
    "output.dense": "linear2",
    "output.LayerNorm": "norm2",
}


def load_encoder(model: Artifact) -> Encoder:
    """The encoder of a finished training stage, for inference only."""
    target = model.folder / FOLDER
    settings = json.loads((target / "settings.json").read_text(encoding="utf-8"))
    built_in = settings["backbone"] == BUILT_IN
    return Encoder.load(model, QuickTiny(target / "backbone") if built_in else None)


def load_tokenizer(stage: Artifact) -> Callable[[str, int], list[int]]:
    """A function from a text and a maximum length to its token ids, without special tokens."""
    folder = stage.folder / "tokenizer"
    if stage.settings["backbone"] == BUILT_IN:
        from tokenizers import Tokenizer

        bare = Tokenizer.from_file(str(folder / "tokenizer.json"))
        return lambda text, length: list(bare.encode(text, add_special_tokens=False).ids[:length])
    from transformers import AutoTokenizer

    model = AutoTokenizer.from_pretrained(folder)
    return lambda text, length: list(
        model(text, add_special_tokens=False, truncation=True, max_length=length)["input_ids"]
    )


class QuickTiny(nn.Module):
    """`builtin:tiny` built from torch's layers.

    Its `last_hidden_state`, float32 [n, width, hidden], equals that of the trained BERT to within 1e-5.

    Args:
        folder: the trained BERT, as `save_pretrained` writes it.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.config = SimpleNamespace(**json.loads((folder / "config.json").read_text(encoding="utf-8")))
        weights = load_file(folder / "model.safetensors")
        self.word, self.position, self.kind = (
            nn.Embedding.from_pretrained(weights.pop(f"embeddings.{name}_embeddings.weight"))  # type: ignore[no-untyped-call]
            for name in ("word", "position", "token_type")
        )
        width, epsilon = self.config.hidden_size, self.config.layer_norm_eps
        self.norm = nn.LayerNorm(width, epsilon)
        sizes = (width, self.config.num_attention_heads, self.config.intermediate_size)
        layer = nn.TransformerEncoderLayer(*sizes, activation="gelu", layer_norm_eps=epsilon, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, self.config.num_hidden_layers, enable_nested_tensor=False)
        state = {f"norm.{kind}": weights.pop(f"embeddings.LayerNorm.{kind}") for kind in ("weight", "bias")}
        for number in range(self.config.num_hidden_layers):
            theirs, ours = f"encoder.layer.{number}", f"layers.layers.{number}"
            for kind in ("weight", "bias"):
                parts = [weights.pop(f"{theirs}.attention.self.{part}.{kind}") for part in ("query", "key", "value")]
                state[f"{ours}.self_attn.in_proj_{kind}"] = torch.cat(parts)
                for name, own in QUICK_NAMES.items():
                    state[f"{ours}.{own}.{kind}"] = weights.pop(f"{theirs}.{name}.{kind}")
        self.load_state_dict(state, strict=False)  # the embeddings are already loaded

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SimpleNamespace:
        """Hidden states of ids int64 [n, width] under a mask int64 [n, width]."""
        places = torch.arange(input_ids.shape[1])
        summed = self.word(input_ids) + self.kind.weight[0] + self.position(places)
        return SimpleNamespace(
            last_hidden_state=self.layers(self.norm(summed), src_key_padding_mask=attention_mask == 0)
        )
