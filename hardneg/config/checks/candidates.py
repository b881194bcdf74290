"""Whether there are candidates to draw negatives from, and as many as are drawn."""

from __future__ import annotations

from collections.abc import Iterator

from hardneg import axes
from hardneg.config.config import Config
from hardneg.config.system import System
from hardneg.errors import HardnegError


def problems(at: str, system: System, config: Config) -> Iterator[HardnegError]:
    """Problems of the source, sampler and batch of one system, which stands at the key `at`."""
    if isinstance(system.source, axes.RunSource):
        yield from _mined_run(at, system.source, system.from_, config)
    yield from _rounds(at, system)
    yield from _depth(at, system)
    yield from _negatives(at, system)


def _mined_run(at: str, source: axes.RunSource, start: str | None, config: Config) -> Iterator[HardnegError]:
    mined, train = config.systems.get(source.system or ""), config.splits.train
    if mined is not None and (mined.retriever == "vectors" or (mined.retriever == "run" and train not in mined.runs)):
        yield HardnegError(
            "The mined system has no ranking of the training queries.",
            where=f"{at}.source.system",
            found=source.system,
            remedy=f"add a run file for {train} to its `runs`, or mine another system.",
        )
    if source.system is None and start is None:
        yield HardnegError(
            "Source `run` needs a system to mine.",
            where=f"{at}.source.system",
            found="nothing",
            remedy="set source.system, or `from`.",
        )


def _rounds(at: str, system: System) -> Iterator[HardnegError]:
    mines_itself = isinstance(system.source, axes.SelfSource)
    if mines_itself != isinstance(system.refresh, axes.Rounds):
        yield HardnegError(
            "Source `self` and refresh `rounds` only work together.",
            where=at,
            found=f"source {system.source.name}, refresh {system.refresh.name}",
            remedy="use both or neither (`source: {name: run, system: ...}` mines once).",
        )
    if mines_itself and system.from_ is None:
        yield HardnegError(
            "Source `self` needs a system to start from, which the first round mines.",
            where=f"{at}.from",
            found="nothing",
            remedy="set `from`.",
        )


def _depth(at: str, system: System) -> Iterator[HardnegError]:
    sampler, depth = system.sampler, getattr(system.source, "depth", None)
    if depth is None:
        return
    key = "k" if isinstance(sampler, axes.UniformSampler) else "count"
    wanted = getattr(sampler, key, 1)
    if wanted > depth:
        yield HardnegError(
            "The sampler reaches deeper than the source.",
            where=f"{at}.sampler.{key}",
            found=str(wanted),
            expected=f"at most source.depth, {depth}",
            remedy=f"raise source.depth or lower sampler.{key}.",
        )
    if isinstance(sampler, axes.UniformSampler) and sampler.count > sampler.k:
        yield HardnegError(
            "The sampler draws more negatives than it has candidates.",
            where=f"{at}.sampler.count",
            found=str(sampler.count),
            expected=f"at most sampler.k, {sampler.k}",
            remedy="lower sampler.count or raise sampler.k.",
        )


def _negatives(at: str, system: System) -> Iterator[HardnegError]:
    source, loss, size = system.source, system.loss, system.train.batch_size
    mines, in_batch = not isinstance(source, axes.NoSource), isinstance(system.batch, axes.InBatch)
    if system.trains == "both_encoders" and not mines and (not in_batch or size == 1):
        yield HardnegError(
            "This system has no negatives at all.",
            where=at,
            found=f"source none, batch {system.batch.name}, batch_size {size}",
            remedy="choose a source, or `batch: in_batch` with train.batch_size of 2 or more.",
        )
    if isinstance(loss, axes.RankNet) and loss.alpha is not None and not (mines and in_batch):
        yield HardnegError(
            "alpha weighs in-batch pairs against mined ones; this system lacks one of them.",
            where=f"{at}.loss.alpha",
            found=f"source {source.name}, batch {system.batch.name}",
            remedy="remove alpha.",
        )
