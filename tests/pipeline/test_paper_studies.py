"""The studies of the paper on miniature files in exactly the official layout, with a miniature RoBERTa."""

from __future__ import annotations

import contextlib
import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from conftest import ROOT, Project, write_collection
from tokenizers import ByteLevelBPETokenizer
from transformers import RobertaConfig, RobertaModel, RobertaTokenizer

from hardneg.config import load, read_yaml
from hardneg.planning.plan import Plan

STEPS = {"steps": 3, "batch_size": 8, "schedule_steps": 30, "warmup_steps": 1, "precision": None}
FURTHER = ("adore_inbatch", "adore_rand", "adore_bm25neg", "adore_ance")
ADORE = {"steps": 3, "batch_size": 8, "warmup_steps": 1, "epochs": None, "log_retrieved_every": 1}


def records(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_backbone(folder: Path, texts: list[str]) -> None:
    """A RoBERTa of one layer with a byte-level vocabulary of its own, as `save_pretrained` writes it."""
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(texts, 500, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    model = json.loads(trained.to_str())["model"]
    merges: list[Any] = [tuple(merge) for merge in model["merges"]]
    RobertaTokenizer(vocab=model["vocab"], merges=merges).save_pretrained(folder)
    size: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    config = RobertaConfig(vocab_size=len(model["vocab"]), max_position_embeddings=514, **size)
    RobertaModel(config, add_pooling_layer=False).save_pretrained(folder)


def write_official(folder: Path, data: Path) -> None:
    """The files of both MS MARCO collections and of TREC DL, under their official names."""
    folder.mkdir()
    passages, queries = records(data / "corpus.jsonl"), records(data / "queries.jsonl")
    lines = "".join(f"{p['_id']}\t{p['title']} {p['text']}\n" for p in passages)
    (folder / "collection.tsv").write_text(lines, encoding="utf-8")
    with gzip.open(folder / "msmarco-docs.tsv.gz", "wt", encoding="utf-8") as stream:
        stream.writelines(f"D{p['_id']}\thttp://x.org/{p['_id']}\t{p['title']}\t{p['text']}\n" for p in passages)
    texts = {query["_id"]: query["text"] for query in queries}
    names = {
        "train": ("queries.train.tsv", "qrels.train.tsv", "msmarco-doctrain-queries.tsv", "msmarco-doctrain-qrels.tsv"),
        "dev": (
            "queries.dev.small.tsv",
            "qrels.dev.small.tsv",
            "msmarco-docdev-queries.tsv",
            "msmarco-docdev-qrels.tsv",
        ),
    }
    for split, (asked, judged, doc_asked, doc_judged) in names.items():
        rows = [line.split("\t") for line in (data / "qrels" / f"{split}.tsv").read_text().splitlines()[1:]]
        lines = "".join(f"{query}\t{texts[query]}\n" for query, _, _ in rows)
        (folder / asked).write_text(lines, encoding="utf-8")
        (folder / doc_asked).write_text(lines, encoding="utf-8")
        (folder / judged).write_text("".join(f"{query}\t0\t{passage}\t1\n" for query, passage, _ in rows))
        (folder / doc_judged).write_text("".join(f"{query} 0 D{passage} 1\n" for query, passage, _ in rows))
    rows = [line.split("\t") for line in (data / "qrels" / "test.tsv").read_text().splitlines()[1:]]
    for year, part in (("2019", rows[:12]), ("2020", rows[12:])):
        with gzip.open(folder / f"msmarco-test{year}-queries.tsv.gz", "wt", encoding="utf-8") as stream:
            stream.writelines(f"{query}\t{texts[query]}\n" for query, _, _ in part)
        for kind, letter in (("pass", ""), ("docs", "D")):
            graded = [f"{query} 0 {letter}{passage} 3\n{query} 0 {letter}p0 1\n" for query, passage, _ in part]
            (folder / f"{year}qrels-{kind}.txt").write_text("".join(graded))


def study(base: str, name: str) -> dict[str, Any]:
    """What a small machine must change of a study: places, sizes, budgets."""
    return {
        "extends": str(ROOT / "configs" / base),
        "collection": {"name": name, "path": "official", "download": []},
        "encoder": {"backbone": "roberta", "projection": 16, "contract": None},
        "evaluation": {"depth": 100},
        "arithmetic": {"training_threads": 1, "encoding_threads": 1, "precision": "fp32"},
        "runtime": {"shards": 1, "gpus_per_search": 1, "java_heap_mib": 512},
    }


@pytest.fixture
def official(tmp_path: Path) -> Project:
    """A folder with the official files and a backbone."""
    write_collection(tmp_path / "data")
    write_official(tmp_path / "official", tmp_path / "data")
    write_backbone(tmp_path / "roberta", [p["text"] for p in records(tmp_path / "data" / "corpus.jsonl")])
    return Project(tmp_path)


@pytest.fixture
def studies(official: Project) -> Project:
    """The same with both studies, `passage.yaml` and `document.yaml`, of a few steps."""
    passage = study("msmarco-passage.yaml", "passages")
    passage["systems"] = dict.fromkeys(("inbatch", "rand", "ance", *FURTHER))
    passage["systems"] |= {name: {"train": STEPS} for name in ("bm25neg", "star")}
    passage["systems"]["adore_star"] = {"train": ADORE}
    passage["analyses"] = {"baselines": [], "speed_baseline": None}
    document = study("msmarco-document.yaml", "documents")
    document["studies"] = {"passage": "passage.yaml"}
    document["systems"] = dict.fromkeys(("ance", "inbatch_passage", "rand_passage", "bm25neg_passage", *FURTHER))
    document["systems"] |= {name: {"train": STEPS} for name in ("bm25neg", "star")}
    document["analyses"] = {"baselines": [], "speed_baseline": None, "trajectory": None, "movement": None}
    document["systems"]["adore_star"] = {"train": ADORE}
    for name, config in (("passage", passage), ("document", document)):
        (official.folder / f"{name}.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return official


def check_scored(project: Project, dataset: str, systems: set[str], measures: int) -> None:
    table = pd.read_csv(project.folder / "results" / dataset / "measures.csv")
    assert set(table["system"]) == systems
    assert set(table["split"]) == {"dev", "dl2019", "dl2020"}
    assert table.groupby(["system", "split"]).size().unique().tolist() == [measures]


@pytest.mark.slow
def test_the_study_of_documents_runs_on_official_files(studies: Project) -> None:
    """It starts from the passage study's STAR, which is trained first."""
    studies.snakemake("evaluate", "--configfile", str(studies.folder / "document.yaml"))
    check_scored(studies, "documents", {"bm25", "bm25neg", "star", "adore_star", "star_passage"}, 3)
    trained = {path.name.rpartition("-")[0] for path in (studies.folder / "artifacts/passages/dual_encoder").iterdir()}
    assert trained == {"bm25neg", "star"}


@pytest.mark.slow
def test_both_studies_of_the_paper_run_with_their_reports(studies: Project) -> None:
    studies.snakemake("--configfile", str(studies.folder / "document.yaml"))
    studies.snakemake("--configfile", str(studies.folder / "passage.yaml"))
    check_scored(studies, "documents", {"bm25", "bm25neg", "star", "adore_star", "star_passage"}, 3)
    check_scored(studies, "passages", {"bm25", "bm25neg", "star", "adore_star"}, 5)


def test_a_grade_of_2_is_relevant_in_trec_dl_passages(studies: Project) -> None:
    with contextlib.chdir(studies.folder):
        plan = Plan(load(read_yaml(Path("passage.yaml"))))
    assert plan.systems["bm25"].measure.settings["relevant_grade"] == {"dev": 1, "dl2019": 2, "dl2020": 2}


@pytest.mark.parametrize("name", ["msmarco-passage", "msmarco-document"])
def test_the_full_studies_are_planned_before_their_files_are_here(name: str, tmp_path: Path) -> None:
    for file in ("configs/roberta-base.contract.jsonl", "configs/msmarco-passage.yaml"):
        (tmp_path / "configs").mkdir(exist_ok=True)
        (tmp_path / file).write_bytes((ROOT / file).read_bytes())
    done = Project(tmp_path).snakemake("--configfile", str(ROOT / "configs" / f"{name}.yaml"), "-n", "--quiet", "rules")
    assert "download_collection" in done.stdout and "train_query_encoder" in done.stdout
