"""Whether the systems and studies that a system refers to exist and have what it needs of them."""

from __future__ import annotations

from collections.abc import Iterator

from hardneg import axes
from hardneg.config.config import Config
from hardneg.config.hints import did_you_mean
from hardneg.config.system import System
from hardneg.errors import HardnegError


def references(system: System) -> Iterator[tuple[str, str]]:
    """The systems of this configuration that a system builds on, each with the key that names it."""
    if system.from_ is not None and ":" not in system.from_:
        yield "from", system.from_
    if isinstance(system.source, axes.RunSource) and system.source.system is not None:
        yield "source.system", system.source.system


def problems(at: str, system: System, config: Config) -> Iterator[HardnegError]:
    """Problems of the references of one system, which stands at the key `at`."""
    systems = config.systems
    if system.from_ and ":" in system.from_:
        yield from _study(at, system.from_, config)
    for key, other in references(system):
        if other not in systems:
            yield HardnegError(
                "A system names another that does not exist.",
                where=f"{at}.{key}",
                found=other,
                expected=", ".join(systems),
                remedy=did_you_mean(other, systems, "add that system or name one of these."),
            )
    start = systems.get(system.from_ or "")
    if start is not None and start.retriever != "dense":
        kind = {"bm25": "BM25", "run": "a given run", "vectors": "given vectors"}[start.retriever]
        yield HardnegError(
            f"A system cannot start from {kind}, which has no weights.",
            where=f"{at}.from",
            found=system.from_,
            remedy=f"start from a trained system, or mine with `source: {{name: run, system: {system.from_}}}`.",
        )


def _study(at: str, start: str, config: Config) -> Iterator[HardnegError]:
    study, _, _ = start.partition(":")
    if study not in config.studies:
        yield HardnegError(
            "A system starts from a study that is not listed under `studies`.",
            where=f"{at}.from",
            found=start,
            expected=", ".join(f"{name}:<system>" for name in config.studies) or "a study listed under `studies`",
            remedy=did_you_mean(study, config.studies, f"add `studies: {{{study}: configs/{study}.yaml}}`."),
        )
