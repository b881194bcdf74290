"""Run the probes that a plan needs."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from hardneg.errors import HardnegError
from hardneg.estimate.counts import Lengths
from hardneg.estimate.speeds import bm25, host, index, neural, runs, text
from hardneg.estimate.speeds.measured import Bm25, Compressed, Measured
from hardneg.planning.plan import Plan


def measure(plan: Plan, lengths: Lengths, searches: Sequence[tuple[int, int]], device: str, quick: bool) -> Measured:
    """Run all probes that a plan's stages need.

    Args:
        plan: of the configuration.
        lengths: of its texts.
        searches: (batch size, depth) of every search in its stages.
        device: a torch device such as cpu or cuda:0, held by this process.
        quick: measure for a shorter time, less accurately.

    Raises:
        HardnegError: the disk cannot be written, or the index's factory string is wrong.
    """
    seconds = 0.2 if quick else 1.0
    missing: list[str] = []
    base = host.base_memory(device)
    with tempfile.TemporaryDirectory(prefix=".probe-", dir=".") as name:
        folder = Path(name)
        disk = host.disk_write(folder, (16 if quick else 256) << 20)
        rows, scored = runs.runs(plan, folder, 50 if quick else 200)
        dense = encodes(plan)
        prepared, tokenizer, tokenized = text.texts(plan, lengths, folder, 1_000 if quick else 5_000, tokens=dense)
        encoder = neural.neural(plan, lengths, searches, device, seconds) if dense else None
        compressed = {}
        if encoder is not None:
            compressed = _compressed(plan, encoder.dim, searches, 5_000 if quick else 20_000, missing)
        lucene = _bm25(plan, lengths, folder, 5_000 if quick else 20_000, missing)
    return Measured(
        base_bytes=base,
        disk_write=disk,
        digest=host.digest(seconds),
        prepare=prepared,
        tokenizer=tokenizer,
        tokenize=tokenized,
        run_rows=rows,
        measure=scored,
        neural=encoder,
        compressed=compressed,
        bm25=lucene,
        missing=missing,
    )


def encodes(plan: Plan) -> bool:
    """Whether a plan encodes texts of its own collection."""
    return any(stage.dataset == plan.dataset for stage in plan.of("passages", "dual_encoder", "query_encoder"))


def _compressed(
    plan: Plan, dim: int, searches: Sequence[tuple[int, int]], rows: int, missing: list[str]
) -> dict[str, Compressed]:
    """Every index other than Flat. Those that could not be measured are added to `missing`."""
    measured = {}
    factories = dict.fromkeys(stage.settings["factory"] for stage in plan.of("index"))
    for factory in factories.keys() - {"Flat"}:
        found = index.compressed(factory, dim, searches, rows)
        if found is None:
            missing.append(f"index {factory}: FAISS needs more training vectors than a probe has")
        else:
            measured[factory] = found
    return measured


def _bm25(plan: Plan, lengths: Lengths, folder: Path, count: int, missing: list[str]) -> Bm25 | None:
    """Lucene, if the plan uses it. If it could not be measured, the reason is added to `missing`."""
    if not plan.of("bm25_index"):
        return None
    try:
        return bm25.bm25(plan, lengths, folder, count)
    except (HardnegError, ImportError) as fault:
        missing.append(f"BM25: {str(fault).splitlines()[0]}")
        return None
