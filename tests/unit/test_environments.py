"""The lock, the conda environments, pyproject.toml and the embedded collection name the same versions."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from hardneg.data.formats.pydocs import DISTRIBUTIONS

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DIRECT: list[str] = PROJECT["dependencies"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
FAISS = {"faiss-cpu", "faiss-gpu"}


def pins(lines: list[str]) -> dict[str, str]:
    """Versions by normalised name; every line must be `name==version` and nothing more."""
    found = [line.split("==") for line in lines if re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", line)]
    named = {str(canonicalize_name(name)): version for name, version in found}
    assert len(named) == len(found) == len(lines)
    return named


def imported(folder: str) -> set[str]:
    """What the code in a folder imports, by its top level."""
    found = set()
    for file in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                found.add(node.module.partition(".")[0])
    return found


def wanted(lines: list[str]) -> dict[str, SpecifierSet]:
    """Ranges by normalised name."""
    return {str(canonicalize_name(one.name)): one.specifier for one in map(Requirement, lines)}


def suits(available: dict[str, str], lines: list[str]) -> bool:
    """Whether each of the requirements is available in its range."""
    return all(name in available and asked.contains(available[name]) for name, asked in wanted(lines).items())


def locked(*names: str) -> dict[str, str]:
    """The pins of some locks, or of all; no package is in two of them."""
    lines = [(ROOT / f"requirements{name}.lock").read_text().splitlines() for name in names or ("", "-alone", "-dev")]
    return pins([line for part in lines for line in part if line[0] != "#"])


def environment(device: str) -> dict[str, str]:
    python, pip, packages = yaml.safe_load((ROOT / "envs" / f"{device}.yaml").read_text())["dependencies"]
    assert (python, pip) == ("python=3.11", "pip")
    return pins(packages["pip"])


def test_the_project_asks_for_ranges() -> None:
    """A user's other packages must fit beside it. Exact are only what decides data (ir_datasets repairs texts)."""
    lines = [*DIRECT, *(line for extra in EXTRAS.values() for line in extra)]
    assert {name for name, asked in wanted(lines).items() if "==" in str(asked)} == {"ir-datasets"}
    assert [line for line in lines if "==" not in line and not re.fullmatch(r"[\w.-]+>=[\d.]+,<[\d.]+", line)] == []


def test_the_lock_holds_what_the_project_asks_for() -> None:
    assert suits(locked(), [*DIRECT, *EXTRAS["cpu"], *EXTRAS["dev"]])
    assert not suits(locked(), ["numpy>=99"])


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_an_environment_holds_the_lock_s_pins(device: str) -> None:
    found = environment(device)
    assert suits(found, [*DIRECT, *EXTRAS[device]])
    assert found.keys() & FAISS == {f"faiss-{device}"}
    assert {pin for pin in found.items() if pin[0] not in FAISS} <= locked().items()


def test_the_environments_differ_in_faiss_alone() -> None:
    different = dict(environment("cpu").items() ^ environment("gpu").items())
    assert different.keys() == FAISS and suits(different, [*EXTRAS["cpu"], *EXTRAS["gpu"]])


WITHOUT_ALONE = [line for line in DIRECT if wanted([line]).keys().isdisjoint(locked("-alone"))]


@pytest.mark.parametrize(
    ("available", "asked"),
    [
        (environment("cpu"), [*DIRECT, *EXTRAS["cpu"]]),
        (locked(), [*DIRECT, *EXTRAS["cpu"], *EXTRAS["dev"]]),
        (locked(""), [*WITHOUT_ALONE, *EXTRAS["cpu"]]),
    ],
    ids=["environment", "developers", "users"],
)
def test_nothing_is_left_for_pip_to_choose(available: dict[str, str], asked: list[str]) -> None:
    """Walks the installed packages' own requirements: each is pinned, at a version that suits, and no pin is spare."""
    waiting, reached, seen = [Requirement(line) for line in asked], set(), set()
    while waiting:
        needed = waiting.pop()
        name = canonicalize_name(needed.name)
        if str(needed) in seen or re.match(r"nvidia-|cuda-|triton$", name):  # torch's CUDA build pins these itself
            continue
        seen.add(str(needed))
        reached.add(name)
        assert needed.specifier.contains(available[name], prereleases=True), needed
        for further in map(Requirement, metadata.requires(name) or []):
            extras = {"", *needed.extras}
            if further.marker is None or any(further.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(further)
    assert reached == available.keys()


def test_what_is_installed_alone_is_not_imported() -> None:
    """Its own requirements are not installed."""
    assert locked("-alone").keys().isdisjoint(imported("hardneg") | imported("workflow_scripts"))


def test_the_embedded_collection_reads_the_locked_packages() -> None:
    asked = pins([f"{name}=={version}" for name, version in DISTRIBUTIONS.items()])
    assert asked.items() <= locked("").items()
    assert asked.keys() <= wanted(DIRECT).keys() and suits(
        asked, [line for line in DIRECT if wanted([line]).keys() <= asked.keys()]
    )


@pytest.mark.parametrize("folder", ["hardneg", "workflow_scripts", "snakemake_logger_plugin_hardneg"])
def test_what_the_code_imports_is_asked_for(folder: str) -> None:
    brought = {"triton"}  # by torch for a GPU, and looked for before its import
    foreign = imported(folder) - sys.stdlib_module_names - {"hardneg", "workflow_scripts"} - brought
    extras = [line for name in ("cpu", "ir_datasets", "lora", "letor", "endpoint", "s3") for line in EXTRAS[name]]
    asked = wanted([*DIRECT, *extras]).keys()
    owners = metadata.packages_distributions()
    assert imported(folder)
    assert [
        name for name in foreign if asked.isdisjoint(canonicalize_name(owner) for owner in owners.get(name, [name]))
    ] == []
