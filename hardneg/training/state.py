"""The state of a training: what a checkpoint holds, and what a training leaves to look at."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from hardneg.methods.draws import Kept
from hardneg.stages.artifacts import atomic_path
from hardneg.training.optimizers import CENTROIDS
from hardneg.training.processes import ALONE, Processes

KEPT_CHECKPOINTS = 2


@dataclass
class Log:
    """What a training leaves to look at: rows of (step, loss, learning rate), and tensors kept by name."""

    rows: list[tuple[int, float, float]] = field(default_factory=list)
    kept: dict[str, torch.Tensor] = field(default_factory=dict)


class TrainingState:
    """Weights, optimizer moments, schedule and the state of answers as one flat safetensors file.

    Args:
        module: what trains.
        optimizer: its optimizer.
        scheduler: its learning-rate schedule.
        accelerator: what prepared the three.
        answers: those with a state of their own.
        processes: that train together.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: Any,
        scheduler: Any,
        accelerator: Accelerator,
        answers: Sequence[Kept] = (),
        processes: Processes = ALONE,
    ) -> None:
        self.module, self.optimizer, self.scheduler, self.accelerator = module, optimizer, scheduler, accelerator
        self.answers, self._processes = answers, processes

    def update(self, loss: torch.Tensor, max_grad_norm: float) -> float:
        """Take one optimizer step down the gradient of `loss`; the learning rate that it used.

        The norm of the gradient is that of all parameters but centroids, which are not clipped.
        """
        self.optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        self._processes.add_gradients()
        clipped = [parameter for name, parameter in self.module.named_parameters() if name != CENTROIDS]
        self.accelerator.clip_grad_norm_(clipped, max_grad_norm)
        lr = float(self.scheduler.get_last_lr()[0])
        self.optimizer.step()
        self.scheduler.step()
        return lr

    def write(self, path: Path, facts: dict[str, Any], extra: dict[str, torch.Tensor] | None = None) -> None:
        """Write it, with facts of JSON types and tensors that are kept."""
        moments = self.optimizer.state_dict()
        tensors = {f"module/{name}": tensor for name, tensor in self.module.state_dict().items()}
        tensors |= {f"optimizer/{i}/{key}": t for i, entry in moments["state"].items() for key, t in entry.items()}
        tensors |= {f"kept/{name}": tensor for name, tensor in (extra or {}).items()}
        for number, answer in enumerate(self.answers):
            tensors |= {f"answer/{number}/{key}": torch.from_numpy(t) for key, t in answer.state_dict().items()}
        scaler = self.accelerator.scaler
        plain = {
            **facts,
            "groups": moments["param_groups"],
            "scheduler": _plain(self.scheduler.state_dict()),
            "scaler": scaler.state_dict() if scaler is not None else None,
        }
        # clone(): tied weights share memory, which safetensors refuses
        saved = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
        said = json.dumps(plain)
        with atomic_path(path) as temporary:
            save_file(saved, temporary, {"state": said, "digest": _digest(said, saved)})

    def read(self, path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """Load a file that `write` wrote; its facts and kept tensors.

        Raises:
            ValueError: its content has changed since.
            KeyError, RuntimeError, SafetensorError: it is no such file.
        """
        module: dict[str, torch.Tensor] = {}
        kept: dict[str, torch.Tensor] = {}
        moments: dict[int, dict[str, torch.Tensor]] = {}
        answers: list[dict[str, np.ndarray]] = [{} for _ in self.answers]
        with safe_open(path, "pt") as stream:
            said = stream.metadata()
            tensors = {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118 - not a mapping
        if said["digest"] != _digest(said["state"], tensors):
            raise ValueError("its content has changed since it was written")
        facts: dict[str, Any] = json.loads(said["state"])
        for key, tensor in tensors.items():
            kind, _, name = key.partition("/")
            if kind == "optimizer":
                index, _, entry = name.partition("/")
                moments.setdefault(int(index), {})[entry] = tensor
            elif kind == "answer":
                number, _, entry = name.partition("/")
                answers[int(number)][entry] = tensor.numpy()
            else:
                (module if kind == "module" else kept)[name] = tensor
        self.module.load_state_dict(module)
        self.optimizer.load_state_dict({"state": moments, "param_groups": facts["groups"]})
        self.scheduler.load_state_dict(facts["scheduler"])
        for answer, kept_state in zip(self.answers, answers, strict=True):
            answer.load_state_dict(kept_state)
        if facts["scaler"] is not None and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(facts["scaler"])
        return facts, kept


def _digest(said: str, tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of facts and tensors, by name, in hexadecimal."""
    digest = hashlib.sha256(said.encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in state.items() if isinstance(value, int | float | bool | list)}


def write_checkpoint(folder: Path, state: TrainingState, step: int, log: Log) -> None:
    """Write a checkpoint after `step` steps, and remove all but the newest ones."""
    state.write(folder / f"step-{step:09d}.safetensors", {"step": step, "rows": log.rows}, log.kept)
    for old in sorted(folder.glob("step-*.safetensors"))[:-KEPT_CHECKPOINTS]:
        old.unlink()


def newest(folder: Path, state: TrainingState) -> tuple[int, Log] | None:
    """Read the newest checkpoint that can be read; one that cannot (a failing disk) is passed over, and said."""
    for path in sorted(folder.glob("step-*.safetensors"), reverse=True):
        try:
            facts, kept = state.read(path)
        except (SafetensorError, KeyError, ValueError, RuntimeError) as fault:
            print(f"passing over an unreadable checkpoint: {path}: {fault}", flush=True)
            continue
        return facts["step"], Log([tuple(row) for row in facts["rows"]], kept)
    return None
