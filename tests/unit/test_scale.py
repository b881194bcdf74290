"""The generator of made collections, and the table of seconds and memory."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from benchmarks import scale
from hardneg.config import load
from hardneg.data.formats.beir import Beir
from hardneg.stages.kinds import KINDS

SPLITS = {"train": 40, "dev": 6, "test": 4}


@pytest.fixture(autouse=True)
def smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "VOCABULARY", 5000)
    monkeypatch.setattr(scale, "PASSAGES_AT_ONCE", 300)


def test_a_collection_is_a_beir_folder_that_repeats_exactly(tmp_path: Path) -> None:
    for name in ("a", "b"):
        scale.write_collection(tmp_path / name, 1000, SPLITS)
    for path in (tmp_path / "a").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()
    reader = Beir(tmp_path / "a")
    texts = {passage.passage_id: f"{passage.title} {passage.text}".split() for passage in reader.passages()}
    assert len(texts) == 1000
    for split, count in SPLITS.items():
        queries = {query.query_id: query.text.split() for query in reader.queries(split)}
        judged = {judgement.query_id: judgement.passage_id for judgement in reader.judgements(split)}
        assert len(queries) == len(judged) == count
        for query, words in queries.items():
            assert len(set(words)) == len(words) == scale.QUERY_WORDS
            assert set(words) <= set(texts[judged[query]])


def test_lengths_and_frequencies() -> None:
    made = list(scale.passages(2000))
    lengths = [len(words) for words in made]
    assert 50 < np.mean(lengths) < 60 and min(lengths) > 5
    counts = Counter(word for words in made for word in words)
    expected = 1 / (np.arange(1, 5001) + 2.7)
    expected *= sum(lengths) / expected.sum()
    for rank, word in enumerate(scale.vocabulary(20)):
        assert counts[word] == pytest.approx(expected[rank], rel=0.1)
    assert len(set(scale.vocabulary(5000))) == 5000


def test_the_study_is_valid() -> None:
    assert list(load(scale.study()).systems) == ["bm25", "bm25neg", "star", "adore_star"]


def job(folder: Path, kind: str, name: str, seconds: float, sampled: str, peak: float) -> None:
    log = folder / "logs" / "made" / kind / f"{name}.tsv"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:00:01\t{sampled}\n")
    cost = folder / "artifacts" / "made" / kind / "all-000" / f"{name}.cost.json"
    cost.parent.mkdir(parents=True, exist_ok=True)
    cost.write_text(json.dumps({"peak_memory_mib": peak}))


def test_jobs_of_a_stage_are_taken_together(tmp_path: Path) -> None:
    job(tmp_path, "passages", "0", 10.0, "700.5", 650.0)
    job(tmp_path, "passages", "1", 12.5, "-", 690.0)
    job(tmp_path, "collection", "0", 3.0, "100", 1400.0)
    table = scale.measured(tmp_path)
    assert table.reset_index().to_numpy().tolist() == [["collection", 1, 3.0, 1400.0], ["passages", 2, 22.5, 700.5]]
    larger = table.assign(seconds=table["seconds"] * [9, 10], MiB=table["MiB"] + 1)
    shown = scale.together({10: table, 100_000: larger})
    assert list(shown.columns) == [
        "stage",
        "jobs",
        "s, 10",
        "s, 100,000",
        "x (10 to 100,000)",
        "MiB, 10",
        "MiB, 100,000",
    ]
    assert shown.to_numpy().tolist() == [
        ["prepare", 1, "3.0", "27.0", "9.0", "1,400", "1,401"],
        ["encode passages", 2, "22.5", "225.0", "10.0", "700", "702"],
    ]


def test_of_several_runs_the_median_second_and_the_most_memory_are_told(tmp_path: Path) -> None:
    repeats = []
    for number, (seconds, memory) in enumerate([(10.0, 600.0), (30.0, 900.0), (11.0, 700.0)]):
        job(tmp_path / str(number), "passages", "0", seconds, "-", memory)
        job(tmp_path / str(number), "collection", "0", 3.0, "-", 100.0)
        repeats.append(scale.measured(tmp_path / str(number)))
    table = scale.median(repeats)
    assert table.reset_index().to_numpy().tolist() == [["collection", 1, 3.0, 100.0], ["passages", 1, 11.0, 900.0]]


def test_no_kind_of_stage_is_left_out(tmp_path: Path) -> None:
    for kind in ("another", "query_encoder", "tokens"):
        job(tmp_path, kind, "0", 1.0, "-", 1.0)
    shown = scale.together({10: scale.measured(tmp_path)})
    assert list(shown["stage"]) == ["tokenize", "train query encoder", "another"]
    assert set(scale.STAGES) <= set(KINDS)


@pytest.mark.parametrize("power", [0.5, 0.9, 1.0, 1.1])
@pytest.mark.parametrize("start", [0.0, 4.0])
def test_the_exponent_of_growth(power: float, start: float) -> None:
    sizes = [10_000, 100_000, 300_000, 1_000_000]
    taken = [start + 50 * (size / 1e6) ** power for size in sizes]
    assert scale.exponent(sizes, taken) == pytest.approx(power, abs=0.01)
    noisy = [seconds * (1 + 0.02 * (-1) ** number) for number, seconds in enumerate(taken)]
    assert scale.exponent(sizes, noisy) == pytest.approx(power, abs=0.1)


def test_what_does_not_grow_has_no_exponent() -> None:
    assert scale.exponent([10, 100, 1000], [3.0, 3.0, 3.0]) == pytest.approx(0, abs=0.011)
    assert np.isnan(scale.exponent([10, 100], [1.0, 2.0]))
