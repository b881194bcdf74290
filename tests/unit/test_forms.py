"""Files whose form must not be guessed wrongly: by content, by headers of unknown names, by row numbers."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from hardneg.config.tables import PassageFile
from hardneg.data.collection import Passage
from hardneg.data.columns import Table
from hardneg.data.formats.beir import Beir
from hardneg.data.formats.tables import Files
from hardneg.errors import HardnegError

WORDS = ["the kettle is broken", "bring a rope", "rust on the lantern, again", "fresh paint everywhere"]
LINES = "".join(f"d{number}\t{text}\n" for number, text in enumerate(WORDS))
EXPECTED = [Passage(f"d{number}", "", text) for number, text in enumerate(WORDS)]
JSONL = "".join(json.dumps({"id": f"d{number}", "text": text}) + "\n" for number, text in enumerate(WORDS))


def put(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def passages(path: Path, **settings: Any) -> list[Passage]:
    return list(Files(Table(path, **settings), {}).passages())


def comma(text: str) -> str:
    return pd.read_csv(io.StringIO(text), sep="\t", header=None).to_csv(index=False, header=False)


# --- headers --------------------------------------------------------------------------------------------------------

HEADERS = ["chunk_id\tchunk_text", "Document No\tBody Text", "identifier\tparagraph", "key\tvalue", "Artikel\tInhalt"]


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("ending", ["tsv", "csv", "txt"])
def test_a_header_of_unknown_names_is_refused_with_the_names(tmp_path: Path, header: str, ending: str) -> None:
    text = f"{header}\n{LINES}"
    path = put(tmp_path / f"p.{ending}", comma(text) if ending == "csv" else text)
    with pytest.raises(HardnegError) as fault:
        passages(path)
    said = str(fault.value)
    assert f"p.{ending}:1\n" in said and header.replace("\t", ", ") in said and "header: false" in said
    names = dict(zip(("id", "text"), header.split("\t"), strict=True))
    assert passages(path, columns=names) == EXPECTED
    assert len(passages(path, header=False)) == 5


def test_a_header_of_unknown_names_over_queries_and_three_columns(tmp_path: Path) -> None:
    put(tmp_path / "p.tsv", "identifier\theading\tparagraph\nd0\tone\ttwo words\n")
    with pytest.raises(HardnegError, match="looks like a header"):
        passages(tmp_path / "p.tsv")
    put(tmp_path / "p.tsv", LINES)
    put(tmp_path / "q.tsv", f"query number\tquestion text\n{LINES}")
    put(tmp_path / "r.txt", "d0 d1\n")
    reader = Files(Table(tmp_path / "p.tsv"), {"test": (Table(tmp_path / "q.tsv"), Table(tmp_path / "r.txt"))})
    with pytest.raises(HardnegError, match=r"first line of the queries(.|\n)*found: +query number, question text"):
        list(reader.queries("test"))
    put(tmp_path / "r.txt", "from\tto\nd0\td1\n".replace("from", "query key").replace("to", "doc key"))
    with pytest.raises(HardnegError, match="first line of the qrels"):
        list(reader.judgements("test"))


def test_row_numbers_before_unknown_names(tmp_path: Path) -> None:
    put(tmp_path / "p.csv", ",chunk_id,chunk_text\n0,d0,two words\n1,d1,more words\n")
    with pytest.raises(HardnegError, match="looks like a header"):
        passages(tmp_path / "p.csv")


@pytest.mark.parametrize(("name", "mark"), [("p.csv", "\t"), ("p.csv", ";"), ("p.tsv", ",")])
def test_another_separator_is_guessed_in_the_remedy(tmp_path: Path, name: str, mark: str) -> None:
    put(tmp_path / name, "d0\tone two\nd1\tthree four\n".replace("\t", mark))
    with pytest.raises(HardnegError, match=r"if (tabs|semicolons|commas) separate the columns"):
        passages(tmp_path / name)


@pytest.mark.parametrize(
    "text",
    [
        LINES,
        LINES.replace("the kettle is broken", "kettle"),
        "query1\tdocument1\nquery2\tdocument2\n",
        "text\tlonger than a name of a column is\nother\tmore\nthird\tstill more\n",
        "alpha\tone\nbeta\tmany words\ngamma\tmore words\ndelta\tother words\n",
    ],
)
def test_records_are_no_header(tmp_path: Path, text: str) -> None:
    assert len(passages(put(tmp_path / "p.tsv", text))) == text.count("\n")


# --- content --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["p.json", "p.txt", "p.tsv", "p.csv", "passages", "p.jsonl"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("whole", [False, True])
def test_json_and_gzip_behind_another_ending_are_read_and_told(
    tmp_path: Path, name: str, packed: bool, whole: bool
) -> None:
    text = json.dumps([json.loads(line) for line in JSONL.splitlines()]) if whole else JSONL
    path = put(tmp_path / name, gzip.compress(text.encode()) if packed else text)
    reader = Files(Table(path), {})
    assert list(reader.passages()) == EXPECTED
    told = reader.provenance()["told"].get(name, "")
    assert ("read as JSON" in told) == (name not in ("p.json", "p.jsonl"))
    assert ("gzip-compressed" in told) == packed


def test_parquet_behind_another_ending(tmp_path: Path) -> None:
    path = tmp_path / "p.tsv"
    pd.DataFrame({"id": [p.passage_id for p in EXPECTED], "text": WORDS}).to_parquet(path)
    reader = Files(Table(path), {})
    assert list(reader.passages()) == EXPECTED
    assert reader.provenance()["told"] == {"p.tsv": "read as Parquet"}


def test_text_that_only_starts_like_json_is_text(tmp_path: Path) -> None:
    path = put(tmp_path / "p.tsv", "{1}\tone\n[2]\ttwo\n")
    assert [passage.passage_id for passage in passages(path)] == ["{1}", "[2]"]
    assert Files(Table(path), {}).provenance()["told"] == {}


@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_marks_between_files_put_together_are_no_part_of_ids(tmp_path: Path, start: str) -> None:
    halves = LINES.splitlines(keepends=True)
    path = put(tmp_path / "p.tsv", start + "".join(halves[:2]) + "\ufeff" + "".join(halves[2:]))
    assert passages(path) == EXPECTED
    text = comma(LINES).splitlines(keepends=True)
    assert (
        passages(put(tmp_path / "p.csv", start + "".join(text[:2]) + '\ufeff"d2"' + "".join(text[2:])[2:])) == EXPECTED
    )
    rows = JSONL.splitlines(keepends=True)
    assert passages(put(tmp_path / "p.jsonl", start + "".join(rows[:2]) + "\ufeff" + "".join(rows[2:]))) == EXPECTED
    assert passages(put(tmp_path / "q.jsonl", JSONL.replace('"d2"', '"\\ufeffd2"'))) == EXPECTED


# --- row numbers, grades, positions ---------------------------------------------------------------------------------


def judged(folder: Path, qrels: Path) -> list[tuple[str, str, int]]:
    put(folder / "p.tsv", LINES)
    put(folder / "q.tsv", LINES)
    reader = Files(Table(folder / "p.tsv"), {"test": (Table(folder / "q.tsv"), Table(qrels))})
    return [(found.query_id, found.passage_id, found.grade) for found in reader.judgements("test")]


@pytest.mark.parametrize("names", [("query_id", "passage_id"), ("query_id", "passage_id", "relevance")])
def test_row_numbers_of_a_data_frame_are_passed_over(tmp_path: Path, names: tuple[str, ...]) -> None:
    frame = pd.DataFrame([("d0", "d1", 1), ("d2", "d3", 1)], columns=["query_id", "passage_id", "relevance"])[[*names]]
    expected = [("d0", "d1", 1), ("d2", "d3", 1)]
    frame.to_csv(tmp_path / "r.csv")
    frame.to_csv(tmp_path / "r.tsv", sep="\t")
    frame.reset_index().to_csv(tmp_path / "reset.csv", index=False)
    frame.set_index(pd.Index([4, 2])).to_parquet(tmp_path / "r.parquet")
    pd.read_csv(tmp_path / "r.csv").to_csv(tmp_path / "again.csv", index=False)
    for name in ("r.csv", "r.tsv", "reset.csv", "r.parquet", "again.csv"):
        assert judged(tmp_path, tmp_path / name) == expected, name


def test_a_column_without_a_name_elsewhere_may_hold_grades(tmp_path: Path) -> None:
    with pytest.raises(HardnegError, match="no column or key for `grade`"):
        judged(tmp_path, put(tmp_path / "r.csv", "query_id,passage_id,\nd0,d1,2\n"))


@pytest.mark.parametrize("grade", ["2", "2.0", "2.", "+2.00"])
def test_grades_are_the_same_in_every_form(tmp_path: Path, grade: str) -> None:
    expected = [("d0", "d1", 2)]
    assert judged(tmp_path, put(tmp_path / "a.txt", f"d0 0 d1 {grade}\n")) == expected
    assert judged(tmp_path, put(tmp_path / "b.tsv", f"d0\td1\t{grade}\n")) == expected
    assert judged(tmp_path, put(tmp_path / "c.tsv", f"qid\tpid\tgrade\nd0\td1\t{grade}\n")) == expected
    put(tmp_path / "corpus.jsonl", JSONL.replace('"id"', '"_id"'))
    put(tmp_path / "queries.jsonl", JSONL.replace('"id"', '"_id"'))
    (tmp_path / "qrels").mkdir()
    path = put(tmp_path / "qrels" / "test.tsv", f"query-id\tcorpus-id\tscore\nd0\td1\t{grade}\n")
    assert [found.grade for found in Beir(tmp_path).judgements("test")] == [2]
    put(path, f"d0\td1\t{grade}\n")
    with pytest.raises(HardnegError, match="no header"):
        list(Beir(tmp_path).judgements("test"))


def test_positions_may_arrive_as_text(tmp_path: Path) -> None:
    given = PassageFile.model_validate({"path": "p.tsv", "id": "0", "text": "2", "title": "name"})
    assert (given.id, given.text, given.title) == (0, 2, "name")
    path = put(tmp_path / "p.tsv", LINES.replace("\t", "\thttp://x\t"))
    assert passages(path, columns={"id": given.id, "text": given.text}) == EXPECTED


def test_numbers_name_columns_where_columns_have_names(tmp_path: Path) -> None:
    frame = pd.DataFrame(list(zip([p.passage_id for p in EXPECTED], WORDS, strict=True)))
    frame.columns = frame.columns.astype(str)
    frame.to_parquet(tmp_path / "p.parquet")
    frame.to_json(tmp_path / "p.jsonl", orient="records", lines=True)
    for name in ("p.parquet", "p.jsonl"):
        assert passages(tmp_path / name, columns={"id": 0, "text": 1}) == EXPECTED
        with pytest.raises(HardnegError, match="expected: 7"):
            passages(tmp_path / name, columns={"id": 7, "text": 1})
