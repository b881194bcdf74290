"""Read finished stages into the report's material."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from hardneg import __version__
from hardneg.analysis.examples import examples
from hardneg.evaluation.measures import aggregate, significance_table
from hardneg.evaluation.several import COLLECTIONS
from hardneg.report.about import about, lexical, losses
from hardneg.report.budgets import budget_of
from hardneg.report.material import Compression, Errors, Examples, Material, Movement, Negatives
from hardneg.report.text import main_split
from hardneg.stages.artifacts import Artifact, cost_of, library_versions, read_cost

SYSTEMS = ["system", "retriever", "starts_from", "trains", "source", "filter", "sampler", "loss", "batch", "refresh"]
SYSTEMS += ["index"]
COSTS = ["stage", "system", "version", "seconds", "devices", "device", "peak_memory_mib"]
TRAINING_COSTS = ["system", "starts_from", "seconds", "devices", "device_hours", "whole_seconds", "whole_device_hours"]
TRAINING_COSTS += ["queries", "encoded", "whole_queries", "whole_encoded"]
# Stages that all systems share.
PREPARATION = ("download", "collection", "tokenizer", "tokens")


def gather(summary: Mapping[str, Any], folder: Path) -> Material:
    """Read everything that the report shows.

    Args:
        summary: the summary of the plan (`hardneg.report.brief.brief`).
        folder: the folder with `measures.csv`, `significance.csv` and `per_query.parquet`, written by
            `hardneg.report.summary.summarise`.
    """
    asked, measures = summary["analyses"], pd.read_csv(folder / "measures.csv")
    per_query = pq.read_table(folder / "per_query.parquet").to_pandas()
    collection = Artifact.open(summary["collection"])
    counts = {"passages": collection.facts["passages"]}
    for split, kinds in collection.facts["splits"].items():
        counts |= {f"{split} {kind}": count for kind, count in kinds.items()}
    stages = [_stage(entry) for entry in summary["stages"]]
    costs = pd.DataFrame([cost for stage in stages for cost in stage["costs"]], columns=COSTS)
    systems = pd.DataFrame(summary["systems"], columns=SYSTEMS)
    named = [
        (system, baseline) for baseline in summary["baselines"] for system in systems["system"] if system != baseline
    ]
    training = _training_costs(summary, stages, systems)
    return Material(
        dataset=summary["dataset"],
        main_measure=summary["main_measure"],
        split=main_split(measures),
        analysis_split=asked["split"],
        collection=counts,
        relevant_grade=summary["relevant_grade"],
        systems=systems,
        measures=measures,
        per_query=per_query,
        significance=pd.read_csv(folder / "significance.csv"),
        marks=significance_table(per_query, named),
        costs=costs,
        training_costs=training,
        speed_baseline=asked["speed_baseline"],
        stages=[{key: value for key, value in stage.items() if key not in ("costs", "made")} for stage in stages],
        configuration=summary["configuration"],
        targets=_targets(summary),
        about=about(stages, asked["seed"]),
        losses=losses(summary["losses"]),
        lexical=lexical(summary, collection, measures, per_query) if "lexical" in summary["parts"] else None,
        versions={"hardneg": __version__, **library_versions()},
        errors=_errors(summary["errors"], asked["pairwise_errors"]),
        compression=_compression(summary, training, asked),
        trajectory=_tables(summary["trajectory"], "trajectory.parquet", ["system"]),
        trajectory_queries=_tables(summary["trajectory"], "per_query.parquet", ["system"]),
        ablation=_ablation(summary["ablation"]),
        movement=_movement(summary["movement"]),
        negatives=_negatives(summary, asked["negatives"]),
        agreement=_agreement(summary["agreement"], list(systems["system"])),
        seeds=_seeds(summary, measures, asked),
        examples=_examples(summary, collection, per_query),
        collections=pd.read_csv(folder / COLLECTIONS) if summary["collections"] else None,
    )


def _stage(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A stage of the graph with the costs of its jobs. A stage of another study may be gone; it then has no costs."""
    manifest = Path(entry["manifest"])
    kind, (label, _, version) = manifest.parts[-3], manifest.parent.name.rpartition("-")
    costs, made = [], []
    if manifest.exists():
        for path in sorted({cost_of(manifest), *manifest.parent.glob("shard-*.cost.json")}):
            if not path.exists():
                continue
            cost = read_cost(path)
            spent = [cost["seconds"], cost.get("devices", 1), cost.get("device", ""), cost["peak_memory_mib"]]
            costs.append([kind, label, version, *spent])
            made.append(cost)
    seconds = sum(cost[3] for cost in costs) if costs else None
    return {
        "kind": kind,
        "label": label,
        "version": version,
        "seconds": seconds,
        "parents": entry["parents"],
        "costs": costs,
        "made": made,
    }


def _training_costs(
    summary: Mapping[str, Any], stages: Sequence[Mapping[str, Any]], systems: pd.DataFrame
) -> pd.DataFrame:
    """The time of training, mining and encoding for each trained system, alone and with all systems it builds on."""
    places = {entry["manifest"]: place for place, entry in enumerate(summary["stages"])}
    below: list[set[int]] = []  # each stage with all its ancestors; parents come first
    for place, stage in enumerate(stages):
        below.append({place}.union(*(below[parent] for parent in stage["parents"])))
    paid = {place for place, stage in enumerate(stages) if stage["kind"] not in PREPARATION}
    starts, rows = dict(zip(systems["system"], systems["starts_from"], strict=True)), []
    for system in filter(summary["models"].__contains__, systems["system"]):
        manifest = summary["models"][system]
        whole = below[places[manifest]] & paid
        base = summary["models"].get(starts[system])
        own = whole - below[places[base]] if base is not None else whole
        if not own:  # it serves another system's model
            continue
        spent, all_spent = (_spent(stages, chosen) for chosen in (own, whole))
        budgets = [
            number
            for chosen in (own, whole)
            for number in budget_of(Path(summary["stages"][place]["manifest"]) for place in sorted(chosen))
        ]
        rows.append((system, starts[system], *spent, all_spent[0], all_spent[2], *budgets))
    return pd.DataFrame(rows, columns=TRAINING_COSTS)


def _spent(stages: Sequence[Mapping[str, Any]], chosen: Iterable[int]) -> tuple[float, int, float]:
    """The total seconds of all jobs, the largest number of devices of a job, and the device-hours."""
    costs = [cost for place in chosen for cost in stages[place]["costs"]]
    hours = sum(cost[3] * max(cost[4], 1) for cost in costs) / 3600
    return sum(cost[3] for cost in costs), max((cost[4] for cost in costs), default=0), hours


def _targets(summary: Mapping[str, Any]) -> pd.DataFrame:
    """The command that reproduces each number."""
    rows = [(f"scores of {system}", manifest) for system, manifest in summary["measures"]]
    rows += [(f"pairwise errors of {system}", manifest) for system, manifest in summary["errors"]]
    rows += [(f"negatives of {system}", manifest) for system, manifest in summary["diagnosis"]]
    rows += [(f"training curve of {system}", manifest) for system, manifest in summary["trajectory"]]
    rows += [(f"{cell['system']} served on {cell['served_on']}", cell["measure"]) for cell in summary["compression"]]
    rows += [(f"{system} with seed {seed}", manifest) for system, seed, manifest in summary["seeds"]]
    rows += [
        (f"scores of {system} on {entry['dataset']}", manifest)
        for entry in summary["collections"]
        for system, manifest in entry["measures"]
        if entry["dataset"] != summary["dataset"]
    ]
    rows += [(what, summary[what]) for what in ("agreement", "movement") if summary[what]]
    return pd.DataFrame([(what, reproducing(manifest)) for what, manifest in rows], columns=["what", "command"])


def reproducing(manifest: str) -> str:
    """The command that makes a stage, with the report's configuration in `this.yaml`."""
    return f"hardneg run this.yaml {manifest}"


def _table(manifest: str, name: str) -> pd.DataFrame:
    return pq.read_table(Artifact.open(manifest).path(name)).to_pandas()


def _tables(listed: Sequence[Sequence[Any]], name: str, columns: Sequence[str]) -> pd.DataFrame | None:
    """Concatenate a table of several stages, each prefixed with columns that identify the stage."""
    frames = []
    for *values, manifest in listed:
        frame = _table(manifest, name)
        for place, (column, value) in enumerate(zip(columns, values, strict=True)):
            frame.insert(place, column, value)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True) if frames else None


def _errors(listed: Sequence[Sequence[str]], asked: Mapping[str, Any] | None) -> Errors | None:
    rows = _tables(listed, "errors.parquet", ["system"])
    return Errors(asked["k"], asked["hard"], rows) if asked is not None and rows is not None else None


def _compression(summary: Mapping[str, Any], training: pd.DataFrame, asked: Mapping[str, Any]) -> Compression | None:
    if not summary["compression"]:
        return None
    base, main, cells, sizes = asked["compression"]["base"], summary["main_measure"], [], {}
    for cell in summary["compression"]:
        measured = Artifact.open(cell["measure"])
        for split in _scored_splits(measured):
            scores = aggregate(pq.read_table(measured.path(f"measures.{split}.parquet")).to_pandas())
            for measure, value in scores.itertuples(index=False):
                cells.append((cell["system"], cell["trained_on"] or "", cell["served_on"], split, measure, value))
        sizes[cell["served_on"]] = Artifact.open(cell["index"]).facts
    columns = ["system", "trained_on", "served_on", "split", "measure", "value"]
    table = pd.DataFrame(cells, columns=columns)
    shown = table[(table["split"] == asked["split"]) & (table["measure"] == main)]
    own = shown[shown["trained_on"] == shown["served_on"]].set_index("served_on")
    quality = shown[shown["trained_on"] == ""].set_index("served_on")["value"]
    seconds = training.set_index("system")["seconds"]
    indexes = [
        (
            index,
            facts["bytes"] / 2**20,
            facts["code_bytes"],
            quality[index],
            own.loc[index, "system"],
            seconds[own.loc[index, "system"]],
            own.loc[index, "value"],
        )
        for index, facts in sizes.items()
    ]
    named = ["index", "mib", "bytes_a_vector", "quality", "system", "seconds", "value"]
    return Compression(base, table, pd.DataFrame(indexes, columns=named))


def _scored_splits(measured: Artifact) -> list[str]:
    names = sorted(measured.manifest["files"])
    return [name.removeprefix("measures.").removesuffix(".parquet") for name in names if name.startswith("measures.")]


def _ablation(rows: Sequence[Sequence[str]]) -> pd.DataFrame | None:
    return pd.DataFrame(rows, columns=["base", "variant", "system"]) if rows else None


def _movement(manifest: str | None) -> Movement | None:
    if manifest is None:
        return None
    stage = Artifact.open(manifest)
    facts = stage.facts
    return Movement(
        stage.manifest["label"],
        facts["text"],
        facts["rank_before"],
        facts["rank_after"],
        _table(manifest, "movement.parquet"),
    )


def _negatives(summary: Mapping[str, Any], asked: Mapping[str, Any] | None) -> Negatives | None:
    if asked is None or not summary["diagnosis"]:
        return None
    columns = ["mined_hits", "mined_judged_positives", "candidates", "likely_false_share"]
    columns += ["in_batch_pairs", "in_batch_judged"]
    rows, tables = [], []
    for system, manifest in summary["diagnosis"]:
        stage = Artifact.open(manifest)
        about = [stage.facts.get("mined"), stage.manifest["parents"].get("run"), _lag(summary["renewed"].get(system))]
        rows.append([system, *about, *(stage.facts.get(column) for column in columns)])
        if "by_rank.parquet" in stage.manifest["files"]:
            tables.append([system, manifest])
    by_rank = _tables(tables, "by_rank.parquet", ["system"])
    named = ["system", "mined", "ranking", "lag", *columns]
    return Negatives(
        asked["teacher"],
        pd.DataFrame(rows, columns=named),
        by_rank if by_rank is not None else pd.DataFrame({"system": []}),
    )


def _lag(trainings: Sequence[str] | None) -> int | None:
    """The most steps between two rankings; None if candidates are no ranking."""
    if trainings is None:
        return None
    return max((Artifact.open(manifest).facts["steps"] for manifest in trainings), default=0)


def _agreement(manifest: str | None, order: Sequence[str]) -> pd.DataFrame | None:
    if manifest is None:
        return None
    found = _table(manifest, "agreement.parquet")
    return found.iloc[found["system"].map(order.index).argsort(kind="stable")].reset_index(drop=True)


def _seeds(summary: Mapping[str, Any], measures: pd.DataFrame, asked: Mapping[str, Any]) -> pd.DataFrame | None:
    if not summary["seeds"]:
        return None
    again = {system for system, _, _ in summary["seeds"]}
    frames = [measures[measures["system"].isin(again)].assign(seed=asked["seed"])]
    for system, seed, manifest in summary["seeds"]:
        measured = Artifact.open(manifest)
        for split in _scored_splits(measured):
            scores = aggregate(pq.read_table(measured.path(f"measures.{split}.parquet")).to_pandas())
            frames.append(scores.assign(system=system, seed=seed, split=split))
    return pd.concat(frames, ignore_index=True)[["system", "seed", "split", "measure", "value"]]


def _examples(summary: Mapping[str, Any], collection: Artifact, per_query: pd.DataFrame) -> Examples | None:
    asked, systems = summary["analyses"]["examples"], summary["systems"]
    if asked is None or summary["analyses"]["windows"] or len(systems) < 2:
        return None
    names = [row["system"] for row in systems]
    chosen = asked["system"] or names[-1]
    start = next(row["starts_from"] for row in systems if row["system"] == chosen)
    baseline = asked["baseline"] or (start if start in names else next(name for name in names if name != chosen))
    split = main_split(per_query)
    scored = per_query[(per_query["split"] == split) & (per_query["measure"] == summary["main_measure"])]
    runs = {name: Artifact.open(summary["runs"][name]) for name in names}
    content = examples(
        collection,
        split,
        scored,
        runs,
        chosen=chosen,
        baseline=baseline,
        count=asked["count"],
        relevant_grade=summary["relevant_grade"][split],
    )
    return Examples(chosen, baseline, content)
