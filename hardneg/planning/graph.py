"""The stages of a plan, each once, parents first. Nothing here reads a file of the user's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from hardneg.errors import HardnegError
from hardneg.stages.artifacts import canonical_json
from hardneg.stages.kinds import KINDS
from hardneg.stages.revision import PACKAGE, Revisions
from hardneg.stages.stage import ARTIFACTS, Stage


class Graph:
    """Stages by dataset, kind, label and version.

    Args:
        dataset: the collection's name.
        beside: a graph whose revisions of code hold here too, since finding them reads every source.
    """

    def __init__(self, dataset: str, beside: Graph | None = None) -> None:
        self.dataset = dataset
        self._stages: dict[tuple[str, str, str, str], Stage] = {}
        self._revisions: Revisions = beside._revisions if beside else Revisions(ARTIFACTS / ".revisions.json", PACKAGE)

    @property
    def stages(self) -> list[Stage]:
        """Every stage once, parents first."""
        return list(self._stages.values())

    def of(self, *kinds: str) -> list[Stage]:
        """The stages of some kinds."""
        return [stage for stage in self.stages if stage.kind in kinds]

    def stage(self, dataset: str, kind: str, label: str, version: str) -> Stage:
        """The stage that a rule's wildcards name.

        Raises:
            HardnegError: no system of this configuration needs it.
        """
        try:
            return self._stages[dataset, kind, label, version]
        except KeyError:
            raise HardnegError(
                "This configuration has no such stage.",
                where=str(ARTIFACTS / dataset / kind / f"{label}-{version}"),
                remedy="`hardneg plan` lists the stages that it has.",
            ) from None

    def add(
        self,
        kind: str,
        label: str,
        settings: Mapping[str, Any],
        parents: Mapping[str, Stage | None],
        roots: Iterable[str] = (),
    ) -> Stage:
        """The stage of these settings and parents, made if it is not there yet.

        Args:
            kind: a key of `KINDS`.
            label: the system, round or shared part that it belongs to.
            settings: scientific settings.
            parents: by role; None where there is none.
            roots: code that decides its result besides that of its kind, such as that of the chosen answers.
        """
        plain = json.loads(canonical_json(settings))
        revision = self._revisions.of([*KINDS[kind].roots, *roots])
        there = {role: parent for role, parent in parents.items() if parent is not None}
        stage = Stage(self.dataset, kind, label, plain, there, revision)
        return self._stages.setdefault((self.dataset, kind, label, stage.version), stage)

    def adopt(self, stage: Stage) -> Stage:
        """Take a stage of another plan, and all that it needs, among these."""
        key = (stage.dataset, stage.kind, stage.label, stage.version)
        if key not in self._stages:
            for parent in stage.parents.values():
                self.adopt(parent)
            self._stages[key] = stage
        return self._stages[key]

    def save(self) -> None:
        """Keep the revisions that were computed, for the next start."""
        self._revisions.save()
