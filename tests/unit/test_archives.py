"""Archives: unpacked whole or not at all, whether damaged, unsafe or too large."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import pytest
from download_site import CONTENT, Site, get, left, ranges, serving

from hardneg.data.archives import unpack
from hardneg.data.download import Remote
from hardneg.errors import HardnegError


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with serving(monkeypatch) as site:
        yield site


FILES = {"set/corpus.jsonl": b"{}\n" * 9000, "set/qrels/test.tsv": b"q\tp\t1\n", "readme": b""}


def tar_of(files: dict[str, bytes], mode: Any = "w:gz", special: tarfile.TarInfo | None = None) -> bytes:
    """A tar archive, its own folders left out; `special` comes last."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        if special is not None:
            archive.addfile(special)
    return stream.getvalue()


def zip_of(files: dict[str, bytes], kind: int = stat.S_IFREG) -> bytes:
    """A zip archive, its last member of a kind."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, (name, content) in enumerate(files.items(), start=1):
            member = zipfile.ZipInfo(name)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = ((kind if number == len(files) else stat.S_IFREG) | 0o644) << 16
            archive.writestr(member, content)
    return stream.getvalue()


PACKED = {
    "set.tar.gz": tar_of(FILES),
    "set.tgz": tar_of(FILES),
    "set.tar": tar_of(FILES, "w"),
    "set.zip": zip_of(FILES),
}


def content(folder: Path) -> dict[str, bytes]:
    """The files under a folder, without hidden ones."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.mark.parametrize("name", PACKED)
def test_unpacked_once(site: Site, tmp_path: Path, name: str) -> None:
    site.content, site.cuts = PACKED[name], [99]
    remote = Remote(site.url.replace("file.bin", name), hashlib.sha256(PACKED[name]).hexdigest(), unpack=True)
    files = get(remote, tmp_path)
    assert files == [tmp_path / path for path in sorted(FILES)]
    assert content(tmp_path) == FILES  # the archive itself is gone
    assert not any(path.name.endswith((".part", ".unpacking")) for path in tmp_path.iterdir())
    assert get(remote, tmp_path) == files
    assert ranges(site) == [None, "bytes=99-"]


def test_a_lone_gz_stays_packed(site: Site, tmp_path: Path) -> None:
    url = site.url.replace("file.bin", "docs.tsv.gz")
    assert get(Remote(url, unpack=True), tmp_path) == [tmp_path / "docs.tsv.gz"]
    assert content(tmp_path) == {"docs.tsv.gz": CONTENT}


def test_an_archive_put_there_by_hand_stays(site: Site, tmp_path: Path) -> None:
    (tmp_path / "set.zip").write_bytes(PACKED["set.zip"])
    get(Remote(site.url.replace("file.bin", "set.zip"), unpack=True), tmp_path)
    assert content(tmp_path) == FILES | {"set.zip": PACKED["set.zip"]}
    assert site.asked == []


def test_what_is_missing_is_unpacked_again_and_what_differs_is_refused(site: Site, tmp_path: Path) -> None:
    site.content = PACKED["set.zip"]
    remote = Remote(site.url.replace("file.bin", "set.zip"), unpack=True)
    get(remote, tmp_path)
    (tmp_path / "readme").unlink()
    get(remote, tmp_path)
    assert content(tmp_path) == FILES
    assert len(site.asked) == 2
    (tmp_path / "readme").write_bytes(b"mine")
    with pytest.raises(HardnegError, match="A different file is in the way"):
        get(remote, tmp_path)
    with pytest.raises(HardnegError, match=r"where: +.*readme\n(.|\n)*the content in set\.zip"):  # asked for otherwise
        get(Remote(remote.url, size=len(site.content), unpack=True), tmp_path)
    assert (tmp_path / "readme").read_bytes() == b"mine"
    (tmp_path / "readme").unlink()
    get(Remote(remote.url, size=len(site.content), unpack=True), tmp_path)
    assert content(tmp_path) == FILES
    assert len(site.asked) == 3  # the last archive was kept until it could be unpacked


def test_an_archive_is_kept_where_unpacking_fails_for_another_reason(site: Site, tmp_path: Path) -> None:
    site.content = PACKED["set.zip"]
    remote = Remote(site.url.replace("file.bin", "set.zip"), unpack=True)
    (tmp_path / "set").write_bytes(b"a file where a folder is needed")
    with pytest.raises(FileExistsError):
        get(remote, tmp_path)
    (tmp_path / "set").unlink()
    get(remote, tmp_path)
    assert content(tmp_path) == FILES
    assert len(site.asked) == 1


def test_the_same_size_and_date_are_not_the_same_content(tmp_path: Path) -> None:
    (tmp_path / "set.tar").write_bytes(tar_of({"a": b"theirs"}, "w"))
    (tmp_path / "a").write_bytes(b"my own")
    os.utime(tmp_path / "a", (0, 0))  # as in the archive
    with pytest.raises(HardnegError, match="A different file is in the way"):
        unpack(tmp_path / "set.tar", tmp_path)
    assert (tmp_path / "a").read_bytes() == b"my own"


@pytest.mark.parametrize("name", ["file.bin", "set.zip"])
def test_two_at_once_ask_once(site: Site, tmp_path: Path, name: str) -> None:
    site.content = PACKED["set.zip"]
    remote = Remote(site.url.replace("file.bin", name), unpack=True)
    site.gate.clear()
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(get, remote, tmp_path) for _ in range(2)]
        site.gate.set()
        first, second = (one.result() for one in both)
    assert first == second == [tmp_path / path for path in (sorted(FILES) if name == "set.zip" else [name])]
    assert ranges(site) == [None]


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


OUTSIDE, LINK = "a path outside the folder", "a link or device"


@pytest.mark.parametrize("member", [".downloads.json", "b/.digests.json"])
def test_an_archive_cannot_say_what_was_downloaded(site: Site, tmp_path: Path, member: str) -> None:
    """Its receipt would switch the digest of another file off."""
    site.content = zip_of({"a": b"1", member: b"{}"})
    with pytest.raises(HardnegError, match="writes itself"):
        get(Remote(site.url.replace("file.bin", "bad.zip"), unpack=True), tmp_path / "folder")
    assert left(tmp_path / "folder") == []


@pytest.mark.parametrize(
    ("name", "packed", "member", "words"),
    [
        ("bad.tar.gz", tar_of({"a": b"1", "../evil": b"2"}), "../evil", OUTSIDE),
        ("bad.tar.gz", tar_of({"a": b"1", "b/../../evil": b"2"}), "b/../../evil", OUTSIDE),
        ("bad.tar", tar_of({"a": b"1", "/tmp/evil": b"2"}, "w"), "/tmp/evil", OUTSIDE),
        ("bad.tar", tar_of({"a": b"1"}, "w", special("s", tarfile.SYMTYPE, "a")), "s", LINK),
        ("bad.tar", tar_of({"a": b"1"}, "w", special("s", tarfile.SYMTYPE, "/etc/passwd")), "s", LINK),
        ("bad.tar", tar_of({"a": b"1"}, "w", special("h", tarfile.LNKTYPE, "a")), "h", LINK),
        ("bad.tar", tar_of({"a": b"1"}, "w", special("d", tarfile.CHRTYPE)), "d", LINK),
        ("bad.tar", tar_of({"a": b"1"}, "w", special("f", tarfile.FIFOTYPE)), "f", LINK),
        ("bad.zip", zip_of({"a": b"1", "../evil": b"2"}), "../evil", OUTSIDE),
        ("bad.zip", zip_of({"a": b"1", "/tmp/evil": b"2"}), "/tmp/evil", OUTSIDE),
        ("bad.zip", zip_of({"a": b"1", "..\\evil": b"2"}), "..\\\\evil", OUTSIDE),
        ("bad.zip", zip_of({"a": b"1", "b\\evil": b"2"}), "b\\\\evil", OUTSIDE),
        ("bad.zip", zip_of({"a": b"1", "C:/evil": b"2"}), "C:/evil", OUTSIDE),
        ("bad.zip", zip_of({"a": b"1", "s": b"/etc/passwd"}, stat.S_IFLNK), "s", LINK),
    ],
)
def test_unsafe_archives(site: Site, tmp_path: Path, name: str, packed: bytes, member: str, words: str) -> None:
    site.content, folder = packed, tmp_path / "folder"
    with pytest.raises(HardnegError) as fault:
        get(Remote(site.url.replace("file.bin", name), unpack=True), folder)
    assert f"where:    {name}, member '{member}'\n  found:    {words}" in str(fault.value)
    assert left(folder) == []
    assert left(tmp_path) == ["folder"]


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("kept", [0.0, 0.4, 0.98])
def test_damaged_archives(tmp_path: Path, name: str, kept: float) -> None:
    packed = PACKED[name].rstrip(b"\0") if name == "set.tar" else PACKED[name]  # a tar ends in padding
    (tmp_path / name).write_bytes(packed[: int(kept * len(packed))])
    with pytest.raises(HardnegError, match=rf"is damaged. Nothing was(.|\n)*where: +{name}"):
        unpack(tmp_path / name, tmp_path)
    assert left(tmp_path) == [name]


def test_a_tar_cut_between_members_is_damaged(tmp_path: Path) -> None:
    packed = PACKED["set.tar"]
    (tmp_path / "set.tar").write_bytes(packed[: packed.index(b"readme")])
    with pytest.raises(HardnegError, match="no end mark"):
        unpack(tmp_path / "set.tar", tmp_path)
    assert left(tmp_path) == ["set.tar"]


@pytest.mark.parametrize("name", ["set.tar.gz", "set.zip"])
def test_a_changed_byte_is_noticed(tmp_path: Path, name: str) -> None:
    noise = Random(6).randbytes(5000)
    packed = bytearray(tar_of({"a": noise}) if name == "set.tar.gz" else zip_of({"a": noise}))
    packed[2000] ^= 1
    (tmp_path / name).write_bytes(packed)
    with pytest.raises(HardnegError, match="is damaged"):
        unpack(tmp_path / name, tmp_path)
    assert left(tmp_path) == [name]


@pytest.mark.parametrize("name", PACKED)
def test_the_unpacked_size_is_bounded(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(PACKED[name])
    total = sum(map(len, FILES.values()))
    with pytest.raises(
        HardnegError, match=rf"found: +{total:,} bytes or more\n +expected: at most {total - 1:,} bytes"
    ):
        unpack(tmp_path / name, tmp_path, limit=total - 1)
    assert left(tmp_path) == [name]
    assert len(unpack(tmp_path / name, tmp_path, limit=total)) == len(FILES)


def test_leftovers_of_a_killed_process_go(tmp_path: Path) -> None:
    (tmp_path / ".set.zip.unpacking").mkdir()
    (tmp_path / ".set.zip.unpacking" / "half").write_bytes(b"half")
    (tmp_path / "set.zip").write_bytes(PACKED["set.zip"])
    unpack(tmp_path / "set.zip", tmp_path)
    assert content(tmp_path) == FILES | {"set.zip": PACKED["set.zip"]}
