"""Run the workflow on synthetic collections of several sizes and write each stage's time and peak memory.

    python -m benchmarks.scale --sizes 10000 100000 1000000 --runs 3 --output docs/scale.md

The words of a synthetic collection follow Zipf's law, its passages have about 50 words, and it is written as a BEIR
folder. The encoder is as small as possible, since the subject is how the stages scale, not the encoder.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from scipy.optimize import nnls

from benchmarks.seeds import markdown

ROOT = Path(__file__).resolve().parents[1]
NAME = "made"

QUERIES = {"train": 2000, "dev": 200, "test": 200}
QUERY_WORDS = 6
TITLE_WORDS = 3
VOCABULARY = 200_000
PASSAGES_AT_ONCE = 10_000

# In the order of the flow, with what the table calls them; others come last, by their kind.
STAGES = {
    "collection": "prepare",
    "tokenizer": "tokenizer",
    "tokens": "tokenize",
    "bm25_index": "BM25 index",
    "bm25_run": "BM25 search",
    "mine": "mine",
    "dual_encoder": "train both encoders",
    "passages": "encode passages",
    "queries": "encode queries",
    "run": "search vectors",
    "index": "index",
    "query_encoder": "train query encoder",
    "measure": "measure",
    "pairwise_errors": "count errors",
    "diagnosis": "diagnose negatives",
    "agreement": "compare rankings",
}


def vocabulary(count: int) -> list[str]:
    """Words of one to three syllables, the short ones first."""
    syllables = [consonant + vowel for consonant, vowel in product("bcdfghjklmnprstvz", "aeiou")]
    words = ("".join(word) for length in (1, 2, 3) for word in product(syllables, repeat=length))
    return [word for word, _ in zip(words, range(count), strict=False)]


def passages(count: int, seed: int = 0) -> Iterator[list[str]]:
    """Passages as lists of words; the word of rank r has a frequency proportional to 1 / (r + 2.7)."""
    generator, known = np.random.default_rng(seed), np.array(vocabulary(VOCABULARY), dtype=object)
    shares = np.cumsum(1 / (np.arange(1, VOCABULARY + 1) + 2.7))
    for start in range(0, count, PASSAGES_AT_ONCE):
        lengths = np.rint(generator.lognormal(np.log(45), 0.45, min(PASSAGES_AT_ONCE, count - start))).astype(int) + 5
        drawn = known[np.searchsorted(shares, generator.random(lengths.sum()) * shares[-1])]
        ends = np.cumsum(lengths)
        for first, end in zip(ends - lengths, ends, strict=True):
            yield drawn[first:end].tolist()


def write_collection(folder: Path, count: int, queries: Mapping[str, int] = QUERIES, seed: int = 0) -> None:
    """Write a BEIR folder of `count` passages; a query consists of words of its only relevant passage."""
    generator = np.random.default_rng(seed + 1)
    asked = generator.permutation([split for split, number in queries.items() for _ in range(number)])
    split_of = dict(zip(np.sort(generator.choice(count, len(asked), replace=False)).tolist(), asked, strict=True))
    (folder / "qrels").mkdir(parents=True)
    with ExitStack() as stack:

        def written(name: str) -> Any:
            return stack.enter_context((folder / name).open("w", encoding="utf-8"))

        corpus, texts = written("corpus.jsonl"), written("queries.jsonl")
        qrels = {split: written(f"qrels/{split}.tsv") for split in queries}
        for file in qrels.values():
            file.write("query-id\tcorpus-id\tscore\n")
        for number, words in enumerate(passages(count, seed)):
            title, text = " ".join(words[:TITLE_WORDS]), " ".join(words[TITLE_WORDS:])
            corpus.write(json.dumps({"_id": f"p{number}", "title": title, "text": text}) + "\n")
            if number in split_of:
                different = sorted(set(words))
                chosen = generator.choice(different, min(QUERY_WORDS, len(different)), replace=False)
                texts.write(json.dumps({"_id": f"q{number}", "text": " ".join(chosen)}) + "\n")
                qrels[split_of[number]].write(f"q{number}\tp{number}\t1\n")


def study() -> dict[str, Any]:
    """A configuration with every kind of stage, a very small encoder and hardly any training."""
    train = {"steps": 20, "batch_size": 16, "lr": 1e-3}
    tiny = {"vocabulary": 8000, "hidden": 64, "layers": 1, "heads": 2, "feed_forward": 64}
    return {
        "collection": {"format": "beir", "name": NAME, "path": "data"},
        "encoder": {
            "backbone": "builtin:tiny",
            "tiny": tiny,
            "pooling": "mean",
            "query_length": 16,
            "passage_length": 32,
        },
        "index": {"factory": "PQ16", "train_rows": 10_000},
        "systems": {
            "bm25": {"preset": "bm25"},
            "bm25neg": {"preset": "bm25neg", "train": train},
            "star": {"preset": "star", "from": "bm25neg", "train": train},
            "adore_star": {"preset": "adore", "from": "star", "train": train},
        },
    }


def run(folder: Path, count: int, cores: str) -> pd.DataFrame:
    """Write a collection to a new folder and run all stages there; the measurements as from `measured`.

    One job runs at a time: beside another, its time would be of both.
    """
    write_collection(folder / "data", count)
    (folder / "study.yaml").write_text(yaml.safe_dump(study(), sort_keys=False), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    command += ["--cores", cores, "--configfile", str(folder / "study.yaml")]
    command += ["--default-resources", "alone=1", "--resources", "alone=1"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    subprocess.run(command, check=True, cwd=folder, env=environment)
    return measured(folder)


def measured(folder: Path) -> pd.DataFrame:
    """For each kind of stage: jobs, total seconds, and peak MiB of a single job.

    Snakemake adds the resident memory of a job's processes up, but looks every 30 seconds only; the kernel, which
    `cost.json` asked, knows the true peak of the job's own process. The greater of the two counts.
    """
    rows = []
    for path in folder.glob(f"logs/{NAME}/*/*.tsv"):
        job = pd.read_csv(path, sep="\t", na_values=["-", "NA"]).iloc[0]
        rows.append((path.parent.name, 1, job["s"], job["max_rss"]))
    for path in folder.glob(f"artifacts/{NAME}/*/*/*cost.json"):
        cost = json.loads(path.read_text(encoding="utf-8"))
        rows.append((path.parents[1].name, 0, 0.0, cost["peak_memory_mib"]))
    jobs = pd.DataFrame(rows, columns=["kind", "jobs", "seconds", "MiB"])
    table = jobs.groupby("kind").agg({"jobs": "sum", "seconds": "sum", "MiB": "max"})
    return table.loc[[*(kind for kind in STAGES if kind in table.index), *table.index.difference(list(STAGES))]]


def median(repeats: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One table of several of one size: the median of seconds, and the most MiB."""
    together = pd.concat(repeats).groupby(level=0, sort=False)
    return together.agg({"jobs": "first", "seconds": "median", "MiB": "max"})


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """The x of seconds = a + b sizes^x, with a and b at least 0, by least squares of relative errors.

    What a process takes to start is in a. Below 3 sizes it is NaN, and 0 where nothing grows.
    """
    if len(sizes) < 3:
        return float("nan")
    counts, taken = np.array(sizes, float), np.array(seconds, float)

    def fitted(power: float) -> tuple[np.ndarray, float]:
        parts, error = nnls(np.stack([np.ones_like(counts), (counts / counts[-1]) ** power], 1) / taken[:, None], ones)
        return parts, float(error)

    ones = np.ones_like(counts)
    best = min(np.arange(0.01, 2.001, 0.01), key=lambda power: fitted(power)[1])
    return float(best) if fitted(best)[0][1] > 0 else 0.0


def together(runs: Mapping[int, pd.DataFrame]) -> pd.DataFrame:
    """One row for each stage: seconds at each size, the ratio of the last two, the exponent, MiB at each size."""
    sizes = list(runs)
    kinds = runs[sizes[0]].index
    table = pd.DataFrame({"stage": [STAGES.get(kind, kind) for kind in kinds]}, index=kinds)
    table["jobs"] = runs[sizes[-1]]["jobs"]
    for size in sizes:
        table[f"s, {size:,}"] = runs[size]["seconds"].map("{:,.1f}".format)
    if len(sizes) > 1:
        growth = runs[sizes[-1]]["seconds"] / runs[sizes[-2]]["seconds"]
        table[f"x ({sizes[-2]:,} to {sizes[-1]:,})"] = growth.map("{:.1f}".format)
    if len(sizes) > 2:
        every = [[runs[size]["seconds"][kind] for size in sizes] for kind in kinds]
        table["exponent"] = [f"{exponent(sizes, taken):.2f}" for taken in every]
    for size in sizes:
        table[f"MiB, {size:,}"] = runs[size]["MiB"].map("{:,.0f}".format)
    return table


def machine() -> str:
    """This machine's processor, cores and memory."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB"


def main() -> None:
    """Run the sizes and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=int, default=[10_000, 100_000, 1_000_000], help="passages")
    parser.add_argument("--runs", type=int, default=1, help="runs of each size, whose median is told")
    parser.add_argument("--cores", default="all")
    parser.add_argument("--work", type=Path, help="a new folder to work in, which is kept (default: a temporary one)")
    parser.add_argument("--output", required=True, type=Path)
    given = parser.parse_args()
    runs = {}
    with tempfile.TemporaryDirectory() if given.work is None else nullcontext(given.work) as work:
        for size in sorted(given.sizes):
            folders = [Path(work).resolve() / f"{size}-{number}" for number in range(given.runs)]
            runs[size] = median([run(folder, size, given.cores) for folder in folders])
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.strip()
    queries = ", ".join(f"{number:,} {split}" for split, number in QUERIES.items())
    parts = [
        "# How the stages grow with the collection",
        f"`python -m benchmarks.scale {' '.join(sys.argv[1:])}`, commit {commit}, {machine()}, no GPU, "
        f"{datetime.now(UTC):%Y-%m-%d}.",
        f"Synthetic passages of about 55 words, {queries} queries, a one-layer encoder of width "
        f"{study()['encoder']['tiny']['hidden']}, the index {study()['index']['factory']}. Seconds are "
        f"totals over a stage's jobs, one at a time, start-up included, the median of {given.runs}; MiB is the peak of "
        "a single job, mapped files and Java included, the most of them. The exponent "
        "is the x of a + b n^x through the seconds at all sizes n, where a is what does not grow. Of a stage that "
        "hardly grows it says little.",
        markdown(together(runs)),
    ]
    given.output.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
