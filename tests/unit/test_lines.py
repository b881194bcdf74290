"""Lines and their places: encodings, endings, gzip, and lines of any length."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
from pathlib import Path

import pytest

from hardneg.data.lines import compression_told, grade_of, id_of, json_lines, lines, raw_lines, valid_text
from hardneg.errors import HardnegError


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_byte_order_mark_crlf_and_empty_lines(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, "\ufeffone\r\n\r\n \t\ntwo\u2028still two\r\n\ufeffthree".encode())
    # A mark stands where files were put together; a line separator inside a text ends no line.
    assert list(lines(path)) == [
        (f"{path}:1", "one"),
        (f"{path}:4", "two\u2028still two"),
        (f"{path}:5", "three"),
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


def test_the_content_tells_whether_a_file_is_compressed(tmp_path: Path) -> None:
    (tmp_path / "plain.gz").write_bytes(b"plain text\n")
    (tmp_path / "packed.txt").write_bytes(gzip.compress(b"packed text\n"))
    assert [text for _, text in lines(tmp_path / "plain.gz")] == ["plain text"]
    assert [text for _, text in lines(tmp_path / "packed.txt")] == ["packed text"]
    assert compression_told(tmp_path / "plain.gz") == "not compressed, though its name ends in .gz"
    assert compression_told(tmp_path / "packed.txt") == "gzip-compressed, though its name lacks .gz"
    (tmp_path / "empty.gz").touch()
    assert list(lines(tmp_path / "empty.gz")) == []
    assert compression_told(tmp_path / "empty.gz") is compression_told(write(tmp_path / "a.gz", b"x")) is None
    with pytest.raises(HardnegError, match="No such file"):
        list(lines(tmp_path / "b.txt"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (bz2.compress(b"text\n"), "a bzip2 file"),
        (lzma.compress(b"text\n"), "an xz file"),
        (b"PK\x03\x04rest", "a zip archive"),
        (b"PAR1rest", "a Parquet file"),
        ("text\n".encode("utf-16"), "UTF-16 text"),
    ],
)
def test_other_files_are_called_what_they_are(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.tsv").write_bytes(content)
    with pytest.raises(HardnegError, match=f"not a text file(.|\n)*found: +{said}"):
        list(lines(tmp_path / "a.tsv"))


def test_several_gzip_members_are_one_file(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"one\n") + gzip.compress(b"two\n"))
    assert [text for _, text in lines(tmp_path / "a.gz")] == ["one", "two"]


def test_json_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", b'{"a": 1}\n\n{"b": null}\n[1]\n')
    records = json_lines(path)
    assert [next(records), next(records)] == [(f"{path}:1", {"a": 1}), (f"{path}:3", {"b": None})]
    with pytest.raises(HardnegError, match=r"a\.jsonl:4\n  found:    \[1\]"):
        next(records)


@pytest.mark.parametrize("text", ['[{"a": 1}, {"b": null}]', '\ufeff[\n {"a": 1},\n {"b": null}\n]\n'])
def test_one_array_of_objects(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "a.json", text.encode())
    assert list(json_lines(path)) == [(f"{path}, element 1", {"a": 1}), (f"{path}, element 2", {"b": None})]


@pytest.mark.parametrize(("text", "said"), [("[1]", "element 1\n  found:    1"), ('[{"a": 1}', "not one valid array")])
def test_arrays_of_something_else(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(HardnegError, match=said):
        list(json_lines(write(tmp_path / "a.json", text.encode())))


def test_values() -> None:
    assert [id_of(value, "id", "") for value in (" p 1 ", 0, 2**70, "\ufeffx")] == ["p 1", "0", str(2**70), "x"]
    assert [grade_of(text, "") for text in ("-2", "0", "+3", "1.0", "-1.")] == [-2, 0, 3, 1, -1]
    for value in (None, "", "  ", "\ufeff", True, 1.0, ["p"]):
        with pytest.raises(HardnegError, match=r"no valid query id\.\n  where:    here\n"):
            id_of(value, "query id", "here")
    for text in ("1.5", "1.0.0", ".0", "", "one", "9999999999", "1_0", "٣"):
        with pytest.raises(HardnegError, match="A grade is not an integer"):
            grade_of(text, "here")
    with pytest.raises(HardnegError, match=r"an unpaired surrogate, \\ud83d"):
        valid_text("a\ud83d", "text", "here")
