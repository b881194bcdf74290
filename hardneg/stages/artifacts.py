"""Stage folders: one writer, atomic files, a sealed manifest, and checks before a stage is read.

A stage's folder is `artifacts/<dataset>/<kind>/<label>-<version>/`. Its writer holds a file lock, writes each file
under a temporary name and renames it, and writes `manifest.json` last. The manifest is deterministic: the same stage
on the same machine gives the same bytes. What varies between runs (seconds, device, host) goes to `cost.json`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import resource
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import filelock

from hardneg.errors import HardnegError

if TYPE_CHECKING:
    import pandas as pd

MANIFEST = "manifest.json"
COST = "cost.json"
CHECKPOINTS = "checkpoints"
LOCK = ".writer.lock"
PROGRESS = "progress.jsonl"
TRACKERS = "trackers"
FINISHED = ".finished.json"
SHARD_MARKER = re.compile(r"shard-\d{4}-of-\d{4}\.json")

SEALED = {"dataset", "kind", "label", "version", "settings", "parents", "revision", "files", "facts", "libraries"}
"""What a manifest says, besides its own digest."""

UMASK = os.umask(0)
os.umask(UMASK)

RECORDED_LIBRARIES = ("torch", "transformers", "tokenizers", "faiss-cpu", "faiss-gpu", "numpy", "pyarrow", "pyserini")


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no extra white space, so that equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def cached_digest(path: Path, cache: Path) -> str:
    """SHA-256 of a file, from `cache` if its size, inode, and times of modification and change are as they were."""
    facts = path.stat()
    key, seen = str(path.resolve()), [facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino]
    known = _known_digests(cache)
    if known.get(key, [])[:-1] != seen:
        known[key] = [*seen, file_digest(path)]
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_json(cache, known)
    digest: str = known[key][-1]
    return digest


def _known_digests(cache: Path) -> dict[str, list[Any]]:
    """The entries of a cache of digests that have its form; others are computed anew."""
    try:
        entries = json.loads(cache.read_text(encoding="utf-8")).items()
    except (FileNotFoundError, ValueError, AttributeError):
        return {}
    return {
        key: entry for key, entry in entries if isinstance(entry, list) and len(entry) == 5 and _is_digest(entry[-1])
    }


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`: flushed to disk and renamed to `path` if the block succeeds, else removed.

    Raises:
        HardnegError: the file could not be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o666 & ~UMASK)  # some writers make files that only their owner can read
        temporary.replace(path)
    except OSError as fault:
        if fault.filename is None or str(fault.filename).startswith(str(path.parent)):
            raise HardnegError(
                f"Could not write a file: {fault.strerror or fault}.",
                where=str(path),
                remedy="free space or correct the permissions, then run the same command: it will resume.",
            ) from fault
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically: two-space indent, sorted keys, a final newline."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as Parquet, atomically, without its index."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pandas(table, preserve_index=False), temporary, compression="zstd")


@dataclass(frozen=True)
class Artifact:
    """A finished stage, checked against its manifest.

    Attributes:
        folder: the stage's folder.
        manifest: the parsed manifest: kind, label, version, settings, parents, files, facts.
    """

    folder: Path
    manifest: dict[str, Any]

    @classmethod
    def open(cls, manifest: Path | str, digests: bool = True) -> Self:
        """Read a manifest, and check its own digest and every file it lists (presence, size, SHA-256).

        Args:
            manifest: its path.
            digests: also check SHA-256, which reads every byte. False is for interactive commands that write no files.

        Raises:
            HardnegError: the manifest is missing or unreadable, or a file differs from what was sealed.
        """
        path = Path(manifest)
        remedy = f"delete {path} and run the workflow again, which makes that stage again."
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            files = content["files"]
        except FileNotFoundError:
            raise HardnegError(
                "A stage's manifest is missing.", where=str(path), remedy="run the workflow; it makes that stage first."
            ) from None
        except (ValueError, KeyError, TypeError):
            raise HardnegError("A stage's manifest cannot be read.", where=str(path), remedy=remedy) from None
        # Manifests had no digest of their own before; they have the same entries otherwise.
        if content.keys() != SEALED and content.get("digest") != manifest_digest(content):
            raise HardnegError("A stage's manifest has changed since it was sealed.", where=str(path), remedy=remedy)
        for name, facts in files.items():
            file = path.parent / name
            size = file.stat().st_size if file.is_file() else None
            if size != facts["bytes"]:
                found = "no such file" if size is None else f"{size:,} bytes"
                raise HardnegError(
                    "A file of a finished stage has changed.",
                    where=str(file),
                    found=found,
                    expected=f"{facts['bytes']:,} bytes",
                    remedy=remedy if size is None else f"delete it, and {remedy}",
                )
            if digests and (digest := file_digest(file)) != facts["sha256"]:
                raise HardnegError(
                    "A file of a finished stage has changed.",
                    where=str(file),
                    found=f"SHA-256 {digest}",
                    expected=f"SHA-256 {facts['sha256']}",
                    remedy=f"delete it, and {remedy}",
                )
        return cls(path.parent, content)

    @property
    def settings(self) -> dict[str, Any]:
        """The scientific settings the stage was made with."""
        return self.manifest["settings"]

    @property
    def facts(self) -> dict[str, Any]:
        """What the stage recorded about its result: counts, widths, dtypes."""
        return self.manifest["facts"]

    def path(self, name: str) -> Path:
        """The path of one of its files.

        Raises:
            HardnegError: the manifest does not list the file.
        """
        if name not in self.manifest["files"]:
            raise HardnegError(
                "A stage lacks a file that the next one needs.",
                where=str(self.folder / MANIFEST),
                found=", ".join(sorted(self.manifest["files"])),
                expected=name,
            )
        return self.folder / name


def manifest_digest(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of what a manifest says, its own digest left out, in hexadecimal."""
    said = {name: value for name, value in manifest.items() if name != "digest"}
    return hashlib.sha256(canonical_json(said).encode()).hexdigest()


def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that affect numbers, for the manifest."""
    versions = {"python": platform.python_version()}
    for name in RECORDED_LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


@dataclass
class StageFolder:
    """A stage being written.

    Attributes:
        folder: where its files are written.
        record: the plan's record of the stage: dataset, kind, label, version, settings, parents' versions, revision.
        parents: the stages it reads, checked, by role.
        facts: facts about the result, for the manifest.
        cost: entries of `cost.json` besides seconds and memory.
        started: when the stage began, in seconds of the monotonic clock.
    """

    folder: Path
    record: dict[str, Any]
    parents: dict[str, Artifact]
    facts: dict[str, Any] = field(default_factory=dict)
    cost: dict[str, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    @property
    def settings(self) -> dict[str, Any]:
        """The scientific settings of this stage."""
        return self.record["settings"]

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints, removed when the stage is sealed."""
        path = self.folder / CHECKPOINTS
        path.mkdir(exist_ok=True)
        return path

    def seal(self, output: Path, files: list[str]) -> None:
        """Write `cost.json`, then the manifest, and remove files that the manifest does not list, such as checkpoints.

        Args:
            output: the manifest to write, or the marker file of a shard; a marker removes nothing.
            files: the files that the stage made, relative to the folder.
        """
        manifest = {
            **self.record,
            "files": {
                name: {"bytes": (self.folder / name).stat().st_size, "sha256": file_digest(self.folder / name)}
                for name in sorted(files)
            },
            "facts": self.facts,
            "libraries": library_versions(),
        }
        manifest["digest"] = manifest_digest(manifest)
        usage = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        self.cost |= {
            "seconds": round(time.monotonic() - self.started, 3),
            "peak_memory_mib": round(usage / 1024, 1),
            "host": socket.gethostname(),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_json(cost_of(output), self.cost)
        if output.name == MANIFEST:
            write_json(self.folder / FINISHED, {"manifest": manifest, "parents": self._parent_digests()})
            self._tidy(manifest["files"])
        write_json(output, manifest)

    def restore(self, output: Path) -> bool:
        """Restore the manifest of a finished stage that lost only its manifest; False if anything else changed.

        Snakemake deletes the output of a job whose end it did not see, such as a job that outlived Snakemake.
        """
        try:
            finished = json.loads((self.folder / FINISHED).read_text(encoding="utf-8"))
            manifest = finished["manifest"]
            whole = all(file_digest(self.folder / name) == facts["sha256"] for name, facts in manifest["files"].items())
        except (OSError, ValueError, KeyError, TypeError):
            return False
        if (
            not whole
            or finished["parents"] != self._parent_digests()
            or any(manifest.get(k) != v for k, v in self.record.items())
        ):
            return False
        write_json(output, manifest)
        return True

    def forget(self, output: Path) -> None:
        """Unseal the stage, so that it is made from its beginning, even if that run is interrupted and resumed.

        An unfinished stage keeps its checkpoints, so that a forced run that was killed can be resumed.
        """
        output.unlink(missing_ok=True)
        if output.name == MANIFEST and (self.folder / FINISHED).exists():
            shutil.rmtree(self.folder / CHECKPOINTS, ignore_errors=True)
            (self.folder / FINISHED).unlink()

    def _parent_digests(self) -> dict[str, str]:
        return {role: file_digest(parent.folder / MANIFEST) for role, parent in self.parents.items()}

    def _tidy(self, named: Mapping[str, Any]) -> None:
        kept = {*named, FINISHED, MANIFEST, PROGRESS}
        for path in sorted(self.folder.rglob("*"), reverse=True):
            name = path.relative_to(self.folder).as_posix()
            if path.is_dir():
                with contextlib.suppress(OSError):  # not empty: it holds listed files
                    path.rmdir()
            elif (
                name not in kept
                and not name.startswith(f"{TRACKERS}/")
                and not path.name.endswith((COST, LOCK, f"{LOCK}.owner"))
                and not SHARD_MARKER.fullmatch(name)
            ):
                path.unlink()


def cost_of(output: Path) -> Path:
    """The cost file of a stage, or of one of its shards."""
    return output.with_name(COST if output.name == MANIFEST else f"{output.stem}.{COST}")


def read_cost(path: Path) -> dict[str, Any]:
    """What a stage or a shard took. No manifest seals it, since it differs from run to run.

    Raises:
        HardnegError: it cannot be read, or lacks seconds or memory.
    """
    try:
        cost: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        float(cost["seconds"]), float(cost["peak_memory_mib"])
    except (ValueError, KeyError, TypeError):
        raise HardnegError(
            "What a stage took cannot be read.",
            where=str(path),
            remedy="delete it: the report and estimates go without it.",
        ) from None
    return cost


@contextlib.contextmanager
def writer_lock(folder: Path, name: str = LOCK, patience: float = 3600.0) -> Iterator[None]:
    """Hold a folder's writer lock. A second writer prints who holds the lock, and waits.

    Raises:
        HardnegError: the other writer did not finish within `patience` seconds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    owner = folder / f"{name}.owner"
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        holder = owner.read_text(encoding="utf-8").strip() if owner.exists() else "another process"
        print(f"waiting: {folder} is being written by {holder}", flush=True)
        try:
            lock.acquire(timeout=patience)
        except filelock.Timeout:
            raise HardnegError(
                "A stage's folder is still being written by another process.",
                where=str(folder),
                found=holder,
                remedy="wait for that process or stop it, then run the same command.",
            ) from None
    try:
        owner.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()
