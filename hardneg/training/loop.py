"""The optimizer loop of every training: steps, checkpoints, resuming.

Nothing of a step depends on the steps before it but weights, optimizer moments and schedule: its queries, samples and
dropout come from generators seeded with (seed, step). A checkpoint therefore holds those three and the step's number,
and a resumed run ends with the bytes of an undisturbed one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from torch import nn
from transformers import get_scheduler

from hardneg.errors import HardnegError, Stopped
from hardneg.methods.draws import Kept
from hardneg.model.dropout import dropout_on
from hardneg.stages.artifacts import PROGRESS, TRACKERS, StageFolder, atomic_path
from hardneg.stages.progress import Progress
from hardneg.training.optimizers import optimizer_of
from hardneg.training.processes import ALONE, Processes
from hardneg.training.schedule import generator, planned_steps
from hardneg.training.state import Log, TrainingState, newest, write_checkpoint
from hardneg.training.stopping import Asked, asked_to_stop
from hardneg.training.tracking import tracked

HANDOVER = "handover.safetensors"


@dataclass
class Budget:
    """Which steps of which whole run: steps `first` to `end` of `total`."""

    first: int
    end: int
    total: int


Step = Callable[[int, Log], torch.Tensor]


def new_accelerator(device: torch.device, precision: str, trackers: list[str], folder: Path) -> Accelerator:
    """Device, mixed precision and experiment trackers, through Accelerate. `auto` is bf16 on a GPU, fp32 on a CPU.

    Raises:
        HardnegError: a tracker's package is not installed, or fp16 is asked of a CPU.
    """
    for name in trackers:
        if find_spec(name) is None:
            raise HardnegError(
                "An experiment tracker is not installed.",
                where="runtime.trackers",
                found=name,
                remedy=f"install it (`pip install {name}`), or remove it from runtime.trackers.",
            )
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" else "fp32"
    if precision == "fp16" and device.type == "cpu":  # Accelerate would train in fp32 without a word
        raise HardnegError(
            "fp16 training needs a GPU.",
            where="arithmetic.precision",
            found="fp16 on a CPU",
            expected="auto, fp32 or bf16 there",
            remedy="set one of these, or run on a GPU.",
        )
    return Accelerator(
        cpu=device.type == "cpu",
        mixed_precision="no" if precision == "fp32" else precision,
        log_with=list(trackers) or None,
        project_dir=str(folder / TRACKERS) if trackers else None,
    )


def fit(
    module: nn.Module,
    compute_loss: Step,
    stage: StageFolder,
    budget: Budget,
    accelerator: Accelerator,
    *,
    checkpoint_seconds: float,
    label: str,
    continues: Path | None = None,
    answers: Sequence[Kept] = (),
    begin: Callable[[], None] | None = None,
    processes: Processes = ALONE,
) -> Log:
    """Run the steps of a budget, resuming from the newest checkpoint if there is one.

    Args:
        module: the module to train; left on the device with its final weights.
        compute_loss: the loss of a step; it may keep tensors in the log.
        stage: provides `settings["train"]`, `settings["seed"]` and the folder of checkpoints.
        budget: the steps to run.
        accelerator: from `new_accelerator`.
        checkpoint_seconds: seconds between checkpoints; 0 writes one after each step.
        label: the name in the progress bar and in messages.
        continues: the state that an earlier round left, from which to continue at `budget.first`.
        answers: those with a state of their own, which is part of every checkpoint.
        begin: called before the first step of a training that goes on from nothing.
        processes: that train together. The first writes checkpoints and progress, and all go on from them.

    Returns:
        The log.

    Raises:
        HardnegError: the loss is not finite, the schedule ends too early, or processes read different checkpoints.
        Stopped: a signal asked for it; there is a checkpoint of the last step.
    """
    train, seed = stage.settings["train"], stage.settings["seed"]
    module.train()
    optimizer = optimizer_of(module, train)
    module, optimizer, scheduler = accelerator.prepare(module, optimizer, _scheduler(optimizer, train, budget.total))
    state = TrainingState(module, optimizer, scheduler, accelerator, answers, processes)
    start, log = _start(stage, state, budget, continues, label, begin, processes)
    checkpoints = _Checkpoints(stage.checkpoints, state, checkpoint_seconds, processes, label)
    told = Progress(label, budget.end, "steps", stage.folder / PROGRESS, done=start, silent=not processes.first)
    with told as bar, asked_to_stop() as asked, tracked(accelerator, stage):
        for step in range(start, budget.end):
            torch.manual_seed(int(generator(seed, step, purpose=2).integers(2**62)))
            with dropout_on(accelerator.device), accelerator.autocast():
                loss = compute_loss(step, log)
            value = _finite(loss, f"{label}, step {step + 1}")
            lr = state.update(loss, train["max_grad_norm"])
            if (step + 1) % train["log_every"] == 0 or step + 1 == budget.end:
                log.rows.append((step + 1, value, lr))
                accelerator.log({"loss": value, "lr": lr}, step=step + 1)
            bar.advance(1, loss=value)
            if step + 1 < budget.end:
                checkpoints.after(step + 1, log, asked)
    if budget.end < budget.total and processes.first:
        state.write(stage.folder / HANDOVER, {})
    return log


class _Checkpoints:
    """Checkpoints from time to time, and one where a signal asks the training to stop.

    Args:
        folder: where they lie.
        state: what they hold.
        seconds: between two of them.
        processes: that train together; the first writes.
        label: the training's name, for messages.
    """

    def __init__(self, folder: Path, state: TrainingState, seconds: float, processes: Processes, label: str) -> None:
        self._folder, self._state, self._seconds = folder, state, seconds
        self._processes, self._label = processes, label
        self._saved = time.monotonic()

    def after(self, step: int, log: Log, asked: Asked) -> None:
        """After `step` steps, if more are to come.

        Raises:
            Stopped: a process was asked to stop.
        """
        stops = self._processes.any(asked.by is not None)
        due = stops or time.monotonic() - self._saved >= self._seconds
        if due and self._processes.first:
            write_checkpoint(self._folder, self._state, step, log)
            self._saved = time.monotonic()
        if stops:
            self._processes.wait()  # nobody leaves before the checkpoint is written: the launcher ends the others
            by = asked.by or "a signal to another of its processes"
            raise Stopped(f"{self._label} was stopped by {by} after step {step}. The same command goes on from there.")


def _scheduler(optimizer: torch.optim.Optimizer, train: dict[str, Any], total: int) -> Any:
    """The learning-rate schedule of a run of `total` steps."""
    return get_scheduler(
        train["schedule"],
        optimizer,
        num_warmup_steps=train["warmup_steps"],
        num_training_steps=planned_steps(train["schedule_steps"], total),
    )


def _start(
    stage: StageFolder,
    state: TrainingState,
    budget: Budget,
    continues: Path | None,
    label: str,
    begin: Callable[[], None] | None,
    processes: Processes,
) -> tuple[int, Log]:
    """The step to start from, and the log so far; `state` holds that step's weights and moments."""
    if continues is not None:
        state.read(continues)
    resumed = newest(stage.checkpoints, state)
    processes.agree(resumed[0] if resumed is not None else -1, "the checkpoint that they read")
    if resumed is not None:
        print(f"resuming {label} at step {resumed[0]}", flush=True)
        return resumed
    if begin is not None and continues is None:
        begin()
    return budget.first, Log()


def _finite(loss: torch.Tensor, where: str) -> float:
    """The value of the loss.

    Raises:
        HardnegError: it is not finite.
    """
    value = float(loss.detach())
    if not np.isfinite(value):
        raise HardnegError(
            "Training diverged.",
            where=where,
            found=f"loss {value}",
            expected="a finite loss",
            remedy="lower train.lr, raise train.warmup_steps, or set arithmetic.precision to fp32.",
        )
    return value


def write_log(log: Log, folder: Path) -> list[str]:
    """Write `loss.csv`, and `kept.safetensors` where tensors were kept; the names of the files."""
    with atomic_path(folder / "loss.csv") as temporary:
        lines = [f"{step},{loss:.8g},{lr:.8g}" for step, loss, lr in log.rows]
        temporary.write_text("\n".join(["step,loss,lr", *lines]) + "\n", encoding="utf-8")
    if not log.kept:
        return ["loss.csv"]
    with atomic_path(folder / "kept.safetensors") as temporary:
        save_file(log.kept, temporary)
    return ["loss.csv", "kept.safetensors"]
