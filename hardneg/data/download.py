"""Downloads that resume, are verified by digest, and are unpacked safely.

The target folder also holds these files:

* `<name>.part` has the bytes received so far, and `<name>.part.json` the server's ETag, date and length. The next
  attempt, in this process or a later one, requests only the rest and notices if the file has changed.
* `.downloads.json` records complete downloads: the request, and the SHA-256 of each resulting file.

Existing files are never overwritten. A different file in the way is an error, and the user decides.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import requests
from urllib3.exceptions import HTTPError

from hardneg.data.archives import ARCHIVES, DIGESTS, PART, RECEIPTS, UNPACKED_LIMIT, BadArchive, in_the_way, unpack
from hardneg.errors import HardnegError
from hardneg.stages.artifacts import cached_digest, write_json, writer_lock
from hardneg.stages.progress import Progress

CHUNK = 1 << 16  # bytes; a broken connection loses at most this much
PATIENCE = 86_400.0  # seconds; how long a second process waits for the first
LONGEST_WAIT = 60.0  # seconds; the longest pause between attempts
CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})  # temporary HTTP statuses


@dataclass(frozen=True)
class Remote:
    """A file on the web.

    Attributes:
        url: its http or https URL.
        sha256: its published SHA-256 in hexadecimal, or None.
        md5: its published MD5, for publishers that give no SHA-256, or None.
        size: its size in bytes, or None.
        unpack: unpack a zip, tar, tar.gz or tgz archive. Other files, including a plain .gz, are kept as they are.
    """

    url: str
    sha256: str | None = None
    md5: str | None = None
    size: int | None = None
    unpack: bool = False

    @property
    def name(self) -> str:
        """The file name: the last segment of the URL's path.

        Raises:
            HardnegError: the URL is not http or https, holds credentials, or does not end in a valid file name.
        """
        try:
            parts = urlsplit(self.url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        except ValueError:
            usable = False
        if not usable:
            raise HardnegError("A URL is not valid.", where=self.url, expected="https://... or http://...")
        if parts.username is not None or parts.password is not None:
            raise HardnegError(
                "A URL holds a name or a password, which would be written into manifests and logs.",
                where=f"the URL of a file on {parts.hostname}",
                remedy="remove it from the URL and write it into ~/.netrc, which is read for this host.",
            )
        name = unquote(parts.path.rpartition("/")[2])
        if not name or name.startswith(".") or set(name) & set("/\\\0"):
            raise HardnegError(
                "A URL does not end in a file name.",
                where=self.url,
                found=repr(name),
                expected="a URL such as https://host/folder/collection.tar.gz",
                remedy="give the URL of the file itself.",
            )
        return name

    @property
    def archive(self) -> bool:
        """Whether it will be unpacked."""
        return self.unpack and self.name.endswith(ARCHIVES)


def fetch(
    remote: Remote,
    folder: Path,
    *,
    progress: Path | None = None,
    attempts: int = 5,
    timeout: float = 30,
    wait: float = 1.0,
    limit: int = UNPACKED_LIMIT,
) -> list[Path]:
    """Download a file into a folder, and unpack it if requested. Does nothing if that was done before.

    Interrupted transfers are resumed. A file that the user put there under the URL's name is verified and used. A
    downloaded archive is deleted after unpacking; one that the user put there is kept.

    Args:
        remote: the file.
        folder: the target folder, created if missing. Only one process writes there at a time; others wait.
        progress: the file for progress lines (in bytes), if any.
        attempts: the number of consecutive failures allowed. An attempt that gets further than any before resets it.
        timeout: seconds to wait for a connection, and for each further chunk of the response.
        wait: seconds before the second attempt, doubled for each further one, at most 60.
        limit: the largest total size of the unpacked files, in bytes.

    Returns:
        The file, or the unpacked files sorted by path.

    Raises:
        HardnegError: the URL is not valid, the server refuses or cannot be reached, the size or digest is wrong, a
            different file is in the way, or the archive is damaged or unsafe.
        OSError: the folder cannot be written, or the disk is full.
    """
    if (files := _fetched(remote, folder)) is not None:
        return files
    with writer_lock(folder, patience=PATIENCE):
        if (files := _fetched(remote, folder)) is not None:  # done by the process that held the lock
            return files
        target, part = folder / remote.name, folder / f"{remote.name}{PART}"
        source = target if target.exists() else part
        if source == part:
            begun = part.stat().st_size if part.exists() else 0
            with Progress(f"download {remote.name}", remote.size, "bytes", progress, done=begun) as bar:
                _download(remote, part, bar, attempts, timeout, wait)
        elif (wrong := _difference(target, remote)) is not None:
            raise in_the_way(target, *wrong)
        if remote.archive:
            try:
                files = unpack(source, folder, limit=limit)
            except BadArchive:
                _discard(part)
                raise
        else:
            source.replace(target)
            files = [target]
        digests = {path.relative_to(folder).as_posix(): cached_digest(path, folder / DIGESTS) for path in files}
        receipt = {"remote": asdict(remote), "files": digests}
        write_json(folder / RECEIPTS, _read(folder / RECEIPTS) | {remote.name: receipt})
        _discard(part)
    return files


def _fetched(remote: Remote, folder: Path) -> list[Path] | None:
    """The files of an earlier, complete download of `remote`, or None."""
    receipt = _read(folder / RECEIPTS).get(remote.name)
    if receipt is None or receipt["remote"] != asdict(remote):
        return None
    files = {folder / name: digest for name, digest in receipt["files"].items()}
    if not all(path.is_file() for path in files):
        return None
    for path, digest in files.items():
        if (found := cached_digest(path, folder / DIGESTS)) != digest:
            raise in_the_way(path, f"sha256 {found}", f"sha256 {digest}")
    return list(files)


def _read(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty if the file is missing or malformed."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _notes(part: Path) -> Path:
    """The file with the server's information about a part."""
    return part.with_name(f"{part.name}.json")


def _discard(part: Path) -> None:
    """Remove a part and its notes, if they exist."""
    part.unlink(missing_ok=True)
    _notes(part).unlink(missing_ok=True)


def _difference(path: Path, remote: Remote) -> tuple[str, str] | None:
    """The actual and the expected size or digest of a file; None if they agree."""
    if remote.size not in (None, size := path.stat().st_size):
        return f"{size:,} bytes", f"{remote.size:,} bytes"
    for algorithm, expected in (("sha256", remote.sha256), ("md5", remote.md5)):
        if expected is not None:
            with path.open("rb") as stream:
                new = functools.partial(hashlib.new, algorithm, usedforsecurity=False)
                found = hashlib.file_digest(stream, new).hexdigest()
            if found != expected.lower():
                return f"{algorithm} {found}", f"{algorithm} {expected}"
    return None


class _Interrupted(Exception):
    """A transfer was interrupted and can be resumed."""


class _Session(requests.Session):
    """Follows redirects from http to http or https, and from https to https."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """The URL that a response redirects to.

        Raises:
            HardnegError: it is not http or https, or leads from https to http.
        """
        target = super().get_redirect_target(resp)
        if target is not None:
            scheme = urlsplit(urljoin(resp.url, target)).scheme
            if scheme != "https" and (scheme != "http" or resp.url.startswith("https:")):
                raise HardnegError(
                    "A redirect is not safe.",
                    where=resp.url,
                    found=target,
                    expected="a URL at least as secure as the original",
                    remedy="use the publisher's current URL.",
                )
        return target


def _download(remote: Remote, part: Path, bar: Progress, attempts: int, timeout: float, wait: float) -> None:
    """Download until the part is complete, and verify it."""
    by_hand = f"download {remote.url} by hand to {part.with_suffix('')}"
    longest = part.stat().st_size if part.exists() else 0
    in_pieces, renewed, failures = longest > 0, False, 0
    with _Session() as session:
        while True:
            try:
                _transfer(session, remote, part, bar, timeout)
            except _Interrupted as fault:
                reached = part.stat().st_size if part.exists() else 0
                failures = 1 if reached > longest else failures + 1
                longest = max(reached, longest)
                if failures >= attempts:
                    raise HardnegError(
                        "A file could not be downloaded.",
                        where=remote.url,
                        found=f"{fault} ({failures} attempts; {reached:,} bytes kept)",
                        remedy=f"check the network, then run the same command to resume. Or {by_hand}.",
                    ) from None
                seconds = min(wait * 2 ** (failures - 1), LONGEST_WAIT)
                print(f"{remote.url}: {fault}; resuming in {seconds:g} s from {reached:,} bytes", flush=True)
                time.sleep(seconds)
                in_pieces = in_pieces or reached > 0
                continue
            if (wrong := _difference(part, remote)) is None:
                return
            _discard(part)
            if not in_pieces or renewed:
                raise HardnegError(
                    "A downloaded file is not the expected one. It was deleted.",
                    where=remote.url,
                    found=wrong[0],
                    expected=wrong[1],
                    remedy=f"if the publisher has changed it, give the new digest and size. Or {by_hand}.",
                )
            print(f"{remote.url}: the pieces give {wrong[0]}, not {wrong[1]}; starting over", flush=True)
            renewed, longest, failures = True, 0, 0


def _transfer(session: requests.Session, remote: Remote, part: Path, bar: Progress, timeout: float) -> None:
    """Request the missing bytes of a part once, and append them.

    Raises:
        _Interrupted: the end was not reached. The bytes in the part are valid.
        HardnegError: another attempt would not help.
    """
    known = _read(_notes(part))
    validators: dict[str, str] = known.get("validators", {})
    offset = part.stat().st_size if part.exists() and known.get("url") == remote.url else 0
    if not (validators or remote.sha256 or remote.md5):
        offset = 0  # a change between two pieces could not be detected
    if offset and offset == known.get("total"):
        return  # complete, but not verified yet
    headers = {"Accept-Encoding": "identity"} | (_continuing(offset, validators) if offset else {})
    try:
        with session.get(remote.url, headers=headers, stream=True, timeout=timeout) as response:
            offset, total = _start(remote, part, response, offset, known)
            if remote.size is not None and total not in (None, remote.size):
                _discard(part)
                raise _wrong_size(remote, f"{total:,} bytes")
            end = remote.size if total is None else total
            bar.total = bar.bar.total = end
            bar.advance(offset - bar.done)
            with part.open("ab" if offset else "wb") as stream:
                if not offset:  # write the notes only after the old bytes are gone
                    kept = {
                        name: response.headers[name] for name in ("ETag", "Last-Modified") if name in response.headers
                    }
                    write_json(_notes(part), {"url": remote.url, "total": total, "validators": kept})
                for chunk in response.raw.stream(CHUNK, decode_content=False):
                    stream.write(chunk)
                    bar.advance(len(chunk))
                    if end is not None and bar.done > end:
                        _discard(part)
                        raise _wrong_size(remote, f"more than {end:,} bytes")
                stream.flush()
                os.fsync(stream.fileno())
    except (requests.ConnectionError, requests.Timeout, HTTPError) as fault:
        request = getattr(fault, "request", None)  # may be another host after a redirect
        host = urlsplit(remote.url if request is None else request.url).hostname
        by_proxy = " through the proxy" if isinstance(fault, requests.exceptions.ProxyError) else ""
        raise _Interrupted(f"{host}{by_proxy}: {_reason(fault)}") from fault
    except requests.RequestException as fault:
        raise HardnegError(
            "A file could not be downloaded.", where=remote.url, found=_reason(fault), remedy="correct the URL."
        ) from fault
    if end is not None and bar.done < end:
        raise _Interrupted(f"the response ended after {bar.done:,} of {end:,} bytes")


def _continuing(offset: int, validators: dict[str, str]) -> dict[str, str]:
    """Headers that request the bytes from `offset`, or all bytes if the file has changed (RFC 9110, 13.1.5)."""
    tag = validators.get("ETag", "")
    strong = tag and not tag.startswith("W/")  # a weak tag never matches
    condition = tag if strong else validators.get("Last-Modified")
    return {"Range": f"bytes={offset}-"} | ({"If-Range": condition} if condition else {})


def _start(
    remote: Remote, part: Path, response: requests.Response, offset: int, known: dict[str, Any]
) -> tuple[int, int | None]:
    """Check a response. Returns its offset in the file, and the length of the whole file if known."""
    status = f"{response.status_code} {response.reason}"
    if response.status_code in PASSING:
        raise _Interrupted(status)
    if response.status_code == 416 and offset:
        _discard(part)
        raise _Interrupted(f"{status} after {offset:,} bytes, which were deleted")
    if response.status_code == 206:
        content_range = response.headers.get("Content-Range", "")
        match = CONTENT_RANGE.fullmatch(content_range)
        if match is None or int(match[1]) != offset:
            _discard(part)
            raise _Interrupted(f"requested bytes from {offset:,}, got {content_range!r}")
        totals = {known.get("total") if offset else None, None if match[2] == "*" else int(match[2])} - {None}
        validators = known.get("validators", {}) if offset else {}
        if len(totals) > 1 or any(response.headers.get(name, value) != value for name, value in validators.items()):
            _discard(part)
            raise _Interrupted("the file has changed")
        return offset, totals.pop() if totals else None
    if response.status_code != 200:
        raise HardnegError(
            "The server refused to send a file.",
            where=remote.url,
            found=status if not response.history else f"{status} from {response.url}",
            remedy=f"correct the URL, or download the file by hand to {part.with_suffix('')}.",
        )
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() and "Transfer-Encoding" not in response.headers else None


def _wrong_size(remote: Remote, found: str) -> HardnegError:
    return HardnegError(
        "A file on the web does not have the expected size.",
        where=remote.url,
        found=found,
        expected=f"{remote.size:,} bytes" if remote.size is not None else "the length that the server announced",
        remedy="open the URL in a browser: it may ask for a login. If the file has changed, give its new size.",
    )


def _reason(fault: BaseException) -> str:
    """The message of the innermost cause."""
    while inner := fault.__cause__ or next((cause for cause in fault.args if isinstance(cause, BaseException)), None):
        fault = inner
    return getattr(fault, "strerror", None) or str(fault) or type(fault).__name__
