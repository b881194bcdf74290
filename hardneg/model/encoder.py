"""The encoder: a Transformer with pooling and an optional head, of queries, of passages, or of both."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from hardneg.errors import HardnegError
from hardneg.model.dpr import bert_of, class_of
from hardneg.model.dropout import around_recomputing
from hardneg.model.lora import ADAPTERS, REFERENCE, adapters, attach, merged, reference, referred, without
from hardneg.model.packed import TOKENS, Packed, hidden_states, trains_packed
from hardneg.model.pooling import layer_of, load_layers, pool, positions_in
from hardneg.model.products import use_in
from hardneg.stages.artifacts import Artifact, write_json
from hardneg.text.tokens import TokenStore

FOLDER = "encoder"
TEXTS_ON_A_CPU, TEXTS_ON_A_GPU = range(8, 65), 1024
TOKENS_ON_A_CPU = 4096
TOGETHER_ON_A_GPU = 1 << 14
"""Tokens, padding among them, for which a GPU works less long than the CPU takes to tell it what to do."""


class Encoder(nn.Module):
    """Backbone, pooling, optional projection with LayerNorm (the head of ANCE, STAR and ADORE), optional L2 norm.

    Args:
        backbone: a Transformers encoder whose output has `last_hidden_state`.
        settings: `pooling` (see `pool`), `projection` (width or None), `normalize`, `temperature`; for pretrained
            weights also `head_from` (see `initial_encoder`), `modules`, the layers that the backbone comes with (see
            `hardneg.model.described`), `weights`, the type of the backbone's numbers, and `lora`.
    """

    def __init__(self, backbone: nn.Module, settings: dict[str, Any]) -> None:
        super().__init__()
        self.settings = settings
        self.backbone = backbone
        if settings.get("lora"):
            attach(backbone, settings["lora"])
        self.base: Path | None = None
        """Where a backbone lies that does not train and is kept once for all; None: it is saved with the encoder."""
        self.layers = nn.Sequential(*map(layer_of, settings.get("modules", ())))
        own: int = backbone.config.hidden_size  # type: ignore[union-attr, assignment]
        width: int = settings["modules"][-1]["outputs"] if settings.get("modules") else own
        # A decoder numbers its tokens from the left edge, padding included, unless it is told their positions.
        self._causal = any(getattr(module, "is_causal", False) for module in backbone.modules())
        projection = settings["projection"]
        self.head = (
            nn.Sequential(nn.Linear(width, projection), nn.LayerNorm(projection)) if projection else nn.Identity()
        )
        self.dim = projection or width
        self.temperature: float = settings["temperature"]
        use_in(self)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Encode texts: ids int64 [n, width] and mask int64 [n, width] to vectors float32 [n, dim].

        In training on a CPU they are packed where `trains_packed`.
        """
        if trains_packed(self.backbone):
            return self.packed(Packed.of(input_ids.numpy(), attention_mask.numpy(), TOKENS))
        more = {"position_ids": positions_in(attention_mask), "use_cache": False} if self._causal else {}
        read = self.backbone(input_ids=input_ids, attention_mask=attention_mask, **more)
        return self._vectors(read.last_hidden_state, attention_mask)

    def packed(self, texts: Packed) -> torch.Tensor:
        """The vectors float32 [n, dim] of packed texts, where the backbone can read them (see `packs`)."""
        return self._vectors(hidden_states(self.backbone, texts), texts.mask)

    def _vectors(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Vectors float32 [n, dim] from hidden states [n, width, hidden] and mask int64 [n, width]."""
        vector = self.head(self.layers(pool(hidden.float(), mask, self.settings["pooling"]))).float()
        return nn.functional.normalize(vector, dim=-1) if self.settings["normalize"] else vector

    @property
    def facts(self) -> dict[str, Any]:
        """What the manifest says of it: the width of its vectors."""
        return {"dim": self.dim}

    def checkpoint_gradients(self) -> None:
        """Turn on gradient checkpointing: recompute activations in the backward pass instead of storing them.

        Raises:
            HardnegError: the backbone does not support it.
        """
        if self.settings.get("lora"):
            self.backbone.enable_input_require_grads()  # type: ignore[operator]
        try:
            self.backbone.activation_checkpointing_enable(  # type: ignore[operator]
                {"use_reentrant": False, "context_fn": around_recomputing}
            )
        except ValueError as fault:
            raise HardnegError(
                "The backbone does not support gradient checkpointing.",
                where="train.gradient_checkpointing",
                found=str(fault),
                remedy="set it to false.",
            ) from None

    def require_length(self, longest: int) -> None:
        """Refuse texts that are longer than the backbone's maximum.

        Raises:
            HardnegError: the backbone has fewer than `longest` positions.
        """
        usable = positions_of(self.backbone)
        if usable is not None and longest > usable:
            raise HardnegError(
                "Texts are longer than the encoder's maximum.",
                where="encoder.passage_length, encoder.query_length",
                found=f"{longest} tokens",
                expected=f"at most {usable}, the number of its position embeddings",
                remedy="lower the length; collection.windows splits long documents into passages.",
            )

    def save(self, folder: Path) -> list[str]:
        """Write the encoder to `folder/encoder/`; returns the names of the files, relative to `folder`."""
        from transformers.utils import logging

        target = folder / FOLDER
        logging.disable_progress_bar()  # writing one file is quick
        self._save_backbone(target)
        head = {name: tensor.contiguous() for name, tensor in self.head.state_dict().items()}
        if head:
            save_file(head, target / "head.safetensors")
        layers = {name: tensor.contiguous() for name, tensor in self.layers.state_dict().items()}
        if layers:
            save_file(layers, target / "modules.safetensors")
        write_json(target / "settings.json", self.settings)
        return sorted(str(path.relative_to(folder)) for path in target.rglob("*") if path.is_file())

    def _save_backbone(self, target: Path) -> None:
        """Write the backbone; with adapters, these and where the backbone lies, or the backbone if it lies nowhere."""
        lora, state = bool(self.settings.get("lora")), None
        if lora:
            state = without(self.backbone)
            target.mkdir(parents=True, exist_ok=True)
            save_file(adapters(self.backbone), target / ADAPTERS)
        if self.base is None:
            self.backbone.save_pretrained(target / "backbone", state_dict=state)  # type: ignore[operator]
        else:
            write_json(target / REFERENCE, reference(self.base, target))

    def save_merged(self, folder: Path) -> None:
        """Write the backbone with its adapters merged into it. This encoder must not be used any more."""
        self.backbone.save_pretrained(folder, state_dict=merged(self.backbone))  # type: ignore[operator]

    @classmethod
    def load(cls, model: Artifact, backbone: nn.Module | None = None) -> Self:
        """Load the encoder of a finished training stage. Weights are safetensors; pickles are never loaded.

        Args:
            model: the training stage.
            backbone: used instead of the stage's own, which is then not loaded.
        """
        target = model.folder / FOLDER
        settings = json.loads((target / "settings.json").read_text(encoding="utf-8"))
        base = referred(target) or target / "backbone"
        encoder = cls(backbone or _pretrained(str(base), settings), settings)
        if settings.get("lora"):
            encoder.base = base
            encoder.backbone.load_state_dict(load_file(target / ADAPTERS), strict=False)
        if (target / "head.safetensors").exists():
            encoder.head.load_state_dict(load_file(target / "head.safetensors"))
        if (target / "modules.safetensors").exists():
            encoder.layers.load_state_dict(load_file(target / "modules.safetensors"))
        return encoder


def initial_encoder(
    settings: dict[str, Any], vocabulary: int, pad: int, longest: int, place: str | None, seed: int
) -> Encoder:
    """The encoder that training starts from without `from`: a random `builtin:tiny`, or pretrained weights.

    Args:
        settings: the `encoder` settings of a training stage. With `head_from` {"linear": prefix, "norm": prefix} the
            projection and its LayerNorm are loaded from the backbone's safetensors, from the tensors with these
            prefixes: `embeddingHead` and `norm` in checkpoints of ANCE, STAR and ADORE.
        vocabulary: size of the tokenizer's vocabulary.
        pad: id of the padding token.
        longest: tokens of the longest text.
        place: the folder of a local backbone; None for others.
        seed: seed of randomly initialised weights (`builtin:tiny`, a projection).

    Raises:
        HardnegError: the backbone cannot be loaded, lacks weights, or has no such head.
    """
    torch.manual_seed(seed)
    if settings["backbone"] == "builtin:tiny":
        return Encoder(_tiny(settings["tiny"], vocabulary, pad, longest), settings)
    backbone = place or settings["backbone"]
    encoder = Encoder(_pretrained(backbone, settings), settings)
    if settings.get("modules"):
        load_layers(encoder.layers, settings["modules"], backbone, settings.get("revision"))
    if settings["head_from"] is not None:
        _load_head(encoder, backbone, settings)
    return encoder


def positions_of(model: nn.Module) -> int | None:
    """The maximum number of tokens of a Transformer, or None if there is no limit."""
    base: Any = getattr(model, "base_model", model)
    positions = getattr(base.config, "max_position_embeddings", None)
    relative = getattr(base.config, "position_biased_input", True) is False
    if not isinstance(positions, int) or positions < 0 or relative:
        return None
    # RoBERTa and similar models number positions from the padding token's id + 1.
    before = getattr(getattr(base, "embeddings", None), "padding_idx", None)
    return positions if before is None else positions - before - 1


def tiny_config(size: dict[str, Any], vocabulary: int, pad: int, longest: int) -> Any:
    """The configuration of `builtin:tiny`.

    Args:
        size: `hidden`, `layers`, `heads`, `feed_forward`, `dropout` and `attention_dropout`.
        vocabulary: tokens of the tokenizer.
        pad: the padding token's id.
        longest: tokens of the longest text.
    """
    from transformers import BertConfig

    return BertConfig(
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


def _tiny(size: dict[str, Any], vocabulary: int, pad: int, longest: int) -> nn.Module:
    from transformers import BertModel

    return BertModel(tiny_config(size, vocabulary, pad, longest), add_pooling_layer=False)


def _pretrained(place: str, settings: dict[str, Any]) -> nn.Module:
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        made = class_of(place, settings.get("revision")).from_pretrained(
            place,
            revision=settings.get("revision"),
            trust_remote_code=settings.get("trust_remote_code", False),
            use_safetensors=True,
            dtype=getattr(torch, settings.get("weights", "float32")),
            output_loading_info=True,
        )
    except (OSError, ValueError) as fault:
        raise HardnegError(
            "The backbone cannot be loaded.",
            where=f"encoder.backbone: {place}",
            found=str(fault).splitlines()[0],
            expected="safetensors weights of a Transformers encoder; pickled ones (.bin, .pt) are not read",
            remedy="correct the name, or save the model with `save_pretrained`, which writes safetensors.",
        ) from None
    backbone: nn.Module = made[0]
    missing = sorted(name for name in made[1]["missing_keys"] if "pooler" not in name.split("."))
    if missing:
        raise HardnegError(
            "The backbone's files lack weights of the encoder; these would be initialised at random.",
            where=f"encoder.backbone: {place}",
            found=f"{len(missing)} missing: {_some(missing)}",
            expected="all weights of the model that config.json describes",
            remedy="check model_type in config.json and the names of the tensors.",
        )
    if getattr(backbone, "pooler", None) is not None:
        backbone.register_module("pooler", None)  # the encoder pools itself; this head would never be trained
    return bert_of(backbone, place)


def _load_head(encoder: Encoder, place: str, settings: dict[str, Any]) -> None:
    """Copy the projection and its LayerNorm from the safetensors of a folder or of a hub model."""
    from huggingface_hub import snapshot_download

    if not isinstance(encoder.head, nn.Sequential):
        raise HardnegError(
            "A head cannot be loaded without a projection to load it into.",
            where="encoder.head_from",
            remedy="set encoder.projection to the width of the checkpoint's vectors, or remove head_from.",
        )
    prefixes: dict[str, str] = settings["head_from"]
    wanted = {
        f"{prefixes[part]}.{kind}": f"{number}.{kind}"
        for number, part in enumerate(("linear", "norm"))
        for kind in ("weight", "bias")
    }
    patterns = ["model.safetensors", "model-*.safetensors"]
    folder = Path(place)
    if not folder.is_dir():  # a hub model; its files are cached, since the backbone was just loaded
        folder = Path(snapshot_download(place, revision=settings.get("revision"), allow_patterns=patterns))
    expected = encoder.head.state_dict()
    head: dict[str, torch.Tensor] = {}
    seen: list[str] = []
    for path in sorted(file for pattern in patterns for file in folder.glob(pattern)):
        with safe_open(path, "pt") as stream:
            names = list(stream.keys())
            seen += names
            head |= {wanted[name]: stream.get_tensor(name).float() for name in names if name in wanted}
    shapes = {name: list(tensor.shape) for name, tensor in head.items()}
    if shapes != {name: list(tensor.shape) for name, tensor in expected.items()}:
        outside = [name for name in seen if name.count(".") == 1]
        found = {name: shapes[own] for name, own in wanted.items() if own in shapes}
        raise HardnegError(
            "The checkpoint has no such head.",
            where=f"encoder.head_from: {place}",
            found=f"{found}; tensors outside the encoder: {_some(outside)}",
            expected=str({name: list(expected[own].shape) for name, own in wanted.items()}),
            remedy="correct the two prefixes and encoder.projection.",
        )
    encoder.head.load_state_dict(head)


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") if names else "none"


def texts_at_once(asked: int | None, device: torch.device, longest: int) -> int:
    """Texts in a forward pass of training: `train.rows_per_forward`, or what suits the device.

    On a CPU these are 8 to 64, so that 4,096 tokens are not exceeded: fewer long texts have less padding. A step with
    64 passages of up to 256 tokens, where they are padded, takes half the time in passes of 16 that it takes in passes
    of 64. A GPU waits for each pass to be told. The activations of all passes are held until the backward pass anyway.

    Args:
        asked: `train.rows_per_forward`.
        device: where it trains.
        longest: tokens that a text may have.
    """
    if asked is not None:
        return asked
    if device.type == "cuda":
        return TEXTS_ON_A_GPU
    return min(max(TOKENS_ON_A_CPU // longest, TEXTS_ON_A_CPU.start), TEXTS_ON_A_CPU.stop - 1)


def encode_rows(
    encoder: Encoder, store: TokenStore, positions: np.ndarray, rows_per_forward: int, device: torch.device
) -> torch.Tensor:
    """Vectors float32 [n, dim] of the texts at `positions`, in that order; differentiable if gradients are enabled.

    Texts of similar length are encoded together, which avoids most padding.
    """
    order = np.argsort(store.lengths(positions), kind="stable")
    parts = []
    for start in range(0, len(order), rows_per_forward):
        ids, mask = store.batch(positions[order[start : start + rows_per_forward]])
        parts.append(encoder(torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)))
    back = torch.from_numpy(np.argsort(order, kind="stable")).to(device)
    return torch.cat(parts)[back]


def goes_together(parts: Sequence[tuple[TokenStore, np.ndarray]], rows_per_forward: int, device: torch.device) -> bool:
    """Whether one forward pass over the texts of several stores takes less time than one over each.

    That is so on a GPU where they are few. Each has the padding of the longest then.
    """
    if device.type != "cuda":
        return False
    rows = sum(len(positions) for _, positions in parts)
    width = max(int(store.lengths(positions).max()) for store, positions in parts)
    return rows <= rows_per_forward and rows * width <= TOGETHER_ON_A_GPU


def encode_together(
    encoder: Encoder, parts: Sequence[tuple[TokenStore, np.ndarray]], device: torch.device
) -> list[torch.Tensor]:
    """Vectors float32 [n, dim] of texts at some positions of each store, in their order, by one forward pass."""
    read = [store.batch(positions) for store, positions in parts]
    width = max(ids.shape[1] for ids, _ in read)

    def padded(rows: np.ndarray, fill: int) -> np.ndarray:
        return np.pad(rows, ((0, 0), (0, width - rows.shape[1])), constant_values=fill)

    ids = np.concatenate([padded(ids, store.pad) for (store, _), (ids, _) in zip(parts, read, strict=True)])
    mask = np.concatenate([padded(mask, 0) for _, mask in read])
    vectors = encoder(torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device))
    return list(vectors.split([len(positions) for _, positions in parts]))
