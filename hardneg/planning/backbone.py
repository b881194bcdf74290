"""Where a backbone lies, what it says of itself, and what that means for the settings that are left open."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from hardneg.config import Encoder
from hardneg.config.encoder import PASSAGE_TOKENS, QUERY_TOKENS
from hardneg.data.template import DEFAULT_TEMPLATE, QUERY_TEMPLATE, prompt_of, prompted
from hardneg.errors import HardnegError
from hardneg.model.described import LENGTHS, MODULES, PROMPTS, Described, describe
from hardneg.stages.artifacts import write_json
from hardneg.stages.model_folder import model_folder
from hardneg.stages.stage import ARTIFACTS

NEEDS = "a folder with config.json, tokenizer files and model.safetensors"
OPEN = {
    "pooling": "mean",
    "normalize": False,
    "query_length": QUERY_TOKENS,
    "passage_length": PASSAGE_TOKENS,
    "query_template": QUERY_TEMPLATE,
    "passage_template": DEFAULT_TEMPLATE,
    "lower_case": False,
}
"""What an open setting is where the backbone says nothing."""
HUB_SECONDS = 5
LONGEST = 512
"""Tokens of a text that are read of a backbone that could read more, unless the configuration asks for more."""


def local_backbone(name: str, key: str = "encoder.backbone") -> Path | None:
    """The folder of a local backbone, or None for the built-in one and for names on the hub.

    Args:
        name: the backbone.
        key: where it stands in the configuration.

    Raises:
        HardnegError: it looks like a path or a package, and there is no usable model there.
    """
    if name == "builtin:tiny":
        return None
    folder = model_folder(name, key, NEEDS)
    if folder is None:
        if name.startswith("builtin:"):
            raise HardnegError(
                "Unknown built-in encoder.",
                where=key,
                found=name,
                expected="builtin:tiny",
                remedy="did you mean builtin:tiny?",
            )
        return None
    if not (folder / "config.json").is_file() or not list(folder.glob("*.safetensors")):
        found = ", ".join(sorted(path.name for path in folder.iterdir())) or "an empty folder"
        raise HardnegError(
            "The encoder's folder holds no usable model.",
            where=f"{key}: {name}",
            found=found,
            expected=NEEDS,
            remedy="save the model with `save_pretrained(..., safe_serialization=True)`; pickled weights are not read.",
        )
    return folder


# --- what a backbone says of itself ---


def described(encoder: Encoder, key: str = "encoder.backbone") -> tuple[Described, list[str]]:
    """What the backbone of an encoder says of itself, and what people should know about that.

    Raises:
        HardnegError: see `local_backbone` and `describe`.
    """
    folder = local_backbone(encoder.backbone, key)
    where = f"{key}: {encoder.backbone}"
    if folder is not None:
        return describe(functools.partial(read_json, folder), where), []
    if encoder.backbone == "builtin:tiny":
        return Described(), []
    files = _on_hub(encoder.backbone, encoder.revision)
    if files is None:
        note = f"{where}: the hub was not reached, so what this model says of its pooling and prompts is not known."
        return Described(), [note]
    return describe(files.get, where), []


def read_json(folder: Path, name: str) -> Any:
    """A JSON file of a model's folder; None if it has none of that name.

    Raises:
        HardnegError: it is not valid JSON.
    """
    path = folder / name
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as fault:
        raise HardnegError(
            "A file of the model is not valid JSON.",
            where=str(path),
            found=str(fault),
            remedy="get or save the model again.",
        ) from None


def _on_hub(name: str, revision: str | None) -> dict[str, Any] | None:
    """The small files of a hub model, kept once they were read; None if the hub cannot be reached."""
    memory, key = ARTIFACTS / ".backbones.json", f"{name}@{revision or 'main'}"
    known: dict[str, Any] = read_json(memory.parent, memory.name) or {}
    if "config.json" not in known.get(key, {}):  # which was not always asked for
        files = _fetched(name, revision)
        if files is None:
            return known.get(key)
        known[key] = files
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_json(memory, known)
    content: dict[str, Any] = known[key]
    return content


@functools.cache
def _fetched(name: str, revision: str | None) -> dict[str, Any] | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    files: dict[str, Any] = {}

    def fetch(file: str) -> Any:
        try:
            path = hf_hub_download(name, file, revision=revision, etag_timeout=HUB_SECONDS)
        except LocalEntryNotFoundError:
            raise
        except EntryNotFoundError:
            return None
        files[file] = json.loads(Path(path).read_text(encoding="utf-8"))
        return files[file]

    try:
        listed = fetch(MODULES)
        inner = [f"{entry['path']}/config.json" for entry in listed or [] if entry.get("path")]
        for file in (*inner, PROMPTS, *LENGTHS, "config.json", "tokenizer_config.json") if listed else ("config.json",):
            fetch(file)
    except (OSError, ValueError):  # the stage that loads the weights says why, if it cannot
        return None
    return files


# --- what that means for the settings ---


def resolved(encoder: Encoder, key: str = "encoder.backbone") -> tuple[Encoder, Described, list[str]]:
    """An encoder with every open setting filled in, what its backbone says, and where the two differ.

    Raises:
        HardnegError: see `described`.
    """
    said, notes = described(encoder, key)
    theirs: dict[str, Any] = {
        "pooling": said.pooling,
        "normalize": said.normalize,
        "query_length": said.length,
        "passage_length": said.length,
        "lower_case": said.lower_case,
    }
    if said.similarity == "cosine" and encoder.projection is None:
        theirs["normalize"] = True  # inner products of vectors of length 1 are cosines
    if encoder.append_eos and encoder.pooling is None and said.pooling is None:
        theirs["pooling"] = "last_token"
    if said.query_prompt:
        theirs["query_template"] = prompted(said.query_prompt, QUERY_TEMPLATE)
    if said.passage_prompt:
        theirs["passage_template"] = prompted(said.passage_prompt, DEFAULT_TEMPLATE)
    own = encoder.model_dump(include=set(OPEN))
    filled: dict[str, Any] = {
        name: own[name] if own[name] is not None else theirs.get(name) if theirs.get(name) is not None else plain
        for name, plain in OPEN.items()
    }
    notes += [_differs(name, own[name], theirs[name]) for name in theirs if _contradicts(name, own[name], theirs[name])]
    for name in ("query_length", "passage_length"):
        if own[name] is None and filled[name] > LONGEST:
            notes.append(f"encoder.{name} is {LONGEST}; the backbone reads {said.length}. Set it to read more.")
            filled[name] = LONGEST
    if said.similarity not in (None, "cosine", "dot"):
        notes.append(f"encoder.backbone compares vectors by {said.similarity}; here they are scored by inner products.")
    return encoder.model_copy(update=filled), said, notes


def _contradicts(name: str, own: Any, theirs: Any) -> bool:
    """Whether a setting that was given is other than what the backbone says."""
    if own is None or theirs is None:
        return False
    if name.endswith("_length"):
        return bool(own > theirs)
    if name.endswith("_template"):
        return prompt_of(own) != prompt_of(theirs)
    return bool(own != theirs)


def _differs(name: str, own: Any, theirs: Any) -> str:
    shown = [value if isinstance(value, str) else json.dumps(value) for value in (own, theirs)]
    return (
        f"encoder.{name} is {shown[0]}, but the backbone says {shown[1]}; the configuration wins. "
        "Set it to null to take the backbone's."
    )
