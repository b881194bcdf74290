"""Margins of the student against those of a teacher, which several losses compare."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from hardneg.methods.batch import TrainingBatch


def margin_errors(batch: TrainingBatch, teacher: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """((s+ - s-) - (t+ - t-))^2 of pairs of a positive and a passage of a lower grade.

    Args:
        batch: its scores are s.
        teacher: t, float [B, C]; NaN where a passage was not scored.

    Returns:
        The squares float32 [B, P, C] of every positive with every passage, and which of them are pairs that the teacher
        scored both of, bool [B, P, C].
    """
    columns, better = batch.better()
    scores, teacher = batch.scores.float(), teacher.float()
    scored = ~teacher.isnan()
    pairs = better & scored.unsqueeze(1) & scored.gather(1, columns).unsqueeze(2)
    teacher = teacher.nan_to_num()
    student, taught = (values.gather(1, columns).unsqueeze(2) - values.unsqueeze(1) for values in (scores, teacher))
    return (student - taught).square(), pairs
