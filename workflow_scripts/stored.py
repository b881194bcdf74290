"""What jobs do where artifacts lie in storage: bring what they read, send what they wrote.

Snakemake hands a job local copies of the manifests that it carries, under a folder of its own. Jobs work below
artifacts/ all the same, as on a shared disk; what is there already is not brought again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from hardneg.errors import HardnegError
from hardneg.stages.artifacts import MANIFEST, atomic_path
from hardneg.stages.storage import STORAGE, Account, Bucket, Mirror, bring, bring_costs, send_shard

PROVIDER = "s3"


class Stored:
    """Where artifacts lie in storage.

    Args:
        prefix: `s3://bucket/folder`.
        copies: the folder of Snakemake's copies of what lies below the prefix.
        account: how to reach it.
    """

    def __init__(self, prefix: str, copies: Path, account: Account) -> None:
        self.bucket, self._copies = Bucket(prefix, account), copies

    def here(self, copy: Path) -> Path:
        """Where a job has the file that Snakemake has a copy of."""
        return copy.relative_to(self._copies) if copy.is_relative_to(self._copies) else copy


def bring_named(brief: Mapping[str, Any]) -> None:
    """Bring the stages that a brief names, and the costs of those that it merely counts, if they lie in storage."""
    if (there := stored()) is None:
        return
    whole = {*_manifests({key: value for key, value in brief.items() if key != "stages"})}
    for manifest in sorted(whole):
        bring(there.bucket, Path(manifest))
    for manifest in sorted({*_manifests(brief["stages"])}):
        bring_costs(there.bucket, Path(manifest))


def bring_counts(manifests: Iterable[Path]) -> None:
    """Bring the manifests of prepared collections, if they lie in storage: their counts say what jobs ask for."""
    if (there := stored()) is not None:
        for manifest in manifests:
            bring_costs(there.bucket, manifest)


def _manifests(value: Any) -> Iterator[str]:
    """The manifests that a JSON value names, in any depth."""
    if isinstance(value, str) and value.endswith(f"/{MANIFEST}"):
        yield value
    elif isinstance(value, Mapping):
        yield from _manifests(list(value.values()))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for each in value:
            yield from _manifests(each)


def tell_storage(settings: Any, providers: Any) -> None:
    """Tell jobs where artifacts lie, if that is not this disk.

    Args:
        settings: Snakemake's settings of storage.
        providers: its registry of storage.

    Raises:
        HardnegError: artifacts lie in a storage that is not S3-compatible.
    """
    os.environ.pop(STORAGE, None)
    if settings.default_storage_provider is None:
        return
    if settings.default_storage_provider != PROVIDER:
        raise HardnegError(
            "Artifacts cannot lie in this storage.",
            where="--default-storage-provider",
            found=settings.default_storage_provider,
            expected=f"{PROVIDER}, which many servers speak",
        )
    provider = providers.default_storage_provider
    account = Account(**{field.name: getattr(provider.settings, field.name) for field in fields(Account)})
    prefix = settings.default_storage_prefix.rstrip("/")
    copies = provider.local_prefix / prefix.partition("://")[2]
    os.environ[STORAGE] = json.dumps({"prefix": prefix, "copies": str(copies), "account": asdict(account)})


def stored() -> Stored | None:
    """Where artifacts lie in storage; None if they lie on this disk."""
    if STORAGE not in os.environ:
        return None
    told = json.loads(os.environ[STORAGE])
    return Stored(told["prefix"], Path(told["copies"]), Account(**told["account"]))


@contextlib.contextmanager
def made_here(given: argparse.Namespace, lists: Sequence[str]) -> Iterator[None]:
    """Make a stage below artifacts/: what it reads is there, and what it wrote is in storage afterwards.

    Args:
        given: the arguments of the job, in which Snakemake's copies are replaced by what lies below artifacts/.
        lists: the names of its further lists of manifests.
    """
    there = stored()
    if there is None:
        yield
        return
    copy, given.output = given.output, there.here(given.output)
    for name in ("inputs", *lists):
        setattr(given, name, [there.here(path) for path in getattr(given, name)])
        for manifest in getattr(given, name):
            bring(there.bucket, manifest)
    given.output.unlink(missing_ok=True)  # Snakemake has removed its copy: it wants the stage looked at
    if given.output.name == MANIFEST:
        mirror = Mirror(there.bucket, given.output.parent)
        mirror.bring()
        with mirror:
            yield
    else:
        yield
        send_shard(there.bucket, given.output)
    with atomic_path(copy) as temporary:
        shutil.copyfile(given.output, temporary)
    for name in lists:  # Snakemake removes its copies of what is temporary
        for marker in getattr(given, name):
            marker.unlink(missing_ok=True)
    if given.output.name != MANIFEST:
        given.output.unlink()
