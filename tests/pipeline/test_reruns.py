"""What runs again after a change, and what does not: exact sets of jobs from dry runs, and some of them really run."""

from __future__ import annotations

import ast
import json
import shutil
from pathlib import Path

import pytest
from conftest import ROOT, Project

SUMMARY = {"summarise_measures": 1, "write_report": 1}
LOOK = {"count_errors": 1, "diagnose_negatives": 1, "compare_rankings": 1, "export_system": 1}
AFTER_ADORE = {"encode_queries": 1, "search_dense": 1, "measure_run": 1} | LOOK | SUMMARY
ADORE = {"train_query_encoder": 1} | AFTER_ADORE
RANKNET = "hardneg/methods/losses/ranknet.py"
LEARNING_RATE = ("--config", "systems={adore_star: {train: {lr: 2e-5}}}")


def test_a_second_run_has_nothing_to_do(project: Project) -> None:
    assert project.jobs() == {}
    before = project.measures()
    assert "Nothing to be done" in project.snakemake().stdout
    assert project.measures() == before


def test_adores_learning_rate_trains_adore_and_back_only_summarises(project: Project) -> None:
    before = project.measures()
    assert project.jobs(*LEARNING_RATE) == ADORE
    project.snakemake(*LEARNING_RATE)
    assert project.measures() != before
    assert len(list((project.folder / "artifacts/small/query_encoder").iterdir())) == 2

    # The same number in the file, where it is no string, names the same stages.
    original = project.config
    changed = project.config
    changed["systems"]["adore_star"]["train"]["lr"] = 0.00002
    project.write_config(changed)
    assert project.jobs() == {}

    project.write_config(original)
    assert project.jobs() == SUMMARY
    project.snakemake()
    assert project.measures() == before
    assert project.jobs() == {}


def test_another_depth_of_errors_trains_nothing(project: Project) -> None:
    changed = project.config
    changed["analyses"] = {"pairwise_errors": {"k": 5}}
    project.write_config(changed)
    assert project.jobs() == {"count_errors": 3} | SUMMARY


def test_shards_change_nothing(project: Project) -> None:
    assert project.jobs("--config", "runtime={shards: 4, checkpoint_seconds: 1}") == {}


def test_the_seed_changes_training_and_what_follows(project: Project) -> None:
    expected = {
        "train_dual_encoder": 2,
        "encode_passages": 4,
        "seal_passages": 2,
        "encode_queries": 4,
        "build_index": 2,
        "search_dense": 4,
        "mine_negatives": 1,  # the warm-up model's; BM25's stay
        "train_query_encoder": 1,
        "measure_run": 3,
        "count_errors": 3,
        "diagnose_negatives": 3,
        "compare_rankings": 1,
        "export_system": 1,
    }
    assert project.jobs("--config", "seed=4") == expected | SUMMARY


# --- the code ---


@pytest.fixture
def checkout(project: Project, tmp_path: Path) -> Project:
    """The finished project, run by a copy of the code."""
    source = tmp_path / "checkout"
    for name in ("rules", "workflow_scripts", "hardneg", "envs", "profiles"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Snakefile", source)
    return Project(project.folder, source)


def with_other_comments(source: str) -> str:
    """The module with a comment on top, and with other docstrings."""
    lines = source.splitlines(keepends=True)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            row, column = node.body[0].lineno - 1, node.body[0].col_offset
            head, quotes, tail = lines[row][:column], lines[row][column : column + 3], lines[row][column + 3 :]
            if quotes == '"""':
                lines[row] = f"{head}{quotes}In other words: {tail}"
    return "# A new comment.\n" + "".join(lines)


def test_comments_and_docstrings_rerun_nothing(checkout: Project) -> None:
    for path in (checkout.source / "hardneg").rglob("*.py"):
        path.write_text(with_other_comments(path.read_text(encoding="utf-8")), encoding="utf-8")
    assert "In other words: RankNet" in (checkout.source / RANKNET).read_text(encoding="utf-8")
    assert checkout.jobs() == {}


def test_ranknets_arithmetic_reruns_what_trains_with_it(checkout: Project) -> None:
    losses = checkout.source / RANKNET
    text = losses.read_text(encoding="utf-8")
    formula = "softplus(scores.unsqueeze(1) - scores.gather(1, columns).unsqueeze(2))"
    assert text.count(formula) == 1
    losses.write_text(text.replace(formula, f"1.01 * {formula}"), encoding="utf-8")
    # STAR trains with it, ADORE starts from STAR; the warm-up trains with softmax and stays.
    expected = {
        "train_dual_encoder": 1,
        "encode_passages": 2,
        "seal_passages": 1,
        "encode_queries": 2,
        "build_index": 1,
        "search_dense": 2,
        "train_query_encoder": 1,
        "measure_run": 2,
        "count_errors": 2,
        "diagnose_negatives": 2,
        "compare_rankings": 1,
        "export_system": 1,
    }
    assert checkout.jobs() == expected | SUMMARY


# --- --forcerun ---


def progress(stage: Path) -> list[int]:
    """The steps that the progress lines speak of."""
    lines = (stage / "progress.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["done"] for line in lines]


def test_a_forced_training_begins_at_step_0_and_a_lost_manifest_is_put_back(project: Project) -> None:
    stage = project.stage("query_encoder", "adore_star")
    manifest, weights = stage / "manifest.json", stage / "encoder/backbone/model.safetensors"
    log = project.folder / f"logs/small/query_encoder/{stage.name}.log"
    sealed, steps, made = manifest.read_bytes(), progress(stage), weights.stat().st_mtime_ns

    manifest.unlink()
    project.snakemake(str(manifest.relative_to(project.folder)))
    assert manifest.read_bytes() == sealed
    assert "was finished before" in log.read_text(encoding="utf-8")
    assert (weights.stat().st_mtime_ns, progress(stage)) == (made, steps)

    assert project.jobs("--forcerun", "train_query_encoder") == ADORE
    project.snakemake("--forcerun", "train_query_encoder", "--until", "train_query_encoder")
    assert weights.stat().st_mtime_ns > made
    assert progress(stage)[len(steps)] == 1
    assert progress(stage)[-1] == project.config["systems"]["adore_star"]["train"]["steps"]
    assert not {"resuming", "finished"} & set(log.read_text(encoding="utf-8").split())
    assert manifest.read_bytes() == sealed
