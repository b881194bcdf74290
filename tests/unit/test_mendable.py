"""Which faults of the system, of libraries and of devices are told in words, and which keep their traceback."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import pytest
import torch

from workflow_scripts.command import readable_errors

TOO_MUCH = 2**56


def raises(fault: Exception) -> Callable[[], None]:
    def fails() -> None:
        raise fault

    return fails


def told(fails: Callable[[], object], folder: Path) -> str:
    with pytest.raises(SystemExit) as end, readable_errors(folder, "manifest.json"):
        fails()
    return str(end.value.code)


@pytest.mark.parametrize(
    "fails",
    [
        lambda: np.empty(TOO_MUCH),
        lambda: torch.empty(TOO_MUCH),
        lambda: faiss.Float32Vector().resize(TOO_MUCH),
        lambda: bytearray(TOO_MUCH),
        raises(OSError(errno.ENOMEM, "Cannot allocate memory")),
        raises(MemoryError()),
    ],
    ids=["numpy", "torch", "faiss", "python", "system", "no words"],
)
def test_too_little_memory_is_told(fails: Callable[[], object], tmp_path: Path) -> None:
    said = told(fails, tmp_path)
    assert said.startswith("error: There is not enough memory.") and "remedy:   give the job more memory" in said


OUT = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB."


@pytest.mark.parametrize("fault", [torch.OutOfMemoryError(OUT), RuntimeError("CUDA error 2 out of memory")])
def test_a_device_without_memory_is_told(fault: Exception, tmp_path: Path) -> None:
    said = told(raises(fault), tmp_path)
    assert said.startswith("error: The device has not enough memory.") and "lower train.batch_size" in said


@pytest.mark.parametrize(
    "fault",
    [
        torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered\nCUDA kernel errors might be ...", 214),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx( handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        RuntimeError("NCCL error in: ProcessGroupNCCL.cpp:2251, unhandled system error"),
    ],
)
def test_a_device_that_fails_is_told_in_a_line(fault: Exception, tmp_path: Path) -> None:
    said = told(raises(fault), tmp_path)
    assert said.startswith("error: A device failed.") and "the same command" in said and "nvidia-smi" in said
    assert len(said.splitlines()) == 3


@pytest.mark.parametrize(
    "fault", [RuntimeError("CUDA error: device-side assert triggered"), RuntimeError("shapes differ"), ValueError("x")]
)
def test_a_fault_of_the_program_keeps_its_place(fault: Exception, tmp_path: Path) -> None:
    with pytest.raises(type(fault)), readable_errors(tmp_path, "manifest.json"):
        raises(fault)()
