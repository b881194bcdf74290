"""Every command that README and docs/ print is run, from a folder like the checkout, on the small project.

A command that a page prints and no table here names fails the first test. What is not run on the small project is run
by another test, which is named, or it is said why it is not.
"""

from __future__ import annotations

import html
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, Project

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OTHER_LANGUAGES = {"yaml", "python", "json", "html", "latex"}
COMMAND = re.compile(r"(?:hardneg|snakemake|make|python -m|pip|docker|cp|export|\.) \S")

PLACEHOLDERS = {
    "STUDY": "config.yaml",
    "X": "config.yaml",
    "[TARGET ...]": "star",
    "[FILE ...]": "",
    "FOLDER": "project",
    "--system NAME": "--system adore_star",
    "methods NAME": "methods simans",
    "/data/msmarco": "data",
}
"""What stands for something of the reader's, and what it is here."""

QUICK = [
    "hardneg init FOLDER",
    "hardneg methods",
    "hardneg methods NAME",
    "hardneg methods dpr",
    "hardneg methods letor",
    "hardneg plan",
    "hardneg plan STUDY",
    "hardneg plan configs/squad.yaml",
    "hardneg plan --configfile configs/tutorial.yaml",
    "hardneg run config.yaml -n",
    "hardneg run config.yaml",
    "hardneg run config.yaml bm25",
    "hardneg run config.yaml star",
    "hardneg run STUDY [TARGET ...]",
    "hardneg run STUDY --resources gpu=4",
    "hardneg run config.yaml --resources gpu=4",
    "hardneg run configs/paper.yaml",
    "hardneg run configs/msmarco-passage.yaml --resources gpu=4",
    "hardneg run configs/msmarco-passage.yaml --config 'collection={path: /data/msmarco, download: []}'",
    "hardneg run configs/zoo.yaml",
    "snakemake --cores all",
    "snakemake --cores all export",
    "snakemake --cores all star --configfile X",
    "snakemake --cores all --configfile configs/squad.yaml",
    "cp configs/own-data.yaml configs/mydata.yaml",
    "hardneg run configs/mydata.yaml -n",
    "hardneg run configs/mydata.yaml",
    "hardneg watch",
    'hardneg search "sort a list in place" --system adore_star',
    'hardneg search "..." --system NAME',
    "hardneg estimate",
    "hardneg estimate configs/squad.yaml",
    "hardneg estimate configs/msmarco-passage.yaml --passages 8841823 --queries-train 502939 --queries-eval 7077"
    " --passage-characters 335 --query-characters 35",
    "hardneg estimate configs/msmarco-document.yaml --passages 3213835 --queries-train 367013 --queries-eval 5281"
    " --passage-characters 6700 --query-characters 35",
    "hardneg estimate configs/msmarco-passage.yaml --passages 8841823 --queries-train 502939 --queries-eval 7077"
    " --gpus 4",
    "hardneg expect",
    "hardneg expect --configfile configs/nfcorpus.yaml",
    "hardneg expect --configfile configs/msmarco-passage.yaml",
    "hardneg verify",
    "hardneg doctor",
    "python -m hardneg.methods.page > docs/methods.md",
    "python -m hardneg.config.schema > config.schema.json",
]
"""In this order. The study of each configuration is the small one, so that they train nothing."""

TRAIN = [
    "hardneg run config.yaml --config 'systems={adore_star: {train: {lr: 2e-5}}}'",
    "hardneg run config.yaml star --config 'systems={adore_star: {train: {lr: 2e-5}}}' seed=7",
    "snakemake --cores all star --configfile X --config seed=7",
    "hardneg run config.yaml --forcerun train_query_encoder",
    "snakemake --cores all --configfile configs/tutorial.yaml",
    'hardneg search "replace missing values" --k 3 --system finetuned --configfile configs/tutorial.yaml',
    "hardneg expect --configfile configs/tutorial.yaml",
    "hardneg compare --configfile configs/nfcorpus.yaml configs/squad.yaml --output beir.html",
    "hardneg prune --elsewhere",
    "hardneg prune",
]
"""In this order. They train, or need what these trained."""

BY = {
    "hardneg init demo && cd demo": "tests/pipeline/test_wheel.py::test_a_project_of_the_wheel_runs",
    "pip wheel --no-deps .": "tests/pipeline/test_wheel.py::test_a_project_of_the_wheel_runs",
    "hardneg run config.yaml --profile profiles/slurm": "tests/cluster/test_slurm.py::",
    "hardneg run STUDY --profile profiles/slurm": "tests/cluster/test_slurm.py::",
    "export SNAKEMAKE_STORAGE_S3_ENDPOINT_URL=https://... SNAKEMAKE_STORAGE_S3_ACCESS_KEY=..."
    " SNAKEMAKE_STORAGE_S3_SECRET_KEY=...": "tests/pipeline/test_stored_runs.py::",
    "hardneg run STUDY --default-storage-provider s3 --default-storage-prefix s3://my-bucket/my-study": (
        "tests/pipeline/test_stored_runs.py::"
    ),
    "snakemake --cores all generate": "tests/rules/test_rules_generated.py::",
    "hardneg run configs/beir-mean.yaml": "tests/rules/test_rules_collections.py::",
    "hardneg push results/tutorial/export/finetuned/query_encoder USER/NAME": "tests/unit/test_push.py::",
}
"""Run by other tests, on what the page speaks of."""

NOT_HERE = {
    r"make (demo|test|test-slow|test-cluster|lint|install)": "installs an environment, or runs tests",
    r"\. \.venv/bin/activate": "the environment of the reader",
    r"pip install .*": "installs packages",
    r"docker build": "builds an image of what README says",
    r"python -m benchmarks\..*": "made the page, in tens of minutes or hours",
    r"hardneg run configs/((paper|paper-minilm)\.yaml --config seed=\d+|(figure4|paper-minilm-nfcorpus)\.yaml)": (
        "tens of minutes; its page is made from it"
    ),
    r"snakemake --report report\.zip --configfile \.\.\.": "Snakemake's own report, which downloads scripts",
    r"hardneg (run|search)": "a command's name in a sentence",
}
"""Neither, and why."""


def printed() -> dict[str, set[str]]:
    """The commands and the pages that print them."""
    found: dict[str, set[str]] = {}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = [
            line
            for kind, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
            if kind not in OTHER_LANGUAGES
            for line in block.splitlines()
        ]
        lines += re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
        for line in lines:
            if COMMAND.match(line.strip()):
                command = " ".join(re.sub(r"\s+#.*", "", line.strip()).split())
                found.setdefault(command, set()).add(page.name)
    return found


def test_every_printed_command_is_run_or_it_is_said_why_not() -> None:
    commands = printed()
    known = {*QUICK, *TRAIN, *BY}
    unknown = {
        command: pages
        for command, pages in commands.items()
        if command not in known and not any(re.fullmatch(pattern, command) for pattern in NOT_HERE)
    }
    assert not unknown
    assert known <= set(commands), "no page prints it any more"
    for pattern in NOT_HERE:
        assert any(re.fullmatch(pattern, command) for command in commands), pattern
    for test in BY.values():
        path, _, name = test.partition("::")
        assert f"def {name or 'test_'}" in (ROOT / path).read_text(encoding="utf-8")


@pytest.fixture
def checkout(project: Project) -> Project:
    """The small project, finished, in a folder like the checkout, with the small study under the names of all."""
    for name in ("Snakefile", "rules", "workflow_scripts", "hardneg", "profiles", "envs"):
        (project.folder / name).symlink_to(ROOT / name)
    (project.folder / "docs").mkdir()
    (project.folder / "configs").mkdir()
    measured = (project.folder / "results" / "small" / "measures.csv").read_text(encoding="utf-8").splitlines()
    system, split, measure, value = measured[1].split(",")[:4]
    entry = {"system": system, "split": split, "measure": measure, "value": float(value), "tolerance": 1e-4}
    expected = {"expected": [{**entry, "source": "the run before"}]}
    for path in (ROOT / "configs").glob("*.yaml"):
        own = project.folder / "configs" / path.name
        if path.name.endswith(".expected.yaml"):
            own.write_text(yaml.safe_dump(expected), encoding="utf-8")
        else:
            own.write_text("extends: ../config.yaml\n", encoding="utf-8")
    (project.folder / "config.expected.yaml").write_text(yaml.safe_dump(expected), encoding="utf-8")
    return project


def paste(project: Project, command: str) -> None:
    """Run a command as a person at a shell would, who answers yes."""
    for stands, means in PLACEHOLDERS.items():
        command = re.sub(rf"(?<![\w/]){re.escape(stands)}(?![\w/])", means, command)
    if command == "hardneg watch":  # goes on until Ctrl-C
        command = "timeout --signal INT 6 hardneg watch; test $? = 124"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=project.folder,
        env=project.environment(),
        input="y\n",
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, f"$ {command}\n{done.stdout}"
    assert "Traceback" not in done.stdout, f"$ {command}\n{done.stdout}"


@pytest.mark.slow
def test_the_commands_that_train_nothing(checkout: Project) -> None:
    before = sorted((checkout.folder / "artifacts").glob("*/*/*/manifest.json"))
    for command in QUICK:
        paste(checkout, command)
    assert sorted((checkout.folder / "artifacts").glob("*/*/*/manifest.json")) == before
    assert (checkout.folder / "docs" / "methods.md").read_bytes() == (ROOT / "docs" / "methods.md").read_bytes()
    assert (checkout.folder / "config.schema.json").read_bytes() == (ROOT / "config.schema.json").read_bytes()
    assert (checkout.folder / "project" / "config.yaml").exists()


@pytest.mark.slow
def test_the_commands_that_train(checkout: Project) -> None:
    star = checkout.config["systems"]["star"]
    study = {"extends": "../config.yaml", "systems": {"finetuned": star}, "export": ["finetuned"]}
    (checkout.folder / "configs" / "tutorial.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    expected = (checkout.folder / "config.expected.yaml").read_text(encoding="utf-8")
    (checkout.folder / "configs" / "tutorial.expected.yaml").write_text(expected, encoding="utf-8")
    other = {"extends": "../config.yaml", "collection": {"name": "other"}}
    (checkout.folder / "configs" / "squad.yaml").write_text(yaml.safe_dump(other), encoding="utf-8")
    paste(checkout, "hardneg run configs/squad.yaml")
    for command in TRAIN:
        paste(checkout, command)
    assert (checkout.folder / "beir.html").exists()


@pytest.mark.slow
def test_the_report_s_own_commands(checkout: Project) -> None:
    """With the configuration that the report prints."""
    page = (checkout.folder / "results" / "small" / "report.html").read_text(encoding="utf-8")
    (configuration,) = re.findall(r'<section id="part-configuration">.*?<pre>(.*?)</pre>', page, re.DOTALL)
    (checkout.folder / "this.yaml").write_text(html.unescape(configuration), encoding="utf-8")
    commands = [html.unescape(each) for each in re.findall(r"hardneg run this\.yaml [^<]+", page)]
    assert len(commands) > 4
    before = sorted((checkout.folder / "artifacts").glob("*/*/*/manifest.json"))
    for command in commands:
        assert Path(command.split()[-1]).name == "manifest.json"
        paste(checkout, command)
    assert sorted((checkout.folder / "artifacts").glob("*/*/*/manifest.json")) == before
