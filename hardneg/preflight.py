"""What can be checked of the machine before hours are spent."""

from __future__ import annotations

from hardneg.devices import check_visible
from hardneg.java import find_java
from hardneg.plan import Plan


def check_machine(plan: Plan) -> None:
    """Check devices, and Java where a BM25 stage is still to be made.

    Raises:
        HardnegError: CUDA_VISIBLE_DEVICES names an absent device, or there is no Java 21.
    """
    check_visible()
    if any(not stage.manifest.exists() for stage in plan.of("bm25_index", "bm25_run")):
        find_java()
