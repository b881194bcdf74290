"""The benchmark of a GPU runs on a CPU too, where its numbers say nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import torch
from accelerate.state import AcceleratorState

from benchmarks import gpu


@pytest.fixture(autouse=True)
def own_precision() -> Iterator[None]:
    """Accelerate holds one precision a process."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def test_its_page_has_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "SHAPES", (gpu.Shape("small", 1, 32, 2, 64),))
    text = gpu.page(torch.device("cpu"), scale=0.0002, passages=3000, runs=1)
    tables = {part.split("\n")[0]: part.count("\n| ") - 1 for part in text.split("\n## ")[1:]}
    assert tables == {"Encoding": 4, "Exact search, the best 200 of 3,000 x 384": 5, "Training, bf16": 4}
    same = [float(share) for share in re.findall(r"([\d.]+)% \|$", text.split("## Exact search")[1], re.MULTILINE)]
    assert len(same) >= 5
    assert all(share > 99 for share in same[:5])
