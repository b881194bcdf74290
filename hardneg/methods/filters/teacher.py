"""What a teacher finds relevant."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from hardneg.methods.base import Answer

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from hardneg.methods.draws import Judged, Ranked, Teacher


class TaughtFilter(Answer):
    """Candidates that a teacher, a cross-encoder or a dense system, scores high are thrown out: they may be relevant.

    With `most`, a candidate stays if the teacher's score is at most that. With a margin, it stays if the score is at
    most the positive's, less `absolute`, less `relative` times the positive's absolute value. Of several positives the
    lowest counts. A candidate without a score stays, and where no positive has one, margins throw nothing out.

    RocketQA's rule is `{name: teacher, system: ..., scale: sigmoid, most: 0.1}`, or `most: -2.197` on the scores
    themselves. That is a probability only if the cross-encoder was trained to give one; after a ranking loss its scores
    have no zero of their own, and a margin says more.

    The teacher scores what the filters before this one leave, so put cheap filters first.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"mined"})
    stages: ClassVar[frozenset[str]] = frozenset({"pair_scores"})
    name: Literal["teacher"] = "teacher"
    system: str = Field(description="the system that scores")
    scale: Literal["score", "sigmoid"] = Field(
        "score", description="what bounds and margins compare: the teacher's score, or 1 / (1 + e^-score)"
    )
    most: float | None = Field(None, description="null: no upper bound")
    absolute: float | None = Field(None, description="a margin in units of the scale; null: no margin, or 0")
    relative: float | None = Field(None, description="a margin as a share of the positive's score; null: none, or 0")

    @model_validator(mode="after")
    def _throws_something_out(self) -> Self:
        if self.most is None and self.absolute is None and self.relative is None:
            raise ValueError("give most, absolute or relative: without any of them nothing is thrown out")
        return self


def keep(
    found: Ranked,
    *,
    scored: Teacher,
    judged: Judged,
    scale: str,
    most: float | None,
    absolute: float | None,
    relative: float | None,
) -> npt.NDArray[np.bool_]:
    """Which candidates stay: bool [n].

    Args:
        found: the candidates.
        scored: the teacher's scores of the judged pairs and of the candidates.
        judged: the training judgements.
        scale: `score` or `sigmoid`.
        most: the highest score that stays; None: any.
        absolute: margin to the positive; None with no `relative`: no margin.
        relative: margin to the positive, as a share of its absolute value.
    """
    import numpy as np

    def scaled(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        wide = scores.astype(np.float64)
        return 0.5 * (1 + np.tanh(wide / 2)) if scale == "sigmoid" else wide  # which never overflows

    score = scaled(scored(found.query, found.passage))
    out = np.zeros(len(score), bool) if most is None else score > most  # never, where there is no score
    if absolute is not None or relative is not None:
        queries, of = np.unique(found.query, return_inverse=True)
        positives, _ = judged.table(queries)
        known = scaled(np.where(positives >= 0, scored(queries[:, None], positives), np.float32(np.nan)))
        lowest = np.fmin.reduce(known, axis=1, initial=np.inf)[of]  # infinite, where no positive has a score
        limit = lowest - (absolute or 0.0) - (relative or 0.0) * np.abs(np.where(np.isinf(lowest), 0.0, lowest))
        out |= score > limit
    return ~out
