"""Published methods: presets and recipes, one YAML file each in `presets/`.

A preset has the answers of one system under `system`. A recipe has several systems under `steps`, in their order: a
system with that preset becomes one system a step, named `<system>.<step>`, and the last one carries the name itself.
In a recipe `.step` names another step; the first step starts from what the configuration says.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

import yaml

PAGE = ("about", "paper", "formula", "defaults", "verified", "unknown", "test")
"""What a page says of a method, besides its answers."""


@cache
def names() -> tuple[str, ...]:
    """The names of all presets and recipes."""
    folder = resources.files(__package__).joinpath("presets")
    return tuple(sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml")))


@cache
def preset(name: str) -> dict[str, Any]:
    """The file of a preset or recipe: its page, and `system` or `steps`."""
    text = resources.files(__package__).joinpath("presets", f"{name}.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.safe_load(text)
    return content
