"""The review file: lines are struck, and nothing else is changed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from hardneg.errors import HardnegError
from hardneg.generation.review import COLUMNS, read_review, write_review
from hardneg.generation.types import Generated, Request

TEXTS = [
    Generated(7, 3, 1, "Plain text.", "d", True, ""),
    Generated(7, 3, 2, "Rejected.", "d", False, "empty"),
    Generated(2, 5, 1, 'Tab\there, line\nthere, a \\n and "quotes".', "d", True, ""),
    Generated(2, 5, 2, "# looks struck", "d", True, ""),
]
REQUESTS = [Request(7, 3, "a query", "a passage")]


@pytest.fixture
def review(tmp_path: Path) -> Path:
    path = tmp_path / "review.tsv"
    write_review(TEXTS, path, REQUESTS)
    return path


def test_what_is_written_is_read(review: Path) -> None:
    assert read_review(review, TEXTS) == [(7, 3, 1), (2, 5, 1), (2, 5, 2)]
    lines = review.read_text(encoding="utf-8").splitlines()
    assert lines[0].split("\t") == list(COLUMNS)
    assert lines[1].split("\t")[-2:] == ["a query", "a passage"]
    assert r'Tab\there, line\nthere, a \\n and "quotes".' in lines[2]


def test_lines_are_struck_by_deletion_or_a_mark(review: Path) -> None:
    lines = review.read_text(encoding="utf-8").splitlines()
    review.write_text("\n".join([lines[0], f"# {lines[1]}", "", lines[3]]), encoding="utf-8")
    assert read_review(review, TEXTS) == [(2, 5, 2)]


def test_editors_may_end_lines_and_begin_files_their_own_way(review: Path) -> None:
    content = review.read_bytes()
    review.write_bytes(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"))
    assert read_review(review, TEXTS) == [(7, 3, 1), (2, 5, 1), (2, 5, 2)]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("Plain text.", "Better text.", r"altered[\s\S]*line 2"),
        ("7\t3\t1\t", "7\t3\t9\t", r"altered[\s\S]*line 2"),
        ("a query", "another query", r"altered[\s\S]*line 2"),
        ("\tPlain", " Plain", r"lost its columns[\s\S]*line 2"),
        ('"quotes"', '""quotes""', r"altered[\s\S]*line 3"),
        ("query\tpassage\tnumber", "q\tp\tn", r"lacks its header[\s\S]*line 1"),
    ],
)
def test_altered_lines_are_refused_with_their_number(review: Path, old: str, new: str, said: str) -> None:
    content = review.read_text(encoding="utf-8")
    assert content.count(old) == 1
    review.write_text(content.replace(old, new), encoding="utf-8")
    with pytest.raises(HardnegError, match=said):
        read_review(review, TEXTS)


def test_a_line_that_stands_twice_is_refused(review: Path) -> None:
    lines = review.read_text(encoding="utf-8").splitlines()
    review.write_text("\n".join([*lines, lines[1]]), encoding="utf-8")
    with pytest.raises(HardnegError, match=r"line 5[\s\S]*the text of line 2"):
        read_review(review, TEXTS)


def test_all_struck_is_not_the_same_as_empty(review: Path) -> None:
    review.write_text(review.read_text(encoding="utf-8").splitlines()[0] + "\n", encoding="utf-8")
    assert read_review(review, TEXTS) == []
    review.write_text("", encoding="utf-8")
    with pytest.raises(HardnegError, match="empty"):
        read_review(review, TEXTS)
    with pytest.raises(HardnegError, match="cannot be read"):
        read_review(review.with_name("none.tsv"), TEXTS)
    review.write_bytes(b"\xff\xfe")
    with pytest.raises(HardnegError, match="UTF-8"):
        read_review(review, TEXTS)


def test_a_review_that_a_person_made_is_not_overwritten(review: Path) -> None:
    lines = review.read_text(encoding="utf-8").splitlines()
    review.write_text("\n".join([lines[0], lines[2]]), encoding="utf-8")
    before = review.read_bytes()
    write_review(TEXTS, review, REQUESTS)
    assert review.read_bytes() == before
    with pytest.raises(HardnegError, match="other texts"):
        write_review(TEXTS[:1], review, REQUESTS)
    assert review.read_bytes() == before


def test_a_line_of_another_text_is_refused(review: Path) -> None:
    other = [dataclasses.replace(one, text=one.text.replace("Plain", "Other")) for one in TEXTS]
    for texts in (other, TEXTS[1:]):
        with pytest.raises(HardnegError, match=r"of another text[\s\S]*line 2"):
            read_review(review, texts)
