"""How many passages and queries there are, and how long they are on average."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hardneg.config import Config
from hardneg.errors import HardnegError
from hardneg.estimate.sampling import SAMPLED, Sample, mean, read_collection
from hardneg.planning.plan import Plan
from hardneg.stages.stage import Stage

CHARACTERS_PER_TOKEN = 4.5  # English text, vocabulary of 30,000 to 50,000
SPECIAL_TOKENS = 2


@dataclass(frozen=True)
class Lengths:
    """Mean lengths of texts. Token counts include special tokens and are cut at the configured length.

    Attributes:
        passage_characters: of a passage's title and text, uncut.
        query_characters: of a query.
        passage_tokens: at most encoder.passage_length.
        query_tokens: at most encoder.query_length.
    """

    passage_characters: float
    query_characters: float
    passage_tokens: float
    query_tokens: float


@dataclass(frozen=True)
class Counts:
    """The size of a collection.

    Attributes:
        passages: in the collection.
        queries: in each split the configuration uses.
        train: the training split; None if nothing is trained.
        lengths: mean text lengths.
        source: where these numbers come from, for people.
    """

    passages: int
    queries: dict[str, int]
    train: str | None
    lengths: Lengths
    source: str

    def of(self, splits: Iterable[str]) -> int:
        """Number of queries in these splits."""
        return sum(self.queries[split] for split in splits)


@dataclass(frozen=True)
class Given:
    """Counts given by the user; None if not given. `evaluate` is the total over all evaluation splits."""

    passages: int | None = None
    train: int | None = None
    evaluate: int | None = None
    passage_characters: float | None = None
    query_characters: float | None = None

    @property
    def any(self) -> bool:
        """Whether any count was given. If so, finished stages do not count, since they were made from other data."""
        return not (self.passages is None and self.train is None and self.evaluate is None)

    @property
    def all(self) -> bool:
        """Whether every count was given."""
        return not (self.passages is None or self.train is None or self.evaluate is None)


class _Outline(Plan):
    """A plan for a collection whose files may be missing. Its versions are meaningless."""

    def _collection(self) -> Stage:
        settings = {"splits": self._inputs.splits(), "train": self.config.splits.train}
        return self._graph.add("collection", self.config.collection.name, settings, {})


def plan_of(config: Config, given: Given) -> Plan:
    """The plan. If all counts are given, the collection's files may be missing.

    Raises:
        HardnegError: files named in the configuration are missing, and not all counts are given.
    """
    try:
        return Plan(config)
    except HardnegError:
        if not given.all:
            raise
        return _Outline(config)


def count(plan: Plan, given: Given) -> Counts:
    """Count from the finished collection stage, or else from the collection's files. Given counts take precedence.

    Queries are counted exactly. Passages in line-based files are estimated from the file size and the mean length of
    the first lines.

    Raises:
        HardnegError: counting would be expensive, or a file cannot be read.
    """
    splits = plan.config.splits
    passages, queries, texts, source = 0, dict.fromkeys(plan.collection.settings["splits"], 0), Sample([], []), "given"
    if plan.collection.manifest.exists():
        facts = json.loads(plan.collection.manifest.read_text(encoding="utf-8"))["facts"]
        passages = facts["passages"]
        queries = {split: entry["queries"] for split, entry in facts["splits"].items()}
        texts, source = _prepared_sample(plan, next(iter(queries))), "the finished collection stage"
    elif not isinstance(plan, _Outline):
        try:
            passages, queries, texts, source = read_collection(plan, count_passages=given.passages is None)
        except HardnegError:
            if not given.all:
                raise
    if given.any:
        source = "given" if given.all else f"given; the rest: {source}"
    if given.train is not None and splits.train is not None:
        queries[splits.train] = given.train
    if given.evaluate is not None:
        others = [split for split in splits.evaluate if split != splits.train]
        for number, split in enumerate(others):
            queries[split] = given.evaluate // len(others) + (number < given.evaluate % len(others))
    passages = passages if given.passages is None else given.passages
    return Counts(passages, queries, splits.train, _lengths(plan, given, texts), source)


def count_elsewhere(plan: Plan) -> dict[str, Counts]:
    """The counts of the further collections that systems are evaluated on, by name.

    One that cannot be counted yet, such as one that is still to be downloaded, is left out.
    """
    counted: dict[str, Counts] = {}
    for name, other in plan.elsewhere.items():
        with contextlib.suppress(HardnegError):
            counted[name] = count(other, Given())
    return counted


def _prepared_sample(plan: Plan, split: str) -> Sample:
    """Lengths of the first texts of the finished collection stage."""
    import pyarrow.parquet as pq

    columns = []
    for name, wanted in (("passages", ["title", "text"]), (f"queries.{split}", ["text"])):
        file = pq.ParquetFile(plan.collection.folder / f"{name}.parquet")
        batch = next(file.iter_batches(SAMPLED, columns=wanted))
        texts = zip(*(batch.column(column).to_pylist() for column in wanted), strict=True)
        columns.append([len(" ".join(parts).strip()) for parts in texts])
    return Sample(*columns)


def _lengths(plan: Plan, given: Given, sample: Sample) -> Lengths:
    """Mean lengths. Without a sample, texts are assumed to be as long as the configuration allows."""
    encoder = plan.config.encoder
    tokens = next(iter(plan.of("tokens")), None)
    if tokens is not None and tokens.manifest.exists() and not given.any:
        facts = json.loads(tokens.manifest.read_text(encoding="utf-8"))["facts"]
        special = len(facts["prefix"]) + len(facts["suffix"])
        known = {name: entry["mean_length"] + special for name, entry in facts["texts"].items()}
    else:
        known = {}
    at_most = encoder.passage_tokens * CHARACTERS_PER_TOKEN
    passages = [round(given.passage_characters)] if given.passage_characters is not None else sample.passages
    queries = [round(given.query_characters)] if given.query_characters is not None else sample.queries
    return Lengths(
        passage_characters=mean(passages) if passages else at_most,
        query_characters=mean(queries) if queries else encoder.query_tokens * CHARACTERS_PER_TOKEN,
        passage_tokens=known.get("passages", _tokens(passages, encoder.passage_tokens)),
        query_tokens=known.get(
            f"queries.{plan.collection.settings['splits'][0]}", _tokens(queries, encoder.query_tokens)
        ),
    )


def _tokens(characters: Sequence[int], longest: int) -> float:
    """Mean number of tokens of texts cut at `longest` tokens, special tokens included."""
    if not characters:
        return float(longest)
    return mean([min(longest, n / CHARACTERS_PER_TOKEN + SPECIAL_TOKENS) for n in characters])
