"""Whether runs and vectors computed elsewhere are given where they are needed, and only there."""

from __future__ import annotations

from collections.abc import Iterator

from hardneg.config.config import Config
from hardneg.config.system import System
from hardneg.errors import HardnegError


def problems(at: str, system: System, config: Config) -> Iterator[HardnegError]:
    """Problems of the files of one system, which stands at the key `at`."""
    if system.retriever in ("bm25", "deepct", "dense", "letor", "rerank"):
        if system.runs or system.vectors:
            yield HardnegError(
                "A system that ranks here computes its own rankings and vectors; it takes no files.",
                where=f"{at}.{'runs' if system.runs else 'vectors'}",
                remedy="set `retriever: run` or `retriever: vectors`, or remove the key.",
            )
        return
    vectors = system.vectors.queries if system.vectors is not None else {}
    key, given = ("runs", system.runs) if system.retriever == "run" else ("vectors.queries", vectors)
    lacking = [split for split in config.splits.evaluate if split not in given]
    if lacking:
        yield HardnegError(
            "Files are missing for evaluated splits.",
            where=f"{at}.{key}",
            found=", ".join(given) or "none",
            expected=", ".join(config.splits.evaluate),
            remedy=f"give the file of {', '.join(lacking)}, or remove the split from splits.evaluate.",
        )
