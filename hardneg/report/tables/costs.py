"""Table 4 (training time), and what every stage cost."""

from __future__ import annotations

import pandas as pd

from hardneg.report.claims.kinds import of_kind
from hardneg.report.claims.verdicts import Claim, verdict
from hardneg.report.content import Content
from hardneg.report.material import Material


def table4(material: Material) -> Content:
    """What training took, by itself and with all that it builds on, and how much less than the speed baseline."""
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
            f"whole {unit}": costs["whole_seconds"] / size,
            "whole device-hours": costs["whole_device_hours"],
        }
    )
    baseline = costs[costs["system"] == material.speed_baseline]
    against = "No system is named whose time the others are compared with (analyses.speed_baseline)."
    claims = []
    if len(baseline):
        for name, column in (("speed-up", "seconds"), ("whole speed-up", "whole_seconds")):
            table[name] = baseline[column].iloc[0] / costs[column].where(costs[column] > 0)
        against = f"Speed-up: the time of {material.speed_baseline} over the system's time, whatever the devices."
        for row in table[table["system"].isin(of_kind(material, "STAR", "ADORE"))].to_dict("records"):
            text = (
                f"{row['system']} {row['speed-up']:.3g}x by itself, {row['whole speed-up']:.3g}x with what it builds on"
            )
            claims.append(Claim(row["speed-up"] > 1 and row["whole speed-up"] > 1, text))
    return {
        "caption": f"What training took on {material.dataset} in {unit} and device-hours: training, mining and "
        f"encoding of the system by itself, and whole, with all systems that it builds on. {against}",
        "paper": "On MS MARCO with 11 GB RTX 2080 Ti GPUs: ANCE 645 hours on 4 GPUs, STAR 33 hours on 1 (20x), ADORE 4 "
        "hours on 4 (179x), ADORE+STAR 37 hours on 4 (18x).",
        "here": verdict(
            claims, "Each was timed once.", "there is no time of a baseline and of a system trained as STAR or ADORE"
        ),
        "table": table,
        "digits": {unit: 1, f"whole {unit}": 1, "device-hours": 3, "whole device-hours": 3}
        | {"speed-up": 1, "whole speed-up": 1},
    }


def stages_cost(material: Material) -> Content:
    """What every stage and shard took."""
    names = {"peak_memory_mib": "peak memory, MiB"}
    total, hours = material.costs["seconds"].sum(), (material.costs["seconds"] * material.costs["devices"]).sum() / 3600
    slowest = material.costs.groupby("stage", sort=False)["seconds"].sum()
    most = f" Most went to {slowest.idxmax()}: {slowest.max():,.1f} seconds." if len(slowest) else ""
    return {
        "caption": f"What each finished stage or shard took on {material.dataset}: seconds by the clock, accelerators "
        "or processors held, peak memory of the process. Stages without a system are shared.",
        "here": f"All together {total:,.1f} seconds and {hours:,.2f} device-hours.{most}",
        "table": material.costs.fillna({"system": ""}).rename(columns=names),
        "digits": {"seconds": 1, "peak memory, MiB": 0},
    }
