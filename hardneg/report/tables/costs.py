"""Table 4 (training time), and the cost of every stage."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from hardneg.report.claims.kinds import of_kind
from hardneg.report.claims.reaching import seconds_to_reach
from hardneg.report.claims.values import measured, scores
from hardneg.report.claims.verdicts import Claim, verdict
from hardneg.report.content import Content
from hardneg.report.material import Material


def table4(material: Material) -> Content:
    """Training time of each system, alone and with the systems it builds on, and the speed-up over the baseline."""
    costs = material.training_costs
    in_hours = costs["whole_seconds"].max() >= 7200
    unit, size = ("hours", 3600) if in_hours else ("seconds", 1)
    table = pd.DataFrame(
        {
            "system": costs["system"],
            "starts from": costs["starts_from"].fillna(""),
            "devices": costs["devices"],
            unit: costs["seconds"] / size,
            "device-hours": costs["device_hours"],
            f"total {unit}": costs["whole_seconds"] / size,
            "total device-hours": costs["whole_device_hours"],
            "queries met": costs["queries"],
            "passages encoded": costs["encoded"],
            "device-seconds": 3600 * costs["device_hours"],
        }
    )
    against = "No speed baseline is set (analyses.speed_baseline)."
    claims: list[Claim] = []
    baseline = material.speed_baseline
    if baseline is not None and baseline in set(costs["system"]):
        own = costs[costs["system"] == baseline].iloc[0]
        for name, column in (("speed-up", "seconds"), ("total speed-up", "whole_seconds")):
            table[name] = own[column] / costs[column].where(costs[column] > 0)
        reached = costs["system"].map(seconds_to_reach(material, baseline))
        table[f"{unit} to its score"] = reached / size
        table["speed-up to its score"] = own["whole_seconds"] / reached
        against = _against(material, baseline)
        claims = [*_faster(material, baseline, table), *_sooner(material, baseline, table, unit)]
    return {
        "caption": f"Training time on {material.dataset} in {unit} and device-hours: training, mining and encoding for "
        f"the system alone, and in total with all systems it builds on. Queries met, passages encoded and "
        f"device-seconds: alone. {against}",
        "paper": "On MS MARCO with 11 GB RTX 2080 Ti GPUs: ANCE 645 hours on 4 GPUs, STAR 33 hours on 1 (20x), ADORE 4 "
        "hours on 4 (179x), ADORE+STAR 37 hours on 4 (18x).",
        "here": verdict(
            claims,
            "Each was timed once, at step counts that the configuration chose: the paper's speed-up is of trainings "
            "that converged, which this does not show.",
            "there is no time for both a baseline and a system trained like STAR or ADORE",
        ),
        "table": table,
        "digits": {unit: 1, f"total {unit}": 1, "device-hours": 3, "total device-hours": 3}
        | {"speed-up": 1, "total speed-up": 1, f"{unit} to its score": 1, "speed-up to its score": 1},
    }


def _against(material: Material, baseline: str) -> str:
    """What the columns say that compare with the baseline."""
    return (
        f"Speed-up: the time of {baseline} divided by the system's time, regardless of devices, each at the number of "
        f"steps that the configuration sets. To its score: the total time until the {material.main_measure} on "
        f"{material.analysis_split} of a system, or of what it starts from, is first that of {baseline} at its end; "
        "missing where it never is. It is known at the end of a training, and during those that analyses.trajectory "
        "follows."
    )


def _faster(material: Material, baseline: str, table: pd.DataFrame) -> Iterator[Claim]:
    """Whether each system trained like STAR or ADORE takes less time than the baseline, at the steps of both."""
    means = scores(material).groupby("system")["value"].mean()
    for row in table[table["system"].isin(of_kind(material, "STAR", "ADORE"))].to_dict("records"):
        text = f"{row['system']} {row['speed-up']:.3g}x alone, {row['total speed-up']:.3g}x in total"
        if {row["system"], baseline} <= set(means.index):
            text += f" ({material.main_measure} {means[row['system']]:.4f} against {means[baseline]:.4f})"
        refuted = "a system trained like STAR or ADORE takes as long as the baseline, alone or in total"
        yield Claim(row["speed-up"] > 1 and row["total speed-up"] > 1, text, refuted)


def _sooner(material: Material, baseline: str, table: pd.DataFrame, unit: str) -> Iterator[Claim]:
    """Whether a training like STAR's or ADORE's reaches the baseline's score after less time than the baseline took.

    Where what a system starts from has the score already, its own training has not reached it.
    """
    values = measured(material, material.analysis_split, material.main_measure)
    trained = table[table["system"].isin(of_kind(material, "STAR", "ADORE"))]
    if baseline not in values or not len(trained):
        return
    what = f"{baseline}'s {material.main_measure} on {material.analysis_split}, {values[baseline]:.4f}"
    refuted = "none of them has the baseline's score in less time"
    having = table.dropna(subset=["speed-up to its score"])
    ours = having[having["system"].isin(trained["system"])]
    reaching = ours[~ours["starts from"].isin(having["system"])]
    if not len(reaching):
        found = f"each that has {what}, starts from a system that has it" if len(ours) else f"none reaches {what}"
        yield Claim(False, found, refuted)
        return
    first = max(reaching.to_dict("records"), key=lambda row: float(row["speed-up to its score"]))
    after = f"{first[f'{unit} to its score']:,.1f} {unit} in total, {first['speed-up to its score']:.3g}x"
    yield Claim(first["speed-up to its score"] > 1, f"{first['system']} reaches {what}, after {after}", refuted)


def stages_cost(material: Material) -> Content:
    """The cost of every stage and shard."""
    names = {"peak_memory_mib": "peak memory, MiB"}
    total, hours = material.costs["seconds"].sum(), (material.costs["seconds"] * material.costs["devices"]).sum() / 3600
    slowest = material.costs.groupby("stage", sort=False)["seconds"].sum()
    most = (
        f" The most expensive kind of stage was {slowest.idxmax()}: {slowest.max():,.1f} seconds."
        if len(slowest)
        else ""
    )
    return {
        "caption": f"The cost of each finished stage or shard on {material.dataset}: wall-clock seconds, devices held "
        "(accelerators, or the CPU), peak memory of the process. Stages without a system are shared.",
        "here": f"In total {total:,.1f} seconds and {hours:,.2f} device-hours.{most}",
        "table": material.costs.fillna({"system": ""}).rename(columns=names),
        "digits": {"seconds": 1, "peak memory, MiB": 0},
    }
