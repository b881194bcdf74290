"""docs/claims.md names code and tests that exist, and every item of the report that quotes the paper."""

from __future__ import annotations

import re
from pathlib import Path

from made_report import made_material

from hardneg.report.items import items

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")


def test_files_and_tests_exist() -> None:
    files = set(re.findall(r"`((?:hardneg|tests|configs)/[^`]+)`", PAGE))
    assert len(files) > 10
    assert {name for name in files if not (ROOT / name).is_file()} == set()
    tests = set(re.findall(r"`(test_[a-z0-9_]+)`", PAGE))
    assert len(tests) > 8
    written = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "unit").glob("test_items_*.py"))
    assert {name for name in tests if f"def {name}(" not in written} == set()


def test_every_item_of_the_paper_is_there() -> None:
    quoted = [item.title.split(":")[0] for item in items(made_material()) if item.paper]
    assert len(quoted) == 10
    assert [name for name in quoted if name not in PAGE] == []
