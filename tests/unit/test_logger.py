"""Snakemake's output for people: a line a job, and a failed job's own message last."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from conftest import new_project
from snakemake_interface_logger_plugins.common import LogEvent

from hardneg.cli import jobs
from snakemake_logger_plugin_hardneg import LogHandler

STAR = "artifacts/small/dual_encoder/star-0123456789ab/manifest.json"
SHARD = "artifacts/small/passages/star-0123456789ab/shard-0001-of-0002.json"
MEASURED = "artifacts/small/measure/star-0123456789ab/manifest.json"
ERROR = "error: The disk is full.\n  where:    here\n  remedy:   free space."
ASKED = {"nocolor": True, "quiet": set(), "debug_dag": False, "verbose": False, "show_failed_logs": True}
ASKED |= {"stdout": False, "dryrun": False, "printshellcmds": False}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with the log of a job."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.log").write_text(f"step 1\nerror: an old one\nstep 2\n{ERROR}\n", encoding="utf-8")
    return tmp_path


def sealed(manifest: str, settings: dict[str, Any] | None = None) -> Path:
    """A stage's manifest."""
    Path(manifest).parent.mkdir(parents=True)
    Path(manifest).write_text(json.dumps({"settings": settings or {}}), encoding="utf-8")
    return Path(manifest)


class Speaker:
    """A handler that is told records by hand."""

    def __init__(self, **asked: Any) -> None:
        self.handler = LogHandler(SimpleNamespace(**ASKED | asked), None)  # type: ignore[arg-type]

    def tell(self, event: LogEvent | None = None, said: str = "", level: int = logging.INFO, **fields: Any) -> None:
        """One record of Snakemake."""
        record = logging.LogRecord("snakemake.logging", level, "", 0, said, None, None)
        record.__dict__ |= {"event": event, **fields}
        self.handler.handle(record)

    def begin(self, total: int) -> None:
        self.tell(LogEvent.RUN_INFO, "Job stats: ...", stats={"total": total})

    def start(self, number: int, output: str, rule: str = "a_rule") -> None:
        self.tell(LogEvent.JOB_INFO, jobid=number, rule_name=rule, output=[output] if output else [])

    def finish(self, number: int) -> None:
        self.tell(LogEvent.JOB_FINISHED, job_id=number)

    def fail(self, number: int, output: str, log: str = "job.log", status: int = 1) -> None:
        command = f"Command 'a > {log} 2>&1' returned non-zero exit status {status}."
        self.tell(LogEvent.ERROR, f"RuleException:\nCalledProcessError in file 'x', line 1:\n{command}")
        self.tell(LogEvent.JOB_ERROR, jobid=number, rule_name="a_rule", output=[output], log=[log])

    def told(self, capsys: pytest.CaptureFixture[str]) -> list[str]:
        """The lines it wrote in all."""
        self.handler.close()
        captured = capsys.readouterr()
        assert captured.out == ""
        return captured.err.splitlines()


@pytest.fixture
def speaker() -> Iterator[Speaker]:
    made = Speaker()
    yield made
    made.handler.close()


@pytest.mark.parametrize(
    ("output", "name"),
    [([STAR], "dual_encoder star"), ([SHARD], "passages star shard-0001-of-0002"), (["results/x/report.html"], "a b")],
)
def test_a_job_is_called_by_its_stage(output: list[str], name: str) -> None:
    assert jobs.job_name("a_b", output) == name


def test_a_line_a_job(speaker: Speaker, capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("Building DAG of jobs...", "Select jobs to execute...", "Complete log(s): x"):
        speaker.tell(None, text)
    speaker.begin(3)
    sealed(STAR)
    for number, output in enumerate([STAR, SHARD, ""]):
        speaker.start(number, output)
        speaker.tell(LogEvent.SHELLCMD, "Shell command: ...")
        speaker.finish(number)
        speaker.tell(LogEvent.PROGRESS, done=number + 1, total=3)
    speaker.tell(None, "Something that is not known")
    first, *lines, last = speaker.told(capsys)
    assert (first, last) == ("3 jobs", "Something that is not known")
    assert [line.split() for line in lines] == [
        ["1/3", "0:00", "dual_encoder", "star", "0:00"],
        ["2/3", "0:00", "passages", "star", "shard-0001-of-0002", "0:00"],
    ]


def test_a_measure_tells_the_main_measure(folder: Path) -> None:
    stage = sealed(MEASURED, {"measures": ["R@100", "MRR@10"]})
    for split, values in (("dev", [0.25, 0.5]), ("test", [1.0, 0.0])):
        rows = [("q1", "MRR@10", values[0]), ("q2", "MRR@10", values[1]), ("q1", "R@100", 1.0), ("q2", "R@100", 0.5)]
        table = pd.DataFrame(rows, columns=["query_id", "measure", "value"])
        table.to_parquet(stage.parent / f"measures.{split}.parquet")
    assert jobs.result([MEASURED]) == "R@100 dev 0.7500, test 0.7500"
    (folder / "artifacts" / ".brief-small-0123456789ab.json").write_text('{"main_measure": "MRR@10"}')
    assert jobs.result([MEASURED]) == "MRR@10 dev 0.3750, test 0.5000"


@pytest.mark.parametrize(("settings", "said"), [({"splits": ["dev", "test"]}, "dev, test"), ({"steps": 3}, "")])
def test_vectors_and_rankings_tell_their_splits(settings: dict[str, Any], said: str) -> None:
    sealed(STAR, settings)
    assert jobs.result([STAR]) == said
    assert jobs.result([SHARD, "results/x/report.html"]) == ""


def test_the_message_of_a_failed_job_is_last_and_once(speaker: Speaker, capsys: pytest.CaptureFixture[str]) -> None:
    speaker.begin(2)
    speaker.start(7, STAR)
    speaker.fail(7, STAR)
    (Path.cwd() / "job.log").write_text("error: the same as before this retry, see above.\n", encoding="utf-8")
    speaker.start(7, STAR)
    speaker.fail(7, STAR)
    speaker.tell(LogEvent.ERROR, "WorkflowError:\nAt least one job did not complete successfully.")
    lines = speaker.told(capsys)
    assert [line.split()[-1] for line in lines[1:3]] == ["failed", "failed"]
    assert lines[3:] == ["", "dual_encoder star failed. From job.log:", *ERROR.splitlines()]


def test_a_job_that_a_retry_mended_did_not_fail(speaker: Speaker, capsys: pytest.CaptureFixture[str]) -> None:
    speaker.begin(1)
    speaker.fail(7, STAR)
    speaker.start(7, STAR)
    sealed(STAR)
    speaker.finish(7)
    assert "error" not in "\n".join(speaker.told(capsys))


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "It wrote no log."), ("Traceback\n  line\nValueError: x\n", "Traceback\n  line\nValueError: x")],
)
def test_a_job_without_a_message(folder: Path, text: str, said: str) -> None:
    (folder / "job.log").write_text(text, encoding="utf-8")
    assert jobs.failure(["nowhere.log", "job.log"]) == said


@pytest.mark.parametrize(
    ("status", "said"), [(137, "It was killed; perhaps the memory was full."), (3, "exit status 3.")]
)
def test_a_job_that_ended_without_a_word(
    status: int, said: str, speaker: Speaker, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "job.log").write_text("step 1\n", encoding="utf-8")
    speaker.begin(1)
    speaker.fail(7, STAR, status=status)
    *_, log, last = speaker.told(capsys)
    assert log == "step 1" and last.endswith(said)


def test_an_interrupted_run_tells_how_it_goes_on(speaker: Speaker, capsys: pytest.CaptureFixture[str]) -> None:
    speaker.begin(2)
    speaker.start(7, STAR)
    speaker.tell(None, "Terminating processes on user request, this might take some time.")
    speaker.fail(7, STAR)
    speaker.tell(LogEvent.ERROR, "WorkflowError:\nAt least one job did not complete successfully.")
    assert speaker.told(capsys) == ["2 jobs", "", "Stopped. The same command goes on from here."]


def test_a_refused_configuration_and_other_errors(speaker: Speaker, capsys: pytest.CaptureFixture[str]) -> None:
    message = "Unknown.\n  where:    seed\n  remedy:   write it."
    refused = f'WorkflowError in file "/a/common.smk", line 3:\n{message}\n  File "/a/common.smk", line 3, in <module>'
    speaker.tell(LogEvent.ERROR, refused, exception="WorkflowError")
    speaker.tell(LogEvent.ERROR, "MissingRuleException:\nNo rule to produce x", exception="MissingRuleException")
    lines = ["error: Unknown.", "  where:    seed", "  remedy:   write it."]
    assert speaker.told(capsys) == [*lines, "MissingRuleException:", "No rule to produce x"]


@pytest.mark.parametrize("asked", [{"verbose": True}, {"printshellcmds": True}])
def test_snakemake_s_own_words_where_asked(asked: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    speaker = Speaker(**asked)
    speaker.tell(LogEvent.RUN_INFO, "Job stats: all of it", stats={"total": 3})
    assert speaker.told(capsys) == ["Job stats: all of it"]


def test_a_run_of_snakemake(folder: Path) -> None:
    project = new_project(folder / "project")
    done = subprocess.run(
        [sys.executable, "-m", "hardneg.cli.main", "run", "config.yaml", "--until", "prepare_collection"],
        cwd=project.folder,
        env=project.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and done.stdout == "", done.stderr
    profile, count, line = done.stderr.splitlines()
    assert profile.startswith("Using workflow specific profile") and count == "1 job"
    assert line.split()[:1] + line.split()[2:4] == ["1/1", "collection", "small"]


def test_snakemake_finds_it_from_any_folder(folder: Path) -> None:
    code = "from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry as R; print(*R().plugins)"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    line = [sys.executable, "-P", "-c", code]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=True)
    assert "hardneg" in done.stdout.split()
