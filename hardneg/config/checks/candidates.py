"""Whether there are candidates to draw negatives from, and as many as are drawn."""

from __future__ import annotations

from collections.abc import Iterator

from hardneg.config.config import Config
from hardneg.config.system import System
from hardneg.errors import HardnegError
from hardneg.methods.axes import answers_of
from hardneg.methods.base import Sourcing


def problems(at: str, system: System, config: Config) -> Iterator[HardnegError]:
    """Problems of the sources, the sampler and the batch of one system, which stands at the key `at`."""
    for source in system.source:
        if "mine" in source.stages and "given_lists" not in source.stages:
            yield from _mined(at, source, system, config)
    if any("mined_vectors" in answer.needed() for _, answer in answers_of(system)):
        yield from _vectors(at, system, config)
    yield from _depth(at, system)
    yield from _negatives(at, system)


def _mined(at: str, source: Sourcing, system: System, config: Config) -> Iterator[HardnegError]:
    named = source.mined_system(system.from_)
    mined, train = config.systems.get(named or ""), config.splits.train
    if named is None or (named == system.from_ and system.retriever == "rerank"):
        yield HardnegError(
            f"Source `{source.name}` needs a system to mine.",
            where=f"{at}.source.system",
            found=named or "nothing",
            remedy="set source.system, or `from`.",
        )
    elif mined is not None and (mined.retriever == "vectors" or (mined.retriever == "run" and train not in mined.runs)):
        yield HardnegError(
            "The mined system has no ranking of the training queries.",
            where=f"{at}.source.system",
            found=named,
            remedy=f"add a run file for {train} to its `runs`, or mine another system.",
        )


def _vectors(at: str, system: System, config: Config) -> Iterator[HardnegError]:
    """A ranking by vectors, where an answer reads the vectors of what was mined."""
    for source in system.source:
        named = source.mined_system(system.from_) if "mine" in source.stages else None
        mined = config.systems.get(named or "")
        if mined is not None and mined.retriever != "dense":
            yield HardnegError(
                "The mined system has no vectors, which an answer reads.",
                where=f"{at}.source.system",
                found=f"{named}, retriever {mined.retriever}",
                expected="a system with retriever dense",
                remedy="mine a dense system, or change the sampler.",
            )


def _depth(at: str, system: System) -> Iterator[HardnegError]:
    depths = [depth for source in system.source if (depth := getattr(source, "depth", None)) is not None]
    if not depths or system.sampler is None:
        return
    reach, asked = system.sampler.reach(), system.sampler.asked()
    if reach is not None and reach[1] > min(depths):
        yield HardnegError(
            "The sampler reaches deeper than the source.",
            where=f"{at}.sampler.{reach[0]}",
            found=str(reach[1]),
            expected=f"at most source.depth, {min(depths)}",
            remedy=f"raise source.depth or lower sampler.{reach[0]}.",
        )
    if reach is not None and asked is not None and asked[1] > reach[1]:
        yield HardnegError(
            "The sampler draws more negatives than it has candidates.",
            where=f"{at}.sampler.{asked[0]}",
            found=str(asked[1]),
            expected=f"at most sampler.{reach[0]}, {reach[1]}",
            remedy=f"lower sampler.{asked[0]} or raise sampler.{reach[0]}.",
        )


def _negatives(at: str, system: System) -> Iterator[HardnegError]:
    drawn = any("candidates" in source.provides for source in system.source)
    in_batch, size = "in_batch" in system.batch.provides, system.train.batch_size
    if not drawn and (not in_batch or size == 1):
        yield HardnegError(
            "This system has no negatives at all.",
            where=at,
            found=f"source {system.source[0].name if system.source else 'none'}, batch {system.batch.name}, "
            f"batch_size {size}",
            remedy="choose a source, or `batch: in_batch` with train.batch_size of 2 or more.",
        )
