"""DPR: the softmax over all positives and all BM25 negatives of the batch."""

from __future__ import annotations

import numpy as np
import torch
from batches import assert_same, in_batch, loss_of, scores_of
from made import JUDGED, QUERIES, TRAIN, training_settings

from hardneg.methods.lists import MinedLists
from hardneg.methods.published import preset
from hardneg.training.draws import Draws

LISTS = {query: [20 + query, 8 + query] for query in range(QUERIES)}


def test_the_loss_is_the_softmax_over_both_halves_of_the_batch() -> None:
    scores = scores_of(5, 10)
    by_hand = torch.stack([-(s[i].exp() / s.exp().sum()).log() for i, s in enumerate(scores)]).mean()
    assert_same(loss_of(in_batch(scores), "softmax"), by_hand, scores)


def test_every_query_meets_all_positives_and_the_best_bm25_candidate_of_each() -> None:
    system = preset("dpr")["system"]
    assert system["source"] == {"name": "run", "system": "bm25", "depth": 100}
    answers = {key: system[key] for key in ("source", "sampler", "loss", "batch")}
    settings = training_settings(**answers, train={**TRAIN, "batch_size": 4})
    query = np.repeat(np.arange(QUERIES), 2)
    draws = Draws(settings, JUDGED, [MinedLists(query, np.array(list(LISTS.values())).ravel(), QUERIES)])
    whole = 0
    for meeting in map(draws.at, range(10)):
        size = len(meeting.rows)
        assert meeting.passages[size:].tolist() == [LISTS[int(row)][0] for row in meeting.rows]
        judged = JUDGED.grades_of(meeting.rows[:, None], meeting.passages[None]) > 0
        assert np.array_equal(meeting.listed, ~judged | np.eye(size, 2 * size, dtype=bool))
        whole += int((meeting.listed.sum(1) == 2 * size).all())  # B (1 + h) terms where no positive is shared
    assert whole > 0
