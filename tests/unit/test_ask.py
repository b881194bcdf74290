"""Answers from the terminal are those of the run stage, with the passages' texts; and what cannot be asked."""

from __future__ import annotations

import gc
import io
import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from conftest import small_config, write_collection
from made import seal, stage_of

from hardneg.cli import ask
from hardneg.cli import main as cli
from hardneg.cli.ask import Answer, Answerer
from hardneg.cli.search import shown
from hardneg.config import load
from hardneg.data.documents import read_documents
from hardneg.data.prepare import prepare
from hardneg.data.readers import open_collection
from hardneg.errors import HardnegError
from hardneg.model.embedding import encode_passages, encode_queries
from hardneg.model.encoder import initial_encoder
from hardneg.planning.plan import Plan
from hardneg.retrieval import lexical
from hardneg.retrieval.java import find_java
from hardneg.retrieval.runs import best_passage, read_run, write_run
from hardneg.retrieval.search import exact
from hardneg.retrieval.search.index import build_index
from hardneg.retrieval.search.retrieve import open_searcher, retrieve, vectors_of
from hardneg.stages.artifacts import Artifact, StageFolder
from hardneg.stages.stage import Stage
from hardneg.text.tokens import TokenStore, make_tokenizer, query_texts, tokenize

CPU = torch.device("cpu")
DEPTH = 40


def config() -> dict[str, Any]:
    """Queries have four words, of more tokens than are kept. Two systems are made here, two elsewhere."""
    raw = deepcopy(small_config())
    raw["splits"] = {"train": "train", "evaluate": ["dev"]}
    raw["encoder"] |= {"query_length": 8, "passage_length": 32}
    raw["evaluation"] |= {"depth": DEPTH}
    raw["export"] = []
    vectors = {"passages": ["p.npy"], "queries": {"dev": "q.npy"}}
    raw["systems"] = {
        "bm25": {"preset": "bm25"},
        "inbatch": {"preset": "inbatch", "train": {"steps": 1}},
        "old": {"retriever": "run", "trains": "nothing", "runs": {"dev": "old.trec"}},
        "theirs": {"retriever": "vectors", "trains": "nothing", "vectors": vectors},
    }
    return raw


def write_inputs() -> None:
    """The files that the configuration names."""
    write_collection(Path("data"))
    for name in ("old.trec", "p.npy", "q.npy"):
        Path(name).touch()


def begun(stage: Stage) -> StageFolder:
    stage.folder.mkdir(parents=True)
    return StageFolder(stage.folder, stage.record, {})


def prepared(plan: Plan) -> Artifact:
    stage, windows = begun(plan.collection), plan.config.collection.windows
    reader = open_collection(plan.config.collection.model_dump(mode="json"), "train")
    cut = (windows.words, windows.overlap) if windows else None
    names, stage.facts = prepare(reader, stage.folder, stage.settings["splits"], "train", windows=cut)
    return seal(stage, names)


def finish_dense(plan: Plan) -> None:
    """The stages of `inbatch`, with random weights in place of trained ones."""
    run, collection = plan.systems["inbatch"].run, prepared(plan)
    queries, passages, index = (run.parents[role] for role in ("queries", "passages", "index"))
    stage = begun(queries.parents["tokens"].parents["tokenizer"])
    names, stage.facts = make_tokenizer(stage.settings, stage.folder, collection, None)
    tokenizer = seal(stage, names)
    stage = begun(queries.parents["tokens"])
    names, stage.facts = tokenize(stage.settings, stage.folder, collection, tokenizer)
    tokens = seal(stage, names)
    stage = begun(queries.parents["model"])
    facts = tokenizer.facts
    encoder = initial_encoder(stage.settings["encoder"], facts["vocabulary"], facts["pad"], 32, None, 7)
    seal(stage, encoder.save(stage.folder))
    given: dict[str, Any] = {"precision": "auto", "device": CPU, "label": "encode"}
    stage, store = begun(passages), TokenStore(tokens, "passages")
    encode_passages(encoder, store, stage.folder / "p.npy", (0, len(store)), dtype="float32", **given)
    stage.facts = {"shards": ["p.npy"]}
    vectors = seal(stage, ["p.npy"])
    stage = begun(index)
    chosen = {name: stage.settings[name] for name in ("factory", "train_rows", "rows_per_file")}
    stage.facts = build_index(vectors_of(vectors), folder=stage.folder, seed=0, **chosen)
    opened = seal(stage, stage.facts["files"])
    stage = begun(queries)
    encode_queries(encoder, TokenStore(tokens, "queries.dev"), stage.folder / "q.npy", **given)
    stage = begun(run)
    searcher = open_searcher(vectors, opened, [CPU], search=stage.settings["search"])
    (ranking,) = retrieve(searcher, queries.folder / "q.npy", DEPTH, "search")
    write_run(stage.folder / "run.dev.parquet", *ranking)
    seal(stage, ["run.dev.parquet"])


@pytest.fixture(scope="module", params=["passages", "lists", "documents"])
def plan(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plan]:
    """A finished dense system: over passages, exact or in some of their lists, or over windows of documents."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp(request.param))
        write_inputs()
        raw = config()
        if request.param == "lists":
            raw["index"] = {"factory": "IVF8,Flat", "nprobe": 3}
        if request.param == "documents":
            raw["collection"]["windows"] = {"words": 30, "overlap": 5}
            raw["index"] = {"factory": "HNSW8"}
        Path("config.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
        made = Plan(load(raw))
        finish_dense(made)
        yield made


@pytest.fixture
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """A plan over passages of which nothing is made."""
    monkeypatch.chdir(tmp_path)
    write_inputs()
    return Plan(load(config()))


def ranked(plan: Plan, system: str) -> Iterator[tuple[str, list[int], list[int], list[float]]]:
    """Each dev query's text, and what the pipeline ranks for it: passages or documents, best passages, scores."""
    collection = Artifact.open(plan.collection.manifest)
    run = read_run(plan.systems[system].run.folder / "run.dev.parquet")
    document = read_documents(collection)
    kept = run if document is None else best_passage(run, document)
    passage, score = run["passage"].to_numpy(), run["score"].to_numpy()
    for query, text in enumerate(query_texts(collection, "dev")):
        mine, best = run["query"].to_numpy() == query, kept["query"].to_numpy() == query
        found, scores = kept["passage"].to_numpy()[best], kept["score"].to_numpy()[best]
        owner = passage if document is None else document[passage]
        first = [int(passage[mine & (owner == one) & (score == s)][0]) for one, s in zip(found, scores, strict=True)]
        yield text, found.tolist(), first, scores.tolist()


def check(plan: Plan, system: str, k: int) -> None:
    """The answers to every dev query against its run."""
    folder, answerer = plan.collection.folder, Answerer(plan, system)
    rows = pq.read_table(folder / "passages.parquet").to_pylist()
    ids = [row["passage_id"] for row in rows]
    if (folder / "documents.parquet").exists():
        ids = pq.read_table(folder / "documents.parquet")["document_id"].to_pylist()
    for text, found, first, scores in ranked(plan, system):
        answers, score_of = answerer.answer(text, k), dict(zip(found, scores, strict=True))
        assert [answer.rank for answer in answers] == list(range(1, min(k, len(found)) + 1))
        assert [answer.score for answer in answers] == pytest.approx(scores[:k], abs=1e-5)
        # What the run scores alike may change places.
        positions = [ids.index(answer.id) for answer in answers]
        assert len(set(positions)) == len(positions)
        assert [score_of.get(position) for position in positions] == pytest.approx(scores[:k], abs=1e-5)
        passages = [rows[first[found.index(position)]] for position in positions]
        assert [(a.title, a.text) for a in answers] == [(row["title"], row["text"]) for row in passages]


@pytest.mark.parametrize("k", [1, 10])
def test_answers_are_those_of_the_run(plan: Plan, k: int) -> None:
    assert len(list(ranked(plan, "inbatch"))) == 24
    check(plan, "inbatch", k)


@pytest.mark.parametrize("depth", [1, 7, 90, 200])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_one_question_is_ranked_as_among_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, depth: int
) -> None:
    """Against the searcher of runs: blocks that cross shards, and small whole numbers, so that there are many ties."""
    monkeypatch.setattr(exact, "BLOCK", 64)
    rng = np.random.default_rng(3)
    stage, parts = stage_of(tmp_path / "vectors", {}), np.split(rng.integers(-2, 3, (150, 4)).astype(dtype), [40, 128])
    stage.facts = {"shards": [f"{number}.npy" for number in range(len(parts))]}
    for name, part in zip(stage.facts["shards"], parts, strict=True):
        np.save(stage.folder / name, part)
    vectors = seal(stage, stage.facts["shards"])
    queries = torch.from_numpy(rng.integers(-2, 3, (6, 4)).astype(np.float32))
    positions, scores = open_searcher(vectors, None, [CPU]).search(queries, depth)
    alone = open_searcher(vectors, None, [CPU], ask.QUERY_BATCH)
    for number, query in enumerate(queries):
        found, score = (part[0] for part in alone.search(query[None], depth))
        assert found.tolist() == positions[number].tolist() and score.tolist() == scores[number].tolist()
    assert len(np.unique(scores[0])) < len(scores[0]) or depth == 1


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_told(tmp_path: Path, number: float) -> None:
    def search(name: str, passages: list[list[float]], query: list[float]) -> None:
        stage = stage_of(tmp_path / name, {})
        stage.facts = {"shards": ["p.npy"]}
        np.save(stage.folder / "p.npy", np.array(passages, np.float32))
        vectors = seal(stage, ["p.npy"])
        open_searcher(vectors, None, [CPU], ask.QUERY_BATCH).search(torch.tensor([query]), 2)

    with pytest.raises(HardnegError, match="A query vector is not finite"):
        search("query", [[1.0, 1.0]] * 5, [1.0, number])
    with pytest.raises(HardnegError, match=r"A passage vector is not finite.*\n.*at passage position 3"):
        search("passage", [[1.0, 1.0]] * 3 + [[1.0, number]], [1.0, 0.0])


def test_a_question_is_cut_where_a_query_is(plan: Plan) -> None:
    text = next(ranked(plan, "inbatch"))[0]
    answerer = Answerer(plan, "inbatch")
    assert answerer.answer(text.upper()) == answerer.answer(text)
    assert answerer.answer(f"{text} {text}") == answerer.answer(f"{text} {text} and more")
    assert len(answerer.answer("", 3)) == 3


def test_bm25_answers_as_its_run(plain: Plan) -> None:
    try:
        find_java()
    except HardnegError as fault:
        pytest.skip(str(fault))
    collection, run = prepared(plain), plain.systems["bm25"].run
    stage = begun(run.parents["index"])
    texts = (f"{row['title']} {row['text']}" for row in pq.read_table(collection.path("passages.parquet")).to_pylist())
    lexical.build_index(texts, stage.folder / "lucene", heap_mib=512)
    stage.facts["language"] = "en"
    seal(stage, [f"lucene/{path.name}" for path in (stage.folder / "lucene").iterdir()])
    options = {name: run.settings[name] for name in ("k1", "b")}
    index, queries = stage.folder / "lucene", query_texts(collection, "dev")
    hits = list(lexical.search(index, queries, DEPTH, **options, threads=1, heap_mib=512))
    query = np.repeat(np.arange(len(hits)), [len(found) for found, _ in hits])
    rank = np.concatenate([np.arange(1, len(found) + 1) for found, _ in hits])
    passage, score = (np.concatenate(part) for part in zip(*hits, strict=True))
    stage = begun(run)
    write_run(stage.folder / "run.dev.parquet", query, passage, rank, score)
    check(plain, "bm25", 10)
    assert Answerer(plain, "bm25").answer("?") == []


@pytest.mark.parametrize(
    ("system", "said"),
    [
        ("inbach", r"found:    inbach\n  expected: bm25, inbatch, old, theirs\n  remedy:   did you mean inbatch\?"),
        ("zzz", "remedy:   choose one of these."),
        ("old", r"systems.old.retriever\n  found:    run: a run of .*\n.*\n  remedy:   use .*: bm25, inbatch\."),
        ("theirs", "found:    vectors: vectors without their encoder"),
        ("bm25", "found:    the stage collection small has not run yet\n  remedy:   .*`hardneg run"),
    ],
)
def test_what_cannot_be_asked(plain: Plan, system: str, said: str) -> None:
    with pytest.raises(HardnegError, match=said):
        Answerer(plain, system)


def test_the_first_stage_that_is_missing_is_named(plan: Plan) -> None:
    with pytest.raises(HardnegError, match="the stage bm25_index lucene has not run yet"):
        Answerer(plan, "bm25")
    raw = yaml.safe_load(Path("config.yaml").read_text(encoding="utf-8"))
    other = Plan(load(raw | {"seed": 4}))
    assert other.systems["inbatch"].tokenizer is not None and other.systems["inbatch"].tokenizer.manifest.exists()
    with pytest.raises(HardnegError, match="the stage dual_encoder inbatch has not run yet"):
        Answerer(other, "inbatch")


def test_a_file_that_lost_bytes_is_told_without_reading_the_others(tmp_path: Path) -> None:
    stage = stage_of(tmp_path / "vectors", {})
    path = stage.folder / "a.npy"
    path.write_bytes(b"vectors")
    manifest = seal(stage, ["a.npy"]).folder / "manifest.json"
    path.write_bytes(b"VECTORS")
    assert Artifact.open(manifest, digests=False).path("a.npy") == path
    with pytest.raises(HardnegError, match="SHA-256"):
        Artifact.open(manifest)
    path.write_bytes(b"vector")
    with pytest.raises(HardnegError, match="6 bytes"):
        Artifact.open(manifest, digests=False)


def test_the_command(plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    answers = Answerer(plan, "inbatch").answer("one question", 2)
    options = ["--system", "inbatch", "--k", "2", "--configfile", "config.yaml"]
    cli.main(["search", *options, "--json", "one question"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [{"question": "one question", **answer._asdict()} for answer in answers]

    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setattr("sys.stdin", io.StringIO("one question\n\n two \n"))
    cli.main(["search", "-", *options])
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if not line.startswith(" ")] == ["one question", "two"]
    titles = [line for line in printed if not line.startswith("    ")]
    assert titles[1] == f"  1  {answers[0].score:.4f}  {answers[0].id}  {answers[0].title}".rstrip()
    assert len(titles) == 6 and all(len(line) <= 30 for line in printed if line.startswith("    "))

    monkeypatch.setattr(Answerer, "answer", lambda *_: [])
    cli.main(["search", "one question", *options])
    cli.main(["search", "one question", *options, "--json"])
    assert capsys.readouterr().out == "Nothing was found.\n"
    with pytest.raises(SystemExit):
        cli.main(["search", "one question", "--system", "none"])
    assert gc.isenabled()
    with pytest.raises(SystemExit) as left:
        cli.main(["search", "  ", *options])
    assert left.value.code == 2 and "the question is empty" in capsys.readouterr().err


def test_texts_are_cut_to_three_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    lines = list(shown(Answer(12, 0.5, "p1", "A title", "word\nword " * 100)))
    assert lines[0] == " 12  0.5000  p1  A title"
    assert len(lines) == 4 and lines[3].endswith(" ...") and max(map(len, lines[1:])) <= 40
