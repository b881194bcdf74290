"""Exported negatives: every file has the same triples, read by `datasets` and by our own pairs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made import POSITIVE, QRELS, mined_lists, seal, stage_of

from hardneg.config import load
from hardneg.data.columns import Table
from hardneg.data.formats.pairs import Pairs
from hardneg.errors import HardnegError
from hardneg.export.negatives import FLAG, TEVATRON, TRIPLETS, TUPLES, export_negatives, in_turn
from hardneg.planning.plan import Plan
from hardneg.retrieval.pair_scores import FILE as SCORES
from hardneg.stages.artifacts import Artifact

FILES = (TRIPLETS, TUPLES, FLAG, TEVATRON)
PASSAGES, QUERIES = 40, 12
Triples = set[tuple[str, str, str]]

# Query 2 has two relevant passages; query 5 has a short list, query 6 none; query 11 has no relevant passage.
LISTS = {query: [20 + query, 30 - query, 19, 39] for query in range(QUERIES) if query != 6} | {5: [39]}
EMPTY = 19  # this passage has no text


def texts() -> list[tuple[str, str]]:
    """Title and text; every third passage has no title."""
    rows = [("" if n % 3 == 0 else f"Title {n}", f'text {n}, "quoted" – and\nbroken') for n in range(PASSAGES)]
    rows[EMPTY] = ("", " ")
    return rows


def whole(passage: int) -> str:
    return " ".join(texts()[passage]).strip()


def collection_of(folder: Path) -> Artifact:
    stage = stage_of(folder, {"train": "train"})
    query, passage, grade = (np.array(column, np.int32) for column in zip(*QRELS, strict=True))
    titles, bodies = zip(*texts(), strict=True)
    tables: dict[str, dict[str, Any]] = {
        "passages": {"passage_id": [f"d{n}" for n in range(PASSAGES)], "title": titles, "text": bodies},
        "queries.train": {"query_id": [f"q{n}" for n in range(QUERIES)], "text": [asked(n) for n in range(QUERIES)]},
        "qrels.train": {"query": query, "passage": passage, "grade": grade},
    }
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    stage.facts = {"passages": PASSAGES, "splits": {"train": {"queries": QUERIES}}}
    return seal(stage, [f"{name}.parquet" for name in tables])


def asked(query: int) -> str:
    return f"what is {query}?"


def expected(count: int, lists: Mapping[int, Sequence[int]] = LISTS) -> Triples:
    found = set()
    for query, listed in lists.items():
        for positive in (p for q, p in POSITIVE if q == query):
            found |= {(asked(query), whole(positive), whole(n)) for n in listed[:count] if n != EMPTY}
    return found


def exported(folder: Path, count: int = 3, draw: str = "top", **parents: Artifact) -> Artifact:
    settings = {"system": "star", "split": "train", "count": count, "draw": draw}
    settings |= {"seed": 3} if draw == "uniform" else {}
    given = {"collection": collection_of(folder / "collection"), "negatives": listed(folder / "mined", LISTS)}
    stage = stage_of(folder / "export", settings, {**given, **parents})
    return seal(stage, export_negatives(stage))


def listed(folder: Path, lists: Mapping[int, Sequence[int]]) -> Artifact:
    """A mining stage; its settings name no filter."""
    lists_of = mined_lists(folder / "lists", lists)
    stage = stage_of(folder / "stage", {"filter": []})
    (stage.folder / "negatives.parquet").write_bytes(lists_of.path("negatives.parquet").read_bytes())
    return seal(stage, ["negatives.parquet"])


def triples_of(name: str, rows: Iterator[Mapping[str, Any]]) -> Triples:
    """The triples that a tool would take from a file."""

    def text(passage: Mapping[str, str]) -> str:
        return f"{passage['title']} {passage['text']}".strip()

    found: Triples = set()
    for row in rows:
        if name == FLAG:
            sides = row["query"], row["pos"], row["neg"]
        elif name == TEVATRON:
            both = ([text(each) for each in row[f"{side}_passages"]] for side in ("positive", "negative"))
            sides = row["query"], *both
        else:
            sides = row["anchor"], [row["positive"]], [row[key] for key in row if key.startswith("negative")]
        found |= {(sides[0], positive, negative) for positive in sides[1] for negative in sides[2]}
    return found


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("count", [1, 3])
def test_datasets_reads_the_same_triples_from_each_file(tmp_path: Path, name: str, count: int) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets, which is optional, is not installed")
    made = exported(tmp_path, count)
    rows = datasets.load_dataset(
        "json", data_files=str(made.path(name)), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert triples_of(name, iter(rows)) == expected(count)
    assert all(value is not None for row in rows for value in row.values())


@pytest.mark.parametrize("name", FILES)
def test_pairs_reads_the_same_triples_from_each_file(tmp_path: Path, name: str) -> None:
    made = exported(tmp_path)
    reader = Pairs({"train": Table(made.path(name))})
    texts_by_id = {p.passage_id: f"{p.title} {p.text}".strip() for p in reader.passages()}
    positives: dict[str, list[str]] = {}
    for judgement in reader.judgements("train"):
        positives.setdefault(judgement.query_id, []).append(texts_by_id[judgement.passage_id])
    queries = {query.query_id: query.text for query in reader.queries("train")}
    given = [each for each in reader.given("train") if not each.relevant]
    assert {
        (queries[g.query_id], positive, texts_by_id[g.passage_id]) for g in given for positive in positives[g.query_id]
    } == expected(3)


def test_rows_are_counted_and_short_lists_start_again(tmp_path: Path) -> None:
    made = exported(tmp_path)
    rows = {name: [json.loads(line) for line in made.path(name).read_text().splitlines()] for name in FILES}
    with_list = [query for query in LISTS if query != 11]
    own = {query: sum(q == query for q, _ in POSITIVE) for query in with_list}
    assert made.facts["queries"] == len(rows[FLAG]) == len(rows[TEVATRON]) == len(with_list)
    assert made.facts["queries_left_out"] == 1 and made.facts["short_lists"] == 1
    assert made.facts["tuples"] == len(rows[TUPLES]) == sum(own.values())
    assert made.facts["triplets"] == len(rows[TRIPLETS]) == len(expected(3))
    (short,) = (row for row in rows[TUPLES] if row["anchor"] == asked(5))
    assert [short[f"negative_{n}"] for n in (1, 2)] == [whole(39)] * 2 and "negative_3" not in short
    assert rows[TEVATRON][0] == {
        "query_id": "q0",
        "query": asked(0),
        "positive_passages": [dict(zip(("docid", "title", "text"), ("d3", *texts()[3]), strict=True))],
        "negative_passages": [
            dict(zip(("docid", "title", "text"), (f"d{n}", *texts()[n]), strict=True)) for n in (20, 30)
        ],
    }
    page = made.path("README.md").read_text(encoding="utf-8")
    assert "`star`" in page and all(name in page for name in FILES) and "1 queries have fewer than 2" in page


def test_uniform_draws_repeat_and_take_the_whole_list(tmp_path: Path) -> None:
    long = {query: [n for n in range(20, 40) if n != EMPTY] for query in range(QUERIES)}
    chosen = []
    for place in ("one", "two"):
        made = exported(tmp_path / place, 4, "uniform", negatives=listed(tmp_path / place / "long", long))
        chosen.append([json.loads(line) for line in made.path(FLAG).read_text().splitlines()])
    assert chosen[0] == chosen[1]
    order = [whole(n) for n in long[0]]
    places = [[order.index(text) for text in row["neg"]] for row in chosen[0]]
    assert all(each == sorted(set(each)) and len(each) == 4 for each in places)
    assert max(max(each) for each in places) > 12 and len({tuple(each) for each in places}) > 5


def test_several_sources_take_turns(tmp_path: Path) -> None:
    assert in_turn([[1, 2, 3], [4], [2, 5]]).tolist() == [1, 4, 2, 5, 3]
    other = {query: [12, 20 + query] for query in range(QUERIES) if query != 6}
    made = exported(tmp_path, 3, negatives_2=listed(tmp_path / "other", other))
    (row,) = (r for r in map(json.loads, made.path(FLAG).read_text().splitlines()) if r["query"] == asked(0))
    assert row["neg"] == [whole(20), whole(12), whole(30)]


def scored(folder: Path, lacking: tuple[int, int] | None = None) -> Artifact:
    """A score of each pair, q - p / 8; one may be missing."""
    every = [(q, p) for q in range(QUERIES) for p in range(PASSAGES) if (q, p) != lacking]
    query, passage = np.array(every, np.int32).T
    stage = stage_of(folder, {})
    columns = {"query": query, "passage": passage, "score": (query - passage / 8).astype(np.float32)}
    pq.write_table(pa.table(columns), stage.folder / SCORES)
    return seal(stage, [SCORES])


def test_a_teachers_scores_stand_beside_both_sides(tmp_path: Path) -> None:
    made = exported(tmp_path, teacher=scored(tmp_path / "teacher"))
    numbers = {whole(n): n for n in range(PASSAGES)}
    for row in map(json.loads, made.path(FLAG).read_text().splitlines()):
        query = int(row["query"].removeprefix("what is ").removesuffix("?"))
        for side in ("pos", "neg"):
            assert row[f"{side}_scores"] == [query - numbers[text] / 8 for text in row[side]]
    assert "Scores are those of `teacher`" in made.path("README.md").read_text(encoding="utf-8")


def test_scores_of_the_ranking_are_its_own(tmp_path: Path) -> None:
    made = exported(tmp_path, scores=scored(tmp_path / "judged"))
    first = json.loads(made.path(FLAG).read_text().splitlines()[0])
    assert first["pos_scores"] == [0 - 3 / 8] and first["neg_scores"] == [-1, -2]


def test_scores_are_left_out_whole_if_one_is_missing(tmp_path: Path) -> None:
    made = exported(tmp_path, teacher=scored(tmp_path / "teacher", lacking=(7, 15)))
    assert "scores" not in made.path(FLAG).read_text() and not made.facts["scores"]
    assert "There are no scores" in made.path("README.md").read_text(encoding="utf-8")


def test_nothing_to_export_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HardnegError, match="no mined negatives to export"):
        exported(tmp_path, negatives=listed(tmp_path / "none", {6: [EMPTY]}))


# --- configurations and plans ---

TRAIN = {"steps": 5}
SYSTEMS: dict[str, Any] = {
    "bm25": {"preset": "bm25"},
    "warm": {"preset": "bm25neg", "train": TRAIN},
    "star": {"preset": "star", "from": "warm", "train": TRAIN},
    "inbatch": {"preset": "inbatch", "train": TRAIN},
    "cross_encoder": {"preset": "cross_encoder", "train": TRAIN},
    "margins": {"preset": "margin_mse", "train": TRAIN},
    "ance": {"preset": "ance", "from": "warm", "train": TRAIN},
}


def planned(export: list[Any], **settings: Any) -> Plan:
    return Plan(load({"collection": {"format": "pydocs"}, "systems": SYSTEMS, "export": export, **settings}))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "roles"),
    [
        ("warm", {"run": "bm25_run"}),
        ("star", {"scores": "pair_scores"}),
        ("margins", {"teacher": "pair_scores"}),
        ("ance", {"scores": "pair_scores"}),
    ],
)
def test_the_plan_has_what_it_reads(name: str, roles: dict[str, str]) -> None:
    plan = planned([{"negatives": name, "count": 5}])
    stage = plan.exports[f"{name}-negatives"]
    training = plan.rounds[name][-1]
    assert stage.parents["negatives"] is training.parents["negatives"]
    assert {role: stage.parents[role].kind for role in set(stage.parents) - {"collection", "negatives"}} == roles
    assert stage.settings == {"system": name, "count": 5, "draw": "top", "split": "train"}


def test_exporting_negatives_changes_no_other_stage_and_the_seed_only_what_is_drawn() -> None:
    plain, more = planned(["star"]), planned(["star", {"negatives": "warm"}])
    assert [s.version for s in plain.stages] == [s.version for s in more.stages if s.kind != "negatives_export"]
    for draw, same in (("top", True), ("uniform", False)):
        entry = {"negatives": "warm", "draw": draw}
        versions = {planned([entry], seed=seed).exports["warm-negatives"].version for seed in (1, 2)}
        assert (len(versions) == 1) is same


@pytest.mark.parametrize(
    ("export", "words"),
    [
        ([{"negatives": "inbatch"}], ["export.negatives", "no system that mines negatives"]),
        ([{"negatives": "strr"}], ["export.negatives", "did you mean star?"]),
        ([{"negatives": "star"}, {"negatives": "star", "count": 2}], ["exported twice"]),
        ([{"negatives": "star", "cuont": 2}], ["export.negatives.cuont", "did you mean count?"]),
        (["strr", {"negatives": "star"}], ["where:    export\n", "did you mean star?"]),
    ],
)
def test_what_cannot_be_exported_is_refused(export: list[Any], words: list[str]) -> None:
    with pytest.raises(HardnegError) as raised:
        planned(export)
    assert all(word in str(raised.value) for word in words), str(raised.value)
