"""What the report is made from, gathered from finished stages: tables of plain numbers, nothing drawn yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Errors:
    """Pairwise errors (methods of Table 1 and Figure 3).

    Attributes:
        k: errors of a positive are cut at this number in `top_k`.
        hard: a query with more errors than this is called hard.
        rows: system, query, passage, errors, top_k; a row a judged positive.
    """

    k: int
    hard: int
    rows: pd.DataFrame


@dataclass(frozen=True)
class Compression:
    """Systems trained on one index and served on another (Tables 3 and 5).

    Attributes:
        base: the system whose vectors are indexed.
        cells: system, trained_on, served_on, split, measure, value; `trained_on` is empty for the base itself.
        indexes: index, mib (of the files), bytes_a_vector, quality (the base on this index: main measure, analysis
            split), system (the one trained on it), seconds (its training), value (that system on this index: main
            measure, analysis split).
    """

    base: str
    cells: pd.DataFrame
    indexes: pd.DataFrame


@dataclass(frozen=True)
class Movement:
    """A query and its passages, projected to two dimensions (Figure 6).

    Attributes:
        system: whose training moved it.
        text: of the query.
        rank_before: of its first relevant passage, from 1.
        rank_after: the same, after training.
        rows: kind (query, relevant, near_before, near_after), step, x, y.
    """

    system: str
    text: str
    rank_before: int
    rank_after: int
    rows: pd.DataFrame


@dataclass(frozen=True)
class Negatives:
    """What was mined, and met in the batch.

    Attributes:
        teacher: the system that judges likely false negatives, or none.
        systems: system, mined (whose ranking), mined_hits, mined_judged_positives, candidates, likely_false_share,
            in_batch_pairs, in_batch_judged; missing values where a system has no such negatives.
        by_rank: system, first, last (ranks), candidates, judged_positives, score_q25, score_median, score_q75,
            margin_q25, margin_median, margin_q75, likely_false.
    """

    teacher: str | None
    systems: pd.DataFrame
    by_rank: pd.DataFrame


@dataclass(frozen=True)
class Examples:
    """Queries that one system wins or loses against another.

    Attributes:
        chosen: the system.
        baseline: what it is compared with.
        content: as `hardneg.analysis.examples.examples` gives it.
    """

    chosen: str
    baseline: str
    content: Mapping[str, Any]


@dataclass(frozen=True)
class Material:
    """Everything the report says.

    Attributes:
        dataset: the collection's name.
        main_measure: by which systems are ranked.
        split: on which they are.
        analysis_split: on which errors, compression, trajectories and movement are measured.
        collection: counts, by what is counted.
        relevant_grade: the lowest grade that counts as relevant, by split.
        systems: system, starts_from, trains, source, sampler, loss, batch, refresh, index; a row a system.
        measures: system, split, measure, value; in the order to show, the main measure first.
        per_query: system, split, query_id, measure, value.
        significance: the table of `hardneg.evaluation.measures.significance_table` for each system against its own
            baselines.
        marks: the same, of every system against the named baselines, one Holm correction over all of them.
        costs: stage, system, version, seconds, devices, device, peak_memory_mib; a row a stage or shard.
        training_costs: system, starts_from, seconds, devices, device_hours: what training, mining and encoding for it
            took by its own; whole_seconds, whole_device_hours: with all systems that it builds on.
        speed_baseline: the system whose training the others' speed-up is against.
        stages: kind, label, version, seconds (none where unknown), parents (places in this list); parents first.
        configuration: the whole of it, as YAML.
        targets: what, command: how each number is made again.
        versions: of hardneg, Python and libraries.
        errors, compression, trajectory, ablation, movement, negatives, agreement, seeds, examples: where they were
            asked for. `trajectory`: system, step, name, value. `ablation`: base, variant, system. `agreement`: system,
            queries, hits, relevant, judged_not_relevant, unjudged, agreed, hole, measured_false_negative_rate.
            `seeds`: system, seed, split, measure, value.
    """

    dataset: str
    main_measure: str
    split: str
    analysis_split: str
    collection: Mapping[str, int]
    relevant_grade: Mapping[str, int]
    systems: pd.DataFrame
    measures: pd.DataFrame
    per_query: pd.DataFrame
    significance: pd.DataFrame
    marks: pd.DataFrame
    costs: pd.DataFrame
    training_costs: pd.DataFrame
    speed_baseline: str | None
    stages: Sequence[Mapping[str, Any]]
    configuration: str
    targets: pd.DataFrame
    versions: Mapping[str, str]
    errors: Errors | None = None
    compression: Compression | None = None
    trajectory: pd.DataFrame | None = None
    ablation: pd.DataFrame | None = None
    movement: Movement | None = None
    negatives: Negatives | None = None
    agreement: pd.DataFrame | None = None
    seeds: pd.DataFrame | None = None
    examples: Examples | None = None


@dataclass(frozen=True)
class Item:
    """A table or a figure of the report, with what is said about it.

    Attributes:
        name: of its files and its anchor.
        title: what it shows, in a few words; begins with the paper's number where it has one ("Table 1: ...").
        category: the part of the report that it stands in.
        caption: what is shown, on which data, in which units.
        paper: what the paper found; empty for what the paper has not.
        here: whether that shows here, in words made from these numbers.
        table: shown as it is; numbers stay numbers.
        digits: decimals of a column's numbers; others are shown whole.
        figure: draws it.
    """

    name: str
    title: str
    category: Literal["Effectiveness", "Why", "Compressed indexes", "Cost", "Negatives"]
    caption: str
    paper: str = ""
    here: str = ""
    table: pd.DataFrame | None = None
    digits: Mapping[str, int] = field(default_factory=dict)
    figure: Callable[[], Figure] | None = None
