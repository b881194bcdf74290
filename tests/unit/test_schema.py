"""config.schema.json, which editors read, against the models that Snakemake's configuration is checked with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from hardneg.config import Config, load, read_yaml
from hardneg.config.schema import schema
from hardneg.evaluation.expected import read_expected
from hardneg.methods.axes import AXES, answers
from hardneg.methods.published import names, preset

ROOT = Path(__file__).resolve().parents[2]
EXPECTED = sorted((ROOT / "configs").glob("*.expected.yaml"))
FILES = [ROOT / "config.yaml", *sorted(set((ROOT / "configs").glob("*.yaml")) - set(EXPECTED))]
COMMITTED = ROOT / "config.schema.json"


def refused(content: dict[str, Any]) -> list[str]:
    """The paths at which the committed schema refuses a file's content."""
    validator = jsonschema.Draft202012Validator(json.loads(COMMITTED.read_text(encoding="utf-8")))
    return [error.json_path for error in validator.iter_errors(content)]


def test_the_committed_schema_is_the_models() -> None:
    assert json.loads(COMMITTED.read_text(encoding="utf-8")) == schema(), (
        "run: python -m hardneg.config.schema > config.schema.json"
    )


def test_it_is_a_valid_schema_that_knows_every_key_answer_and_preset() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    assert set(schema()["properties"]) == {*Config.model_fields, "extends"}
    system = schema()["$defs"]["System"]["properties"]
    assert system["preset"]["anyOf"][0]["enum"] == list(names())
    for key in AXES:
        assert system[key]["anyOf"][0]["enum"] == list(answers(key))


@pytest.mark.parametrize("path", EXPECTED, ids=[path.name for path in EXPECTED])
def test_expected_scores_are_of_what_their_configuration_measures(path: Path) -> None:
    config = load(read_yaml(path.with_name(path.name.replace(".expected", ""))))
    entries = read_expected(path)
    assert {entry.system for entry in entries} <= config.systems.keys()
    assert {entry.measure for entry in entries} <= set(config.evaluation.measures)
    assert {entry.split for entry in entries} <= set(config.splits.evaluate)


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_every_configuration_loads_and_agrees_with_the_schema(path: Path) -> None:
    assert load(read_yaml(path)).systems
    assert refused(yaml.safe_load(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("name", names())
def test_the_presets_agree_with_the_schema(name: str) -> None:
    content = preset(name)
    systems = content["steps"] if "steps" in content else {"any": content["system"]}
    assert refused({"systems": systems}) == []
    assert refused({"systems": {"any": {"preset": name, "steps": {}}}}) == []


@pytest.mark.parametrize(
    ("content", "path"),
    [
        ({"sead": 1}, "$"),
        ({"seed": -1}, "$.seed"),
        ({"collection": {"format": "beer"}}, "$.collection"),
        ({"systems": {}}, "$.systems"),
        ({"systems": {"star": {"preset": "stat"}}}, "$.systems.star.preset"),
        ({"systems": {"star": {"form": "inbatch"}}}, "$.systems.star"),
        ({"systems": {"star": {"loss": "ranknett"}}}, "$.systems.star.loss"),
        ({"systems": {"star": {"loss": {"name": "lambda_ranknet", "cut": 0}}}}, "$.systems.star.loss"),
        ({"systems": {"star": {"train": {"steps": 0}}}}, "$.systems.star.train.steps"),
    ],
)
def test_the_schema_refuses_what_the_models_refuse(content: dict[str, Any], path: str) -> None:
    assert refused(content) == [path]


def test_a_partial_answer_over_a_preset_is_allowed() -> None:
    assert refused({"systems": {"star": {"preset": "star", "source": {"depth": 40}, "sampler": {"k": 40}}}}) == []
