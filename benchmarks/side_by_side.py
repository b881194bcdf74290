"""Time several tools at the same work: each run in a process of its own, in turns, so that a busy spell meets all.

A benchmark's module calls `compare` with its tools, and `measured` in the process of one of them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from benchmarks.scale import machine
from benchmarks.seeds import markdown
from hardneg.model.products import by_onednn, product

RUNS = 5
ROOT = Path(__file__).resolve().parents[1]


class Run(NamedTuple):
    """One run of one tool.

    Attributes:
        tool: its name.
        seconds: of the wall clock, of the work alone.
        cpu: seconds of all threads.
        peak: MiB of memory, of the process.
        answer: what the work found.
    """

    tool: str
    seconds: float
    cpu: float
    peak: float
    answer: Any


def measured(work: Callable[[], Any]) -> None:
    """Do the work, and print what it took and what it returned as JSON."""
    wall, cpu = time.perf_counter(), time.process_time()
    answer = work()
    told(time.perf_counter() - wall, time.process_time() - cpu, answer)


def told(wall: float, cpu: float, answer: Any) -> None:
    """Print what some work took, in seconds, and what it found, as JSON."""
    print(json.dumps([wall, cpu, _peak(), answer]))


def _peak() -> float:
    """MiB that this process had at most. What `resource` tells begins with what its parent had."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def in_turns(module: str, tools: Sequence[str], arguments: Sequence[str], runs: int) -> list[Run]:
    """`runs` runs of each tool."""
    found = []
    for _ in range(runs):
        for tool in tools:
            line = [sys.executable, "-m", module, "--tool", tool, *arguments]
            done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=ROOT)
            if done.returncode != 0:
                sys.exit(f"{tool} failed:\n{done.stderr}")
            found.append(Run(tool, *json.loads(done.stdout.splitlines()[-1])))
    return found


def table(runs: Sequence[Run], ours: str) -> pd.DataFrame:
    """A row a tool: median seconds, CPU seconds and peak; how many times as long as ours, turn by turn."""
    by_tool = {tool: [run for run in runs if run.tool == tool] for tool in dict.fromkeys(run.tool for run in runs)}
    rows = []
    for tool, own in by_tool.items():
        ratios = [theirs.seconds / mine.seconds for theirs, mine in zip(own, by_tool[ours], strict=True)]
        rows.append(
            (
                tool,
                f"{statistics.median(run.seconds for run in own):.3g}",
                f"{statistics.median(run.cpu for run in own):.3g}",
                f"{statistics.median(run.peak for run in own):.0f}",
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
            )
        )
    return pd.DataFrame(rows, columns=["tool", "seconds", "CPU seconds", "peak MiB", "times ours (least to most)"])


def least(work: Callable[[], Any], tries: int = 7) -> float:
    """Seconds of some work, the least of some tries."""
    best = float("inf")
    for _ in range(tries):
        begun = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - begun)
    return best


def products(threads: int, size: int = 2048) -> tuple[float, float]:
    """GFLOP/s of a float32 matrix product, the best of some tries: by `torch.mm`, and as this project computes them."""
    torch.set_num_threads(threads)
    left, right, out = torch.rand(size, size), torch.rand(size, size), torch.empty(size, size)
    by_torch, by_us = least(lambda: torch.mm(left, right.T, out=out)), least(lambda: product(left, right, out))
    return 2 * size**3 / by_torch / 1e9, 2 * size**3 / by_us / 1e9


def copies(size: int = 1 << 28) -> float:
    """GB/s of a copy in memory, read and written: what this machine allows."""
    source = np.ones(size, np.uint8)
    target = np.empty_like(source)
    return 2 * size / least(lambda: np.copyto(target, source)) / 1e9


def head(module: str, gpu: str = "no GPU") -> str:
    """What a page says of its numbers: command, commit, machine, date."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.strip()
    line = " ".join(["python -m", module, *sys.argv[1:]])
    return f"`{line}`, commit {commit}, {machine()}, {gpu}, {datetime.now(UTC):%Y-%m-%d}."


def parser_of(description: str | None, tools: Sequence[str]) -> argparse.ArgumentParser:
    """A parser of what all benchmarks take."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", choices=tools, help="run this one once (default: all of them, in turns)")
    parser.add_argument("--runs", type=int, default=RUNS, help="of each tool")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, help="a folder to keep (default: one that is removed)")
    parser.add_argument("--output", type=Path, help="a Markdown page")
    return parser


def versions(*names: str) -> str:
    """Installed packages and their versions."""
    return ", ".join(f"{name} {metadata.version(name)}" for name in names)


def page(
    title: str, module: str, parts: Sequence[tuple[str, pd.DataFrame, str]], threads: int, said: str | None = None
) -> str:
    """A page of tables, each with its title and what else is to be said of it; `said` is of all of them."""
    by_torch, by_us = products(threads)
    library = "oneDNN, which this project uses here" if by_onednn() else "the same library"
    ceiling = f"{by_torch:.0f} GFLOP/s in float32 products by `torch.mm` and {by_us:.0f} by {library}"
    about = f"{head(module)} {threads} threads. This machine allows {ceiling}, and {copies():.1f} GB/s in copies."
    return (
        "\n\n".join(
            [f"# {title}", about, *([said] if said else []), *(text for part in parts for text in _section(*part))]
        )
        + "\n"
    )


def _section(title: str, rows: pd.DataFrame, said: str) -> list[str]:
    return [f"## {title}", said, markdown(rows)]
