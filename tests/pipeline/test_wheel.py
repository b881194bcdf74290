"""A wheel is enough: built, unpacked outside the checkout, it makes a project and runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built elsewhere, from what git does not ignore, so that no old build is part of it."""
    folder = tmp_path_factory.mktemp("wheel")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    sources = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, sources.split("\0")):
        if (ROOT / name).is_file():
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "source" / name).write_bytes((ROOT / name).read_bytes())
    options = ["--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(folder / "source")], check=True)
    (built,) = folder.glob("hardneg-*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheel's files and this environment's packages, but not its checkout."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    # What a path file names is looked into, but the path files that lie there, such as the checkout's, are not read.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "python"


def hardneg(python: Path, folder: Path, *arguments: str) -> str:
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    line = [str(python), "-m", "hardneg.cli.main", *arguments]
    done = subprocess.run(line, cwd=folder, env=bare, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_wheel_has_the_workflow_and_nothing_of_the_developers(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.split("/")[0].endswith(".dist-info")}
    inside = {name.removeprefix("hardneg/workflow/") for name in names if name.startswith("hardneg/workflow/")}
    for pattern in ("Snakefile", "rules/*.smk", "profiles/*/profile.yaml", "config.expected.yaml", "configs/*.yaml"):
        assert {path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern)} <= inside, pattern
    assert {name.split("/")[0] for name in names} == {"hardneg", "workflow_scripts", "snakemake_logger_plugin_hardneg"}
    assert {"envs/cpu.yaml", "envs/gpu.yaml"} <= inside and "envs/lock.py" not in inside


def test_a_project_of_the_wheel_runs(python: Path, tmp_path: Path) -> None:
    found = subprocess.run(
        [str(python), "-c", "import hardneg, workflow_scripts; print(hardneg.__file__, workflow_scripts.__file__)"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert str(ROOT / "hardneg") not in found and str(python.parents[1]) in found
    hardneg(python, tmp_path, "init", "demo")
    told = hardneg(python, tmp_path / "demo", "run", "config.yaml", "bm25")
    assert str(ROOT / "hardneg") not in told
    made = [json.loads(path.read_text()) for path in (tmp_path / "demo" / "artifacts").glob("pydocs/*/*/manifest.json")]
    assert {manifest["kind"] for manifest in made} == {"collection", "bm25_index", "bm25_run"}
