"""How much memory a forward pass keeps for the backward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from hardneg.model.encoder import Encoder

    Batch = tuple[torch.Tensor, torch.Tensor]


def kept_bytes(
    encoder: Encoder, few: Batch, more: Batch, device: torch.device, precision: str, checkpointed: bool
) -> int:
    """Bytes kept for one text.

    It is the difference between two batches, since on a GPU the weights' copies in lower precision count too.

    Args:
        encoder: in training mode.
        few: ids and mask of some texts, both [rows, width].
        more: the same for more texts of that width.
        device: of the encoder.
        precision: of the arithmetic.
        checkpointed: whether gradient checkpointing is on.
    """
    kept = [_kept(encoder, ids, mask, device, precision) for ids, mask in (few, more)]
    encoder.zero_grad(set_to_none=True)
    size = max(0, kept[1] - kept[0]) // (len(more[0]) - len(few[0]))
    if checkpointed and device.type == "cpu":  # each layer's input is kept too, which autograd does not show
        config: Any = encoder.backbone.config
        size += config.num_hidden_layers * more[0].shape[1] * config.hidden_size * 4
    return size


def loss_of(
    encoder: Encoder, ids: torch.Tensor, mask: torch.Tensor, device: torch.device, precision: str
) -> torch.Tensor:
    """A loss to differentiate: the sum of the vectors."""
    from hardneg.model.dropout import dropout_on
    from hardneg.model.embedding import autocast

    with dropout_on(device), autocast(device, precision):
        loss: torch.Tensor = encoder(ids, mask).sum()
    return loss


def _kept(encoder: Encoder, ids: torch.Tensor, mask: torch.Tensor, device: torch.device, precision: str) -> int:
    """Bytes that a batch keeps: on a GPU its allocator's count, on a CPU the tensors that autograd saves."""
    import torch

    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        loss = loss_of(encoder, ids, mask, device, precision)
        del loss
        return torch.cuda.max_memory_allocated(device) - before
    weights = {parameter.untyped_storage().data_ptr() for parameter in encoder.parameters()}
    saved: dict[int, int] = {}
    alive = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
            alive.append(storage)  # a freed storage's address would be reused
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss_of(encoder, ids, mask, device, precision)
    return sum(saved.values())
