"""A query's list as the teacher distributes it (listwise KL)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hardneg.methods.base import Weighted

if TYPE_CHECKING:
    import torch

    from hardneg.methods.batch import TrainingBatch


class KlList(Weighted):
    """Kullback-Leibler divergence of the student's softmax over a query's passages from the teacher's.

    Passages that the teacher did not score are left out, and queries with fewer than two that it did. Judgements are
    not read. The student's scores are already over the encoder's temperature.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"negatives", "teacher"})
    name: Literal["kl_list"] = "kl_list"
    teacher_temperature: float = Field(0.25, gt=0, description="the teacher's scores are divided by it")
    student_temperature: float = Field(1.0, gt=0, description="the student's scores are divided by it")


def loss(batch: TrainingBatch, *, teacher_temperature: float, student_temperature: float) -> torch.Tensor:
    """Mean over queries of KL( softmax(t / tau_t) || softmax(s / tau_s) ), over what is listed and scored.

    Args:
        batch: scores and teacher, float32 [B, C].
        teacher_temperature: tau_t.
        student_temperature: tau_s.

    Returns:
        float32 []; 0 where no query has two scored passages.
    """
    import torch

    assert batch.teacher is not None
    scored = batch.listed & ~batch.teacher.isnan()
    scored &= scored.sum(1, keepdim=True) > 1

    def log_shares(values: torch.Tensor, temperature: float) -> torch.Tensor:
        values = torch.where(scored, values.float() / temperature, -1e30)  # -inf would make the gradient NaN
        return values.log_softmax(1)

    taught = log_shares(batch.teacher, teacher_temperature)
    differences = torch.where(scored, taught - log_shares(batch.scores, student_temperature), 0.0)
    return (taught.exp() * differences).sum() / scored.any(1).sum().clamp_min(1)
