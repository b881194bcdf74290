"""ir_datasets: how its records become passages, queries and judgements, and what is said when it cannot help."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from hardneg.data.collection import Judgement, Passage, Query
from hardneg.data.formats.irds import PINNED, IrDatasets
from hardneg.errors import HardnegError


class Article(NamedTuple):
    doc_id: str
    url: str
    title: str
    body: str
    image: bytes


class Abstract(NamedTuple):
    doc_id: str
    title: str
    body: bytes

    def default_text(self) -> str:
        return f"{self.title} {self.body.decode()}"


class Picture(NamedTuple):
    doc_id: str
    png: bytes


class Topic(NamedTuple):
    query_id: str
    title: str
    narrative: str


class Graded(NamedTuple):
    query_id: str
    doc_id: str
    relevance: str


ARTICLES = [Article("d1", "http://a", "One", "first", b""), Article("d2", "", "", "second\u2028line", b"")]
TOPICS = [Topic("q2", "second?", "long"), Topic("q1", "first?", "long"), Topic("q3", "unjudged", "long")]
GRADED = [Graded("q1", "d1", "2"), Graded("q2", "d2", "0"), Graded("q1", "d2", "1")]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The package, its registry empty and its home a folder of this test."""
    monkeypatch.setenv("IR_DATASETS_HOME", str(tmp_path / "home"))
    package = pytest.importorskip("ir_datasets", reason=f"the optional package {PINNED} is not installed")
    monkeypatch.setattr(package, "registry", package.util.Registry())
    return package


def register(
    package: Any,
    name: str,
    docs: Any,
    queries: list[Any] = TOPICS,
    qrels: list[Any] = GRADED,
) -> None:
    """Add a dataset that lies in memory; `docs` is what `documents` gave."""

    class Queries(package.formats.BaseQueries):  # type: ignore[misc]
        def queries_iter(self) -> Iterator[Any]:
            return iter(queries)

        def queries_cls(self) -> type:
            return type(queries[0])

    class Qrels(package.formats.BaseQrels):  # type: ignore[misc]
        def qrels_iter(self) -> Iterator[Any]:
            return iter(qrels)

        def qrels_cls(self) -> type:
            return type(qrels[0])

    package.registry.register(name, package.Dataset(docs, Queries(), Qrels()))


def documents(package: Any, records: list[Any], fault: Exception | None = None) -> Any:
    """A set of documents; reading it ends with a fault, where one is given."""

    class Docs(package.formats.BaseDocs):  # type: ignore[misc]
        def docs_iter(self) -> Iterator[Any]:
            yield from records
            if fault is not None:
                raise fault

        def docs_cls(self) -> type:
            return type(records[0])

    return Docs()


def test_records(package: ModuleType) -> None:
    docs = documents(package, ARTICLES)
    register(package, "made/train", docs)
    register(package, "made/test", docs, qrels=[Graded("q3", "d2", "-1")])
    reader = IrDatasets({"train": "made/train", "heldout": "made/test"})
    assert reader.splits() == ("train", "heldout")
    assert list(reader.passages()) == list(reader.passages())
    assert list(reader.passages()) == [
        Passage("d1", "One", "first", url="http://a"),
        Passage("d2", "", "second\u2028line"),
    ]
    assert list(reader.queries("train")) == [Query("q2", "second?"), Query("q1", "first?")]
    assert list(reader.queries("heldout")) == [Query("q3", "unjudged")]
    assert list(reader.judgements("heldout")) == [
        Judgement("q3", "d2", -1, "made/test, number 1 of its qrels"),
    ]
    assert [(j.query_id, j.passage_id, j.grade) for j in reader.judgements("train")] == [
        ("q1", "d1", 2),
        ("q2", "d2", 0),
        ("q1", "d2", 1),
    ]
    assert reader.files(["train"]) == {}


def test_default_text_holds_the_title(package: ModuleType) -> None:
    register(package, "made", documents(package, [Abstract("d1", "One", b"first")]))
    assert list(IrDatasets({"train": "made"}).passages()) == [Passage("d1", "", "One first")]


def test_provenance(package: ModuleType) -> None:
    docs = documents(package, ARTICLES)
    package.registry.register("made", package.Dataset(docs))
    register(package, "made/train", docs)
    assert IrDatasets({"train": "made/train"}).provenance() == {
        "ir_datasets": package.__version__,
        "collection": "made",
        "passages": None,
        "splits": {"train": {"id": "made/train", "queries": None, "judgements": None}},
    }


def test_provenance_of_the_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IR_DATASETS_HOME", str(tmp_path))
    pytest.importorskip("ir_datasets", reason=f"the optional package {PINNED} is not installed")
    ids = {
        "train": "msmarco-passage/train/judged",
        "dev": "msmarco-passage/dev/small",
        "dl2019": "msmarco-passage/trec-dl-2019/judged",
    }
    provenance = IrDatasets(ids).provenance()
    assert provenance["collection"] == "msmarco-passage"
    assert provenance["passages"] == 8_841_823
    assert provenance["splits"]["dev"] == {"id": ids["dev"], "queries": 6980, "judgements": 7437}
    assert provenance["splits"]["dl2019"]["queries"] == 43


def test_unknown_id_names_the_nearest(package: ModuleType) -> None:
    docs = documents(package, ARTICLES)
    for name in ("made/train", "made/test", "other"):
        register(package, name, docs)
    with pytest.raises(HardnegError, match=r"collection\.splits\.dev\n.*made/tain\n.*perhaps made/train, made/test"):
        IrDatasets({"train": "made/train", "dev": "made/tain"})


def test_id_without_judgements_names_those_below(package: ModuleType) -> None:
    docs = documents(package, ARTICLES)
    package.registry.register("made", package.Dataset(docs))
    package.registry.register("made/eval", package.Dataset(docs))
    register(package, "made/train", docs)
    with pytest.raises(HardnegError, match=r"made without queries, qrels\n(.|\n)*below it: made/train\."):
        IrDatasets({"train": "made"})


def test_splits_of_different_documents(package: ModuleType) -> None:
    register(package, "one/train", documents(package, ARTICLES))
    register(package, "two", documents(package, ARTICLES))
    with pytest.raises(HardnegError, match=r"splits\.test\n.*documents of two\n.*those of one/train, as `train` has"):
        IrDatasets({"train": "one/train", "test": "two"})


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (ConnectionError("no route to host"), "ConnectionError: no route to host"),
        (FileNotFoundError("nyt.tgz"), "FileNotFoundError: nyt.tgz"),
        (RuntimeError("All download sources failed", []), "RuntimeError: ('All download sources failed', [])"),
        (ImportError("Run 'pip install more'"), "ImportError: Run 'pip install more'"),
    ],
)
def test_faults_of_the_package(package: ModuleType, fault: Exception, words: str) -> None:
    register(package, "made/train", documents(package, ARTICLES, fault))
    with pytest.raises(HardnegError) as told:
        list(IrDatasets({"train": "made/train"}).passages())
    assert "made/train, its docs after number 2\n" in str(told.value)
    assert f"found:    {words}\n" in str(told.value)
    assert "IR_DATASETS_HOME" in str(told.value)
    assert "https://ir-datasets.com/made.html" in str(told.value)


def test_records_without_text(package: ModuleType) -> None:
    register(package, "made", documents(package, [Picture("d1", b"")]))
    with pytest.raises(HardnegError, match=r"found: +doc_id, png\n.*text, body, contents, or the method default_text"):
        list(IrDatasets({"train": "made"}).passages())


def test_grade_that_is_no_number(package: ModuleType) -> None:
    register(package, "made", documents(package, ARTICLES), qrels=[*GRADED, Graded("q1", "d1", "good")])
    with pytest.raises(HardnegError, match=r"made, number 4 of its qrels\n.*'good'"):
        list(IrDatasets({"train": "made"}).judgements("train"))


def test_package_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    with pytest.raises(HardnegError) as fault:
        IrDatasets({"train": "msmarco-passage/train/judged"})
    assert str(fault.value).endswith(f"remedy:   pip install {PINNED}")
