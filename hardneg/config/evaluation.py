"""Evaluation: how deep runs go and what is measured."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

from hardneg.config.base import Model

Grade = Annotated[int, Field(ge=1)]


class Evaluation(Model):
    """The depth of runs and the effectiveness measures."""

    depth: int = Field(1000, ge=1, description="passages per query in a run")
    measures: tuple[str, ...] = Field(
        ("MRR@10", "nDCG@10", "R@100"),
        min_length=1,
        description="binary ones may give their own lowest relevant grade: R(rel=1)@100",
    )
    relevant_grade: Grade | dict[str, Grade] = Field(
        1, description="lowest grade that counts as relevant in binary measures, for all splits or by split"
    )
    main_measure: str = Field("MRR@10", description="the measure by which the report ranks systems")

    def relevant_grades(self, splits: Iterable[str]) -> dict[str, int]:
        """The lowest relevant grade of each split; 1 for a split without one."""
        given = self.relevant_grade
        return {split: given if isinstance(given, int) else given.get(split, 1) for split in splits}
