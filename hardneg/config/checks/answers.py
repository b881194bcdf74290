"""Whether a system's answers go together: what is trained, from what, and for how long."""

from __future__ import annotations

from collections.abc import Iterator

from hardneg import axes
from hardneg.config.checks import candidates, given
from hardneg.config.config import Config
from hardneg.config.system import System
from hardneg.config.training import Training
from hardneg.errors import HardnegError


def problems(at: str, system: System, config: Config) -> Iterator[HardnegError]:
    """Problems of the answers of one system, which stands at the key `at`."""
    yield from given.problems(at, system, config)
    if system.retriever in ("bm25", "run", "vectors"):
        yield from _without_encoders(at, system)
    elif system.trains == "nothing":
        yield from _untrained(at, system)
    else:
        if config.splits.train is None:
            yield HardnegError(
                "Training a system needs a training split.",
                where=at,
                found="splits.train: null",
                remedy="set splits.train, or evaluate another study's system: `preset: zero_shot`, "
                "`from: study:system`.",
            )
        yield from _budget(at, system.train)
        yield from _trained(at, system)
        yield from candidates.problems(at, system, config)


def _without_encoders(at: str, system: System) -> Iterator[HardnegError]:
    kind = {"bm25": "BM25", "run": "A given run", "vectors": "A system of given vectors"}[system.retriever]
    if system.trains != "nothing" or system.from_ is not None:
        yield HardnegError(
            f"{kind} trains nothing.", where=at, remedy="remove `trains` and `from`, or set `retriever: dense`."
        )


def _untrained(at: str, system: System) -> Iterator[HardnegError]:
    """A dense system that trains nothing is another study's system, or one of this study on another index."""
    elsewhere = system.from_ is not None and ":" in system.from_
    if not elsewhere and (system.from_ is None or system.index is None):
        yield HardnegError(
            "A dense system that trains nothing must reuse a trained one: another study's, or this study's with an "
            "index of its own.",
            where=f"{at}.from",
            found=system.from_ or "nothing",
            expected="`study:system`; or a system of this study, and an `index`",
            remedy="set `from` (and `index`), train this system (`trains: both_encoders`), or set `retriever: bm25`.",
        )


def _budget(at: str, train: Training) -> Iterator[HardnegError]:
    if (train.steps is None) == (train.epochs is None):
        yield HardnegError(
            "Training needs a budget: either steps or epochs.",
            where=f"{at}.train",
            found="neither" if train.steps is None else f"steps: {train.steps}, epochs: {train.epochs}",
            remedy="set train.steps or train.epochs, but not both.",
        )


def _trained(at: str, system: System) -> Iterator[HardnegError]:
    """Both encoders train on pairs; the query encoder alone trains on lists, which may be retrieved live."""
    source, refresh, sampler, loss = system.source, system.refresh, system.sampler, system.loss
    answers = f"source {source.name}, refresh {refresh.name}, sampler {sampler.name}, loss {loss.name}"
    list_loss = isinstance(loss, axes.LambdaRankNet | axes.ListRankNet)
    live = (
        isinstance(source, axes.LiveSource),
        isinstance(refresh, axes.EveryStep),
        isinstance(sampler, axes.AllSampler),
    )
    if system.trains == "query_encoder":
        if not list_loss or isinstance(source, axes.NoSource) or any(live) != all(live):
            yield HardnegError(
                "The query encoder alone is trained on lists of candidates, which are all live or all static.",
                where=at,
                found=answers,
                expected="source live, refresh every_step and sampler all, or else none of these three and some "
                "source; with loss lambda_ranknet or list_ranknet",
                remedy="start from `preset: adore` or `preset: static`.",
            )
        if system.from_ is None:
            yield HardnegError(
                "Training the query encoder alone needs a system to start from, which supplies the passage vectors.",
                where=f"{at}.from",
                found="nothing",
                expected="the name of a dense system",
                remedy="set `from`.",
            )
    elif list_loss or any(live):
        yield HardnegError(
            "Live retrieval and list losses train the query encoder only.",
            where=at,
            found=answers,
            remedy="set `trains: query_encoder`, or choose a static source, sampler and loss.",
        )
