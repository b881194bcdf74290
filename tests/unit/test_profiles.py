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


CLUSTERS = ["slurm", "cluster-generic", "kubernetes"]
GROUPED = ("groups", "group-components", "resources", "set-resource-scopes")


def test_all_clusters_group_the_same_jobs() -> None:
    grouped = [{key: profile(name)[key] for key in GROUPED} for name in CLUSTERS]
    assert grouped[0] == grouped[1] == grouped[2]
    for name in CLUSTERS:  # a group runs one job after the other, or it would ask for the sum of their devices
        assert profile(name)["default-resources"]["at_once"] == profile(name)["resources"]["at_once"] == 1
        assert profile(name)["set-resource-scopes"] == {"at_once": "local"}


def test_jobs_of_a_group_go_to_one_partition() -> None:
    groups, asked = profile("slurm")["groups"], profile("slurm")["set-resources"]
    for group in set(groups.values()):
        rules = [rule for rule, name in groups.items() if name == group]
        assert len({asked.get(rule, {}).get("slurm_partition") for rule in rules}) == 1, rules


def test_nothing_that_takes_hours_waits_in_a_group_for_its_neighbours() -> None:
    scripts = {kind.script for kind in KINDS.values() if kind.trains or kind.script == "encode_passages"}
    assert scripts.isdisjoint(profile("slurm")["groups"])


@pytest.mark.parametrize("name", ["local", *CLUSTERS])
def test_the_default_profile_overrides_no_other(name: str) -> None:
    """Snakemake lets profiles/default win over --profile, silently."""
    assert profile("default").keys().isdisjoint(profile(name))
