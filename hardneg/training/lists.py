"""The list of passages that each query of a step is trained on, where the query encoder alone is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt
import torch

from hardneg.axes import function_of
from hardneg.data.judgements import Judgements
from hardneg.negatives.sources import Candidates, live
from hardneg.retrieval.search.retrieve import Searcher
from hardneg.training.loop import generator

Positions = npt.NDArray[np.int64]


class Lists(NamedTuple):
    """The lists of a batch of B queries, L entries long.

    Attributes:
        passages: int64 [B, L] passage positions, -1 beyond a list's end.
        grades: int64 [B, L], 0 where not judged relevant.
        found: int64 [B, K] and float32 [B, K], what the index returned and its scores; None of static lists.
    """

    passages: Positions
    grades: Positions
    found: tuple[torch.Tensor, torch.Tensor] | None


class ListMaker(Protocol):
    """What `LiveLists` and `StaticLists` have in common.

    Attributes:
        ranked: whether entries come in the order of the present encoder's ranking.
    """

    ranked: bool

    def at(self, step: int, rows: Positions, query: torch.Tensor) -> Lists:
        """The lists of a step for queries `rows` [B] with vectors `query` [B, dim]."""


class LiveLists:
    """What the index ranks on top for these very vectors (dynamic hard negatives, Zhan et al., section 6.2.1).

    Args:
        searcher: of the index.
        source: the settings of the live source.
        judged: the training judgements.
    """

    ranked = True

    def __init__(self, searcher: Searcher, source: Mapping[str, Any], judged: Judgements) -> None:
        self._searcher, self._judged, self._depth = searcher, judged, source["depth"]
        self._listed: Callable[..., tuple[Positions, Positions]] = function_of(
            "source", {key: value for key, value in source.items() if key != "depth"}
        )

    def at(self, step: int, rows: Positions, query: torch.Tensor) -> Lists:
        """See `ListMaker`."""
        found = self._searcher.search(query, self._depth)
        return Lists(*self._listed(found[0].cpu().numpy(), rows, self._judged), found)


class StaticLists:
    """Negatives drawn from candidates that do not change, and all positives (static hard negatives, section 5.1).

    Args:
        candidates: of every training query.
        settings: of the stage: `sampler`, `seed`.
        judged: the training judgements.
    """

    ranked = False

    def __init__(self, candidates: Candidates, settings: Mapping[str, Any], judged: Judgements) -> None:
        self._candidates, self._judged, self._seed = candidates, judged, settings["seed"]
        self._sample = function_of("sampler", settings["sampler"])

    @classmethod
    def of(cls, settings: Mapping[str, Any], negatives: Path | None, judged: Judgements, passages: int) -> Self:
        """Of a stage's settings and its mined lists; `passages` is how many the collection has."""
        source = function_of("source", settings["source"])
        return cls(source(negatives, len(judged.offsets) - 1, passages), settings, judged)

    def at(self, step: int, rows: Positions, query: torch.Tensor) -> Lists:
        """See `ListMaker`."""
        drawn = self._sample(self._candidates, rows, generator(self._seed, step))
        return Lists(*live(drawn, rows, self._judged, append="missing"), None)


def by_score(scores: torch.Tensor, *columns: torch.Tensor, listed: torch.Tensor) -> list[torch.Tensor]:
    """Entries in the order of their scores, those beyond a list's end last.

    Args:
        scores: float [B, L]; gradients flow on.
        columns: [B, L] each, brought into the same order.
        listed: bool [B, L], False beyond a list's end.

    Returns:
        The scores, the columns and `listed`, in the new order.
    """
    order = scores.detach().masked_fill(~listed, -torch.inf).argsort(dim=1, descending=True, stable=True)
    return [values.gather(1, order) for values in (scores, *columns, listed)]
