"""A small real project for the tests that run the workflow: synthetic text in BEIR layout, a very small encoder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import filelock
import pytest
import yaml

if TYPE_CHECKING:
    from made_stages import Stages

ROOT = Path(__file__).resolve().parents[1]
TOPICS, PASSAGES_EACH = 24, 12

# Without a GPU Triton is to interpret kernels. It asks as it is imported, where they are defined, and where they run.
if shutil.which("nvidia-smi") is None:
    os.environ["TRITON_INTERPRET"] = "1"


def words(rng: Random, count: int) -> list[str]:
    """Made-up words."""
    return ["".join(rng.choice("aeioubcdfglmnprst") for _ in range(rng.randint(3, 8))) for _ in range(count)]


def write_collection(folder: Path, seed: int = 0) -> None:
    """288 passages on 24 topics, one of each a single word; 96 train, 24 dev, 24 test queries with one positive."""
    rng = Random(seed)
    common, topics = words(rng, 60), [words(rng, 14) for _ in range(TOPICS)]
    (folder / "qrels").mkdir(parents=True)
    corpus: list[dict[str, str]] = []
    queries: list[dict[str, str]] = []
    qrels: dict[str, list[str]] = {"train": [], "dev": [], "test": []}
    for topic, own in enumerate(topics):
        corpus.append({"_id": f"p{topic}", "title": "", "text": own[0]})
        for number in range(PASSAGES_EACH - 1):
            length = rng.choice([3, 8, 20, 40, 300])
            special = words(rng, 3)
            text = [*special, *(rng.choice(own if rng.random() < 0.6 else common) for _ in range(length))]
            rng.shuffle(text)
            corpus.append({"_id": f"p{topic}-{number}", "title": rng.choice(own), "text": " ".join(text)})
            if number < 6:
                split = "train" if number < 4 else ("dev", "test")[number - 4]
                asked = [*rng.sample(special, 2), *rng.sample(own, 2)]
                queries.append({"_id": f"q{topic}-{number}", "text": " ".join(asked)})
                qrels[split].append(f"q{topic}-{number}\tp{topic}-{number}\t1")
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for split, judged in qrels.items():
        lines = ["query-id\tcorpus-id\tscore", *judged]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def small_config() -> dict[str, Any]:
    """Every kind of stage, in seconds. The warm-up trains with softmax, STAR with RankNet, ADORE by lambda weights."""
    train = {"steps": 40, "batch_size": 8, "lr": 1e-3, "log_every": 4, "rows_per_forward": 8}
    return {
        "collection": {"format": "beir", "name": "small", "path": "data"},
        "seed": 3,
        "encoder": {
            "backbone": "builtin:tiny",
            "pooling": "mean",
            "normalize": True,
            "temperature": 0.05,
            "query_length": 16,
            "passage_length": 304,
            "tiny": {"vocabulary": 600, "hidden": 16, "layers": 1, "heads": 2, "feed_forward": 16},
        },
        "systems": {
            "bm25": {"preset": "bm25"},
            "bm25neg": {"preset": "bm25neg", "loss": "softmax", "train": train},
            "star": {
                "preset": "star",
                "from": "bm25neg",
                "source": {"depth": 40},
                "sampler": {"k": 40},
                "train": train,
            },
            "adore_star": {
                "preset": "adore",
                "from": "star",
                "source": {"depth": 50},
                "train": {**train, "log_retrieved_every": 8},
            },
        },
        "evaluation": {"depth": 100, "measures": ["MRR@10", "nDCG@10", "R@100"], "main_measure": "MRR@10"},
        "export": ["adore_star"],
        "arithmetic": {"training_threads": 2, "encoding_threads": 1},
        "runtime": {"shards": 2, "java_heap_mib": 512},
    }


@dataclass
class Project:
    """A folder in which the workflow runs.

    Attributes:
        folder: where config.yaml, the data, artifacts and results lie.
        source: the checkout that runs.
    """

    folder: Path
    source: Path = ROOT

    @property
    def config(self) -> dict[str, Any]:
        """The configuration file's content."""
        content: dict[str, Any] = yaml.safe_load((self.folder / "config.yaml").read_text(encoding="utf-8"))
        return content

    def write_config(self, config: dict[str, Any]) -> None:
        """Replace the configuration file."""
        (self.folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")

    def command(self, *arguments: str) -> list[str]:
        """A snakemake command line on this folder."""
        return [
            sys.executable,
            "-m",
            "snakemake",
            "--snakefile",
            str(self.source / "Snakefile"),
            "--directory",
            str(self.folder),
            "--configfile",
            str(self.folder / "config.yaml"),
            *arguments,
        ]

    def environment(self, **extra: str) -> dict[str, str]:
        """The environment of such a command."""
        return {
            **os.environ,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": str(self.source),
            "HF_HUB_OFFLINE": "1",
            "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin while they wait would take the cores from other tests
            **extra,
        }

    def snakemake(
        self, *arguments: str, cores: int = 2, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run snakemake to its end; its standard output and error come together as `stdout`."""
        done = subprocess.run(
            self.command("--cores", str(cores), *arguments),
            cwd=self.folder,
            env=self.environment(**environment),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout
        return done

    def begin(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start snakemake on two cores, in a process group of its own; what it prints is added to terminal.txt."""
        with (self.folder / "terminal.txt").open("ab") as terminal:
            return subprocess.Popen(
                self.command("--cores", "2", *arguments),
                cwd=self.folder,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=terminal,
                stderr=terminal,
                start_new_session=True,
            )

    def jobs(self, *arguments: str) -> dict[str, int]:
        """The rules that a dry run would run, with their number of jobs (`all` left out)."""
        lines = self.snakemake(*arguments, "-n", "--quiet", "rules").stdout.splitlines()
        counts: dict[str, int] = {}
        for line in lines:
            parts = line.split()
            if len(parts) == 2 and parts[1].isdigit() and parts[0] not in ("all", "total"):
                counts[parts[0]] = int(parts[1])
        return counts

    def measures(self) -> bytes:
        """`measures.csv`."""
        return (self.folder / "results" / "small" / "measures.csv").read_bytes()

    def stage(self, kind: str, label: str) -> Path:
        """The folder of a stage of which there is one version.

        Raises:
            ValueError: there is none, or there are several.
        """
        (folder,) = (self.folder / "artifacts" / "small" / kind).glob(f"{label}-*")
        return folder


def new_project(folder: Path) -> Project:
    """A project that has run nothing yet."""
    folder.mkdir(parents=True, exist_ok=True)
    write_collection(folder / "data")
    project = Project(folder)
    project.write_config(small_config())
    return project


@pytest.fixture(autouse=True)
def denormal_numbers() -> Iterator[None]:
    """Numbers below 1e-38 are numbers again after a test that set arithmetic up as a stage does, which flushes them."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all workers of a test run."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base


@pytest.fixture(scope="session")
def finished(shared_folder: Path) -> Project:
    """A project whose workflow ran to its end, made once. Not to be written to: see `project`."""
    folder = shared_folder / "finished"
    with filelock.FileLock(shared_folder / "finished.lock"):
        project = Project(folder)
        if not (folder / "results").exists():
            project = new_project(folder)
            project.snakemake()
    return project


@pytest.fixture(scope="session")
def stages(shared_folder: Path) -> Stages:
    """A small project with a stage of every kind; tests make what they look at, and what that needs, by its script."""
    from made_stages import Stages, every_kind, write_given

    folder = shared_folder / "stages"
    with filelock.FileLock(shared_folder / "stages.lock"):
        if not folder.exists():
            write_collection(folder / "data")
            write_given(folder, TOPICS * PASSAGES_EACH)
        return Stages(folder, every_kind())


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """A copy of the finished project, to change and run again."""
    shutil.copytree(finished.folder, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project")
