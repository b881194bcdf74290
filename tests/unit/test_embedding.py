"""Vectors do not depend on how the passages are cut into shards, nor on the number of cores."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from made import Small, small

from hardneg.errors import HardnegError
from hardneg.model import embedding
from hardneg.model.embedding import encode_passages, encode_queries, micro_batches, shard_rows
from hardneg.model.encoder import Encoder, encode_rows
from hardneg.text.tokens import TokenStore

CPU = torch.device("cpu")
PINNED = """
import os, sys, torch
from pathlib import Path
from hardneg.stages.artifacts import Artifact
from hardneg.stages.devices import set_arithmetic_threads
from hardneg.model.embedding import encode_passages
from hardneg.model.encoder import Encoder
from hardneg.text.tokens import TokenStore
model, tokens = map(Artifact.open, sys.argv[1:3])
available = sorted(os.sched_getaffinity(0))
for cores in (available[:1], available[:2]):  # each in a process whose threads have not started yet
    if os.fork() == 0:
        os.sched_setaffinity(0, cores)
        set_arithmetic_threads(2)
        store = TokenStore(tokens, "passages")
        encode_passages(Encoder.load(model), store, Path(sys.argv[3], f"{len(cores)}.npy"), (0, len(store)),
                        dtype="float32", precision="fp32", device=torch.device("cpu"), label="encode")
        os._exit(0)
    assert os.wait()[1] == 0
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return small(tmp_path_factory.mktemp("small"))


def encode(encoder: Encoder, store: TokenStore, target: Path, rows: tuple[int, int], dtype: str = "float32") -> Path:
    encode_passages(encoder, store, target, rows, dtype=dtype, precision="fp32", device=CPU, label="encode")
    return target


@pytest.mark.parametrize("rows", [0, 1, 15, 16, 17, 159, 160, 1000])
@pytest.mark.parametrize("shards", [1, 2, 3, 5, 12])
def test_shards_are_whole_blocks_and_cover_all_rows(monkeypatch: pytest.MonkeyPatch, rows: int, shards: int) -> None:
    monkeypatch.setattr(embedding, "BLOCK_ROWS", 16)
    parts = [shard_rows(rows, shard, shards) for shard in range(shards)]
    assert [row for first, end in parts for row in range(first, end)] == list(range(rows))
    assert all(limit % 16 == 0 or limit == rows for part in parts for limit in part)
    blocks = [-(-(end - first) // 16) for first, end in parts]
    assert max(blocks) - min(blocks) <= 1


def test_shards_change_no_byte(made: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """40 texts, short and long, in blocks of 7: the last one is short, and so is each block's last micro-batch."""
    monkeypatch.setattr(embedding, "BLOCK_ROWS", 7)
    monkeypatch.setattr(embedding, "MICRO_ROWS", 4)
    encoder, store = made.encoder(), TokenStore(made.tokens, "passages")
    vectors = {}
    for shards in (1, 2, 5):
        parts = [
            encode(encoder, store, tmp_path / f"{shard}-{shards}.npy", shard_rows(len(store), shard, shards))
            for shard in range(shards)
        ]
        vectors[shards] = np.concatenate([np.load(part) for part in parts])
    assert vectors[1].tobytes() == vectors[2].tobytes() == vectors[5].tobytes()
    with torch.inference_mode():
        alone = encode_rows(encoder.eval(), store, np.arange(len(store)), 1, CPU)
    np.testing.assert_allclose(vectors[1], alone.numpy(), atol=1e-5)


def test_micro_batches_of_a_gpu_have_as_many_tokens(made: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, lengths = made.encoder(), np.sort(np.random.default_rng(0).integers(1, 300, 2048))
    tokens = 4000
    monkeypatch.setattr(embedding, "MICRO_NUMBERS", tokens * encoder.backbone.config.hidden_size)  # type: ignore[union-attr, operator]
    parts = [lengths[rows] for rows in micro_batches(lengths, encoder, torch.device("cuda"))]
    np.testing.assert_array_equal(np.concatenate(parts), lengths)
    padded = [len(part) * (-(-int(part.max()) // 8) * 8) for part in parts]
    assert max(padded) <= tokens and min(padded[:-1]) > tokens - 304 - 8 * max(map(len, parts))
    (alone,) = micro_batches(np.array([10_000]), encoder, torch.device("cuda"))
    assert alone == slice(0, 1)


def test_half_precision_rounds_the_same_vectors(made: Small, tmp_path: Path) -> None:
    encoder, store = made.encoder(), TokenStore(made.tokens, "passages")
    full, half = (
        np.load(encode(encoder, store, tmp_path / f"{d}.npy", (0, len(store)), d)) for d in ("float32", "float16")
    )
    assert half.dtype == np.float16 and np.array_equal(half, full.astype(np.float16))


def test_queries_are_encoded_in_order(made: Small, tmp_path: Path) -> None:
    encoder, store = made.encoder(), TokenStore(made.tokens, "queries.train")
    encode_queries(encoder, store, tmp_path / "queries.npy", precision="fp32", device=CPU, label="encode")
    with torch.inference_mode():
        alone = encode_rows(encoder.eval(), store, np.arange(len(store)), 1, CPU)
    np.testing.assert_allclose(np.load(tmp_path / "queries.npy"), alone.numpy(), atol=1e-5)


def test_vectors_that_are_not_finite_are_refused(made: Small, tmp_path: Path) -> None:
    encoder = made.encoder()
    with torch.no_grad():
        next(encoder.parameters()).fill_(torch.nan)
    with pytest.raises(HardnegError, match="not finite"):
        encode(encoder, TokenStore(made.tokens, "passages"), tmp_path / "vectors.npy", (0, 40))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_cores_change_no_byte(made: Small, tmp_path: Path) -> None:
    """Two threads of arithmetic, on one core and on two."""
    model = made.model(tmp_path / "model", made.encoder())
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}  # or threads that share a core spin while they wait
    manifests = [str(stage.folder / "manifest.json") for stage in (model, made.tokens)]
    subprocess.run([sys.executable, "-c", PINNED, *manifests, str(tmp_path)], env=environment, check=True)
    one, two = ((tmp_path / f"{cores}.npy").read_bytes() for cores in (1, 2))
    assert one == two
