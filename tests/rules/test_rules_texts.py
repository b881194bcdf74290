"""What the scripts of a collection leave: the download, the prepared texts, the tokenizer and the token ids."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import PASSAGES_EACH, TOPICS, small_config, write_collection
from download_site import serving
from faults import CHECKS, Check
from made_stages import Stages, columns
from tokenizers import Tokenizer

from hardneg.text.tokens import TokenStore

SPLITS = {"train": 4 * TOPICS, "test": TOPICS}


def records(stages: Stages, name: str) -> list[dict[str, str]]:
    """The lines of a file of the project's data."""
    return [json.loads(line) for line in (stages.folder / "data" / name).read_text(encoding="utf-8").splitlines()]


def test_the_collection_holds_every_text_in_order(stages: Stages) -> None:
    made = stages.made("collection")
    passages = columns(made, "passages.parquet")
    given = records(stages, "corpus.jsonl")
    assert len(given) == TOPICS * PASSAGES_EACH == made.facts["passages"]
    assert list(passages["passage_id"]) == [record["_id"] for record in given]
    assert list(passages["title"]) == [record["title"] for record in given]
    assert list(passages["text"]) == [record["text"] for record in given]
    texts = {record["_id"]: record["text"] for record in records(stages, "queries.jsonl")}
    for split, count in SPLITS.items():
        queries = columns(made, f"queries.{split}.parquet")
        assert len(queries["query_id"]) == count == made.facts["splits"][split]["queries"]
        assert [texts[query] for query in queries["query_id"]] == list(queries["text"])


@pytest.mark.parametrize("split", SPLITS)
def test_judgements_point_at_their_texts(stages: Stages, split: str) -> None:
    made = stages.made("collection")
    qrels = columns(made, f"qrels.{split}.parquet")
    lines = (stages.folder / "data" / "qrels" / f"{split}.tsv").read_text(encoding="utf-8").splitlines()[1:]
    rows = zip(qrels["query_id"], qrels["passage_id"], qrels["grade"], strict=True)
    assert sorted("\t".join(map(str, row)) for row in rows) == sorted(lines)
    for role, file in (("query", f"queries.{split}.parquet"), ("passage", "passages.parquet")):
        assert (columns(made, file)[f"{role}_id"][qrels[role]] == qrels[f"{role}_id"]).all()


def test_the_tokenizer_has_the_vocabulary_that_was_asked_for(stages: Stages) -> None:
    made = stages.made("tokenizer")
    tokenizer = Tokenizer.from_file(str(made.path("tokenizer/tokenizer.json")))
    wanted = stages.config["encoder"]["tiny"]["vocabulary"]
    single_bytes = 256  # so that every character is known
    assert tokenizer.get_vocab_size() == wanted + single_bytes == made.facts["vocabulary"]
    special = [tokenizer.token_to_id(token) for token in ("[PAD]", "[CLS]", "[SEP]")]
    assert special == [made.facts["pad"], *made.facts["prefix"], *made.facts["suffix"]]


def test_token_ids_are_the_tokenizers(stages: Stages) -> None:
    made = stages.made("tokens")
    tokenizer = Tokenizer.from_file(str(stages.made("tokenizer").path("tokenizer/tokenizer.json")))
    given = records(stages, "corpus.jsonl")
    store = TokenStore(made, "passages")
    assert len(store) == len(given)
    lengths = store.lengths(np.arange(len(store)))
    settings = stages.config["encoder"]
    assert lengths.min() >= 3 and lengths.max() == settings["passage_length"]
    offsets, ids = np.load(made.path("passages.offsets.npy")), np.fromfile(made.path("passages.ids.bin"), "<u2")
    assert offsets[0] == 0 and offsets[-1] == len(ids) and ids.max() < made.facts["texts"]["passages"]["count"] + 600
    for row in range(0, len(given), 17):
        text = f"{given[row]['title']} {given[row]['text']}"
        expected = tokenizer.encode(text, add_special_tokens=False).ids[: settings["passage_length"] - 2]
        assert ids[offsets[row] : offsets[row + 1]].tolist() == expected
    for split, count in SPLITS.items():
        queries = TokenStore(made, f"queries.{split}")
        assert len(queries) == count
        assert queries.lengths(np.arange(count)).max() <= settings["query_length"]


# --- the download ---


def packed(folder: Path) -> bytes:
    """A zip file of a folder's files."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder.parent))
    return content.getvalue()


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A project whose collection, of another seed, lies on a server as a zip file."""
    write_collection(tmp_path / "published" / "beir", seed=1)
    content = packed(tmp_path / "published" / "beir")
    digest = hashlib.sha256(content).hexdigest()
    with serving(monkeypatch) as site:
        site.content = content
        url = site.url.replace("file.bin", "beir.zip")
        download = [{"url": url, "sha256": digest, "unpack": True}]
        config = {
            "collection": {"format": "beir", "name": "fetched", "path": "beir", "download": download},
            "splits": {"evaluate": ["test"]},
            "systems": {"bm25": {"preset": "bm25"}},
        }
        (tmp_path / "project").mkdir()
        yield Stages(tmp_path / "project", config), site


def test_a_download_is_verified_unpacked_and_prepared(published: Any, tmp_path: Path) -> None:
    project, site = published
    made = project.made("download")
    files = {path.relative_to(tmp_path / "published"): path for path in (tmp_path / "published").rglob("*.*")}
    assert {name: (made.folder / "files" / name).read_bytes() for name in files} == {
        name: path.read_bytes() for name, path in files.items()
    }
    assert set(made.manifest["files"]) == {f"files/{name}" for name in files}
    for key, value in project.stage("download").record.items():
        assert made.manifest[key] == value, key
    asked = len(site.asked)
    said = project.call(project.commands(project.stage("download"))[0])
    assert "was finished by another process" in said.out and len(site.asked) == asked

    collection = project.made("collection")
    assert collection.manifest["parents"] == {"files": made.manifest["version"]}
    assert Counter(columns(collection, "qrels.train.parquet")["grade"]) == {1: SPLITS["train"]}


def test_a_download_of_other_bytes_is_refused(published: Any) -> None:
    project, site = published
    site.content = site.content[:-1] + b"!"
    said = project.call(project.commands(project.stage("download"))[0])
    assert said.status == 1 and said.err.startswith("error: ") and "sha256" in said.err.lower().replace("-", "")
    assert not (project.folder / project.stage("download").manifest).exists()


def test_a_file_that_changed_since_the_plan_is_not_sealed_under_its_version(tmp_path: Path) -> None:
    write_collection(tmp_path / "data")
    made = Stages(tmp_path, words_alone())
    with (tmp_path / "data" / "corpus.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"_id": "new", "title": "", "text": "written while the workflow runs"}\n')
    stage = made.stage("collection")
    (command,) = made.commands(stage)
    said = made.call(command)
    assert said.status == 1 and "has changed since this run began" in said.err and "Traceback" not in said.err
    assert not (tmp_path / stage.manifest).exists()


def words_alone() -> dict[str, Any]:
    """A project of BM25 alone."""
    config = small_config()
    return {**config, "systems": {"bm25": {"preset": "bm25"}}, "export": [], "analyses": {"examples": None}}


@pytest.mark.parametrize("check", CHECKS)
def test_faults_of_a_download_are_told(published: Any, check: Check, tmp_path: Path) -> None:
    project, _ = published
    check(project, project.stage("download"), tmp_path / "elsewhere")
