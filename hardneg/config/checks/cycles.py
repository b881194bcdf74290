"""Whether systems depend on each other in a circle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hardneg.config.checks.references import references
from hardneg.config.system import System
from hardneg.errors import HardnegError


def problems(systems: Mapping[str, System]) -> Iterator[HardnegError]:
    """The first circle, if there is one."""
    finished: set[str] = set()
    for start in systems:
        if (circle := _circle(start, systems, [], finished)) is not None:
            yield HardnegError(
                "Systems depend on each other in a circle.",
                where=f"systems.{circle[0]}",
                found=" -> ".join(circle),
                remedy="let one of them start from, or mine, an earlier system.",
            )
            return


def _circle(name: str, systems: Mapping[str, System], path: list[str], finished: set[str]) -> list[str] | None:
    """The first circle reached from a system, by depth-first search.

    Args:
        name: the system.
        systems: all systems.
        path: the systems that led here.
        finished: systems from which no circle is reached; it grows.
    """
    if name in path:
        return [*path[path.index(name) :], name]
    if name not in finished and name in systems:
        for _, other in references(systems[name]):
            if (circle := _circle(other, systems, [*path, name], finished)) is not None:
                return circle
        finished.add(name)
    return None
