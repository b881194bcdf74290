"""Lu et al.: shares of the sources, and which stage has which."""

from __future__ import annotations

import numpy as np
import pytest
from made import JUDGED, QUERIES, TRAIN, training_settings

from hardneg.config import load
from hardneg.methods.lists import MinedLists
from hardneg.methods.published import preset
from hardneg.training.draws import Draws


def lists(first: int) -> MinedLists:
    """Ten passages a query, of another decade for each source, none judged relevant."""
    query = np.repeat(np.arange(QUERIES), 10)
    return MinedLists(query, np.tile(np.arange(first, first + 10), QUERIES), QUERIES)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (3.0, 1.0)])
def test_sources_share_the_negatives_by_their_weights(weights: tuple[float, float]) -> None:
    system = preset("lu2020")["system"]
    source = [{**each, "weight": weight} for each, weight in zip(system["source"], weights, strict=True)]
    settings = training_settings(
        source=source, sampler={**system["sampler"], "k": 10}, batch="in_batch", train={**TRAIN, "batch_size": 8}
    )
    draws = Draws(settings, JUDGED, [lists(20), lists(30)])
    negatives = np.concatenate([draws.at(step).drawn.negatives for step in range(300)])
    assert negatives.shape[1] == 2 and (negatives >= 20).all()
    assert (negatives < 30).mean() == pytest.approx(weights[0] / sum(weights), abs=0.02)


def test_both_stages_have_negatives_and_the_second_fuses() -> None:
    train = {"steps": 5}
    systems = {"bm25": {"preset": "bm25"}, "lu": {"preset": "lu2021", "train": train}}
    loaded = load({"collection": {"format": "pydocs"}, "systems": systems}).systems
    first, last = loaded["lu.first"], loaded["lu"]
    assert [source.mined_system(first.from_) for source in first.source] == ["bm25"]
    assert [source.mined_system(last.from_) for source in last.source] == ["bm25", "lu.first"]
