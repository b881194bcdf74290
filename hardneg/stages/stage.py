"""A node of the plan: its settings, its parents, its version and its folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from hardneg.stages.artifacts import MANIFEST, canonical_json

ARTIFACTS = Path("artifacts")
RESULTS = Path("results")


@dataclass(frozen=True, eq=False)
class Stage:
    """One node of the plan.

    Attributes:
        dataset: the collection's name.
        kind: a key of `hardneg.stages.kinds.KINDS`.
        label: the system, round or shared part it belongs to.
        settings: validated scientific settings, JSON types only.
        parents: the stages it reads, by role.
        revision: digest of the code it reaches.
    """

    dataset: str
    kind: str
    label: str
    settings: dict[str, Any]
    parents: dict[str, Stage] = field(default_factory=dict)
    revision: str = ""

    @cached_property
    def version(self) -> str:
        """Twelve hexadecimal digits that change with anything that could change the result."""
        return version_of({"kind": self.kind, **self._identity()})

    @property
    def folder(self) -> Path:
        """`artifacts/<dataset>/<kind>/<label>-<version>`."""
        return ARTIFACTS / name_of(self.record)

    @property
    def manifest(self) -> Path:
        """The manifest; it exists if the stage is finished."""
        return self.folder / MANIFEST

    @property
    def record(self) -> dict[str, Any]:
        """The stage's entries in its manifest, which its script also receives."""
        return {
            "dataset": self.dataset,
            "kind": self.kind,
            "label": self.label,
            "version": self.version,
            **self._identity(),
        }

    def _identity(self) -> dict[str, Any]:
        parents = {role: parent.version for role, parent in self.parents.items()}
        return {"settings": self.settings, "parents": parents, "revision": self.revision}


def version_of(record: Mapping[str, Any]) -> str:
    """The version of a stage's record, from what it says of kind, settings, parents and code."""
    identity = {name: record[name] for name in ("kind", "settings", "parents", "revision")}
    return hashlib.sha256(canonical_json(identity).encode()).hexdigest()[:12]


def name_of(record: Mapping[str, Any]) -> str:
    """`<dataset>/<kind>/<label>-<version>` of a stage's record."""
    return f"{record['dataset']}/{record['kind']}/{record['label']}-{record['version']}"
