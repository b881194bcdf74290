"""Whether splits have usable names and are not trained and evaluated at once."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hardneg.config.base import FOLDER_NAME
from hardneg.config.config import Config
from hardneg.errors import HardnegError, nearest


def problems(config: Config) -> Iterator[HardnegError]:
    """Problems of the names of splits, and of a training split that is evaluated."""
    splits = config.splits
    yield from _relevant_grades(config)
    for name in (*splits.evaluate, *([splits.train] if splits.train else []), *config.collection.holdout):
        if not re.fullmatch(FOLDER_NAME, name):
            yield HardnegError(
                "A split's name is not usable.",
                where="splits",
                found=name,
                expected="letters, digits, dots, hyphens and underscores",
                remedy="rename it; it is used in file names.",
            )
    if splits.train in splits.evaluate:
        yield HardnegError(
            "The training split is also evaluated. Scores on training queries are meaningless.",
            where="splits.evaluate",
            found=splits.train,
            expected="splits other than splits.train",
            remedy="remove it, hold out queries (collection.holdout), or train nothing (splits: {train: null}).",
        )


def _relevant_grades(config: Config) -> Iterator[HardnegError]:
    grades, evaluated = config.evaluation.relevant_grade, config.splits.evaluate
    if isinstance(grades, int):
        return
    for split in grades:
        # A file may inherit grades for splits that it does not evaluate, and they do no harm. A name is refused only
        # if it looks like a typo: it is close to that of an evaluated split, and that split has no grade.
        near = nearest(split, evaluated)
        if split not in evaluated and near and near not in grades:
            yield HardnegError(
                "A relevant grade is set for a split that is not evaluated.",
                where=f"evaluation.relevant_grade.{split}",
                found=split,
                expected=", ".join(evaluated),
                remedy=f"did you mean {near}?",
            )
