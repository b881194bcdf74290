"""The example of docs/adding-a-method.md, as it stands on the page, works in a copy of the package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE = re.compile(r"`([\w/.]+)`:\n\n```\w+\n(.*?)```", re.DOTALL)
FIXTURE = "import numpy as np\nimport pytest\n\n\n@pytest.fixture\ndef rng():\n    return np.random.default_rng(0)\n"


def test_the_example_of_the_page_runs_and_is_short(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "adding-a-method.md").read_text(encoding="utf-8")
    files = dict(FILE.findall(page))
    assert list(files) == [
        "hardneg/methods/samplers/power.py",
        "hardneg/methods/presets/power.yaml",
        "tests/unit/test_power.py",
    ]
    lines = [line for name in list(files)[:2] for line in files[name].splitlines() if line.strip()]
    assert len(lines) <= 40
    shutil.copytree(ROOT / "hardneg", tmp_path / "hardneg", ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "tests" / "unit" / "conftest.py").write_text(FIXTURE, encoding="utf-8")
    shutil.copy(ROOT / "tests" / "unit" / "drawing.py", tmp_path / "tests" / "unit")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit/test_power.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, text=True, capture_output=True, check=False)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    shown = [sys.executable, "-m", "hardneg.cli.main", "methods", "power"]
    described = subprocess.run(shown, cwd=tmp_path, env=environment, text=True, capture_output=True, check=True).stdout
    assert "in proportion to rank^-s" in described and "those of better ranks more often" in described
