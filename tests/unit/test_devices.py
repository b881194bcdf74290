"""Devices: leases between real processes, CUDA_VISIBLE_DEVICES, and the settings that make arithmetic repeat."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import dedent

import pytest

from hardneg.errors import HardnegError
from hardneg.stages import devices
from hardneg.stages.devices import check_visible, describe, lease

REPOSITORY = Path(__file__).parents[2]

# Notes every take and give in one log, whose appended lines come in the order in which they happened.
WORKER = dedent("""
    import os, sys, time
    from hardneg.stages.devices import lease
    log = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for count in map(int, sys.argv[2:]):
        with lease(count) as granted:
            os.write(log, "".join(f"take {name} {os.getpid()}\\n" for name in granted.visible).encode())
            time.sleep(0.02)
            os.write(log, "".join(f"give {name} {os.getpid()}\\n" for name in granted.visible).encode())
""")

# Says what it was granted, and holds it until its standard input ends.
HOLDER = dedent("""
    import os, sys
    from hardneg.stages.devices import lease
    with lease(int(sys.argv[1])) as granted:
        print(",".join(granted.visible), os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
        sys.stdin.read()
""")


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(devices.VISIBLE, raising=False)
    monkeypatch.setenv(devices.FOLDER, str(tmp_path / "leases"))
    monkeypatch.setenv(devices.PRETEND, "4")


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, cwd=REPOSITORY, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
def holders() -> Iterator[list[subprocess.Popen[str]]]:
    """Holders started by a test; those still there at its end are ended."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def test_twelve_processes_on_four_devices_never_share_one(tmp_path: Path) -> None:
    log = tmp_path / "log"
    asked = [[1, 2, 1], [2, 1], [1, 1, 1], [3, 1], [2, 2], [1, 4], [1, 2], [2, 1], [1, 1], [1, 3], [2], [4, 1]]
    workers = [start(WORKER, log, *counts) for counts in asked]
    for worker in workers:
        worker.communicate()
        assert worker.returncode == 0
    owners: dict[str, str] = {}
    takes = 0
    for note in log.read_text(encoding="utf-8").splitlines():
        verb, device, process = note.split()
        if verb == "take":
            assert device not in owners, f"{note}, held by {owners[device]}"
            owners[device] = process
            takes += 1
        else:
            assert owners.pop(device) == process
    assert not owners
    assert takes == sum(map(sum, asked))


def test_leases_are_apart_and_a_killed_holder_blocks_nobody(holders: list[subprocess.Popen[str]]) -> None:
    for count in (1, 2, 1):
        holders.append(start(HOLDER, count))
    granted = [line(holder) for holder in holders]
    named = [names for _, names in map(str.split, granted)]
    assert all(visible == names for visible, names in map(str.split, granted))
    assert sorted(",".join(named).split(",")) == ["0", "1", "2", "3"]

    waiting = start(HOLDER, 2)
    holders.append(waiting)
    assert line(waiting).startswith("waiting: 2 of 4 devices needed, 0 free")
    holders[1].kill()
    assert line(waiting).split()[1] == named[1]


def test_waiting_for_many_keeps_none_from_those_who_need_few(holders: list[subprocess.Popen[str]]) -> None:
    holders.append(start(HOLDER, 1))
    assert line(holders[0]) == "0 0"
    holders.append(start(HOLDER, 4))
    assert "4 of 4 devices needed, 3 free" in line(holders[1])
    holders.append(start(HOLDER, 3))
    assert line(holders[2]).split()[1] == "1,2,3"


def test_more_than_there_are_gives_all(monkeypatch: pytest.MonkeyPatch) -> None:
    with lease(8) as granted:
        assert granted == devices.Granted(("cpu",) * 4, ("0", "1", "2", "3"))
        assert os.environ[devices.VISIBLE] == "0,1,2,3"
    assert devices.VISIBLE not in os.environ
    monkeypatch.setenv(devices.PRETEND, "1")
    with lease(8, "cuda") as granted:
        assert granted.visible == ("0",)


@pytest.mark.parametrize(("count", "request_"), [(0, "auto"), (0, "cuda"), (2, "cpu")])
def test_on_the_cpu_nothing_is_leased_and_cuda_is_hidden(tmp_path: Path, count: int, request_: str) -> None:
    with lease(count, request_) as granted:
        assert granted == devices.Granted(("cpu",), ())
        assert os.environ[devices.VISIBLE] == ""
    assert not (tmp_path / "leases").exists()


def test_without_a_device_auto_is_the_cpu_and_cuda_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(devices.PRETEND, "0")
    with lease(1, "auto") as granted:
        assert granted == devices.Granted(("cpu",), ())
    with pytest.raises(HardnegError, match=r"no CUDA device\.(?s:.*)remedy: .*device: auto"), lease(1, "cuda"):
        pass


def test_given_devices_are_used_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm names exactly what the job asked for."""
    monkeypatch.setenv(devices.VISIBLE, "3,1")
    for count in (2, 5):
        with lease(count) as granted:
            assert granted.visible == ("3", "1")
            assert os.environ[devices.VISIBLE] == "3,1"
    assert os.environ[devices.VISIBLE] == "3,1"


def test_one_given_device_has_one_job_at_a_time(
    monkeypatch: pytest.MonkeyPatch, holders: list[subprocess.Popen[str]]
) -> None:
    """A person sets CUDA_VISIBLE_DEVICES=2 for a whole run, whose jobs each ask for one device."""
    monkeypatch.setenv(devices.VISIBLE, "2")
    holders.extend([start(HOLDER, 1)])
    assert line(holders[0]) == "2 2"
    holders.append(start(HOLDER, 1))
    assert line(holders[1]).startswith("waiting: 1 of 1")
    holders[0].communicate()
    assert line(holders[1]) == "2 2"


def test_more_given_devices_than_asked_are_leased_among(
    monkeypatch: pytest.MonkeyPatch, holders: list[subprocess.Popen[str]]
) -> None:
    """A person sets CUDA_VISIBLE_DEVICES once for many jobs, or works inside an allocation of a whole node."""
    monkeypatch.setenv(devices.VISIBLE, "3,1")
    for _ in range(3):
        holders.append(start(HOLDER, 1))
        if len(holders) < 3:
            assert line(holders[-1]) == ["3 3", "1 1"][len(holders) - 1]
    assert line(holders[2]).startswith("waiting: 1 of 2")
    holders[0].communicate()
    assert line(holders[2]) == "3 3"


@pytest.mark.parametrize(("setting", "absent"), [("7", "7"), ("0,4", "4"), ("1,GPU-12ab", "GPU-12ab"), ("-2", "-2")])
def test_an_absent_device_is_an_error_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, setting: str, absent: str
) -> None:
    monkeypatch.setenv(devices.VISIBLE, setting)
    for check in (check_visible, lease(1).__enter__):
        with pytest.raises(HardnegError) as fault:
            check()
        message = str(fault.value)
        assert f"{devices.VISIBLE}={setting}" in message
        assert f"found:    {absent}\n" in message
        assert "0, 1, 2, 3" in message
        assert f"unset {devices.VISIBLE}" in message


@pytest.mark.parametrize("setting", ["", "-1", "NoDevFiles", "-1,9"])
def test_hidden_devices_are_none(monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    monkeypatch.setenv(devices.VISIBLE, setting)
    check_visible()
    with lease(1) as granted:
        assert granted == devices.Granted(("cpu",), ())
    with pytest.raises(HardnegError, match="hides every device"), lease(1, "cuda"):
        pass


@pytest.mark.parametrize(("name", "value"), [("request", "gpu"), (devices.PRETEND, "four")])
def test_wrong_settings_are_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    if name == devices.PRETEND:
        monkeypatch.setenv(name, value)
    with pytest.raises(HardnegError, match=value), lease(1, value if name == "request" else "auto"):
        pass


NVIDIA_SMI = """
    #!/bin/sh
    test "$1" = -L && test -z "${CUDA_VISIBLE_DEVICES+set}" || exit 2
    echo 'GPU 0: NVIDIA H200 (UUID: GPU-aa11)'
    echo 'GPU 1: NVIDIA A100 (UUID: GPU-bb22)'
    echo '  MIG 1g.5gb      Device  0: (UUID: MIG-cc33)'
"""


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A made nvidia-smi, the only one to be found."""
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text(dedent(NVIDIA_SMI).lstrip(), encoding="utf-8")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent))
    monkeypatch.delenv(devices.PRETEND)
    return tool


@pytest.mark.usefixtures("driver")
def test_devices_listed_by_the_driver_are_leased_by_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers would not do: nvidia-smi counts by bus, CUDA the fastest first."""
    with lease(2) as granted:
        assert granted == devices.Granted(("cuda:0", "cuda:1"), ("GPU-aa11", "GPU-bb22"))
    for setting in ("1,0", "GPU-b", "MIG-cc33"):
        monkeypatch.setenv(devices.VISIBLE, setting)
        with lease(2, "cuda") as granted:
            assert granted.visible == tuple(setting.split(","))
    monkeypatch.setenv(devices.VISIBLE, "2")
    with pytest.raises(HardnegError, match=r"found: +2\n +expected: +0, 1, MIG-cc33"):
        check_visible()


def test_a_driver_that_fails_is_no_device_and_says_so(driver: Path, capsys: pytest.CaptureFixture[str]) -> None:
    driver.write_text("#!/bin/sh\necho 'cannot communicate with the driver' >&2\nexit 9\n", encoding="utf-8")
    with lease(1) as granted:
        assert granted.devices == ("cpu",)
    assert capsys.readouterr().out == "no CUDA device: cannot communicate with the driver\n"


def test_the_default_folder_is_this_users_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(devices.FOLDER)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with lease(1):
        (folder,) = tmp_path.glob("hardneg-leases-*")
        assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    with pytest.raises(HardnegError, match=f"accessible to others(?s:.*){devices.FOLDER}"), lease(1):
        pass


SETTINGS = dedent("""
    import sys
    from hardneg.stages.devices import set_arithmetic_threads
    assert "torch" not in sys.modules
    for module in sys.argv[1:]:
        __import__(module)
    set_arithmetic_threads(3)
    import faiss, torch
    print(torch.get_num_threads(), faiss.omp_get_max_threads(), torch.are_deterministic_algorithms_enabled())
    print(torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark)
""")


@pytest.mark.parametrize("before", [[], ["faiss"]], ids=["faiss later", "faiss before"])
def test_arithmetic_settings_hold_whenever_faiss_is_imported(before: Sequence[str]) -> None:
    printed, _ = start(SETTINGS, *before).communicate()
    assert printed == "3 3 True\nFalse False False\n"


FAULTS = dedent("""
    import resource, sys
    import torch
    from hardneg.stages.devices import set_arithmetic_threads

    def faults():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(64 * 2**20 // 4)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    if sys.argv[1] == "kept":
        set_arithmetic_threads(1)
    print(sum(faults() for _ in range(40)))
""")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="memory is kept by glibc's allocator alone")
def test_memory_is_not_cleared_again_for_every_tensor() -> None:
    often, once = (int(start(FAULTS, way).communicate()[0]) for way in ("given back", "kept"))
    assert once < often / 2  # often: 40 times 64 MiB, in pages


def test_cost_records_name_the_processor_once() -> None:
    assert describe(["cpu"]) == describe(["cpu", "cpu"]) != ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists() and "model name" in cpuinfo.read_text(encoding="utf-8"):
        assert f": {describe(['cpu'])}\n" in cpuinfo.read_text(encoding="utf-8")
