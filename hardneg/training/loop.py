"""The optimizer loop of every training: steps, checkpoints, resuming.

Nothing of a step depends on the steps before it but weights, optimizer moments and schedule: its queries, samples and
dropout come from generators seeded with (seed, step). A checkpoint therefore holds those three and the step's number,
and a resumed run ends with the bytes of an undisturbed one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from transformers import get_scheduler

from hardneg.errors import HardnegError
from hardneg.stages.artifacts import PROGRESS, TRACKERS, StageFolder, atomic_path
from hardneg.stages.progress import Progress
from hardneg.training.optimizers import optimizer_of
from hardneg.training.schedule import generator, planned_steps

KEPT_CHECKPOINTS = 2
HANDOVER = "handover.safetensors"


@dataclass
class Budget:
    """Which steps of which whole run: steps `first` to `end` of `total`."""

    first: int
    end: int
    total: int


@dataclass
class Log:
    """What a training leaves to look at: rows of (step, loss, learning rate), and tensors kept by name."""

    rows: list[tuple[int, float, float]] = field(default_factory=list)
    kept: dict[str, torch.Tensor] = field(default_factory=dict)


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

    Returns:
        The log.

    Raises:
        HardnegError: the loss is not finite, or the schedule ends before the training.
    """
    train, seed = stage.settings["train"], stage.settings["seed"]
    module.train()
    optimizer = optimizer_of(module, train)
    scheduler = _scheduler(optimizer, train, budget.total)
    module, optimizer, scheduler = accelerator.prepare(module, optimizer, scheduler)
    state = _State(module, optimizer, scheduler, accelerator)
    start, log = _start(stage, state, budget, continues, label)
    if accelerator.log_with:
        accelerator.init_trackers(label.replace(" ", "-"), config={})
    saved = time.monotonic()
    with Progress(label, budget.end, "steps", stage.folder / PROGRESS, done=start) as bar:
        for step in range(start, budget.end):
            torch.manual_seed(int(generator(seed, step, purpose=2).integers(2**62)))
            with accelerator.autocast():
                loss = compute_loss(step, log)
            value = _finite(loss, f"{label}, step {step + 1}")
            lr = state.update(loss, train["max_grad_norm"])
            if (step + 1) % train["log_every"] == 0 or step + 1 == budget.end:
                log.rows.append((step + 1, value, lr))
                accelerator.log({"loss": value, "lr": lr}, step=step + 1)
            bar.advance(1, loss=value)
            if step + 1 < budget.end and time.monotonic() - saved >= checkpoint_seconds:
                _write_checkpoint(stage.checkpoints, state, step + 1, log)
                saved = time.monotonic()
    accelerator.end_training()
    if budget.end < budget.total:
        state.write(stage.folder / HANDOVER, {})
    return log


def _scheduler(optimizer: torch.optim.Optimizer, train: dict[str, Any], total: int) -> Any:
    """The learning-rate schedule of a run of `total` steps."""
    return get_scheduler(
        train["schedule"],
        optimizer,
        num_warmup_steps=train["warmup_steps"],
        num_training_steps=planned_steps(train["schedule_steps"], total),
    )


def _start(stage: StageFolder, state: _State, budget: Budget, continues: Path | None, label: str) -> tuple[int, Log]:
    """The step to start from, and the log so far; `state` holds that step's weights and moments."""
    if continues is not None:
        state.read(continues)
    if (newest := _newest(stage.checkpoints, state)) is not None:
        print(f"resuming {label} at step {newest[0]}", flush=True)
        return newest
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


class _State:
    """Weights, optimizer moments and schedule as one flat safetensors file."""

    def __init__(self, module: nn.Module, optimizer: Any, scheduler: Any, accelerator: Accelerator) -> None:
        self.module, self.optimizer, self.scheduler, self.accelerator = module, optimizer, scheduler, accelerator

    def update(self, loss: torch.Tensor, max_grad_norm: float) -> float:
        """Take one optimizer step down the gradient of `loss`; the learning rate that it used."""
        self.optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.module.parameters(), max_grad_norm)
        lr = float(self.scheduler.get_last_lr()[0])
        self.optimizer.step()
        self.scheduler.step()
        return lr

    def write(self, path: Path, facts: dict[str, Any], extra: dict[str, torch.Tensor] | None = None) -> None:
        moments = self.optimizer.state_dict()
        tensors = {f"module/{name}": tensor for name, tensor in self.module.state_dict().items()}
        tensors |= {f"optimizer/{i}/{key}": t for i, entry in moments["state"].items() for key, t in entry.items()}
        tensors |= {f"kept/{name}": tensor for name, tensor in (extra or {}).items()}
        scaler = self.accelerator.scaler
        plain = {
            **facts,
            "groups": moments["param_groups"],
            "scheduler": _plain(self.scheduler.state_dict()),
            "scaler": scaler.state_dict() if scaler is not None else None,
        }
        with atomic_path(path) as temporary:
            # clone(): tied weights share memory, which safetensors refuses
            save_file(
                {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()},
                temporary,
                {"state": json.dumps(plain)},
            )

    def read(self, path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        module: dict[str, torch.Tensor] = {}
        kept: dict[str, torch.Tensor] = {}
        moments: dict[int, dict[str, torch.Tensor]] = {}
        with safe_open(path, "pt") as stream:
            facts: dict[str, Any] = json.loads(stream.metadata()["state"])
            for key in stream.keys():  # noqa: SIM118 - not a mapping
                kind, _, name = key.partition("/")
                if kind == "optimizer":
                    index, _, entry = name.partition("/")
                    moments.setdefault(int(index), {})[entry] = stream.get_tensor(key)
                else:
                    (module if kind == "module" else kept)[name] = stream.get_tensor(key)
        self.module.load_state_dict(module)
        self.optimizer.load_state_dict({"state": moments, "param_groups": facts["groups"]})
        self.scheduler.load_state_dict(facts["scheduler"])
        if facts["scaler"] is not None and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(facts["scaler"])
        return facts, kept


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in state.items() if isinstance(value, int | float | bool | list)}


def _write_checkpoint(folder: Path, state: _State, step: int, log: Log) -> None:
    state.write(folder / f"step-{step:09d}.safetensors", {"step": step, "rows": log.rows}, log.kept)
    for old in sorted(folder.glob("step-*.safetensors"))[:-KEPT_CHECKPOINTS]:
        old.unlink()


def _newest(folder: Path, state: _State) -> tuple[int, Log] | None:
    """Read the newest checkpoint that can be read; one that cannot (a failing disk) is passed over, and said."""
    for path in sorted(folder.glob("step-*.safetensors"), reverse=True):
        try:
            facts, kept = state.read(path)
        except (SafetensorError, KeyError, ValueError, RuntimeError) as fault:
            print(f"passing over an unreadable checkpoint: {path}: {fault}", flush=True)
            continue
        return facts["step"], Log([tuple(row) for row in facts["rows"]], kept)
    return None
