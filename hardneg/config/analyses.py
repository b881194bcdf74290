"""The analyses in the report. Tables and figures are those of the paper (Zhan et al., SIGIR 2021)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from hardneg.config.base import Model


class PairwiseErrors(Model):
    """Pairwise errors of the dense systems (the paper's Table 1 and Figure 3)."""

    k: int = Field(200, ge=1, description="cut-off of the top-K errors: a positive counts at most this many")
    hard: int = Field(1000, ge=1, description="a query with more errors than this counts as hard")


class Negatives(Model):
    """The negatives used in training: judged positives and likely false negatives among them, scores by rank."""

    teacher: str | None = Field(
        None, description="a dense system; a negative that it scores above the positive is a likely false negative"
    )


class Agreement(Model):
    """Likely false negatives by agreement: unjudged passages that several systems rank at the top."""

    k: int = Field(10, ge=1, description="how many top ranks of each system count")
    agree: int = Field(2, ge=1, description="how many other systems must rank the passage there")
    exhaustive: bool = Field(
        False, description="the split is judged exhaustively, so that the false-negative rate can be measured"
    )


class Compression(Model):
    """Systems trained on one index and served on another (the paper's Tables 3 and 5)."""

    base: str = Field(description="the system whose passage vectors are indexed")
    systems: tuple[str, ...] = Field(
        min_length=1, description="query encoders that start from `base`, each trained on its own index"
    )


class Trajectory(Model):
    """Query encoders measured while they train (the paper's Figures 4 and 6)."""

    systems: tuple[str, ...] = Field(min_length=1, description="systems with `trains: query_encoder`")
    every: int = Field(50, ge=1, description="steps between two measurements")
    training_queries: int = Field(
        1000, ge=0, description="training queries that are measured beside, so that overfitting shows; 0: none"
    )
    k: int = Field(200, ge=1, description="depth to which static negatives and the live ranking are compared")


class Movement(Model):
    """How one query moves towards its relevant passages in training, in two dimensions (the paper's Figure 6)."""

    system: str = Field(description="one of analyses.trajectory.systems")
    query: str | None = Field(None, description="its id; null: the query whose first relevant passage rises most")
    passages: int = Field(50, ge=1, description="how many of the nearest passages are shown, before and after")


class Seeds(Model):
    """Systems trained again with other seeds, together with everything that they build on."""

    more: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1, description="seeds in addition to `seed`")
    systems: tuple[str, ...] = Field(min_length=1)


class Examples(Model):
    """Example queries with their passages: where one system beats another, and where it loses."""

    system: str | None = Field(None, description="null: the last system of the configuration")
    baseline: str | None = Field(None, description="null: the system that `system` starts from")
    count: int = Field(100, ge=2)


class Analyses(Model):
    """What the report shows besides effectiveness; null turns an analysis off."""

    split: str | None = Field(
        None, description="the split to analyse, one of splits.evaluate; null: dev, or else the first"
    )
    baselines: tuple[str, ...] = Field(
        (), description="systems against which all others are tested for significance (the marks in Table 2)"
    )
    pairwise_errors: PairwiseErrors | None = Field(default_factory=PairwiseErrors)
    negatives: Negatives | None = Field(default_factory=Negatives)
    agreement: Agreement | None = Field(default_factory=Agreement)
    examples: Examples | None = Field(default_factory=Examples)
    compression: Compression | None = None
    trajectory: Trajectory | None = None
    movement: Movement | None = None
    ablation: dict[str, dict[str, str]] = Field(
        {}, description="for each base system, its variants as label: system (the paper's Figure 5)"
    )
    speed_baseline: str | None = Field(None, description="the system that training times are compared with (Table 4)")
    seeds: Seeds | None = None
