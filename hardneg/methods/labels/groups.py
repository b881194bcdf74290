"""Groups of a teacher's ranking as grades (CL-DRD)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hardneg.methods.base import Answer

if TYPE_CHECKING:
    from hardneg.methods.draws import Relabelling, Teacher


class Groups(Answer):
    """A teacher ranks what a query meets; its best passages are graded one by one, the others in two groups (CL-DRD).

    With 30 passages, `best: 5` and `middle: 12`, the grades are 6, 5, 4, 3, 2, then 1 for 12 passages and 0 for 13.
    Within a group nothing is preferred. Judgements say only which positive joins the list; passages that the teacher
    did not score are left out.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"ranking"})
    provides: ClassVar[frozenset[str]] = frozenset({"teacher", "scored_pairs"})
    stages: ClassVar[frozenset[str]] = frozenset({"pair_scores"})
    name: Literal["groups"] = "groups"
    system: str = Field(description="the system that teaches")
    best: int = Field(5, ge=1, description="passages with a grade of their own")
    middle: int = Field(12, ge=0, description="passages of the group below them; what is left is the lowest group")


def label(scored: Teacher | None, *, best: int, middle: int) -> Relabelling:
    """The scores, and grades from their order."""
    from hardneg.methods.grading import Graded

    assert scored is not None
    return Graded(scored, best, middle)
