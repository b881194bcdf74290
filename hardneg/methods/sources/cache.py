"""A cache of passages, with vectors that are renewed as training meets them (Negative Cache)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hardneg.methods.base import Sourcing

if TYPE_CHECKING:
    from hardneg.methods.draws import Material, Stateful


class CacheSource(Sourcing):
    """A cache of passages with the vectors they had when they were last encoded (Negative Cache).

    It is filled with passages drawn from the collection. A step gives the passages that it drew their new vectors, and
    puts its positives in the place of those that were renewed longest ago.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"streaming", "encoded_passages"})
    provides: ClassVar[frozenset[str]] = frozenset({"negatives", "candidates", "ranking", "scores", "mass", "cache"})
    name: Literal["cache"] = "cache"
    size: int = Field(131_072, ge=1, description="passages in the cache")


def candidates(material: Material, *, size: int) -> Stateful:
    """A cache of `size` passages, drawn uniformly.

    Raises:
        HardnegError: the collection has fewer.
    """
    import numpy as np

    from hardneg.errors import HardnegError
    from hardneg.methods.caching import NegativeCache

    if size > material.passages:
        raise HardnegError(
            "The cache is larger than the collection.",
            where="source.size",
            found=f"{size:,} passages",
            expected=f"at most {material.passages:,}",
            remedy="lower source.size.",
        )
    rng = np.random.default_rng([material.seed, 0, 3])
    return NegativeCache(np.sort(rng.choice(material.passages, size, replace=False)), material.temperature)
