"""What the report's first screen and training curves are read from: when, where and by what it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from hardneg.evaluation.measure_names import lower_is_better
from hardneg.report.material import Lexical
from hardneg.report.text import by_system, main_split
from hardneg.stages.artifacts import Artifact
from hardneg.stages.release import commit, release

POINTS = 200
"""At most so many points of a training curve are drawn; each is a mean of neighbours."""


def about(stages: Sequence[Mapping[str, Any]], seed: int) -> dict[str, str]:
    """When the last stage was finished, the seed, the code that wrote the report, and the machines of the stages.

    Args:
        stages: each with `made`, the contents of its `cost.json` files.
        seed: the configuration's.
    """
    made = [cost for stage in stages for cost in stage["made"]]
    finished = max((str(cost["finished"]) for cost in made if "finished" in cost), default="")
    machines: dict[str, None] = {}
    for cost in made:
        cores = f", {cost['cores']} cores" if "cores" in cost else ""
        machines.setdefault(f"{cost['device']}{cores}" if cost.get("device") else "unknown")
    hosts = {cost["host"] for cost in made if "host" in cost}
    on = f" ({len(hosts)} machines)" if len(hosts) > 1 else ""
    return {
        "date": finished[:16].replace("T", " ") + " UTC" if finished else "unknown",
        "seed": str(seed),
        "commit": commit() or f"none (installed {release()})",
        "machine": "; ".join(machines) + on if machines else "unknown",
    }


def losses(listed: Sequence[Sequence[str]]) -> pd.DataFrame | None:
    """The logged losses of each training, at most `POINTS` rows a system.

    Args:
        listed: the system, and the manifest of its training.

    Returns:
        system, step, loss; None if nothing was trained.
    """
    frames = []
    for system, manifest in listed:
        rows = pd.read_csv(Artifact.open(manifest).path("loss.csv"))
        together = rows.groupby(pd.RangeIndex(len(rows)) // max(1, -(-len(rows) // POINTS)))
        frames.append(together[["step", "loss"]].mean().assign(system=system))
    return pd.concat(frames, ignore_index=True)[["system", "step", "loss"]] if frames else None


def lexical(
    summary: Mapping[str, Any], collection: Artifact, measures: pd.DataFrame, per_query: pd.DataFrame
) -> Lexical:
    """The queries on which BM25 is better than the best other system, by the main measure.

    Args:
        summary: the summary of the plan.
        collection: the prepared collection.
        measures: the means.
        per_query: the values.
    """
    main, split = summary["main_measure"], main_split(measures)
    sign = -1 if lower_is_better(main) else 1
    bm25 = next(row["system"] for row in summary["systems"] if row["retriever"] == "bm25")
    means = by_system(measures, split)[main].drop(bm25)
    best = str((sign * means).idxmax())
    chosen = per_query[(per_query["split"] == split) & (per_query["measure"] == main)]
    values = chosen.pivot(index="query_id", columns="system", values="value")[[bm25, best]].dropna()
    gain = sign * (values[bm25] - values[best])
    queries = pq.read_table(collection.path(f"queries.{split}.parquet"), columns=["query_id", "text"]).to_pandas()
    texts = queries.set_index("query_id")["text"].reindex(gain.index)
    words = texts.str.split().str.len()
    won = gain[gain > 0].sort_values(ascending=False, kind="stable")
    rows = pd.DataFrame({"text": texts, "bm25": values[bm25], "other": values[best], "difference": gain}).loc[won.index]
    return Lexical(
        bm25,
        best,
        queries=len(gain),
        lost=int((gain < 0).sum()),
        words_won=float(words[gain > 0].mean()),
        words_lost=float(words[gain < 0].mean()),
        rows=rows.rename_axis("query_id").reset_index(),
    )
