"""The encoder: encoding, training, the optimizer, exact search."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hardneg.estimate.counts import Lengths
from hardneg.estimate.speeds.activations import kept_bytes, loss_of
from hardneg.estimate.speeds.clock import repeated, timed
from hardneg.estimate.speeds.encoder import encoder_of, encoder_settings
from hardneg.estimate.speeds.measured import Neural, TextCost
from hardneg.estimate.widths import padded_width, training_widths
from hardneg.planning.plan import Plan

if TYPE_CHECKING:
    import torch

    from hardneg.model.encoder import Encoder

RETRIEVED = 200  # passages for each query; the speed hardly depends on their number


def neural(plan: Plan, lengths: Lengths, searches: Sequence[tuple[int, int]], device: str, seconds: float) -> Neural:
    """Measure the encoder. Each measurement takes about this many seconds."""
    import torch

    from hardneg.stages.devices import set_arithmetic_threads

    arithmetic, where = plan.config.arithmetic, torch.device(device)
    encoder, model = encoder_of(plan.config.encoder, encoder_settings(plan))
    encoder.to(device)
    precision = arithmetic.precision
    if where.type == "cpu" and precision == "fp16":  # training in fp16 on a CPU is not supported, and very slow to try
        precision, model = "fp32", f"{model}, in fp32"
    cores = os.cpu_count() or 1
    encoding, training = (min(n, cores) for n in (arithmetic.encoding_threads, arithmetic.training_threads))
    set_arithmetic_threads(encoding)
    batches = sorted({batch for batch, _ in searches})
    exact = {batch: _exact_search(batch, encoder.dim, where, seconds / 2) for batch in batches}
    search = {(batch, k): exact[batch] for batch, k in searches}  # how many are found hardly matters
    widths = [padded_width(lengths.passage_tokens), padded_width(lengths.query_tokens)]
    encode = [_encoding(encoder, width, where, precision, seconds) for width in widths]
    set_arithmetic_threads(training)
    train = _trainings(plan, lengths, encoder, where, precision, seconds)
    optimizer = _optimizer(encoder, where, seconds / 2)
    set_arithmetic_threads(encoding)  # also for FAISS, which is measured next
    return Neural(
        model=model,
        parameters=sum(parameter.numel() for parameter in encoder.parameters()),
        dim=encoder.dim,
        encode_passages=encode[0],
        encode_queries=encode[1],
        train=train,
        optimizer=optimizer,
        search=search,
    )


def _trainings(
    plan: Plan, lengths: Lengths, encoder: Encoder, device: torch.device, precision: str, seconds: float
) -> dict[tuple[int, bool], TextCost]:
    """`Neural.train` for every width that the plan's training stages use."""
    from hardneg.model.encoder import texts_at_once

    stages = [stage for stage in plan.of("dual_encoder", "query_encoder") if stage.settings["trains"] != "nothing"]
    given = [stage.settings["train"]["rows_per_forward"] for stage in stages]
    asked = max(given, default=1) if all(given) else None
    wanted = {key for stage in stages for key in training_widths(stage.settings["train"], lengths)}
    train = {}
    for width, checkpointed in sorted(wanted, key=lambda key: key[::-1]):  # once turned on, checkpointing stays on
        if checkpointed:
            encoder.checkpoint_gradients()
        rows = texts_at_once(asked, device, width)
        train[width, checkpointed] = _training(encoder, width, rows, device, precision, seconds, checkpointed)
    return train


def _batch(encoder: Encoder, rows: int, width: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    vocabulary: int = encoder.backbone.config.vocab_size  # type: ignore[union-attr, assignment]
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, vocabulary, (rows, width), generator=generator)
    return ids.to(device), torch.ones(rows, width, dtype=torch.int64, device=device)


def _finish(device: torch.device) -> None:
    """Wait for the device, which works asynchronously."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _growing(limit: int, seconds: float, work: Callable[[int], float]) -> int:
    """Rows to measure with: doubled while twice as many would take less than `seconds`, up to `limit`."""
    rows = 1
    while rows < limit and 2 * work(rows) < seconds:
        rows = min(2 * rows, limit)
    return rows


def _encoding(encoder: Encoder, width: int, device: torch.device, precision: str, seconds: float) -> float:
    """Texts per second, encoded as in `hardneg.model.embedding`."""
    import torch

    from hardneg.model.embedding import encoded, micro_rows, prepared

    encoder = copy.deepcopy(encoder)  # on a GPU its weights are rounded
    context = prepared(encoder, device, precision)

    def once(rows: int) -> float:
        ids, mask = (each.numpy() for each in _batch(encoder, rows, width, torch.device("cpu")))

        def work() -> None:
            with torch.inference_mode(), context:
                encoded(encoder, ids, mask, device).cpu()

        work()
        return timed(work)

    rows = _growing(micro_rows(encoder, width, device), seconds, once)
    return rows / min(once(rows) for _ in range(3))


def _training(
    encoder: Encoder, width: int, limit: int, device: torch.device, precision: str, seconds: float, checkpointed: bool
) -> TextCost:
    """Forward and backward in groups of at most `limit` texts."""
    import torch

    encoder.train()

    def once(rows: int) -> float:
        ids, mask = _batch(encoder, rows, width, device)

        def work() -> None:
            torch.autograd.backward(loss_of(encoder, ids, mask, device, precision))
            _finish(device)

        work()
        return timed(work)

    rows = _growing(limit, seconds, once)
    each = min(once(rows) for _ in range(2)) / rows
    few, more = (_batch(encoder, count, width, device) for count in (1, 3))
    return TextCost(each, kept_bytes(encoder, few, more, device, precision, checkpointed))


def _optimizer(encoder: Encoder, device: torch.device, seconds: float) -> float:
    """Seconds to clip gradients and take one step of AdamW."""
    import torch

    parameters = list(encoder.parameters())
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 1e-6)
    optimizer = torch.optim.AdamW(parameters, lr=1e-9)

    def step() -> None:
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        _finish(device)

    each = repeated(step, seconds)
    encoder.zero_grad(set_to_none=True)
    return each


def _exact_search(batch: int, dim: int, device: torch.device, seconds: float) -> float:
    """Passages per second for one batch of queries: the products, the best of them, and on a GPU the scores."""
    import torch

    from hardneg.model.products import product
    from hardneg.retrieval.search.first_pass import candidates
    from hardneg.retrieval.search.heaps import Heaps
    from hardneg.retrieval.search.on_gpu import kernels_for
    from hardneg.retrieval.search.sizes import GPU_BLOCK, TILE, gpu_block

    on_cpu, by = device.type == "cpu", kernels_for(device)
    tile = TILE if on_cpu else gpu_block(GPU_BLOCK, batch)
    queries, passages = (torch.randn(rows, dim, device=device) for rows in (batch, tile))
    scores = torch.empty(batch if on_cpu else 0, tile)
    asked, rows = (queries, passages) if on_cpu else (queries.half(), passages.half())
    best = Heaps(batch, RETRIEVED)

    def work() -> None:
        if on_cpu:
            best.add(product(asked, rows, scores), 0)
        else:
            numbers = by.chosen(asked, rows, tile, candidates(RETRIEVED))[1]
            by.keys(queries, passages, numbers, tile, 0)
        _finish(device)

    with torch.inference_mode():
        return tile / repeated(work, seconds)
