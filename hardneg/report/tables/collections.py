"""Effectiveness on several collections, with the mean over them."""

from __future__ import annotations

import pandas as pd

from hardneg.config.elsewhere import MEAN
from hardneg.evaluation.measure_names import lower_is_better
from hardneg.evaluation.several import COLLECTIONS
from hardneg.report.content import LOWER, Content
from hardneg.report.material import Material


def collections(material: Material, found: pd.DataFrame) -> Content:
    """The main measure on each collection, and the mean over collections of every measure."""
    main = material.main_measure
    table = pd.DataFrame({"system": found["system"].unique()})
    for collection in found["collection"].unique():
        for measure in found["measure"].unique() if collection == MEAN else [main]:
            rows = found[(found["collection"] == collection) & (found["measure"] == measure)]
            name = f"{collection} {measure}{LOWER if lower_is_better(measure) else ''}"
            table[name] = table["system"].map(rows.set_index("system")["value"])
    counts = found[found["collection"] != MEAN].drop_duplicates(["collection", "split"])
    each = "; ".join(f"{row.collection}: {row.queries:,} of {row.split}" for row in counts.itertuples())
    left = [system for system in material.systems["system"] if system not in set(table["system"])]
    without = f" Not among them: {', '.join(left)}, made for this collection alone." if left else ""
    means = found[(found["collection"] == MEAN) & (found["measure"] == main)].set_index("system")["value"]
    best = str(means.idxmin() if lower_is_better(main) else means.idxmax())
    given = set(counts["collection"]) & {material.dataset, *material.measures["split"]}
    own = f" Of the study's own collection: {', '.join(sorted(given))}." if given else ""
    return {
        "caption": f"Every system as it is, on each collection.{own} Queries: {each}. The mean is the plain mean over "
        f"collections: each weighs the same, however many queries it has. {COLLECTIONS} has all measures.{without}",
        "here": f"{best} has the best mean {main} over {len(counts)} collections, {means[best]:.4f} (untested).",
        "table": table,
        "digits": {str(name): 4 for name in table.columns if name != "system"},
    }
