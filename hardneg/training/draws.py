"""Which passages meet which queries at a step, before anything is encoded: order, sources, sampler, batch.

Nothing here depends on the steps before: random numbers come from (seed, step). A step can therefore be replayed after
the training, to count what it met, unless its candidates come from the live index.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self, TypeGuard, cast

import numpy as np
import numpy.typing as npt

from hardneg.data.judgements import Judgements
from hardneg.data.members import Member, members_of
from hardneg.methods.axes import function_of
from hardneg.methods.batch import Origin
from hardneg.methods.draws import (
    Drawn,
    Followed,
    Follower,
    Material,
    MinedVectors,
    Offer,
    PairScores,
    Positions,
    Relabelling,
    Relevance,
    Scores,
    Source,
    Stateful,
    Teacher,
    TrainingQueries,
    with_positives,
)
from hardneg.retrieval.mine import NEGATIVES, POSITIVES
from hardneg.retrieval.pair_scores import FILE as SCORES
from hardneg.stages.artifacts import Artifact
from hardneg.text.outside import ROLE as OUTSIDE
from hardneg.training.members import Members, ranges_of
from hardneg.training.schedule import generator

if TYPE_CHECKING:
    import torch


OWN = (Origin.OWN, Origin.MINED, Origin.GENERATED)
"""How a row's own passages come to meet it."""


class Live(NamedTuple):
    """What a live index does for a step.

    Attributes:
        search: query vectors and a depth to passage positions int64 [B, depth] and scores float32 [B, depth].
        score: query vectors and passage positions int64 [B, P] (-1 for none) to scores float32 [B, P].
    """

    search: Callable[..., tuple[Positions, Scores]]
    score: Callable[..., Scores]


class EncodesPassages(Protocol):
    """What trains both encoders."""

    def encode_passages(self, passages: Positions) -> torch.Tensor:
        """Vectors float32 [n, dim] of passages [n], without dropout or gradients."""


class Meeting(NamedTuple):
    """What a step compares, B queries with C passages; see `hardneg.methods.batch.TrainingBatch`.

    Attributes:
        rows: int64 [B], query positions.
        passages: int64 [C] where all queries meet the same passages, [B, C] where each has a list; -1 for none.
        listed: bool [B, C], what the loss may compare.
        grades: int64 [B, C].
        origin: int8 [B, C].
        judged: int64 [B, J], grades of all relevant passages of a query, best first.
        ranked: whether a query's list is the present ranking of the encoder, column j being rank j + 1.
        met: bool [B, C], what the batch answer brings together, judged passages of other rows included.
        drawn: what the sampler drew.
    """

    rows: Positions
    passages: Positions
    listed: npt.NDArray[np.bool_]
    grades: Positions
    origin: npt.NDArray[np.int8]
    judged: Positions
    ranked: bool
    met: npt.NDArray[np.bool_]
    drawn: Drawn


class Draws:
    """The meetings of every step.

    Args:
        settings: of the training stage: `order`, `source`, `sampler` (None without candidates), `batch`, `train`,
            `seed`, `positives`, `lists`, and whether `positive_scores` are needed.
        judged: the training judgements.
        sources: one for each entry of `settings["source"]`, None where it has no candidates.
        positive_scores: for each source, scores of the judged pairs in the ranking that it was mined from, or None.
        teacher: scores pairs; None without a teacher.
        topics: int64 [queries of the split], the cluster of each query; None without clusters.
        live: the live index, where there is one.
        vectors: for each source, those that its candidates were ranked by, or None.
        members: the collections, where several are joined; a step takes its queries from one of them.
        second: scores all that meets, where `teacher` scores a row's own passages; None without a second teacher.
        before: queries at the beginning of the order that are passed over, since trainings before this one met them;
            steps are passed over whole.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        judged: Judgements,
        sources: Sequence[Source | None],
        positive_scores: Sequence[Teacher | None] = (),
        teacher: Teacher | Follower | None = None,
        topics: Positions | None = None,
        live: Live | None = None,
        vectors: Sequence[MinedVectors | None] = (),
        second: Teacher | None = None,
        members: Sequence[Member] = (),
        before: int = 0,
    ) -> None:
        self._settings, self._judged, self._live = settings, judged, live
        scored = positive_scores or [None] * len(sources)
        given = zip(sources, settings["source"], scored, vectors or [None] * len(sources), strict=True)
        there = [(source, entry["weight"], *more) for source, entry, *more in given if source is not None]
        self._sources, self._weights = [each[0] for each in there], np.array([each[1] for each in there])
        self._positive_scores, self._vectors = [each[2] for each in there], [each[3] for each in there]
        self.ranked = len(self._sources) == 1 and self._sources[0].ranked and settings["lists"]
        self.follower: Follower | None = teacher if _follows(teacher) else None
        self._teacher = cast(Teacher | None, teacher) if self.follower is None else None
        self._second = second
        self.trainable = judged.with_positives()
        batch_size, seed = settings["train"]["batch_size"], settings["seed"]
        chosen = topics[self.trainable] if topics is not None else None
        self.stateful: list[Stateful] = [source for source in self._sources if _has_state(source)]
        self._queries = TrainingQueries(self.trainable, batch_size, seed, chosen)
        self.members = Members(members, settings["split"], settings["weights"], self._queries) if members else None
        self.passed = -(-before // batch_size)
        self._rows_of = function_of("order", settings["order"])
        self._compared = function_of("batch", settings["batch"])
        self._draw = function_of("sampler", settings["sampler"]) if settings["sampler"] else None

    @classmethod
    def of(
        cls,
        settings: Mapping[str, Any],
        parents: Mapping[str, Artifact],
        judged: Judgements,
        live: Live | None = None,
        device: torch.device | None = None,
        before: int = 0,
    ) -> Self:
        """Of a training stage's settings and parents.

        Args:
            settings: of the stage.
            parents: the stages that answers need: `negatives` (and `negatives_2`, ... of further sources), `clusters`,
                `teacher`, `late_teacher`, `late_tokens`, `outside`, and `passages_negatives` and `queries_negatives`
                (and so on), the vectors of mined rankings; `collection`, whose facts say whether it is several.
            judged: the training judgements.
            live: the live index, where there is one.
            device: where a late interaction that teaches scores; None: the CPU.
            before: see `Draws`.
        """
        queries, passages = len(judged.offsets) - 1, judged.passages
        outside = parents[OUTSIDE].path(NEGATIVES) if OUTSIDE in parents else None
        members = members_of(parents["collection"].facts) if "collection" in parents else []
        ranges = ranges_of(members, settings["split"], queries) if members else None
        sources: list[Source | None] = []
        positive_scores: list[Teacher | None] = []
        read: list[MinedVectors | None] = []
        for number, chosen in enumerate(settings["source"], 1):
            mined = parents.get(negatives_role(number))
            negatives = mined.path(NEGATIVES) if mined is not None else None
            search = live.search if live else None
            chance = (settings["seed"], settings["temperature"])
            material = Material(negatives, queries, passages, *chance, search, outside, ranges)
            sources.append(function_of("source", chosen)(material))
            read.append(_vectors(parents, negatives_role(number), settings["split"]))
            positive_scores.append(None)
            if mined is not None and settings["positive_scores"]:
                positive_scores[-1] = PairScores.read(mined.path(POSITIVES), passages)
        taught = parents["teacher"].path(SCORES) if "teacher" in parents else None
        teacher: Teacher | None = PairScores.read(taught, passages) if taught is not None else None
        if (vectors := _vectors(parents, "teacher", settings["split"])) is not None:
            teacher = by_vectors(vectors, passages)
        late = _late(parents, settings["split"], device) if "late_teacher" in parents else None
        return cls(
            settings,
            judged,
            sources,
            positive_scores,
            function_of("labels", settings["labels"])(teacher or late),
            _topics(parents["clusters"]) if "clusters" in parents else None,
            live,
            read,
            late if teacher is not None else None,
            members,
            before,
        )

    def rows(self, step: int) -> Positions:
        """The queries of a step, from 0: int64 [B]."""
        if self.members is None:
            return self._rows_of(self._queries, self.passed + step)
        member, before = self.members.at(self.passed + step)
        return self._rows_of(self.members.queries[member], before)

    def at(self, step: int, vectors: object = None) -> Meeting:
        """What a step compares.

        Args:
            step: its number, from 0.
            vectors: of its queries, where `looks_at_queries`.
        """
        rows = self.rows(step)
        positives, grades = self._judged.table(rows)
        drawn = self._drawn(rows, positives, vectors, generator(self._settings["seed"], step))
        judged = -np.sort(-grades, axis=1)
        if self._settings["lists"]:
            return self._relabelled(self._lists(rows, drawn, judged))
        return self._relabelled(self._columns(rows, drawn, judged, positives[:, :1]))

    @property
    def looks_at_queries(self) -> bool:
        """Whether what a step draws depends on the vectors of its queries."""
        return self._live is not None or bool(self.stateful)

    def start(self, scorer: EncodesPassages) -> None:
        """Give sources with a state their first vectors."""
        for source in self.stateful:
            source.start(scorer.encode_passages)

    def learn(self, meeting: Meeting, encoded: npt.NDArray[np.float32]) -> None:
        """Let sources with a state take over what a step encoded.

        Args:
            meeting: of the step.
            encoded: [C, dim], the vectors of its passages.
        """
        vectors = {int(passage): vector for passage, vector in zip(meeting.passages, encoded, strict=True)}
        positives, negatives = (np.unique(drawn[drawn >= 0]) for drawn in meeting.drawn[:2])
        for source in self.stateful:
            source.met(positives, negatives, vectors)

    def followed(self) -> Followed:
        """What labels that follow the training know of it."""
        positives, _ = self._judged.table(self.trainable)
        row, column = np.nonzero(positives >= 0)
        epoch = -(-len(self.trainable) // self._settings["train"]["batch_size"])
        count, seed, temperature = self._judged.passages, self._settings["seed"], self._settings["temperature"]
        return Followed(self.trainable[row], positives[row, column], count, epoch, seed, temperature)

    def teacher_scores(self, meeting: Meeting) -> Scores | None:
        """The teacher's scores of what meets: float32 [B, C], NaN where it has none; None without a teacher."""
        scores = _scores(self._teacher, meeting)
        if scores is None or self._second is None:
            return scores
        return np.where(np.isin(meeting.origin, OWN), scores, np.float32(np.nan))

    def second_scores(self, meeting: Meeting) -> Scores | None:
        """The second teacher's scores of what meets: float32 [B, C], NaN where it has none; None without one."""
        return _scores(self._second, meeting)

    def _relabelled(self, meeting: Meeting) -> Meeting:
        """What the teacher holds for relevant, where it says."""
        if not _relabels(self._teacher):
            return meeting
        scores = self.teacher_scores(meeting)
        assert scores is not None
        relevance = self._teacher.relabel(scores, Relevance(meeting.grades, meeting.listed, meeting.judged))
        return meeting._replace(**relevance._asdict())

    def _drawn(self, rows: Positions, positives: Positions, vectors: object, rng: np.random.Generator) -> Drawn:
        how = self._settings["positives"]
        offers = []
        for number, source in enumerate(self._sources):
            candidates = source.of(rows, vectors)
            scores = self._scores_of(number, rows, positives, vectors) if self._settings["positive_scores"] else None
            offers.append(Offer(rows, positives, candidates, scores, self._teacher, self._vectors[number]))
        if self._draw is None:
            offer = Offer(rows, positives, None)  # type: ignore[arg-type] # nothing is drawn from it
            column = offer.one_positive(rng) if how == "one" else None
            return with_positives(offer, column, np.empty((len(rows), 0), np.int64), how)
        drawn: list[Drawn] = [self._draw(offer, rng, positives=how) for offer in offers]
        if len(drawn) == 1:
            return drawn[0]._replace(mass=getattr(offers[0].candidates, "mass", None))
        negatives = mixed([each.negatives for each in drawn], self._weights, rng)
        if how == "one":
            return Drawn(drawn[0].positives, negatives)
        return with_positives(offers[0], None, negatives, how)

    def _scores_of(self, number: int, rows: Positions, positives: Positions, vectors: object) -> Scores:
        """The positives' scores [B, P] in the ranking that a source's candidates come from; NaN where it has none."""
        if self._live is not None and self._sources[number].ranked:
            return self._live.score(vectors, positives)
        known = self._positive_scores[number]
        if known is None:
            return np.full(positives.shape, np.nan, np.float32)
        return np.where(positives >= 0, known(rows[:, None], positives), np.float32(np.nan))

    def _lists(self, rows: Positions, drawn: Drawn, judged: Positions) -> Meeting:
        """Each query has a list of its own: what was drawn, then the positives that join it."""
        passages = np.concatenate((drawn.negatives, drawn.positives), 1)
        listed = passages >= 0
        grades = np.where(listed, self._judged.grades_of(rows[:, None], passages), 0)
        listed &= grades >= 0  # a passage that is the query itself is compared with nothing
        grades = np.maximum(grades, 0)
        if self._settings["positives"] == "one":  # other passages that are judged relevant are no negatives
            listed &= (grades == 0) | (np.arange(passages.shape[1]) >= drawn.negatives.shape[1])
        drawn_as = np.where(passages < self._judged.passages, Origin.MINED, Origin.GENERATED)
        origin = np.where((grades > 0) & listed, Origin.OWN, drawn_as).astype(np.int8)
        return Meeting(rows, passages, listed, grades, origin, judged, self.ranked, passages >= 0, drawn)

    def _columns(self, rows: Positions, drawn: Drawn, judged: Positions, spare: Positions) -> Meeting:
        """All queries meet the same passages: all rows' positives, then all rows' negatives.

        Args:
            rows: int64 [B].
            drawn: with p positives and h negatives a row.
            judged: int64 [B, J].
            spare: int64 [B, 1], a passage that stands, unlisted, where a row has fewer than p or h.
        """
        count, own, hard = len(rows), drawn.positives.shape[1], drawn.negatives.shape[1]
        blocks = (drawn.positives, drawn.negatives)
        passages = np.concatenate([np.where(block < 0, spare, block).ravel() for block in blocks])
        there = np.concatenate([(block >= 0).ravel() for block in blocks])
        grades = self._judged.grades_of(rows[:, None], passages[None])
        mine = np.concatenate((np.repeat(np.arange(count), own), np.repeat(np.arange(count), hard)))
        mine = mine == np.arange(count)[:, None]
        positive = np.arange(len(passages)) < count * own
        kept = mine & positive if self._settings["positives"] == "one" else mine & (grades > 0)
        met = there & self._compared(count, own, hard)
        listed = (met & (grades == 0)) | (there & kept)
        drawn_as = np.where(passages < self._judged.passages, Origin.MINED, Origin.GENERATED)
        origin = np.where(
            positive, np.where(mine, Origin.OWN, Origin.IN_BATCH), np.where(mine, drawn_as, Origin.SHARED)
        )
        origin[kept] = Origin.OWN
        grades = np.maximum(grades, 0)  # a passage that is the query itself has none
        return Meeting(rows, passages, listed, grades, origin.astype(np.int8), judged, False, met, drawn)


def negatives_role(number: int) -> str:
    """The role of the mining stage behind source number `number` (from 1) of a system."""
    return "negatives" if number == 1 else f"negatives_{number}"


def mixed(negatives: Sequence[Positions], weights: npt.NDArray[np.float64], rng: np.random.Generator) -> Positions:
    """Negatives from several sources, in proportion to their weights.

    Slots are strata of the unit interval, shifted by one random number a row, so that each source fills its share of a
    row's slots to within one slot, and exactly on average. Where a source has nothing more, the others fill in.

    Args:
        negatives: int64 [B, h] of each source, -1 for none.
        weights: of each source.
        rng: random numbers.

    Returns:
        int64 [B, h], -1 for none, no passage twice in a row.
    """
    rows, count = negatives[0].shape
    edges = np.cumsum(weights / weights.sum())
    shift = rng.random((rows, 1))
    wanted = np.minimum(np.searchsorted(edges, (np.arange(count) + shift) / count, side="right"), len(weights) - 1)
    chosen = np.full((rows, count), -1, np.int64)
    for row in range(rows):
        waiting = [[int(p) for p in each[row] if p >= 0] for each in negatives]
        seen: set[int] = set()
        for slot in range(count):
            first = int(wanted[row, slot])
            for source in (first, *(other for other in range(len(negatives)) if other != first)):
                while waiting[source] and waiting[source][0] in seen:
                    waiting[source].pop(0)
                if waiting[source]:
                    chosen[row, slot] = waiting[source].pop(0)
                    seen.add(int(chosen[row, slot]))
                    break
    return chosen


def by_vectors(vectors: MinedVectors, passages: int) -> Teacher:
    """A teacher that scores by inner products of its vectors: queries [B, 1] and passages [1, C] or [B, C].

    Args:
        vectors: of the teacher.
        passages: in the collection. Other texts have no vectors, and their scores are NaN.
    """

    def score(query: Positions, passage: Positions) -> Scores:
        there = (passage >= 0) & (passage < passages)
        wanted = np.where(there, passage, 0)
        asked = vectors.queries(query[:, 0])
        if len(wanted) == 1:  # all queries meet the same passages
            scores = asked @ vectors.passages(wanted[0]).T
        else:
            scores = np.einsum("qd,qcd->qc", asked, vectors.passages(wanted.ravel()).reshape(*wanted.shape, -1))
        return np.where(there, scores, np.float32(np.nan))

    return score


def _scores(teacher: Teacher | None, meeting: Meeting) -> Scores | None:
    if teacher is None:
        return None
    passages = meeting.passages if meeting.passages.ndim == 2 else meeting.passages[None]
    return np.where(passages >= 0, teacher(meeting.rows[:, None], passages), np.float32(np.nan))


def _late(parents: Mapping[str, Artifact], split: str, device: torch.device | None) -> Teacher:
    import torch

    from hardneg.training.late_teacher import LateTeacher  # which loads transformers

    where = device or torch.device("cpu")
    return LateTeacher(parents["late_teacher"], parents["late_tokens"], split, where)


def _has_state(source: Source) -> TypeGuard[Stateful]:
    return hasattr(source, "state_dict")


def _follows(teacher: Teacher | Follower | None) -> TypeGuard[Follower]:
    return hasattr(teacher, "teach")


def _relabels(teacher: Teacher | None) -> TypeGuard[Relabelling]:
    return hasattr(teacher, "relabel")


def _vectors(parents: Mapping[str, Artifact], role: str, split: str) -> MinedVectors | None:
    """The vectors behind the mined negatives of a role, or of a dense teacher, where the plan gave them."""
    if f"passages_{role}" not in parents:
        return None
    from hardneg.retrieval.search.retrieve import vectors_of  # which loads FAISS

    queries = np.load(parents[f"queries_{role}"].path(f"queries.{split}.npy"), mmap_mode="r")
    return MinedVectors(
        lambda positions: np.asarray(queries[positions], np.float32), vectors_of(parents[f"passages_{role}"]).take
    )


def _topics(clusters: Artifact) -> Positions:
    import pyarrow.parquet as pq

    from hardneg.retrieval.clusters import CLUSTERS  # which loads FAISS

    return np.asarray(pq.read_table(clusters.path(CLUSTERS), columns=["topic"]).column(0).to_numpy(), np.int64)
