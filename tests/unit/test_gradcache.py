"""GradCache: gradients of chunks are those of the whole batch, dropout and all, in the memory of a chunk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made import ENCODER, RUNTIME, TRAIN, Small, small

from hardneg.config import load
from hardneg.errors import HardnegError
from hardneg.estimate.laws import training as laws
from hardneg.methods.published import preset
from hardneg.model.encoder import Encoder, encode_rows
from hardneg.text.tokens import TokenStore
from hardneg.training.gradients import encode_of, in_chunks
from hardneg.training.train import train

CPU = torch.device("cpu")
QUERIES, PASSAGES = np.arange(3, 10), np.concatenate((np.arange(11, 18), np.arange(20, 27)))
Encoding = Callable[[str, np.ndarray], torch.Tensor]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return small(tmp_path_factory.mktemp("made"))


@pytest.fixture
def encoder(made: Small) -> Encoder:
    tiny = {**ENCODER["tiny"], "layers": 2, "dropout": 0.2, "attention_dropout": 0.2}
    return made.encoder(tiny=tiny).train()


def loss_of(query: torch.Tensor, passage: torch.Tensor) -> torch.Tensor:
    """In-batch softmax over 7 queries and 14 passages."""
    return torch.nn.functional.cross_entropy(query @ passage.T / 0.05, torch.arange(len(query)))


def stores(made: Small) -> dict[str, TokenStore]:
    return {"queries": TokenStore(made.tokens, "queries.train"), "passages": TokenStore(made.tokens, "passages")}


def gradients(encoder: Encoder) -> torch.Tensor:
    found = torch.cat([p.grad.flatten() for p in encoder.parameters() if p.grad is not None])
    encoder.zero_grad(set_to_none=True)
    return found


def by(encode: Any, encoder: Encoder, made: Small, rows: int) -> torch.Tensor:
    torch.manual_seed(9)
    own = stores(made)
    query = encode(encoder, own["queries"], QUERIES, rows, CPU)
    loss_of(query, encode(encoder, own["passages"], PASSAGES, rows, CPU)).backward()  # type: ignore[no-untyped-call]
    return gradients(encoder)


def by_the_paper(encoder: Encoder, made: Small, chunk: int) -> torch.Tensor:
    """Three passes: all representations without a graph, their gradients, then <representation, gradient> by chunk."""
    torch.manual_seed(9)
    chunks: list[Any] = []
    parts: list[torch.Tensor] = []
    for name, positions in (("queries", QUERIES), ("passages", PASSAGES)):
        store = stores(made)[name]
        order = np.argsort(store.lengths(positions), kind="stable")
        found = []
        for start in range(0, len(order), chunk):
            part = order[start : start + chunk]
            ids, mask = (torch.from_numpy(values) for values in store.batch(positions[part]))
            chunks.append((torch.get_rng_state(), ids, mask, len(parts), part))
            with torch.no_grad():
                found.append(encoder(ids, mask))
        parts.append(torch.cat(found)[torch.from_numpy(np.argsort(order))].requires_grad_())
    cached = torch.autograd.grad(loss_of(*parts), parts)
    for state, ids, mask, which, part in chunks:
        torch.set_rng_state(state)
        (encoder(ids, mask) * cached[which][torch.from_numpy(part)]).sum().backward()
    return gradients(encoder)


@pytest.mark.parametrize("chunk", [1, 3, 5, 12])
def test_gradients_are_those_of_the_whole_batch_with_dropout_on(made: Small, encoder: Encoder, chunk: int) -> None:
    whole = by(encode_rows, encoder, made, chunk)  # which draws dropout by chunks of the same texts
    cached = by(in_chunks(chunk), encoder, made, 64)
    assert (cached - whole).abs().max() / whole.abs().max() <= 1e-5
    assert (cached - by_the_paper(encoder, made, chunk)).abs().max() / whole.abs().max() <= 1e-5
    encoder.eval()
    assert (whole - by(encode_rows, encoder, made, chunk)).abs().max() / whole.abs().max() > 1e-2  # dropout is felt


def kept_by(encode: Any, encoder: Encoder, made: Small, rows: int) -> tuple[int, int]:
    """How many numbers the graph of a batch holds, and how often the encoder runs forward and back."""
    held, runs = [0], [0]

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        held[0] += 0 if tensor.is_leaf else tensor.numel()
        return tensor

    handle = encoder.register_forward_pre_hook(lambda *_: runs.__setitem__(0, runs[0] + 1))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        vectors = encode(encoder, stores(made)["passages"], PASSAGES, rows, CPU)
    before = held[0]
    vectors.sum().backward()
    handle.remove()
    return before, runs[0]


def test_no_activation_is_kept_and_each_chunk_is_encoded_twice(made: Small, encoder: Encoder) -> None:
    plain, once = kept_by(encode_rows, encoder, made, 2)
    cached, twice = kept_by(in_chunks(2), encoder, made, 2)
    assert (once, twice) == (7, 14) and cached < plain / 20


def test_a_training_in_chunks_is_the_training_of_the_whole_batch(made: Small, tmp_path: Path) -> None:
    losses = {}
    for name, options in (("whole", {"rows_per_forward": 2}), ("cached", {"chunk": 2, "rows_per_forward": 64})):
        stage = made.training(tmp_path / name, train={**TRAIN, **options})
        train(stage, RUNTIME, [CPU])
        losses[name] = np.loadtxt(stage.folder / "loss.csv", delimiter=",", skiprows=1)
    assert losses["cached"] == pytest.approx(losses["whole"], rel=1e-4)


def test_the_estimate_counts_one_chunk_and_a_second_forward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(laws, "kept_bytes", lambda settings, sizes: (1000, 100))
    plain, cached = ({"train": {**TRAIN, "chunk": chunk}} for chunk in (None, 16))
    sizes: Any = None
    assert laws.held_bytes(plain, 64, 128, sizes) == 64 * 100 + 128 * 1000
    assert laws.held_bytes(cached, 64, 128, sizes) == 16 * 1000
    assert laws.held_bytes(cached, 4, 0, sizes) == 4 * 100


def test_it_is_a_setting_of_any_training_of_vectors() -> None:
    assert encode_of(None) is encode_rows and preset("gradcache")["system"]["train"] == {"chunk": 16}
    train_options = {"steps": 5, "chunk": 4}
    systems = {"bm25": {"preset": "bm25"}, "tried": {"preset": "gradcache", "train": {"steps": 5}}}
    loaded = load({"collection": {"format": "pydocs"}, "systems": systems}).systems["tried"]
    assert loaded.train.chunk == 16 and loaded.train.steps == 5
    systems["tried"] = {"preset": "cross_encoder", "train": train_options}
    with pytest.raises(HardnegError, match=r"systems\.tried\.train\.chunk"):
        load({"collection": {"format": "pydocs"}, "systems": systems})
