"""Jobs that are forked from a warm process: they do what a process of their own does, and end as it would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from workflow_scripts import warm
from workflow_scripts.environment import WARM

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 30.0
TEST = "PYTEST_CURRENT_TEST"  # changes from test to test, and a job whose environment is another one is not forked

PROBE = """
import json, os, signal, subprocess, sys, time
from pathlib import Path

def stop(number, frame):
    Path("told").write_text(signal.Signals(number).name)
    sys.exit(75)

if __name__ == "__main__":
    what = sys.argv[1]
    if what == "look":
        umask = os.umask(0)
        threads = {name: value for name, value in os.environ.items() if name.endswith("_THREADS")}
        print(json.dumps({"argv": sys.argv[1:], "name": Path(sys.argv[0]).stem, "umask": umask, "threads": threads,
                          "forked": os.getpgrp() == os.getpid(), "read": sys.stdin.read(), "folder": os.getcwd()}))
    if what == "exit":
        print("on stdout")
        sys.exit(int(sys.argv[2]))
    if what == "message":
        sys.exit("error: in words")
    if what == "fault":
        raise ValueError("a fault")
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "wait":
        signal.signal(signal.SIGTERM, stop)
        child = subprocess.Popen(["sleep", "600"])
        Path("running").write_text(f"{os.getpid()} {child.pid}")
        time.sleep(600)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a script, and a warm process that serves it."""
    folder = tmp_path_factory.mktemp("warm")
    scripts = folder / "workflow_scripts"
    scripts.mkdir()
    for name in ("__init__", "environment", "job", "warm"):
        (scripts / f"{name}.py").symlink_to(ROOT / "workflow_scripts" / f"{name}.py")
    (scripts / "probe.py").write_text(PROBE, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("PYTHONPATH", raising=False)
        patch.setenv(WARM, "")
        patch.setenv("PS1", "(environment) ")
        with pytest.MonkeyPatch.context() as before:
            before.delenv(TEST)
            process = warm.start()
        yield folder
        listens = Path(os.environ[WARM])
        assert process is not None and process.stdin is not None
        process.stdin.close()
        assert process.wait(PATIENCE) == 0
        assert not listens.parent.exists()


def begun(*arguments: str, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "workflow_scripts.job", "probe", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={name: value for name, value in (os.environ | more).items() if name != TEST},
    )


def ended(*arguments: str, **more: str) -> tuple[int, str, str]:
    process = begun(*arguments, **more)
    out, err = process.communicate("read by the script")
    return process.returncode, out, err


def apart(*arguments: str) -> tuple[int, str, str]:
    """In a process of its own."""
    line = [sys.executable, "-m", "workflow_scripts.probe", *arguments]
    done = subprocess.run(line, input="read by the script", capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_it_has_the_jobs_arguments_files_and_settings(folder: Path) -> None:
    status, out, _ = ended("look", "--a", "b c", OMP_NUM_THREADS="2")
    seen = json.loads(out)
    assert status == 0 and seen.pop("forked")
    umask = os.umask(0)
    os.umask(umask)
    threads: Mapping[str, str] = seen.pop("threads")
    assert threads["OMP_NUM_THREADS"] == "2"
    assert seen == {
        "argv": ["look", "--a", "b c"],
        "name": "probe",
        "umask": umask,
        "read": "read by the script",
        "folder": str(folder),
    }


def test_the_prompt_of_an_activated_environment_makes_no_difference(folder: Path) -> None:
    """A shell that is not interactive, as Snakemake's is, removes it."""
    line = [f"{sys.executable} -m workflow_scripts.job probe look; echo ${{PS1-removed}}"]
    environment = {name: value for name, value in os.environ.items() if name != TEST}
    done = subprocess.run(["bash", "-c", *line], input="", capture_output=True, text=True, check=True, env=environment)
    seen, prompt = done.stdout.splitlines()
    assert prompt == "removed" and json.loads(seen)["forked"]


@pytest.mark.parametrize("arguments", [["exit", "0"], ["exit", "3"], ["message"]])
def test_it_ends_as_a_process_of_its_own(folder: Path, arguments: list[str]) -> None:
    assert ended(*arguments) == apart(*arguments)


def test_a_fault_ends_with_its_traceback(folder: Path) -> None:
    status, _, err = ended("fault")
    assert status == 1 and err.splitlines()[-1] == "ValueError: a fault"


def test_a_killed_script_is_told_as_a_shell_tells_it(folder: Path) -> None:
    assert ended("die")[0] == 128 + signal.SIGKILL


@pytest.mark.parametrize(("name", "value"), [("HF_HOME", "elsewhere"), (WARM, "/nowhere")])
def test_a_process_of_its_own_where_a_forked_one_would_differ(folder: Path, name: str, value: str) -> None:
    status, out, _ = ended("look", **{name: value})
    assert status == 0 and not json.loads(out)["forked"]


def test_none_where_no_socket_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("long" * 30)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    monkeypatch.setenv(WARM, "as before")
    assert warm.start() is None and os.environ[WARM] == "as before"


def test_a_process_that_has_a_device_open_is_not_forked(tmp_path: Path) -> None:
    # As a library would that initialises CUDA when it is imported; a forked process could not use it.
    device = tmp_path / "nvidia0"
    with device.open("w"):
        assert warm._has_open(str(tmp_path / "nvidia"))
    assert not warm._has_open(str(tmp_path / "nvidia"))
    assert not warm._has_open(warm.DEVICES)


def waiting(folder: Path) -> tuple[subprocess.Popen[str], list[int]]:
    for name in ("running", "told"):
        (folder / name).unlink(missing_ok=True)
    process = begun("wait")
    until(lambda: (folder / "running").exists() and " " in (folder / "running").read_text())
    return process, [int(number) for number in (folder / "running").read_text().split()]


def test_a_signal_reaches_the_script(folder: Path) -> None:
    process, (_, child) = waiting(folder)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == os.EX_TEMPFAIL
    assert (folder / "told").read_text() == "SIGTERM"
    os.kill(child, signal.SIGKILL)
    process.communicate()


def test_script_and_what_it_started_end_with_the_job(folder: Path) -> None:
    process, numbers = waiting(folder)
    process.kill()
    until(lambda: not any(map(alive, numbers)))
    process.communicate()
