"""Whether each system has a usable name, refers to systems that exist, and answers the questions consistently."""

from __future__ import annotations

from collections.abc import Iterator

from hardneg.config.checks import answers, cycles, references
from hardneg.config.config import Config
from hardneg.errors import HardnegError


def problems(config: Config) -> Iterator[HardnegError]:
    """Problems of each system by itself, then circles between systems."""
    for name, system in config.systems.items():
        at = f"systems.{name}"
        if not _is_name(name):
            yield HardnegError(
                "A system's name is not usable.",
                where=at,
                found=name,
                expected="letters, digits and underscores, starting with a letter",
                remedy="rename it.",
            )
        yield from references.problems(at, system, config)
        yield from answers.problems(at, system, config)
    yield from cycles.problems(config.systems)


def _is_name(name: str) -> bool:
    # Names become Snakemake targets and parts of file names.
    # The steps of a recipe are called <system>.<step>.
    parts = name.split(".")
    return name.isascii() and all(part.isidentifier() for part in parts) and not name.startswith("_")
