"""An encoder folder for Transformers and sentence-transformers (methods 3.8).

Keys and class paths follow sentence-transformers 5. Later versions read them too.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, normalizers

from hardneg.model.encoder import FOLDER
from hardneg.stages.artifacts import Artifact, write_json

# Modules with weights after the Transformer: the name of the weights there, and in `Encoder.head`.
HEAD = {"Dense": ("linear", "0"), "LayerNorm": ("norm", "1")}


def encoder_settings(model: Artifact) -> dict[str, Any]:
    """The pooling and projection settings of a trained encoder, as `hardneg.model.encoder.Encoder` takes them."""
    settings: dict[str, Any] = json.loads(model.path(f"{FOLDER}/settings.json").read_text(encoding="utf-8"))
    return settings


def write_encoder(folder: Path, model: Artifact, tokenizer: Artifact, length: int, lower_case: bool) -> None:
    """Write an encoder so that `SentenceTransformer(folder).encode` gives the same vectors as ours.

    The vectors do not include the temperature. The caller writes `README.md`; without that file, older versions of
    sentence-transformers take a relative path for a name on the Hub.

    Args:
        folder: the new folder.
        model: the training stage.
        tokenizer: the tokenizer stage.
        length: the maximum number of tokens, special tokens included.
        lower_case: whether texts are lower-cased before tokenization.
    """
    folder.mkdir(parents=True)
    _copy(model, f"{FOLDER}/backbone/", folder)
    _copy(tokenizer, "tokenizer/", folder)
    fast = _adapt_tokenizer(folder, length, lower_case)
    settings = encoder_settings(model)
    head = load_file(model.path(f"{FOLDER}/head.safetensors")) if settings["projection"] else {}
    width = head["0.weight"].shape[1] if head else model.facts["dim"]
    configs = _module_configs(settings, width)
    for number, (kind, config) in enumerate(configs.items(), 1):
        part = folder / f"{number}_{kind}"
        part.mkdir()
        write_json(part / "config.json", config)
        if kind in HEAD:
            theirs, ours = HEAD[kind]
            weights = {f"{theirs}.{name}": head[f"{ours}.{name}"] for name in ("weight", "bias")}
            save_file(weights, part / "model.safetensors", {"format": "pt"})
    modules = ["Transformer", *configs, *(["Normalize"] if settings["normalize"] else [])]
    listed = [
        {
            "idx": number,
            "name": str(number),
            "path": f"{number}_{kind}" if number else "",
            "type": f"sentence_transformers.models.{kind}",
        }
        for number, kind in enumerate(modules)
    ]
    write_json(folder / "modules.json", listed)
    # If the tokenizer does not lower-case, the library does.
    bert_config = {"max_seq_length": length, "do_lower_case": lower_case and not fast}
    write_json(folder / "sentence_bert_config.json", bert_config)
    write_json(
        folder / "config_sentence_transformers.json",
        {"__version__": {}, "prompts": {}, "default_prompt_name": None, "similarity_fn_name": "dot"},
    )


def _module_configs(settings: dict[str, Any], width: int) -> dict[str, dict[str, Any]]:
    """The configuration of each module between the Transformer, with vectors [width], and the normalization."""
    modes = {"cls_token": settings["pooling"] == "cls", "mean_tokens": settings["pooling"] == "mean"}
    modes |= dict.fromkeys(("max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"), False)
    configs: dict[str, dict[str, Any]] = {
        "Pooling": {
            "word_embedding_dimension": width,
            **{f"pooling_mode_{mode}": chosen for mode, chosen in modes.items()},
            "include_prompt": True,
        }
    }
    if settings["projection"]:
        configs["Dense"] = {
            "in_features": width,
            "out_features": settings["projection"],
            "bias": True,
            "activation_function": "torch.nn.modules.linear.Identity",
        }
        configs["LayerNorm"] = {"dimension": settings["projection"]}
    return configs


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
