"""The `hardneg` command: what it takes, what it refuses, and how it meets terminals and pipes."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import small_config, write_collection
from snakemake.cli import parse_config

from hardneg.cli import options, prune, run, version
from hardneg.cli.main import main
from hardneg.config import load, read_yaml
from hardneg.errors import HardnegError
from hardneg.planning.plan import Plan
from hardneg.report.brief import brief
from hardneg.report.gather import reproducing
from hardneg.stages import release
from hardneg.stages.artifacts import writer_lock

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = [
    *("init", "run", "watch", "plan", "prune", "verify", "doctor", "estimate", "expect", "compare", "push", "search"),
    "methods",
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project, the working folder."""
    monkeypatch.chdir(tmp_path)
    write_collection(tmp_path / "data")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(small_config()), encoding="utf-8")
    return tmp_path


def ended(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int | str | None, str]:
    """The exit status, or the message, and what was printed."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return end.value.code, capsys.readouterr().out


# --- version and help -----------------------------------------------------------------------------------------------


def test_the_version_and_the_commit(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    status, told = ended(capsys, "--version")
    assert status == 0
    assert re.fullmatch(r"hardneg \d+\.\d+\.\d+( \(commit [0-9a-f]{7,}(-dirty)?\))?\n", told)
    monkeypatch.setattr(release, "CHECKOUT", Path("/nowhere"))
    assert re.fullmatch(r"hardneg \d+\.\d+\.\d+", version.version())


def test_the_commit_is_the_checkout_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for arguments in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run([*git, *arguments], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    monkeypatch.setattr(release, "CHECKOUT", tmp_path)
    assert version.version().endswith(f" (commit {head[:7]})")


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_fits_80_columns(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    status, told = ended(capsys, *command, "--help")
    assert status == 0 and told.startswith("usage: hardneg")
    assert [line for line in told.splitlines() if len(line) > 80] == []
    if not command:
        assert re.findall(r"^    (\w+) ", told, re.MULTILINE) == COMMANDS


# --- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "entries",
    [
        ["seed=7"],
        ["seed=7", "main_measure=1.5"],
        ["seed="],
        ["name='quoted'"],
        ["yes=True", "no=true", "nothing=null"],
        ["systems={star: {train: {lr: 2e-5, steps: 3}}}", "systems={star: {train: {steps: 4}}, other: {from: star}}"],
        ["list=[1, 2]", "list=[3]"],
        ["text={not closed", "url=a=b:c"],
    ],
)
def test_settings_are_read_as_snakemake_reads_them(entries: list[str]) -> None:
    assert options.settings(entries) == parse_config(entries)


@pytest.mark.parametrize(
    ("entry", "remedy"),
    [
        ("seed: 7", "write seed=7."),
        ("{seed: 7}", "write seed=7."),
        ("systems: {star: {from: a}}", "write 'systems={star: {from: a}}'."),
        ("seed", "give a value: seed=..."),
        ("systems.star.train.lr=1", "'systems={star: {train: {lr: ...}}}'."),
        ("=7", "write the key"),
    ],
)
@pytest.mark.parametrize("command", [["plan"], ["run", "config.yaml"]])
def test_what_is_no_setting_is_refused(
    entry: str, remedy: str, command: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match="Config"):
        parse_config([entry])
    message, _ = ended(capsys, *command, "--config", entry)
    assert isinstance(message, str) and f"found:    {entry}\n" in message and remedy in message


def test_settings_that_snakemake_would_drop_are_refused(folder: Path) -> None:
    for line in (["--config", "seed=1", "more=2"], ["--configfile", "a", "--config", "b=1"], ["--config=seed=1"]):
        options.refuse_dropped(line)
    with pytest.raises(HardnegError, match=r"found: +2 of them\n(.*\n)*.*`hardneg run`"):
        options.refuse_dropped(["star", "--config", "seed=1", "-n", "--config=more=2"])
    line = [sys.executable, "-m", "workflow_scripts.start", *snakemake_line("-n"), "--config", "seed=1", "-C", "ab=2"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "only the last --config" in done.stdout


def seeds(capsys: pytest.CaptureFixture[str], *arguments: str) -> set[Any]:
    """The seeds of the stages that `hardneg plan --json` prints."""
    main(["plan", *arguments, "--json"])
    return {stage["settings"].get("seed") for stage in yaml.safe_load(capsys.readouterr().out)} - {None}


def test_plan_takes_what_snakemake_takes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "more.yaml").write_text("seed: 5\n", encoding="utf-8")
    (folder / "study.yaml").write_text("extends: config.yaml\nseed: 6\n", encoding="utf-8")
    assert seeds(capsys) == {3}
    assert seeds(capsys, "study.yaml") == {6}
    assert seeds(capsys, "--configfile", "config.yaml", "more.yaml") == {5}
    assert seeds(capsys, "--configfile", "study.yaml", "more.yaml") == {5}
    assert seeds(capsys, "study.yaml", "--config", "arithmetic={training_threads: 1}", "seed=8") == {8}
    assert seeds(capsys, "--config", "seed=8", "--config", "arithmetic={training_threads: 1}") == {8}


# --- run ------------------------------------------------------------------------------------------------------------


def snakemake_line(*arguments: str) -> list[str]:
    """What `hardneg run` would run, behind `python -m workflow_scripts.start`."""
    line = run.command(arguments)
    assert line[:3] == [sys.executable, "-m", "workflow_scripts.start"]
    return line[3:]


def tail(*more: str) -> list[str]:
    return ["--snakefile", str(ROOT / "Snakefile"), "--cores", "all", "--configfile", *more]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ([], tail("config.yaml")),
        (["config.yaml"], tail("config.yaml")),
        (["config.yaml", "star", "bm25", "-n"], ["star", "bm25", "-n", *tail("config.yaml")]),
        (["config.yaml", "star", "--config", "seed=1"], ["star", *tail("config.yaml"), "--config", "seed=1"]),
        (
            ["config.yaml", "--config", "seed=1", "-C", "ab=2", "--forcerun", "x", "y"],
            ["--forcerun", "x", "y", *tail("config.yaml"), "--config", "seed=1", "ab=2"],
        ),
        (["config.yaml", "--configfile", "more.yaml"], tail("config.yaml", "more.yaml")),
        (["--cores", "2"], [*tail()[:3], "2", "--configfile", "config.yaml"]),
        (["-c2"], [*tail()[:3], "2", "--configfile", "config.yaml"]),
        (["--profile", "p/slurm"], ["--profile", "p/slurm", *tail()[:2], "--configfile", "config.yaml"]),
        (["-j", "3"], ["-j", "3", *tail()[:2], "--configfile", "config.yaml"]),
    ],
)
def test_run_puts_arguments_in_order(given: Sequence[str], line: list[str], folder: Path) -> None:
    assert snakemake_line(*given) == line


def test_run_takes_the_workflow_of_this_folder(folder: Path) -> None:
    (folder / "Snakefile").touch()
    assert "--snakefile Snakefile --cores" in " ".join(snakemake_line())


def test_run_lists_the_jobs_of_a_target(folder: Path) -> None:
    line = [sys.executable, "-m", "hardneg.cli.main", "run", "config.yaml", "bm25", "--config", "seed=1"]
    done = subprocess.run([*line, "-n", "--quiet", "rules"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "index_bm25" in done.stdout + done.stderr and "train_dual_encoder" not in done.stdout + done.stderr
    unknown = subprocess.run([*line[:5], "nothing", "-n"], capture_output=True, text=True, check=False)
    assert unknown.returncode == 1 and "nothing" in unknown.stdout


def test_a_target_in_place_of_the_study_is_told(folder: Path) -> None:
    with pytest.raises(HardnegError, match=r"found: +star\n(.*\n)*.*`hardneg run config.yaml star`"):
        run.command(["star"])


COMMAND = re.compile(r"^#? *(?:snakemake|hardneg run) .*$", re.MULTILINE)
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "configs").glob("*.yaml"))]


def test_printed_commands_name_targets_first() -> None:
    """`--configfile` and `--config` would take a target behind them for a file or a setting."""
    printed = []
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        printed += [line.lstrip("# ") for line in COMMAND.findall(text)]
        printed += re.findall(r"`((?:snakemake|hardneg run) [^`]*)`", text)
    assert len(printed) > 20
    for line in printed:
        words = shlex.split(line, comments=True)
        for option in ("--configfile", "--config"):
            for word in takewhile(
                lambda word: word[0] != "-", words[words.index(option) + 1 :] if option in words else ()
            ):
                assert word in ("...", "X") or ("=" in word if option == "--config" else word.endswith(".yaml")), line


def test_the_report_s_configuration_and_commands_work_as_pasted(folder: Path) -> None:
    plan = Plan(load(small_config()))
    (folder / "this.yaml").write_text(brief(plan)["configuration"], encoding="utf-8")
    again = Plan(load(read_yaml(folder / "this.yaml")))
    assert [stage.manifest for stage in again.stages] == [stage.manifest for stage in plan.stages]
    target = str(plan.systems["star"].measure.manifest)
    line = shlex.split(reproducing(target))
    assert line[:2] == ["hardneg", "run"]
    assert snakemake_line(*line[2:]) == [target, *tail("this.yaml")]


# --- where it runs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["plan"], ["estimate"], ["prune"], ["run"], ["search", "a", "--system", "b"]])
def test_outside_a_project(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    message, _ = ended(capsys, *command)
    assert isinstance(message, str) and f"where:    {tmp_path}\n  found:    no config.yaml" in message


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = f"{sys.executable} -m hardneg.cli.main"
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line.replace("hardneg", command, 1)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("line", ["hardneg methods | head -1", "hardneg methods | true", "hardneg methods >&-"])
def test_a_reader_that_has_seen_enough(line: str, tmp_path: Path) -> None:
    done = shell(line, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_stage_that_is_being_written_is_not_removed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, busy = (folder / "artifacts" / "small" / "mine" / f"star-{digit * 12}" for digit in "01")
    for path in (old, busy):
        path.mkdir(parents=True)
    with writer_lock(busy, ".shard-0000-of-0002.writer.lock"):
        main(["prune", "--yes"])
    assert not old.exists() and busy.exists()
    assert f"kept: {busy.relative_to(folder)} is being written" in capsys.readouterr().out
    main(["prune", "--yes"])
    assert not busy.exists()


def test_who_cannot_be_asked_removes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = folder / "artifacts" / "small" / "mine" / "star-000000000000"
    old.mkdir(parents=True)
    assert shell("hardneg prune < /dev/null", folder).returncode == 0
    monkeypatch.setattr(sys, "stdin", None)
    main(["prune"])
    assert old.exists()
    monkeypatch.setattr(prune, "_agreed", lambda: True)
    main(["prune"])
    assert not old.exists()
