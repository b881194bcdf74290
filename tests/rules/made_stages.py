"""A small project whose stages are made one by one, each by its script, called as its rule calls it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import runpy
import subprocess
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from conftest import PASSAGES_EACH, ROOT, TOPICS, small_config

from hardneg.config import load
from hardneg.planning.plan import Plan
from hardneg.stages.artifacts import Artifact
from hardneg.stages.kinds import KINDS
from hardneg.stages.stage import Stage

SHARDS = 2
DIM = 16
TRAIN: dict[str, Any] = {"steps": 6, "batch_size": 8, "lr": 1e-3, "log_every": 2, "rows_per_forward": 8}
MINED = {"source": {"depth": 30}, "sampler": {"k": 30}}


def every_kind() -> dict[str, Any]:
    """A configuration with a stage of every kind, but for a download."""
    config = small_config()
    config["systems"] = {
        "bm25": {"preset": "bm25"},
        "inbatch": {"preset": "inbatch", "train": TRAIN},
        "bm25neg": {"preset": "bm25neg", "loss": "softmax", "train": TRAIN},
        "star": {"preset": "star", "from": "bm25neg", "train": TRAIN, **MINED},
        "adore": {
            "preset": "adore",
            "from": "star",
            "source": {"depth": 30},
            "train": {**TRAIN, "log_retrieved_every": 2},
        },
        "cross_encoder": {"preset": "cross_encoder", "rerank": {"depth": 20}, "train": TRAIN, **MINED},
        "colbert": {"preset": "colbert", "rerank": {"depth": 20}, "train": TRAIN, **MINED},
        "margin_mse": {"preset": "margin_mse", "train": TRAIN, **MINED},
        "tas": {"preset": "tas", "from": "bm25neg", "order": {"clusters": 4}, "train": TRAIN, **MINED},
        "simans": {"preset": "simans", "from": "bm25neg", "train": TRAIN, **MINED},
        "ranked": {"preset": "given_run", "runs": {"test": "ranked.trec"}},
        "vectors": {
            "preset": "given_vectors",
            "vectors": {"passages": ["passages.npy"], "queries": {"test": "queries.npy"}},
        },
    }
    config["splits"] = {"evaluate": ["test"]}
    config["analyses"] = {
        "pairwise_errors": {"k": 20},
        "negatives": {"teacher": "star"},
        "trajectory": {"systems": ["adore"], "every": 2, "k": 20},
        "movement": {"system": "adore", "passages": 10},
    }
    config["export"] = ["adore", {"negatives": "margin_mse", "count": 3}]
    config["arithmetic"] = {"training_threads": 1, "encoding_threads": 1}
    config["runtime"]["shards"] = SHARDS
    return config


def write_given(folder: Path, passages: int) -> None:
    """A ranking and vectors made elsewhere: the relevant passage is third of five; it has its query's vector."""
    ranked = [f"q{topic}-5 Q0 p{topic}-{n + 3} {n + 1} {9 - n} other\n" for topic in range(TOPICS) for n in range(5)]
    (folder / "ranked.trec").write_text("".join(ranked), encoding="utf-8")
    vectors = np.random.default_rng(5).normal(size=(passages, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    np.save(folder / "passages.npy", vectors)
    np.save(folder / "queries.npy", vectors[relevant_rows()])


def relevant_rows() -> np.ndarray:
    """The position of each test query's relevant passage, p<topic>-5."""
    return np.arange(TOPICS) * PASSAGES_EACH + 6


@dataclass(frozen=True)
class Said:
    """How a script ended, and what it said."""

    status: int
    out: str
    err: str


@dataclass
class Stages:
    """A planned project.

    Attributes:
        folder: where it lies.
        config: its configuration.
        plan: its stages, parents first.
    """

    folder: Path
    config: dict[str, Any]
    plan: Plan = field(init=False)

    def __post_init__(self) -> None:
        with contextlib.chdir(self.folder):
            self.plan = Plan(load(self.config))
            self.runtime = json.dumps(self.plan.runtime)

    def stage(self, kind: str, label: str | None = None, **settings: Any) -> Stage:
        """The first stage of a kind: of a label, with these settings, where given."""
        for stage in self.plan.of(kind):
            fits = all(stage.settings.get(name) == value for name, value in settings.items())
            if fits and label in (None, stage.label):
                return stage
        raise LookupError(f"the small project has no stage {kind} {label or ''}")

    def commands(self, stage: Stage) -> list[list[str]]:
        """What its rule, or rules, call: a script and its arguments."""
        if stage.kind != "passages":
            threads = {"bm25_run": ["--threads", "2"], "collection": ["--threads", "2"]}
            return [[KINDS[stage.kind].script, *self._arguments(stage), *threads.get(stage.kind, [])]]
        markers = [stage.folder / f"shard-{shard:04d}-of-{SHARDS:04d}.json" for shard in range(SHARDS)]
        parts = [["--shard", f"{shard:04d}", "--of", f"{SHARDS:04d}"] for shard in range(SHARDS)]
        encode = [
            ["encode_passages", *self._arguments(stage, output=marker), *part]
            for marker, part in zip(markers, parts, strict=True)
        ]
        return [*encode, ["seal_passages", *self._arguments(stage), "--markers", *map(str, markers)]]

    def _arguments(self, stage: Stage, output: Path | None = None) -> list[str]:
        given = ["--record", json.dumps(stage.record, sort_keys=True), "--runtime", self.runtime, "--gpus", "0"]
        parents = [str(parent.manifest) for parent in stage.parents.values()]
        return [*given, "--output", str(output or stage.manifest), "--inputs", *parents]

    def make(self, stage: Stage) -> Artifact:
        """The stage, made by its script after its parents, where that was not done before."""
        if not (self.folder / stage.manifest).exists():
            for parent in stage.parents.values():
                self.make(parent)
            for command in self.commands(stage):
                said = self.call(command)
                assert said.status == 0, said.err
        return Artifact.open(self.folder / stage.manifest)

    def made(self, kind: str, label: str | None = None, **settings: Any) -> Artifact:
        """`make` of `stage`."""
        return self.make(self.stage(kind, label, **settings))

    def call(self, command: list[str]) -> Said:
        """Run a script in this process; what it changes of the process is put back."""
        script, *arguments = command
        out, err, argv = io.StringIO(), io.StringIO(), sys.argv
        status, before = 0, (torch.get_num_threads(), faiss.omp_get_max_threads(), torch.get_deterministic_debug_mode())
        with (
            mock.patch.dict(os.environ),
            contextlib.chdir(self.folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore", RuntimeWarning)  # runpy's, of a script that some test imported
            sys.argv = [script, *arguments]
            try:
                runpy.run_module(f"workflow_scripts.{script}", run_name="__main__", alter_sys=True)
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else int(end.code is not None)
                err.write(end.code if isinstance(end.code, str) else "")
            finally:
                sys.argv = argv
                torch.set_num_threads(before[0])
                faiss.omp_set_num_threads(before[1])
                torch.set_deterministic_debug_mode(before[2])
                torch.set_flush_denormal(False)
        return Said(status, out.getvalue(), err.getvalue())

    def call_apart(self, command: list[str]) -> Said:
        """Run a script in a process of its own, as a rule does."""
        script, *arguments = command
        done = subprocess.run(
            [sys.executable, "-m", f"workflow_scripts.{script}", *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)


def columns(stage: Artifact, name: str) -> dict[str, np.ndarray]:
    """A Parquet file's columns."""
    table = pq.read_table(stage.path(name))
    return {column: table[column].to_numpy() for column in table.column_names}


def types(stage: Artifact, name: str) -> dict[str, str]:
    """A Parquet file's columns and their types."""
    schema: pa.Schema = pq.read_schema(stage.path(name))
    return {column: str(kind) for column, kind in zip(schema.names, schema.types, strict=True)}


def pairs(table: Mapping[str, np.ndarray]) -> set[tuple[int, int]]:
    """The (query, passage) pairs of a table."""
    return set(zip(table["query"].tolist(), table["passage"].tolist(), strict=True))


RUN = {"query": "int32", "passage": "int32", "rank": "int32", "score": "float"}


def check_run(stage: Artifact, name: str, queries: int, passages: int, depth: int) -> dict[str, np.ndarray]:
    """A run's rows: sorted by query and rank, within the collection, no passage twice, scores falling."""
    assert types(stage, name) == RUN
    table = columns(stage, name)
    query, rank, score = table["query"], table["rank"], table["score"]
    assert len(query) and query.min() >= 0 and query.max() < queries
    assert table["passage"].min() >= 0 and table["passage"].max() < passages
    assert rank.min() == 1 and rank.max() <= depth
    assert len(pairs(table)) == len(query)
    same = query[1:] == query[:-1]
    assert (query[1:] >= query[:-1]).all() and (rank[1:][same] > rank[:-1][same]).all()
    assert np.isfinite(score).all() and (score[1:][same] <= score[:-1][same]).all()
    return table
