"""Predictions: laws against values worked by hand, with made rates; counting; one real, tiny round of probes."""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hardneg.cli import main as cli
from hardneg.config import load
from hardneg.errors import HardnegError
from hardneg.estimate import sampling, text
from hardneg.estimate.counts import Counts, Given, Lengths, count, plan_of
from hardneg.estimate.estimate import Estimate, estimate
from hardneg.estimate.laws.index import index_bytes
from hardneg.estimate.laws.sizes import EncoderSize, Sizes
from hardneg.estimate.laws.table import memory_mb
from hardneg.estimate.machine import Machine
from hardneg.estimate.needs import Need
from hardneg.estimate.speeds import bm25
from hardneg.estimate.speeds.encoder import encoder_of
from hardneg.estimate.speeds.measured import Bm25, Compressed, Measured, Neural, TextCost
from hardneg.planning.plan import Plan
from hardneg.stages.artifacts import write_json

GIB = 1 << 30
LENGTHS = Lengths(passage_characters=400, query_characters=40, passage_tokens=60, query_tokens=10)
COUNTS = Counts(1_000_000, {"train": 10_000, "dev": 600, "test": 424}, "train", LENGTHS, "given")
MACHINE = Machine("a made machine", cores=2, memory=64 * GIB, disk=500 * GIB)
NEURAL = Neural(
    model="made",
    parameters=1_000_000,
    dim=128,
    encode_passages=500.0,
    encode_queries=2_000.0,
    train={(64, False): TextCost(0.004, 3_000_000), (16, False): TextCost(0.001, 1_000_000)},
    optimizer=0.01,
    search={(512, 1000): 1_000_000.0, (512, 200): 2_000_000.0, (64, 200): 4_000_000.0},
)
MEASURED = Measured(
    base_bytes=300 << 20,
    disk_write=100e6,
    digest=1e15,  # so that checking and sealing take nothing
    prepare=10e6,
    tokenizer=(5.0, 1e-8),
    tokenize=4e6,
    run_rows=1e6,
    measure=100.0,
    neural=NEURAL,
    bm25=Bm25(index=5e6, bytes=0.5, query=0.001, query_passage=1e-8),
)


def config(**changes: Any) -> dict[str, Any]:
    train = {"steps": 100, "batch_size": 32}
    return {
        "collection": {"format": "pydocs", "name": "made"},
        "encoder": {"query_length": 24, "passage_length": 120},
        "systems": {
            "bm25": {"preset": "bm25"},
            "star": {"preset": "bm25neg", "train": train},
            "adore": {"preset": "adore", "from": "star", "train": {"epochs": 2, "batch_size": 64}},
        },
        **changes,
    }


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def estimated(
    measured: Measured = MEASURED, machine: Machine = MACHINE, counts: Counts = COUNTS, **changes: Any
) -> Estimate:
    return estimate(Plan(load(config(**changes))), counts, measured, machine)


def needs(made: Estimate) -> dict[tuple[str, str], list[Need]]:
    rows: dict[tuple[str, str], list[Need]] = {}
    for row in made.rows:
        rows.setdefault((row.kind, row.label), []).append(row.need)
    return rows


@pytest.mark.parametrize(
    ("factory", "expected"),
    [
        ("Flat", 1_000 * 64 * 4),
        ("SQ8", 1_000 * 64),
        ("SQfp16", 1_000 * 128),
        ("PQ16", 1_000 * 16 + 256 * 64 * 4),
        ("PQ10x4", 1_000 * 5 + 16 * 64 * 4),
        ("OPQ16,PQ16", 1_000 * 16 + 256 * 64 * 4 + 64 * 64 * 4),
        ("IVF32,Flat", 1_000 * (256 + 8) + 32 * 256),
        ("HNSW32", None),
        ("OPQ16_64,PQ16", None),
    ],
)
def test_bytes_of_an_index(factory: str, expected: int | None) -> None:
    assert index_bytes(factory, 1_000, 64) == expected


@pytest.mark.parametrize("factory", ["Flat", "SQ8", "PQ16x4", "OPQ16,PQ16x4", "IVF8,Flat", "IVF8,PQ8x4"])
def test_bytes_of_an_index_are_those_that_faiss_writes(factory: str) -> None:
    import faiss
    import numpy as np

    faiss.omp_set_num_threads(1)
    vectors = np.random.default_rng(0).standard_normal((1_000, 64), np.float32)
    index = faiss.index_factory(64, factory, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    assert index_bytes(factory, 1_000, 64) == pytest.approx(len(faiss.serialize_index(index)), rel=0.05)


def test_every_law_against_values_worked_by_hand() -> None:
    rows = needs(estimated())
    (passages,), (queries,) = rows["passages", "star"], rows["queries", "star"]
    assert passages.seconds == pytest.approx(1_000_000 / 500 / 2 + 512e6 / 100e6)  # two shards on two cores
    assert (passages.disk, passages.processes) == (1_000_000 * 128 * 4, 2)
    assert queries.seconds == pytest.approx(1024 / 2_000)
    assert queries.disk == 1024 * 128 * 4
    (train,) = rows["dual_encoder", "star"]
    assert train.seconds == pytest.approx(100 * (32 * 0.001 + 64 * 0.004 + 0.01))
    # 16 bytes a parameter, what 32 queries and 64 passages keep, where texts begin, and the mined lists twice
    memory = 16e6 + 32e6 + 192e6 + 8 * 1_010_000 + 16 * 10_000 * 200
    assert train.memory == (300 << 20) + memory
    assert (train.disk, train.scratch) == (4_000_000, 36_000_000)
    (adore,) = rows["query_encoder", "adore"]
    steps = 2 * 10_000 / 64
    assert adore.seconds == pytest.approx(313 * (64 * 0.001 + 1_000_000 / 4_000_000 + 0.01)) and steps <= 313
    (run,) = rows["run", "star"]
    assert run.seconds == pytest.approx(2 * 1_000_000 / 1_000_000.0)
    assert run.disk == 1024 * 1000 * 16
    (index,) = rows["index", "star"]
    assert index.seconds == pytest.approx(5.12)
    assert index.disk == 512_000_000
    assert index.memory == (300 << 20) + 512_000_000
    evaluated, mined = rows["bm25_run", "bm25"]
    assert evaluated.seconds == pytest.approx(1024 * (0.001 + 0.01) / 2)
    assert mined.seconds == pytest.approx(10_000 * (0.001 + 0.01) / 2)
    assert rows["bm25_index", "lucene"][0].seconds == pytest.approx(400e6 / 5e6)
    assert rows["bm25_index", "lucene"][0].memory == (300 + 2048 + 200) << 20
    assert rows["mine", "bm25"][0].seconds == pytest.approx(2.0)
    assert rows["measure", "adore"][0].seconds == pytest.approx(10.24)
    assert rows["pairwise_errors", "star"][0].seconds == pytest.approx(
        2 * 2.0, rel=1e-4
    )  # the run's queries, searched twice
    assert rows["diagnosis", "star"][0].seconds == pytest.approx(rows["mine", "bm25"][0].seconds, rel=1e-4)
    assert rows["diagnosis", "star"][0].memory == (300 << 20) + 20 * 10_000 * 200
    assert rows["tokens", "all"][0].disk == 2 * (60_000_000 + 110_240) + 8 * 1_011_024
    assert rows["tokenizer", "tiny"][0].seconds == pytest.approx(5 + 4 * 100_000 / 1_000_000)  # of a part
    assert rows["collection", "made"][0].seconds == pytest.approx((400e6 + 11_024 * 40) / 10e6)


def test_untied_encoders_have_twice_the_parameters_where_both_train() -> None:
    one, two = needs(estimated()), needs(estimated(encoder={"query_length": 24, "passage_length": 120, "untied": True}))
    (tied,), (untied,) = one["dual_encoder", "star"], two["dual_encoder", "star"]
    assert untied.memory is not None and tied.memory is not None and tied.seconds is not None
    assert (untied.disk, untied.scratch) == (8_000_000, 72_000_000)
    assert untied.memory - tied.memory == 16_000_000  # the activations are as many
    assert untied.seconds == pytest.approx(tied.seconds + 100 * 0.01)
    for key in (("query_encoder", "adore"), ("passages", "star"), ("queries", "star")):
        (before,), (after,) = one[key], two[key]
        assert (before.memory, before.disk) == (after.memory, after.disk), "one side is loaded"


def test_memory_needs_no_measurement() -> None:
    plan = Plan(load(config()))
    kept = {key: cost.bytes for key, cost in NEURAL.train.items()}
    sizes = Sizes(plan.config, COUNTS, MACHINE, 300 << 20, EncoderSize(NEURAL.parameters, NEURAL.dim, kept))
    predicted = {id(row.stage): row.need.memory for row in estimate(plan, COUNTS, MEASURED, MACHINE).rows}
    for stage in plan.stages:
        memory = predicted[id(stage)]
        assert memory is not None
        assert memory_mb(stage, sizes) == -(-memory // 1_000_000)


def test_a_query_encoder_on_static_lists_searches_nothing() -> None:
    train = {"steps": 30, "batch_size": 64}
    static = {"preset": "static", "from": "star", "source": "self", "refresh": "rounds", "train": train}
    rows = needs(estimated(systems={**config()["systems"], "static": static}))
    spent = [rows["query_encoder", label][0].seconds for label in ("static.1", "static.2", "static")]
    assert spent == [pytest.approx(10 * (64 * 0.001 + 0.01), rel=1e-4)] * 3


def test_gpus_share_the_encoding_and_the_search() -> None:
    gpu = replace(MACHINE, gpus=4, gpu_memory=16 * GIB)
    rows = needs(estimated(machine=gpu, runtime={"shards": 4, "gpus_per_search": 2}))
    (passages,) = rows["passages", "star"]
    assert passages.seconds == pytest.approx(1_000_000 / 500 / 4 + 512e6 / 100e6)
    assert passages.gpu_memory == 4_000_000
    assert rows["run", "star"][0].seconds == pytest.approx(2 * 1.0 / 2, rel=1e-5)
    (train,) = rows["dual_encoder", "star"]
    assert train.gpu_memory == 16_000_000 + 32_000_000 + 192_000_000
    assert train.memory == (300 << 20) + 4_000_000 + 8 * 1_010_000 + 16 * 2_000_000
    assert rows["bm25_index", "lucene"][0].gpu_memory == 0


def test_rounds_share_the_steps_and_float16_halves_the_vectors() -> None:
    ance = {"preset": "ance", "from": "star", "train": {"steps": 91, "batch_size": 32}}
    systems = {**config()["systems"], "ance": ance}
    rows = needs(estimated(systems=systems, arithmetic={"vectors": "float16"}))
    step = 32 * 0.001 + 64 * 0.004 + 0.01
    spent = [rows["dual_encoder", label][0].seconds for label in ("ance.1", "ance.2", "ance")]
    assert spent == [pytest.approx(n * step) for n in (30, 30, 31)]
    assert rows["passages", "ance"][0].disk == 1_000_000 * 128 * 2


def test_what_was_not_measured_is_said_and_left_out_of_the_total() -> None:
    made = estimated(replace(MEASURED, bm25=None, missing=["BM25: no Java"]), index={"factory": "HNSW32"})
    rows = needs(made)
    assert rows["bm25_run", "bm25"][0].seconds is None
    assert rows["index", "star"][0] == Need(None, None, None)
    said = text.table(made, None)
    assert "without the 4 that were not measured" in said
    assert "not measured: BM25: no Java" in said
    assert "not computed" in said


def test_a_compressed_index_is_trained_filled_and_searched_at_its_own_rates() -> None:
    compressed = Compressed(train=20_000.0, add=100_000.0, search={(512, 1000): 5e6, (512, 200): 5e6, (64, 200): 8e6})
    rows = needs(estimated(replace(MEASURED, compressed={"PQ16": compressed}), index={"factory": "PQ16"}))
    size = 1_000_000 * 16 + 256 * 128 * 4
    (index,) = rows["index", "star"]
    assert index.seconds == pytest.approx(200_000 / 20_000 + 1_000_000 / 100_000 + size / 100e6)
    assert index.memory == (300 << 20) + max(size, 200_000 * 128 * 4)
    assert rows["run", "star"][0].seconds == pytest.approx(2 / 5, rel=1e-5)
    assert rows["query_encoder", "adore"][0].seconds == pytest.approx(313 * (0.064 + 1 / 8 + 0.01))


def test_too_small_a_machine_is_told_with_what_to_change() -> None:
    small = replace(MACHINE, memory=600 << 20, disk=GIB)
    warnings = estimated(machine=small).warnings
    said = "\n".join(warnings)
    assert "Not enough disk: the stages add " in said
    assert (
        "index star will not fit in memory: it needs 788.3 MiB, but only 600.0 MiB is free. Set index.factory: PQ16"
        in said
    )
    assert "Set runtime.shards to 1, so that only 1 runs at a time." in said
    assert "Lower runtime.java_heap_mib (2048)." in said
    assert "arithmetic.vectors: float16 saves 244.1 MiB" in said
    # 594.7 MB are needed, 587.2 are free, and each of the 32 rows keeps 7 MB
    tight = estimated(machine=replace(MACHINE, memory=560 << 20)).warnings
    assert any("dual_encoder star" in w and "train.batch_size from 32 to 30" in w for w in tight)
    assert estimated().warnings == []


def test_a_gpu_that_is_too_small_or_idle_is_told() -> None:
    gpu = replace(MACHINE, gpus=4, gpu_memory=200 << 20)
    said = "\n".join(estimated(machine=gpu).warnings)
    assert "dual_encoder star will not fit on the GPU: it needs 228.9 MiB, but only 200.0 MiB is free." in said
    assert "Only 2 of 4 GPUs will encode passages: set runtime.shards to a multiple of 4." in said
    assert (
        "query_encoder adore: each searching GPU needs 488.3 MiB for its share of the vectors, more than half of its "
        "memory" in said
    )


def test_a_machine_without_a_gpu_says_that_gpus_are_ignored() -> None:
    made = estimated()
    assert "there is no GPU here, so --gpus 4 is ignored and all times are for this CPU" in text.table(made, 4)
    assert "all times are for this CPU" in text.table(made, None)
    content = json.loads(json.dumps(text.as_json(made)))
    assert content["total"]["seconds"] == pytest.approx(sum(stage["seconds"] for stage in content["stages"]))
    assert content["measured"]["neural"]["search"]["512 1000"] == 1e6
    assert {stage["predicted"] for stage in content["stages"]} == {True}


def test_a_finished_stage_is_shown_with_what_it_took() -> None:
    plan = Plan(load(config()))
    (stage,) = plan.of("passages")
    stage.folder.mkdir(parents=True)
    write_json(stage.manifest, {"files": {"a.npy": {"bytes": 1000}, "b.npy": {"bytes": 24}}})
    write_json(stage.folder / "cost.json", {"seconds": 1.5, "peak_memory_mib": 10})
    for number, seconds in enumerate((20.0, 30.0)):
        cost = {"seconds": seconds, "peak_memory_mib": 100 + number}
        write_json(stage.folder / f"shard-000{number}-of-0002.cost.json", cost)
    made = estimate(plan, COUNTS, MEASURED, MACHINE)
    (row,) = (row for row in made.rows if not row.predicted)
    assert (row.kind, row.need.seconds, row.need.disk, row.need.memory) == ("passages", 31.5, 1024, 101 << 20)
    assert made.seconds == pytest.approx(sum(r.need.seconds or 0 for r in made.rows) - 31.5)
    assert re.search(r"^passages +star +done ", text.table(made, None), re.MULTILINE)
    assert all(row.predicted for row in estimate(plan, COUNTS, MEASURED, MACHINE, all_to_do=True).rows)


def test_lines_are_counted_from_the_size_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "SAMPLED_BYTES", 1 << 20)
    plain, packed, few = (tmp_path / name for name in ("collection.tsv", "corpus.jsonl.gz", "few.tsv"))
    rng = random.Random(0)
    lines = [f"{number}\t{rng.randbytes(40 + number % 50).hex()}\n" for number in range(50_000)]
    plain.write_text("".join(lines), encoding="utf-8")
    with gzip.open(packed, "wt", encoding="utf-8") as stream:
        stream.writelines(lines)
    few.write_text("".join(lines[:10]), encoding="utf-8")
    assert sampling.rows_of_file(plain) == pytest.approx(50_000, rel=0.05)
    assert sampling.rows_of_file(packed) == pytest.approx(50_000, rel=0.15)
    assert sampling.rows_of_file(few) == 10


def test_windows_over_a_document() -> None:
    assert [sampling.windows(words, 100, 20) for words in (1, 100, 101, 180, 181)] == [1, 1, 2, 2, 3]


def write_beir(folder: Path, passages: int) -> None:
    (folder / "qrels").mkdir(parents=True)
    rows = [json.dumps({"_id": f"p{n}", "title": "t", "text": "abc " * 22}) + "\n" for n in range(passages)]
    (folder / "corpus.jsonl").write_text("".join(rows), encoding="utf-8")
    queries = [json.dumps({"_id": f"q{n}", "text": "what is it"}) + "\n" for n in range(7)]
    (folder / "queries.jsonl").write_text("".join(queries), encoding="utf-8")
    for split, numbers in (("train", range(5)), ("test", range(5, 7))):
        lines = ["query-id\tcorpus-id\tscore\n", *(f"q{n}\tp{n}\t1\n" for n in numbers)]
        (folder / "qrels" / f"{split}.tsv").write_text("".join(lines), encoding="utf-8")


def beir(**changes: Any) -> dict[str, Any]:
    return config(
        collection={"format": "beir", "name": "made", "path": "data"}, splits={"evaluate": ["test"]}, **changes
    )


def test_counts_come_from_the_files_and_what_is_given_wins(tmp_path: Path) -> None:
    write_beir(tmp_path / "data", 4_000)
    plan = plan_of(load(beir()), Given())
    counts = count(plan, Given())
    assert counts.passages == pytest.approx(4_000, rel=0.01)
    assert counts.queries == {"train": 5, "test": 2}
    assert counts.source == "about, from corpus.jsonl"
    assert counts.lengths.passage_characters == 89  # the title, a space, 22 words; the last space goes
    assert counts.lengths.passage_tokens == pytest.approx(89 / 4.5 + 2)
    given = Given(passages=8_841_823, evaluate=9)
    counts = count(plan, given)
    assert (counts.passages, counts.queries) == (8_841_823, {"train": 5, "test": 9})
    assert counts.source.startswith("given; the rest: ")


def test_without_files_everything_must_be_given() -> None:
    with pytest.raises(HardnegError):
        plan_of(load(beir()), Given(passages=10, train=10))
    given = Given(passages=10, train=20, evaluate=30)
    plan = plan_of(load(beir()), given)
    counts = count(plan, given)
    assert (counts.passages, counts.queries, counts.source) == (10, {"train": 20, "test": 30}, "given")
    assert counts.lengths.passage_tokens == 120  # no sample: as long as is allowed
    with pytest.raises(HardnegError, match="--queries-train"):
        count(Plan(load(config())), Given())


@pytest.fixture
def arithmetic() -> Iterator[None]:
    """The probes set threads and deterministic kernels, as stages do in processes of their own."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode("default")
    torch.utils.deterministic.fill_uninitialized_memory = True  # type: ignore[attr-defined]


@pytest.mark.usefixtures("arithmetic")
def test_a_tiny_real_round_of_probes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Java is tried in the tests of BM25; another JVM option here would be a third of this test's time.
    monkeypatch.setattr(bm25, "bm25", lambda *_: MEASURED.bm25)
    small = config(
        encoder={"tiny": {"vocabulary": 300, "hidden": 16, "layers": 1, "feed_forward": 16}, "passage_length": 32},
        evaluation={"depth": 20},
        index={"factory": "PQ4x4"},
    )
    path = tmp_path / "small.yaml"
    path.write_text(json.dumps(small), encoding="utf-8")
    counts = ["--passages", "5000", "--queries-train", "300", "--queries-eval", "100"]
    cli.main(["estimate", "--configfile", str(path), "--quick", "--json", *counts])
    content = json.loads(capsys.readouterr().out)
    neural, compressed = content["measured"]["neural"], content["measured"]["compressed"]
    assert neural["dim"] == 16
    assert neural["parameters"] == sum(p.numel() for p in made_encoder(small).parameters())
    # The hidden state alone, kept once a layer at least, for 32 tokens of 16 floats.
    assert neural["train"]["32 False"][1] > 32 * 16 * 4
    assert set(neural["search"]) == set(compressed["PQ4x4"]["search"]) == {"512 20", "64 200"}
    assert all(stage["seconds"] > 0 and stage["memory"] > 0 for stage in content["stages"])
    assert content["counts"]["source"] == "given"
    assert not list(tmp_path.glob(".probe-*"))


def made_encoder(raw: dict[str, Any]) -> torch.nn.Module:
    made = load(raw)
    return encoder_of(made.encoder, made.encoder.model_dump())[0]
