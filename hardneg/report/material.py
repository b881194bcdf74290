"""The data of the report, read from finished stages: plain tables, nothing drawn yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from hardneg.report.items import Category


@dataclass(frozen=True)
class Errors:
    """Pairwise errors (Table 1 and Figure 3).

    Attributes:
        k: the cap on the errors of one positive in `top_k`.
        hard: a query with more errors than this counts as hard.
        rows: system, query, passage, errors, top_k; one row per judged positive.
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
        indexes: index, mib (file size), bytes_a_vector, quality (main measure of the base on this index, analysis
            split), system (trained on this index), seconds (its training time), value (its main measure on this
            index, analysis split).
    """

    base: str
    cells: pd.DataFrame
    indexes: pd.DataFrame


@dataclass(frozen=True)
class Movement:
    """A query and its passages, projected to two dimensions (Figure 6).

    Attributes:
        system: the system in training.
        text: the query's text.
        rank_before: the rank of its first relevant passage before training, from 1.
        rank_after: the same after training.
        rows: kind (query, relevant, near_before, near_after), step, x, y.
    """

    system: str
    text: str
    rank_before: int
    rank_after: int
    rows: pd.DataFrame


@dataclass(frozen=True)
class Negatives:
    """Mined and in-batch negatives.

    Attributes:
        teacher: the system that judges likely false negatives, or None.
        systems: system, mined (the system whose ranking is mined), ranking (the version of that ranking, which several
            systems may mine), lag (how many steps a ranking is drawn from before it is mined again; 0 if it is live),
            mined_hits, mined_judged_positives, candidates, likely_false_share, in_batch_pairs, in_batch_judged. Missing
            if a system has no such negatives.
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
        baseline: the system it is compared with.
        content: the result of `hardneg.analysis.examples.examples`.
    """

    chosen: str
    baseline: str
    content: Mapping[str, Any]


@dataclass(frozen=True)
class Lexical:
    """Queries on which BM25 is better than the best other system, by the main measure on the report's split.

    Attributes:
        system: BM25's name.
        other: the best other system.
        queries: how many queries both are scored on.
        lost: on how many of them the other system is better.
        words_won: mean words of the queries that BM25 wins; NaN if it wins none.
        words_lost: mean words of those that it loses.
        rows: query_id, text, bm25, other (values), difference; the largest gain first.
    """

    system: str
    other: str
    queries: int
    lost: int
    words_won: float
    words_lost: float
    rows: pd.DataFrame


@dataclass(frozen=True)
class Material:
    """Everything that the report shows.

    Attributes:
        dataset: the collection's name.
        main_measure: the measure that ranks the systems.
        split: the split that ranks the systems.
        analysis_split: the split for errors, compression, trajectories and movement.
        collection: counts of passages, queries, judgements and so on.
        relevant_grade: the lowest relevant grade, by split.
        systems: system, retriever, starts_from, trains, source, filter, sampler, loss, batch, refresh, index; one row
            per system, in the configuration's order.
        measures: system, split, measure, value; in display order, the main measure first.
        per_query: system, split, query_id, measure, value.
        significance: the table of `hardneg.evaluation.measures.significance_table` for each system against its own
            baselines.
        marks: the same for every system against the named baselines, with one Holm correction over all pairs.
        costs: stage, system, version, seconds, devices, device, peak_memory_mib; one row per stage or shard.
        training_costs: system, starts_from, seconds, devices, device_hours: training, mining and encoding of the
            system alone; whole_seconds, whole_device_hours: with all systems it builds on; queries, encoded,
            whole_queries, whole_encoded: the fields of `hardneg.report.budgets.Budget`, alone and in total.
        speed_baseline: the system that speed-ups are relative to, or None.
        stages: kind, label, version, seconds (None if unknown), parents (indices into this list); parents first.
        configuration: the complete configuration, as YAML.
        targets: what, command; the command that reproduces each number.
        versions: the versions of hardneg, Python and libraries.
        errors, compression, trajectory, ablation, movement, negatives, agreement, seeds, examples: None unless
            configured. `trajectory`: system, step, name, value. `ablation`: base, variant, system. `agreement`: system,
            queries, hits, relevant, judged_not_relevant, unjudged, agreed, hole, measured_false_negative_rate.
            `seeds`: system, seed, split, measure, value.
        trajectory_queries: system, step, query_id, value of the main measure on the analysis split; with `trajectory`.
        collections: the table of `hardneg.evaluation.several.over_collections`; None unless configured.
        losses: system, step, loss; None if nothing is trained.
        lexical: where BM25 wins; None without BM25 and another system.
        about: date, seed, commit, machine; in words.
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
    trajectory_queries: pd.DataFrame | None = None
    ablation: pd.DataFrame | None = None
    movement: Movement | None = None
    negatives: Negatives | None = None
    agreement: pd.DataFrame | None = None
    seeds: pd.DataFrame | None = None
    examples: Examples | None = None
    collections: pd.DataFrame | None = None
    losses: pd.DataFrame | None = None
    lexical: Lexical | None = None
    about: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Item:
    """A table or figure of the report, with its texts.

    Attributes:
        name: the name of its files and its anchor.
        title: a short title, beginning with the paper's number if there is one ("Table 1: ...").
        category: the section of the report.
        caption: what is shown, on which data, in which units.
        paper: the paper's finding; empty if the paper has no such item.
        here: the finding on these data, generated from the numbers.
        table: the table, with numbers as numbers.
        digits: the number of decimals by column; 0 for the others.
        figure: a function that draws the figure.
        printed: the columns of the LaTeX table, which must fit a page; all if empty. The CSV file has all.
    """

    name: str
    title: str
    category: Category
    caption: str
    paper: str = ""
    here: str = ""
    table: pd.DataFrame | None = None
    digits: Mapping[str, int] = field(default_factory=dict)
    figure: Callable[[], Figure] | None = None
    printed: Sequence[str] = ()
