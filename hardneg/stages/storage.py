"""Stages in S3-compatible storage, for machines that share no disk.

Snakemake knows one file of a stage, its manifest, and carries it. The other files lie beside it: a job brings those of
its parents first, and sends its own before Snakemake sends the manifest. What it has written so far, such as
checkpoints, is sent from time to time, so that the job can go on elsewhere. Storage has the names of this disk:
`<prefix>/artifacts/<dataset>/<kind>/<label>-<version>/...`. A file is there whole or not at all.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from hardneg.errors import HardnegError
from hardneg.stages.artifacts import COST, FINISHED, MANIFEST, SHARD_MARKER, atomic_path, cost_of

STORAGE = "HARDNEG_STORAGE"
"""The environment variable by which jobs know where artifacts lie in storage; absent where they lie on this disk. JSON:
`prefix`, `copies` (the folder of Snakemake's copies of what lies below the prefix) and `account`."""

SECONDS = 2.0
"""Between two looks at what an unfinished stage has written."""

ABSENT = ("404", "NoSuchKey", "NoSuchBucket", "NotFound")


@dataclass(frozen=True)
class Account:
    """How to reach a storage; what is None is found as AWS's tools find it.

    Attributes:
        endpoint_url: of the server; None for AWS itself.
        region: of the bucket.
        access_key: who asks.
        secret_key: their secret.
        token: of a session.
        signature_version: how requests are signed.
    """

    endpoint_url: str | None = None
    region: str | None = None
    access_key: str | None = None
    secret_key: str | None = None
    token: str | None = None
    signature_version: str | None = None


class Bucket:
    """Files below a prefix of a bucket, under the paths that they have on this disk, relative to the working folder.

    Args:
        prefix: `s3://bucket/folder`.
        account: how to reach it.

    Raises:
        HardnegError: the package that speaks S3 is not installed. Every method raises it where storage refuses.
    """

    def __init__(self, prefix: str, account: Account) -> None:
        try:
            import boto3
            from botocore.config import Config
        except ImportError:
            raise HardnegError(
                "The package that speaks S3 is not installed.",
                where=prefix,
                found="no module boto3",
                remedy="pip install 'hardneg[s3]'",
            ) from None
        self.prefix = prefix.rstrip("/")
        parts = urlsplit(self.prefix)
        self._name, self._folder = parts.netloc, parts.path.strip("/")
        # Not every server stores the checksums that newer clients add to what they send.
        how = Config(
            signature_version=account.signature_version,
            retries={"max_attempts": 5, "mode": "standard"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=account.endpoint_url,
            region_name=account.region,
            aws_access_key_id=account.access_key,
            aws_secret_access_key=account.secret_key,
            aws_session_token=account.token,
            config=how,
        )

    def _key(self, path: Path) -> str:
        return f"{self._folder}/{path.as_posix()}".lstrip("/")

    def files(self, folder: Path) -> dict[str, int]:
        """The files in a folder and below it: names relative to it, and their bytes."""
        start = f"{self._key(folder)}/"
        found: dict[str, int] = {}
        with self._told(folder, absent=True):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._name, Prefix=start):
                found |= {entry["Key"].removeprefix(start): entry["Size"] for entry in page.get("Contents", [])}
        return found

    def read(self, path: Path) -> bytes | None:
        """The content of a small file; None if it is not there."""
        with self._told(path, absent=True):
            content: bytes = self._client.get_object(Bucket=self._name, Key=self._key(path))["Body"].read()
            return content
        return None

    def fetch(self, path: Path) -> None:
        """Bring a file; it appears whole."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._told(path), atomic_path(path) as temporary:
            self._client.download_file(self._name, self._key(path), str(temporary))

    def send(self, path: Path) -> None:
        """Send a file; it appears whole."""
        with self._told(path):
            self._client.upload_file(str(path), self._name, self._key(path))

    def remove(self, path: Path) -> None:
        """Remove a file, if it is there."""
        with self._told(path):
            self._client.delete_object(Bucket=self._name, Key=self._key(path))

    @contextlib.contextmanager
    def _told(self, path: Path, absent: bool = False) -> Iterator[None]:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (Boto3Error, BotoCoreError, ClientError) as fault:
            code = fault.response.get("Error", {}).get("Code") if isinstance(fault, ClientError) else None
            if absent and code in ABSENT:
                return
            raise HardnegError(
                "Storage did not do what was asked.",
                where=f"{self.prefix}/{path.as_posix()}",
                found=str(fault).splitlines()[0],
                remedy="look whether the server can be reached, and whether the keys may read and write there, then run"
                " the same command: it goes on where it was.",
            ) from fault


def bring(bucket: Bucket, manifest: Path) -> None:
    """Bring a finished stage: what its manifest lists and is not here as it lists it, then the manifest.

    Bytes are not compared here: who reads the stage checks all digests.

    Args:
        bucket: where it lies.
        manifest: its manifest, or the marker of a shard.

    Raises:
        HardnegError: it is not there.
    """
    content = bucket.read(manifest)
    if content is None:
        raise HardnegError(
            "A finished stage is not in storage.",
            where=f"{bucket.prefix}/{manifest.as_posix()}",
            remedy="run the workflow again; it makes that stage first.",
        )
    here = _listed(manifest.read_bytes()) if manifest.exists() else {}
    for name, facts in _listed(content).items():
        file = manifest.parent / name
        if here.get(name) != facts or not file.is_file() or file.stat().st_size != facts["bytes"]:
            bucket.fetch(file)
    _write(manifest, content)


def bring_costs(bucket: Bucket, manifest: Path) -> None:
    """Bring what a finished stage and its shards cost, and its manifest alone; nothing if it is not there."""
    content = bucket.read(manifest)
    if content is None:
        return
    for name in bucket.files(manifest.parent):
        if name.endswith(COST):
            bucket.fetch(manifest.parent / name)
    _write(manifest, content)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def _listed(content: bytes) -> Mapping[str, Any]:
    """The files that a manifest lists, none if it cannot be read: who opens the stage tells that."""
    try:
        files: Mapping[str, Any] = json.loads(content)["files"]
    except (ValueError, KeyError, TypeError):
        return {}
    return files


def send_shard(bucket: Bucket, marker: Path) -> None:
    """Send the files of a finished shard."""
    for name in _listed(marker.read_bytes()):
        bucket.send(marker.parent / name)
    bucket.send(cost_of(marker))


class Mirror:
    """Keeps storage like the folder of a stage that is being written: what is new is sent, what is gone is removed.

    While it is entered, a thread looks every `SECONDS`. Leaving it without a fault takes a last look, and raises what
    storage refuses then; before, that is printed, and tried again at the next look. After a fault (a job that is told
    to stop raises one too) the last look is taken as well, but the fault remains the one that is raised.

    Args:
        bucket: the storage.
        folder: of the stage.
    """

    def __init__(self, bucket: Bucket, folder: Path) -> None:
        self._bucket, self._folder = bucket, folder
        self._sent: dict[str, tuple[int, int] | None] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)

    def bring(self) -> None:
        """Bring what an interrupted job has sent and is not here, to go on from it."""
        for name in self._bucket.files(self._folder):
            path = self._folder / name
            if not _is_mirrored(name):
                continue
            known = path.is_file()
            if not known:
                self._bucket.fetch(path)
            self._sent[name] = None if known else _seen(path)

    def look(self) -> None:
        """Send what is new or has changed since the last look, then remove what is gone."""
        here = {}
        for path in sorted(self._folder.rglob("*")):
            name = path.relative_to(self._folder).as_posix()
            with contextlib.suppress(FileNotFoundError):  # an old checkpoint, removed just now
                if path.is_file() and _is_mirrored(name):
                    here[name] = _seen(path)
        for name, seen in here.items():
            if self._sent.get(name) != seen:
                with contextlib.suppress(FileNotFoundError):
                    self._bucket.send(self._folder / name)
                    self._sent[name] = seen
        for name in self._sent.keys() - here.keys():
            self._bucket.remove(self._folder / name)
            del self._sent[name]

    def _look_on(self) -> None:
        while not self._ended.wait(SECONDS):
            with self._printed():
                self.look()

    @contextlib.contextmanager
    def _printed(self) -> Iterator[None]:
        try:
            yield
        except HardnegError as fault:
            print(f"warning: {fault}", flush=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: object, fault: object, trace: object) -> None:
        self._ended.set()
        self._thread.join()
        with contextlib.nullcontext() if fault is None else self._printed():
            self.look()


def _seen(path: Path) -> tuple[int, int]:
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns


def _is_mirrored(name: str) -> bool:
    """Whether a file of a stage is mirrored: not locks and half-written files, nor what Snakemake itself carries."""
    if name == MANIFEST or SHARD_MARKER.fullmatch(name):
        return False
    return name == FINISHED or not name.rpartition("/")[2].startswith(".")
