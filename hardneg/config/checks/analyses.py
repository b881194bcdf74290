"""Whether analyses and exports name systems that exist and are of the kind they need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from hardneg.config.config import Config
from hardneg.config.hints import did_you_mean, repeated
from hardneg.config.system import System
from hardneg.errors import HardnegError


class _Named(NamedTuple):
    """Systems named under one key.

    Attributes:
        where: the key.
        names: what it names; None stands for a default and is always allowed.
        allowed: the systems that it may name.
        kind: what these have in common, to complete "... names no system ...".
    """

    where: str
    names: Iterable[str | None]
    allowed: list[str]
    kind: str


def problems(config: Config) -> Iterator[HardnegError]:
    """Problems of analyses and exports: the systems, the split and the seeds that they name."""
    for where, names, allowed, kind in _named(config):
        for name in names:
            if name is not None and name not in allowed:
                yield HardnegError(
                    f"An analysis or export names no system {kind}.",
                    where=where,
                    found=name,
                    expected=", ".join(allowed) or "there is no such system",
                    remedy=did_you_mean(name, allowed, "choose one of these, or remove the key."),
                )
    asked, evaluated = config.analyses, config.splits.evaluate
    if asked.split is not None and asked.split not in evaluated:
        yield HardnegError(
            "The split to analyse is not evaluated.",
            where="analyses.split",
            found=asked.split,
            expected=", ".join(evaluated),
            remedy="add it to splits.evaluate, or choose one of these.",
        )
    yield from _repeated(config)
    yield from _compression(config)
    if asked.seeds and config.seed in asked.seeds.more:
        yield HardnegError(
            "An additional seed repeats the main seed.",
            where="analyses.seeds.more",
            found=str(config.seed),
            expected="seeds other than `seed`",
            remedy="remove it.",
        )


def _named(config: Config) -> Iterator[_Named]:
    """Every key that names systems."""
    asked, systems = config.analyses, config.systems
    every, existing = list(systems), "of this configuration"
    dense = [name for name, system in systems.items() if system.retriever == "dense"]
    vectors = [name for name, system in systems.items() if system.retriever in ("dense", "vectors")]
    whole = [name for name, system in systems.items() if system.width is None]
    ranking = [name for name in whole if systems[name].retriever in ("dense", "bm25")]
    queries = [name for name in dense if systems[name].trains == "query_encoder"]
    mining = [name for name, system in systems.items() if _mines(system)]
    yield _Named("export", config.exported, ranking, "that ranks here (dense or bm25) with whole vectors")
    mined = [entry.negatives for entry in config.exported_negatives]
    yield _Named("export.negatives", mined, mining, "that mines negatives to train on (source run, self or given)")
    yield _Named("analyses.baselines", asked.baselines, every, existing)
    yield _Named("analyses.speed_baseline", [asked.speed_baseline], dense, "with encoders")
    if asked.negatives:
        yield _Named("analyses.negatives.teacher", [asked.negatives.teacher], dense, "with encoders")
    if asked.examples:
        yield _Named("analyses.examples.system", [asked.examples.system], every, existing)
        yield _Named("analyses.examples.baseline", [asked.examples.baseline], every, existing)
    if asked.compression:
        yield _Named("analyses.compression.base", [asked.compression.base], vectors, "with vectors")
        yield _Named("analyses.compression.systems", asked.compression.systems, queries, "that trains query_encoder")
    if asked.trajectory:  # it searches one index for all steps
        still = [name for name in queries if systems[name].train.centroids is None]
        followed = "that trains query_encoder, without train.centroids"
        yield _Named("analyses.trajectory.systems", asked.trajectory.systems, still, followed)
    if asked.movement:
        probed = list(asked.trajectory.systems) if asked.trajectory else []
        yield _Named("analyses.movement.system", [asked.movement.system], probed, "of analyses.trajectory.systems")
    if asked.seeds:
        yield _Named("analyses.seeds.systems", asked.seeds.systems, dense, "with encoders")
    for base, variants in asked.ablation.items():
        yield _Named(f"analyses.ablation.{base}", [base, *variants.values()], every, existing)


def _mines(system: System) -> bool:
    return system.trains != "nothing" and any("mine" in source.stages for source in system.source)


def _repeated(config: Config) -> Iterator[HardnegError]:
    """The negatives of a system are exported once, since they go into one folder."""
    names = [entry.negatives for entry in config.exported_negatives]
    for name in repeated(names):
        yield HardnegError(
            "The negatives of a system are exported twice.",
            where="export.negatives",
            found=name,
            expected="each system once",
            remedy="remove one of the entries.",
        )


def _compression(config: Config) -> Iterator[HardnegError]:
    """A query encoder can be compared on the base's indexes only if it was trained for the base's passage vectors."""
    compression = config.analyses.compression
    if compression is None:
        return
    for name in compression.systems:
        system = config.systems.get(name)
        if system is None or system.retriever != "dense" or system.trains != "query_encoder":
            continue  # told already
        if system.from_ != compression.base:
            yield HardnegError(
                "A system in the compression analysis starts from another system than the base.",
                where="analyses.compression.systems",
                found=f"{name}, from {system.from_}",
                expected=f"from: {compression.base}",
                remedy="change its `from`, or remove it here.",
            )
