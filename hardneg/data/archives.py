"""Unpacking zip and tar archives safely."""

from __future__ import annotations

import filecmp
import functools
import gzip
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import IO, cast

from hardneg.errors import HardnegError

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
PART = ".part"
RECEIPTS, DIGESTS = ".downloads.json", ".digests.json"
RESERVED = {RECEIPTS, DIGESTS}
"""Files beside what was downloaded, which tell what it was."""
UNPACKED_LIMIT = 256 << 30  # bytes

_CHUNK = 1 << 16  # bytes
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, RuntimeError, ValueError)


class BadArchive(HardnegError):
    """An archive that is damaged or unsafe and therefore not worth keeping."""


def unpack(archive: Path, folder: Path, *, limit: int = UNPACKED_LIMIT) -> list[Path]:
    """Unpack a zip or tar archive into a folder, all of it or nothing.

    Args:
        archive: a file whose name ends in one of `ARCHIVES`, with or without a further `.part`.
        folder: where the files go. Existing files with the same content stay.
        limit: the largest total size of the unpacked files, in bytes.

    Returns:
        The unpacked files, sorted by path.

    Raises:
        BadArchive: the archive is damaged, unpacks to more than `limit`, or has a member that is a link, a device or
            outside the folder.
        HardnegError: a different file is in the way.
        OSError: the folder cannot be written, or the disk is full.
    """
    name = archive.name.removesuffix(PART)
    members = _zip_members(archive) if name.endswith(".zip") else _tar_members(archive, not name.endswith(".tar"))
    staging = folder / f".{name}.unpacking"
    shutil.rmtree(staging, ignore_errors=True)  # left by a process that was killed
    staging.mkdir()
    try:
        _extract(members, name, staging, limit)
        found = sorted(path.relative_to(staging) for path in staging.rglob("*") if path.is_file())
        for file in found:
            if (folder / file).exists() and not filecmp.cmp(staging / file, folder / file, shallow=False):
                raise in_the_way(folder / file, "other content", f"the content in {name}")
        for file in found:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (staging / file).replace(folder / file)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return [folder / file for file in found]


def in_the_way(path: Path, found: str, expected: str) -> HardnegError:
    """The error for an existing file that differs from the one to be written."""
    return HardnegError(
        "A different file is in the way.",
        where=str(path),
        found=found,
        expected=expected,
        remedy="delete or move it, then run the same command to download it again.",
    )


@dataclass(frozen=True)
class _Member:
    """A member of an archive. `ordinary`: it is a plain file or a folder. `size` is in bytes."""

    name: str
    size: int
    ordinary: bool
    extract: Callable[..., object]


def _zip_members(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where the archiver recorded none
            ordinary = kind in (0, stat.S_IFREG, stat.S_IFDIR)
            yield _Member(info.filename, info.file_size, ordinary, functools.partial(opened.extract, info))


def _tar_members(archive: Path, packed: bool) -> Iterator[_Member]:
    with (
        cast(IO[bytes], gzip.open(archive) if packed else archive.open("rb")) as stream,
        tarfile.open(fileobj=stream, mode="r:") as opened,
    ):
        for info in opened:
            extract = functools.partial(opened.extract, info, filter="data")
            yield _Member(info.name, info.size, info.isreg() or info.isdir(), extract)
        if stream.tell() < opened.offset + tarfile.BLOCKSIZE:
            raise tarfile.ReadError("no end mark")  # tarfile itself accepts this as the end
        while stream.read(_CHUNK):  # gzip verifies its checksum at the end
            pass


def _extract(members: Iterable[_Member], name: str, staging: Path, limit: int) -> None:
    """Extract every member into `staging`, or raise `BadArchive`."""
    where, total = name, 0
    try:
        for member in members:
            where = f"{name}, member {member.name!r}"
            _check_safe(member, where)
            total += member.size
            if total > limit:
                raise BadArchive(
                    "An archive is too large when unpacked. Nothing was unpacked.",
                    where=where,
                    found=f"{total:,} bytes or more",
                    expected=f"at most {limit:,} bytes",
                    remedy="unpack it yourself if you trust it.",
                )
            member.extract(path=staging)
    except _DAMAGE as fault:
        raise BadArchive(
            "An archive is damaged. Nothing was unpacked.",
            where=where,
            found=str(fault) or type(fault).__name__,
            remedy="download it again. If that does not help, tell its publisher.",
        ) from fault


def _check_safe(member: _Member, where: str) -> None:
    path = PureWindowsPath(member.name)  # treats / and \ as separators, and knows drives
    if path.name in RESERVED:
        raise BadArchive(
            "An archive holds a file that this program writes itself. Nothing was unpacked.",
            where=where,
            found=path.name,
            remedy="get the collection from its publisher, or unpack it yourself without that file.",
        )
    if path.anchor or ".." in path.parts or "\\" in member.name or not member.ordinary:
        raise BadArchive(
            "An archive is not safe to unpack. Nothing was unpacked.",
            where=where,
            found="a path outside the folder" if member.ordinary else "a link or device",
            expected="files and folders with relative names",
            remedy="get the collection from its publisher, or unpack it yourself if you trust it.",
        )
