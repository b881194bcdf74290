"""What a training step makes of equal texts: twins in a batch, copies of positives, passages that are the query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from made import TRAIN, training_settings

from hardneg.data.judgements import Equal, Judgements
from hardneg.methods.lists import MinedLists
from hardneg.training.draws import Draws, Meeting

QUERIES, PASSAGES = 6, 12
FIRST = np.array([0, 1, 2, 0, 1, 2])  # queries 3, 4, 5 are 0, 1, 2 again


def judgements(equal: Equal | None) -> Judgements:
    """Query q is judged with passage q."""
    pairs = np.arange(QUERIES)
    return Judgements(pairs, pairs, np.ones(QUERIES, np.int64), QUERIES, PASSAGES, equal)


def meeting_of(equal: Equal | None, lists: Sequence[Sequence[int]] | None = None, **answers: Any) -> Meeting:
    """A step in which all queries meet."""
    settings = training_settings(**{"train": {**TRAIN, "batch_size": QUERIES}, **answers})
    mined = None
    if lists is not None:
        query = np.repeat(np.arange(QUERIES), [len(each) for each in lists])
        mined = MinedLists(query, np.concatenate([np.array(each, np.int64) for each in lists]), QUERIES)
    return Draws(settings, judgements(equal), [mined]).at(0)


def test_twins_are_no_negatives_of_each_other() -> None:
    plain, masked = (meeting_of(equal, batch="in_batch") for equal in (None, Equal(query=FIRST)))
    assert plain.listed.all()
    for i, query in enumerate(masked.rows):
        for c, passage in enumerate(masked.passages):
            twin = query != passage and FIRST[query] == FIRST[passage]
            assert masked.listed[i, c] == (not twin)


def test_a_copy_of_a_positive_is_no_negative() -> None:
    copies = np.arange(PASSAGES)
    copies[10] = 2  # passage 10 is passage 2 again
    lists = [[10, 11]] * QUERIES
    sampler = {"name": "top", "count": 2}
    meeting = meeting_of(Equal(passage=copies), lists, source="run", sampler=sampler, batch="shared")
    columns = meeting.passages == 10
    assert columns.any()
    for i, query in enumerate(meeting.rows):
        assert meeting.listed[i, columns].any() == (query != 2)


def test_a_passage_that_is_the_query_is_compared_with_nothing() -> None:
    own = Equal(own=(np.arange(QUERIES), (np.arange(QUERIES) + 1) % QUERIES))  # the next query's positive
    meeting = meeting_of(own, batch="in_batch")
    for i, query in enumerate(meeting.rows):
        for c, passage in enumerate(meeting.passages):
            assert meeting.listed[i, c] == (passage != (query + 1) % QUERIES)
    assert set(meeting.grades.ravel().tolist()) == {0, 1}


def test_a_passage_that_is_the_query_stands_in_no_list() -> None:
    own = Equal(own=(np.arange(QUERIES), np.full(QUERIES, 7)))
    meeting = meeting_of(
        own, [[7, 8]] * QUERIES, trains="query_encoder", source="run", sampler={"name": "top", "count": 2}
    )
    assert not meeting.listed[meeting.passages == 7].any() and meeting.listed[meeting.passages == 8].all()
    assert (meeting.grades >= 0).all()
