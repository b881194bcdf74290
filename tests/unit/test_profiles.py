"""The profiles agree with the rules they speak of."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from hardneg.stages.kinds import KINDS

ROOT = Path(__file__).parents[2]


def profile(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "profiles" / name / "profile.yaml").read_text())
    return content


def test_slurm_sends_the_rules_that_ask_for_gpus_to_the_gpu_partition() -> None:
    rules = "\n".join(file.read_text() for file in (ROOT / "rules").glob("*.smk"))
    blocks = dict(re.findall(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", rules, re.MULTILINE | re.DOTALL))
    on_gpu = {kind.script for kind in KINDS.values() if kind.gpu}
    assert on_gpu < blocks.keys() and all(re.search(r"^        gpu=\w+\.gpu,", blocks[rule], re.M) for rule in on_gpu)
    assert profile("slurm")["set-resources"] == {name: {"slurm_partition": "gpu"} for name in on_gpu}


@pytest.mark.parametrize("name", ["local", "slurm"])
def test_the_default_profile_overrides_no_other(name: str) -> None:
    """Snakemake lets profiles/default win over --profile, silently."""
    assert profile("default").keys().isdisjoint(profile(name))
