"""What a model in the form of sentence-transformers says of how its vectors are made.

Only small JSON files are read: `modules.json`, which lists the modules, the configuration of each, and
`config_sentence_transformers.json` and `sentence_bert_config.json`. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hardneg.errors import HardnegError

MODULES, PROMPTS = "modules.json", "config_sentence_transformers.json"
LENGTHS = ("sentence_bert_config.json", "sentence_roberta_config.json", "sentence_distilbert_config.json")
POOLING = {"cls": "cls", "mean": "mean", "lasttoken": "last_token", "weightedmean": "weighted_mean"}
LEGACY = {"cls_token": "cls", "mean_tokens": "mean", "lasttoken": "lasttoken", "weightedmean_tokens": "weightedmean"}
ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "SiLU", "Sigmoid")
PASSAGE_PROMPTS = ("document", "passage", "corpus")

Read = Callable[[str], Any]
"""The content of a JSON file by its name in the model's folder; None where there is none."""


@dataclass(frozen=True)
class Described:
    """What a model says of itself. None: it does not say.

    Attributes:
        pooling: as in `encoder.pooling`.
        normalize: whether vectors have length 1.
        modules: the layers between pooling and length 1: `type` (Dense or LayerNorm), `path` in the model's folder,
            and for Dense `inputs`, `outputs`, `bias` and `activation`, for LayerNorm `outputs`.
        query_prompt: what stands before a query.
        passage_prompt: what stands before a passage.
        length: the maximum number of tokens, special tokens included.
        lower_case: whether texts are lower-cased before tokenization.
        similarity: how two vectors are compared.
        files: the files in subfolders that were read or hold weights.
    """

    pooling: str | None = None
    normalize: bool | None = None
    modules: tuple[dict[str, Any], ...] = ()
    query_prompt: str = ""
    passage_prompt: str = ""
    length: int | None = None
    lower_case: bool | None = None
    similarity: str | None = None
    files: tuple[str, ...] = ()

    @property
    def width(self) -> int | None:
        """The width of the vectors after the last of `modules`; None if there is none."""
        return int(self.modules[-1]["outputs"]) if self.modules else None


def describe(read: Read, where: str) -> Described:
    """What a model says of itself.

    Args:
        read: gives its files.
        where: the key and the name of the model, for messages.

    Raises:
        HardnegError: it has a module, pooling or activation that cannot be computed here.
    """
    listed = read(MODULES)
    if not isinstance(listed, list):
        return Described(pooling="cls") if (read("config.json") or {}).get("model_type") == "dpr" else Described()
    said: dict[str, Any] = {"normalize": False, "modules": (), "files": ()}
    prompts: dict[str, str] = {}
    prompted = True
    for entry in listed:
        kind, path = str(entry["type"]).rpartition(".")[2], str(entry["path"])
        config = (read(f"{path}/config.json") if kind not in ("Transformer", "Normalize") else None) or {}
        if config:
            said["files"] += (f"{path}/config.json",)
        match kind:
            case "Transformer" if not path:
                pass
            case "Pooling":
                said["pooling"], prompted = _pooling(config, where), config.get("include_prompt", True)
            case "Dense" | "LayerNorm":
                said["modules"] += (_layer(kind, path, config, where),)
                said["files"] += (f"{path}/model.safetensors",)
            case "Normalize":
                said["normalize"] = True
            case _:
                raise _cannot("a module that is not known here", where, f"{entry['type']} in {path or 'its folder'}")
    general = read(PROMPTS) or {}
    prompts = general.get("prompts") or {}
    usual = prompts.get(general.get("default_prompt_name") or "", "")
    said["query_prompt"] = prompts.get("query", usual) or ""
    said["passage_prompt"] = next((prompts[name] for name in PASSAGE_PROMPTS if name in prompts), usual) or ""
    said["similarity"] = general.get("similarity_fn_name")
    if not prompted and (said["query_prompt"] or said["passage_prompt"]):
        raise _cannot("a pooling that leaves out the prompt", where, "include_prompt: false")
    lengths: Mapping[str, Any] = next((found for name in LENGTHS if (found := read(name))), {})
    said["lower_case"] = bool(lengths.get("do_lower_case", False))
    return Described(**said, length=lengths.get("max_seq_length") or _tokenizers_length(read))


def _tokenizers_length(read: Read) -> int | None:
    """The tokenizer's maximum, and at most the number of positions; as sentence-transformers takes it."""
    config, tokenizer = read("config.json") or {}, read("tokenizer_config.json") or {}
    known = [config.get("max_position_embeddings"), tokenizer.get("model_max_length")]
    return min((int(length) for length in known if isinstance(length, int | float) and length > 0), default=None)


def _pooling(config: Mapping[str, Any], where: str) -> str:
    modes = config.get("pooling_mode")
    if modes is None:
        prefix = "pooling_mode_"
        modes = [key.removeprefix(prefix) for key, on in config.items() if key.startswith(prefix) and on]
        modes = [LEGACY.get(mode, mode) for mode in modes] or ["mean"]
    modes = [modes] if isinstance(modes, str) else list(modes)
    if len(modes) != 1 or modes[0] not in POOLING:
        raise _cannot("a pooling that is not known here", where, " and ".join(modes), ", ".join(POOLING))
    return POOLING[modes[0]]


def _layer(kind: str, path: str, config: Mapping[str, Any], where: str) -> dict[str, Any]:
    if kind == "LayerNorm":
        return {"type": kind, "path": path, "outputs": config["dimension"]}
    activation = str(config.get("activation_function") or "torch.nn.Identity")
    name = activation.rpartition(".")[2]
    own_names = any(config.get(key) not in (None, "sentence_embedding") for key in ("module_input_name",))
    if not activation.startswith("torch.nn.") or name not in ACTIVATIONS or config.get("use_residual") or own_names:
        raise _cannot("a Dense module that is not known here", where, str(dict(config)), ", ".join(ACTIVATIONS))
    sizes = {"inputs": config["in_features"], "outputs": config["out_features"], "bias": config.get("bias", True)}
    return {"type": kind, "path": path, **sizes, "activation": name}


def _cannot(what: str, where: str, found: str, expected: str | None = None) -> HardnegError:
    return HardnegError(
        f"The model has {what}, so its vectors would be others than its authors'.",
        where=where,
        found=found,
        expected=expected or "Transformer, Pooling, Dense, LayerNorm and Normalize",
        remedy="choose another model, or encode with sentence-transformers and give the vectors (`given_vectors`).",
    )
