"""Export a trained system for other tools."""

from __future__ import annotations

import shutil
from typing import Any

from hardneg import __version__
from hardneg.data.template import Reading
from hardneg.export.card import METHODS, write_cards
from hardneg.export.encoders import write_encoder
from hardneg.export.runs import write_runs
from hardneg.export.vectors import write_pyserini
from hardneg.model.untied import passage_side
from hardneg.stages.artifacts import StageFolder
from hardneg.text.tokens import READ

ENCODERS = {"query_encoder": ("model", "query_length"), "passage_encoder": ("passage_model", "passage_length")}
PYSERINI, RUNS, CARD = "pyserini", "runs", "README.md"


def export(stage: StageFolder) -> list[str]:
    """Write `query_encoder/`, `passage_encoder/`, `pyserini/`, `runs/` and `README.md`, as far as they apply.

    Args:
        stage: the export stage. Its settings: `system`, `splits`, `measures`, `search` (`nprobe`, `ef_search`), and for
            the card `about` (`format` of the collection; `systems`, the configuration of this system and of those it
            starts from or mines). Its parents: `collection`, `measure`, and optionally `run`, `tokenizer`, `tokens`,
            `model`, `passage_model`, `passages`, `index`.

    Returns:
        The names of the files written.
    """
    settings, parents = stage.settings, stage.parents
    for name in (*ENCODERS, PYSERINI, RUNS):  # left by a killed run
        shutil.rmtree(stage.folder / name, ignore_errors=True)
    reading = None
    if "model" in parents:
        tokens, tokenizer = parents["tokens"], parents["tokenizer"]
        own = {name: tokens.settings[name] for name in READ if name in tokens.settings}
        reading = Reading(**tokenizer.facts["reading"] | own)
        for name, (role, length) in ENCODERS.items():
            texts = "query" if length == "query_length" else "document"
            model = passage_side(parents[role]) if role == "passage_model" else parents[role]
            write_encoder(stage.folder / name, model, tokenizer, tokens.facts[length], reading, texts)
    written = "passages" in parents and write_pyserini(
        stage.folder / PYSERINI,
        parents["collection"],
        parents["passages"],
        parents.get("index"),
        settings["search"],
    )
    searched = _searched(stage)
    write_runs(
        stage.folder / RUNS,
        parents["measure"],
        {split: _metadata(stage, split, searched) for split in settings["splits"]},
    )
    write_cards(stage, reading, written, searched)
    files = [
        path for name in (*ENCODERS, PYSERINI, RUNS) for path in (stage.folder / name).rglob("*") if path.is_file()
    ]
    return [CARD, *sorted(path.relative_to(stage.folder).as_posix() for path in files)]


def _searched(stage: StageFolder) -> dict[str, Any]:
    """The search settings of the system's runs."""
    parents = stage.parents
    ranked = parents["run"].settings
    searched: dict[str, Any] = {name: ranked[name] for name in ("k1", "b", "depth") if name in ranked}
    if "index" in parents:
        searched |= {"index": parents["index"].settings["factory"], **stage.settings["search"]}
    return {name: value for name, value in searched.items() if value is not None}


def _metadata(stage: StageFolder, split: str, searched: dict[str, Any]) -> dict[str, Any]:
    """The metadata header of a run (ir-metadata.org, schema 0.1), limited to what is the same on every machine."""
    settings, parents, dataset = stage.settings, stage.parents, stage.record["dataset"]
    name, measure = settings["system"], parents["measure"].manifest
    system = settings["about"]["systems"][name]
    trained = []
    if "model" in parents and "split" in parents["model"].settings:
        trained = [{"name": parents["model"].manifest["dataset"], "split": parents["model"].settings["split"]}]
    libraries = [f"{library}=={version}" for library, version in measure["libraries"].items()]
    return {
        "schema-version": "0.1",
        "run-version": measure["version"],
        "tag": name,
        "platform": {
            "software": {"libraries": {"python": libraries}, "retrieval toolkit": [f"hardneg=={__version__}"]}
        },
        "research goal": {
            "evaluation": {
                "reported measures": settings["measures"],
                "baseline": [system["from"]] if system["from"] else [],
            }
        },
        "implementation": {"executable": {"cmd": "snakemake --cores all evaluate"}, "source": {"lang": ["python"]}},
        "method": {
            "automatic": True,
            "score ties": "by ascending position in the collection; written scores are strictly decreasing",
            "retrieval": [{"name": name, "method": METHODS[system["retriever"]], **searched}],
        },
        "actor": {"role": "experimenter", "team": "not given"},
        "data": {"test collection": {"name": dataset, "topics": split, "qrels": split}, "training data": trained},
    }
