"""A practitioner's path: five systems, each from the last, with harder negatives at every step."""

from __future__ import annotations

from itertools import pairwise

from hardneg.config import load
from hardneg.planning.plan import Plan

SYSTEMS = {"bm25": {"preset": "bm25"}, "path": {"preset": "five_phases", "train": {"steps": 5}}}


def test_each_phase_has_its_negatives_and_starts_from_the_last() -> None:
    plan = Plan(load({"collection": {"format": "pydocs"}, "systems": SYSTEMS}))
    trained = {stage.label: stage for stage in plan.of("dual_encoder", "cross_encoder")}
    steps = ("path.inbatch", "path.static", "path.denoised", "path")
    assert "init" not in trained[steps[0]].parents and "negatives" not in trained[steps[0]].parents
    for earlier, later in pairwise(steps):
        assert trained[later].parents["init"] is trained[earlier]
    mined = {step: trained[step].parents["negatives"] for step in steps[1:]}
    assert {step: stage.parents["run"].label for step, stage in mined.items()} == {
        "path.static": "bm25",
        "path.denoised": "bm25",
        "path": "path.denoised",
    }
    filters = {step: [filtered["name"] for filtered in stage.settings["filter"]] for step, stage in mined.items()}
    assert filters == {"path.static": [], "path.denoised": ["teacher"], "path": ["teacher"]}
    for step in ("path.denoised", "path"):
        scores = [parent for parent in mined[step].parents.values() if parent.kind == "pair_scores"]
        assert "path.reader" in {stage.label for stage in scores}
    assert trained["path"].settings["sampler"]["name"] == "simans"
