"""SQuAD files as passages, queries and judgements."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from hardneg.data.collection import Judgement, Passage, Query
from hardneg.data.formats.squad import Squad
from hardneg.errors import HardnegError


def qa(name: str, question: str, **more: Any) -> dict[str, Any]:
    answers = [] if more.get("is_impossible") else [{"text": "Denver", "answer_start": 0}]
    return {"id": name, "question": question, "answers": answers, **more}


TRAIN = {
    "version": "v2.0",
    "data": [
        {
            "title": "Super_Bowl_50",
            "paragraphs": [
                {"context": "Denver won.", "qas": [qa("a", "Who won?"), qa("b", "Who lost?", is_impossible=True)]},
                {"context": "It rained.\n" * 20_000, "qas": [qa("c", "Weather?", is_impossible=False)]},
                {"context": "Denver won.", "qas": [qa("d", "Champion?")]},
            ],
        },
        {"title": "Beyonc\u00e9", "paragraphs": [{"context": "Denver won.", "qas": [qa("e", "Winner?")]}]},
    ],
}
DEV = {
    "version": "1.1",
    "data": [
        {
            "title": "Super_Bowl_50",
            "paragraphs": [
                {"context": "Halftime was long.", "qas": [qa("f", "How long?")]},
                {"context": "It rained.\n" * 20_000, "qas": []},
            ],
        }
    ],
}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "train-v2.0.json").write_text(json.dumps(TRAIN), encoding="utf-8")
    (tmp_path / "dev-v1.1.json.gz").write_bytes(gzip.compress(json.dumps(DEV, ensure_ascii=False).encode()))
    return {"dev": tmp_path / "dev-v1.1.json.gz", "train": tmp_path / "train-v2.0.json"}


def test_content(files: dict[str, Path]) -> None:
    reader = Squad(files)
    assert reader.splits() == ("train", "dev")
    assert list(reader.passages()) == list(reader.passages())
    assert list(reader.passages()) == [
        Passage("Super_Bowl_50#1", "Super Bowl 50", "Denver won."),
        Passage("Super_Bowl_50#2", "Super Bowl 50", "It rained.\n" * 20_000),
        Passage("Super_Bowl_50#3", "Super Bowl 50", "Halftime was long."),
    ]
    assert list(reader.queries("train")) == [
        Query("a", "Who won?"),
        Query("c", "Weather?"),
        Query("d", "Champion?"),
        Query("e", "Winner?"),
    ]
    assert list(reader.queries("dev")) == [Query("f", "How long?")]
    found = {(j.query_id, j.passage_id, j.grade) for j in reader.judgements("train")}
    assert found == {(q, f"Super_Bowl_50#{n}", 1) for q, n in (("a", 1), ("c", 2), ("d", 1), ("e", 1))}
    place = f"{files['dev']}, data[0].paragraphs[0].qas[0]"
    assert list(reader.judgements("dev")) == [Judgement("f", "Super_Bowl_50#3", 1, place)]


def test_provenance_and_files(files: dict[str, Path]) -> None:
    reader = Squad(files)
    assert reader.files(["dev"]) == {"train/train-v2.0.json": files["train"], "dev/dev-v1.1.json.gz": files["dev"]}
    facts = reader.provenance()
    assert facts["impossible_questions"] == {"train": 1, "dev": 0}
    assert facts["files"]["train/train-v2.0.json"]["bytes"] == files["train"].stat().st_size
    assert str(files["train"].parent) not in str(facts)
    with pytest.raises(HardnegError, match=r"found: +test\n +expected: train, dev"):
        reader.files(["test"])
    with pytest.raises(HardnegError, match="no such split"):
        list(reader.queries("test"))


def test_white_space_in_titles(tmp_path: Path) -> None:
    content = {"data": [{"title": "Super Bowl  50 ", "paragraphs": [{"context": "", "qas": []}]}]}
    (tmp_path / "a.json").write_text(json.dumps(content), encoding="utf-8")
    assert [passage.passage_id for passage in Squad({"a": tmp_path / "a.json"}).passages()] == ["Super_Bowl_50#1"]


def test_missing_file(tmp_path: Path) -> None:
    (tmp_path / "train-v1.1.json").touch()
    with pytest.raises(HardnegError, match=r"dev\.json\n +found: +in .*: train-v1\.1\.json\n"):
        Squad({"dev": tmp_path / "dev.json"})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"data": [\n{"title": ', "train.json:2\n"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"data": [\n"caf\xe9"]}', "byte 0xe9 at position 5"),
        (b"[]", "found:    list"),
        (b'{"articles": []}', "found:    articles\n  expected: the key `data` with a list of objects"),
        (b'{"data": [{"title": "a"}]}', "data[0]\n  found:    title\n  expected: the key `paragraphs`"),
        (b'{"data": [{"paragraphs": [{"context": "", "qas": []}]}]}', "has no key `title`"),
        (b'{"data": [{"title": "a", "paragraphs": [{"qas": []}]}]}', "data[0].paragraphs[0]\n  found:    qas\n"),
        (b'{"data": [{"title": "a", "paragraphs": [{"context": ""}]}]}', "the key `qas`"),
        (b'{"data": [{"title": "a", "paragraphs": [{"context": "", "qas": [{"question": ""}]}]}]}', "question id"),
        (
            b'{"data": [{"title": "a", "paragraphs": [{"context": "", "qas": [{"id": "", "question": ""}]}]}]}',
            "nothing",
        ),
        (b'{"data": [{"title": "a", "paragraphs": [{"context": "", "qas": [{"id": "q"}]}]}]}', "`question`"),
    ],
)
def test_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "train.json"
    path.write_bytes(content)
    reader = Squad({"train": path})
    with pytest.raises(HardnegError) as fault:
        list(reader.passages())
        list(reader.queries("train"))
    assert words in str(fault.value)
    assert str(path) in str(fault.value)


def test_gzip_cut_short(files: dict[str, Path]) -> None:
    files["dev"].write_bytes(files["dev"].read_bytes()[:-30])
    with pytest.raises(HardnegError, match=r"dev-v1\.1\.json\.gz, after line 0\n"):
        list(Squad(files).passages())
