"""What people look at: one table of all systems' scores, their comparison, and links to the runs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hardneg import __version__
from hardneg.artifacts import Artifact, atomic_path, cost_of, library_versions
from hardneg.measures import aggregate, significance_table
from hardneg.report import measures_text, write_report


def summarise(systems: Mapping[str, Path], pairs: Sequence[tuple[str, str]], main_measure: str, output: Path) -> None:
    """Write `measures.csv` (system, split, measure, value) and what goes beside it.

    That is `per_query.parquet`, `significance.csv`, `measures.txt`, and `runs/<system>.<split>.trec` as links into the
    artifacts.

    Args:
        systems: the manifest of each system's measure stage, in the order to show.
        pairs: systems and the baselines they are compared with.
        main_measure: shown first.
        output: `measures.csv`.
    """
    folder, frames = output.parent, []
    runs = folder / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    links = {}
    for system, manifest in systems.items():
        stage = Artifact.open(manifest)
        for name in sorted(stage.manifest["files"]):
            split = name.removeprefix("measures.").rsplit(".", 1)[0]
            if name.endswith(".trec"):
                links[f"{system}.{split}.trec"] = stage.path(name)
            else:
                frames.append(pq.read_table(stage.path(name)).to_pandas().assign(system=system, split=split))
    per_query = pd.concat(frames, ignore_index=True)[["system", "split", "query_id", "measure", "value"]]
    main_first = per_query["measure"].ne(main_measure)
    per_query = per_query.iloc[main_first.argsort(kind="stable")].reset_index(drop=True)
    measures = aggregate(per_query)
    with atomic_path(folder / "per_query.parquet") as temporary:
        pq.write_table(pa.Table.from_pandas(per_query, preserve_index=False), temporary, compression="zstd")
    _write_csv(significance_table(per_query, pairs), folder / "significance.csv")
    _link_runs(runs, links)
    with atomic_path(folder / "measures.txt") as temporary:
        tables = [measures_text(measures, split) for split in measures["split"].unique()]
        temporary.write_text("\n\n".join(tables) + "\n", encoding="utf-8")
    _write_csv(measures, output)


def report(summary: Mapping[str, Any], measures: Path, output: Path) -> None:
    """Write `report.html` from `measures.csv`, `significance.csv` and the stages' manifests and costs.

    Args:
        summary: what the plan says: `dataset`, `collection` (its manifest), `stages` (manifests in the order of the
            flow), `systems` (rows on how each was made), `relevant_grade`, `command`.
        measures: `measures.csv`.
        output: `report.html`.
    """
    costs = [row for manifest in summary["stages"] for row in _costs(Path(manifest))]
    columns = ["stage", "system", "version", "seconds", "device", "peak_memory_mib"]
    facts = Artifact.open(summary["collection"]).facts
    shown: dict[str, object] = {"passages": facts["passages"]}
    for split, counts in facts["splits"].items():
        shown |= {f"{split} {kind}": count for kind, count in counts.items()}
    write_report(
        output,
        summary["dataset"],
        pd.read_csv(measures),
        pd.read_csv(measures.with_name("significance.csv")),
        pd.DataFrame(costs, columns=columns),
        summary["systems"],
        {
            "collection": shown,
            "relevant_grade": summary["relevant_grade"],
            "command": summary["command"],
            "versions": {"hardneg": __version__, **library_versions()},
        },
    )


def _costs(manifest: Path) -> list[tuple[object, ...]]:
    if not manifest.exists():  # of another study, and removed since
        return []
    content = json.loads(manifest.read_text(encoding="utf-8"))
    rows: list[tuple[object, ...]] = []
    for path in sorted({cost_of(manifest), *manifest.parent.glob("shard-*.cost.json")}):
        cost = json.loads(path.read_text(encoding="utf-8"))
        rows.append(
            (
                content["kind"],
                content["label"],
                content["version"],
                cost["seconds"],
                cost.get("device", ""),
                cost["peak_memory_mib"],
            )
        )
    return rows


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


def _link_runs(runs: Path, links: Mapping[str, Path]) -> None:
    for old in runs.iterdir():
        if old.name not in links:
            old.unlink()
    for name, target in links.items():
        link = runs / name
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(target, runs))
