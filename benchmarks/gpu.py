"""Encoding, exact search and training steps on one GPU, as shares of what this GPU allows.

    python -m benchmarks.gpu --output found.md

The allowance is measured in the same run: a large bf16 product that goes on for a second, a large float32 product, a
large copy in its memory.
Encoders have random weights, in the shapes of MiniLM and BERT base, and texts random tokens: neither changes the work.
The work counted is that of the tokens of texts, not of padding: for each layer and token 8 h^2 + 4 h f operations of
products (h wide, feed-forward f), and 4 h L of attention in a text of L tokens. A training step counts three times
that: forward, and backward twice.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from transformers import BertConfig, BertModel

from benchmarks.search import vectors
from benchmarks.seeds import markdown
from benchmarks.side_by_side import head
from hardneg.model.embedding import encode_passages
from hardneg.model.encoder import Encoder, encode_rows, encode_together, goes_together
from hardneg.retrieval.search.exact import ExactSearcher
from hardneg.retrieval.search.vectors import VectorStore
from hardneg.stages.devices import describe, set_arithmetic_threads
from hardneg.training.optimizers import optimizer_of
from hardneg.training.state import TrainingState

MODULE = "benchmarks.gpu"
RUNS = 5
VOCABULARY = 30_522
TRAIN = {"optimizer": "adamw", "lr": 1e-5, "eps": 1e-8, "weight_decay": 0.01}


class Shape(NamedTuple):
    """The size of an encoder."""

    name: str
    layers: int
    hidden: int
    heads: int
    feed_forward: int

    def encoder(self) -> Encoder:
        """One of random weights."""
        config = BertConfig(
            vocab_size=VOCABULARY,
            hidden_size=self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            intermediate_size=self.feed_forward,
        )
        settings = {"pooling": "mean", "normalize": True, "projection": None, "temperature": 0.05}
        return Encoder(BertModel(config, add_pooling_layer=False), settings)

    def operations(self, lengths: np.ndarray) -> float:
        """Of a forward pass over texts of these lengths."""
        products = 8 * self.hidden**2 + 4 * self.hidden * self.feed_forward
        return float(self.layers * (products * lengths + 4.0 * self.hidden * lengths**2).sum())


SHAPES = (Shape("MiniLM, 6 x 384", 6, 384, 12, 1536), Shape("BERT base, 12 x 768", 12, 768, 12, 3072))


class Texts:
    """Texts of random tokens, as `TokenStore` gives them.

    Args:
        lengths: int64 [n].
    """

    pad = 0

    def __init__(self, lengths: np.ndarray) -> None:
        self._lengths, self.longest = lengths, int(lengths.max())
        self._ids = np.random.default_rng(0).integers(1000, VOCABULARY, 1 << 20)

    def __len__(self) -> int:
        return len(self._lengths)

    def lengths(self, positions: np.ndarray) -> np.ndarray:
        """See `TokenStore`."""
        return self._lengths[positions]

    def batch(self, positions: np.ndarray, bucket: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """See `TokenStore`."""
        lengths = self._lengths[positions]
        width = -(-int(lengths.max()) // bucket) * bucket
        mask = (np.arange(width) < lengths[:, None]).astype(np.int64)
        starts = (positions * 769) % (len(self._ids) - width)
        return self._ids[starts[:, None] + np.arange(width)] * mask, mask

    def forget(self) -> None:
        """See `TokenStore`; nothing is mapped here."""


def alike(rows: int, length: int) -> np.ndarray:
    """Lengths of texts that are all as long."""
    return np.full(rows, length)


def natural(rows: int) -> np.ndarray:
    """Lengths of texts such as paragraphs: 150 tokens in the median, and from 16 to 256."""
    drawn = np.random.default_rng(1).lognormal(np.log(150), 0.45, rows)
    return np.clip(drawn, 16, 256).astype(np.int64)


def finish(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(work: Callable[[], Any], device: torch.device, runs: int) -> list[float]:
    """What each of some runs takes, after one that is not counted."""
    taken = []
    for _ in range(runs + 1):
        finish(device)
        begun = time.perf_counter()
        work()
        finish(device)
        taken.append(time.perf_counter() - begun)
    return taken[1:]


def spread(numbers: Sequence[float], digits: str = ".3g") -> str:
    """The median, the least and the most."""
    return f"{np.median(numbers):{digits}} ({min(numbers):{digits}} to {max(numbers):{digits}})"


class Allowed(NamedTuple):
    """What the device does at most: operations a second, bytes a second.

    Attributes:
        bf16: products that go on for a second, as encoding does; a GPU at the limit of its power slows down.
        burst: the same for some milliseconds.
        fp32: products of float32.
        copy: read and written.
    """

    bf16: float
    burst: float
    fp32: float
    copy: float

    @classmethod
    def measured(cls, device: torch.device, size: int) -> Allowed:
        """By products of `size` x `size` matrices, and a copy of 16 times as many bytes as one has numbers."""
        rates = []
        for dtype, kept in ((torch.bfloat16, 1.0), (torch.bfloat16, 0.0), (torch.float32, 0.0)):
            left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
            out = torch.empty_like(left)

            def product(left: torch.Tensor = left, right: torch.Tensor = right, out: torch.Tensor = out) -> None:
                for _ in range(5):
                    torch.mm(left, right, out=out)

            taken, begun = [], time.perf_counter()
            while not taken or time.perf_counter() - begun < kept:
                taken += seconds(product, device, RUNS)
            rates.append(5 * 2 * size**3 / (np.median(taken[-RUNS:]) if kept else min(taken)))
        source = torch.randint(0, 100, (4 * size * size,), device=device, dtype=torch.int32)
        target = torch.empty_like(source)
        moved = min(seconds(lambda: target.copy_(source), device, RUNS))
        return cls(*rates, 2 * source.numel() * 4 / moved)


def encoding(allowed: Allowed, device: torch.device, scale: float, runs: int) -> pd.DataFrame:
    """From token ids to a file of float32 vectors."""
    rows = []
    for shape in SHAPES:
        count = int(scale * 65_536 * (384 / shape.hidden) ** 2)
        for name, lengths in (("128 tokens each", alike(count, 128)), ("16 to 256 tokens", natural(count))):
            texts: Any = Texts(lengths)
            for precision in ("bf16", "auto"):
                encoder = shape.encoder()
                with tempfile.TemporaryDirectory() as folder:

                    def work(texts: Any = texts, precision: str = precision, folder: str = folder) -> None:
                        target = Path(folder) / "vectors.npy"
                        common: dict[str, Any] = {"dtype": "float32", "precision": precision, "label": "encode"}
                        encode_passages(encoder, texts, target, (0, len(texts)), device=device, **common)  # noqa: B023

                    taken = seconds(work, device, runs)
                shares = [shape.operations(lengths) / each / allowed.bf16 for each in taken]
                speed = [len(lengths) / each for each in taken]
                rows.append((shape.name, name, precision, spread(speed, ",.0f"), spread(shares, ".0%")))
    return pd.DataFrame(rows, columns=["encoder", "texts", "precision", "texts a second", "share of the product"])


def searching(allowed: Allowed, device: torch.device, passages: int, runs: int) -> pd.DataFrame:
    """The best 200 of some passages, from vectors that stay on the GPU."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "passages.npy", vectors(passages, 1))
        store = VectorStore([Path(folder) / "passages.npy"])
        held = torch.from_numpy(np.load(Path(folder) / "passages.npy")).to(device)
        for count, batch in ((1, 1), (8, 8), (32, 32), (512, 512), (4096, 512)):
            queries = torch.from_numpy(vectors(count, 2)).to(device)
            searcher = ExactSearcher(store, [device], resident=True, query_batch=batch)

            def ours(queries: torch.Tensor = queries, searcher: ExactSearcher = searcher) -> torch.Tensor:
                return searcher.search(queries, 200)[0]

            def plain(queries: torch.Tensor = queries) -> torch.Tensor:
                """Without ties by position, and 512 queries at a time: the scores of more would not fit."""
                return torch.cat([torch.mm(each, held.T).topk(200).indices for each in queries.split(512)])

            same = float((ours() == plain()).float().mean())
            own, other = seconds(ours, device, runs), seconds(plain, device, runs)
            read = [held.numel() * 4 * -(-count // batch) / each / allowed.copy for each in own]
            half = [each / 2 for each in read]
            operations = [2.0 * count * held.numel() / each / allowed.burst for each in own]
            ratio = [b / a for a, b in zip(own, other, strict=True)]
            shares = [spread(each, ".0%") for each in (read, half, operations)]
            rows.append((count, spread([1000 * each for each in own]), *shares, spread(ratio, ".2f"), f"{same:.3%}"))
            del searcher
    columns = ["queries", "ms", "float32 read, share of the copy", "float16", "share of the bf16 product"]
    return pd.DataFrame(rows, columns=[*columns, "mm and topk in float32, times ours", "same passages"])


def training(allowed: Allowed, device: torch.device, scale: float, runs: int) -> pd.DataFrame:
    """Steps of queries, positives and one hard negative each, with in-batch negatives, AdamW and clipping."""
    rows = []
    for shape in SHAPES:
        for batch in (32, 256):
            count = max(int(scale * batch), 2)
            torch.manual_seed(0)
            encoder = shape.encoder().to(device).train()
            accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision="bf16")
            module, optimizer = accelerator.prepare(encoder, optimizer_of(encoder, TRAIN))
            schedule = torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)
            state = TrainingState(module, optimizer, schedule, accelerator)
            queries: Any = Texts(np.random.default_rng(2).integers(8, 25, count))
            passages: Any = Texts(natural(2 * count).clip(max=128))
            both = np.concatenate([queries.lengths(np.arange(count)), passages.lengths(np.arange(2 * count))])
            for at_once in (64, 1024):
                parts = [(queries, np.arange(count)), (passages, np.arange(2 * count))]

                def work(at_once: int = at_once, count: int = count, parts: Any = parts) -> None:
                    with accelerator.autocast():  # noqa: B023
                        if goes_together(parts, at_once, device):
                            left, right = encode_together(module, parts, device)  # noqa: B023
                        else:
                            left, right = (encode_rows(module, *part, at_once, device) for part in parts)  # noqa: B023
                    scores = left.float() @ right.float().T / 0.05
                    loss = torch.nn.functional.cross_entropy(scores, torch.arange(count, device=device))
                    state.update(loss, 1.0)  # noqa: B023

                taken = seconds(work, device, 2 * runs)
                shares = [3 * shape.operations(both) / each / allowed.bf16 for each in taken]
                cells = (spread([1000 * each for each in taken]), spread(shares, ".1%"))
                rows.append((shape.name, count, at_once, *cells))
    return pd.DataFrame(rows, columns=["encoder", "queries", "rows_per_forward", "ms a step", "share of the product"])


def page(device: torch.device, scale: float, passages: int, runs: int) -> str:
    """All of it as Markdown."""
    allowed = Allowed.measured(device, 8192 if device.type == "cuda" else 128)
    products = (
        f"{allowed.bf16 / 1e12:.3g} TFLOP/s in bf16 products that go on for a second ({allowed.burst / 1e12:.3g} for "
        f"some milliseconds), {allowed.fp32 / 1e12:.3g} in float32 products"
    )
    about = (
        f"torch {torch.__version__}. This GPU allows {products} (no TF32), and {allowed.copy / 1e12:.3g} TB/s in "
        "copies (read and written). Median of the runs, least and most."
    )
    found = [
        ("Encoding", encoding(allowed, device, scale, runs)),
        (f"Exact search, the best 200 of {passages:,} x 384", searching(allowed, device, passages, runs)),
        ("Training, bf16", training(allowed, device, scale, runs)),
    ]
    sections = [text for title, table in found for text in (f"## {title}", markdown(table.astype(str)))]
    return "\n\n".join(["# On a GPU", head(MODULE, describe([str(device)])), about, *sections]) + "\n"


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--scale", type=float, default=1.0, help="of the work that is measured")
    parser.add_argument("--passages", type=int, default=1_000_000, help="that are searched")
    parser.add_argument("--output", type=Path, help="a Markdown page")
    given = parser.parse_args()
    set_arithmetic_threads(4)
    text = page(torch.device(given.device), given.scale, given.passages, given.runs)
    print(text)
    if given.output is not None:
        given.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
