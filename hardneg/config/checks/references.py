"""Whether the systems and studies that a system refers to exist and have what it needs of them."""

from __future__ import annotations

from collections.abc import Iterator

from hardneg.config.config import Config
from hardneg.config.hints import did_you_mean
from hardneg.config.system import System
from hardneg.errors import HardnegError
from hardneg.methods.axes import answers_of

WITHOUT_WEIGHTS = {
    "bm25": "BM25",
    "deepct": "term weights",
    "letor": "a learned ranking of words",
    "run": "a given run",
    "vectors": "given vectors",
}


READ = {
    "clusters": ("dense",),
    "pair_scores": ("dense", "rerank"),
    "teacher_vectors": ("dense",),
    "late_interaction": ("rerank",),
}
"""Retrievers of the systems that the stages of answers read: query vectors are clustered, and pairs scored."""


def references(system: System) -> Iterator[tuple[str, str]]:
    """The systems of this configuration that a system builds on, each with the key that names it."""
    if system.from_ is not None and ":" not in system.from_:
        yield "from", system.from_
    for key, answer in answers_of(system):
        if (named := getattr(answer, "system", None)) is not None:
            yield f"{key}.system", named
        for stage in sorted(answer.stages & READ.keys()):
            setting, named = answer.named(stage)
            if named is not None and setting != "system":
                yield f"{key}.{setting}", named
    if system.rerank is not None:
        yield "rerank.system", system.rerank.system


def problems(at: str, system: System, config: Config) -> Iterator[HardnegError]:
    """Problems of the references of one system, which stands at the key `at`."""
    systems = config.systems
    if system.from_ and ":" in system.from_:
        yield from _study(at, system.from_, config)
    for key, other in references(system):
        if other not in systems:
            yield HardnegError(
                "A system names another that does not exist.",
                where=f"{at}.{key}",
                found=other,
                expected=", ".join(systems),
                remedy=did_you_mean(other, systems, "add that system or name one of these."),
            )
    yield from _read_by_answers(at, system, config)
    yield from _narrow(at, system, config)
    start = systems.get(system.from_ or "")
    if start is None:
        return
    if start.retriever in WITHOUT_WEIGHTS:
        yield HardnegError(
            f"A system cannot start from {WITHOUT_WEIGHTS[start.retriever]}, which has no weights.",
            where=f"{at}.from",
            found=system.from_,
            remedy=f"start from a trained system, or mine with `source: {{name: run, system: {system.from_}}}`.",
        )
    elif start.retriever != system.retriever and {start.retriever, system.retriever} <= {"dense", "rerank"}:
        yield HardnegError(
            "What reorders and an encoder of single vectors cannot start from each other.",
            where=f"{at}.from",
            found=f"{system.from_}, retriever {start.retriever}",
            expected=f"a system with retriever {system.retriever}",
            remedy="remove `from`, or name another system.",
        )


def _narrow(at: str, system: System, config: Config) -> Iterator[HardnegError]:
    """Cut vectors are served and scored, and nothing else: what cuts trains nothing, and nothing builds on it."""
    if system.width is not None and (system.trains != "nothing" or system.from_ is None or ":" in system.from_):
        yield HardnegError(
            "Vectors are cut of a system of this study, without any training.",
            where=f"{at}.width",
            found=f"trains {system.trains}, from {system.from_ or 'nothing'}",
            expected="`trains: nothing`, and `from` with a dense system of this study",
            remedy="set encoder.dims, which also trains for the narrower widths, or correct the two.",
        )
    for key, other in references(system):
        if (cut := config.systems.get(other)) is not None and cut.width is not None:
            yield HardnegError(
                "Nothing can build on a system whose vectors are cut.",
                where=f"{at}.{key}",
                found=f"{other}, width {cut.width}",
                remedy=f"name {cut.from_}, which it is cut from.",
            )


def _read_by_answers(at: str, system: System, config: Config) -> Iterator[HardnegError]:
    """Whether a system that an answer reads, such as a teacher, has what it reads."""
    for key, answer in answers_of(system):
        for stage in answer.stages & READ.keys():
            setting, said = answer.named(stage)
            named = said or system.from_
            other = config.systems.get(named or "")
            if stage == "late_interaction" and other is not None and other.trains != "late_interaction":
                yield HardnegError(
                    f"{key.capitalize()} {answer.name} needs a late interaction.",
                    where=f"{at}.{key}.{setting}",
                    found=f"{named}, trains {other.trains}",
                    expected="a system that trains late_interaction",
                    remedy="name such a system; `preset: colbert` is one.",
                )
                continue
            if named is None or (other is not None and other.retriever not in READ[stage]):
                yield HardnegError(
                    f"{key.capitalize()} {answer.name} cannot read this system.",
                    where=f"{at}.{key}.{setting}",
                    found=f"{named}, retriever {other.retriever}" if other is not None else "nothing",
                    expected=f"a system with retriever {' or '.join(READ[stage])}",
                    remedy="name such a system.",
                )


def _study(at: str, start: str, config: Config) -> Iterator[HardnegError]:
    study, _, _ = start.partition(":")
    if study not in config.studies:
        yield HardnegError(
            "A system starts from a study that is not listed under `studies`.",
            where=f"{at}.from",
            found=start,
            expected=", ".join(f"{name}:<system>" for name in config.studies) or "a study listed under `studies`",
            remedy=did_you_mean(study, config.studies, f"add `studies: {{{study}: configs/{study}.yaml}}`."),
        )
