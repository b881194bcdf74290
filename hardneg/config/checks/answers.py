"""Whether a system's answers go together: each must find what it needs among what the others provide."""

from __future__ import annotations

from collections.abc import Iterator

from hardneg.config.checks import candidates, given
from hardneg.config.config import Config
from hardneg.config.index import Index
from hardneg.config.system import System
from hardneg.config.training import Training
from hardneg.errors import HardnegError
from hardneg.methods.axes import answers_of
from hardneg.methods.base import NEEDS

WITHOUT_TRAINING = {
    "bm25": "BM25",
    "deepct": "Term weights learn in a stage of their own: their system",
    "letor": "LambdaMART learns in a stage of its own: its system",
    "run": "A given run",
    "vectors": "A system of given vectors",
}
LEARNING = ("letor", "deepct")
"""Retrievers that learn from the training judgements, though no encoder trains."""

BY_TRAINED = {
    "both_encoders": frozenset({"vectors", "encoded_passages", "read_passages", "passage_scores"}),
    "query_encoder": frozenset({"vectors", "fixed_passages"}),
    "cross_encoder": frozenset({"read_passages"}),
    "late_interaction": frozenset({"vectors", "read_passages"}),
}
"""What there is because of what trains."""

REORDERING = ("cross_encoder", "late_interaction")
"""What trains where a system ranks by reordering another's ranking."""

OF_CANDIDATES = frozenset({"ranking", "scores", "positive_score", "mined_vectors", "mass"})


def problems(at: str, system: System, config: Config) -> Iterator[HardnegError]:
    """Problems of the answers of one system, which stands at the key `at`."""
    yield from given.problems(at, system, config)
    if system.retriever in WITHOUT_TRAINING:
        if system.trains != "nothing" or system.from_ is not None:
            yield HardnegError(
                f"{WITHOUT_TRAINING[system.retriever]} trains nothing.",
                where=at,
                remedy="set `trains: nothing` without `from`, or `retriever: dense`.",
            )
        if system.retriever in LEARNING and config.splits.train is None:
            yield HardnegError(
                "Learning from judgements needs a training split.",
                where=at,
                found="splits.train: null",
                remedy="set splits.train, or remove the system.",
            )
        if system.retriever == "deepct":
            yield from _term_weights(at, system.train)
        yield from _reordered(at, system)
        return
    yield from _retriever(at, system)
    if system.trains == "nothing":
        yield from _untrained(at, system)
        return
    if config.splits.train is None:
        yield HardnegError(
            "Training a system needs a training split.",
            where=at,
            found="splits.train: null",
            remedy="set splits.train, or evaluate another study's system: `preset: zero_shot`, `from: study:system`.",
        )
    yield from _budget(at, system.train)
    yield from _chunk(at, system)
    if system.train.new_queries:
        yield from _new_queries(at, system)
    if system.train.centroids is not None:
        yield from _centroids(at, system, system.index or config.index)
    if system.trains == "query_encoder" and system.from_ is None:
        yield HardnegError(
            "Training the query encoder alone needs a system to start from, which supplies the passage vectors.",
            where=f"{at}.from",
            found="nothing",
            expected="the name of a dense system",
            remedy="set `from`.",
        )
    yield from _needs(at, system, config)
    yield from candidates.problems(at, system, config)


def provided(system: System) -> frozenset[str]:
    """What the answers of a system, and what it trains, provide to each other."""
    offers = [source.provides for source in system.source if "candidates" in source.provides]
    others = [answer.provides for key, answer in answers_of(system) if key != "source"]
    every = frozenset[str]().union(*offers)
    # What is said of candidates must hold for those of every source.
    of_candidates = OF_CANDIDATES.intersection(*offers) if offers else frozenset[str]()
    single = frozenset({"one_source"}) if len(offers) == 1 else frozenset[str]()
    return BY_TRAINED[system.trains].union((every - OF_CANDIDATES) | of_candidates, single, *others)


def _needs(at: str, system: System, config: Config) -> Iterator[HardnegError]:
    there = provided(system) | config.provides
    for key, answer in answers_of(system):
        lacking = answer.needed() - there
        # A system without any negatives is told once, by `candidates`.
        if lacking := lacking - {"negatives"}:
            yield HardnegError(
                f"{key.capitalize()} {answer.name} needs something that no other answer provides.",
                where=f"{at}.{key}",
                found=_answers(system),
                # Without candidates there is nothing else of them either.
                expected="; ".join(NEEDS[need] for need in sorted(lacking & {"candidates"} or lacking)),
                remedy=f"change one of the two, or start from a preset; `hardneg methods {answer.name}` says more.",
            )


def _answers(system: System) -> str:
    given: dict[str, list[str]] = {}
    for key, answer in answers_of(system):
        given.setdefault(key, []).append(answer.name)
    return ", ".join(f"{key} {' + '.join(names)}" for key, names in given.items()) + f", trains {system.trains}"


def _retriever(at: str, system: System) -> Iterator[HardnegError]:
    """Cross-encoders and late interaction reorder; an encoder of single vectors does not."""
    reorders = system.retriever == "rerank"
    if system.trains != "nothing" and reorders != (system.trains in REORDERING):
        yield HardnegError(
            "Cross-encoders and late interaction reorder another ranking; encoders of single vectors search.",
            where=f"{at}.trains",
            found=f"retriever {system.retriever}, trains {system.trains}",
            expected="retriever rerank with trains cross_encoder or late_interaction, or neither",
            remedy="start from `preset: cross_encoder` or `preset: colbert`, or change one of the two.",
        )
    yield from _reordered(at, system)


def _reordered(at: str, system: System) -> Iterator[HardnegError]:
    """What reorders names what it reorders, and nothing else does."""
    reorders = system.retriever in ("rerank", "letor")
    if reorders and system.rerank is None:
        yield HardnegError(
            "What reorders needs a ranking to reorder.",
            where=f"{at}.rerank",
            found="nothing",
            expected="rerank: {system: bm25, depth: 100}",
            remedy="name a system.",
        )
    if not reorders and system.rerank is not None:
        yield HardnegError(
            "Only retrievers rerank and letor reorder a ranking.",
            where=f"{at}.rerank",
            found=f"retriever {system.retriever}",
            remedy="remove the key, or set `retriever: rerank`.",
        )


def _untrained(at: str, system: System) -> Iterator[HardnegError]:
    """A dense system that trains nothing is the backbone, another study's system, or one of this on another index."""
    if system.retriever == "rerank" or (system.from_ is None and system.preset == "pretrained"):
        return
    elsewhere = system.from_ is not None and ":" in system.from_
    if not elsewhere and (system.from_ is None or (system.index is None and system.width is None)):
        yield HardnegError(
            "A dense system that trains nothing must reuse a trained one: another study's, or this study's with an "
            "index of its own.",
            where=f"{at}.from",
            found=system.from_ or "nothing",
            expected="`study:system`; or a system of this study, and an `index`",
            remedy="set `from` (and `index`), train this system (`trains: both_encoders`), set `retriever: bm25`, or "
            "`preset: pretrained` for the backbone as it is.",
        )


def _budget(at: str, train: Training) -> Iterator[HardnegError]:
    if (train.steps is None) == (train.epochs is None):
        yield HardnegError(
            "Training needs a budget: either steps or epochs.",
            where=f"{at}.train",
            found="neither" if train.steps is None else f"steps: {train.steps}, epochs: {train.epochs}",
            remedy="set train.steps or train.epochs, but not both.",
        )


def _term_weights(at: str, train: Training) -> Iterator[HardnegError]:
    """Term weights need a budget, and have neither chunks nor centroids."""
    yield from _budget(at, train)
    for key, found in (("chunk", train.chunk), ("centroids", train.centroids), ("new_queries", train.new_queries)):
        if found:
            yield HardnegError(
                "Training of term weights has no such setting.",
                where=f"{at}.train.{key}",
                found=str(found),
                remedy="remove the key.",
            )


def _new_queries(at: str, system: System) -> Iterator[HardnegError]:
    """What was met before is known of trainings of this configuration: they have the same queries in one order."""
    if system.from_ is None or ":" in system.from_:
        yield HardnegError(
            "There are no queries met before, behind which this training could begin.",
            where=f"{at}.train.new_queries",
            found="it starts from no system" if system.from_ is None else f"it starts from {system.from_}",
            expected="`from` with a system of this configuration",
            remedy="remove train.new_queries, or set `from`.",
        )


def _centroids(at: str, system: System, index: Index) -> Iterator[HardnegError]:
    """Centroids belong to an index that stands before training; more of it is checked with FAISS, by the preflight."""
    if system.trains != "query_encoder":
        yield HardnegError(
            "Centroids train with a query encoder alone, since the codes of the passages stay.",
            where=f"{at}.train.centroids",
            found=f"trains {system.trains}",
            expected="trains query_encoder",
            remedy="remove train.centroids, or change `trains`.",
        )
    elif not index.factory.rpartition(",")[2].startswith("PQ"):
        yield HardnegError(
            "Only a product quantiser has centroids that train.",
            where=f"{at}.index" if system.index is not None else "index.factory",
            found=index.factory,
            expected="PQ, alone or after OPQ, such as OPQ16,PQ16",
            remedy="choose such an index, or remove train.centroids.",
        )


def _chunk(at: str, system: System) -> Iterator[HardnegError]:
    """Gradient caching needs vectors, through which the loss sees the texts."""
    if system.train.chunk is not None and "vectors" not in provided(system):
        yield HardnegError(
            "Gradients can be cached only where query and passage have a vector each.",
            where=f"{at}.train.chunk",
            found=f"{system.train.chunk}, trains {system.trains}",
            remedy="remove train.chunk; train.gradient_checkpointing and train.rows_per_forward save memory there.",
        )
