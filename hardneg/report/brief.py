"""What the plan tells the report: systems in words, and where to find what was measured.

It changes with any version, so that the rule that writes the report runs again.
"""

from __future__ import annotations

from typing import Any

import yaml

from hardneg.planning.plan import Plan
from hardneg.stages.stage import name_of


def brief(plan: Plan) -> dict[str, Any]:
    """All that the summary and the report are made from, as JSON types."""
    config, asked, analysed = plan.config, plan.config.analyses, plan.analyses
    places = {name_of(stage.record): place for place, stage in enumerate(plan.stages)}
    return {
        "dataset": plan.dataset,
        "main_measure": config.evaluation.main_measure,
        "pairs": _pairs(plan),
        "baselines": asked.baselines,
        "measures": [[name, str(stages.measure.manifest)] for name, stages in plan.systems.items()],
        "collection": str(plan.collection.manifest),
        "stages": [
            {"manifest": str(stage.manifest), "parents": [places[name_of(p.record)] for p in stage.parents.values()]}
            for stage in plan.stages
        ],
        "systems": [_described(plan, name) for name in config.systems],
        "parts": sorted(_parts(plan)),
        "losses": _trained(plan),
        "ablation": [
            [base, variant, system] for base, variants in asked.ablation.items() for variant, system in variants.items()
        ],
        "models": {
            name: str(stages.model.manifest) for name, stages in plan.systems.items() if stages.model is not None
        },
        "runs": {name: str(stages.run.manifest) for name, stages in plan.systems.items()},
        "exports": {name: str(stage.manifest) for name, stage in plan.exports.items()},
        "relevant_grade": config.evaluation.relevant_grades(config.splits.evaluate),
        "analyses": {
            **asked.model_dump(mode="json"),
            "split": config.analysed_split,
            "windows": config.collection.windows is not None,
            "seed": config.seed,
        },
        "errors": [[name, str(stage.manifest)] for name, stage in analysed.errors.items()],
        "diagnosis": [[name, str(stage.manifest)] for name, stage in analysed.diagnosis.items()],
        "renewed": _renewed(plan),
        "agreement": str(analysed.agreement.manifest) if analysed.agreement else None,
        "trajectory": [[name, str(s.manifest)] for name, stages in analysed.trajectory.items() for s in stages],
        "movement": str(analysed.movement.manifest) if analysed.movement else None,
        "compression": [
            {
                "system": cell.system,
                "trained_on": cell.trained_on.label if cell.trained_on else None,
                "served_on": cell.served_on.label,
                "index": str(cell.built.manifest),
                "measure": str(cell.measure.manifest),
            }
            for cell in analysed.compression
        ],
        "seeds": [[name, seed, str(stage.manifest)] for (name, seed), stage in analysed.seeds.items()],
        "collections": _collections(plan),
        "configuration": _configuration(plan),
    }


def _collections(plan: Plan) -> list[dict[str, Any]]:
    """Where else the systems are scored, and the stages that do it."""
    return [
        {
            "dataset": scored.dataset,
            "name": scored.name,
            "split": scored.split,
            "measures": [[name, str(stage.manifest)] for name, stage in scored.measures.items()],
        }
        for scored in plan.scored
    ]


def _parts(plan: Plan) -> set[str]:
    """The optional fields of the report's material that there will be."""
    several = len(plan.config.systems) > 1
    present = {
        "ablation": plan.config.analyses.ablation,
        "collections": plan.scored,
        "losses": _trained(plan),
        "lexical": several and any(system.retriever == "bm25" for system in plan.config.systems.values()),
    }
    return plan.analyses.parts | {part for part, found in present.items() if found}


def _trained(plan: Plan) -> list[list[str]]:
    """Each system that is trained, and where: of one that is trained in rounds, the last."""
    return [
        [name, str(stages.model.manifest)]
        for name, stages in plan.systems.items()
        if stages.model is not None and plan.config.systems[name].trains != "nothing"
    ]


def _renewed(plan: Plan) -> dict[str, list[str]]:
    """Each system whose candidates are a ranking, with its trainings between two rankings; live, there are none."""
    found: dict[str, list[str]] = {}
    for name, rounds in plan.rounds.items():
        system = plan.config.systems[name]
        provided = frozenset[str]().union(system.refresh.provides, *(source.provides for source in system.source))
        if "every_step" in provided:
            found[name] = []
        elif "mined" in provided:
            found[name] = [str(stage.manifest) for stage in rounds]
    return found


def _described(plan: Plan, name: str) -> dict[str, str]:
    """A system's answers in words."""
    system = plan.config.systems[name]
    row = {
        "system": name,
        "retriever": system.retriever,
        "starts_from": system.from_ or "",
        "trains": system.trains.replace("_", " "),
    }
    sources = []
    for source in system.source:
        mined = source.mined_system(system.from_)
        sources.append(
            source.name + (f" ({mined})" if mined is not None and "system" in type(source).model_fields else "")
        )
    trained = system.trains != "nothing"
    answers = {
        "source": " + ".join(sources),
        "filter": ", ".join(answer.name for answer in system.filter),
        "sampler": system.sampler.name if system.sampler is not None else "",
        "loss": " + ".join(loss.name for loss in system.loss),
        "batch": system.batch.name if system.trains == "both_encoders" else "",
        "refresh": system.refresh.name,
    }
    row |= answers if trained else dict.fromkeys(answers, "")
    row["index"] = plan.config.index_of(name).label if system.retriever in ("dense", "vectors") else ""
    return row


def _configuration(plan: Plan) -> str:
    """The configuration, defaults and presets filled in, as YAML; without what never changes a result."""
    plain = plan.config.model_dump(mode="json", by_alias=True, exclude={"runtime"})
    return yaml.safe_dump(plain, sort_keys=False)


def _pairs(plan: Plan) -> list[tuple[str, str]]:
    """Each system against BM25, what it starts from, and where both encoders train its equals.

    Equals are earlier systems that start from the same one.
    """
    pairs: dict[tuple[str, str], None] = {}
    config, systems = plan.config, plan.config.systems
    for place, (name, system) in enumerate(systems.items()):
        if system.retriever == "bm25":
            continue
        earlier = list(systems.items())[:place]
        baselines = [other for other, s in systems.items() if s.retriever == "bm25"]
        if system.from_ in systems and config.index_of(name) == config.index_of(system.from_):
            baselines.append(system.from_)
        if system.rerank is not None:
            baselines.append(system.rerank.system)
        baselines += [
            other
            for other, s in earlier
            if system.from_ and s.from_ == system.from_ and s.trains == system.trains == "both_encoders"
        ]
        pairs |= dict.fromkeys((name, baseline) for baseline in baselines)
    return list(pairs)
