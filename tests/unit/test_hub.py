"""Hugging Face datasets: local folders are read as the Hub's are, and what cannot be read is told with its place."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hardneg.data.collection import Judgement, Passage, Query
from hardneg.data.formats import hub
from hardneg.data.formats.hub import HubDatasets, HubTable
from hardneg.errors import HardnegError

ID = "owner/name"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Passages in Parquet with whole numbers as ids, queries in JSON Lines, qrels with and without grades."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for name in ("corpus", "queries", "qrels", "pairs"):
        (tmp_path / name).mkdir()
    titles: list[str | None] = ["One", None, "Three"]
    passages = {"_id": [1, 2, 3], "title": titles, "text": ["first", "second\u2028line", ""]}
    pq.write_table(pa.table(passages), tmp_path / "corpus" / "part-0.parquet", row_group_size=2)
    (tmp_path / "queries" / "all.jsonl").write_text(
        '{"name": "q2", "question": "second?"}\n'
        '{"name": "q1", "question": "premi\\u00e8re?"}\n'
        '{"name": "q3", "question": "unjudged"}\n'
    )
    qrels = {"query-id": ["q1", "q2", "q1"], "corpus-id": [1, 3, 2], "score": [2, 0, 1]}
    pq.write_table(pa.table(qrels), tmp_path / "qrels" / "train.parquet")
    pq.write_table(pa.table(qrels), tmp_path / "qrels" / "dev.parquet")
    pq.write_table(pa.table({"query-id": ["q2"], "corpus-id": [1]}), tmp_path / "pairs" / "test.parquet")
    return tmp_path


def opened(folder: Path, **changed: HubTable) -> HubDatasets:
    corpus = HubTable(str(folder / "corpus"))
    queries = HubTable(str(folder / "queries"), columns={"id": "name"})
    train, test = HubTable(str(folder / "qrels")), HubTable(str(folder / "pairs"), split="test")
    tables = {"corpus": corpus, "queries": queries, "train": train, "test": test, **changed}
    splits = {"train": (tables["queries"], tables["train"]), "test": (tables["queries"], tables["test"])}
    return HubDatasets(tables["corpus"], splits)


def test_local_folders(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "ROWS_AT_ONCE", 2)
    reader = opened(folder)
    assert reader.splits() == ("train", "test")
    assert list(reader.passages()) == list(reader.passages())
    assert list(reader.passages()) == [
        Passage("1", "One", "first"),
        Passage("2", "", "second\u2028line"),
        Passage("3", "Three", ""),
    ]
    assert [passage.where for passage in reader.passages()][2] == f"{folder / 'corpus'}, split train, row 3"
    assert list(reader.queries("train")) == [Query("q2", "second?"), Query("q1", "première?")]
    assert list(reader.queries("test")) == [Query("q2", "second?")]
    found = [(j.query_id, j.passage_id, j.grade) for j in reader.judgements("train")]
    assert found == [("q1", "1", 2), ("q2", "3", 0), ("q1", "2", 1)]
    assert list(reader.judgements("test")) == [Judgement("q2", "1", 1, f"{folder / 'pairs'}, split test, row 1")]
    assert reader.files(["train"]) == {}


def test_columns_by_name(folder: Path) -> None:
    table = pa.table({"key": ["a"], "link": ["http://a"], "text": ["not this"], "abstract": ["this"]})
    pq.write_table(table, folder / "corpus" / "part-0.parquet")
    corpus = HubTable(str(folder / "corpus"), columns={"id": "key", "url": "link", "text": "abstract"})
    assert list(opened(folder, corpus=corpus).passages()) == [Passage("a", "", "this", url="http://a")]


def test_what_cannot_be_streamed_is_prepared_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = list(opened(folder).passages())

    def refuse(*_: Any, **__: Any) -> None:
        raise NotImplementedError

    monkeypatch.setattr(datasets.DatasetBuilder, "as_streaming_dataset", refuse)
    assert list(opened(folder).passages()) == expected
    assert list((folder / "cache").rglob("*.arrow"))


def test_no_code_is_run(folder: Path) -> None:
    trace = folder / "ran"
    (folder / "corpus" / "corpus.py").write_text(f"open({str(trace)!r}, 'w')\n")
    with pytest.raises(HardnegError, match=r"cannot be opened\.\n(.|\n)*scripts are no longer supported") as fault:
        list(opened(folder).passages())
    assert "refs/convert/parquet" in str(fault.value)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("columns", "expected"),
    [({}, "_id or id or "), ({"id": "nr"}, "nr"), ({"id": "name", "text": "body"}, "body")],
)
def test_missing_column_lists_those_there(folder: Path, columns: dict[str, str], expected: str) -> None:
    reader = opened(folder, queries=HubTable(str(folder / "queries"), columns=columns))
    with pytest.raises(HardnegError, match=rf"queries, split train\n +found: +name, question\n +expected: {expected}"):
        list(reader.queries("train"))


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"_id": ["a", None], "text": ["", ""]}, r"row 2\n +found: +nothing"),
        ({"_id": ["a", " "], "text": ["", ""]}, r"row 2\n +found: +' '"),
        ({"_id": [0.5], "text": [""]}, r"row 1\n +found: +0\.5"),
        ({"_id": ["a"], "text": [7]}, r"row 1\n +found: +7\n +expected: a string"),
    ],
)
def test_values_that_are_no_id_or_text(folder: Path, columns: dict[str, list[Any]], words: str) -> None:
    pq.write_table(pa.table(columns), folder / "corpus" / "part-0.parquet")
    with pytest.raises(HardnegError, match=rf"corpus, split train, {words}"):
        list(opened(folder).passages())


def test_grade_that_is_not_whole(folder: Path) -> None:
    scores = {"query-id": ["q1", "q1"], "corpus-id": ["1", "2"], "score": [1.0, 0.5]}
    pq.write_table(pa.table(scores), folder / "qrels" / "train.parquet")
    with pytest.raises(HardnegError, match=r"split train, row 2\n.*'0\.5'"):
        list(opened(folder).judgements("train"))


def test_unknown_split_and_configuration_list_those_there(folder: Path) -> None:
    with pytest.raises(HardnegError, match=r"split test\n.*Available splits: \['train', 'validation'\]"):
        list(opened(folder, train=HubTable(str(folder / "qrels"), split="test")).judgements("train"))
    with pytest.raises(HardnegError, match=r"corpus \(small\), split train\n.*'small' not found.*'default'"):
        list(opened(folder, corpus=HubTable(str(folder / "corpus"), config="small")).passages())


def test_files_that_differ_or_are_damaged(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "ROWS_AT_ONCE", 3)
    other = folder / "queries" / "more.jsonl"
    other.write_text('{"name": "q4", "question": "fourth?", "lang": "en"}\n')
    with pytest.raises(HardnegError, match=r"read completely\.\n.*split train, after row 3\n.*\n.*the same columns"):
        list(opened(folder).queries("train"))
    part = folder / "corpus" / "part-0.parquet"
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(HardnegError, match=r"cannot be opened\.\n.*corpus, split train\n.*\n.*Get damaged files again"):
        list(opened(folder).passages())


def test_neither_folder_nor_id(folder: Path) -> None:
    for name, found in [("nowhere/at/all", "not a local path"), (str(folder / "corpus" / "part-0.parquet"), "a file")]:
        with pytest.raises(HardnegError, match=rf"{name} \({found}\)\n"):
            opened(folder, corpus=HubTable(name))


def test_no_network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise ConnectionError(f"Couldn't reach '{ID}' on the Hub")

    monkeypatch.setattr(datasets, "load_dataset_builder", unreachable)
    reader = opened(folder, corpus=HubTable(ID, config="corpus", split="corpus"))
    with pytest.raises(HardnegError) as fault:
        list(reader.passages())
    assert f"{ID} (corpus), split corpus\n  found:    ConnectionError: Couldn't reach" in str(fault.value)
    assert "HF_HUB_OFFLINE" in str(fault.value)
    assert "copy the dataset's files to this machine" in str(fault.value)


def test_one_commit_is_read_and_recorded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None, str | None]] = []
    local = datasets.load_dataset_builder(str(folder / "corpus"))

    def load(dataset: str, config: str | None, revision: str | None) -> Any:
        asked.append((dataset, config, revision))
        return SimpleNamespace(hash="5f3c", config=local.config, as_streaming_dataset=local.as_streaming_dataset)

    monkeypatch.setattr(datasets, "load_dataset_builder", load)
    reader = opened(folder, corpus=HubTable(ID, config="corpus", revision="main"))
    assert [passage.passage_id for passage in reader.passages()] == ["1", "2", "3"]
    assert len(list(reader.passages())) == 3
    provenance = reader.provenance()
    assert asked == [(ID, "corpus", "main")]
    assert provenance["datasets"] == importlib.metadata.version("datasets")
    assert provenance["passages"] == {
        "dataset": ID,
        "config": "corpus",
        "split": "train",
        "revision": "main",
        "commit": "5f3c",
    }
    assert provenance["splits"]["test"]["qrels"]["dataset"] == "pairs"
    assert str(folder) not in str(provenance)
