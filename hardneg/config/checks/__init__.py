"""Contradictions: what no single key is to blame for. One file a subject; each check yields an error per problem.

The checks run on a validated `Config`, so they need not look at types or ranges again.
"""

from __future__ import annotations

from collections.abc import Iterator

from hardneg.config.checks import analyses, collection, elsewhere, encoder, evaluation, joined, splits, systems
from hardneg.config.config import Config
from hardneg.errors import HardnegError


def contradictions(config: Config) -> Iterator[HardnegError]:
    """All problems of a configuration, in the order in which they are told."""
    yield from collection.problems(config)
    yield from joined.problems(config)
    yield from splits.problems(config)
    yield from systems.problems(config)
    yield from encoder.problems(config)
    yield from analyses.problems(config)
    yield from evaluation.problems(config)
    yield from elsewhere.problems(config)
