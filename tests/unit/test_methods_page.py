"""docs/methods.md is what the presets say, and the tests that they name exist."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hardneg.config import System
from hardneg.methods.page import page
from hardneg.methods.published import names, preset

ROOT = Path(__file__).parents[2]


def test_the_page_is_up_to_date() -> None:
    found = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    assert found == page(), "run `python -m hardneg.methods.page > docs/methods.md`"


@pytest.mark.parametrize("name", names())
def test_a_preset_says_what_was_verified_and_names_a_test_that_exists(name: str) -> None:
    content = preset(name)
    assert content["verified"].strip().endswith(".")
    assert (ROOT / content["test"]).is_file()


def test_no_preset_has_the_answers_of_another() -> None:
    """Presets that train, with defaults filled in, and recipes, are all different."""
    seen: dict[str, str] = {}
    for name in names():
        content = preset(name)
        if content.get("system", {}).get("trains") == "nothing":
            continue
        if "system" in content:
            found = System.model_validate(content["system"]).model_dump_json(exclude={"preset"})
        else:
            found = json.dumps(content["steps"])
        assert seen.setdefault(found, name) == name, f"{name} is {seen[found]}"
