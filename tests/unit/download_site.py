"""A server for the tests of downloads. It can break off, change its file, and answer wrongly."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any

import pytest

from hardneg.data.download import Remote, fetch
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
        sends_length: whether Content-Length is sent.
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
    sends_length: bool = True
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
            if site.sends_length:
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


@contextmanager
def serving(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A running server."""
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
