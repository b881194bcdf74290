"""An encoder folder for Transformers and sentence-transformers (methods 3.8).

Keys and class paths follow sentence-transformers 5. Later versions read them too.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, normalizers, processors

from hardneg.data.template import Reading, prompt_of
from hardneg.model.encoder import FOLDER, Encoder
from hardneg.model.pooling import WEIGHTS
from hardneg.stages.artifacts import Artifact, write_json

# Modules with weights after the Transformer: the name of the weights there, and in `Encoder.head`.
HEAD = {"Dense": ("linear", "0"), "LayerNorm": ("norm", "1")}


ACTIVATIONS = {
    "Identity": "torch.nn.modules.linear.Identity",
    **{name: f"torch.nn.modules.activation.{name}" for name in ("Tanh", "ReLU", "GELU", "SiLU", "Sigmoid")},
}
MODES = {
    "cls_token": "cls",
    "mean_tokens": "mean",
    "weightedmean_tokens": "weighted_mean",
    "lasttoken": "last_token",
}
"""sentence-transformers' names of pooling modes, and those of `encoder.pooling`."""


def encoder_settings(model: Artifact) -> dict[str, Any]:
    """The pooling and projection settings of a trained encoder, as `hardneg.model.encoder.Encoder` takes them."""
    settings: dict[str, Any] = json.loads(model.path(f"{FOLDER}/settings.json").read_text(encoding="utf-8"))
    return settings


def write_encoder(
    folder: Path, model: Artifact, tokenizer: Artifact, length: int, reading: Reading, texts: str
) -> None:
    """Write an encoder so that `SentenceTransformer(folder).encode` gives the same vectors as ours.

    The vectors do not include the temperature. The caller writes `README.md`; without that file, older versions of
    sentence-transformers take a relative path for a name on the Hub.

    Args:
        folder: the new folder.
        model: the training stage.
        tokenizer: the tokenizer stage.
        length: the maximum number of tokens, special tokens included.
        reading: how texts are read. What stands before them is the encoder's prompt.
        texts: `query` or `document`, whose prompt `encode` uses.
    """
    folder.mkdir(parents=True)
    settings = encoder_settings(model)
    if settings.get("lora"):
        Encoder.load(model).save_merged(folder)
    else:
        _copy(model, f"{FOLDER}/backbone/", folder)
    _copy(tokenizer, "tokenizer/", folder)
    fast = _adapt_tokenizer(folder, length, reading.lower_case)
    if fast:
        _close_texts(folder / "tokenizer.json", tokenizer)
    width = json.loads((folder / "config.json").read_text(encoding="utf-8"))["hidden_size"]
    modules = [_Module("Pooling", _pooling(settings, width)), *_layers(model, settings), *_head(model, settings)]
    for number, module in enumerate(modules, 1):
        part = folder / f"{number}_{module.kind}"
        part.mkdir()
        write_json(part / "config.json", module.config)
        if module.weights:
            save_file(module.weights, part / "model.safetensors", {"format": "pt"})
    kinds = ["Transformer", *(module.kind for module in modules), *(["Normalize"] if settings["normalize"] else [])]
    listed = [
        {
            "idx": number,
            "name": str(number),
            "path": f"{number}_{kind}" if number else "",
            "type": f"sentence_transformers.models.{kind}",
        }
        for number, kind in enumerate(kinds)
    ]
    write_json(folder / "modules.json", listed)
    # If the tokenizer does not lower-case, the library does.
    bert_config = {"max_seq_length": length, "do_lower_case": reading.lower_case and not fast}
    write_json(folder / "sentence_bert_config.json", bert_config)
    prompts = prompts_of(reading)
    said = {"prompts": prompts, "default_prompt_name": texts if prompts else None, "similarity_fn_name": "dot"}
    write_json(folder / "config_sentence_transformers.json", {"__version__": {}, **said})


def prompts_of(reading: Reading) -> dict[str, str]:
    """What stands before queries and passages, under sentence-transformers' names; empty where nothing does."""
    templates = {"query": reading.query_template, "document": reading.passage_template}
    prompts = {name: prompt_of(template) for name, template in templates.items()}
    return prompts if any(prompts.values()) else {}


@dataclass(frozen=True)
class _Module:
    """A module after the Transformer: its configuration and weights."""

    kind: str
    config: dict[str, Any]
    weights: dict[str, np.ndarray] = field(default_factory=dict)


def _pooling(settings: dict[str, Any], width: int) -> dict[str, Any]:
    modes = {theirs: settings["pooling"] == ours for theirs, ours in MODES.items()}
    modes |= dict.fromkeys(("max_tokens", "mean_sqrt_len_tokens"), False)
    return {
        "word_embedding_dimension": width,
        **{f"pooling_mode_{mode}": chosen for mode, chosen in modes.items()},
        "include_prompt": True,
    }


def _layers(model: Artifact, settings: dict[str, Any]) -> Iterator[_Module]:
    """The layers that the backbone came with."""
    chosen = settings.get("modules") or []
    weights = load_file(model.path(f"{FOLDER}/modules.safetensors")) if chosen else {}
    for number, module in enumerate(chosen):
        own = {name.partition(".")[2]: weight for name, weight in weights.items() if name.startswith(f"{number}.")}
        theirs, ours = WEIGHTS[module["type"]]
        named = {f"{theirs}{name.removeprefix(ours)}": weight for name, weight in own.items()}
        if module["type"] == "Dense":
            sizes = {"in_features": module["inputs"], "out_features": module["outputs"], "bias": module["bias"]}
            config = {**sizes, "activation_function": ACTIVATIONS[module["activation"]]}
        else:
            config = {"dimension": module["outputs"]}
        yield _Module(module["type"], config, named)


def _head(model: Artifact, settings: dict[str, Any]) -> Iterator[_Module]:
    """Our own projection and its LayerNorm."""
    if not settings["projection"]:
        return
    head = load_file(model.path(f"{FOLDER}/head.safetensors"))
    for kind, (theirs, ours) in HEAD.items():
        weights = {f"{theirs}.{name}": head[f"{ours}.{name}"] for name in ("weight", "bias")}
        outputs, inputs = head["0.weight"].shape
        sizes = {"in_features": inputs, "out_features": outputs, "bias": True}
        dense = {**sizes, "activation_function": ACTIVATIONS["Identity"]}
        yield _Module(kind, dense if kind == "Dense" else {"dimension": outputs}, weights)


def _close_texts(path: Path, tokenizer: Artifact) -> None:
    """Let the tokenizer add the special tokens that ours adds, where it adds others: `encoder.append_eos`."""
    if not tokenizer.settings.get("append_eos"):
        return
    exported = Tokenizer.from_file(str(path))
    prefix, suffix = (
        [(str(exported.id_to_token(part)), part) for part in tokenizer.facts[at]] for at in ("prefix", "suffix")
    )
    single = [*(name for name, _ in prefix), "$A", *(name for name, _ in suffix)]
    exported.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=[*dict([*prefix, *suffix]).items()]
    )
    exported.save(str(path))


def _copy(stage: Artifact, prefix: str, folder: Path) -> None:
    for name in stage.manifest["files"]:
        if name.startswith(prefix):
            target = folder / name.removeprefix(prefix)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(stage.path(name), target)


def _adapt_tokenizer(folder: Path, length: int, lower_case: bool) -> bool:
    """Make the tokenizer process texts as `TokenStore` does, and say whether `tokenizer.json` alone suffices for that.

    It truncates at `length`, pads on the right, and returns only what our encoder takes. Next to a `config.json`,
    Transformers may choose the class by model type and build another tokenizer. The class named here uses
    `tokenizer.json` unchanged, in versions 4 and 5.
    """
    path, whole = folder / "tokenizer_config.json", folder / "tokenizer.json"
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    inputs = ["input_ids", "attention_mask"]
    config |= {"model_max_length": length, "padding_side": "right", "model_input_names": inputs}
    fast = whole.exists()
    if fast:
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    if fast and lower_case:
        tokenizer = Tokenizer.from_file(str(whole))
        before = [tokenizer.normalizer] if tokenizer.normalizer else []
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *before])
        tokenizer.save(str(whole))
    write_json(path, config)
    return fast
