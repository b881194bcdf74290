"""Whether measures are known and the main measure is one of them."""

from __future__ import annotations

from collections.abc import Iterator

from hardneg.config.config import Config
from hardneg.errors import HardnegError
from hardneg.evaluation.measure_names import lower_is_better, split_name


def problems(config: Config) -> Iterator[HardnegError]:
    """Problems of the measures."""
    evaluation = config.evaluation
    for number, measure in enumerate(evaluation.measures):
        try:
            grade = split_name(measure, f"evaluation.measures.{number}").grade
        except HardnegError as fault:
            yield fault
        else:
            if measure == evaluation.main_measure and grade is not None:
                yield HardnegError(
                    "The main measure gives its own lowest relevant grade. Analyses of it count by the split's grade.",
                    where="evaluation.main_measure",
                    found=measure,
                    remedy=f"set evaluation.relevant_grade to {grade}, and drop (rel={grade}) here.",
                )
            if measure == evaluation.main_measure and lower_is_better(measure):
                yield HardnegError(
                    "Lower is better for the main measure. It must be one where higher is better.",
                    where="evaluation.main_measure",
                    found=measure,
                    remedy="choose another of evaluation.measures.",
                )
    if evaluation.main_measure not in evaluation.measures:
        yield HardnegError(
            "The main measure is not among the measures.",
            where="evaluation.main_measure",
            found=evaluation.main_measure,
            expected=", ".join(evaluation.measures),
            remedy="add it to evaluation.measures, or choose one of these.",
        )
