"""Does each step help from a pretrained encoder, and against sentence-transformers at the same budget?

    python -m benchmarks.finetune --configfile configs/minilm-nfcorpus.yaml --seeds 13 1 2 --output docs/minilm.md

Every seed is a run of the workflow in this checkout and a run of the peer's recipe (`benchmarks.peer`), whose vectors
are searched and measured by the workflow (`preset: given_vectors`), so that one table has all rows. The command resumes
(what is finished is kept), and writes the page after each seed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from benchmarks import peer
from benchmarks.scale import machine
from benchmarks.seeds import markdown, mean_over, placed, scores, tests
from benchmarks.study import training
from hardneg.config import Config, load, read_yaml
from hardneg.planning.plan import Plan
from hardneg.stages.artifacts import Artifact
from hardneg.stages.stage import Stage

FOLDER = Path("benchmarks/results/finetune")
PREPARATION = {"download", "collection", "tokenizer", "tokens", "bm25_index", "bm25_run"}
PAIRS = [
    ("inbatch_softmax", "pretrained"),
    ("star", "pretrained"),
    ("star", "inbatch_softmax"),
    ("star", "bm25neg"),
    ("adore_star", "pretrained"),
    ("adore_star", "star"),
    ("peer_hard", "peer_inbatch"),
    ("inbatch_softmax", "peer_inbatch"),
    ("star", "peer_hard"),
    ("adore_star", "peer_hard"),
]
"""Tested where a study has both."""


@dataclass(frozen=True)
class Seed:
    """What a seed gave: `measures.csv`, `per_query.parquet`, the minutes of each system, and the peer's steps."""

    measures: pd.DataFrame
    per_query: pd.DataFrame
    minutes: dict[str, float]
    steps: dict[str, int]


def workflow(configfile: Path, *targets: str) -> None:
    """Run the workflow in this checkout."""
    command = [sys.executable, "-m", "snakemake", *targets, "--cores", "all", "--configfile", str(configfile)]
    subprocess.run([*command, "--quiet", "rules"], check=True)


def below(stage: Stage) -> dict[str, Stage]:
    """A stage and all that it was made from, by manifest, without what prepares texts for all systems."""
    found = {} if stage.kind in PREPARATION else {str(stage.manifest): stage}
    for parent in stage.parents.values():
        found |= below(parent)
    return found


def seconds(stage: Stage) -> float:
    """What a stage took, its slowest shard included; shards run side by side."""
    costs = {path: json.loads(path.read_text(encoding="utf-8"))["seconds"] for path in stage.folder.glob("*cost.json")}
    shards = [taken for path, taken in costs.items() if path.name.startswith("shard-")]
    return sum(costs.values()) - sum(shards) + max(shards, default=0.0)


def minutes(plan: Plan) -> dict[str, float]:
    """Minutes of training, mining, encoding and searching of each system, without those of what it starts from."""
    spent = {}
    for name, system in plan.config.systems.items():
        if system.retriever != "dense":
            continue
        own = below(plan.systems[name].run)
        for manifest in below(plan.systems[system.from_].run) if system.from_ else ():
            own.pop(manifest, None)
        spent[name] = sum(seconds(stage) for stage in own.values()) / 60
    return spent


def with_peer(configfile: Path, seed: int, folder: Path, config: Config) -> Path:
    """Write the study with the peer's vectors as two more systems, and return the file."""
    systems = {
        name: {
            "preset": "given_vectors",
            "vectors": {
                "passages": [str(folder / name / "passages.npy")],
                "queries": {split: str(folder / name / f"queries.{split}.npy") for split in config.splits.evaluate},
            },
        }
        for name in peer.NAMES
    }
    written = folder / "study.yaml"
    content: dict[str, Any] = {"extends": str(configfile.resolve()), "seed": seed, "systems": systems}
    written.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return written


def run_seed(configfile: Path, seed: int) -> Seed:
    """One seed, ours and the peer's."""
    config = load({**read_yaml(configfile), "seed": seed})
    plan, folder = Plan(config), FOLDER / config.collection.name / f"seed-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    ours = folder / "ours.yaml"
    ours.write_text(yaml.safe_dump({"extends": str(configfile.resolve()), "seed": seed}), encoding="utf-8")
    workflow(ours, "evaluate")
    facts = peer.run(config, Artifact.open(plan.collection.manifest), folder)
    workflow(with_peer(configfile, seed, folder, config), "evaluate")
    spent = minutes(plan) | {name: facts[name]["minutes"] for name in peer.NAMES}
    steps, results = {name: facts[name]["steps"] for name in peer.NAMES}, plan.results
    measures, per_query = pd.read_csv(results / "measures.csv"), pd.read_parquet(results / "per_query.parquet")
    return Seed(measures, per_query, spent, steps)


def trained(config: Config, steps: dict[str, int]) -> pd.DataFrame:
    """The training of each system, the peer's included."""
    ours, starts = training(config), (config.encoder.backbone, peer.NAMES[0])
    rows = []
    for name, start, like in zip(peer.NAMES, starts, (peer.FIRST, peer.second(config)), strict=True):
        train = config.systems[like].train
        rows.append((name, start, steps[name], train.batch_size, f"{steps[name] * train.batch_size:,}", train.lr))
    ours["starts from"] = ours["starts from"].replace("random weights", config.encoder.backbone)
    return pd.concat([ours, pd.DataFrame(rows, columns=ours.columns)])


def page(configfile: Path, config: Config, seeds: dict[int, Seed]) -> str:
    """The page of the seeds so far."""
    main, splits = config.evaluation.main_measure, config.splits.evaluate
    measures = {seed: one.measures for seed, one in seeds.items()}
    per_query = {seed: one.per_query for seed, one in seeds.items()}
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    took = pd.DataFrame({f"seed {seed}": one.minutes for seed, one in seeds.items()})
    command = f"python -m benchmarks.finetune {' '.join(sys.argv[1:])}"
    pairs = [pair for pair in PAIRS if set(pair) <= {*config.systems, *peer.NAMES}]
    parts = [
        f"## {config.collection.name}",
        f"`{command}`, commit {commit.stdout.strip()}, {machine()}, {datetime.now(UTC):%Y-%m-%d}. "
        f"Seeds in: {', '.join(map(str, seeds))}; sd is over seeds (n - 1).",
    ]
    for split in splits:
        for name in config.evaluation.measures if split == splits[-1] else [main]:
            table = scores(measures, split, name).reset_index(names="system")
            table = table if len(seeds) > 1 else table.drop(columns=["mean", "sd"])
            parts += [f"### {name} on {split}", markdown(table)]
    parts += [
        f"### Paired t-tests on {main}, {splits[-1]}, query by query",
        "Two-sided, with Holm's correction over the pairs: within each seed, and of each query's mean over the seeds.",
        markdown(tests({**per_query, "mean": mean_over(per_query)}, pairs, splits[-1], main)),
        "### Minutes",
        "Training, mining, encoding and searching, without what a system starts from; other programs ran beside these.",
        markdown(took.map("{:.1f}".format).reset_index(names="system")),
        "### Training",
        markdown(trained(config, next(iter(seeds.values())).steps).astype(str)),
    ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Run the seeds; write the page after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configfile", required=True, type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[13, 1, 2])
    parser.add_argument(
        "--output", required=True, type=Path, help="a Markdown file; all but this collection's section is kept"
    )
    given = parser.parse_args()
    config, seeds = load(read_yaml(given.configfile)), {}
    for seed in given.seeds:
        seeds[seed] = run_seed(given.configfile, seed)
        old = given.output.read_text(encoding="utf-8") if given.output.exists() else "# Fine-tuning\n"
        given.output.write_text(placed(old, page(given.configfile, config, seeds)), encoding="utf-8")


if __name__ == "__main__":
    main()
