"""Short measurements on this machine, from which `hardneg.estimate.estimate` predicts what stages take.

Each probe does what a stage does, with the same library code where there is some, on a little made data, for a second
or so. Everything here that takes long imports takes them inside the functions: `hardneg estimate` reads this module.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hardneg import config as configuration
from hardneg.data.collection import Judgement, Passage, Query
from hardneg.errors import HardnegError
from hardneg.planning.graph import Plan, local_backbone

if TYPE_CHECKING:
    import torch

    from hardneg.model.encoder import Encoder

MADE_WORDS = 20_000
STOP_WORDS = 33  # as many as Lucene takes out of English text


@dataclass(frozen=True)
class Lengths:
    """How long texts are on average: in characters, and in tokens with the special ones, cut at the configured length.

    Attributes:
        passage_characters: of a passage's title and text, uncut.
        query_characters: of a query.
        passage_tokens: at most encoder.passage_length.
        query_tokens: at most encoder.query_length.
    """

    passage_characters: float
    query_characters: float
    passage_tokens: float
    query_tokens: float


class TextCost(NamedTuple):
    """Training on one text: seconds of forward and backward, and bytes that the forward keeps for the backward."""

    seconds: float
    bytes: int


@dataclass(frozen=True)
class Neural:
    """What the encoder takes on the device that was measured, at the mean lengths of the texts.

    Attributes:
        model: what was measured.
        parameters: its weights.
        dim: width of its vectors.
        encode_passages: passages a second, without gradients.
        encode_queries: queries a second, without gradients.
        train: by (width, whether activations are computed again), what training on a text of that width takes.
        optimizer: seconds of clipping gradients and of one optimizer step.
        search: exact search, passages a second, by (queries in a batch, passages wanted).
    """

    model: str
    parameters: int
    dim: int
    encode_passages: float
    encode_queries: float
    train: dict[tuple[int, bool], TextCost]
    optimizer: float
    search: dict[tuple[int, int], float]


@dataclass(frozen=True)
class Compressed:
    """A FAISS index that is not Flat: vectors trained on and added a second, and searched as `Neural.search`."""

    train: float
    add: float
    search: dict[tuple[int, int], float]


@dataclass(frozen=True)
class Bm25:
    """Lucene: seconds of a query are `query + query_passage * passages`.

    Attributes:
        index: characters indexed a second.
        bytes: of index a character.
        query: seconds.
        query_passage: seconds a passage of the collection.
    """

    index: float
    bytes: float
    query: float
    query_passage: float


@dataclass(frozen=True)
class Measured:
    """What the probes found; None where one could not run, and `missing` says why.

    Attributes:
        base_bytes: resident memory of a process that has loaded torch, Transformers and FAISS, and its device.
        disk_write: bytes a second, flushed.
        digest: bytes a second of SHA-256, which seals files and checks them.
        prepare: characters a second into Parquet, without reading the collection's own format.
        tokenizer: seconds to train the built-in tokenizer on nothing, and on a character more.
        tokenize: characters a second.
        run_rows: rows of a run a second, read and written as Parquet.
        measure: queries a second scored at the configured depth and measures.
        neural: the encoder; None where the configuration has only BM25.
        compressed: each index that is not Flat, by its factory string.
        bm25: Lucene; None without Java.
        missing: what could not be measured, and why.
    """

    base_bytes: int
    disk_write: float
    digest: float
    prepare: float | None = None
    tokenizer: tuple[float, float] | None = None
    tokenize: float | None = None
    run_rows: float | None = None
    measure: float | None = None
    neural: Neural | None = None
    compressed: dict[str, Compressed] = field(default_factory=dict)
    bm25: Bm25 | None = None
    missing: list[str] = field(default_factory=list)


def measure(plan: Plan, lengths: Lengths, searches: Sequence[tuple[int, int]], device: str, quick: bool) -> Measured:
    """Run all probes that a plan's stages need.

    Args:
        plan: of the configuration.
        lengths: of its texts.
        searches: batch sizes and depths that its stages search with.
        device: a torch device, such as cpu or cuda:0, held by this process.
        quick: measure for a shorter time, less exactly.

    Raises:
        HardnegError: the disk cannot be written, or the factory string of the index is wrong.
    """
    seconds = 0.2 if quick else 1.0
    missing: list[str] = []
    base = _base(device)
    with tempfile.TemporaryDirectory(prefix=".probe-", dir=".") as name:
        folder = Path(name)
        disk = _disk(folder, (16 if quick else 256) << 20)
        rows, scored = _runs(plan, folder, quick)
        prepared, tokenizer, tokenized = _texts(plan, lengths, folder, 1_000 if quick else 5_000)
        neural, compressed = None, {}
        if encodes(plan):
            neural = _neural(plan, lengths, searches, device, seconds)
            factories = dict.fromkeys(stage.settings["factory"] for stage in plan.of("index"))
            for factory in factories.keys() - {"Flat"}:
                found = _compressed(factory, neural.dim, searches, 5_000 if quick else 20_000)
                if found is None:
                    missing.append(f"index {factory}: FAISS needs more vectors than a probe has")
                else:
                    compressed[factory] = found
        bm25 = None
        if plan.of("bm25_index"):
            try:
                bm25 = _bm25(plan, lengths, folder, 5_000 if quick else 20_000)
            except (HardnegError, ImportError) as fault:
                missing.append(f"BM25: {str(fault).splitlines()[0]}")
    return Measured(
        base_bytes=base,
        disk_write=disk,
        digest=_digest(seconds),
        prepare=prepared,
        tokenizer=tokenizer,
        tokenize=tokenized,
        run_rows=rows,
        measure=scored,
        neural=neural,
        compressed=compressed,
        bm25=bm25,
        missing=missing,
    )


def encodes(plan: Plan) -> bool:
    """Whether a plan encodes texts of its own collection."""
    return any(stage.dataset == plan.dataset for stage in plan.of("passages", "train", "adore"))


def training_widths(train: Mapping[str, Any], lengths: Lengths) -> tuple[tuple[int, bool], tuple[int, bool]]:
    """What `Neural.train` is asked for by a training stage's `train` settings: for its passages, and its queries."""
    again = bool(train["gradient_checkpointing"])
    longest = [train[key] or float("inf") for key in ("passage_length", "query_length")]
    passage, query = (
        _width(min(tokens, limit))
        for tokens, limit in zip((lengths.passage_tokens, lengths.query_tokens), longest, strict=True)
    )
    return (passage, again), (query, again)


def timed(work: Callable[[], object]) -> float:
    """Seconds that a piece of work takes, at least a microsecond."""
    started = time.perf_counter()
    work()
    return max(time.perf_counter() - started, 1e-6)


def repeated(work: Callable[[], object], seconds: float) -> float:
    """Mean seconds of a piece of work, done once unmeasured, then again and again for `seconds`."""
    work()
    spent, times = 0.0, 0
    while spent < seconds:
        spent += timed(work)
        times += 1
    return spent / times


def made_texts(count: int, characters: float, seed: int, skipped: int = 0) -> Iterator[str]:
    """Texts of made-up words, whose frequencies fall as Zipf's law says, each of about so many characters.

    `skipped` leaves so many of the most frequent words out. The seed changes the texts, not the words.
    """
    shapes = random.Random(0)
    rng = random.Random(seed)
    letters = "eeeeaaaiioouutttnnnrrrsssllddcmpbgfhvkw"
    known = ["".join(shapes.choices(letters, k=shapes.randint(2, 9))) for _ in range(MADE_WORDS)][skipped:]
    weights = [1 / rank for rank in range(skipped + 1, MADE_WORDS + 1)]
    mean = sum(len(word) * w for word, w in zip(known, weights, strict=True)) / sum(weights) + 1
    words = max(1, round(characters / mean))
    for _ in range(count):
        yield " ".join(rng.choices(known, weights, k=words))


def _disk(folder: Path, size: int) -> float:
    """Bytes a second, written from beginning to end and flushed to the disk."""
    block = os.urandom(1 << 20)

    def write() -> None:
        with tempfile.TemporaryFile(dir=folder) as stream:
            for _ in range(size // len(block)):
                stream.write(block)
            stream.flush()
            os.fsync(stream.fileno())

    try:
        return size / timed(write)
    except OSError as fault:
        raise HardnegError(
            "The disk cannot be written.",
            where=str(folder.parent.absolute()),
            found=str(fault),
            remedy="free space or mend the permissions there.",
        ) from None


def _digest(seconds: float) -> float:
    block = bytes(8 << 20)
    return len(block) / repeated(lambda: hashlib.sha256(block).digest(), seconds / 4)


def _runs(plan: Plan, folder: Path, quick: bool) -> tuple[float, float]:
    """Rows of a run read and written a second, and queries scored a second."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from hardneg.evaluation.measures import evaluate, parse_measures

    evaluation = plan.config.evaluation
    queries, depth = 50 if quick else 200, evaluation.depth
    rng = np.random.default_rng(0)
    table = pa.table(
        {
            "query": np.repeat(np.arange(queries, dtype=np.int32), depth),
            "passage": rng.integers(0, 2**31 - 1, queries * depth, np.int32),
            "rank": np.tile(np.arange(1, depth + 1, dtype=np.int32), queries),
            "score": -np.sort(-rng.random(queries * depth, np.float32)),
        }
    )
    path = folder / "run.parquet"

    def through() -> None:
        pq.write_table(table, path, compression="zstd")
        pq.read_table(path)

    judged = np.arange(queries, dtype=np.int32)
    qrels = pa.table({"query": judged, "passage": judged, "grade": np.ones(queries, np.int32)})
    names, measures = [str(query) for query in judged], parse_measures(evaluation.measures)
    scored = timed(lambda: evaluate(table, qrels, names, measures))
    return len(table) / timed(through), queries / scored


class _MadeCollection:
    """A collection of made texts, as the formats' readers give one; a query's positive is its own number."""

    def __init__(self, lengths: Lengths, count: int) -> None:
        self.passage_texts = list(made_texts(count, lengths.passage_characters, seed=1))
        self.query_texts = list(made_texts(100, lengths.query_characters, seed=2))

    @property
    def characters(self) -> int:
        return sum(map(len, self.passage_texts))

    def splits(self) -> tuple[str, ...]:
        return ("train",)

    def passages(self) -> Iterator[Passage]:
        return (Passage(str(number), "", text) for number, text in enumerate(self.passage_texts))

    def queries(self, split: str) -> Iterator[Query]:
        return (Query(str(number), text) for number, text in enumerate(self.query_texts))

    def judgements(self, split: str) -> Iterator[Judgement]:
        return (Judgement(str(number), str(number), 1) for number in range(len(self.query_texts)))

    def files(self, splits: Iterable[str]) -> dict[str, Path]:
        return {}

    def provenance(self) -> dict[str, Any]:
        return {}


def _texts(
    plan: Plan, lengths: Lengths, folder: Path, count: int
) -> tuple[float, tuple[float, float] | None, float | None]:
    """`Measured.prepare`, `Measured.tokenizer` and `Measured.tokenize`."""
    from hardneg.data.prepare import prepare

    made = _MadeCollection(lengths, count)
    prepared = made.characters / timed(lambda: prepare(made, folder, ["train"], "train"))
    if not encodes(plan):
        return prepared, None, None
    trained, tokenizer = None, _finished_tokenizer(plan)
    if tokenizer is None:
        size, spent = plan.config.encoder.tiny.vocabulary, []
        parts = [made.passage_texts[: count // 5], made.passage_texts]
        for part in parts:
            started = time.perf_counter()
            tokenizer = _train_tokenizer(part, size)
            spent.append(time.perf_counter() - started)
        trained = affine([sum(map(len, part)) for part in parts], spent)
    length = plan.config.encoder.passage_length
    at_once = 1024

    def tokenise() -> None:
        for start in range(0, count, at_once):
            texts = made.passage_texts[start : start + at_once]
            tokenizer(texts, truncation=True, max_length=length, return_attention_mask=False)

    return prepared, trained, made.characters / timed(tokenise)


def affine(amounts: Sequence[float], seconds: Sequence[float]) -> tuple[float, float]:
    """Seconds at nothing and seconds a unit, neither negative, of two measurements."""
    slope = max(0.0, (seconds[1] - seconds[0]) / (amounts[1] - amounts[0]))
    return max(0.0, seconds[1] - slope * amounts[1]), slope


def _finished_tokenizer(plan: Plan) -> Any:
    """The tokenizer that a stage made, or a local backbone's; None where there is neither."""
    from transformers import AutoTokenizer

    for stage in plan.of("tokenizer"):
        if stage.manifest.exists():
            return AutoTokenizer.from_pretrained(stage.folder / "tokenizer")
    place = local_backbone(plan.config.encoder)
    return None if place is None else AutoTokenizer.from_pretrained(place)


def _train_tokenizer(texts: Sequence[str], vocabulary: int) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=["[UNK]", "[PAD]"], show_progress=False)
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]")


def _neural(plan: Plan, lengths: Lengths, searches: Sequence[tuple[int, int]], device: str, seconds: float) -> Neural:
    import torch

    from hardneg.stages.devices import set_arithmetic_threads

    arithmetic, trainings = plan.config.arithmetic, plan.of("train", "adore")
    encoder, model = encoder_of(plan.config.encoder, _settings(plan))
    encoder.to(device)
    where, precision = torch.device(device), arithmetic.precision
    if where.type == "cpu" and precision == "fp16":  # no CPU trains in it, and this one would need minutes to try
        precision, model = "fp32", f"{model}, in fp32"
    cores = os.cpu_count() or 1
    encoding, training = (min(n, cores) for n in (arithmetic.encoding_threads, arithmetic.training_threads))
    passage, query = _width(lengths.passage_tokens), _width(lengths.query_tokens)
    set_arithmetic_threads(encoding)
    search = {(batch, k): _exact_search(batch, k, encoder.dim, where, seconds / 2) for batch, k in searches}
    encode = [_encoding(encoder, width, where, precision, seconds) for width in (passage, query)]
    set_arithmetic_threads(training)
    rows = max((stage.settings["train"]["rows_per_forward"] for stage in trainings), default=1)
    wanted = {key for stage in trainings for key in training_widths(stage.settings["train"], lengths)}
    train = {}
    for width, again in sorted(wanted, key=lambda key: key[::-1]):  # once turned on, it stays on
        if again:
            encoder.checkpoint_gradients()
        train[width, again] = _training(encoder, width, rows, where, precision, seconds, again)
    optimizer = _optimizer(encoder, where, seconds / 2)
    set_arithmetic_threads(encoding)  # FAISS's too: it is measured next
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


def _settings(plan: Plan) -> dict[str, Any]:
    """The `encoder` settings of this collection's first training, or of the one that another study did."""
    own = [stage for stage in plan.of("train") if stage.dataset == plan.dataset]
    chosen: dict[str, Any] = (own or plan.of("train"))[0].settings["encoder"]
    return chosen


def encoder_of(settings: configuration.Encoder, trained: dict[str, Any]) -> tuple[Encoder, str]:
    """An encoder of the configured size, with random weights: they take as long as trained ones.

    A backbone whose configuration cannot be had (no network, no such folder) is taken to be as large as bert-base where
    its name says so, else as roberta-base.

    Args:
        settings: of the configuration.
        trained: the `encoder` settings of a training stage.

    Returns:
        The encoder, and what it is, for people.
    """
    from transformers import AutoConfig, AutoModel, BertConfig, RobertaConfig

    from hardneg.model.encoder import Encoder, initial_encoder

    longest = max(settings.query_length, settings.passage_length)
    if trained["backbone"] == "builtin:tiny":
        return initial_encoder(trained, settings.tiny.vocabulary, 0, longest, None, 0), trained["backbone"]
    name = settings.backbone
    try:
        config = AutoConfig.from_pretrained(str(local_backbone(settings) or name), revision=settings.revision)
        said = f"{name} (its size, random weights)"
    except (OSError, ValueError):
        bert = "bert-base" in name and "roberta" not in name
        config = (
            BertConfig(max_position_embeddings=max(512, longest))
            if bert
            else RobertaConfig(max_position_embeddings=max(512, longest) + 2)
        )
        size = "bert-base" if bert else "roberta-base"
        said = f"{size}'s size, random weights ({name} cannot be had here)"
    backbone = AutoModel.from_config(config)
    if getattr(backbone, "pooler", None) is not None:
        backbone.pooler = None  # as when it is trained: pooling is the encoder's
    return Encoder(backbone, trained), said


def _width(tokens: float) -> int:
    """The width of a batch of texts of similar length: padded to a multiple of 8."""
    return -(-int(tokens + 0.999) // 8) * 8


def _batch(encoder: Encoder, rows: int, width: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    vocabulary: int = encoder.backbone.config.vocab_size  # type: ignore[union-attr, assignment]
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, vocabulary, (rows, width), generator=generator)
    return ids.to(device), torch.ones(rows, width, dtype=torch.int64, device=device)


def _finish(device: torch.device) -> None:
    """Wait for the device, which runs behind Python."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _growing(limit: int, seconds: float, work: Callable[[int], float]) -> int:
    """How many rows to measure with: doubled while twice as many would take less than `seconds`, up to `limit`."""
    rows = 1
    while rows < limit and 2 * work(rows) < seconds:
        rows = min(2 * rows, limit)
    return rows


def _encoding(encoder: Encoder, width: int, device: torch.device, precision: str, seconds: float) -> float:
    """Texts a second, as `hardneg.model.embedding` encodes them."""
    import torch

    from hardneg.model.embedding import MICRO_ROWS, autocast

    encoder.eval()

    def once(rows: int) -> float:
        ids, mask = _batch(encoder, rows, width, device)

        def work() -> None:
            with torch.inference_mode(), autocast(device, precision):
                encoder(ids, mask).float().cpu()

        work()
        return timed(work)

    rows = _growing(MICRO_ROWS, seconds, once)
    return rows / min(once(rows) for _ in range(3))


def _training(
    encoder: Encoder, width: int, limit: int, device: torch.device, precision: str, seconds: float, again: bool
) -> TextCost:
    """Forward and backward in groups of at most `limit` texts; `again`: activations are computed again on the way."""
    import torch

    encoder.train()

    def once(rows: int) -> float:
        ids, mask = _batch(encoder, rows, width, device)

        def work() -> None:
            torch.autograd.backward(_loss(encoder, ids, mask, device, precision))
            _finish(device)

        work()
        return timed(work)

    rows = _growing(limit, seconds, once)
    each = min(once(rows) for _ in range(2)) / rows
    # The difference of two sizes, since on a GPU copies of weights in lower precision count too.
    kept = [_kept(encoder, *_batch(encoder, count, width, device), device, precision) for count in (1, 3)]
    encoder.zero_grad(set_to_none=True)
    size = max(0, kept[1] - kept[0]) // 2
    if again and device.type == "cpu":  # each layer's input is kept where autograd does not show it
        config: Any = encoder.backbone.config
        size += config.num_hidden_layers * width * config.hidden_size * 4
    return TextCost(each, size)


def _loss(
    encoder: Encoder, ids: torch.Tensor, mask: torch.Tensor, device: torch.device, precision: str
) -> torch.Tensor:
    from hardneg.model.embedding import autocast

    with autocast(device, precision):
        loss: torch.Tensor = encoder(ids, mask).sum()
    return loss


def _kept(encoder: Encoder, ids: torch.Tensor, mask: torch.Tensor, device: torch.device, precision: str) -> int:
    """Bytes that a forward keeps for backward: the device's own count on a GPU; on a CPU the tensors autograd saves."""
    import torch

    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        loss = _loss(encoder, ids, mask, device, precision)
        del loss
        return torch.cuda.max_memory_allocated(device) - before
    weights = {parameter.untyped_storage().data_ptr() for parameter in encoder.parameters()}
    saved: dict[int, int] = {}
    alive = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
            alive.append(storage)  # a storage that is freed would lend its address to the next
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        _loss(encoder, ids, mask, device, precision)
    return sum(saved.values())


def _optimizer(encoder: Encoder, device: torch.device, seconds: float) -> float:
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


def _exact_search(batch: int, k: int, dim: int, device: torch.device, seconds: float) -> float:
    """Passages a second that one batch of queries is searched over, as `hardneg.retrieval.search.exact` does it."""
    import torch

    from hardneg.retrieval.search.exact import BLOCK

    queries, passages = torch.randn(batch, dim, device=device), torch.randn(BLOCK, dim, device=device)
    scores = torch.empty(batch, BLOCK, device=device)

    def work() -> None:
        torch.mm(queries, passages.T, out=scores)
        scores.topk(min(k + 1, BLOCK))
        _finish(device)

    with torch.inference_mode():
        return BLOCK / repeated(work, seconds)


def _compressed(factory: str, dim: int, searches: Sequence[tuple[int, int]], rows: int) -> Compressed | None:
    """A small index of random vectors; None where so few cannot train it."""
    import numpy as np

    from hardneg.retrieval.search.factory import new_index

    index = new_index(factory, dim)
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((rows, dim), np.float32)
    try:
        train = timed(lambda: index.train(vectors))
        add = timed(lambda: index.add(vectors))
    except RuntimeError:
        return None
    search = {}
    for batch, k in searches:
        queries = rng.standard_normal((batch, dim), np.float32)
        search[batch, k] = rows / timed(lambda queries=queries, k=k: index.search(queries, min(k, rows)))  # type: ignore[misc]
    return Compressed(rows / train, rows / add, search)


def _bm25(plan: Plan, lengths: Lengths, folder: Path, count: int) -> Bm25:
    """Index two collections, one a fifth of the other, and search both.

    What a passage more costs comes from their difference at a depth of 10, which both have: at the configured one a
    small collection gives fewer hits, and handing these over would count as searching.
    """
    from hardneg.retrieval.lexical import build_index, search

    heap, settings = plan.config.runtime.java_heap_mib, plan.config.bm25
    texts = list(made_texts(count, lengths.passage_characters, seed=3))
    queries = list(made_texts(100, lengths.query_characters, seed=4, skipped=STOP_WORDS))
    depth = max(stage.settings["depth"] for stage in plan.of("bm25_run"))

    def each(path: Path, k: int) -> float:
        def ranked() -> None:
            for _ in search(path, queries, k, k1=settings.k1, b=settings.b, threads=1, heap_mib=heap):
                pass

        for _ in range(3):  # Java compiles what it runs often
            ranked()
        return min(timed(ranked) for _ in range(3)) / len(queries)

    sizes, paths = [count // 5, count], [folder / f"lucene-{name}" for name in ("small", "large")]
    index = 0.0
    for size, path in zip(sizes, paths, strict=True):
        part = texts[:size]
        index = sum(map(len, part)) / timed(lambda part=part, path=path: build_index(part, path, heap_mib=heap))  # type: ignore[misc]
    stored = sum(file.stat().st_size for file in paths[1].iterdir()) / sum(map(len, texts))
    _, slope = affine(sizes, [each(path, 10) for path in paths])
    return Bm25(index, stored, max(0.0, each(paths[1], depth) - slope * count), slope)


def _base(device: str) -> int:
    """Bytes of this process in memory once it has loaded what most stages load, and its device."""
    import faiss  # noqa: F401
    import torch
    import transformers  # noqa: F401

    import hardneg.model.encoder  # noqa: F401

    torch.zeros(1, device=device)
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
