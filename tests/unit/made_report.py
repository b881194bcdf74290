"""A report's material with every part filled, for the tests. The numbers come from a seed and are consistent.

One judged passage a query; a system places it at a rank drawn from its own distribution, and effectiveness and errors
follow from those ranks.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hardneg.evaluation.measures import aggregate, significance_table
from hardneg.evaluation.several import over_collections
from hardneg.report.gather import SYSTEMS, TRAINING_COSTS
from hardneg.report.items import ITEMS
from hardneg.report.material import Compression, Errors, Examples, Item, Lexical, Material, Movement, Negatives

K, HARD, PASSAGES = 200, 1000, 25_372
PARTS = {
    "errors",
    "compression",
    "trajectory",
    "ablation",
    "movement",
    "negatives",
    "agreement",
    "seeds",
    "examples",
    "losses",
    "lexical",
    "collections",
}

_BOTH, _QUERY = "both encoders", "query encoder"
_COLUMNS = ["system", "starts_from", "trains", "source", "sampler", "loss", "batch", "refresh", "index"]
_SYSTEMS = [
    ("bm25", "", "nothing", "", "", "", "", "", ""),
    ("inbatch", "", _BOTH, "none", "uniform", "softmax", "in_batch", "never", "Flat"),
    ("rand", "", _BOTH, "random", "uniform", "ranknet", "shared", "never", "Flat"),
    ("bm25neg", "", _BOTH, "run (bm25)", "uniform", "ranknet", "own", "never", "Flat"),
    ("ance", "bm25neg", _BOTH, "self", "uniform", "ranknet", "own", "rounds", "Flat"),
    ("star", "bm25neg", _BOTH, "run (bm25neg)", "uniform", "ranknet", "in_batch", "never", "Flat"),
    ("adore_inbatch", "inbatch", _QUERY, "live", "all", "lambda_ranknet", "", "every_step", "Flat"),
    ("adore_rand", "rand", _QUERY, "live", "all", "lambda_ranknet", "", "every_step", "Flat"),
    ("adore_bm25neg", "bm25neg", _QUERY, "live", "all", "lambda_ranknet", "", "every_step", "Flat"),
    ("adore_star", "star", _QUERY, "live", "all", "lambda_ranknet", "", "every_step", "Flat"),
    ("live_bm25neg", "bm25neg", _QUERY, "live", "all", "list_ranknet", "", "every_step", "Flat"),
    ("live_star", "star", _QUERY, "live", "all", "list_ranknet", "", "every_step", "Flat"),
    ("static_bm25neg", "bm25neg", _QUERY, "run (bm25neg)", "all", "ranknet", "own", "rounds", "Flat"),
    ("random_bm25neg", "bm25neg", _QUERY, "random", "uniform", "ranknet", "shared", "never", "Flat"),
    ("adore_pq8", "bm25neg", _QUERY, "live", "all", "lambda_ranknet", "", "every_step", "PQ8"),
]
# Of the logarithm of the rank: few errors in all come with a narrow spread, few at the top with a low centre.
_RANKS = {
    "bm25": (1.6, 3.2),
    "inbatch": (1.7, 2.2),
    "rand": (1.6, 2.15),
    "bm25neg": (1.2, 3.1),
    "ance": (0.8, 2.9),
    "star": (0.7, 2.7),
    "adore_inbatch": (1.4, 2.2),
    "adore_rand": (1.2, 2.3),
    "adore_bm25neg": (0.9, 2.95),
    "adore_star": (0.4, 2.65),
    "live_bm25neg": (1.0, 3.0),
    "live_star": (0.5, 2.65),
    "static_bm25neg": (1.3, 3.1),
    "random_bm25neg": (1.2, 2.9),
    "adore_pq8": (1.0, 3.0),
}


def ranks(queries: int, seed: int) -> dict[str, npt.NDArray[np.int64]]:
    """The rank of each query's judged passage by system."""
    generator = np.random.default_rng(seed)
    difficulty = generator.standard_normal(queries)
    found = {}
    for system, (centre, spread) in _RANKS.items():
        own = 0.9 * difficulty + 0.44 * generator.standard_normal(queries)
        found[system] = np.exp(np.clip(centre + spread * own, 0, np.log(PASSAGES))).astype(np.int64)
    return found


@cache
def made_material(queries: int = 150, seed: int = 13, resamples: int = 200) -> Material:
    """Everything filled; `queries` a split. The same object for the same arguments: do not change its tables."""
    systems = pd.DataFrame(_SYSTEMS, columns=_COLUMNS)
    systems = systems.assign(retriever=systems["system"].map(lambda name: "bm25" if name == "bm25" else "dense"))
    systems = systems.assign(filter="").reindex(columns=SYSTEMS)
    dev, test = ranks(queries, seed), ranks(queries, seed + 1)
    per_query = _per_query({"dev": dev, "test": test})
    pairs = [(name, base) for name, start, *_ in _SYSTEMS for base in ("bm25", start) if base and name != base]
    named = [(name, base) for name, *_ in _SYSTEMS for base in ("bm25", "bm25neg") if name != base]
    main = aggregate(per_query).query("split == 'dev' and measure == 'MRR@10'").set_index("system")["value"]
    costs, stages = _costs(systems)
    return Material(
        dataset="pydocs",
        main_measure="MRR@10",
        split="test",
        analysis_split="dev",
        collection={"passages": PASSAGES, "train queries": 22_105, "dev queries": queries, "test queries": queries},
        relevant_grade={"dev": 1, "test": 1},
        systems=systems,
        measures=aggregate(per_query),
        per_query=per_query,
        significance=significance_table(per_query, pairs, resamples),
        marks=significance_table(per_query, named, resamples),
        costs=costs,
        training_costs=_training_costs(),
        speed_baseline="ance",
        stages=stages,
        configuration="dataset: pydocs\nseed: 13\nsystems:\n  star:\n    preset: star\n    from: bm25neg\n",
        targets=pd.DataFrame(
            [
                ("effectiveness of every system", "hardneg run this.yaml evaluate"),
                ("this report", "hardneg run this.yaml report"),
            ],
            columns=["what", "command"],
        ),
        versions={"hardneg": "0.1.0", "Python": "3.11.7", "numpy": "2.4.6", "torch": "2.13.0"},
        errors=_errors(dev),
        compression=_compression(main),
        trajectory=_trajectory(seed),
        trajectory_queries=by_query(_trajectory(seed)),
        ablation=pd.DataFrame(
            [
                ("bm25neg", "static", "static_bm25neg"),
                ("bm25neg", "dynamic", "live_bm25neg"),
                ("bm25neg", "dynamic + lambda", "adore_bm25neg"),
                ("star", "dynamic", "live_star"),
                ("star", "dynamic + lambda", "adore_star"),
            ],
            columns=["base", "variant", "system"],
        ),
        movement=_movement(seed),
        negatives=_negatives(),
        agreement=_agreement(dev),
        seeds=_seeds(per_query, seed),
        examples=Examples("adore_star", "star", _examples(dev, per_query)),
        collections=_collections(per_query),
        losses=_losses(),
        lexical=_lexical(per_query),
        about={"date": "2026-11-25 12:00 UTC", "seed": "13", "commit": "0123456", "machine": "a processor, 2 cores"},
    )


def _collections(per_query: pd.DataFrame) -> pd.DataFrame:
    """The two splits as if they were two collections."""
    return over_collections(
        [
            (f"pydocs_{split}", str(split), str(system), rows)
            for (split, system), rows in per_query.groupby(["split", "system"], sort=False)
        ]
    )


def _losses() -> pd.DataFrame:
    """Each training's loss halves every hundred steps, from its own scale."""
    trained = [name for name, *_ in _SYSTEMS if name != "bm25"]
    rows = [
        (name, step, (place + 1) * 0.5 ** (step / 100))
        for place, name in enumerate(trained)
        for step in range(0, 400, 20)
    ]
    return pd.DataFrame(rows, columns=["system", "step", "loss"])


def _lexical(per_query: pd.DataFrame) -> Lexical:
    rows = per_query[(per_query["split"] == "test") & (per_query["measure"] == "MRR@10")]
    values = rows.pivot(index="query_id", columns="system", values="value")
    best = str(values.drop(columns="bm25").mean().idxmax())
    gain = (values["bm25"] - values[best]).sort_values(ascending=False, kind="stable")
    won = gain[gain > 0].index
    table = pd.DataFrame({"text": [f"the text of {name}" for name in won], "bm25": values["bm25"][won].to_numpy()})
    table = table.assign(other=values[best][won].to_numpy(), difference=gain[won].to_numpy())
    table.insert(0, "query_id", won)
    return Lexical("bm25", best, len(gain), int((gain < 0).sum()), 4.0, 4.5, table)


def _per_query(found: dict[str, dict[str, npt.NDArray[np.int64]]]) -> pd.DataFrame:
    frames = []
    for measure in ("MRR@10", "nDCG@10", "R@100"):
        for split, by_system in found.items():
            for system, rank in by_system.items():
                value = {
                    "MRR@10": np.where(rank <= 10, 1 / rank, 0.0),
                    "nDCG@10": np.where(rank <= 10, 1 / np.log2(rank + 1), 0.0),
                    "R@100": (rank <= 100).astype(np.float64),
                }[measure]
                names = [f"{split}{number}" for number in range(len(rank))]
                frames.append(
                    pd.DataFrame({"query_id": names, "value": value}).assign(
                        system=system, split=split, measure=measure
                    )
                )
    return pd.concat(frames, ignore_index=True)[["system", "split", "query_id", "measure", "value"]]


def _errors(found: dict[str, npt.NDArray[np.int64]]) -> Errors:
    frames = [
        pd.DataFrame(
            {
                "system": system,
                "query": np.arange(len(rank)),
                "passage": np.arange(len(rank)),
                "errors": rank - 1,
                "top_k": np.minimum(rank - 1, K),
            }
        )
        for system, rank in found.items()
        if system != "bm25"
    ]
    return Errors(K, HARD, pd.concat(frames, ignore_index=True))


def _compression(main: pd.Series) -> Compression:
    quality = {"Flat": 1.0, "PQ32": 0.97, "PQ16": 0.93, "PQ8": 0.8}
    trained = {"Flat": "adore_bm25neg", "PQ32": "adore_pq32", "PQ16": "adore_pq16", "PQ8": "adore_pq8"}
    cells = []
    for split in ("dev", "test"):
        for served, share in quality.items():
            cells.append(("bm25neg", "", served, split, "MRR@10", float(main["bm25neg"]) * share))
            for index, system in trained.items():
                own = 0.03 if index == served else 0.02
                cells.append((system, index, served, split, "MRR@10", (float(main["bm25neg"]) + own) * share))
    columns = ["system", "trained_on", "served_on", "split", "measure", "value"]
    table = pd.DataFrame(cells, columns=columns)
    on_dev = table[table["split"] == "dev"].set_index(["system", "served_on"])["value"]
    indexes = [
        (index, 24.8 / shrink, 1024 // shrink, on_dev["bm25neg", index], system, 50.0, on_dev[system, index])
        for (index, system), shrink in zip(trained.items(), (1, 32, 64, 128), strict=True)
    ]
    names = ["index", "mib", "bytes_a_vector", "quality", "system", "seconds", "value"]
    return Compression("bm25neg", table, pd.DataFrame(indexes, columns=names))


def _trajectory(seed: int) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    rows: list[tuple[str, int, str, float]] = []
    ends = {"adore_bm25neg": 0.06, "live_bm25neg": 0.05, "random_bm25neg": -0.01, "static_bm25neg": -0.03}
    for system, end in ends.items():
        for step in range(0, 301, 25):
            swing = 0.03 * np.sin(step / 16) if system == "static_bm25neg" else 0.003 * generator.standard_normal()
            for measure, start in (("MRR@10", 0.39), ("R@100", 0.83), ("MRR@10, training queries", 0.5)):
                rows.append((system, step, measure, float(start + end * (1 - np.exp(-step / 80)) + swing * (step > 0))))
            if system == "static_bm25neg" and step:
                rows.append((system, step, "overlap@200", float(0.75 * np.exp(-(step % 100) / 40))))
                rows.append((system, step, "best static rank", float(1 + step)))
    return pd.DataFrame(rows, columns=["system", "step", "name", "value"])


def by_query(trajectory: pd.DataFrame, queries: int = 200, spread: float = 0.02, seed: int = 5) -> pd.DataFrame:
    """Values of queries whose means are those of MRR@10 in a trajectory: system, step, query_id, value.

    A query is as hard at every step, and `spread` is the standard deviation of what is left.
    """
    generator = np.random.default_rng(seed)
    hardness = generator.normal(0, 0.2, queries)
    tables = []
    for system, step, value in trajectory[trajectory["name"] == "MRR@10"][["system", "step", "value"]].to_numpy():
        noise = hardness + generator.normal(0, spread, queries)
        table = {
            "system": system,
            "step": step,
            "query_id": map(str, range(queries)),
            "value": value + noise - noise.mean(),
        }
        tables.append(pd.DataFrame(table))
    return pd.concat(tables, ignore_index=True).astype({"step": np.int32})


def _movement(seed: int) -> Movement:
    generator = np.random.default_rng(seed)
    path = np.linspace(0, 1, 13)[:, None] * [6.0, 4.0] + [-3.0, -2.0] + 0.1 * generator.standard_normal((13, 2))
    clouds = {
        "relevant": generator.standard_normal((3, 2)) * 0.4 + [3.6, 2.4],
        "near_before": generator.standard_normal((40, 2)) * 1.2 + [-3.0, -2.0],
        "near_after": generator.standard_normal((40, 2)) * 1.2 + [3.0, 2.0],
    }
    frames = [pd.DataFrame({"kind": "query", "step": np.arange(13) * 25, "x": path[:, 0], "y": path[:, 1]})]
    frames += [
        pd.DataFrame({"kind": kind, "step": -1, "x": points[:, 0], "y": points[:, 1]})
        for kind, points in clouds.items()
    ]
    text = "Return the <first> key of a dictionary & its value, in $order$ of insertion"
    return Movement("adore_bm25neg", text, 37, 2, pd.concat(frames, ignore_index=True))


def _negatives() -> Negatives:
    none: tuple[Any, ...] = (None,) * 7
    systems = [
        ("inbatch", *none, 1_625_600, 912),
        ("rand", *none, None, None),
        ("bm25neg", "bm25", "b", 120, 4_421_000, 16_470, 4_404_530, 0.041, None, None),
        ("star", "bm25neg", "n", 160, 4_421_000, 18_290, 4_402_710, 0.063, 2_611_200, 1_404),
    ]
    columns = [
        "system",
        "mined",
        "ranking",
        "lag",
        "mined_hits",
        "mined_judged_positives",
        "candidates",
        "likely_false_share",
        "in_batch_pairs",
        "in_batch_judged",
    ]
    edges = [(1, 1), (2, 5), (6, 10), (11, 20), (21, 50), (51, 100), (101, 200)]
    rows = []
    for system, top, likely in (("bm25neg", 0.1, 0.4), ("star", 0.05, 0.5)):
        for first, last in edges:
            hits = 22_105 * (last - first + 1)
            judged = int(9_000 / last)
            margin = top - 0.08 * float(np.log(last))
            score = (0.9 + margin - 0.04, 0.9 + margin, 0.9 + margin + 0.05)
            shares = (margin - 0.04, margin, margin + 0.05, likely / last**0.6)
            rows.append((system, first, last, hits - judged, judged, *score, *shares))
    by_rank = [
        "system",
        "first",
        "last",
        "candidates",
        "judged_positives",
        *(f"{what}_{part}" for what in ("score", "margin") for part in ("q25", "median", "q75")),
        "likely_false",
    ]
    return Negatives("star", pd.DataFrame(systems, columns=columns), pd.DataFrame(rows, columns=by_rank))


def _agreement(found: dict[str, npt.NDArray[np.int64]]) -> pd.DataFrame:
    rows = []
    for place, (system, rank) in enumerate(found.items()):
        hits, relevant = 10 * len(rank), int((rank <= 10).sum())
        unjudged = hits - relevant - 20
        rows.append((system, len(rank), hits, relevant, 20, unjudged, unjudged // (2 + place % 3), unjudged / hits))
    columns = ["system", "queries", "hits", "relevant", "judged_not_relevant", "unjudged", "agreed", "hole"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(measured_false_negative_rate=np.linspace(0.04, 0.09, len(table)))


def _seeds(per_query: pd.DataFrame, seed: int) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    table = aggregate(per_query)
    table = table[table["system"].isin(["bm25neg", "star", "adore_star"])]
    again = [
        table.assign(seed=number, value=table["value"] + generator.normal(0, 0.006, len(table))) for number in (1, 2)
    ]
    columns = ["system", "seed", "split", "measure", "value"]
    return pd.concat([table.assign(seed=13), *again], ignore_index=True)[columns]


_KINDS = {
    "bm25": ("bm25_search",),
    _BOTH: ("train", "passages", "queries", "run", "measure"),
    _QUERY: ("adore", "queries", "run", "measure"),
}


def _costs(systems: pd.DataFrame) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """What each stage took, and the stages: prepared first, then those of each system, in a line below its start."""
    stages: list[dict[str, Any]] = []
    rows: list[tuple[Any, ...]] = []
    last: dict[str, int] = {}

    def add(kind: str, label: str, seconds: float | None, parents: list[int]) -> int:
        version = f"{len(stages):012x}"
        known = {"kind": kind, "label": label, "version": version, "seconds": seconds, "parents": parents}
        stages.append(known)
        if seconds is not None:
            system = label if label in set(systems["system"]) else None
            rows.append((kind, system, version, seconds, 0 if kind == "prepare" else 1, "cpu", 900.0 + len(stages)))
        return len(stages) - 1

    collection = add("prepare", "pydocs", 31.4, [])
    tokens = add("tokens", "pydocs", 12.0, [add("tokenizer", "pydocs", 9.0, [collection])])
    bm25_index = add("bm25_index", "pydocs", 14.2, [collection])
    for row in systems.itertuples():
        kinds = _KINDS.get(str(row.trains), ("bm25_search", "measure"))
        parents = [bm25_index] if row.system == "bm25" else [tokens]
        if row.starts_from:
            parents = [last[str(row.starts_from)], tokens]
        for place, kind in enumerate(kinds):
            newest = add(kind, str(row.system), None if kind == "queries" else 8.0 + 3 * place, parents)
            if place == 0:
                last[str(row.system)] = newest
            parents = [newest]
    columns = ["stage", "system", "version", "seconds", "devices", "device", "peak_memory_mib"]
    return pd.DataFrame(rows, columns=columns), stages


def _training_costs() -> pd.DataFrame:
    rows = []
    whole: dict[str, tuple[float, ...]] = {"": (0.0, 0.0, 0.0, 0.0)}
    for name, start, *_ in _SYSTEMS:
        if name == "bm25":
            continue
        seconds, devices = (1290.0, 4) if name == "ance" else (66.0, 1) if not start or name == "star" else (12.0, 2)
        hours = seconds * devices / 3600
        queries, encoded = (10_240.0, 20_480.0) if name != "inbatch" else (20_480.0, 20_480.0)
        own = (seconds, hours, queries, encoded)
        whole[name] = tuple(before + more for before, more in zip(whole[start], own, strict=True))
        rows.append((name, start, seconds, devices, hours, *whole[name][:2], queries, encoded, *whole[name][2:]))
    return pd.DataFrame(rows, columns=TRAINING_COSTS)


def _examples(found: dict[str, npt.NDArray[np.int64]], per_query: pd.DataFrame) -> dict[str, Any]:
    """The 6 queries that change most, as `hardneg.analysis.examples.examples` gives them."""
    moved = np.argsort(found["adore_star"] - found["star"], kind="stable")
    values = per_query[(per_query["split"] == "dev") & (per_query["measure"] == "MRR@10")]
    values = values.pivot(index="query_id", columns="system", values="value")
    passages: dict[str, dict[str, str]] = {}
    queries = []
    for number in map(int, (*moved[:3], *moved[-3:])):
        own = f"p{number}"
        passages[own] = {"title": f"str.split {number}", "text": 'Split a string at "</script><b>" & return a list.'}
        above = {}
        for system in ("adore_star", "star"):
            names = [f"{system}-{number}-{place}" for place in range(min(5, int(found[system][number]) - 1))]
            passages |= {name: {"title": "", "text": f"Passage {name}, about lists"} for name in names}
            above[system] = [{"id": name, "rank": place, "judged": False} for place, name in enumerate(names, start=1)]
        ranked = {system: int(rank[number]) if rank[number] <= 1000 else None for system, rank in found.items()}
        queries.append(
            {
                "query_id": f"dev{number}",
                "text": f"how do I <split> a string? ({number})",
                "values": values.loc[f"dev{number}"].to_dict(),
                "relevant": [{"id": own, "ranks": ranked}],
                "above": above,
            }
        )
    return {"passages": passages, "queries": queries}


def item_of(name: str, material: Material) -> Item:
    """An item of the report."""
    return ITEMS[name](material)


def table(name: str, material: Material) -> pd.DataFrame:
    """The table of an item that has one."""
    found = item_of(name, material).table
    assert found is not None
    return found
