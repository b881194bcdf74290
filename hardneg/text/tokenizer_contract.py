"""The tokenisation contract: golden token ids that the installed tokenizer must reproduce, checked before training.

Another version of a tokenizer library may split texts differently. Nothing fails, but scores drop: the reference
implementation of STAR and ADORE requires transformers 2.x for this reason. A contract lists the token ids of a few
texts, special tokens included.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import metadata
from itertools import zip_longest
from pathlib import Path
from typing import Any

from hardneg.data.template import FIELDS, Reading
from hardneg.errors import HardnegError
from hardneg.stages.artifacts import Artifact

KEY = "encoder.contract"


def read_contract(path: Path) -> list[dict[str, Any]]:
    """Read a contract: JSON lines, each with `text` and `ids`, and optionally `url`, `title` and `length`.

    Raises:
        HardnegError: the file is missing or empty, or a line is not such an entry; names the file and the line.
    """
    shape = '{"text": "...", "ids": [...]}, optionally with url, title and length (tokens, special ones included)'
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as fault:
        raise HardnegError(
            "The tokenisation contract cannot be read.",
            where=f"{KEY}: {path}",
            found=str(fault),
            expected=f"a file of JSON lines: {shape}",
            remedy="correct the path, or remove the key.",
        ) from None
    entries: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if not _is_entry(entry):
            raise HardnegError(
                "A line of the tokenisation contract is not a valid entry.",
                where=f"{path}, line {number}",
                found=line if len(line) <= 80 else line[:77] + "...",
                expected=shape,
                remedy="correct that line.",
            )
        entries.append(entry)
    if not entries:
        raise HardnegError(
            "The tokenisation contract is empty.",
            where=f"{KEY}: {path}",
            expected=f"at least one line: {shape}",
            remedy="add an entry, or remove the key.",
        )
    return entries


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or not {"text", "ids"} <= entry.keys() <= {*FIELDS, "ids", "length"}:
        return False
    ids, length = entry["ids"], entry.get("length", 1)
    texts = all(isinstance(entry.get(field, ""), str) for field in FIELDS)
    whole = isinstance(ids, list) and all(isinstance(token, int) and not isinstance(token, bool) for token in ids)
    return texts and whole and isinstance(length, int) and length > 0


def check_contract(tokenizer: Any, contract: Sequence[dict[str, Any]], reading: Reading) -> None:
    """Check that a tokenizer gives the golden ids.

    Texts are read as in the pipeline. An entry with `url` or `title` is a passage (template, character limit,
    lower-casing); an entry with `text` alone is a query. Texts are truncated to `length` tokens where it is given.

    Args:
        tokenizer: the Transformers tokenizer.
        contract: entries as `read_contract` gives them.
        reading: how texts are read.

    Raises:
        HardnegError: ids differ; names the first such text, both lists of ids, and the installed versions.
    """
    for entry in contract:
        if "url" in entry or "title" in entry:
            text = reading.passage({field: entry.get(field, "") for field in FIELDS})
        else:
            text = reading.query(entry["text"])
        length = entry.get("length")
        ids: list[int] = tokenizer(text, truncation=length is not None, max_length=length)["input_ids"]
        if ids != entry["ids"]:
            first = next(n for n, pair in enumerate(zip_longest(ids, entry["ids"]), start=1) if pair[0] != pair[1])
            installed = ", ".join(f"{name} {metadata.version(name)}" for name in ("tokenizers", "transformers"))
            raise HardnegError(
                "The tokenizer breaks the tokenisation contract.",
                where=f"{KEY}: text {text!r}, token {first}",
                found=f"{ids}: {tokenizer.convert_ids_to_tokens(ids)}",
                expected=str(entry["ids"]),
                remedy=f"install the versions that the contract was made with (installed: {installed}), "
                "or correct encoder.backbone, lower_case, prefix_space and passage_template.",
            )


def check_same_tokens(tokenizer: Artifact, place: str, chosen: Mapping[str, Any]) -> None:
    """Check that the passage encoder's backbone numbers tokens as the tokenizer that all texts are read with.

    Args:
        tokenizer: the tokenizer stage.
        place: the folder of the passage encoder's backbone, or its name on the hub.
        chosen: its settings: `revision`, `trust_remote_code`.

    Raises:
        HardnegError: its tokenizer cannot be loaded, or has another vocabulary or other special tokens.
    """
    from transformers import AutoTokenizer

    where = f"encoder.passage_backbone: {place}"
    ours = AutoTokenizer.from_pretrained(tokenizer.folder / "tokenizer")
    try:
        theirs = AutoTokenizer.from_pretrained(
            place, revision=chosen.get("revision"), trust_remote_code=chosen.get("trust_remote_code", False)
        )
    except (OSError, ValueError) as fault:
        raise HardnegError(
            "The tokenizer of the passage encoder's backbone cannot be loaded.",
            where=where,
            found=str(fault).splitlines()[0],
            remedy="correct the name, or download the model and give its folder.",
        ) from None
    special = [(each.cls_token_id, each.sep_token_id, each.bos_token_id, each.eos_token_id) for each in (ours, theirs)]
    if ours.get_vocab() != theirs.get_vocab() or special[0] != special[1]:
        raise HardnegError(
            "The two backbones number tokens differently, and all texts are read with one tokenizer.",
            where=where,
            found=f"{len(theirs):,} tokens, special ones {special[1]}",
            expected=f"those of encoder.backbone: {len(ours):,} tokens, special ones {special[0]}",
            remedy="choose backbones with one tokenizer.",
        )
