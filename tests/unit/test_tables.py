"""Files with columns: how they are found, what they may hold, and what is refused with its place."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hardneg.data import records
from hardneg.data.collection import Judgement, Passage, Query
from hardneg.data.columns import Table
from hardneg.data.formats.beir import Beir
from hardneg.data.formats.tables import Files
from hardneg.errors import HardnegError

NFCORPUS = Path(__file__).parents[3] / "shared" / "data" / "nfcorpus"
PASSAGES = [Passage("p1", "One", "first text"), Passage("7", "", "second, text"), Passage("p3", "Drei", "")]
QUERIES = "q1\tfirst?\nq2\tsecond?\nq3\tunjudged\n"
QRELS = "q2 0 p1 2\nq1 0 7 1\nq1 0 p3 0\n"


def put(path: Path, text: str | bytes) -> Path:
    content = text.encode() if isinstance(text, str) else text
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def passages_of(path: Path, **settings: Any) -> list[Passage]:
    return list(Files(Table(path, **settings), {}).passages())


def reader_of(folder: Path, queries: Table | None = None, qrels: Table | None = None) -> Files:
    """A reader of one split, `test`, with good files where none are given."""
    put(folder / "p.tsv", "p1\tOne\tfirst text\n")
    put(folder / "q.tsv", QUERIES)
    put(folder / "r.txt", QRELS)
    tables = (queries or Table(folder / "q.tsv"), qrels or Table(folder / "r.txt"))
    return Files(Table(folder / "p.tsv"), {"test": tables})


# --- passages ---

JSONL = """{"_id": "p1", "title": "One", "text": "first text", "more": {"url": 1}}
{"text": "second, text", "_id": 7}
{"_id": "p3", "title": "Drei", "text": null}
"""
TSV = "p1\tOne\tfirst text\n7\t\tsecond, text\np3\tDrei\t\n"
CSV = 'Text,Id,Title\n"first text",p1,One\n"second, text",7,\n,p3,Drei\n'
GIVEN = {"columns": {"id": "key", "text": "words", "title": "name"}}


@pytest.mark.parametrize(
    ("name", "text", "settings"),
    [
        ("a.jsonl", JSONL, {}),
        ("a.jsonl.gz", JSONL, {}),
        ("a.NDJSON", JSONL, {}),
        ("a.jsonl", JSONL.replace("_id", "docno").replace("text", "contents", 1), {}),
        ("a.jsonl", JSONL.replace("_id", "key").replace('"text"', '"words"').replace("title", "name"), GIVEN),
        ("a.tsv", TSV, {}),
        ("a.tsv.gz", TSV, {}),
        ("a.txt", TSV, {"header": False}),
        ("a.tsv", f"id\ttitle\ttext\n{TSV}", {}),
        ("a.tsv", f"key\tname\twords\n{TSV}", GIVEN),
        ("a.tsv", f"no\tsuch\tnames\n{TSV}", {"header": True, "columns": {"id": 0, "title": 1, "text": 2}}),
        ("a.tsv", TSV, {"columns": {"id": 0, "title": 1, "text": 2}}),
        ("a.tsv", "\ufeffid\ttitle\ttext\r\n" + TSV.replace("\n", "\r\n\r\n"), {}),
        ("a.csv", CSV, {}),
        ("a.csv.gz", "\ufeff" + CSV.replace("\n", "\r\n"), {}),
        ("a.csv", CSV.replace("Text", "Text,author").replace("first text\"", 'first text",x').replace(
            "second, text\"", 'second, text",').replace("\n,p3", "\n,,p3"), {}),
        ("a.csv", CSV.removeprefix("Text,Id,Title\n"), {"columns": {"text": 0, "id": 1, "title": 2}}),
    ],
)  # fmt: skip
def test_passages_of_every_kind(tmp_path: Path, name: str, text: str, settings: dict[str, Any]) -> None:
    assert passages_of(put(tmp_path / name, text), **settings) == PASSAGES


def test_parquet(tmp_path: Path) -> None:
    columns = {"docid": [1, 2, 3], "other": [[0], [0], [0]], "url": ["u", None, ""], "body": ["a", "b", None]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet", row_group_size=2)
    expected = [Passage("1", "", "a", url="u"), Passage("2", "", "b"), Passage("3", "", "")]
    found = passages_of(tmp_path / "a.parquet")
    assert found == expected
    assert found[2].where == f"{tmp_path / 'a.parquet'}, row 3"
    large = {"key": pa.array(["1"], pa.large_string()), "words": pa.array(["a"]).dictionary_encode()}
    pq.write_table(pa.table(large), tmp_path / "b.parquet")
    assert passages_of(tmp_path / "b.parquet", columns={"id": "key", "text": "words"}) == [Passage("1", "", "a")]


def test_places_are_lines(tmp_path: Path) -> None:
    path = put(tmp_path / "a.csv", 'id,text\n\n1,"two\n\nlines, ""quoted"""\r\n2,b\n')
    found = passages_of(path)
    assert found == [Passage("1", "", 'two\n\nlines, "quoted"'), Passage("2", "", "b")]
    assert [passage.where for passage in found] == [f"{path}:3", f"{path}:6"]


def test_tabs_know_no_quotes(tmp_path: Path) -> None:
    assert passages_of(put(tmp_path / "a.tsv", '1\t"open\n2\tsay ""so""\n')) == [
        Passage("1", "", '"open'),
        Passage("2", "", 'say ""so""'),
    ]


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.jsonl", "a.tsv.gz"])
def test_long_passages(tmp_path: Path, name: str) -> None:
    long = "a passage on one line " * 25_000
    text = f'{{"id": "1", "text": "{long}"}}' if "json" in name else f"1{',' if 'csv' in name else chr(9)}{long}"
    assert passages_of(put(tmp_path / name, f"{text}\n")) == [Passage("1", "", long)]


def test_headers_are_told_from_data(tmp_path: Path) -> None:
    path = put(tmp_path / "a.tsv", "text\tbody of a passage\n")
    assert passages_of(path) == [Passage("text", "", "body of a passage")]
    path = put(tmp_path / "a.tsv", "id\ttext\nx\ty\n")
    assert len(passages_of(path)) == 1
    assert len(passages_of(path, header=False)) == 2
    with pytest.raises(HardnegError, match=r"a\.tsv:1\n +found: +x, y\n +expected: _id or id or docid"):
        passages_of(put(path, "x\ty\n"), header=True)


def test_four_columns_are_documents(tmp_path: Path) -> None:
    expected = [Passage("D1", "title", "body", url="http://a")]
    assert passages_of(put(tmp_path / "a.tsv", "D1\thttp://a\ttitle\tbody\n")) == expected


def test_a_column_given_by_name_is_no_other_field(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", '{"id": "1", "title": "only"}\n')
    assert passages_of(path, columns={"text": "title"}) == [Passage("1", "", "only")]


def test_parts(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    (folder / "b").mkdir(parents=True)
    for name, passage_id in (("part-1.tsv", 1), ("part-0.tsv.gz", 0), ("b/part-2.tsv", 2)):
        put(folder / name, f"id\ttext\n{passage_id}\ta\n")
    for name in ("_SUCCESS", ".part-1.tsv.crc"):
        put(folder / name, "")
    assert [p.passage_id for p in passages_of(folder)] == ["0", "1"]
    assert [p.passage_id for p in passages_of(folder / "part-[1-9]*")] == ["1"]
    assert [p.passage_id for p in passages_of(folder / "**" / "*.tsv")] == ["2", "1"]
    named = Files(Table(tmp_path / "*" / "part-*"), {}).files(())
    assert list(named) == ["passages/parts/part-0.tsv.gz", "passages/parts/part-1.tsv"]
    put(folder / "readme.csv", "")
    with pytest.raises(HardnegError, match=r"different formats(.|\n)*readme\.csv"):
        Files(Table(folder), {})


@pytest.mark.parametrize(
    ("name", "text", "settings", "place", "words"),
    [
        ("a.tsv", "1\tcaf\u00e9\n".encode("latin-1"), {}, ":1", "byte 0xe9"),
        ("a.tsv", "1\n", {}, ":1", "found:    1: '1'\n  expected: 2: id text or 3: id title text or 4: id url"),
        ("a.tsv", "1\ta\n2\tb\tc\n", {}, ":2", "found:    3: '2<tab>b<tab>c'\n  expected: 2, as in the first line"),
        ("a.tsv", "id\ttext\n2\n", {}, ":2", "found:    1: "),
        ("a.tsv", "1\ta\n", {"columns": {"id": 0, "text": 2}}, ":1", "at least 3, because `text` is at position 2"),
        ("a.tsv", "1\ta\n", {"columns": {"text": 1}}, ":1", "no column or key for `id`"),
        ("a.tsv", "1\ta\n", {"columns": {"text": "body"}}, ":1", "expected: body"),
        ("a.tsv", "id\ttext\n1\ta\n", {"columns": {"title": "name"}}, ":1", "expected: name"),
        ("a.tsv", "title\ttext\n1\ta\n", {}, ":1", "expected: _id or id or docid"),
        ("a.tsv", "1\ta\n \tb\n", {}, ":2", "no valid passage id"),
        ("a.csv", 'id,text\n\n1,"a\n2,b\n', {}, ":3", "unexpected end of data"),
        ("a.csv", 'id,text\n1,"a"b\n', {}, ":2", "not valid CSV"),
        ("a.csv", 'id,text\n1,"a\nb",c\n', {}, ":2", "found:    3: "),
        ("a.jsonl", '{"id": "1", "text": "a"}\n{"text": "b"}\n', {}, ":2", "no column or key for `id`"),
        ("a.jsonl", '{"id": "1", "title": "a"}\n', {}, ":1", "expected: text or body or contents"),
        ("a.jsonl", '{"id": null, "text": "a"}\n', {}, ":1", "found:    nothing"),
        ("a.jsonl", '{"id": "", "text": "a"}\n', {}, ":1", "found:    nothing"),
        ("a.jsonl", '{"id": 1.5, "text": "a"}\n', {}, ":1", "found:    1.5"),
        ("a.jsonl", '{"id": "1", "text": ["a"]}\n', {}, ":1", "value of `text`"),
        ("a.jsonl", '{"id": "1", "text": "\\ud83d"}\n', {}, ":1", "\\ud83d"),
        (
            "a.jsonl",
            '{"id": "1", "text": "a"}\n',
            {"columns": {"title": "nmae"}},
            ", in every record",
            "expected: nmae",
        ),
        ("a.tsv", "", {}, "", "no passages"),
        ("a.jsonl", "\n", {}, "", "no passages"),
        ("a.csv", "id,text\n", {}, "", "no passages"),
    ],
)
def test_passages_refused(
    tmp_path: Path, name: str, text: str | bytes, settings: dict[str, Any], place: str, words: str
) -> None:
    path = put(tmp_path / name, text)
    with pytest.raises(HardnegError) as fault:
        passages_of(path, **settings)
    assert f"where:    {path}{place}\n" in str(fault.value)
    assert words in str(fault.value)


def test_a_quote_never_closed_does_not_swallow_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "LONGEST_CELL", 1000)
    path = put(tmp_path / "a.csv", "id,text\n1,a\n2," + '"b\n' + "3,c\n" * 1000)
    with pytest.raises(HardnegError, match=r"a\.csv:3\n +found: +field larger than field limit \(1000\)"):
        passages_of(path)


def test_gzip_cut_short(tmp_path: Path) -> None:
    text = "".join(f"{number}\t{hashlib.sha256(b'%d' % number).hexdigest()}\n" for number in range(999))
    path = tmp_path / "a.tsv.gz"
    path.write_bytes(gzip.compress(text.encode())[:-2000])
    with pytest.raises(HardnegError, match=r"a\.tsv\.gz, after line \d{3}\n(.|\n)*truncated"):
        passages_of(path)


def test_parquet_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": ["1", None], "text": ["a", "b"]}), path)
    with pytest.raises(HardnegError, match=r"a\.parquet, row 2\n +found: +nothing"):
        passages_of(path)
    with pytest.raises(HardnegError, match=r"found: +id, text\n +expected: name"):
        passages_of(path, columns={"title": "name"})
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(HardnegError, match=r"A Parquet file cannot be read\.\n +where: .*after row 0"):
        passages_of(path)
    pq.write_table(pa.table({"id": ["1"], "text": [b"a"]}), path)
    with pytest.raises(HardnegError, match=r"row 1\n +found: +b'a'"):
        passages_of(path)


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("a.doc", {}, "found:    a.doc\n  expected: .jsonl, .ndjson, .json, .tsv"),
        ("a.parquet.gz", {}, "all but .parquet also as .gz"),
        (
            "a.tsv",
            {"columns": {"test": "b"}},
            "found:    test\n  expected: id, title, url, text\n  remedy:   write text.",
        ),
        ("a.tsv", {"columns": {"id": "b"}, "header": False}, "found:    id: b\n  expected: a position from 0, because"),
        ("a.tsv", {"columns": {"id": -1}}, "found:    id: -1\n"),
    ],
)
def test_tables_refused_before_they_are_read(tmp_path: Path, name: str, settings: dict[str, Any], words: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(HardnegError) as fault:
        Files(Table(tmp_path / name, **settings), {})
    assert words in str(fault.value)


def test_missing_file(tmp_path: Path) -> None:
    put(tmp_path / "corpus.tsv", "")
    with pytest.raises(HardnegError, match=r"found: +in .*: corpus\.tsv\n(.|\n)*correct the path: corpus\.tsv\?"):
        Files(Table(tmp_path / "corpsu.tsv"), {})
    with pytest.raises(HardnegError, match="a pattern that matches a file"):
        Files(Table(tmp_path / "part-*"), {})
    (tmp_path / "empty").mkdir()
    with pytest.raises(HardnegError, match=r"in .*empty: nothing\n"):
        Files(Table(tmp_path / "empty"), {})


# --- queries and qrels ---


def test_judged_queries_in_the_order_of_their_file(tmp_path: Path) -> None:
    reader = reader_of(tmp_path)
    assert list(reader.queries("test")) == [Query("q1", "first?"), Query("q2", "second?")]
    found = list(reader.judgements("test"))
    assert found == [
        Judgement("q2", "p1", 2, f"{tmp_path / 'r.txt'}:1"),
        Judgement("q1", "7", 1, f"{tmp_path / 'r.txt'}:2"),
        Judgement("q1", "p3", 0, f"{tmp_path / 'r.txt'}:3"),
    ]


def test_one_file_of_queries_for_several_splits(tmp_path: Path) -> None:
    reader_of(tmp_path)
    queries, other = Table(tmp_path / "q.tsv"), put(tmp_path / "other.tsv", "q3\tp1\n")
    splits = {"test": (queries, Table(tmp_path / "r.txt")), "train": (queries, Table(other))}
    reader = Files(Table(tmp_path / "p.tsv"), splits)
    assert reader.splits() == ("test", "train")
    assert [query.query_id for query in reader.queries("train")] == ["q3"]
    facts = reader.provenance()
    assert facts["queries_without_judgements"] == {"test": 1, "train": 2}
    assert list(facts["files"]) == [
        "passages/p.tsv",
        "queries.test/q.tsv",
        "qrels.test/r.txt",
        "queries.train/q.tsv",
        "qrels.train/other.tsv",
    ]
    digest = hashlib.sha256(QUERIES.encode()).hexdigest()
    assert facts["files"]["queries.train/q.tsv"] == {"bytes": len(QUERIES), "sha256": digest}
    assert str(tmp_path) not in json.dumps(facts)
    assert reader.files(["train"])["qrels.train/other.tsv"] == other


@pytest.mark.parametrize(
    ("name", "text", "columns"),
    [
        ("q.tsv", QUERIES, {}),
        ("topics.x", QUERIES, {}),
        ("q.tsv", f"qid\tquery\n{QUERIES}", {}),
        ("q.tsv", QUERIES.replace("\t", "\tde\t"), {"id": 0, "text": 2}),
        ("q.csv", "title,number,topic\nfirst?,1,q1\nsecond?,2,q2\n", {}),
        ("q.csv", "q1,first?\nq2,second?\n", {}),
        ("q.jsonl", '{"_id": "q1", "question": "first?", "title": "no"}\n{"_id": "q2", "question": "second?"}\n', {}),
        ("topics.txt", "<top>\n<num> Number: q1\n<title> first?\n</top>\n<top><num>q2<title>second?</top>\n", {}),
    ],
)
def test_queries_of_every_kind(tmp_path: Path, name: str, text: str, columns: dict[str, str | int]) -> None:
    reader = reader_of(tmp_path)
    reader = reader_of(tmp_path, queries=Table(put(tmp_path / f"x{name}", text), columns))
    assert list(reader.queries("test")) == [Query("q1", "first?"), Query("q2", "second?")]


@pytest.mark.parametrize(
    ("name", "text", "columns"),
    [
        ("qrels.robust04", QRELS, {}),
        ("r.txt.gz", QRELS.replace(" ", "\t"), {}),
        ("r.tsv", QRELS.replace(" 0 ", "\t", 2).replace(" 0 ", "\t", 1).replace(" ", "\t"), {}),
        ("r.tsv", "query-id\tcorpus-id\tscore\nq2\tp1\t2\nq1\t 7 \t1\nq1\tp3\t 0\n", {}),
        ("r.txt", f"qid iter docno rel\n{QRELS}", {}),
        ("r.txt", "x 2 p1 q2\nx 1 7 q1\nx 0 p3 q1\n", {"query": 3, "passage": 2, "grade": 1}),
        ("r.csv", "q2,p1,2\nq1,7,1\nq1,p3,0\n", {}),
        ("r.csv", QRELS.replace(" ", ","), {}),
        (
            "r.jsonl",
            '{"qid": "q2", "pid": "p1", "label": 2.0}\n{"qid": "q1", "pid": 7}\n'
            '{"qid": "q1", "pid": "p3", "label": "0"}\n',
            {},
        ),
    ],
)
def test_qrels_of_every_kind(tmp_path: Path, name: str, text: str, columns: dict[str, str | int]) -> None:
    reader = reader_of(tmp_path)
    reader = reader_of(tmp_path, qrels=Table(put(tmp_path / f"x{name}", text), columns))
    found = [(j.query_id, j.passage_id, j.grade) for j in reader.judgements("test")]
    assert found == [("q2", "p1", 2), ("q1", "7", 1), ("q1", "p3", 0)]
    assert len(list(reader.queries("test"))) == 2


def test_parquet_qrels(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    pq.write_table(pa.table({"query-id": [1, 2], "corpus-id": [10, 11], "score": [2.0, -1.0]}), path)
    reader = reader_of(tmp_path, qrels=Table(path))
    assert list(reader.judgements("test")) == [
        Judgement("1", "10", 2, f"{path}, row 1"),
        Judgement("2", "11", -1, f"{path}, row 2"),
    ]
    pq.write_table(pa.table({"qid": ["1"], "pid": ["10"], "rel": [0.5]}), path)
    with pytest.raises(HardnegError, match=r"row 1\n +found: +'0\.5'"):
        list(reader.judgements("test"))


@pytest.mark.parametrize(
    ("name", "text", "place", "words"),
    [
        ("r.tsv", "query-id\tcorpus-id\tscore\nq1\tp1\n", ":2", "found:    2: 'q1<tab>p1'\n  expected: 3, as in"),
        ("r.tsv", "query-id\tcorpus-id\tscore\nq1\t\t1\n", ":2", "no valid passage id"),
        ("r.tsv", "query-id\tcorpus-id\tscore\n\tp1\t1\n", ":2", "no valid query id"),
        ("r.tsv", "query-id\tcorpus-id\tscore\nq1\tp1\thigh\n", ":2", "found:    'high'"),
        ("r.jsonl", '{"qid": "q1", "pid": "p1", "label": null}\n', ":1", "found:    'None'"),
        ("r.jsonl", '{"qid": "q1", "pid": "p1", "label": true}\n', ":1", "found:    'True'"),
        ("r.jsonl", '{"qid": "q1", "label": 1}\n', ":1", "no column or key for `passage`"),
        ("r.csv", "q1\n", ":1", "2: query passage or 3: query passage grade or 4: query iteration"),
        ("r.txt", "q1 0 p1\n", ":1", "found:    'p1'"),
    ],
)
def test_qrels_refused(tmp_path: Path, name: str, text: str, place: str, words: str) -> None:
    path = put(tmp_path / f"x{name}", text)
    reader = reader_of(tmp_path, qrels=Table(path))
    with pytest.raises(HardnegError) as fault:
        list(reader.judgements("test"))
    assert f"where:    {path}{place}\n" in str(fault.value)
    assert words in str(fault.value)


def test_judged_query_that_is_absent(tmp_path: Path) -> None:
    path = put(tmp_path / "x.tsv", "q1\tp1\nq9\tp1\nq8\tp1\nq9\tp2\n")
    reader = reader_of(tmp_path, qrels=Table(path))
    with pytest.raises(HardnegError) as fault:
        list(reader.queries("test"))
    assert "The qrels judge a query that is not in q.tsv." in str(fault.value)
    assert f"where:    {path}:2\n  found:    q9 (2 in all)\n" in str(fault.value)


def test_no_such_split(tmp_path: Path) -> None:
    reader = reader_of(tmp_path)
    for read in (reader.queries, reader.judgements, lambda split: iter(reader.files([split]))):
        with pytest.raises(HardnegError, match=r"found: +dev\n +expected: test\n"):
            list(read("dev"))


@pytest.mark.skipif(not NFCORPUS.is_dir(), reason=f"the collection nfcorpus is not at {NFCORPUS}")
def test_a_beir_folder_as_plain_files() -> None:
    split = (Table(NFCORPUS / "queries.jsonl"), Table(NFCORPUS / "qrels" / "test.tsv"))
    plain, beir = Files(Table(NFCORPUS / "corpus.jsonl"), {"test": split}), Beir(NFCORPUS)
    for ours, theirs in zip(plain.passages(), beir.passages(), strict=True):
        assert (ours.passage_id, ours.title, ours.text) == (theirs.passage_id, theirs.title, theirs.text)
    assert list(plain.queries("test")) == list(beir.queries("test"))
    assert list(plain.judgements("test")) == list(beir.judgements("test"))


@pytest.mark.parametrize("name", ["judgment", "rating"])
def test_grades_under_an_unknown_name_are_not_taken_for_1(tmp_path: Path, name: str) -> None:
    (tmp_path / "p.tsv").write_text("p1\ttext\n")
    (tmp_path / "q.tsv").write_text("q1\ttext\n")
    (tmp_path / "r.tsv").write_text(f"qid\tdocid\t{name}\nq1\tp1\t0\n")
    given = Files(Table(tmp_path / "p.tsv"), {"test": (Table(tmp_path / "q.tsv"), Table(tmp_path / "r.tsv"))})
    with pytest.raises(HardnegError) as fault:
        list(given.judgements("test"))
    assert name in str(fault.value) and "`grade: ...`" in str(fault.value)
    named = Table(tmp_path / "r.tsv", {"grade": name})
    given = Files(Table(tmp_path / "p.tsv"), {"test": (Table(tmp_path / "q.tsv"), named)})
    assert [judgement.grade for judgement in given.judgements("test")] == [0]


def test_whole_grades_may_have_a_point(tmp_path: Path) -> None:
    (tmp_path / "p.tsv").write_text("p1\ttext\n")
    (tmp_path / "q.csv").write_text("qid,text\nq1,text\n")
    (tmp_path / "r.csv").write_text("qid,docid,score\nq1,p1,2.0\n")
    given = Files(Table(tmp_path / "p.tsv"), {"test": (Table(tmp_path / "q.csv"), Table(tmp_path / "r.csv"))})
    assert [judgement.grade for judgement in given.judgements("test")] == [2]
