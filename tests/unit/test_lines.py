"""Lines and their places: encodings, endings, gzip, and lines of any length."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import pytest

from hardneg.data.lines import grade_of, id_of, json_lines, lines, raw_lines, valid_text
from hardneg.errors import HardnegError


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_byte_order_mark_crlf_and_empty_lines(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, "\ufeffone\r\n\r\n \t\ntwo\u2028still two\r\n\ufeffthree".encode())
    # Only the first mark is one; a line separator inside a text ends no line.
    assert list(lines(path)) == [
        (f"{path}:1", "one"),
        (f"{path}:4", "two\u2028still two"),
        (f"{path}:5", "\ufeffthree"),
    ]
    assert [line for _, line in raw_lines(path)][:2] == ["one\r\n", "\r\n"]


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_long_lines(tmp_path: Path, name: str) -> None:
    long = "words and " * 300_000
    assert [text for _, text in lines(write(tmp_path / name, f"{long}\nshort\n".encode()))] == [long, "short"]


def test_not_utf8(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", b"one\ncaf\xe9\n")
    with pytest.raises(HardnegError, match=r"a\.txt:2\n(.|\n)*byte 0xe9 at position 4 of the line\n(.|\n)*UTF-8"):
        list(lines(path))


@pytest.mark.parametrize("keep", [12, 400])
def test_gzip_cut_short(tmp_path: Path, keep: int) -> None:
    text = "".join(f"{hashlib.sha256(b'%d' % number).hexdigest()}\n" for number in range(99))
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(text.encode())[:keep])
    with pytest.raises(HardnegError, match=r"a\.txt\.gz, after line \d+\n(.|\n)*end-of-stream(.|\n)*truncated"):
        list(lines(path))


def test_not_gzip_and_not_there(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(b"plain text\n")
    with pytest.raises(HardnegError, match="Not a gzipped file"):
        list(lines(tmp_path / "a.txt.gz"))
    with pytest.raises(HardnegError, match="No such file"):
        list(lines(tmp_path / "b.txt"))


def test_several_gzip_members_are_one_file(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"one\n") + gzip.compress(b"two\n"))
    assert [text for _, text in lines(tmp_path / "a.gz")] == ["one", "two"]


def test_json_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", b'{"a": 1}\n\n{"b": null}\n[1]\n')
    records = json_lines(path)
    assert [next(records), next(records)] == [(f"{path}:1", {"a": 1}), (f"{path}:3", {"b": None})]
    with pytest.raises(HardnegError, match=r"a\.jsonl:4\n  found:    \[1\]"):
        next(records)


def test_values() -> None:
    assert [id_of(value, "id", "") for value in (" p 1 ", 0, 2**70)] == ["p 1", "0", str(2**70)]
    assert [grade_of(text, "") for text in ("-2", "0", "+3")] == [-2, 0, 3]
    for value in (None, "", "  ", True, 1.0, ["p"]):
        with pytest.raises(HardnegError, match=r"no valid query id\.\n  where:    here\n"):
            id_of(value, "query id", "here")
    for text in ("1.0", "", "one", "9999999999", "1_0", "٣"):
        with pytest.raises(HardnegError, match="A grade is not an integer"):
            grade_of(text, "here")
    with pytest.raises(HardnegError, match=r"an unpaired surrogate, \\ud83d"):
        valid_text("a\ud83d", "text", "here")
