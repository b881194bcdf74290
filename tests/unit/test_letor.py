"""Learning to rank: features against values worked out by hand, what is learned, and where it stands in a plan."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made import judged_by

from hardneg.config import load
from hardneg.errors import HardnegError
from hardneg.planning.plan import Plan
from hardneg.retrieval.letor import FEATURES, features_of, hits_in, passages_in, ranked_by, train_ranker
from hardneg.retrieval.runs import write_run
from hardneg.text.words import read_words, words_of

PASSAGES = ["the red fox", "A fox, a RED fox!", "green hills", "red wine of the hills", ""]
QUERIES = ["Red fox red", "hills", "unknown"]
SETTINGS = {"trees": 20, "leaves": 4, "lr": 0.3, "least": 1, "seed": 3}


def test_words_are_read_without_regard_to_case() -> None:
    assert words_of("A fox, a RED fox_1!  Öl-3") == ["a", "fox", "a", "red", "fox_1", "öl", "3"]
    words = read_words(QUERIES, PASSAGES, np.array([1, 4]))
    assert [query.tolist() for query in words.queries] == [[0, 1, 0], [2], [3]]
    assert {position: ids.tolist() for position, ids in words.passages.items()} == {1: [-1, 1, -1, 0, 1], 4: []}
    having = [3, 2, 2, 0]  # of five passages
    assert words.idf == pytest.approx([math.log(1 + (5 - n + 0.5) / (n + 0.5)) for n in having])
    assert words.mean == pytest.approx((3 + 5 + 2 + 5 + 0) / 5)


def test_features_are_those_worked_out_by_hand() -> None:
    words = read_words(QUERIES, PASSAGES, np.arange(5))
    hits = np.array([0, 0, 2]), np.array([1, 3, 4]), np.array([1, 2, 1]), np.array([8.0, 6.0, 0.0], np.float32)
    red, fox = (math.log(1 + (5 - n + 0.5) / (n + 0.5)) for n in (3, 2))
    both = [8, 1, 1, 3, 5, 2, 1, red + fox, 1, fox, 3, 3 / 5, math.log(2) * red + math.log(3) * fox, 1]
    one = [6, 6 / 8, 1 / 2, 3, 5, 1, 1 / 2, red, red / (red + fox), red, 1, 1 / 5, math.log(2) * red, 0]
    none = [0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    assert len(FEATURES) == len(both) == 14
    np.testing.assert_allclose(features_of(words, hits), np.array([both, one, none], dtype=float), rtol=1e-6)


def made_run(folder: Path, queries: int) -> tuple[Path, list[str], list[str], list[tuple[int, int, int]]]:
    """Ten candidates of each query in an order without sense; the one with both words of the query is relevant."""
    rng = np.random.default_rng(1)
    asked = [f"left{number % 7} right{number % 5}" for number in range(queries)]
    passages, judged = [], []
    for number, query in enumerate(asked):
        place = int(rng.integers(10))
        judged.append((number, 10 * number + place, 1))
        halves = query.split()
        passages += [f"word{n} {halves[n % 2]} more" if n != place else f"word{n} {query} more" for n in range(10)]
    rows = np.arange(10 * queries)
    path = folder / "run.train.parquet"
    write_run(path, rows // 10, rows, rows % 10 + 1, 1 - 0.05 * (rows % 10))
    return path, asked, passages, judged


def test_what_decides_is_learned_and_repeats(tmp_path: Path) -> None:
    pytest.importorskip("lightgbm", reason="lightgbm is not installed: pip install '.[letor]'")
    run, queries, passages, judged = made_run(tmp_path, 60)
    words = read_words(queries, passages, passages_in(run))
    first, second = tmp_path / "one.txt", tmp_path / "two.txt"
    held_out = 20  # queries that it does not learn from
    known = judged_by([entry for entry in judged if entry[0] >= held_out], 60, 600)
    for target in (first, second):
        facts = train_ranker(run, words, known, SETTINGS, target)
        assert facts == {"queries": 40, "candidates": 400, "relevant": 40}
    assert first.read_bytes() == second.read_bytes() and first.read_text("utf-8").startswith("tree\n")
    query, passage, rank, score = (np.concatenate(each) for each in zip(*ranked_by(first, run, words, ""), strict=True))
    before = np.concatenate([np.stack(hits[:2], 1) for hits in hits_in(run)])
    assert {*map(tuple, np.stack((query, passage), 1).tolist())} == {*map(tuple, before.tolist())}
    assert (np.diff(score)[np.diff(query) == 0] <= 0).all()
    best = dict(zip(query[rank == 1].tolist(), passage[rank == 1].tolist(), strict=True))
    assert best == {number: relevant for number, relevant, _ in judged}


def test_candidates_without_a_relevant_one_teach_nothing(tmp_path: Path) -> None:
    pytest.importorskip("lightgbm", reason="lightgbm is not installed: pip install '.[letor]'")
    run, queries, passages, _ = made_run(tmp_path, 4)
    words = read_words(queries, passages, passages_in(run))
    with pytest.raises(HardnegError, match="nothing to learn"):
        train_ranker(run, words, judged_by([(0, 39, 1)], 4, 40), SETTINGS, tmp_path / "model.txt")


# --- plans ---


def configuration(**more: Any) -> dict[str, Any]:
    systems = {"bm25": {"preset": "bm25"}, "letor": {"preset": "letor", "rerank": {"depth": 50}}}
    return {"collection": {"format": "pydocs"}, "systems": systems, **more}


def test_it_learns_from_the_training_ranking_and_reorders_the_others() -> None:
    plan = Plan(load(configuration()))
    (model,), (run,) = plan.of("letor"), plan.of("letor_run")
    assert model.parents["run"].settings["splits"] == ["train"] and model.parents["run"].settings["depth"] == 50
    assert run.parents["model"] is model and plan.systems["letor"].run is run
    assert run.parents["run"].settings["splits"] == run.settings["splits"] == ["dev", "test"]
    other = Plan(load(configuration(letor={"leaves": 7})))
    assert other.of("letor")[0].version != model.version
    assert [stage.version for stage in other.of("bm25_run")] == [stage.version for stage in plan.of("bm25_run")]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"rerank": None}, "needs a ranking to reorder"),
        ({"trains": "both_encoders", "train": {"steps": 5}}, "trains nothing"),
        ({"from": "bm25"}, "trains nothing"),
    ],
)
def test_what_does_not_go_with_it_is_refused(change: dict[str, Any], what: str) -> None:
    raw = configuration()
    raw["systems"]["letor"] |= change
    with pytest.raises(HardnegError, match=what):
        load(raw)


def test_it_needs_a_training_split() -> None:
    with pytest.raises(HardnegError, match="needs a training split"):
        load(configuration(splits={"train": None}))
