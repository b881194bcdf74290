"""TREC's topics and qrels."""

from __future__ import annotations

from pathlib import Path

import pytest

from hardneg.data.collection import Judgement, Query
from hardneg.data.formats.trec import qrels, topics
from hardneg.errors import HardnegError

TOPICS = """

<top>

<num> Number: 301
<title> International Organized Crime

<desc> Description:
Identify organizations that participate.

<narr> Narrative:
A relevant document must name one.
</top>
<top>
<head> Tipster Topic Description
<num> Number:  051
<dom> Domain:  International Economics
<title> Topic:  Airbus Subsidies where a < b
</top>
<TOP><num>MB3</num><title>
one line, or <title> two
</title></TOP>
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="")
    return path


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_topics(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / "topics.301", TOPICS.replace("\n", ending))
    found = list(topics(path))
    assert found[:2] == [
        Query("301", "International Organized Crime"),
        Query("051", "Airbus Subsidies where a < b"),
    ]
    assert found[2] == Query("MB3", "one line, or <title> two")
    assert [query.where for query in found] == [f"{path}:{line}" for line in (3, 14, 20)]


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("<title> when to use List<String> in java", "when to use List<String> in java"),
        ("<title> the <title> tag, and the <desc> tag\n", "the <title> tag, and the <desc> tag"),
        ("<title> a <b> c </b> d\n<desc> e", "a <b> c </b> d"),
        ("<title> Topic: a</title> <desc> b", "a"),
        ("<title>\n a\n b <x>\n<smry> c", "a b <x>"),
        ("<title> a &amp; b\n<EN-title> c", "a &amp; b"),
    ],
)
def test_angle_brackets_in_a_title_stay(tmp_path: Path, title: str, expected: str) -> None:
    path = write(tmp_path / "topics", f"<top>\n<num> Number: 7\n{title}\n\n<narr> f <title> g\n</top>\n")
    assert list(topics(path)) == [Query("7", expected)]


def test_grades_written_with_a_fraction_of_zero(tmp_path: Path) -> None:
    path = write(tmp_path / "qrels", "q 0 p 1.0\nq 0 r -2.00\n")
    assert [judgement.grade for judgement in qrels(path)] == [1, -2]
    with pytest.raises(HardnegError, match=r"not an integer(.|\n)*'1\.5'"):
        list(qrels(write(tmp_path / "other", "q 0 p 1.5\n")))


@pytest.mark.parametrize("zero", ["0", "0.000000"])
def test_smart_qrels_name_the_passage_second(tmp_path: Path, zero: str) -> None:
    path = write(tmp_path / "qrels.text", f"01 1410  0 {zero}\n01 0057  0 {zero}\n10 3  0 {zero}\n")
    found = [(judgement.query_id, judgement.passage_id, judgement.grade) for judgement in qrels(path)]
    assert found == [("1", "1410", 1), ("1", "57", 1), ("10", "3", 1)]


def test_tab_separated_topics(tmp_path: Path) -> None:
    path = write(tmp_path / "queries.tsv", '1048585\twhat is "paula deen\'s" brother\r\n\r\n2\t\n')
    assert list(topics(path)) == [Query("1048585", 'what is "paula deen\'s" brother'), Query("2", "")]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("<top>\n<num> 1\n<title> a\n", 1, "the end of the file"),
        ("<top>\n<num> 1\n<title> a\n<top>\n</top>\n", 4, "<top> after the <top> of"),
        ("<top>\n<num> 1\n<title> a\n</top>\n</top>\n", 5, "</top> without <top>"),
        ("<top>\n<num> Number: \n<title> a\n</top>\n", 1, "found:    <num>, <title>"),
        ("<top>\n<num> Number: 1\n<desc> a\n</top>\n", 1, "found:    <num>, <desc>"),
        ("<top>\n</top>\n", 1, "found:    no tags"),
        ("1\tone\n2 two\n", 2, "found:    1: '2 two'"),
        ("1\tone\n2\ttwo\tthree\n", 2, "found:    3: "),
        ("1\tone\n \ttwo\n", 2, "expected: 2: query id<tab>text"),
    ],
)
def test_topics_refused(tmp_path: Path, text: str, line: int, words: str) -> None:
    path = write(tmp_path / "topics", text)
    with pytest.raises(HardnegError) as fault:
        list(topics(path))
    assert f"{path}:{line}\n" in str(fault.value)
    assert words in str(fault.value)


@pytest.mark.parametrize(
    ("text", "grades"),
    [
        ("q1\tp1\nq1\tp2\r\n\nq2\tp1\n", [1, 1, 1]),
        ("q1 p1 0\nq1  p2\t3\nq2 p1 -1\n", [0, 3, -1]),
        ("q1 0 p1 3\nq1\tQ0\tp2\t2\nq2  0 \t p1  0 \n", [3, 2, 0]),
    ],
)
def test_qrels(tmp_path: Path, text: str, grades: list[int]) -> None:
    path = write(tmp_path / "qrels.robust04", text)
    pairs = [("q1", "p1"), ("q1", "p2"), ("q2", "p1")]
    found = list(qrels(path))
    assert [(j.query_id, j.passage_id) for j in found] == pairs
    assert [j.grade for j in found] == grades
    assert found[0] == Judgement("q1", "p1", grades[0], f"{path}:1")


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("q1\n", 1, "expected: 2: query passage or 3: query passage grade or 4: query iteration passage grade\n"),
        ("q1 0 p1 1 0.5\n", 1, "found:    5: "),
        ("q1 0 p1 1\nq1 p2 1\n", 2, "expected: 4: query iteration passage grade, as in the first line"),
        ("q1 p1 1\nq1 0 p2 1\n", 2, "found:    4: 'q1 0 p2 1'"),
        ("q1 0 p1 1\nq1 0 p2 0.5\n", 2, "found:    '0.5'"),
        ("query-id corpus-id score\n", 1, "found:    'score'"),
    ],
)
def test_qrels_refused(tmp_path: Path, text: str, line: int, words: str) -> None:
    path = write(tmp_path / "qrels", text)
    with pytest.raises(HardnegError) as fault:
        list(qrels(path))
    assert f"{path}:{line}\n" in str(fault.value)
    assert words in str(fault.value)
