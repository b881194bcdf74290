"""Joined collections: which one a step draws, what is read of each, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import small_config, write_collection
from scipy import stats

from hardneg.config import load
from hardneg.data import readers
from hardneg.data.formats.beir import Beir
from hardneg.data.members import Member, members_of
from hardneg.errors import HardnegError
from hardneg.methods.axes import function_of
from hardneg.methods.draws import Material, TrainingQueries
from hardneg.planning.plan import Plan
from hardneg.training.members import AT_ONCE, Members, ranges_of
from workflow_scripts.told import absent

MEMBERS = [
    Member("a", range(0, 50), {"train": range(0, 40)}),
    Member("b", range(50, 60), {"train": range(40, 50)}),
    Member("c", range(60, 160), {"train": range(50, 100)}),
]
QUERIES = TrainingQueries(np.setdiff1d(np.arange(100), [0, 41]), 4, 11)


def drawn(weights: Any, steps: int, seed: int = 11) -> np.ndarray:
    return Members(MEMBERS, "train", weights, QUERIES._replace(seed=seed)).first(steps)


@pytest.mark.parametrize(
    ("weights", "chances"),
    [
        ({"a": 5.0, "b": 1.0, "c": 2.0}, [5 / 8, 1 / 8, 2 / 8]),
        ("equal", [1 / 3] * 3),
        ("queries", [39 / 98, 9 / 98, 50 / 98]),
    ],
)
def test_collections_are_drawn_in_proportion_to_their_weights(weights: Any, chances: list[float]) -> None:
    steps = 3 * AT_ONCE + 17
    found = np.bincount(drawn(weights, steps), minlength=3)
    assert found.sum() == steps
    assert stats.chisquare(found, np.array(chances) * steps).pvalue > 0.01
    shuffled = drawn(weights, steps)
    runs = np.count_nonzero(np.diff(shuffled) == 0) / (steps - 1)  # neighbours are independent
    assert runs == pytest.approx(sum(chance**2 for chance in chances), abs=0.02)


def test_the_draw_depends_on_seed_and_step_alone() -> None:
    whole, late = Members(MEMBERS, "train", "equal", QUERIES), Members(MEMBERS, "train", "equal", QUERIES)
    late.first(2 * AT_ONCE)  # one that saw later steps first
    assert [whole.at(step) for step in range(30)] == [late.at(step) for step in range(30)]
    assert (drawn("equal", 200) != drawn("equal", 200, seed=12)).any()
    counts = whole.counts(5, 25)
    assert list(counts) == ["a", "b", "c"] and sum(counts.values()) == 20
    assert "b: 9 training queries, 33.3% of the batches by weight" in whole.told(0, 30)[1]


def test_within_a_collection_every_query_comes_once_an_epoch() -> None:
    members, rows = Members(MEMBERS, "train", "equal", QUERIES), function_of("order", {"name": "shuffle"})
    met: dict[int, list[int]] = {0: [], 1: [], 2: []}
    for step in range(60):
        member, before = members.at(step)
        batch = rows(members.queries[member], before)
        assert set(batch) <= set(MEMBERS[member].queries["train"]) and len(batch) == 4
        met[member] += batch.tolist()
    assert sorted(met[0][:39]) == [*range(1, 40)], "the first epoch of a, without its query that has no positive"


def test_random_negatives_are_of_the_querys_own_collection() -> None:
    source = function_of("source", {"name": "random"})(
        Material(None, 100, 160, ranges=ranges_of(MEMBERS, "train", 100))
    )
    candidates = source.of(np.array([3, 45, 99]), None)
    np.testing.assert_array_equal(candidates.available(None), [50, 10, 100])
    np.testing.assert_array_equal(candidates.at(np.array([[0, 49], [0, 9], [0, 99]])), [[0, 49], [50, 59], [60, 159]])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("one", "two")):
        write_collection(tmp_path / name, seed)
    (tmp_path / "two" / "qrels" / "dev.tsv").unlink()
    return tmp_path


def joined(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    given = [{"format": "beir", "name": name, "path": name} for name in ("one", "two")]
    return {"format": "joined", "name": "both", "parts": list(parts) or given, **more}


def study(collection: dict[str, Any], **more: Any) -> dict[str, Any]:
    systems = {"bm25": {"preset": "bm25"}, "inbatch": {"preset": "inbatch", "train": {"steps": 1}}}
    return {**small_config(), "collection": collection, "systems": systems, "export": [], **more}


def chosen(folder: Path) -> dict[str, Any]:
    return load(study(joined())).collection.model_dump(mode="json")


def test_a_split_is_of_all_that_have_it_and_one_of_each(folder: Path) -> None:
    reader = readers.open_collection(chosen(folder), "train")
    assert reader.splits() == ("train", "dev", "test", "one.train", "one.dev", "one.test", "two.train", "two.test")
    assert len(list(reader.queries("train"))) == 192 and len(list(reader.queries("dev"))) == 24
    one, two = (list(Beir(folder / name).queries("test")) for name in ("one", "two"))
    assert [query.query_id for query in reader.queries("test")] == [
        *(f"one/{query.query_id}" for query in one),
        *(f"two/{query.query_id}" for query in two),
    ]
    assert [query.text for query in reader.queries("two.test")] == [query.text for query in two]
    assert {j.passage_id.split("/")[0] for j in reader.judgements("two.test")} == {"two"}
    assert set(reader.files(["one.test"])) == {
        *(f"{name}/{file}.jsonl" for name in ("one", "two") for file in ("corpus", "queries")),
        "one/qrels/test.tsv",
    }


def test_a_collection_that_lacks_an_evaluated_split_is_told(folder: Path) -> None:
    entry = {"queries": {"dev": [24, 24], "one.dev": [24, 24], "test": [24, 48]}, "passages": [288, 576]}
    first = {"queries": {"dev": [0, 24], "one.dev": [0, 24], "test": [0, 24]}, "passages": [0, 288]}
    told = list(absent([{"name": "one", **first}, {"name": "two", **entry}]))
    assert told == ["dev: no queries of two, which lacks this split"]
    assert members_of({"passages": 3}) == []


ONE = {"format": "beir", "name": "one", "path": "one"}
TWO = {"format": "beir", "name": "two", "path": "two"}
REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "one part": (joined(ONE), ["collection.parts", "needs no joining"]),
    "a name twice": (joined(ONE, {**TWO, "name": "one"}), ["Two joined collections have the same name", "one"]),
    "an unknown weight": (joined(weights={"one": 1, "tow": 1}), ["collection.weights.tow", "did you mean two?"]),
    "a weight that lacks": (joined(weights={"one": 1}), ["has no weight", "add two"]),
    "a weight of 0": (joined(weights={"one": 0, "two": 1}), ["collection.weights.one", "a number above 0"]),
    "a word": (joined(weights="even"), ["collection.weights", "equal or queries, or {one: 1, two: 1}"]),
    "holdout of all": (joined(holdout={"dev": 0.1}), ["collection.holdout", "by itself"]),
    "windows of one": (joined(ONE, {**TWO, "windows": {"words": 9}}), ["collection.parts.1.windows"]),
    "a download": (
        joined(ONE, {**TWO, "download": [{"url": "http://a/b.zip"}]}),
        ["collection.parts.1.download", "files that are here"],
    ),
    "a format without files": (joined(ONE, {"format": "pydocs"}), ["collection.parts.1.format", "pydocs"]),
    "a missing folder": (joined(ONE, {**TWO, "path": "none"}), ["folder of the collection is missing"]),
}


@pytest.mark.parametrize("what", REFUSED)
def test_wrong_joined_collections_are_refused(folder: Path, what: str) -> None:
    collection, said = REFUSED[what]
    with pytest.raises(HardnegError) as refused:
        Plan(load(study(collection)))
    for text in said:
        assert text in str(refused.value)


def test_unknown_splits_and_systems_that_look_at_all_are_refused(folder: Path) -> None:
    with pytest.raises(HardnegError, match=r"no such split(.|\n)*tests(.|\n)*one\.test"):
        Plan(load(study(joined(), splits={"evaluate": ["tests"]})))
    (folder / "two" / "qrels" / "train.tsv").unlink()
    with pytest.raises(HardnegError, match=r"no training split(.|\n)*parts, two"):
        Plan(load(study(joined())))
    systems = {"cached": {"preset": "negative_cache", "train": {"steps": 1}}}
    with pytest.raises(HardnegError, match=r"Source cache takes candidates from all(.|\n)*systems\.cached\.source"):
        load(study(joined(), systems={**study(joined())["systems"], **systems}))
    systems = {"adore": {"preset": "adore", "from": "inbatch", "train": {"steps": 1}}}
    with pytest.raises(HardnegError, match=r"among all passages(.|\n)*analyses\.trajectory"):
        followed = {"trajectory": {"systems": ["adore"]}}
        load(study(joined(), systems={**study(joined())["systems"], **systems}, analyses=followed))
    with pytest.raises(HardnegError, match=r"searched exactly(.|\n)*index\.factory(.|\n)*IVF4"):
        load(study(joined(), index={"factory": "IVF4,Flat"}))


def test_a_collection_without_a_positive_is_refused() -> None:
    with pytest.raises(HardnegError, match=r"no query with a relevant passage(.|\n)*parts, b"):
        Members(MEMBERS, "train", "equal", QUERIES._replace(positions=np.arange(40)))
