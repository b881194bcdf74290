"""Check that two checkouts give the same bytes: run every preset on a small project with both, and compare the files.

    python -m benchmarks.same_results /path/to/older /path/to/newer --folder /tmp/same

A change that only moves code must not change weights, vectors, rankings, negatives or loss curves. Stages are matched
by label and file name, so kinds and versions may differ.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import small_config, write_collection

FILES = ("*.safetensors", "*.npy", "*.parquet", "loss.csv", "*.trec")
"""The files compared. Manifests contain versions and revisions, which moved code changes."""

LEFT_OUT = {"handover.safetensors"}
"""Optimizer state between rounds; the results of training from it are compared instead."""


def every_preset() -> dict[str, Any]:
    """The small project with every preset, and the shapes of configs/table2.yaml and configs/paper.yaml."""
    config = small_config()
    systems = config["systems"]
    train, adore = systems["bm25neg"]["train"], systems["adore_star"]["train"]
    mined = {"source": {"depth": 40}, "sampler": {"k": 40}}
    listed = {"preset": "static", "from": "star", "train": adore}
    lists = {"source": {"depth": 40}, "sampler": {"count": 40}}
    live = {"preset": "adore", "train": adore, "source": {"depth": 50}}
    systems |= {
        "inbatch": {"preset": "inbatch", "train": train},
        "inbatch_ranknet": {"preset": "inbatch", "loss": "ranknet", "train": train},
        "rand": {"preset": "rand", "train": train},
        "several": {"preset": "bm25neg", "sampler": {"k": 40, "count": 3}, "train": train},
        "ance": {"preset": "ance", "from": "bm25neg", **mined, "train": train},
        "eq13": {
            "preset": "star",
            "from": "bm25neg",
            **mined,
            "loss": {"name": "ranknet", "alpha": 0.5},
            "train": train,
        },
        "adore_rand": {**live, "from": "rand"},
        "dynamic": {**live, "from": "star", "loss": "list_ranknet"},
        "adore_ndcg": {**live, "from": "star", "loss": {"metric": "nDCG", "cut": 20}},
        "adore_pq": {**live, "from": "star", "index": "PQ4x4"},
        "static": {**listed, **lists, "loss": "list_ranknet"},
        "static_lambda": {**listed, **lists},
        "refreshed": {
            **listed,
            "source": {"name": "self", "depth": 40},
            "sampler": {"count": 40},
            "refresh": {"name": "rounds", "rounds": 2},
            "loss": "list_ranknet",
        },
        "random": {**listed, "source": "random", "sampler": {"name": "uniform", "count": 20}, "loss": "list_ranknet"},
    }
    config["analyses"] = {
        "negatives": {"teacher": "adore_star"},
        "trajectory": {"systems": ["static", "refreshed", "random", "adore_star"], "every": 8, "k": 40},
        "compression": {"base": "star", "systems": ["adore_pq", "adore_star"]},
    }
    return config


def run(checkout: Path, folder: Path) -> None:
    """Run the workflow of a checkout in its own folder; finished stages are kept."""
    if not (folder / "data").exists():
        write_collection(folder / "data")
    (folder / "config.yaml").write_text(yaml.safe_dump(every_preset(), sort_keys=False), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        str(checkout / "Snakefile"),
        "--directory",
        str(folder),
    ]
    command += ["--configfile", str(folder / "config.yaml"), "--cores", "all", "--quiet", "rules"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(checkout), "OMP_WAIT_POLICY": "PASSIVE"}
    subprocess.run(command, cwd=folder, env=environment, check=True)


def digests(folder: Path) -> dict[tuple[str, str], list[str]]:
    """SHA-256 of the files of a run's stages, by label and file name."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for stage in sorted((folder / "artifacts").glob("*/*/*")):
        label = stage.name.rpartition("-")[0]
        for path in sorted({path for pattern in FILES for path in stage.rglob(pattern)}):
            if path.name not in LEFT_OUT and stage.parent.name != "bm25_index":
                # Lines with a mark head an exported run; they name versions of stages.
                lines = [line for line in path.read_bytes().splitlines(True) if not line.startswith(b"# ")]
                digest = hashlib.sha256(b"".join(lines)).hexdigest()
                found[label, path.relative_to(stage).as_posix()].append(digest)
    return {key: sorted(set(values)) for key, values in found.items()}


def main() -> None:
    """Run both, compare, and exit with status 1 if a byte differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkouts", nargs=2, type=Path, help="the older and the newer checkout")
    parser.add_argument("--folder", required=True, type=Path, help="where both run; finished stages are kept")
    given = parser.parse_args()
    runs = []
    for name, checkout in zip(("older", "newer"), given.checkouts, strict=True):
        folder = given.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        run(checkout.resolve(), folder.resolve())
        runs.append(digests(folder))
    older, newer = runs
    differing = [key for key in older if key in newer and older[key] != newer[key]]
    missing = [key for key in older if key not in newer]
    for label, name in differing:
        print(f"differs: {label}: {name}")
    for label, name in missing:
        print(f"missing: {label}: {name}")
    print(f"{sum(map(len, older.values()))} files of {len({label for label, _ in older})} labels: ", end="")
    print(f"{len(differing)} differ, {len(missing)} are missing, {len(newer.keys() - older.keys())} are new")
    sys.exit(bool(differing or missing))


if __name__ == "__main__":
    main()
