"""What a configuration will take: time, memory, disk and GPU memory of each stage, and what will not fit.

Counts of texts come from the collection; how fast this machine does a unit of each kind of work comes from
`hardneg.estimate.probes`; what is below scales one by the other. Every law is written at its stage. All of it is a prediction:
stages that are finished are shown with what they took.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from hardneg.axes import answer_of, function_of
from hardneg.config import Config
from hardneg.errors import HardnegError
from hardneg.estimate.probes import Lengths, Measured, Neural, TextCost, measure, training_widths
from hardneg.planning.graph import ARTIFACTS, Plan, Stage
from hardneg.stages.artifacts import COST
from hardneg.training.schedule import total_steps

SAMPLED = 3000
SAMPLED_BYTES = 8 << 20
CHARACTERS_PER_TOKEN = 4.5  # of English text in a vocabulary of 30,000 to 50,000
SPECIAL_TOKENS = 2
JVM_BESIDES_HEAP = 200 << 20
TREC_LINE_BYTES = 50
ID_BYTES = 24
RUN_ROW_BYTES = 16
POSITION_BYTES = 8
# A passage file among others: corpus.jsonl, collection.tsv, msmarco-docs.tsv.gz, passages.parquet.
PASSAGE_FILE = re.compile(r"corpus|collection|passages|docs|documents", re.IGNORECASE)
OTHER_FILE = re.compile(r"quer|qrels|top1", re.IGNORECASE)


# --- counts -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Counts:
    """How much there is of everything.

    Attributes:
        passages: in the collection.
        queries: of each split that the configuration names.
        train: the split that trains; None where nothing is trained.
        lengths: mean lengths of the texts.
        source: where these numbers come from.
    """

    passages: int
    queries: dict[str, int]
    train: str | None
    lengths: Lengths
    source: str

    def of(self, splits: Iterable[str]) -> int:
        """Queries of some splits."""
        return sum(self.queries[split] for split in splits)


@dataclass(frozen=True)
class Given:
    """Counts that the user gave; None: not given. `evaluate` is of all evaluation splits together."""

    passages: int | None = None
    train: int | None = None
    evaluate: int | None = None
    passage_characters: float | None = None
    query_characters: float | None = None

    @property
    def any(self) -> bool:
        """Whether a count was given: then no stage counts as finished, since it was made from other counts."""
        return not (self.passages is None and self.train is None and self.evaluate is None)

    @property
    def all(self) -> bool:
        """Whether nothing needs to be counted."""
        return not (self.passages is None or self.train is None or self.evaluate is None)


class _Outline(Plan):
    """A plan of a collection whose files need not be there: its versions mean nothing."""

    def _collection(self) -> Stage:
        splits = self.config.splits
        wanted = list(dict.fromkeys([*([splits.train] if splits.train else []), *splits.evaluate]))
        return self._add("collection", self.config.collection.name, {"splits": wanted, "train": splits.train}, {})


def plan_of(config: Config, given: Given) -> Plan:
    """The plan; where all counts are given, the collection's files are looked at only if they are there.

    Raises:
        HardnegError: files that the configuration names are missing.
    """
    try:
        return Plan(config)
    except HardnegError:
        if not given.all:
            raise
        return _Outline(config)


def count(plan: Plan, given: Given) -> Counts:
    """Count from the finished collection stage, else from the configuration's files; what is given wins.

    Queries are counted one by one; passages in files of lines by the file's size over the mean length of the first
    `SAMPLED` lines, and so are "about".

    Raises:
        HardnegError: they cannot be counted cheaply, or a file cannot be read.
    """
    splits = plan.config.splits
    passages, queries, texts, source = 0, dict.fromkeys(plan.collection.settings["splits"], 0), _Sample([], []), "given"
    if plan.collection.manifest.exists():
        facts = json.loads(plan.collection.manifest.read_text(encoding="utf-8"))["facts"]
        passages = facts["passages"]
        queries = {split: entry["queries"] for split, entry in facts["splits"].items()}
        texts, source = _prepared_sample(plan, next(iter(queries))), "the finished collection stage"
    elif not isinstance(plan, _Outline):
        try:
            passages, queries, texts, source = _read(plan, given)
        except HardnegError:
            if not given.all:
                raise
    if given.any:
        source = "given" if given.all else f"given; the rest: {source}"
    if given.train is not None and splits.train is not None:
        queries[splits.train] = given.train
    if given.evaluate is not None:
        others = [split for split in splits.evaluate if split != splits.train]
        for number, split in enumerate(others):
            queries[split] = given.evaluate // len(others) + (number < given.evaluate % len(others))
    passages = passages if given.passages is None else given.passages
    return Counts(passages, queries, splits.train, _lengths(plan, given, texts), source)


@dataclass(frozen=True)
class _Sample:
    """Characters of the first passages and queries."""

    passages: list[int]
    queries: list[int]


def _prepared_sample(plan: Plan, split: str) -> _Sample:
    import pyarrow.parquet as pq

    columns = []
    for name, wanted in (("passages", ["title", "text"]), (f"queries.{split}", ["text"])):
        file = pq.ParquetFile(plan.collection.folder / f"{name}.parquet")
        batch = next(file.iter_batches(SAMPLED, columns=wanted))
        texts = zip(*(batch.column(column).to_pylist() for column in wanted), strict=True)
        columns.append([len(" ".join(parts).strip()) for parts in texts])
    return _Sample(*columns)


def _read(plan: Plan, given: Given) -> tuple[int, dict[str, int], _Sample, str]:
    """Passages, queries a split, a sample and the source of these, from the collection's files."""
    from hardneg.data.readers import FETCHED, open_collection

    config, splits = plan.config, plan.collection.settings["splits"]
    if config.collection.format == "pydocs":
        raise _cannot_count("the embedded collection is made from sources, which takes as long as the stage itself")
    files = plan.collection.parents.get("files")
    if files is not None and not files.manifest.exists():
        raise _cannot_count("its files are not downloaded yet")
    fetched = files.folder / FETCHED if files is not None else None
    reader = open_collection(config.collection.model_dump(mode="json"), config.splits.train, fetched)
    queries = dict.fromkeys(splits, 0)
    asked: list[int] = []
    for split in splits:
        for query in reader.queries(split):
            queries[split] += 1
            if len(asked) < SAMPLED:
                asked.append(len(query.text))
    texts = [f"{p.title} {p.text}".strip() for p in islice(reader.passages(), SAMPLED)]
    each, characters = 1.0, [len(text) for text in texts]
    if (windows := config.collection.windows) is not None and texts:
        counts = [_windows(len(text.split()), windows.words, windows.overlap) for text in texts]
        each = _mean(counts)
        characters = [round(n / parts) for n, parts in zip(characters, counts, strict=True)]
    sample, source = _Sample(characters, asked), "counted in the collection's files"
    if len(texts) < SAMPLED or given.passages is not None:
        return round(each * len(texts)), queries, sample, source
    paths = _passage_files(reader.files(splits))
    if any(path.suffix == ".json" for path in paths):  # one value: a format that is never large
        return round(each * sum(1 for _ in reader.passages())), queries, sample, source
    rows = sum(map(rows_of_file, paths))
    return round(each * rows), queries, sample, f"about, from {', '.join(path.name for path in paths)}"


def _windows(words: int, window: int, overlap: int) -> int:
    """Windows over a document of so many words."""
    return 1 + max(0, math.ceil((words - window) / (window - overlap)))


def _passage_files(files: Mapping[str, Path]) -> list[Path]:
    """Those that hold passages, by their names; else the largest."""
    named = [
        path
        for name, path in files.items()
        for said in [f"{Path(name).name} {path.name}"]
        if PASSAGE_FILE.search(said) and not OTHER_FILE.search(said)
    ]
    paths = named or sorted(files.values(), key=lambda path: path.stat().st_size)[-1:]
    if not paths:
        raise _cannot_count("this format names no files")
    return paths


def _cannot_count(found: str) -> HardnegError:
    return HardnegError(
        "The collection cannot be counted cheaply.",
        where="collection",
        found=found,
        remedy="give --passages, --queries-train and --queries-eval, or let the workflow prepare the collection first.",
    )


def rows_of_file(path: Path) -> int:
    """How many records a file has: exactly for Parquet and short files, else size / mean length of the first lines."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        rows: int = pq.ParquetFile(path).metadata.num_rows
        return rows
    with path.open("rb") as raw, contextlib.ExitStack() as opened:
        stream = opened.enter_context(gzip.GzipFile(fileobj=raw)) if path.suffix == ".gz" else raw
        lines = 0
        # Compressed bytes are read ahead, so that many are needed before their number says something.
        while lines < SAMPLED or (stream is not raw and raw.tell() < SAMPLED_BYTES):
            if not stream.readline():
                return lines
            lines += 1
        read = raw.tell()
    return round(path.stat().st_size / read * lines)


def _lengths(plan: Plan, given: Given, sample: _Sample) -> Lengths:
    """Mean lengths. Without a sample a text is taken to be as long as the configuration allows."""
    encoder = plan.config.encoder
    tokens = next(iter(plan.of("tokens")), None)
    if tokens is not None and tokens.manifest.exists() and not given.any:
        facts = json.loads(tokens.manifest.read_text(encoding="utf-8"))["facts"]
        special = len(facts["prefix"]) + len(facts["suffix"])
        known = {name: entry["mean_length"] + special for name, entry in facts["texts"].items()}
    else:
        known = {}
    at_most = encoder.passage_length * CHARACTERS_PER_TOKEN
    passages = [round(given.passage_characters)] if given.passage_characters is not None else sample.passages
    queries = [round(given.query_characters)] if given.query_characters is not None else sample.queries
    return Lengths(
        passage_characters=_mean(passages) if passages else at_most,
        query_characters=_mean(queries) if queries else encoder.query_length * CHARACTERS_PER_TOKEN,
        passage_tokens=known.get("passages", _tokens(passages, encoder.passage_length)),
        query_tokens=known.get(
            f"queries.{plan.collection.settings['splits'][0]}", _tokens(queries, encoder.query_length)
        ),
    )


def _tokens(characters: Sequence[int], longest: int) -> float:
    """Mean tokens, special ones included, of texts cut at `longest` tokens."""
    if not characters:
        return float(longest)
    return _mean([min(longest, n / CHARACTERS_PER_TOKEN + SPECIAL_TOKENS) for n in characters])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


# --- machine ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Machine:
    """What there is to use, in bytes where it is memory or disk.

    Attributes:
        name: the device that was measured, and how many cores there are.
        cores: this process may use.
        memory: free, of the host.
        disk: free, where artifacts lie.
        gpus: how many the estimate is for; 0 on a machine without one.
        gpu_memory: free on one.
    """

    name: str
    cores: int
    memory: int
    disk: int
    gpus: int = 0
    gpu_memory: int = 0


def this_machine(device: str, gpus: int) -> Machine:
    """The machine this runs on; `gpus` counts only where `device` is a GPU."""
    from hardneg.stages.devices import describe

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    disk = shutil.disk_usage(ARTIFACTS if ARTIFACTS.exists() else ".").free
    name = f"{describe((device,))}, {cores} core{'s' if cores > 1 else ''}"
    if device == "cpu":
        return Machine(name, cores, _free_memory(), disk)
    import torch

    return Machine(name, cores, _free_memory(), disk, gpus, torch.cuda.mem_get_info(torch.device(device))[0])


def _free_memory() -> int:
    """Bytes that can be had without swapping, of the machine or of the container's limit."""
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    meminfo = Path("/proc/meminfo")
    for line in meminfo.read_text(encoding="ascii").splitlines() if meminfo.exists() else []:
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    limit = Path("/sys/fs/cgroup/memory.max")
    used = Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and used.exists() and (text := limit.read_text(encoding="ascii").strip()).isdecimal():
        free = min(free, int(text) - int(used.read_text(encoding="ascii")))
    return free


# --- laws -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Need:
    """What a stage takes; None: not measured, or not computed.

    Attributes:
        seconds: from its start to its end, with its jobs side by side.
        memory: bytes of host memory of one of its processes at the peak.
        disk: bytes that stay.
        gpu_memory: bytes of one GPU; 0 where it uses none.
        scratch: bytes of disk that it takes while it runs and gives back.
        processes: that run side by side.
    """

    seconds: float | None
    memory: int | None
    disk: int | None
    gpu_memory: int | None = 0
    scratch: int = 0
    processes: int = 1


def index_bytes(factory: str, rows: int, dim: int) -> int | None:
    """Bytes of a FAISS index, or None where the factory string is of another kind than those below.

    A row takes: Flat 4 dim; SQ8 dim, SQfp16 2 dim; PQ<M> M, PQ<M>x<b> ceil(M b / 8). Before them, OPQ adds a matrix of
    4 dim^2 bytes, and IVF<n> n centroids of 4 dim and an id of 8 bytes a row. A product quantiser has 2^b centroids of
    4 dim bytes.
    """
    *before, last = factory.split(",")
    if last == "Flat":
        total = rows * 4 * dim
    elif last in ("SQ8", "SQfp16"):
        total = rows * dim * (1 if last == "SQ8" else 2)
    elif match := re.fullmatch(r"PQ(\d+)(?:x(\d+))?(?:np)?", last):
        m, bits = int(match[1]), int(match[2] or 8)
        total = rows * math.ceil(m * bits / 8) + 2**bits * 4 * dim
    else:
        return None
    for part in before:
        if match := re.fullmatch(r"IVF(\d+)", part):
            total += int(match[1]) * 4 * dim + 8 * rows
        elif re.fullmatch(r"OPQ\d+", part):
            total += 4 * dim * dim
        else:
            return None
    return total


@dataclass(frozen=True)
class Estimator:
    """The laws, for given counts, rates and machine."""

    plan: Plan
    counts: Counts
    measured: Measured
    machine: Machine

    def of(self, stage: Stage) -> Need:
        """What a stage takes, without reading and checking its parents' files and sealing its own.

        Nothing is known of another study's stages, whose collection is another, nor of downloads and of vectors that
        were made elsewhere.
        """
        if stage.dataset != self.plan.dataset or stage.kind not in _LAWS or _on_given_vectors(stage):
            return Need(None, None, None)
        return _LAWS[stage.kind](self, stage)

    # The laws. A rate that was not measured makes the seconds None.

    def collection(self, stage: Stage) -> Need:
        """Seconds: characters / rate. Disk: at most the text, uncompressed. Memory: an id a passage."""
        counts, lengths = self.counts, self.counts.lengths
        asked = sum(counts.queries.values())
        characters = counts.passages * lengths.passage_characters + asked * lengths.query_characters
        memory = self.measured.base_bytes + counts.passages * ID_BYTES
        return Need(_over(characters, self.measured.prepare), memory, round(characters))

    def tokenizer(self, stage: Stage) -> Need:
        """Seconds: a + b characters where it is trained here; a backbone's own is copied, which is not measured."""
        characters = self.counts.passages * self.counts.lengths.passage_characters
        seconds = None
        if "collection" in stage.parents and self.measured.tokenizer is not None:
            fixed, each = self.measured.tokenizer
            seconds = fixed + each * characters
        return Need(seconds, self.measured.base_bytes, 4 << 20)

    def tokens(self, stage: Stage) -> Need:
        """Seconds: characters / rate. Disk: 2 bytes a token (4 beyond 65,536 kinds), and 8 a text for where it begins.

        Memory: where each text begins, twice.
        """
        counts, lengths, encoder = self.counts, self.counts.lengths, self.plan.config.encoder
        asked = sum(counts.queries.values())
        characters = counts.passages * lengths.passage_characters + asked * lengths.query_characters
        width = 2 if encoder.backbone != "builtin:tiny" or encoder.tiny.vocabulary <= 65536 else 4
        tokens = counts.passages * lengths.passage_tokens + asked * lengths.query_tokens
        memory = self.measured.base_bytes + 2 * POSITION_BYTES * counts.passages
        return Need(
            _over(characters, self.measured.tokenize),
            memory,
            round(width * tokens) + POSITION_BYTES * (counts.passages + asked),
        )

    def bm25_index(self, stage: Stage) -> Need:
        """Seconds: characters / rate. Disk: measured bytes a character; as much again while it is merged."""
        characters = self.counts.passages * self.counts.lengths.passage_characters
        bm25 = self.measured.bm25
        size = None if bm25 is None else round(characters * bm25.bytes)
        return Need(_over(characters, None if bm25 is None else bm25.index), self._with_jvm(), size, scratch=size or 0)

    def bm25_run(self, stage: Stage) -> Need:
        """Seconds: queries x (a + b passages) / threads, of which b is hard to see in a small index: a rough guess."""
        queries, bm25 = self.counts.of(stage.settings["splits"]), self.measured.bm25
        rows = queries * min(stage.settings["depth"], self.counts.passages)
        seconds = None
        if bm25 is not None:
            seconds = queries * (bm25.query + bm25.query_passage * self.counts.passages) / min(2, self.machine.cores)
        return Need(seconds, self._with_jvm(), rows * RUN_ROW_BYTES)

    def mine(self, stage: Stage) -> Need:
        """Seconds: rows of the run / rate. Disk: at most as the run. Memory: the judgements of the training split."""
        rows = self._mined_rows(stage)
        memory = self.measured.base_bytes + 2 * POSITION_BYTES * self._trainable
        return Need(_over(rows, self.measured.run_rows), memory, rows * RUN_ROW_BYTES)

    def train(self, stage: Stage) -> Need:
        """Seconds: steps x (B queries' and B (1 + h) passages' forward and backward + the optimizer), on one device.

        B is train.batch_size, h the sampler's negatives a query. Training memory: weights, gradients and Adam's two
        moments (16 bytes a parameter), and what each text's forward keeps for backward, all rows of a step together.
        The host keeps where texts begin and the mined lists. Checkpoints: weights and moments, two kept and one on its
        way, 12 bytes a parameter each.
        """
        neural, settings = self.neural, stage.settings
        batch = settings["train"]["batch_size"]
        rows = batch * (1 + _negatives(settings))
        first, end = function_of("refresh", settings["refresh"])(self._steps(settings), settings["round"])
        passage, query = self.texts(settings)
        step = batch * query.seconds + rows * passage.seconds + neural.optimizer
        device = 16 * neural.parameters + batch * query.bytes + rows * passage.bytes
        host = POSITION_BYTES * (self.counts.passages + self._trainable)
        if "negatives" in stage.parents:
            host += 2 * POSITION_BYTES * self._mined_rows(stage.parents["negatives"])
        return self._trained((end - first) * step, host, device)

    def adore(self, stage: Stage) -> Need:
        """Seconds: steps x (B queries' forward and backward + the search + the optimizer); static lists need no search.

        The search of B queries over all passages takes passages / rate / devices. Device memory: as `train` for the
        queries alone, the retrieved vectors [B, depth, dim], and the passages' float32 vectors (or the index) shared
        among the devices that search, where they fit in half of a GPU's memory; else they are read at every step.
        """
        neural, settings = self.neural, stage.settings
        batch, depth = settings["train"]["batch_size"], _list_length(settings)
        _, query = self.texts(settings)
        live = answer_of("source", settings["source"]).live
        search = self._search_seconds(stage.parents["index"], batch, depth) if live else 0.0
        step = batch * query.seconds + search + neural.optimizer
        device = 16 * neural.parameters + batch * (query.bytes + depth * neural.dim * 4)
        searching, host = self._search_bytes(stage.parents["index"], batch) if live else (0, 0)
        host += POSITION_BYTES * self._trainable
        if "negatives" in stage.parents:
            host += 2 * POSITION_BYTES * self._mined_rows(stage.parents["negatives"])
        first, end = function_of("refresh", settings["refresh"])(self._steps(settings), settings["round"])
        return self._trained((end - first) * step, host, device + searching)

    def passages(self, stage: Stage) -> Need:
        """Seconds: passages / rate / jobs side by side, and the writing. Disk: passages x dim x 4 bytes, 2 for float16.

        Side by side run as many shards as there are GPUs; on a CPU, as encoding_threads fit in the cores.
        """
        neural, config = self.neural, self.plan.config
        places = self.machine.gpus or max(1, self.machine.cores // config.arithmetic.encoding_threads)
        jobs = min(config.runtime.shards, places)
        size = self.vectors(stage.settings["dtype"])
        seconds = self.counts.passages / neural.encode_passages / jobs + size / self.measured.disk_write
        memory = self.measured.base_bytes + self._weights_on_host(4) + POSITION_BYTES * self.counts.passages
        return Need(seconds, memory, size, self._on_gpu(neural.parameters * 4), processes=jobs)

    def queries(self, stage: Stage) -> Need:
        """Seconds: queries / rate, one device. Disk: queries x dim x 4 bytes."""
        neural, queries = self.neural, self.counts.of(stage.settings["splits"])
        memory = self.measured.base_bytes + self._weights_on_host(4) + POSITION_BYTES * queries
        size = queries * neural.dim * 4
        return Need(queries / neural.encode_queries, memory, size, self._on_gpu(neural.parameters * 4))

    def index(self, stage: Stage) -> Need:
        """Seconds: train_rows / rate + passages / rate + the writing. Memory: one file of it, or the training rows."""
        factory, neural = stage.settings["factory"], self.neural
        size = index_bytes(factory, self.counts.passages, neural.dim)
        sample, seconds = 0, 0.0 if factory == "Flat" else None
        if factory != "Flat":
            rows = min(stage.settings["train_rows"], self.counts.passages)
            sample = rows * neural.dim * 4
            if (compressed := self.measured.compressed.get(factory)) is not None:
                seconds = rows / compressed.train + self.counts.passages / compressed.add
        if seconds is not None:
            seconds += (size or 0) / self.measured.disk_write
        if size is None:
            return Need(seconds, None, None)
        file = math.ceil(size * min(1, stage.settings["rows_per_file"] / self.counts.passages))
        return Need(seconds, self.measured.base_bytes + max(file, sample), size)

    def run(self, stage: Stage) -> Need:
        """Seconds: batches of 512 queries x passages / rate / devices. Memory: the hits held at once, 28 bytes each.

        Disk: at most queries x depth x 16 bytes.
        """
        from hardneg.retrieval.search.exact import QUERY_BATCH
        from hardneg.retrieval.search.retrieve import HITS_AT_ONCE

        queries, depth = self.counts.of(stage.settings["splits"]), stage.settings["depth"]
        kept = min(depth, self.counts.passages)
        batches = math.ceil(queries / QUERY_BATCH)
        searching, host = self._search_bytes(stage.parents.get("index"), QUERY_BATCH)
        seconds = batches * self._search_seconds(stage.parents.get("index"), QUERY_BATCH, depth)
        memory = self.measured.base_bytes + host + min(queries * kept, max(HITS_AT_ONCE, QUERY_BATCH * kept)) * 28
        gpu = self._on_gpu(searching)
        return Need(seconds, memory if gpu else memory + searching, queries * kept * RUN_ROW_BYTES, gpu)

    def given_run(self, stage: Stage) -> Need:
        """Seconds: rows / rate, without parsing. Disk: at most queries x depth x 16 bytes."""
        rows = self.counts.of(stage.settings["splits"]) * stage.settings["depth"]
        return Need(_over(rows, self.measured.run_rows), self.measured.base_bytes, rows * RUN_ROW_BYTES)

    def measure(self, stage: Stage) -> Need:
        """Seconds: queries / rate. Memory: the run, twice, and every id. Disk: TREC form, 50 bytes a line."""
        run = stage.parents["run"].settings
        queries = self.counts.of(run["splits"])
        rows = queries * min(run["depth"], self.counts.passages)
        memory = self.measured.base_bytes + 2 * rows * RUN_ROW_BYTES + self.counts.passages * ID_BYTES
        return Need(_over(queries, self.measured.measure), memory, rows * TREC_LINE_BYTES)

    # What the laws share.

    @property
    def neural(self) -> Neural:
        """What was measured of the encoder; asked for only where there are dense stages."""
        assert self.measured.neural is not None, "dense stages were planned, so the encoder was measured"
        return self.measured.neural

    def vectors(self, dtype: str) -> int:
        """Bytes of all passages' vectors."""
        return self.counts.passages * self.neural.dim * (2 if dtype == "float16" else 4)

    def _steps(self, settings: Mapping[str, Any]) -> int:
        train = settings["train"]
        return total_steps(train["steps"], train["epochs"], self._trainable, train["batch_size"])

    def errors(self, stage: Stage) -> Need:
        """Seconds: two exact searches of the split's queries, one for the positives' scores and one to count."""
        from hardneg.retrieval.search.exact import QUERY_BATCH

        queries = self.counts.of([stage.settings["split"]])
        seconds = 2 * math.ceil(queries / QUERY_BATCH) * self._search_seconds(None, *next(iter(self.neural.search)))
        searching, host = self._search_bytes(None, QUERY_BATCH)
        gpu = self._on_gpu(searching)
        return Need(seconds, self.measured.base_bytes + (host if gpu else searching), queries * RUN_ROW_BYTES, gpu)

    def diagnosis(self, stage: Stage) -> Need:
        """Seconds: mined rows / rate, without a teacher's vectors. Memory: 20 bytes a mined row."""
        rows = self._mined_rows(stage) if "run" in stage.parents else 0
        return Need(_over(rows, self.measured.run_rows), self.measured.base_bytes + 20 * rows, 0)

    def agreement(self, stage: Stage) -> Need:
        """Seconds: rows of all runs / rate."""
        rows = (len(stage.parents) - 1) * self.counts.of([stage.settings["split"]]) * self.plan.config.evaluation.depth
        return Need(_over(rows, self.measured.run_rows), self.measured.base_bytes, 0)

    def _mined_rows(self, stage: Stage) -> int:
        run = stage.parents["run"].settings
        return self.counts.of(run["splits"]) * min(run["depth"], self.counts.passages)

    def texts(self, settings: Mapping[str, Any]) -> tuple[TextCost, TextCost]:
        """What a passage and a query cost a training stage of these settings."""
        passage, query = training_widths(settings["train"], self.counts.lengths)
        return self.neural.train[passage], self.neural.train[query]

    @property
    def _trainable(self) -> int:
        return self.counts.of([self.counts.train]) if self.counts.train is not None else 0

    def _trained(self, seconds: float, host: int, device: int) -> Need:
        weights = self.neural.parameters
        on_gpu = self._on_gpu(device)
        memory = self.measured.base_bytes + host + (4 * weights if on_gpu else device)
        return Need(seconds, memory, 4 * weights, on_gpu, scratch=3 * 12 * weights)

    def _search_seconds(self, index: Stage | None, batch: int, k: int) -> float:
        """Of one batch of queries over all passages."""
        rates, devices = self.neural.search, max(1, min(self.machine.gpus, self.plan.config.runtime.gpus_per_search))
        if index is not None and (compressed := self.measured.compressed.get(index.settings["factory"])) is not None:
            rates, devices = compressed.search, 1
        return self.counts.passages / rates[batch, k] / devices

    def _search_bytes(self, index: Stage | None, batch: int) -> tuple[int, int]:
        """Bytes of the searching device, and of the host besides.

        Search on a CPU maps indexes and float32 vectors, whose pages the system may take back; a float16 copy is kept
        only where it is small.
        """
        from hardneg.retrieval.search.exact import BLOCK, HOST_RESIDENT_BYTES

        neural, config = self.neural, self.plan.config
        if _is_compressed(index):
            return 0, 0
        working = 2 * BLOCK * neural.dim * 4 + batch * BLOCK * 4
        resident = self.vectors("float32")
        if self.machine.gpus:
            share = resident // min(self.machine.gpus, config.runtime.gpus_per_search)
            return working + (share if share <= self.machine.gpu_memory // 2 else 0), BLOCK * neural.dim * 4
        copied = config.arithmetic.vectors != "float32" and resident <= HOST_RESIDENT_BYTES
        return working + (resident if copied else 0), 0

    def _on_gpu(self, size: int) -> int:
        return size if self.machine.gpus else 0

    def _weights_on_host(self, each: int) -> int:
        return each * self.neural.parameters

    def _with_jvm(self) -> int:
        return self.measured.base_bytes + (self.plan.config.runtime.java_heap_mib << 20) + JVM_BESIDES_HEAP


_LAWS: dict[str, Callable[[Estimator, Stage], Need]] = {
    "collection": Estimator.collection,
    "tokenizer": Estimator.tokenizer,
    "tokens": Estimator.tokens,
    "bm25_index": Estimator.bm25_index,
    "bm25_run": Estimator.bm25_run,
    "mine": Estimator.mine,
    "train": Estimator.train,
    "passages": Estimator.passages,
    "queries": Estimator.queries,
    "index": Estimator.index,
    "given_run": Estimator.given_run,
    "run": Estimator.run,
    "adore": Estimator.adore,
    "measure": Estimator.measure,
    "errors": Estimator.errors,
    "diagnosis": Estimator.diagnosis,
    "agreement": Estimator.agreement,
}


def _on_given_vectors(stage: Stage) -> bool:
    parents = [parent for role, parent in stage.parents.items() if role in ("passages", "index")]
    return any(parent.kind == "given_vectors" or _on_given_vectors(parent) for parent in parents)


def _over(amount: float, rate: float | None) -> float | None:
    return None if rate is None else amount / rate


def _negatives(settings: Mapping[str, Any]) -> int:
    """Mined negatives a query and step."""
    if settings["source"]["name"] == "none":
        return 0
    drawn: int = settings["sampler"].get("count", 1)
    return drawn


def _list_length(settings: dict[str, Any]) -> int:
    """How many passages a query's list has, where the query encoder alone is trained."""
    length: int = settings["source"].get("depth") or settings["sampler"]["count"]
    return length


def _is_compressed(index: Stage | None) -> bool:
    return index is not None and index.settings["factory"] != "Flat"


def searches_of(plan: Plan) -> list[tuple[int, int]]:
    """(queries in a batch, passages wanted) of every search over vectors in a plan."""
    from hardneg.retrieval.search.exact import QUERY_BATCH

    pairs = [(QUERY_BATCH, stage.settings["depth"]) for stage in plan.of("run")]
    live = [
        (stage.settings["train"]["batch_size"], _list_length(stage.settings))
        for stage in plan.of("adore")
        if answer_of("source", stage.settings["source"]).live
    ]
    return list(dict.fromkeys(pairs + live))


# --- the estimate -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A stage and what it takes, or took."""

    kind: str
    label: str
    predicted: bool
    need: Need


@dataclass(frozen=True)
class Estimate:
    """All stages of a configuration, and what the user should know about them."""

    dataset: str
    counts: Counts
    machine: Machine
    measured: Measured
    rows: list[Row]
    warnings: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Predicted seconds of all that is to do, one stage after another, without stages that were not measured."""
        return sum(row.need.seconds or 0 for row in self.rows if row.predicted)

    @property
    def disk(self) -> int:
        """Predicted bytes that stages to do will add."""
        return sum(row.need.disk or 0 for row in self.rows if row.predicted)

    @property
    def scratch(self) -> int:
        """Bytes that one of them takes besides while it runs, at most."""
        return max((row.need.scratch for row in self.rows if row.predicted), default=0)


def estimate(plan: Plan, counts: Counts, measured: Measured, machine: Machine, *, all_to_do: bool = False) -> Estimate:
    """Predict every stage of a plan that is not finished.

    To a stage's own seconds come those of checking its parents' files and sealing its own: their bytes over the rate
    of SHA-256.

    Args:
        plan: of the configuration.
        counts: of its collection.
        measured: by the probes.
        machine: it would run on.
        all_to_do: take finished stages for unfinished: the counts are others than those they were made from.
    """
    laws = Estimator(plan, counts, measured, machine)
    rows: list[Row] = []
    sizes: dict[str, int] = {}
    for stage in plan.stages:
        predicted = all_to_do or not stage.manifest.exists()
        need = laws.of(stage) if predicted else finished(stage)
        sizes[stage.version] = need.disk or 0
        if predicted and need.seconds is not None:
            checked = sizes[stage.version] + sum(sizes[parent.version] for parent in stage.parents.values())
            need = replace(need, seconds=need.seconds + checked / measured.digest)
        rows.append(Row(stage.kind, stage.label, predicted, need))
    made = Estimate(plan.dataset, counts, machine, measured, rows)
    return replace(made, warnings=list(_warnings(made, laws, plan)))


def on_this_machine(
    plan: Plan, counts: Counts, device: str, gpus: int, *, quick: bool = False, all_to_do: bool = False
) -> Estimate:
    """Measure and predict.

    Args:
        plan: of the configuration.
        counts: of its collection.
        device: the torch device to measure, held by this process.
        gpus: how many like it to predict for; ignored on a CPU.
        quick: measure for a shorter time, less exactly.
        all_to_do: as for `estimate`.

    Raises:
        HardnegError: as `hardneg.estimate.probes.measure`.
    """
    machine = this_machine(device, gpus)
    measured = measure(plan, counts.lengths, searches_of(plan), device, quick)
    return estimate(plan, counts, measured, machine, all_to_do=all_to_do)


def finished(stage: Stage) -> Need:
    """What a finished stage took, from `cost.json` and its manifest; of shards the longest, and the most memory."""
    files = json.loads(stage.manifest.read_text(encoding="utf-8"))["files"]
    shards = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(stage.folder.glob(f"shard-*.{COST}"))]
    cost = stage.folder / COST
    own = [json.loads(cost.read_text(encoding="utf-8"))] if cost.exists() else []
    seconds = sum(entry["seconds"] for entry in own) + max((entry["seconds"] for entry in shards), default=0.0)
    memory = max((entry["peak_memory_mib"] for entry in own + shards), default=None)
    return Need(
        seconds if own or shards else None,
        None if memory is None else round(memory * 2**20),
        sum(entry["bytes"] for entry in files.values()),
        None,
    )


def _warnings(made: Estimate, laws: Estimator, plan: Plan) -> Iterable[str]:
    """What will not fit, and what to change."""
    machine, config = made.machine, plan.config
    for row in made.rows:
        if not row.predicted:
            continue
        need, name = row.need, f"{row.kind} {row.label}"
        if need.memory is not None and need.memory * need.processes > machine.memory:
            at_once = f" ({need.processes} processes side by side)" if need.processes > 1 else ""
            yield (
                f"{name} will not fit in memory: it needs {size_text(need.memory * need.processes)}{at_once}, "
                f"{size_text(machine.memory)} are free. {_less_memory(row, laws, plan)}"
            )
        if need.gpu_memory is not None and need.gpu_memory > machine.gpu_memory > 0:
            yield (
                f"{name} will not fit on the GPU: it needs {size_text(need.gpu_memory)}, "
                f"{size_text(machine.gpu_memory)} are free. {_less_memory(row, laws, plan)}"
            )
    if made.disk + made.scratch > machine.disk:
        yield (
            f"The disk will not do: stages add {size_text(made.disk)} and need up to {size_text(made.scratch)} "
            f"besides, {size_text(machine.disk)} are free. {_less_disk(laws, plan)}"
        )
    encoded = [row for row in made.rows if row.kind == "passages" and row.predicted]
    if encoded and config.runtime.shards < machine.gpus:
        yield (
            f"Only {config.runtime.shards} of {machine.gpus} GPUs will encode passages: "
            f"set runtime.shards to a multiple of {machine.gpus}."
        )
    live = [stage.label for stage in plan.of("adore") if not _is_compressed(stage.parents["index"])]
    if live and any(row.kind == "adore" and row.predicted for row in made.rows):
        vectors = laws.vectors(config.arithmetic.vectors)
        share = laws.vectors("float32") // max(1, min(machine.gpus, config.runtime.gpus_per_search))
        names = ", ".join(live)
        if machine.gpus and share > machine.gpu_memory // 2:
            yield (
                f"adore {names}: {size_text(share)} of vectors for each searching GPU is more than half of its memory, "
                "so they are copied to it at every step, which the times above leave out. Raise "
                f"runtime.gpus_per_search{_or_smaller_index(laws)}."
            )
        elif not machine.gpus and vectors > machine.memory:
            yield (
                f"adore {names}: {size_text(vectors)} of vectors do not stay in memory, so they are read from the disk "
                f"at every step, which the times above leave out. Use a GPU{_or_smaller_index(laws)}."
            )


def _less_memory(row: Row, laws: Estimator, plan: Plan) -> str:
    """The remedy for a stage that needs too much memory, of the host or of a GPU."""
    machine, config = laws.machine, plan.config
    if row.kind in ("train", "adore"):
        stage = next(stage for stage in plan.of(row.kind) if stage.label == row.label)
        batch = stage.settings["train"]["batch_size"]
        free = machine.gpu_memory if machine.gpus else machine.memory
        needed = (row.need.gpu_memory if machine.gpus else row.need.memory) or 0
        passage, query = laws.texts(stage.settings)
        each = query.bytes
        if row.kind == "train":
            each += (1 + _negatives(stage.settings)) * passage.bytes
        fits = batch - math.ceil((needed - free) / max(each, 1))
        if fits >= 1:
            return f"Lower systems.{row.label}.train.batch_size from {batch} to {fits}, or encoder.passage_length."
        return "Lower encoder.passage_length, or take a smaller encoder."
    if row.kind == "passages" and row.need.processes > 1:
        fits = max(1, machine.memory // (row.need.memory or 1))
        return f"Run {fits} at once: runtime.shards: {fits}."
    if row.kind.startswith("bm25"):
        return f"Lower runtime.java_heap_mib ({config.runtime.java_heap_mib})."
    if row.kind in ("index", "run") and (smaller := _smaller_index(laws)):
        return f"Set {smaller}."
    return "Use a machine with more memory."


def _less_disk(laws: Estimator, plan: Plan) -> str:
    remedies = []
    if plan.of("passages") and plan.config.arithmetic.vectors == "float32":
        saved = len(plan.of("passages")) * laws.vectors("float16")
        remedies.append(f"arithmetic.vectors: float16 spares {size_text(saved)}")
    if plan.of("index") and plan.config.index.factory == "Flat" and (smaller := _smaller_index(laws)):
        remedies.append(smaller)
    remedies.append("`hardneg prune` removes what no configuration names")
    return f"What helps: {'; '.join(remedies)}."


def _smaller_index(laws: Estimator) -> str:
    """A product quantiser of 8 dimensions a byte, and its size; empty where the index is compressed already."""
    dim = laws.neural.dim
    if laws.plan.config.index.factory != "Flat" or dim < 16:
        return ""
    factory = f"PQ{max(m for m in range(1, dim // 8 + 1) if dim % m == 0)}"
    return f"index.factory: {factory} ({size_text(index_bytes(factory, laws.counts.passages, dim) or 0)} an index)"


def _or_smaller_index(laws: Estimator) -> str:
    smaller = _smaller_index(laws)
    return f", or set {smaller}" if smaller else ""


# --- for people -------------------------------------------------------------------------------------------------------


def text(made: Estimate, gpus_asked: int | None) -> str:
    """The estimate as an aligned table, with warnings.

    Args:
        made: the estimate.
        gpus_asked: the --gpus that was given, to say so where there is no GPU to measure.
    """
    counts, machine = made.counts, made.machine
    asked = ", ".join(f"{number:,} {split}" for split, number in counts.queries.items())
    lengths = counts.lengths
    head = [
        f"{made.dataset}: {counts.passages:,} passages, queries: {asked} ({counts.source})",
        f"a passage: {lengths.passage_characters:,.0f} characters, {lengths.passage_tokens:.0f} tokens; "
        f"a query: {lengths.query_characters:,.0f} characters, {lengths.query_tokens:.0f} tokens (means)",
    ]
    if made.measured.neural is not None:
        neural = made.measured.neural
        head.append(f"encoder: {neural.model}, {neural.parameters / 1e6:,.1f}M parameters, vectors of {neural.dim}")
    date = datetime.now(UTC).strftime("%Y-%m-%d")
    head.append(f"measured on {machine.name}, {date}; {_devices(machine, gpus_asked)}")
    table = [("stage", "system", "", "time", "memory", "GPU memory", "disk")]
    for row in made.rows:
        need = row.need
        memory = size_text(need.memory)
        if need.processes > 1:
            memory = f"{need.processes} x {memory}"
        gpu = "-" if need.gpu_memory in (0, None) else size_text(need.gpu_memory)
        how = "predicted" if row.predicted else "done"
        table.append((row.kind, row.label, how, time_text(need.seconds), memory, gpu, size_text(need.disk)))
    unknown = sum(row.predicted and row.need.seconds is None for row in made.rows)
    without = f", without {unknown} not measured" if unknown else ""
    table.append(("total", "", "predicted", time_text(made.seconds), "", "", size_text(made.disk)))
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = []
    for cells in table:
        padded = [
            cell.ljust(width) if column < 3 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        lines.append("  ".join(padded).rstrip())
    foot = [
        f"The total is of the stages to do, one after another{without}; start-up of jobs is not in it. "
        f"While they run they need up to {size_text(made.scratch)} of disk besides."
    ]
    if any(row.kind == "bm25_run" and row.predicted for row in made.rows):
        foot.append(
            "The time of bm25_run is a rough guess: how it grows with the collection hardly shows in a small one."
        )
    foot += [f"not measured: {reason}" for reason in made.measured.missing]
    foot += [f"warning: {warning}" for warning in made.warnings] or ["Every stage fits, as predicted."]
    return "\n".join([*head, "", *lines, "", *foot])


def _devices(machine: Machine, asked: int | None) -> str:
    if machine.gpus:
        return f"predicted for {machine.gpus} such GPU{'s' if machine.gpus > 1 else ''}"
    if asked:
        return f"there is no GPU here, so --gpus {asked} counts for nothing: all times are for this CPU"
    return "all times are for this CPU"


def as_json(made: Estimate) -> dict[str, Any]:
    """The estimate as JSON types: seconds and bytes; null where something was not measured or computed."""
    return {
        "dataset": made.dataset,
        "counts": asdict(made.counts),
        "machine": asdict(made.machine),
        "measured": {name: _keys_as_text(value) for name, value in asdict(made.measured).items()},
        "stages": [
            {"stage": row.kind, "system": row.label, "predicted": row.predicted, **asdict(row.need)}
            for row in made.rows
        ],
        "total": {"seconds": made.seconds, "disk": made.disk, "scratch": made.scratch},
        "warnings": made.warnings,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _keys_as_text(value: Any) -> Any:
    """A pair that is a key, such as (512, 1000), as text: `512 1000`."""
    if isinstance(value, dict):
        return {
            " ".join(map(str, key)) if isinstance(key, tuple) else key: _keys_as_text(inner)
            for key, inner in value.items()
        }
    return value


def time_text(seconds: float | None) -> str:
    """Seconds with a unit that suits them."""
    if seconds is None:
        return "not measured"
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def size_text(size: int | None) -> str:
    """Bytes with a unit that suits them."""
    if size is None:
        return "not computed"
    for unit, power in (("TiB", 40), ("GiB", 30)):
        if size >= 1 << power:
            return f"{size / (1 << power):.1f} {unit}"
    return f"{size / (1 << 20):.1f} MiB"
