"""The same project in two folders, with one core and with two, gives the same bytes; ADORE trained on what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, Project, new_project
from safetensors.numpy import load_file

from hardneg.retrieval.search.retrieve import vectors_of
from hardneg.stages.artifacts import Artifact
from hardneg.text.tokens import TokenStore

ALL_STAGES = """
import json, sys
from pathlib import Path
from made_stages import Stages
from hardneg.report.brief import brief

stages = Stages(Path.cwd(), json.loads(sys.argv[1]))
for stage in stages.plan.stages:
    stages.make(stage)
Path("brief.json").write_text(json.dumps(brief(stages.plan)))
said = stages.call(["summarise_measures", "--brief", "brief.json", "--output", "results/small/measures.csv"])
assert said.status == 0, said.err
"""


@pytest.fixture(scope="module")
def one_core(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Another project of the same content, made on one core, all stages in one process; Snakemake had two cores."""
    project = new_project(tmp_path_factory.mktemp("determinism") / "elsewhere")
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "tests", ROOT / "tests/rules")))
    core = min(os.sched_getaffinity(0))
    done = subprocess.run(
        [sys.executable, "-c", ALL_STAGES, json.dumps(project.config)],
        cwd=project.folder,
        env=project.environment(PYTHONPATH=paths),
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return project


def contents(project: Project, pattern: str) -> dict[str, bytes]:
    """The files of a project that match a pattern, by their path; but for Lucene's: it writes dates and random ids."""
    found = (path for path in project.folder.glob(pattern) if "bm25_index" not in path.parts)
    return {str(path.relative_to(project.folder)): path.read_bytes() for path in found}


def test_texts_have_from_3_to_300_tokens(finished: Project) -> None:
    store = TokenStore(Artifact.open(finished.stage("tokens", "all") / "manifest.json"), "passages")
    lengths = store.lengths(np.arange(len(store)))
    assert lengths.min() <= 3
    assert lengths.max() >= 300


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ("results/small/runs/*.trec", 4 * 2),
        ("results/small/measures.csv", 1),
        ("artifacts/small/*/*/*.npy", 2 + 3 * 2 + 1 + 4),  # passages, queries (mined: train too), offsets of tokens
        ("artifacts/small/*/*/encoder/**/*.safetensors", 3),
        ("artifacts/small/*/*/manifest.json", 26 + 3 + 3 + 1 + 1),  # errors, diagnoses, agreement, export on top
    ],
)
def test_two_folders_give_the_same_bytes(finished: Project, one_core: Project, pattern: str, count: int) -> None:
    ours, theirs = contents(finished, pattern), contents(one_core, pattern)
    assert len(ours) == count
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []


def test_adore_trained_on_the_top_k_of_the_whole_collection(finished: Project) -> None:
    stage = Artifact.open(finished.stage("query_encoder", "adore_star") / "manifest.json")
    passages = vectors_of(Artifact.open(finished.stage("passages", "star") / "manifest.json"))
    matrix = passages.block(0, len(passages)).astype(np.float64)
    kept = load_file(stage.path("kept.safetensors"))
    options, depth = stage.settings["train"], stage.settings["source"][0]["depth"]
    steps = sorted({name.partition(".")[0] for name in kept})
    assert [int(step) for step in steps] == [8, 16, 24, 32, 40]
    for step in steps:
        queries, vectors, retrieved, scores = (
            kept[f"{step}.{part}"] for part in ("queries", "vectors", "retrieved", "scores")
        )
        assert retrieved.shape == (options["batch_size"], depth)
        assert len(queries) == len(vectors) == options["batch_size"]
        exact = vectors.astype(np.float64) @ matrix.T
        order = np.argsort(-exact, axis=1, kind="stable")
        best = np.take_along_axis(exact, order, axis=1)
        np.testing.assert_allclose(scores, best[:, :depth], atol=1e-6)
        # In float32 two passages may change places only where their exact scores are as good as equal.
        np.testing.assert_allclose(np.take_along_axis(exact, retrieved, axis=1), best[:, :depth], atol=1e-6)
        clear = np.diff(best[:, : depth + 1], axis=1) < -1e-6
        clear = clear & np.pad(clear, ((0, 0), (1, 0)), constant_values=True)[:, :-1]
        assert clear.mean() > 0.5
        assert (retrieved == order[:, :depth])[clear].all()
        assert all(len(set(row)) == depth for row in retrieved)


def test_adore_moved_its_queries_and_not_its_passages(finished: Project) -> None:
    adore, star = (finished.stage("queries", label) / "queries.test.npy" for label in ("adore_star", "star"))
    assert not np.array_equal(np.load(adore), np.load(star))
    run = json.loads((finished.stage("run", "adore_star") / "manifest.json").read_text(encoding="utf-8"))
    index: Path = finished.stage("index", "star")
    assert index.name.endswith(run["parents"]["index"])
