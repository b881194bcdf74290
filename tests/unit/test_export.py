"""What is exported loads in other tools and gives what the workflow gave: vectors, rankings, scores, card."""

from __future__ import annotations

import json
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow.parquet as pq
import pytest
import pytrec_eval
import torch
import yaml
from conftest import small_config
from made import (
    ENCODER,
    PASSAGE_LENGTH,
    QRELS,
    QUERY_LENGTH,
    READING,
    TOKENIZER,
    seal,
    stage_of,
    texts,
    write_collection,
)
from sentence_transformers import SentenceTransformer
from transformers import BertTokenizer, RobertaConfig, RobertaModel, RobertaTokenizer

from hardneg.config import load
from hardneg.data.template import Reading
from hardneg.errors import HardnegError
from hardneg.export.encoders import write_encoder
from hardneg.export.export import export
from hardneg.model.embedding import encode_passages, encode_queries
from hardneg.model.encoder import initial_encoder
from hardneg.retrieval.java import find_java, start_jvm
from hardneg.retrieval.runs import read_run, write_run
from hardneg.retrieval.search.retrieve import open_searcher, retrieve, vectors_of
from hardneg.stages.artifacts import Artifact, StageFolder
from hardneg.text.tokens import TokenStore, make_tokenizer, passage_texts, query_texts, tokenize
from workflow_scripts import measure_run

CPU = torch.device("cpu")
DEPTH = 30
MEASURES = ["MRR@10", "MAP", "R@20"]
LETTERS = [chr(number) for number in range(ord("a"), ord("z") + 1)]


@dataclass
class Exported:
    """A system before and after."""

    parents: dict[str, Artifact]
    reading: Reading
    stage: StageFolder
    artifact: Artifact

    @property
    def folder(self) -> Path:
        return self.artifact.folder

    @property
    def card(self) -> str:
        return (self.folder / "README.md").read_text(encoding="utf-8")

    def texts(self, kind: str) -> list[str]:
        """The texts that an encoder is given, before any lower-casing."""
        collection = self.parents["collection"]
        if kind == "query":
            return list(query_texts(collection, "train"))
        plain = Reading(self.reading.passage_template, self.reading.separator)
        return list(passage_texts(collection, plain))

    def vectors(self, kind: str) -> np.ndarray:
        """What the workflow made of them."""
        if kind == "query":
            vectors: np.ndarray = np.load(self.parents["queries"].path("queries.train.npy"))
            return vectors
        store = vectors_of(self.parents["passages"])
        return store.block(0, store.rows)


def collection(folder: Path) -> Artifact:
    """40 passages and 12 queries with capitals, one passage empty, some longer than is read."""
    passages = [text.title() if n % 3 else text.upper() for n, text in enumerate(texts(40, [3, 8, 20, 40, 300], 1))]
    passages[20] = ""
    return write_collection(folder, passages, [text.title() for text in texts(12, [2, 4, 30], 2)])


def roberta(folder: Path) -> Path:
    """A miniature RoBERTa with a byte-level tokenizer of single letters and some pairs."""
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "Ġ", *LETTERS, *(letter.upper() for letter in LETTERS)]
    merges: list[Any] = [("Ġ", letter) for letter in LETTERS] + [(one, "a") for one in LETTERS[1:]]
    pieces += ["".join(pair) for pair in merges]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    RobertaTokenizer(vocab=vocabulary, merges=merges).save_pretrained(folder)
    torch.manual_seed(3)
    size: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = RobertaConfig(
        vocab_size=len(pieces), intermediate_size=24, max_position_embeddings=40, pad_token_id=1, **size
    )
    model = RobertaModel(config, add_pooling_layer=False)
    for parameter in model.parameters():  # far from the small numbers they begin with, which all texts look alike under
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    return folder


LOCAL: dict[str, Any] = {
    **READING,
    "backbone": "local",
    "trust_remote_code": False,
    "lower_case": True,
    "prefix_space": True,
    "passage_template": "{title}{sep}{text}",
    "contract": None,
}
VECTORS = {"threads": 1, "precision": "fp32", "dtype": "float32"}
HEAD: dict[str, Any] = {"backbone": "local", "pooling": "cls", "projection": 6, "normalize": False, "temperature": 1.0}


def system(folder: Path, kind: str) -> tuple[dict[str, Artifact], Reading]:
    """The finished stages of a system: builtin:tiny with an encoder each, or a RoBERTa with a head for both."""
    made: dict[str, Artifact] = {"collection": collection(folder / "collection")}
    backbone = roberta(folder / "backbone") if kind == "roberta" else None
    place, settings = (str(backbone), LOCAL) if backbone else (None, TOKENIZER)
    stage = stage_of(folder / "tokenizer", settings)
    names, stage.facts = make_tokenizer(settings, stage.folder, made["collection"], place)
    made["tokenizer"] = seal(stage, names)
    reading = {name: settings[name] for name in READING}
    lengths = {"query_length": QUERY_LENGTH, "passage_length": PASSAGE_LENGTH}
    stage = stage_of(folder / "tokens", {**lengths, **reading})
    names, stage.facts = tokenize(stage.settings, stage.folder, made["collection"], made["tokenizer"])
    made["tokens"] = seal(stage, names)

    facts = made["tokenizer"].facts
    encoders = {}
    for seed, role in enumerate(("model", "passage_model")):
        own = ENCODER if backbone is None else {**ENCODER, **HEAD}
        encoder = initial_encoder(own, facts["vocabulary"], facts["pad"], PASSAGE_LENGTH, place, seed)
        stage = stage_of(folder / role, {"split": "train", "seed": 5, "precision": "fp32"})
        stage.facts = {"dim": encoder.dim}
        made[role], encoders[role] = seal(stage, encoder.save(stage.folder)), encoder
    given: dict[str, Any] = {"precision": "fp32", "device": CPU, "label": "encode"}
    stage, store = stage_of(folder / "passages", VECTORS), TokenStore(made["tokens"], "passages")
    encode_passages(encoders["passage_model"], store, stage.folder / "p.npy", (0, 40), dtype="float32", **given)
    stage.facts = {"shards": ["p.npy"], "rows": 40}
    made["passages"] = seal(stage, ["p.npy"])
    stage, store = stage_of(folder / "queries", {}), TokenStore(made["tokens"], "queries.train")
    encode_queries(encoders["model"], store, stage.folder / "queries.train.npy", **given)
    made["queries"] = seal(stage, ["queries.train.npy"])
    made["run"] = ranked(folder / "run", made)
    made["measure"] = measured(folder / "adore_star", made)
    return made, Reading(**facts["reading"] | reading)


def ranked(folder: Path, made: dict[str, Artifact]) -> Artifact:
    stage = stage_of(folder, {"splits": ["train"], "depth": DEPTH})
    searcher = open_searcher(made["passages"], None, [CPU])
    (ranking,) = retrieve(searcher, made["queries"].path("queries.train.npy"), DEPTH, "search")
    write_run(stage.folder / "run.train.parquet", *ranking)
    return seal(stage, ["run.train.parquet"])


def measured(folder: Path, made: dict[str, Artifact]) -> Artifact:
    settings = {"measures": MEASURES, "relevant_grade": {"train": 1}}
    stage = stage_of(folder, settings, {"collection": made["collection"], "run": made["run"]})
    return seal(stage, measure_run.run(stage, {}, []))


def begun(folder: Path, parents: dict[str, Artifact], name: str = "adore_star") -> StageFolder:
    systems = {
        each: made.model_dump(mode="json", by_alias=True, exclude={"runs", "vectors"})
        for each, made in load(small_config()).systems.items()
    }
    settings = {
        "system": name,
        "splits": ["train"],
        "measures": MEASURES,
        "search": {"nprobe": None, "ef_search": None},
        "about": {
            "format": "beir",
            "systems": {each: systems[each] for each in sorted({name, "star", "bm25neg", "bm25"})},
        },
    }
    return stage_of(folder, settings, parents)


@pytest.fixture(scope="module", params=["tiny", "roberta"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp(request.param)
    parents, reading = system(folder, request.param)
    stage = begun(folder / "export", parents)
    return Exported(parents, reading, stage, seal(stage, export(stage)))


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def pyserini(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        find_java()
    except HardnegError as fault:
        pytest.skip(str(fault))
    monkeypatch.setenv("OPENAI_API_KEY", "none")  # without one, Pyserini's encoders are not imported
    start_jvm(512)


@pytest.fixture(scope="module")
def loaded(made: Exported) -> dict[str, SentenceTransformer]:
    return {kind: SentenceTransformer(str(made.folder / f"{kind}_encoder"), device="cpu") for kind in KINDS}


KINDS = {"query": QUERY_LENGTH, "passage": PASSAGE_LENGTH}


@pytest.mark.parametrize("kind", KINDS)
def test_sentence_transformers_gives_the_same_vectors(
    made: Exported, loaded: dict[str, SentenceTransformer], kind: str
) -> None:
    encoder, given, expected = loaded[kind], made.texts(kind), made.vectors(kind)
    lengths = TokenStore(made.parents["tokens"], "passages" if kind == "passage" else "queries.train").lengths(
        np.arange(len(given))
    )
    assert encoder.max_seq_length == KINDS[kind] == lengths.max() > lengths.min()
    padded = encoder.encode(given, batch_size=5)
    alone = np.stack([encoder.encode(text) for text in given])
    np.testing.assert_allclose(padded, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(alone, expected, rtol=0, atol=1e-5)
    # The comparison would see one text taken for another, and an encoder for the other.
    assert np.abs(expected[:, None] - expected[None]).max(-1)[~np.eye(len(expected), dtype=bool)].min() > 1e-4
    other = loaded["query" if kind == "passage" else "passage"].encode(given)
    assert np.abs(other - expected).max() > 1e-2


def test_sentence_transformers_ranks_as_the_run(made: Exported, loaded: dict[str, SentenceTransformer]) -> None:
    vectors = {kind: encoder.encode(made.texts(kind)) for kind, encoder in loaded.items()}
    assert loaded["query"].similarity_fn_name == "dot"
    scores = loaded["query"].similarity(vectors["query"], vectors["passage"]).numpy()
    run = read_run(made.parents["run"].path("run.train.parquet"))
    query, passage, score = (run[name].to_numpy() for name in ("query", "passage", "score"))
    np.testing.assert_allclose(scores[query, passage], score, rtol=1e-4, atol=1e-5)
    assert (np.argsort(-scores, axis=1, kind="stable")[:, :DEPTH] == passage.reshape(-1, DEPTH)).all()


def test_the_layout_is_one_that_older_versions_read(made: Exported) -> None:
    """The modules, keys and class paths of sentence-transformers 5, written out."""
    folder = made.folder / "passage_encoder"
    modules = json.loads((folder / "modules.json").read_text())
    head = ["Dense", "LayerNorm"] if made.reading.lower_case else ["Normalize"]
    assert [module["type"].removeprefix("sentence_transformers.models.") for module in modules] == [
        "Transformer",
        "Pooling",
        *head,
    ]
    assert [module["path"] for module in modules] == [
        "",
        "1_Pooling",
        *(f"{n}_{kind}" for n, kind in enumerate(head, 2)),
    ]
    pooling = json.loads((folder / "1_Pooling/config.json").read_text())
    mode = "cls_token" if made.reading.lower_case else "mean_tokens"
    assert {name for name, value in pooling.items() if value is True} == {f"pooling_mode_{mode}", "include_prompt"}
    assert pooling["word_embedding_dimension"] == 16
    assert (folder / "README.md").exists()
    assert not [path for path in made.folder.rglob("*") if path.suffix in (".bin", ".pt", ".pkl")]


def code(card: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", card, re.DOTALL)


def test_the_cards_code_runs(made: Exported, pyserini: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a reader would, in the folder, without the network; the three ways agree with each other and with us."""
    monkeypatch.chdir(made.folder)
    passage, sentences, transformers, searching = code(made.card)
    known: dict[str, Any] = {}
    exec(passage, known)
    rows = pq.read_table(made.parents["collection"].path("passages.parquet")).to_pylist()
    fields = [name for name in ("title", "text") if name in passage.partition(":")[0]]
    own = [known["passage_text"](**{name: row[name] for name in fields}) for row in rows]
    assert own == made.texts("passage")

    exec(sentences, known)
    assert known["scores"].shape == (2, 2)
    exec(transformers, known)
    np.testing.assert_allclose(known["vectors"].numpy(), known["queries"], rtol=0, atol=1e-5)
    # The same with texts of ours, longer than is read.
    given = made.texts("query")
    exec(transformers.replace('["a question", "another one"]', repr(given)), known)
    np.testing.assert_allclose(known["vectors"].numpy(), made.vectors("query"), rtol=0, atol=1e-5)

    exec(searching, known)
    assert len(known["hits"]) == 10
    vector = torch.from_numpy(known["queries"][:1])
    positions, scores = open_searcher(made.parents["passages"], None, [CPU]).search(vector, 10)
    assert [name for name, _ in known["hits"]] == list(map(str, positions[0].tolist()))
    np.testing.assert_allclose([score for _, score in known["hits"]], scores[0], rtol=1e-4, atol=1e-5)


def test_pyserini_ranks_as_the_run(made: Exported, pyserini: None) -> None:
    from pyserini.search.faiss import FaissSearcher  # type: ignore[import-untyped]

    searcher = FaissSearcher(str(made.folder / "pyserini"), None)
    assert searcher.num_docs == 40
    found = searcher.batch_search(made.vectors("query"), [str(n) for n in range(12)], DEPTH)
    run = read_run(made.parents["run"].path("run.train.parquet")).to_pandas()
    for query, rows in run.groupby("query"):
        hits = found[str(query)]
        assert [hit.docid for hit in hits] == list(map(str, rows["passage"]))
        np.testing.assert_allclose([hit.score for hit in hits], rows["score"], rtol=1e-4, atol=1e-5)


def test_runs(made: Exported) -> None:
    original = made.parents["measure"].path("train.trec").read_text()
    assert (made.folder / "runs/plain/train.trec").read_text() == original
    lines = (made.folder / "runs/train.trec").read_text().splitlines(keepends=True)
    end = lines.index("# ir_metadata.end\n")
    assert lines[0] == "# ir_metadata.start\n" and "".join(lines[end + 1 :]) == original
    assert all(line.startswith("# ") for line in lines[:end])
    header = yaml.safe_load("".join(line.removeprefix("# ") for line in lines[1:end]))
    assert {"platform", "research goal", "implementation", "method", "actor", "data"} <= header.keys()
    assert header["tag"] == "adore_star" == original.split()[5]
    assert header["research goal"]["evaluation"] == {"reported measures": MEASURES, "baseline": ["star"]}
    assert header["method"]["retrieval"][0]["depth"] == DEPTH
    assert header["data"]["test collection"]["topics"] == "train"


def test_trec_eval_reads_the_plain_run_and_finds_the_cards_scores(made: Exported) -> None:
    with (made.folder / "runs/plain/train.trec").open() as stream:
        run = pytrec_eval.parse_run(stream)
    qrels: dict[str, dict[str, int]] = {}
    for query, passage, grade in QRELS:
        qrels.setdefault(str(query), {})[str(passage)] = grade
    found = pytrec_eval.RelevanceEvaluator(qrels, {"map", "recall_20"}).evaluate(run)
    assert len(run) == len(qrels) == 12 and all(len(ranking) == DEPTH for ranking in run.values())
    row = next(line for line in made.card.splitlines() if line.startswith("| train | 12 | 1 |"))
    shown = dict(zip(MEASURES, row.split("|")[4:-1], strict=True))
    for name, theirs in (("MAP", "map"), ("R@20", "recall_20")):
        assert float(shown[name]) == pytest.approx(np.mean([each[theirs] for each in found.values()]), abs=5e-5)


def test_the_card(made: Exported) -> None:
    _, front, body = made.card.split("---\n", 2)
    assert yaml.safe_load(front)["library_name"] == "sentence-transformers"
    assert body.startswith("\n# adore_star on made\n")
    for word in ("- starts from: star", "- starts from: bm25neg", "40 passages", "12 queries", "with seed 5"):
        assert word.lower() in body.lower(), word
    assert "| What is minimised? | loss: lambda_ranknet (metric MRR, cut 200) |" in body
    tokens = made.parents["tokens"]
    full = np.mean(TokenStore(tokens, "passages").lengths(np.arange(40)) == PASSAGE_LENGTH)
    assert f"Passages are truncated at {PASSAGE_LENGTH} tokens, special tokens included. {100 * full:.1f}%" in body
    assert "\n\n\n" not in made.card and str(made.folder) not in made.card
    for fenced in re.findall(r"```yaml\n(.*?)\n```", body, re.DOTALL):
        assert isinstance(yaml.safe_load(fenced), dict)
    named = set(re.findall(r"`((?:\w+/)+)`", body.split("## Loading")[0]))
    assert named == {"query_encoder/", "passage_encoder/", "pyserini/", "runs/", "runs/plain/"}
    assert all((made.folder / name).is_dir() for name in named)


def test_the_same_again_gives_the_same_bytes(made: Exported, tmp_path: Path) -> None:
    stage = begun(tmp_path / "export", made.parents)
    (stage.folder / "query_encoder").mkdir()
    (stage.folder / "query_encoder/left.json").write_text("{}")  # by a killed run
    again = seal(stage, export(stage))
    assert again.manifest["files"] == made.artifact.manifest["files"]
    assert {path.name for path in again.folder.iterdir() if path.is_dir()} == {
        "query_encoder",
        "passage_encoder",
        "pyserini",
        "runs",
    }


@pytest.mark.parametrize("changes", [{}, {"lower_case": True}, {"lower_case": True, "prefix_space": False}])
@pytest.mark.parametrize("family", ["roberta", "bert"])
def test_any_tokenizer_reads_as_in_the_workflow(tmp_path: Path, family: str, changes: dict[str, Any]) -> None:
    """Token for token, beside a config.json of another family; also where lower-casing would break the separator."""
    if family == "roberta":
        backbone = roberta(tmp_path / "backbone")
    else:
        pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
        backbone = tmp_path / "backbone"
        vocabulary = {piece: number for number, piece in enumerate(pieces)}
        BertTokenizer(vocab=vocabulary, do_lower_case=False).save_pretrained(backbone)
        changes = {name: value for name, value in changes.items() if name != "prefix_space"}
    made = collection(tmp_path / "collection")
    settings = {**LOCAL, "lower_case": False, "prefix_space": None, **changes}
    stage = stage_of(tmp_path / "tokenizer", settings)
    names, stage.facts = make_tokenizer(settings, stage.folder, None, str(backbone))
    tokenizer = seal(stage, names)
    lengths = {"query_length": QUERY_LENGTH, "passage_length": PASSAGE_LENGTH}
    stage = stage_of(tmp_path / "tokens", {**lengths, **{name: settings[name] for name in READING}})
    names, stage.facts = tokenize(stage.settings, stage.folder, made, tokenizer)
    store = TokenStore(seal(stage, names), "passages")
    encoder = initial_encoder(ENCODER, tokenizer.facts["vocabulary"], tokenizer.facts["pad"], PASSAGE_LENGTH, None, 0)
    stage = stage_of(tmp_path / "model", {})
    stage.facts = {"dim": encoder.dim}
    model = seal(stage, encoder.save(stage.folder))

    write_encoder(
        tmp_path / "out", model, tokenizer, PASSAGE_LENGTH, Reading(lower_case=settings["lower_case"]), "document"
    )
    (tmp_path / "out/README.md").write_text("made\n")
    theirs = SentenceTransformer(str(tmp_path / "out"), device="cpu").tokenizer
    separator = tokenizer.facts["reading"]["separator"]
    given = list(passage_texts(made, Reading(settings["passage_template"], separator)))
    read = theirs(given, padding=True, truncation=True, return_tensors="np")
    ids, mask = store.batch(range(40))
    assert set(read) == {"input_ids", "attention_mask"}
    assert read["input_ids"].tolist() == ids.tolist() and read["attention_mask"].tolist() == mask.tolist()
    # Passage 2 has no title: its separator is the first token between the special ones.
    assert ids[2, len(store.prefix)] == tokenizer.facts["suffix"][-1]


def test_the_card_tells_of_the_system_first_and_then_of_what_it_builds_on(made: Exported) -> None:
    card = made.artifact.path("README.md").read_text(encoding="utf-8")
    told = [line.removeprefix("### ") for line in card.splitlines() if line.startswith("### ")]
    assert told == ["adore_star", "star", "bm25neg", "bm25"]


def test_a_system_without_vectors_has_runs_and_a_card(tmp_path: Path) -> None:
    made = {"collection": collection(tmp_path / "collection")}
    stage = stage_of(tmp_path / "run", {"splits": ["train"], "depth": 2, "k1": 0.9, "b": 0.4})
    pairs = np.repeat(np.arange(12), 2)
    write_run(
        stage.folder / "run.train.parquet", pairs, np.tile([3, 4], 12), np.tile([1, 2], 12), np.tile([2.0, 1], 12)
    )
    made["run"] = seal(stage, ["run.train.parquet"])
    made["measure"] = measured(tmp_path / "bm25", made)
    stage = begun(tmp_path / "export", made, "bm25")
    assert export(stage) == ["README.md", "runs/plain/train.trec", "runs/train.trec"]
    card = (stage.folder / "README.md").read_text()
    assert card.startswith("# bm25 on made\n\nBM25 through Lucene.") and "\n\n\n" not in card
    assert "k1: 0.9\nb: 0.4\ndepth: 2" in card and not code(card) and "encoder/" not in card
    header = (stage.folder / "runs/train.trec").read_text().partition("# ir_metadata.end")[0]
    assert "#   - name: bm25" in header and "#     k1: 0.9" in header


def test_vectors_from_elsewhere_behind_an_index_that_cannot_be_joined(tmp_path: Path) -> None:
    made, _ = system(tmp_path / "made", "tiny")
    for role in ("tokenizer", "tokens", "model", "passage_model"):
        del made[role]
    stage = stage_of(tmp_path / "index", {"factory": "HNSW8"})
    stage.facts = {"files": ["index-0000-of-0002", "index-0001-of-0002"]}
    for name in stage.facts["files"]:
        index = faiss.index_factory(16, "HNSW8", faiss.METRIC_INNER_PRODUCT)
        index.add(vectors_of(made["passages"]).block(0, 20))
        faiss.write_index(index, str(stage.folder / name))
    stage = begun(tmp_path / "export", made | {"index": seal(stage, stage.facts["files"])})
    assert export(stage) == ["README.md", "runs/plain/train.trec", "runs/train.trec"]
    card = (stage.folder / "README.md").read_text()
    assert "The index has 2 files, and FAISS cannot\nmerge files of HNSW8." in card and "`pyserini/`" not in card
    assert "- The index (HNSW8) is approximate" in card and "index: HNSW8" in card
