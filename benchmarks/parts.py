"""Where the time of a training step goes, by torch's profiler.

Every operation belongs to the innermost part around it. Those of a backward pass belong to the part of the operation
whose gradient they compute, which torch numbers alike.
"""

from __future__ import annotations

import contextlib
import functools
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch

from hardneg.model.dropout import Dropout, DropoutOfTexts

OTHERS = "other operations, and Python between them"
PARTS = {
    "products with weights": ("aten::linear", "aten::addmm", "mkldnn::_linear_pointwise", "_Linear"),
    "attention": ("part: attention", "Attended", "aten::scaled_dot_product_attention"),
    "dropout": ("part: dropout", "aten::dropout", "aten::native_dropout"),
    "GELU": ("aten::gelu",),
    "LayerNorm": ("aten::layer_norm", "aten::native_layer_norm"),
    "embeddings": ("aten::embedding",),
    "optimizer and clipping": ("part: clipping", "Optimizer."),
}
BACKWARD = "autograd::engine::evaluate_function: "


def _ranged(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
    """The same work, under a name that the profiler sees."""

    @functools.wraps(work)
    def ranged(*given: Any, **named: Any) -> Any:
        with torch.profiler.record_function(f"part: {name}"):
            return work(*given, **named)

    return ranged


@contextlib.contextmanager
def named_parts() -> Iterator[None]:
    """Inside it, the profiler sees parts that torch has no name for."""
    with (
        mock.patch.object(Dropout, "dropout", _ranged("dropout", Dropout.dropout)),
        mock.patch.object(DropoutOfTexts, "dropout", _ranged("dropout", DropoutOfTexts.dropout)),
        mock.patch.object(Dropout, "_attention", _ranged("attention", Dropout._attention)),
        mock.patch.object(torch.nn.utils, "clip_grad_norm_", _ranged("clipping", torch.nn.utils.clip_grad_norm_)),
    ):
        yield


def _plain(name: str) -> str:
    """The name of an operation as it is both in `aten::_softmax` and in `SoftmaxBackward0`."""
    bare = name.removeprefix("aten::")
    return (bare.rpartition("Backward")[0] or bare).replace("_", "").lower()


def _own(event: Any) -> str | None:
    """The part that an operation's name tells."""
    return next((part for part, names in PARTS.items() if event.name.startswith(names)), None)


def _around(event: Any) -> Iterator[Any]:
    """An operation, and those that it is within, the innermost first."""
    while event is not None:
        yield event
        event = event.cpu_parent


def seconds_by_part(profile: torch.profiler.profile) -> dict[str, float]:
    """Seconds of the calling thread in each part."""
    events: list[Any] = list(profile.events() or ())  # type: ignore[no-untyped-call]
    forward: dict[tuple[int, str], str] = {}
    for event in events:
        chain = list(_around(event))
        if event.sequence_nr >= 0 and not any(each.name.startswith(BACKWARD) for each in chain):
            part = next((own for each in chain if (own := _own(each))), OTHERS)
            forward[event.sequence_nr, _plain(event.name)] = part
    spent: dict[str, float] = defaultdict(float)
    for event in events:
        part = OTHERS
        for each in _around(event):
            if each.name.startswith(BACKWARD):
                part = forward.get((each.sequence_nr, _plain(each.name.removeprefix(BACKWARD))), OTHERS)
                break
            if own := _own(each):
                part = own
                break
        spent[part] += event.self_cpu_time_total / 1e6
    return dict(spent)
