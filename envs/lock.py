"""Rewrite the locks and the conda environments from the ranges in pyproject.toml: `make lock`.

pip resolves the direct dependencies to complete sets of pins, without installing them: one set for the workflow, one
without what only `ALONE` needs, and one that adds the development tools. The packages of the embedded collection stay
at the versions that its documented numbers were measured with. The locks are for pip and the CPU. `gpu.yaml` differs
from `cpu.yaml` only in FAISS. Both have all that their packages ask for, since conda installs none without that.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path

from hardneg.data.formats.pydocs import DISTRIBUTIONS

ROOT = Path(__file__).resolve().parents[1]
# torch's CUDA build pins these, and its CPU build does not need them, so one lock serves both.
LEFT_TO_TORCH = re.compile(r"(nvidia|cuda)-.*|triton")
# Only the Java archive of Pyserini is used, and none of the web servers and runtimes that its Python needs.
ALONE = "pyserini"
HEADER = "# Written by `make lock` from the ranges in pyproject.toml.\n"
ENVIRONMENT = """\
name: hardneg-{device}
channels:
  - conda-forge
  - nodefaults
dependencies:
  - python=3.11
  - pip
  - pip:
{pins}
"""


def resolve(requirements: Iterable[str], among: Iterable[str] = ()) -> list[str]:
    """Exact pins, `name==version` in alphabetical order, of the requirements and of all they need.

    Args:
        requirements: names and ranges.
        among: pins that decide the versions of the packages that they name.

    Raises:
        subprocess.CalledProcessError: pip found no consistent set; it printed the reason.
    """
    with tempfile.TemporaryDirectory() as folder:
        report, constraints = Path(folder) / "report.json", Path(folder) / "constraints.txt"
        constraints.write_text("".join(f"{pin}\n" for pin in among), encoding="utf-8")
        options = ["--dry-run", "--ignore-installed", "--quiet", "--report", str(report), "-c", str(constraints)]
        subprocess.run([sys.executable, "-m", "pip", "install", *options, *requirements], check=True)
        found = [item["metadata"] for item in json.loads(report.read_text(encoding="utf-8"))["install"]]
    # A local version suffix, such as torch's `+cpu`, does not exist on the package index.
    pins = [f"{item['name']}=={item['version'].partition('+')[0]}" for item in found]
    return sorted((pin for pin in pins if not LEFT_TO_TORCH.match(pin)), key=str.lower)


def environment(device: str, pins: Iterable[str]) -> str:
    """A conda environment for `cpu` or `gpu`."""
    return HEADER + ENVIRONMENT.format(device=device, pins="\n".join(f"      - {pin}" for pin in pins))


def main() -> None:
    """Write the three locks and the two environments."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    embedded = [f"{name}=={version}" for name, version in DISTRIBUTIONS.items()]
    runtime = resolve([*project["dependencies"], *extras["cpu"], *embedded])
    everything = resolve([*runtime, *extras["dev"]])
    others = [line for line in project["dependencies"] if not line.startswith(ALONE)]
    users = resolve([*others, *extras["cpu"]], among=runtime)
    alone = [pin for pin in runtime if pin.startswith(f"{ALONE}==")]
    for name, pins in (
        ("", users),
        ("-alone", alone),
        ("-dev", sorted({*everything} - {*users, *alone}, key=str.lower)),
    ):
        text = HEADER + "".join(f"{pin}\n" for pin in pins)
        (ROOT / f"requirements{name}.lock").write_text(text, encoding="utf-8")
    for device in ("cpu", "gpu"):
        pins = [re.sub(r"^faiss-cpu==", f"faiss-{device}==", pin) for pin in runtime]
        (ROOT / "envs" / f"{device}.yaml").write_text(environment(device, pins), encoding="utf-8")


if __name__ == "__main__":
    main()
