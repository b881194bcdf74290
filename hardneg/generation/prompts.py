"""The prompt file: what a model is asked, with placeholders for the query, the passage and the text to be checked."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from hardneg.errors import HardnegError, nearest
from hardneg.generation.settings import GenerationSettings, Kind
from hardneg.generation.types import Message, Request
from hardneg.stages.artifacts import canonical_json

DEFAULTS = Path(__file__).parent / "prompts"
KEYS = ("system", "ask", "angles", "check")
PLACEHOLDER = re.compile(r"\{(\w+)\}")
ALLOWED: dict[tuple[Kind, str], tuple[str, ...]] = {
    ("negatives", "ask"): ("query", "passage", "angle"),
    ("queries", "ask"): ("passage", "angle"),
    ("negatives", "check"): ("query", "passage", "text"),
    ("queries", "check"): ("passage", "text"),
}
NEEDED: dict[tuple[Kind, str], tuple[str, ...]] = {
    ("negatives", "ask"): ("query",),
    ("queries", "ask"): ("passage",),
    ("negatives", "check"): ("query", "text"),
    ("queries", "check"): ("passage", "text"),
}


@dataclass(frozen=True)
class Prompt:
    """A prompt file.

    Attributes:
        ask: the user's message that asks for a text.
        check: the user's message that asks whether a passage answers a query, or None.
        system: the system's message of both, or None.
        angles: what stands for `{angle}`, in turn by the text's number.
    """

    ask: str
    check: str | None
    system: str | None
    angles: tuple[str, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of what the file says, whatever its comments and form, in hexadecimal."""
        return hashlib.sha256(canonical_json(asdict(self)).encode()).hexdigest()

    def asking(self, request: Request, number: int, characters: int) -> tuple[Message, ...]:
        """The messages that ask for text `number` of a request, its passage cut to `characters`."""
        angle = self.angles[(number - 1) % len(self.angles)] if self.angles else ""
        return self._messages(self.ask, {**_texts(request, characters), "angle": angle})

    def checking(self, request: Request, text: str, characters: int) -> tuple[Message, ...]:
        """The messages that ask whether a passage answers a query."""
        assert self.check is not None
        return self._messages(self.check, {**_texts(request, characters), "text": text})

    def _messages(self, template: str, values: Mapping[str, str]) -> tuple[Message, ...]:
        # In one pass, so that braces in a text stay what they are.
        user = PLACEHOLDER.sub(lambda found: values[found[1]], template).strip()
        system = () if self.system is None else ({"role": "system", "content": self.system.strip()},)
        return (*system, {"role": "user", "content": user})


def _texts(request: Request, characters: int) -> dict[str, str]:
    return {"query": request.query_text, "passage": request.passage_text[:characters]}


def load_prompt(settings: GenerationSettings) -> Prompt:
    """The prompt file of the settings, or the one of this project for their kind.

    Raises:
        HardnegError: the file is missing or is not YAML of the right shape, a placeholder is unknown or lacking, the
            settings want a check that the file lacks, or several texts of a query could only be the same.
    """
    path = settings.prompt or DEFAULTS / f"{settings.kind}.yaml"
    content = _read(path)
    prompt = Prompt(
        ask=_text(content, "ask", path),
        check=_text(content, "check", path) if "check" in content else None,
        system=_text(content, "system", path) if "system" in content else None,
        angles=_angles(content, path),
    )
    _placeholders(prompt, settings.kind, path)
    if settings.self_check and prompt.check is None:
        raise HardnegError(
            "The prompt file has no check.",
            where=str(path),
            expected="the key check",
            remedy="add it, or set self_check to false.",
        )
    if settings.temperature == 0 and settings.per_query > max(1, len(prompt.angles)):
        raise HardnegError(
            "At temperature 0 a prompt has one answer, so some texts of a query would be the same.",
            where=f"per_query, {path}",
            found=f"per_query {settings.per_query}, {len(prompt.angles)} angles",
            remedy="add angles, lower per_query, or raise the temperature.",
        )
    return prompt


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise HardnegError(
            f"The prompt file cannot be read: {fault.strerror}.", where=str(path), remedy="correct the path."
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as fault:
        raise HardnegError("The prompt file is not valid YAML.", where=str(path), found=str(fault)) from None
    if not isinstance(content, dict):
        raise HardnegError(
            "The prompt file has the wrong form.", where=str(path), expected=f"the keys {', '.join(KEYS)}"
        )
    for key in content:
        if key not in KEYS:
            near = nearest(str(key), KEYS)
            raise HardnegError(
                "The prompt file has an unknown key.",
                where=str(path),
                found=str(key),
                expected=", ".join(KEYS),
                remedy=f"did you mean {near}?" if near else None,
            )
    return content


def _text(content: Mapping[str, Any], key: str, path: Path) -> str:
    found = content.get(key)
    if not isinstance(found, str) or not found.strip():
        raise HardnegError(
            "The prompt file lacks a text.", where=f"{path}: {key}", found=repr(found), expected="a text"
        )
    return found


def _angles(content: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    found = content.get("angles", [])
    if not isinstance(found, list) or not all(isinstance(one, str) and one.strip() for one in found):
        raise HardnegError(
            "The angles of the prompt file are no list of texts.", where=f"{path}: angles", found=repr(found)
        )
    if len(set(found)) != len(found):
        raise HardnegError("An angle of the prompt file stands twice.", where=f"{path}: angles")
    return tuple(found)


def _placeholders(prompt: Prompt, kind: Kind, path: Path) -> None:
    for key, template in (("ask", prompt.ask), ("check", prompt.check)):
        if template is None:
            continue
        allowed, found = ALLOWED[kind, key], set(PLACEHOLDER.findall(template))
        needed = {*NEEDED[kind, key], *(["angle"] if key == "ask" and prompt.angles else [])}
        for name in sorted(found - {*allowed}):
            near = nearest(name, allowed)
            raise HardnegError(
                "The prompt file has an unknown placeholder.",
                where=f"{path}: {key}",
                found=f"{{{name}}}",
                expected=", ".join(f"{{{one}}}" for one in allowed),
                remedy=f"did you mean {{{near}}}?" if near else None,
            )
        if "angle" in found and not prompt.angles:
            raise HardnegError(
                "The prompt file uses {angle}, but gives no angles.",
                where=f"{path}: {key}",
                remedy="add the list angles, or remove the placeholder.",
            )
        for name in sorted(needed - found):
            raise HardnegError("The prompt file lacks a placeholder.", where=f"{path}: {key}", expected=f"{{{name}}}")
    if prompt.system is not None and (found := set(PLACEHOLDER.findall(prompt.system))):
        raise HardnegError(
            "The system's message has a placeholder.",
            where=f"{path}: system",
            found=", ".join(f"{{{name}}}" for name in sorted(found)),
            remedy="move it to ask and check.",
        )
