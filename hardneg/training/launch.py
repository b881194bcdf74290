"""Training in several processes on one machine, one a device, through torch's own launcher."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hardneg.errors import HardnegError, Stopped
from hardneg.model.rows import PeerLost
from hardneg.stages.artifacts import StageFolder
from hardneg.stages.devices import set_arithmetic_threads
from hardneg.training.processes import Processes
from hardneg.training.stopping import SIGNALS
from hardneg.training.train import train

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

Train = Callable[[StageFolder, dict[str, Any], list[torch.device], Processes], list[str]]

PATIENCE = timedelta(hours=2)
"""How long a process waits for the others, which may write or read something large."""

CLOSING_SECONDS = 60
"""How long processes that were told to stop may take for their step and a checkpoint."""

LOST_SECONDS = 3.0
"""How long a process that lost another one waits, so that the launcher meets the cause before its consequence."""

SET_PDEATHSIG = 1  # of prctl(2)


def trained(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str], work: Train = train) -> list[str]:
    """Train in as many processes as `runtime.gpus_per_training` says and there are devices.

    Args:
        stage: to be written; its facts are those of the first process.
        runtime: see `train`.
        devices: that were granted, by their names. Each process trains on one, and searches on what else there is.
        work: what each process does.

    Returns:
        The names of the files written.

    Raises:
        HardnegError: of the process that failed first.
        Stopped: the training was told to stop.
        RuntimeError: a process failed otherwise; with its traceback.
    """
    wanted = runtime["gpus_per_training"]
    count = min(wanted, len(devices))
    if wanted > 1:
        batch = stage.settings["train"]["batch_size"]
        print(
            f"training in {count} of {wanted} processes (devices granted: {len(devices)}); "
            f"a step takes {batch} queries all the same",
            flush=True,
        )
    if count == 1:
        return work(stage, runtime, [torch.device(name) for name in devices], Processes())
    shares = [devices[rank::count] for rank in range(count)]
    with tempfile.TemporaryDirectory(prefix="hardneg-training-") as scratch:
        names, facts = _launched(count, Path(scratch), (os.getpid(), work, stage, runtime, shares))
    stage.facts |= facts
    return names


def _launched(count: int, scratch: Path, given: tuple[Any, ...]) -> tuple[list[str], dict[str, Any]]:
    """What the first process of `count` returned; see `_work`."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        logs_specs=DefaultLogsSpecs(log_dir=str(scratch)),
        run_id=scratch.name,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        signals_to_handle=",".join(["SIGINT", *(number.name for number in SIGNALS)]),
        shutdown_timeout=CLOSING_SECONDS,
    )
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, *SIGNALS)}
    try:
        found: dict[int, tuple[list[str], dict[str, Any]]] = elastic_launch(config, _work)(*given)
    except ChildFailedError as failed:
        raise _told(failed) from None
    except SignalException as asked:
        raise _stopped(asked.sigval.name) from None
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return found[0]


def _work(
    parent: int, work: Train, stage: StageFolder, runtime: dict[str, Any], shares: list[Sequence[str]]
) -> tuple[list[str], dict[str, Any]]:
    """What each process does; the names of the files that it wrote, and the facts of the stage."""
    import torch.distributed as dist

    _end_with(parent)
    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    devices = [torch.device(name) for name in shares[rank]]
    if (threads := stage.settings.get("threads")) is not None:
        set_arithmetic_threads(threads)
    cuda = devices[0].type == "cuda"
    if cuda:
        torch.cuda.set_device(devices[0])
    dist.init_process_group("nccl" if cuda else "gloo", timeout=PATIENCE)
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):  # by which Accelerate would take the training over
        del os.environ[name]
    try:
        with contextlib.redirect_stdout(sys.stdout if rank == 0 else None):
            names = work(stage, runtime, devices, Processes(rank, count, devices[0]))
    except Stopped as asked:
        if rank == 0:
            print(asked, flush=True)
        sys.exit(os.EX_TEMPFAIL)
    except PeerLost:
        time.sleep(LOST_SECONDS)
        raise
    dist.destroy_process_group()
    return names, stage.facts


def _end_with(parent: int) -> None:
    """Let the kernel end this process when its parent ends, however that is."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _told(failed: ChildFailedError) -> Exception:
    """What the person at the keyboard is told of the process that failed first."""
    rank, failure = failed.get_first_failure()
    if failure.exitcode == os.EX_TEMPFAIL:
        return _stopped("a signal to one of its processes")
    said: Any = failure.message  # a text where the process could not say anything
    if not isinstance(said, dict):
        return HardnegError(
            "A process of the training was ended from outside.",
            where=f"process {rank} of {len(failed.failures)}" if len(failed.failures) > 1 else f"process {rank}",
            found=str(said),
            remedy="see whether the machine ran out of memory, then run the same command: it goes on where it was.",
        )
    kind, _, text = said["message"].partition(": ")
    if kind == HardnegError.__name__:
        return HardnegError(text)
    return RuntimeError(f"{said['message']} (process {rank} of the training)\n{said['extraInfo']['py_callstack']}")


def _stopped(by: str) -> Stopped:
    return Stopped(f"The training was stopped by {by}. The same command goes on from its newest checkpoint.")
