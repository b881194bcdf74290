"""Reading, writing and scoring runs."""

from __future__ import annotations

from pathlib import Path

from hardneg.estimate.speeds.clock import timed
from hardneg.planning.plan import Plan


def runs(plan: Plan, folder: Path, queries: int) -> tuple[float, float]:
    """Rows of a run written and read back per second, and queries scored per second."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from hardneg.evaluation.measures import evaluate, parse_measures

    evaluation = plan.config.evaluation
    depth = evaluation.depth
    rng = np.random.default_rng(0)
    table = pa.table(
        {
            "query": np.repeat(np.arange(queries, dtype=np.int32), depth),
            "passage": rng.integers(0, 2**31 - 1, queries * depth, np.int32),
            "rank": np.tile(np.arange(1, depth + 1, dtype=np.int32), queries),
            "score": -np.sort(-rng.random(queries * depth, np.float32)),
        }
    )
    path = folder / "run.parquet"

    def through() -> None:
        pq.write_table(table, path, compression="zstd")
        pq.read_table(path)

    judged = np.arange(queries, dtype=np.int32)
    qrels = pa.table({"query": judged, "passage": judged, "grade": np.ones(queries, np.int32)})
    names = [str(query) for query in judged]
    scored = timed(lambda: evaluate(table, qrels, names, parse_measures(evaluation.measures)))
    return len(table) / timed(through), queries / scored
