"""A real Slurm on one machine: one node, two partitions, four pretended GPUs. It needs root, and Debian's slurm-wlm."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

CONFIGURED = Path("/etc/slurm")  # the executor's jobs strip SLURM_*, so the configuration must lie where Slurm looks
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
GPUS = 4
CPUS = 8
MEMORY_MB = 16000
READY_SECONDS = 30

SETTINGS = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobs.log
MinJobAge=3600
KillWait=30
ReturnToService=2
SchedulerParameters=batch_sched_delay=0,sched_interval=2
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:{gpus} State=UNKNOWN
PartitionName=cpu Nodes={host} Default=YES MaxTime=INFINITE State=UP DefMemPerCPU=256
PartitionName=gpu Nodes={host} MaxTime=INFINITE State=UP DefMemPerCPU=256
"""


def why_not() -> str | None:
    """Why no Slurm can be started here; None if it can."""
    if os.geteuid() != 0:
        return "needs root"
    if missing := [name for name in NEEDED if _program(name) is None]:
        return f"needs {', '.join(missing)} (Debian: apt-get install slurm-wlm munge)"
    if (CONFIGURED / "slurm.conf").exists():
        return f"{CONFIGURED}/slurm.conf is somebody's: this machine belongs to a cluster"
    return None


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


@contextlib.contextmanager
def slurm(folder: Path) -> Iterator[Path]:
    """Run a Slurm until the end of the block.

    Args:
        folder: for its state and logs.

    Yields:
        The log of finished jobs, one line each.
    """
    host = socket.gethostname().partition(".")[0]
    fakes = folder / "gpus"
    for path in (folder / "state", folder / "spool", fakes):
        path.mkdir(parents=True)
    for number in range(GPUS):  # a regular file would set no CUDA_VISIBLE_DEVICES
        (fakes / f"gpu{number}").symlink_to("/dev/null")
    written = {
        "slurm.conf": SETTINGS.format(folder=folder, host=host, cpus=CPUS, memory=MEMORY_MB, gpus=GPUS),
        "gres.conf": f"AutoDetect=off\nName=gpu File={fakes}/gpu[0-{GPUS - 1}]\n",
    }
    munge = _munge()
    try:
        for name, text in written.items():
            (CONFIGURED / name).write_text(text, encoding="utf-8")
        for daemon in ("slurmctld", "slurmd"):  # they go on in the background, and must not keep our pipes open
            subprocess.run(
                [str(_program(daemon)), "-c"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        _wait_until_idle(folder)
        yield folder / "jobs.log"
    finally:
        subprocess.run(["scancel", "--user", "root"], check=False, capture_output=True)
        for daemon in ("slurmd", "slurmctld"):
            with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError):
                os.kill(int((folder / f"{daemon}.pid").read_text()), 15)
        for name in written:
            (CONFIGURED / name).unlink(missing_ok=True)
        if munge is not None:
            munge.terminate()
            munge.wait()


def _munge() -> subprocess.Popen[bytes] | None:
    """Start munge, which signs what Slurm's daemons say to each other; None if it runs already."""
    if subprocess.run(["munge", "-n"], check=False, capture_output=True).returncode == 0:
        return None
    for path in ("/run/munge", "/var/log/munge", "/var/lib/munge"):
        Path(path).mkdir(parents=True, exist_ok=True)
        shutil.chown(path, "munge", "munge")
    started = subprocess.Popen(
        [str(_program("munged")), "--foreground"],
        user="munge",
        group="munge",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _wait(lambda: subprocess.run(["munge", "-n"], check=False, capture_output=True).returncode == 0, "munge")
    return started


def _wait_until_idle(folder: Path) -> None:
    def idle() -> bool:
        seen = subprocess.run(["sinfo", "-h", "-N", "-o", "%t"], check=False, capture_output=True, text=True)
        return set(seen.stdout.split()) == {"idle"}

    try:
        _wait(idle, "the node")
    except TimeoutError as late:
        logs = [(folder / f"{name}.log").read_text()[-2000:] for name in ("slurmctld", "slurmd")]
        raise TimeoutError("\n".join([str(late), *logs])) from None


def _wait(ready: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + READY_SECONDS
    while not ready():
        if time.monotonic() > until:
            raise TimeoutError(f"{what} was not ready after {READY_SECONDS} s")
        time.sleep(0.2)
