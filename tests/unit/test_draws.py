"""What a training step compares: batch answers, masks of judged passages, lists, and several sources at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from made import (
    JUDGED,
    POSITIVE,
    QUERIES,
    RUNTIME,
    TRAIN,
    Small,
    judged_by,
    mined_lists,
    seal,
    small,
    stage_of,
    training_settings,
)

from hardneg.data.judgements import Judgements
from hardneg.methods.axes import answers, function_of
from hardneg.methods.batch import Origin
from hardneg.methods.draws import PairScores, Positions, Scores
from hardneg.methods.lists import LiveIndex, MinedLists
from hardneg.model.encoder import Encoder, encode_rows
from hardneg.retrieval.mine import NEGATIVES, POSITIVES
from hardneg.retrieval.runs import write_run
from hardneg.text.tokens import TokenStore
from hardneg.training.draws import Draws, Live, Meeting, mixed
from hardneg.training.scorers import scorer_of

CPU = torch.device("cpu")
OTHERS, DRAWN = [Origin.IN_BATCH], [Origin.MINED, Origin.SHARED]
# Lists hold other queries' positives, and query 4 has no list, query 5 a short one.
LISTS = {
    query: [p for p in range(3, 30, 2 + query % 3) if (query, p) not in POSITIVE]
    for query in range(QUERIES)
    if query != 4
} | {5: [39]}


def lists_of(lists: Mapping[int, Sequence[int]], queries: int = QUERIES) -> MinedLists:
    query = np.repeat(sorted(lists), [len(lists[q]) for q in sorted(lists)])
    return MinedLists(query, np.concatenate([lists[q] for q in sorted(lists)]), queries)


def draws_of(*lists: Mapping[int, Sequence[int]], size: int = 8, **answers: Any) -> Draws:
    """Draws from mined lists, one source each; of no source where there are none."""
    settings = training_settings(**{"train": {**TRAIN, "batch_size": size}, **answers})
    return Draws(settings, JUDGED, [lists_of(each) for each in lists] if lists else [None])


def compared(meeting: Meeting, origins: list[Origin]) -> np.ndarray:
    """The listed pairs whose passage came to meet the query in some ways: bool [B, C]."""
    return meeting.listed & np.isin(meeting.origin, origins)


# --- passages that all queries meet ---


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("batch", ["own", "in_batch", "shared"])
def test_pairs_against_brute_force(batch: str, count: int) -> None:
    draws = draws_of(LISTS, source="run", sampler={"name": "uniform", "k": 10, "count": count}, batch=batch)
    judged_away = absent = 0
    for meeting in map(draws.at, range(12)):
        size = len(meeting.rows)
        assert meeting.listed.shape == (size, size * (1 + count)) and not meeting.ranked
        in_batch, mined = compared(meeting, OTHERS), compared(meeting, DRAWN)
        for i, query in enumerate(meeting.rows.tolist()):
            assert (query, int(meeting.passages[i])) in POSITIVE
            assert meeting.listed[i, i] and meeting.origin[i, i] == Origin.OWN
            for c, passage in enumerate(meeting.passages.tolist()):
                owner = c if c < size else (c - size) // count
                relevant = (query, passage) in POSITIVE
                # a list never holds its own query's positives: one in its place stands for a negative that is missing
                missing = c >= size and (int(meeting.rows[owner]), passage) in POSITIVE
                judged_away, absent = judged_away + (relevant and owner != i), absent + missing
                other_positive = c < size and owner != i and batch == "in_batch"
                negative = c >= size and (owner == i or batch != "own")
                assert in_batch[i, c] == (other_positive and not relevant)
                assert mined[i, c] == (negative and not relevant and not missing)
                assert meeting.met[i, c] == (other_positive or (negative and not missing))
                assert meeting.grades[i, c] == POSITIVE.get((query, passage), 0)
                if c >= size:
                    assert meeting.origin[i, c] == (Origin.MINED if owner == i else Origin.SHARED)
                if negative and not missing:
                    assert passage in LISTS[int(meeting.rows[owner])]
    assert judged_away > 10 and absent > 10


@pytest.mark.parametrize("batch", ["own", "in_batch"])
def test_all_positives_may_join(batch: str) -> None:
    """With `positives: missing` a query meets all its positives, and no other passage that is judged relevant to it."""
    sampler = {"name": "uniform", "k": 10, "count": 1, "positives": "missing"}
    draws = draws_of(LISTS, source="run", sampler=sampler, batch=batch)
    several = 0
    for meeting in map(draws.at, range(12)):
        size = len(meeting.rows)
        most = (meeting.listed.shape[1] - size) // size
        several += most == 2
        for i, query in enumerate(meeting.rows.tolist()):
            own = slice(i * most, (i + 1) * most)
            graded = dict(
                zip(meeting.passages[own][meeting.listed[i, own]].tolist(), meeting.grades[i, own], strict=False)
            )
            assert graded == {p: grade for (q, p), grade in POSITIVE.items() if q == query}
            assert (meeting.origin[i, own][meeting.listed[i, own]] == Origin.OWN).all()
            assert meeting.judged[i].tolist() == sorted(graded.values(), reverse=True) + [0] * (
                meeting.judged.shape[1] - len(graded)
            )
            outside = np.delete(meeting.listed[i], np.arange(own.start, own.stop))
            assert not (outside & (np.delete(meeting.grades[i], np.arange(own.start, own.stop)) > 0)).any()
            assert compared(meeting, OTHERS)[i].any() == (batch == "in_batch")
    assert several > 0


def test_queries_that_share_a_positive_contribute_no_pair() -> None:
    met = 0
    for meeting in map(draws_of(size=4, batch="in_batch").at, range(30)):
        in_batch = compared(meeting, OTHERS)
        places = [np.flatnonzero(meeting.rows == query) for query in (0, 1)]
        if all(map(len, places)):
            met += 1
            i, j = int(places[0][0]), int(places[1][0])
            assert not in_batch[i, j] and not in_batch[j, i]
            assert in_batch[i].sum() == len(meeting.rows) - 2
    assert met > 0


def test_number_of_pairs_of_star() -> None:
    """B(B-1) in-batch and B x B mined pairs, one negative a query, where no relevant passage is shared."""
    lists = {query: [20 + query, 28 + query] for query in range(QUERIES)}
    sampler = {"name": "uniform", "k": 2, "count": 1}
    counted = 0
    for meeting in map(draws_of(lists, size=4, source="run", sampler=sampler, batch="in_batch").at, range(10)):
        size = len(meeting.rows)
        if len(set(meeting.rows)) == size and not {0, 1} <= set(meeting.rows):
            counted += 1
            assert compared(meeting, OTHERS).sum() == size * (size - 1)
            assert compared(meeting, DRAWN).sum() == size * size
    assert counted > 0


@pytest.mark.parametrize(("name", "in_batch", "mined"), [("own", 0, 2), ("in_batch", 3, 8), ("shared", 0, 8)])
def test_columns_of_a_row(name: str, in_batch: int, mined: int) -> None:
    assert name in answers("batch")
    columns = function_of("batch", {"name": name})(4, 1, 2)
    assert columns.shape == (4, 12)
    assert columns[:, :4].sum(1).tolist() == [in_batch] * 4
    assert columns[:, 4:].sum(1).tolist() == [mined] * 4
    assert not columns[:, :4].diagonal().any()
    for row in range(4):
        assert columns[row, 4 + 2 * row : 6 + 2 * row].all()


def test_a_step_can_be_replayed() -> None:
    """What a step compares depends on the seed and its number, not on the steps before."""
    answers: dict[str, Any] = {
        "source": "run",
        "sampler": {"name": "uniform", "k": 10, "count": 2},
        "batch": "in_batch",
    }
    used = draws_of(LISTS, **answers)
    fresh = [draws_of(LISTS, **answers) for _ in range(6)]
    for step in (5, 0, 3):
        one, other = used.at(step), fresh[step].at(step)
        for name in ("rows", "passages", "listed", "grades", "origin", "judged", "met"):
            assert np.array_equal(getattr(one, name), getattr(other, name))
    other_seed = draws_of(LISTS, seed=6, **answers)
    assert any(not np.array_equal(other_seed.at(step).passages, fresh[step].at(step).passages) for step in range(3))


@pytest.mark.parametrize("autocast", [False, True])
def test_scores_are_float32_inner_products(tmp_path: Path, autocast: bool) -> None:
    """Mixed precision is for the encoder: rounded to bf16, scores over a temperature of 0.05 are off by up to 0.06."""
    made: Small = small(tmp_path)
    parents = {"negatives": mined_lists(tmp_path / "mined", LISTS)}
    stage = made.training(tmp_path / "run", parents, source="run", sampler={"name": "uniform", "k": 10})
    draws, scorer = Draws.of(stage.settings, stage.parents, JUDGED), scorer_of(stage, RUNTIME, [CPU], JUDGED, False)
    encoder = scorer.module.eval()
    assert isinstance(encoder, Encoder)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        query, meeting = scorer.queries(draws.rows(0)), draws.at(0)
        scores = scorer.scores(query, meeting)
        passage = encode_rows(encoder, TokenStore(made.tokens, "passages"), meeting.passages, 4, CPU)
    assert query is not None and scores.dtype == torch.float32 and scores.shape == (4, 8)
    torch.testing.assert_close(scores.double(), query.double() @ passage.double().T / 0.05, rtol=1e-5, atol=1e-5)


# --- a list for each query ---


def judged_at_random(queries: int, passages: int) -> tuple[dict[tuple[int, int], int], Judgements]:
    """Grades from 0 to 3; every query has a positive."""
    rng = np.random.default_rng(3)
    grades = {
        (query, int(passage)): int(rng.integers(4))
        for query in range(queries)
        for passage in rng.choice(passages, rng.integers(1, 6), replace=False)
    }
    grades |= {(query, query % passages): 1 for query in range(queries)}
    return grades, judged_by([(q, p, grade) for (q, p), grade in grades.items()], queries, passages)


def live_draws(judged: Judgements, retrieved: Positions, positives: str, size: int) -> Draws:
    """Draws from an index that returns the same lists at every step."""

    def search(vectors: object, depth: int) -> tuple[Positions, Scores]:
        assert vectors == "vectors" and depth == retrieved.shape[1]
        return retrieved, -np.arange(retrieved.size, dtype=np.float32).reshape(retrieved.shape)

    settings = training_settings(
        "query_encoder",
        source={"name": "live", "depth": retrieved.shape[1]},
        sampler={"name": "all", "positives": positives},
        refresh="every_step",
        train={**TRAIN, "batch_size": size},
    )
    live = Live(search, lambda vectors, passages: np.zeros(passages.shape, np.float32))
    return Draws(settings, judged, [LiveIndex(search, retrieved.shape[1])], live=live)


@pytest.mark.parametrize("positives", ["missing", "if_none", "one"])
def test_live_list_against_brute_force(positives: str) -> None:
    queries, passages, depth, size = 40, 30, 8, 25
    grades, judged = judged_at_random(queries, passages)
    rng = np.random.default_rng(4)
    retrieved = np.stack([rng.choice(passages, depth, replace=False) for _ in range(size)])
    meeting = live_draws(judged, retrieved, positives, size).at(0, "vectors")
    assert meeting.ranked
    longest = 0
    for row, query in enumerate(meeting.rows.tolist()):
        top_k = retrieved[row].tolist()
        relevant = sorted(p for (q, p), grade in grades.items() if q == query and grade > 0)
        missing = [p for p in relevant if p not in top_k]
        joined = missing if positives == "missing" or missing == relevant else []
        if positives == "one":
            joined = [int(meeting.passages[row, depth])]
            assert joined[0] in relevant
        longest = max(longest, len(joined))
        expected = top_k + joined + [-1] * (meeting.passages.shape[1] - depth - len(joined))
        assert meeting.passages[row].tolist() == expected
        assert meeting.grades[row].tolist() == [max(grades.get((query, p), 0), 0) for p in expected]
        # where one positive joins, the others stand in no pair
        kept = [
            p >= 0 and not (positives == "one" and place < depth and p in relevant) for place, p in enumerate(expected)
        ]
        assert meeting.listed[row].tolist() == kept
        assert meeting.origin[row][kept].tolist() == [
            Origin.OWN if p in relevant else Origin.MINED for p, listed in zip(expected, kept, strict=True) if listed
        ]
        best_first = sorted((grades[query, p] for p in relevant), reverse=True)
        assert meeting.judged[row][: len(best_first)].tolist() == best_first
        assert not meeting.judged[row][len(best_first) :].any()
    assert meeting.passages.shape == (size, depth + longest)


def test_live_list_that_the_index_could_not_fill() -> None:
    """What joins stands behind the longest list."""
    judged = judged_by([(0, 2, 1), (0, 4, 2), (1, 1, 3)], 2, 5)
    retrieved = {0: [4, 0, -1], 1: [0, 3, 2]}
    rows = live_draws(judged, np.zeros((2, 3), np.int64), "missing", 2).rows(0).tolist()
    found = np.array([retrieved[query] for query in rows])
    meeting = live_draws(judged, found, "missing", 2).at(0, "vectors")
    short, full = rows.index(0), rows.index(1)
    assert meeting.passages[[short, full]].tolist() == [[4, 0, -1, 2], [0, 3, 2, 1]]
    assert meeting.grades[[short, full]].tolist() == [[2, 0, 0, 1], [0, 0, 0, 3]]
    assert meeting.listed[[short, full]].tolist() == [[True, True, False, True], [True] * 4]


def test_what_the_teacher_says_of_what_meets() -> None:
    """It scored some pairs of the lists and the judged ones; the rest, and what is no passage, it does not know."""
    judged = judged_by([(0, 2, 1), (1, 4, 2), (1, 3, 1)], 2, 5)
    pairs = np.array([(0, 2), (0, 4), (0, 1), (1, 4), (1, 0)])  # (0, 4) is the pair before (1, 0)
    scores = np.arange(1, 6, dtype=np.float32)
    settings = training_settings(
        "query_encoder",
        source="run",
        sampler={"name": "top", "count": 2},
        labels={"name": "teacher", "system": "t"},
        loss="margin_mse",
        train={**TRAIN, "batch_size": 2},
    )
    lists = lists_of({0: [4, 1], 1: [0]}, queries=2)
    draws = Draws(settings, judged, [lists], teacher=PairScores(pairs[:, 0], pairs[:, 1], scores, 5))
    meeting = draws.at(0)
    taught = draws.teacher_scores(meeting)
    assert taught is not None and taught.shape == meeting.passages.shape == (2, 4)
    known = {tuple(pair): score for pair, score in zip(pairs.tolist(), scores.tolist(), strict=True)}
    for row, query in enumerate(meeting.rows.tolist()):
        expected = [known.get((query, p), np.nan) if p >= 0 else np.nan for p in meeting.passages[row].tolist()]
        assert np.array_equal(taught[row], np.array(expected, np.float32), equal_nan=True)
    assert (meeting.passages < 0).any()
    assert Draws(settings, judged, [lists]).teacher_scores(meeting) is None


# --- several sources ---


@pytest.mark.parametrize("weights", [[1.0, 1.0], [1.0, 3.0], [0.2, 0.5, 0.3]])
@pytest.mark.parametrize("count", [1, 3, 8])
def test_sources_share_in_proportion_to_their_weights(weights: list[float], count: int) -> None:
    """Exact on average, and in each row to within one slot."""
    rows, sources = 1000, len(weights)
    offered = [np.tile(100 * source + np.arange(count), (rows, 1)) for source in range(sources)]
    chosen = mixed(offered, np.array(weights), np.random.default_rng(0))
    assert chosen.shape == (rows, count)
    shares = np.array(weights) / sum(weights)
    for source, share in enumerate(shares):
        taken = (chosen // 100 == source).sum(1)
        assert np.abs(taken - count * share).max() < 1 + 1e-9
        spread = np.sqrt(share * (1 - share) / rows)  # a row's count lies within one slot of its mean
        assert taken.mean() == pytest.approx(count * share, abs=5 * spread + 1e-9)
    for row in chosen.tolist():  # what is taken of a source comes in the source's order
        for source in range(sources):
            mine = [passage for passage in row if passage // 100 == source]
            assert mine == [100 * source + number for number in range(len(mine))]


def test_no_passage_comes_twice() -> None:
    """Sources that offer the same passages; each row still has as many as there are."""
    rng = np.random.default_rng(1)
    offered = [np.stack([rng.permutation(12)[:6] for _ in range(500)]) for _ in range(3)]
    chosen = mixed(offered, np.ones(3), rng)
    for row, *given in zip(chosen.tolist(), *(each.tolist() for each in offered), strict=True):
        assert len(set(row)) == 6 and -1 not in row
        assert set(row) <= set().union(*given)


def test_where_a_source_has_nothing_more_the_others_fill_in() -> None:
    first = np.array([[-1, -1, -1, -1], [5, -1, -1, -1], [5, 6, -1, -1], [-1, -1, -1, -1]])
    second = np.array([[10, 11, 12, 13], [10, 11, 12, 13], [5, 6, -1, -1], [-1, -1, -1, -1]])
    chosen = mixed([first, second], np.array([9.0, 1.0]), np.random.default_rng(2)).tolist()
    assert [sorted(row) for row in chosen[:2]] == [[10, 11, 12, 13], [5, 10, 11, 12]]
    assert sorted(chosen[2]) == [-1, -1, 5, 6] and chosen[3] == [-1] * 4


def test_a_step_mixes_its_sources() -> None:
    """Two of three negatives from every three; a query without one takes all from the other."""
    first = {query: [12 + n for n in range(12)] for query in range(QUERIES) if query != 4}
    second = {query: [24 + n for n in range(12)] for query in range(QUERIES)}
    sources = [{"name": "run", "weight": 2.0}, {"name": "run", "system": "other", "weight": 1.0}]
    sampler = {"name": "uniform", "k": 12, "count": 4}
    draws = draws_of(first, second, size=8, source=sources, sampler=sampler, batch="own")
    taken: list[float] = []
    for meeting in map(draws.at, range(200)):
        for i, query in enumerate(meeting.rows.tolist()):
            own = meeting.passages[8 + 4 * i : 12 + 4 * i]
            relevant = [(query, int(passage)) in POSITIVE for passage in own]
            assert len(set(own.tolist())) == 4
            assert meeting.listed[i, 8 + 4 * i : 12 + 4 * i].tolist() == [not judged for judged in relevant]
            if query == 4:
                assert (own >= 24).all()
            else:
                taken.append(float((own < 24).sum()))
    assert set(taken) == {2, 3}
    assert np.mean(taken) == pytest.approx(8 / 3, abs=0.06)


def test_a_source_without_candidates_is_no_source() -> None:
    settings = training_settings(source=["none", "run"], sampler={"name": "top", "count": 1}, batch="own")
    meeting = Draws(settings, JUDGED, [None, lists_of({q: [30 + q % 3] for q in range(QUERIES)})]).at(0)
    assert meeting.passages[4:].tolist() == [30 + q % 3 for q in meeting.rows.tolist()]


def test_each_source_has_scores_of_the_positives_of_its_own(tmp_path: Path) -> None:
    """Two rankings with scores of their own scale; SimANS takes of each the one that scores as the positive there."""
    parents, near = {}, []
    for number, (role, first, scale) in enumerate((("negatives", 12, 1.0), ("negatives_2", 25, 100.0))):
        stage = stage_of(tmp_path / role, {})
        query, rank = np.repeat(np.arange(QUERIES), 9), np.tile(np.arange(1, 10), QUERIES)
        write_run(stage.folder / NEGATIVES, query, first + rank - 1, rank, scale * (10.0 - rank))
        at = 3 + 2 * number  # the rank whose score the positives have
        near.append(first + at - 1)
        columns = {"query": [q for q, _ in POSITIVE], "passage": [p for _, p in POSITIVE]}
        scores = np.full(len(POSITIVE), scale * (10.0 - at), np.float32)
        pq.write_table(pa.table({**columns, "score": scores}), stage.folder / POSITIVES)
        parents[role] = seal(stage, [NEGATIVES, POSITIVES])
    settings = training_settings(
        source=["run", {"name": "run", "system": "other"}],
        sampler={"name": "simans", "k": 9, "count": 2, "a": 1000.0},
        batch="own",
    )
    draws = Draws.of(settings, parents, JUDGED)
    for meeting in map(draws.at, range(20)):
        drawn = meeting.passages[4:].reshape(4, 2)
        for row in drawn.tolist():
            assert sorted(row) == near
