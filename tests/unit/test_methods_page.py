"""docs/methods.md is what the presets say, and the tests that they name exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from hardneg.methods.page import page
from hardneg.methods.published import names, preset

ROOT = Path(__file__).parents[2]


def test_the_page_is_up_to_date() -> None:
    found = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    assert found == page(), "run `python -m hardneg.methods.page > docs/methods.md`"


@pytest.mark.parametrize("name", names())
def test_the_test_that_a_preset_names_exists(name: str) -> None:
    test = preset(name).get("test")
    assert test is None or (ROOT / test).is_file()
