"""Downloads from a server that cuts, changes and lies; archives that are damaged or mean harm."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import socket
import stat
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any

import pytest
import requests

from hardneg.data.download import DIGESTS, RECEIPTS, Remote, fetch, unpack
from hardneg.errors import HardnegError

CONTENT = Random(4).randbytes(300_000)
OTHER = Random(5).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()


@dataclass
class Site:
    """What the server gives, which faults it has, and what was asked of it.

    Attributes:
        content: the bytes of every file.
        validators: ETag and Last-Modified, sent with every answer.
        cuts: the body of each next answer ends after so many bytes; then answers are whole.
        statuses: each next answer has this status and no file; then answers are usual.
        ranges: whether Range is understood.
        conditions: whether If-Range is understood.
        shift: how far the answer to a Range is off.
        told: whether Content-Length is sent.
        second: content and validators after the first answer, if they change.
        gate: answers wait for it.
        asked: Range and If-Range of each request.
        encodings: every Accept-Encoding asked for.
    """

    content: bytes = CONTENT
    validators: dict[str, str] = field(default_factory=lambda: {"ETag": '"one"'})
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    ranges: bool = True
    conditions: bool = True
    shift: int = 0
    told: bool = True
    second: tuple[bytes, dict[str, str]] | None = None
    gate: threading.Event = field(default_factory=threading.Event)
    asked: list[tuple[str | None, str | None]] = field(default_factory=list)
    encodings: set[str | None] = field(default_factory=set)
    url: str = ""


def handler_of(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.gate.wait(10)
            wanted, condition = self.headers["Range"], self.headers["If-Range"]
            site.asked.append((wanted, condition))
            site.encodings.add(self.headers["Accept-Encoding"])
            if self.path.startswith("/moved/"):
                self.send_response(302)
                self.send_header("Location", self.path.removeprefix("/moved"))
                self.end_headers()
                return
            if site.statuses:
                self.send_error(site.statuses.pop(0))
                return
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and site.ranges else 0
            if site.conditions and condition is not None and condition not in site.validators.values():
                start = 0
            if start >= len(site.content):
                self.send_error(416)
                return
            body = site.content[start + site.shift if start else 0 :]
            self.send_response(206 if start else 200)
            if start:
                whole = len(site.content)
                self.send_header("Content-Range", f"bytes {start + site.shift}-{whole - 1}/{whole}")
            if site.told:
                self.send_header("Content-Length", str(len(body)))
            for name, value in site.validators.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body[: site.cuts.pop(0)] if site.cuts else body)
            if site.second is not None:
                (site.content, site.validators), site.second = site.second, None

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("NO_PROXY", "*")
    site = Site()
    site.gate.set()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(site))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    site.url = f"http://127.0.0.1:{server.server_address[1]}/folder/file.bin"
    yield site
    site.gate.set()
    server.shutdown()
    server.server_close()


def get(remote: Remote, folder: Path, **options: Any) -> list[Path]:
    return fetch(remote, folder, wait=0.0, **options)


def refused(remote: Remote, folder: Path, **options: Any) -> str:
    """What is said when the file cannot be had; its final name was not given to anything."""
    with pytest.raises(HardnegError) as fault:
        get(remote, folder, **options)
    assert not (folder / "file.bin").exists()
    return str(fault.value)


def left(folder: Path) -> list[str]:
    """What lies in a folder, without the lock."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.name != ".writer.lock")


def ranges(site: Site) -> list[str | None]:
    return [wanted for wanted, _ in site.asked]


@pytest.mark.parametrize(
    "expected",
    [{}, {"sha256": SHA256}, {"md5": MD5.upper()}, {"size": len(CONTENT)}, {"sha256": SHA256, "md5": MD5}],
)
def test_whole_and_then_no_more_requests(site: Site, tmp_path: Path, expected: dict[str, Any]) -> None:
    folder, progress = tmp_path / "new" / "folder", tmp_path / "progress.jsonl"
    remote = Remote(site.url, **expected)
    assert get(remote, folder, progress=progress) == [folder / "file.bin"]
    assert (folder / "file.bin").read_bytes() == CONTENT
    assert left(folder) == sorted([DIGESTS, RECEIPTS, "file.bin"])
    assert get(remote, folder) == [folder / "file.bin"]
    assert ranges(site) == [None]
    last = json.loads(progress.read_text().splitlines()[-1])
    assert (last["state"], last["done"], last["total"], last["unit"]) == ("done", len(CONTENT), len(CONTENT), "bytes")


def test_goes_on_after_each_cut(site: Site, tmp_path: Path) -> None:
    site.cuts = [1, 70_000, 100_000]
    (path,) = get(Remote(site.url, SHA256), tmp_path)
    assert path.read_bytes() == CONTENT
    assert site.asked == [(None, None), *((f"bytes={n}-", '"one"') for n in (1, 70_001, 170_001))]
    assert site.encodings == {"identity"}  # positions count in the file, not in a packed form of it


def test_more_cuts_than_attempts_if_each_brings_something(site: Site, tmp_path: Path) -> None:
    site.cuts = [30_000] * 9
    (path,) = get(Remote(site.url), tmp_path, attempts=2)
    assert path.read_bytes() == CONTENT
    assert ranges(site) == [None, *(f"bytes={n}-" for n in range(30_000, 300_000, 30_000))]


def test_a_later_call_goes_on(site: Site, tmp_path: Path) -> None:
    site.cuts = [80_000]
    assert "80,000 bytes kept" in refused(Remote(site.url), tmp_path, attempts=1)
    assert left(tmp_path) == ["file.bin.part", "file.bin.part.json"]
    assert (tmp_path / "file.bin.part").read_bytes() == CONTENT[:80_000]
    (path,) = get(Remote(site.url), tmp_path)
    assert path.read_bytes() == CONTENT
    assert ranges(site) == [None, "bytes=80000-"]


def test_ended_but_not_checked_is_not_asked_for_again(site: Site, tmp_path: Path) -> None:
    notes = {"url": site.url, "total": len(CONTENT), "validators": {"ETag": '"one"'}}
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    (tmp_path / "file.bin.part.json").write_text(json.dumps(notes))
    (path,) = get(Remote(site.url, SHA256), tmp_path)
    assert path.read_bytes() == CONTENT
    assert site.asked == []


def test_a_part_from_elsewhere_is_not_continued(site: Site, tmp_path: Path) -> None:
    notes = {"url": "http://elsewhere/file.bin", "total": len(CONTENT), "validators": {"ETag": '"one"'}}
    (tmp_path / "file.bin.part").write_bytes(OTHER[:1000])
    (tmp_path / "file.bin.part.json").write_text(json.dumps(notes))
    (path,) = get(Remote(site.url), tmp_path)
    assert path.read_bytes() == CONTENT
    assert ranges(site) == [None]


def test_without_range_support_it_begins_anew(site: Site, tmp_path: Path) -> None:
    site.ranges, site.cuts = False, [100_000, 50_000]
    (path,) = get(Remote(site.url, SHA256), tmp_path)
    assert path.read_bytes() == CONTENT
    assert ranges(site) == [None, "bytes=100000-", "bytes=50000-"]


def test_without_range_support_cuts_end_it(site: Site, tmp_path: Path) -> None:
    site.ranges, site.cuts = False, [100_000, 10_000, 20_000, 30_000]
    said = refused(Remote(site.url), tmp_path, attempts=3)
    assert "280000 more expected) (3 attempts; 20,000 bytes kept)" in said
    assert ranges(site) == [None, "bytes=100000-", "bytes=10000-"]


@pytest.mark.parametrize("conditions", [True, False])
def test_a_file_that_changes_between_pieces_begins_anew(site: Site, tmp_path: Path, conditions: bool) -> None:
    site.conditions, site.cuts, site.second = conditions, [100_000], (OTHER, {"ETag": '"two"'})
    (path,) = get(Remote(site.url), tmp_path)
    assert path.read_bytes() == OTHER
    again = [] if conditions else [(None, None)]  # the server that knows no If-Range sent the rest of another file
    assert site.asked == [(None, None), ("bytes=100000-", '"one"'), *again]


def test_a_file_of_another_length_begins_anew(site: Site, tmp_path: Path) -> None:
    site.validators, site.cuts, site.second = {}, [100_000], (OTHER[:-1], {})
    remote = Remote(site.url, hashlib.sha256(OTHER[:-1]).hexdigest())
    assert get(remote, tmp_path)[0].read_bytes() == OTHER[:-1]
    assert ranges(site) == [None, "bytes=100000-", None]


def test_a_weak_tag_is_replaced_by_the_date(site: Site, tmp_path: Path) -> None:
    date = "Tue, 01 Jul 2025 10:00:00 GMT"
    site.validators, site.cuts = {"ETag": 'W/"one"', "Last-Modified": date}, [100_000]
    assert get(Remote(site.url), tmp_path)[0].read_bytes() == CONTENT
    assert site.asked == [(None, None), ("bytes=100000-", date)]


def test_without_validators_only_a_digest_allows_going_on(site: Site, tmp_path: Path) -> None:
    site.validators, site.cuts = {}, [100_000]
    assert get(Remote(site.url), tmp_path / "unknown")[0].read_bytes() == CONTENT
    site.cuts = [100_000]
    assert get(Remote(site.url, md5=MD5), tmp_path / "known")[0].read_bytes() == CONTENT
    assert ranges(site) == [None, None, None, "bytes=100000-"]


def test_wrong_content_range_is_refused(site: Site, tmp_path: Path) -> None:
    site.cuts, site.shift = [100_000, 50_000], 7
    said = refused(Remote(site.url), tmp_path, attempts=1)
    assert "100,000 bytes kept" in said
    said = refused(Remote(site.url), tmp_path, attempts=1)
    assert "asked from byte 100,000, answered 'bytes 100007-299999/300000'" in said
    assert left(tmp_path) == []
    site.cuts, site.shift = [], 0
    assert get(Remote(site.url), tmp_path)[0].read_bytes() == CONTENT


def test_a_part_longer_than_the_file_begins_anew(site: Site, tmp_path: Path) -> None:
    notes = {"url": site.url, "total": 400_000, "validators": {"ETag": '"one"'}}
    (tmp_path / "file.bin.part").write_bytes(CONTENT + b"x")
    (tmp_path / "file.bin.part.json").write_text(json.dumps(notes))
    assert get(Remote(site.url), tmp_path)[0].read_bytes() == CONTENT
    assert ranges(site) == ["bytes=300001-", None]  # the first was answered with 416


@pytest.mark.parametrize(("name", "digest"), [("sha256", SHA256), ("md5", MD5)])
def test_wrong_bytes(site: Site, tmp_path: Path, name: str, digest: str) -> None:
    site.content = OTHER
    said = refused(Remote(site.url, digest) if name == "sha256" else Remote(site.url, md5=digest), tmp_path)
    assert f"found:    {name} {hashlib.new(name, OTHER).hexdigest()}\n  expected: {name} {digest}" in said
    assert ranges(site) == [None]
    assert left(tmp_path) == []


def test_wrong_bytes_in_pieces_are_asked_for_once_more(site: Site, tmp_path: Path) -> None:
    site.conditions, site.cuts, site.second = False, [100_000], (OTHER, {"ETag": '"one"'})
    remote = Remote(site.url, hashlib.sha256(OTHER).hexdigest())
    assert get(remote, tmp_path / "mended")[0].read_bytes() == OTHER
    assert ranges(site) == [None, "bytes=100000-", None]
    site.asked, site.cuts = [], [100_000, 200_000, 50_000]
    assert "it was deleted" in refused(Remote(site.url, SHA256), tmp_path / "wrong")
    assert ranges(site) == [None, "bytes=100000-", None, "bytes=50000-"]  # the second time in pieces too, then no more
    assert left(tmp_path / "wrong") == []


def test_wrong_size_is_told_at_once(site: Site, tmp_path: Path) -> None:
    said = refused(Remote(site.url, size=299_999), tmp_path)
    assert "found:    300,000 bytes\n  expected: 299,999 bytes" in said
    site.told = False  # the length shows only while reading
    assert "found:    more than 299,999 bytes" in refused(Remote(site.url, size=299_999), tmp_path)
    assert ranges(site) == [None, None]
    assert left(tmp_path) == []


def test_an_answer_without_length_is_continued_to_the_expected_size(site: Site, tmp_path: Path) -> None:
    site.told, site.cuts = False, [100_000]
    assert get(Remote(site.url, size=len(CONTENT)), tmp_path)[0].read_bytes() == CONTENT
    assert ranges(site) == [None, "bytes=100000-"]


@pytest.mark.parametrize("status", [403, 404])
def test_a_refusal_is_told_at_once(site: Site, tmp_path: Path, status: int) -> None:
    site.statuses = [status] * 9
    said = refused(Remote(site.url), tmp_path)
    assert f"where:    {site.url}\n  found:    {status} " in said
    assert str(tmp_path / "file.bin") in said
    assert ranges(site) == [None]


def test_a_busy_server_is_asked_again(site: Site, tmp_path: Path) -> None:
    site.statuses = [503, 429]
    assert get(Remote(site.url), tmp_path)[0].read_bytes() == CONTENT
    site.statuses = [503] * 9
    assert "503 Service Unavailable (4 attempts" in refused(Remote(site.url), tmp_path / "other", attempts=4)
    assert len(site.asked) == 3 + 4


def test_waits_double(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("hardneg.data.download.time.sleep", waits.append)
    site.statuses = [503] * 9
    with pytest.raises(HardnegError):
        fetch(Remote(site.url), tmp_path, wait=9.0)
    assert waits == [9, 18, 36, 60]


def test_nobody_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/file.bin"
        said = refused(Remote(url), tmp_path, attempts=2)
    assert "found:    127.0.0.1: Connection refused (2 attempts; 0 bytes kept)" in said
    assert f"get {url} by hand and put it at {tmp_path / 'file.bin'}" in said


def test_no_such_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    said = refused(Remote("https://data.example/file.bin"), tmp_path, attempts=2)
    assert "found:    data.example: Name or service not known (2 attempts; 0 bytes kept)" in said


def test_no_answer(site: Site, tmp_path: Path) -> None:
    site.gate.clear()
    said = refused(Remote(site.url), tmp_path, attempts=1, timeout=0.1)
    assert "127.0.0.1: timed out (1 attempts" in said


def test_redirect(site: Site, tmp_path: Path) -> None:
    site.cuts = [100_000]
    url = site.url.replace("/folder/", "/moved/folder/")
    (path,) = get(Remote(url, SHA256), tmp_path)
    assert path.read_bytes() == CONTENT
    assert ranges(site) == [None, None, "bytes=100000-", "bytes=100000-"]


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://data.example/file.bin", "http://data.example/file.bin"),
        ("https://data.example/file.bin", "file:///etc/passwd"),
        ("http://data.example/file.bin", "ftp://data.example/file.bin"),
    ],
)
def test_unsafe_redirect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, target: str) -> None:
    asked: list[str | None] = []

    def send(_: Any, request: requests.PreparedRequest, **__: Any) -> requests.Response:
        asked.append(request.url)
        response = requests.Response()
        response.status_code, response.url, response.request, response.raw = 302, url, request, io.BytesIO()
        response.headers["Location"] = target
        return response

    monkeypatch.setattr("requests.adapters.HTTPAdapter.send", send)
    said = refused(Remote(url), tmp_path)
    assert f"where:    {url}\n  found:    {target}" in said
    assert asked == [url]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("file:///etc/passwd", "expected: https://"),
        ("ftp://host/file.bin", "expected: https://"),
        ("file.bin", "expected: https://"),
        ("http://[::1/file.bin", "expected: https://"),
        ("http://host", "found:    ''"),
        ("http://host/folder/", "found:    ''"),
        ("http://host/%2e%2e", "found:    '..'"),
        ("http://host/..%2fevil", "found:    '../evil'"),
        ("http://host/a%5cevil", "found:    'a\\\\evil'"),
        ("http://host/a%00evil", "found:    'a\\x00evil'"),
    ],
)
def test_unusable_urls(tmp_path: Path, url: str, words: str) -> None:
    assert words in refused(Remote(url), tmp_path)
    assert left(tmp_path) == []


def test_the_name_is_decoded_and_has_no_query() -> None:
    assert Remote("https://host/a/my%20file.tsv.gz?token=1/2#x").name == "my file.tsv.gz"


def test_a_file_put_there_by_hand_is_checked_and_used(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file.bin").write_bytes(CONTENT)
    assert get(Remote(site.url, SHA256, MD5, len(CONTENT)), tmp_path) == [tmp_path / "file.bin"]
    for remote in (Remote(site.url, "0" * 64), Remote(site.url, size=5)):
        with pytest.raises(HardnegError, match="is there already, and is another"):
            get(remote, tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert site.asked == []


def test_a_file_damaged_later_is_noticed(site: Site, tmp_path: Path) -> None:
    remote = Remote(site.url, SHA256)
    (path,) = get(remote, tmp_path)
    path.write_bytes(OTHER)
    with pytest.raises(HardnegError, match=f"found: +sha256 {hashlib.sha256(OTHER).hexdigest()}"):
        get(remote, tmp_path)
    path.unlink()
    assert get(remote, tmp_path)[0].read_bytes() == CONTENT
    assert ranges(site) == [None, None]


def test_a_full_disk(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").symlink_to("/dev/full")
    with pytest.raises(OSError) as fault:
        get(Remote(site.url), tmp_path)
    assert fault.value.errno == errno.ENOSPC
    assert not (tmp_path / "file.bin").exists()


# Archives

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
    with pytest.raises(HardnegError, match="is there already, and is another"):
        get(remote, tmp_path)
    with pytest.raises(HardnegError, match=r"where: +.*readme\n(.|\n)*as in set\.zip"):  # asked for otherwise
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
    with pytest.raises(HardnegError, match="is there already, and is another"):
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


OUTSIDE, LINK = "a place outside the folder", "a link or device"


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
    with pytest.raises(HardnegError, match=rf"is damaged; nothing of it was(.|\n)*where: +{name}"):
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
