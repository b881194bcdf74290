"""BEIR folders: what is read, what is tolerated, and what is refused with its place."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from hardneg.data.collection import Judgement, Passage, Query
from hardneg.data.formats.beir import Beir
from hardneg.errors import HardnegError

NFCORPUS = Path(__file__).parents[3] / "shared" / "data" / "nfcorpus"

CORPUS = b"""{"_id": "p1", "title": "One", "text": "first text", "metadata": {"url": ""}}
{"_id": "p2", "text": "no title\\u2028here"}
{"_id": "p3", "title": null, "text": ""}
"""
QUERIES = b"""{"_id": "q2", "text": "second?"}
{"_id": "q1", "text": "premi\xc3\xa8re?"}
{"_id": "q3", "text": "unjudged"}
"""
TEST = b"query-id\tcorpus-id\tscore\nq1\tp1\t2\nq2\tp3\t0\nq1\tp2\t1\n"
PASSAGES = [Passage("p1", "One", "first text"), Passage("p2", "", "no title\u2028here"), Passage("p3", "", "")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_bytes(CORPUS)
    (tmp_path / "queries.jsonl").write_bytes(QUERIES)
    (tmp_path / "qrels" / "test.tsv").write_bytes(TEST)
    (tmp_path / "qrels" / "train.tsv").write_bytes(b"query-id\tcorpus-id\tscore\nq2\tp1\t1\n")
    (tmp_path / "qrels" / "extra.tsv").write_bytes(TEST)
    return tmp_path


def check_content(folder: Path) -> None:
    reader = Beir(folder)
    assert list(reader.passages()) == list(reader.passages()) == PASSAGES
    assert list(reader.queries("test")) == [Query("q2", "second?"), Query("q1", "première?")]
    assert list(reader.queries("train")) == [Query("q2", "second?")]
    found = [(j.query_id, j.passage_id, j.grade) for j in reader.judgements("test")]
    assert found == [("q1", "p1", 2), ("q2", "p3", 0), ("q1", "p2", 1)]


def test_plain_files(folder: Path) -> None:
    check_content(folder)
    assert Beir(folder).splits() == ("train", "test", "extra")
    assert next(Beir(folder).judgements("test")) == Judgement("q1", "p1", 2, f"{folder / 'qrels' / 'test.tsv'}:2")


def test_gzip(folder: Path) -> None:
    for name in ("corpus.jsonl", "queries.jsonl"):
        (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))
        (folder / name).unlink()
    check_content(folder)


def test_byte_order_mark_crlf_and_empty_lines(folder: Path) -> None:
    for path in (folder / "corpus.jsonl", folder / "queries.jsonl", folder / "qrels" / "test.tsv"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n\r\n"))
    check_content(folder)


def test_provenance_names_files_not_places(folder: Path) -> None:
    provenance = Beir(folder).provenance()
    assert list(provenance["files"]) == [
        "corpus.jsonl",
        "queries.jsonl",
        "qrels/train.tsv",
        "qrels/test.tsv",
        "qrels/extra.tsv",
    ]
    assert provenance["files"]["corpus.jsonl"] == {"bytes": len(CORPUS), "sha256": hashlib.sha256(CORPUS).hexdigest()}
    assert str(folder) not in str(provenance)


def read_passages(reader: Beir) -> None:
    list(reader.passages())


def read_queries(reader: Beir) -> None:
    list(reader.queries("test"))


def read_judgements(reader: Beir) -> None:
    list(reader.judgements("test"))


QRELS = "qrels/test.tsv"
HEADER = b"query-id\tcorpus-id\tscore\n"


@pytest.mark.parametrize(
    ("file", "content", "read", "place", "words"),
    [
        ("corpus.jsonl", CORPUS + b'{"_id": "p4", "text": \n', read_passages, ":4", "not valid JSON"),
        ("corpus.jsonl", b"\n" + b"[" * 100_000, read_passages, ":2", "not valid JSON"),
        ("corpus.jsonl", CORPUS + b'["p4", "text"]\n', read_passages, ":4", "not a JSON object"),
        ("corpus.jsonl", b'{"_id": "p1", "text": "caf\xe9"}\n', read_passages, ":1", "byte 0xe9 at position 27"),
        ("corpus.jsonl", CORPUS + b'{"id": "p4", "text": ""}\n', read_passages, ":4", "has no key `_id`"),
        ("corpus.jsonl", CORPUS + b'{"_id": "p4", "body": ""}\n', read_passages, ":4", "has no key `text`"),
        ("corpus.jsonl", b'{"_id": 7, "text": "x"}\n', read_passages, ":1", "a quoted id"),
        ("corpus.jsonl", b'{"_id": "", "text": "x"}\n', read_passages, ":1", "a quoted id"),
        ("corpus.jsonl", b'{"_id": "p1", "text": null}\n', read_passages, ":1", "a quoted string"),
        ("corpus.jsonl", b'{"_id": "p1", "title": 1, "text": ""}\n', read_passages, ":1", "value of `title`"),
        ("corpus.jsonl", b'{"_id": "p1", "text": "a\\ud83d"}\n', read_passages, ":1", "\\ud83d"),
        ("queries.jsonl", QUERIES + b"{'_id': 'q4'}\n", read_queries, ":4", "not valid JSON"),
        ("queries.jsonl", b'{"_id": "q1", "query": "x"}\n', read_queries, ":1", "has no key `text`"),
        (QRELS, TEST + b"q9\tp1\t1\nq8\tp1\t1\n", read_queries, ":5", "q9 (2 in all)"),
        (QRELS, TEST + b"q1\tp1\n", read_judgements, ":5", "found:    2: 'q1\\tp1'"),
        (QRELS, TEST + b"q1\t0\tp1\t1\n", read_judgements, ":5", "found:    4: "),
        (QRELS, TEST + b"q1\t\t1\n", read_judgements, ":5", "found:    2: "),
        (QRELS, TEST.replace(b"\t", b" "), read_judgements, ":1", "three columns"),
        (QRELS, TEST + b"q1\tp1\t1.5\n", read_judgements, ":5", "found:    '1.5'"),
        (QRELS, TEST + b"q1\tp1\t99999999999\n", read_judgements, ":5", "grade"),
        (QRELS, TEST.removeprefix(HEADER), read_judgements, ":1", "no header"),
        (QRELS, b"", read_judgements, "test.tsv", "no header"),
    ],
)
def test_refused(folder: Path, file: str, content: bytes, read: Callable[[Beir], None], place: str, words: str) -> None:
    (folder / file).write_bytes(content)
    reader = Beir(folder)
    with pytest.raises(HardnegError) as fault:
        read(reader)
    named = "qrels/test.tsv" if words.startswith("q9") else file
    assert f"{folder / named}{place if place.startswith(':') else ''}\n" in f"{fault.value}\n"
    assert words in str(fault.value)


def test_gzip_cut_short(folder: Path) -> None:
    texts = [hashlib.sha256(b"%d" % number).hexdigest() for number in range(999)]
    many = "".join(f'{{"_id": "{number}", "text": "{text}"}}\n' for number, text in enumerate(texts)).encode()
    (folder / "corpus.jsonl").unlink()
    (folder / "corpus.jsonl.gz").write_bytes(gzip.compress(many)[:-2000])
    with pytest.raises(HardnegError, match=r"corpus\.jsonl\.gz, after line \d{3}\n(.|\n)*truncated"):
        read_passages(Beir(folder))


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl"])
def test_missing_file_lists_what_is_there(folder: Path, name: str) -> None:
    (folder / name).rename(folder / "other.txt")
    with pytest.raises(HardnegError) as fault:
        Beir(folder)
    assert f"expected: {name} or {name}.gz" in str(fault.value)
    assert "other.txt, qrels, qrels/extra.tsv, qrels/test.tsv" in str(fault.value)


def test_missing_qrels_split_and_folder(folder: Path) -> None:
    with pytest.raises(HardnegError, match=r"expected: qrels/dev\.tsv"):
        list(Beir(folder).judgements("dev"))
    for path in (folder / "qrels").iterdir():
        path.unlink()
    with pytest.raises(HardnegError, match=r"expected: qrels/<split>\.tsv"):
        Beir(folder)
    with pytest.raises(HardnegError, match=r"found: +nothing"):
        Beir(folder / "nowhere")
    with pytest.raises(HardnegError, match=r"found: +a file"):
        Beir(folder / "corpus.jsonl")


@pytest.mark.skipif(not NFCORPUS.is_dir(), reason=f"the collection nfcorpus is not at {NFCORPUS}")
def test_nfcorpus() -> None:
    reader = Beir(NFCORPUS)
    assert reader.splits() == ("train", "dev", "test")
    assert len({passage.passage_id for passage in reader.passages()}) == 3633
    queries = [query.query_id for query in reader.queries("test")]
    assert len(queries) == len(set(queries)) == 323
    judgements = list(reader.judgements("test"))
    assert {judgement.query_id for judgement in judgements} == set(queries)
    assert len(judgements) == 12334  # the lines of test.tsv, its header not counted
    assert {judgement.grade for judgement in judgements} == {1, 2}
