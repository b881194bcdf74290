"""What a loss sees, and all it sees."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


class Origin(IntEnum):
    """How a passage came to meet a query."""

    OWN = 0
    """judged relevant to this query, and drawn as its positive"""
    MINED = 1
    """drawn as this query's negative"""
    IN_BATCH = 2
    """another query's positive"""
    SHARED = 3
    """another query's negative"""
    GENERATED = 4
    """drawn as this query's negative, from texts outside the collection"""


@dataclass(frozen=True)
class TrainingBatch:
    """B queries against C passages.

    Where passages are encoded, the C columns are the same passages for all queries: all rows' positives, then all rows'
    negatives. Where vectors are taken from an index and each query meets its own list only, column j is rank j + 1, or
    entry j, of that query's list.

    Attributes:
        scores: float32 [B, C], inner products over the temperature, or a cross-encoder's scores; with gradients.
        grades: int64 [B, C], judged grades; 0 where a passage is not judged relevant.
        listed: bool [B, C], what the loss may compare. Judged passages of another row, and missing entries, are not.
        origin: int8 [B, C], values of `Origin`.
        passages: int64 [C] or [B, C], positions in the collection, or behind it of texts outside; -1 where there is
            none.
        judged: int64 [B, J], the grades of all passages that are judged relevant to a query, best first, 0 beyond.
        rank: int64 [B, C], ranks from 1 in the ranking of the encoder that is trained; None where there is no such
            ranking, as with static lists: a loss that wants ranks then takes those of `scores`.
        teacher: float32 [B, C], a teacher's scores, NaN where it has none; None without a teacher.
        second: float32 [B, C], the scores of a second teacher, which scores all that meets, while `teacher` then has
            scores of a row's own passages only; None without one.
        mass: float32 [B], the logarithm of the sum of e^score over all candidates that a source holds; None where it
            holds no scores of its own.
        among: float32 [B, C], scores of a row's own positive, of the first where it has several, against the columns,
            over the temperature, with gradients; None where no loss needs them.
        clean: bool [B, C], False where a judged pair is flagged as noise; None where nothing flags.
    """

    scores: torch.Tensor
    grades: torch.Tensor
    listed: torch.Tensor
    origin: torch.Tensor
    passages: torch.Tensor
    judged: torch.Tensor
    rank: torch.Tensor | None = None
    teacher: torch.Tensor | None = None
    mass: torch.Tensor | None = None
    among: torch.Tensor | None = None
    clean: torch.Tensor | None = None
    second: torch.Tensor | None = None

    def relevant(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The listed passages that are judged relevant: columns int64 [B, P] and their grades int64 [B, P].

        P is the most that a query of this batch has; a grade of 0 stands for none.
        """
        grades = self.grades * self.listed
        most = max(int((grades > 0).sum(1).max()), 1)
        found = grades.topk(most, dim=1)
        return found.indices, found.values

    def own_negatives(self) -> torch.Tensor:
        """What was drawn as a row's own negative: bool [B, C]."""
        return (self.origin == Origin.MINED) | (self.origin == Origin.GENERATED)

    def better(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The pairs in which the first passage has the higher grade.

        Returns:
            Columns int64 [B, P] of the first passages, and bool [B, P, C], whether the pair with column j is one.
        """
        columns, grades = self.relevant()
        return columns, (grades.unsqueeze(2) > self.grades.unsqueeze(1)) & self.listed.unsqueeze(1)

    def ranks(self) -> torch.Tensor:
        """Ranks from 1, int64 [B, C]: those of the encoder's ranking, or else of the scores; ties by column."""
        import torch

        if self.rank is not None:
            return self.rank
        order = self.scores.detach().masked_fill(~self.listed, -torch.inf).argsort(dim=1, descending=True, stable=True)
        return order.argsort(dim=1) + 1
