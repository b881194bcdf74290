"""What an answer is: a name, its settings, what it needs of the other answers and what it provides to them."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

NEEDS = {
    "negatives": "passages to compare a positive with (a source, or `batch: in_batch` with a batch_size of 2 or more)",
    "candidates": "candidates to draw from (a source other than none)",
    "mined": "candidates that are mined before the training (source run or self)",
    "ranking": "a ranked list of candidates (source run, self or live)",
    "scores": "scores of the candidates (source run, self or live)",
    "positive_score": "the positive's score in the ranking that is mined (source run or self)",
    "one_source": "a single source of candidates",
    "mined_vectors": "the vectors that the mined ranking was made from (source run or self, of a dense system)",
    "mined_anew": "candidates that are mined anew (source self)",
    "rounds": "rounds (refresh rounds)",
    "live": "an index that is searched at every step (source live)",
    "every_step": "candidates renewed at every step (refresh every_step)",
    "fixed_passages": "passage vectors that training leaves alone (trains query_encoder)",
    "encoded_passages": "passages that training encodes (trains both_encoders)",
    "streaming": "candidates renewed as training meets them (refresh streaming)",
    "cache": "a cache of passages (source cache)",
    "mass": "the softmax over all candidates (source cache)",
    "vectors": "texts that are encoded apart (trains both_encoders, query_encoder or late_interaction)",
    "in_batch": "other rows' positives in the batch (batch in_batch)",
    "read_passages": "passages that training reads as texts (trains both_encoders, cross_encoder or late_interaction)",
    "written": "texts that a language model writes (the section generation)",
    "second_teacher": "a second teacher's scores, of all that meets (labels two_teachers)",
    "passage_scores": "scores among the passages of a step (trains both_encoders)",
    "teacher": "a teacher's scores (labels teacher), or those of labels groups or self_corrected",
    "scored_pairs": "a teacher's scores from before the training (labels teacher or groups)",
    "clean": "flags of judged pairs (labels self_corrected)",
    "given": "negatives or scores in the collection's own rows (collection.format pairs)",
}
"""Everything that an answer may need, and where it comes from. A need that no other answer provides is refused."""


class Answer(BaseModel):
    """One answer to one question. A subclass has a `name`, its settings with defaults, and a docstring.

    The function that implements it stands in the same file and is called what the axis calls it (`draw` for a sampler,
    `loss` for a loss). Only that function belongs to the code revision of a stage, so editing a description reruns
    nothing.

    Attributes:
        needs: keys of `NEEDS` that other answers must provide.
        provides: keys of `NEEDS` that this answer provides.
        stages: kinds of stage that the plan adds for it, such as `clusters`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    needs: ClassVar[frozenset[str]] = frozenset()
    provides: ClassVar[frozenset[str]] = frozenset()
    stages: ClassVar[frozenset[str]] = frozenset()
    name: str

    def needed(self) -> frozenset[str]:
        """What it needs with these settings."""
        return self.needs

    def named(self, stage: str) -> tuple[str, str | None]:
        """The system that a stage of `stages` is made from: the setting that names it, and the name; None: no name."""
        return "system", getattr(self, "system", None)


class Weighted(Answer):
    """An answer that can be one of several, such as a source or a loss."""

    weight: float = Field(1.0, gt=0, description="its share among several")


class Sourcing(Weighted):
    """A source."""

    def mined_system(self, start: str | None) -> str | None:
        """The system whose ranking is mined, where candidates are mined; the last round's where `start` is that.

        Args:
            start: the system that this one starts from.
        """
        return None


class Mined(Sourcing):
    """A source whose candidates are mined from a ranking of the training queries.

    Attributes:
        depth: how many ranks are looked at.
    """

    provides: ClassVar[frozenset[str]] = frozenset(
        {"negatives", "candidates", "mined", "ranking", "scores", "positive_score", "mined_vectors"}
    )
    stages: ClassVar[frozenset[str]] = frozenset({"mine"})
    depth: int = Field(200, ge=1, description="how many ranks are looked at")

    def mined_system(self, start: str | None) -> str | None:
        """The system that this one starts from."""
        return start


class Drawing(Answer):
    """A sampler."""

    needs: ClassVar[frozenset[str]] = frozenset({"candidates"})
    positives: str | None = Field(
        None,
        pattern="^(one|missing|if_none)$",
        description="which judged passages join the negatives: `one`, drawn uniformly; all that are `missing` from "
        "what was drawn; or all `if_none` was drawn (as ADORE's released code does). null: one where passages are "
        "encoded, missing where their vectors are fixed",
    )

    def reach(self) -> tuple[str, int] | None:
        """How deep into the candidates it looks, and the setting that says so; None: to their end."""
        return None

    def asked(self) -> tuple[str, int] | None:
        """How many negatives it draws for a query, and the setting that says so; None: all there are."""
        return None


class Renewal(Answer):
    """An answer to when candidates are renewed."""

    def count(self) -> int:
        """How many rounds the training has, each a stage of its own."""
        return 1


class Grouping(Answer):
    """An answer to what else is in the batch.

    Attributes:
        across: whether a row meets passages of other rows, so that all rows meet the same columns.
    """

    across: ClassVar[bool] = True
