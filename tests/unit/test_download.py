"""Downloads from a server that breaks off, changes its file, and answers wrongly."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from download_site import CONTENT, MD5, OTHER, SHA256, Site, get, left, ranges, refused, serving

from hardneg.data.archives import DIGESTS, RECEIPTS
from hardneg.data.download import Remote, fetch
from hardneg.errors import HardnegError


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with serving(monkeypatch) as site:
        yield site


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
    assert "requested bytes from 100,000, got 'bytes 100007-299999/300000'" in said
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
    assert "It was deleted" in refused(Remote(site.url, SHA256), tmp_path / "wrong")
    assert ranges(site) == [None, "bytes=100000-", None, "bytes=50000-"]  # the second time in pieces too, then no more
    assert left(tmp_path / "wrong") == []


def test_wrong_size_is_reported_at_once(site: Site, tmp_path: Path) -> None:
    said = refused(Remote(site.url, size=299_999), tmp_path)
    assert "found:    300,000 bytes\n  expected: 299,999 bytes" in said
    site.sends_length = False  # the length shows only while reading
    assert "found:    more than 299,999 bytes" in refused(Remote(site.url, size=299_999), tmp_path)
    assert ranges(site) == [None, None]
    assert left(tmp_path) == []


def test_an_answer_without_length_is_continued_to_the_expected_size(site: Site, tmp_path: Path) -> None:
    site.sends_length, site.cuts = False, [100_000]
    assert get(Remote(site.url, size=len(CONTENT)), tmp_path)[0].read_bytes() == CONTENT
    assert ranges(site) == [None, "bytes=100000-"]


@pytest.mark.parametrize("status", [403, 404])
def test_a_refusal_is_reported_at_once(site: Site, tmp_path: Path, status: int) -> None:
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
    assert f"download {url} by hand to {tmp_path / 'file.bin'}" in said


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
        with pytest.raises(HardnegError, match="A different file is in the way"):
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


@pytest.mark.parametrize("user", ["me:secret@", "me@", ":secret@"])
def test_credentials_in_a_url_are_refused_and_not_repeated(tmp_path: Path, user: str) -> None:
    with pytest.raises(HardnegError, match=r"holds a name or a password(?s:.*)netrc") as fault:
        fetch(Remote(f"https://{user}example.org/collection.zip"), tmp_path)
    assert "secret" not in str(fault.value) and list(tmp_path.iterdir()) == []
