"""Run the study of compressed indexes with several seeds: does training on the index that serves help?

    python -m benchmarks.compressed --seeds 13 1 2 --output docs/compressed.md

Every seed is a run of `snakemake --cores all --configfile configs/compressed.yaml --config seed=N` in this checkout.
Each system of `analyses.compression` is scored on each index that one of them was trained on.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch

from benchmarks.scale import machine
from benchmarks.seeds import markdown, run_seed
from hardneg.config import load, read_yaml
from hardneg.data.judgements import Judgements
from hardneg.evaluation.measures import compare, holm
from hardneg.model.encoder import Encoder, encode_rows
from hardneg.planning.plan import Plan
from hardneg.retrieval.search.retrieve import open_searcher
from hardneg.stages.artifacts import Artifact
from hardneg.text.tokens import TokenStore


class Scored(NamedTuple):
    """A system on an index, with one seed: the main measure for each query."""

    system: str
    trained_on: str
    served_on: str
    seed: int
    values: pd.Series


def cells(configfile: Path, seed: int, split: str) -> list[Scored]:
    """The finished cells of one seed."""
    plan = Plan(load({**read_yaml(configfile), "seed": seed}))
    found = []
    for cell in plan.analyses.compression:
        per_query = pq.read_table(Artifact.open(cell.measure.manifest).path(f"measures.{split}.parquet")).to_pandas()
        chosen = per_query[per_query["measure"] == plan.config.evaluation.main_measure]
        trained_on = cell.trained_on.label if cell.trained_on else ""
        found.append(Scored(cell.system, trained_on, cell.served_on.label, seed, chosen.set_index("query_id")["value"]))
    return found


def matrix(scored: list[Scored]) -> pd.DataFrame:
    """Trained on (rows, the base first) by served on (columns): mean and standard deviation over seeds."""
    means = pd.DataFrame([(s.trained_on or "(base)", s.served_on, s.values.mean()) for s in scored])
    means.columns = pd.Index(["trained on", "served on", "value"])
    groups = means.groupby(["trained on", "served on"], sort=False)["value"]
    text = groups.mean().map("{:.4f}".format) + " ± " + groups.std(ddof=1).map("{:.4f}".format)
    order = list(dict.fromkeys(means["trained on"])), list(dict.fromkeys(means["served on"]))
    return text.unstack().loc[order[0], order[1]].reset_index()


def gains(scored: list[Scored], exact: str) -> pd.DataFrame:
    """On each compressed index: the system trained on it minus the system trained on the exact index, by seed and mean.

    p-values are from paired t-tests over queries within each seed, Holm-corrected over the indexes of a seed.
    """
    by_place = {(s.trained_on, s.served_on, s.seed): s.values for s in scored}
    indexes = [index for index in dict.fromkeys(s.served_on for s in scored) if index != exact]
    rows = []
    for seed in dict.fromkeys(s.seed for s in scored):
        tests = [compare(by_place[index, index, seed], by_place[exact, index, seed]) for index in indexes]
        rows += [
            (index, seed, test.difference, p)
            for index, test, p in zip(indexes, tests, holm([test.p_t for test in tests]), strict=True)
        ]
    table = pd.DataFrame(rows, columns=["served on", "seed", "gain", "p"])
    table["text"] = table["gain"].map("{:+.4f}".format) + " (p " + table["p"].map("{:.2g}".format) + ")"
    shown = table.pivot(index="served on", columns="seed", values="text").loc[indexes]
    shown.columns = pd.Index([f"seed {seed}" for seed in shown.columns])
    shown["mean"] = table.groupby("served on")["gain"].mean().map("{:+.4f}".format)
    return shown.reset_index()


def fitted(configfile: Path, seed: int, count: int) -> pd.DataFrame:
    """MRR@10 of a sample of the training queries, trained on (rows) by served on (columns).

    Gains here that do not appear on held-out queries are specific to the training queries.
    """
    plan = Plan(load({**read_yaml(configfile), "seed": seed}))
    split = str(plan.config.splits.train)
    collection = Artifact.open(plan.collection.manifest)
    judged = Judgements.read(
        collection.path(f"qrels.{split}.parquet"),
        collection.facts["splits"][split]["queries"],
        collection.facts["passages"],
    )
    rows = np.random.default_rng(0).permutation(judged.with_positives())[:count]
    device = torch.device("cpu")
    table: dict[str, dict[str, str]] = {}
    for cell in plan.analyses.compression:
        stages = plan.systems[cell.system]
        assert stages.model is not None and stages.queries is not None and stages.passages is not None
        store = TokenStore(Artifact.open(stages.queries.parents["tokens"].manifest), f"queries.{split}")
        encoder = Encoder.load(Artifact.open(stages.model.manifest)).eval()
        with torch.inference_mode():
            parts = [encode_rows(encoder, store, rows[at : at + 256], 64, device) for at in range(0, len(rows), 256)]
        built, passages = (Artifact.open(stage.manifest) for stage in (cell.built, stages.passages))
        found = open_searcher(passages, built, [device]).search(torch.cat(parts), 10)[0].numpy()
        hit = judged.contains(rows[:, None], found)
        value = float(np.where(hit.any(axis=1), 1 / (hit.argmax(axis=1) + 1), 0).mean())
        trained_on = cell.trained_on.label if cell.trained_on else "(base)"
        table.setdefault(trained_on, {})[cell.served_on.label] = f"{value:.4f}"
    return pd.DataFrame(table).T.reset_index(names="trained on")


def main() -> None:
    """Run the seeds and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[13, 1, 2])
    parser.add_argument("--configfile", type=Path, default=Path("configs/compressed.yaml"))
    parser.add_argument("--exact", default="Flat", help="the index that the baseline is trained on")
    parser.add_argument("--split", nargs="+", default=["dev", "test"])
    parser.add_argument("--fitted", type=int, default=4000, help="training queries to score as well")
    parser.add_argument("--output", required=True, type=Path)
    given = parser.parse_args()
    for seed in given.seeds:
        run_seed(seed, given.configfile)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    config = load(read_yaml(given.configfile))
    parts = [
        f"# Compressed indexes on {config.collection.name}",
        f"`python -m benchmarks.compressed {' '.join(sys.argv[1:])}`, commit {commit.stdout.strip()}, {machine()}, "
        f"{datetime.now(UTC):%Y-%m-%d}. {config.evaluation.main_measure}, mean ± standard deviation (n - 1) over seeds "
        f"{', '.join(map(str, given.seeds))}.",
    ]
    for split in given.split:
        scored = [cell for seed in given.seeds for cell in cells(given.configfile, seed, split)]
        parts += [
            f"## {split}: trained on (rows), served on (columns)",
            markdown(matrix(scored)),
            f"The system trained on the serving index minus the system trained on {given.exact} (paired t-test over "
            "queries, Holm's correction over the indexes of a seed):",
            markdown(gains(scored, given.exact)),
        ]
    parts += [
        f"## {given.fitted:,} training queries, seed {given.seeds[0]}: MRR@10, trained on (rows), served on (columns)",
        markdown(fitted(given.configfile, given.seeds[0], given.fitted)),
    ]
    given.output.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
