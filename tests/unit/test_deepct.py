"""Term weights: which token stands for a word, targets by hand, what training does to them, and what is indexed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made import ENCODER, RUNTIME, TRAIN, Small, judged_by, seal, small, stage_of
from transformers import AutoTokenizer

from hardneg.config import load
from hardneg.errors import HardnegError
from hardneg.methods.axes import default_of
from hardneg.model.term_weights import TermWeights
from hardneg.planning.plan import Plan
from hardneg.retrieval.weighted import Weighing, occurrences, repeated, write_weighted
from hardneg.stages.artifacts import Artifact
from hardneg.text.terms import NOWHERE, WEIGHTED, Reader, reader_of, weighted_texts
from hardneg.text.tokens import passage_texts
from hardneg.text.words import words_of
from hardneg.training.term_weights import examples_of, query_term_recall, squared_error, train_term_weights

CPU = torch.device("cpu")
LENGTH = 24


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return small(tmp_path_factory.mktemp("made"))


def reader(made: Small, length: int = LENGTH) -> Reader:
    return reader_of(AutoTokenizer.from_pretrained(made.tokenizer.folder / "tokenizer"), made.tokenizer.facts, length)


def term_of(word: str) -> str | None:
    """A stem, and nothing of a stop word."""
    return None if word in ("the", "of") else word.removesuffix("s")


def test_targets_are_shares_of_the_queries_that_have_a_term() -> None:
    queries = [frozenset(("fox", "red")), frozenset(("fox",)), frozenset(("hill",)), frozenset(("fox", "hill"))]
    terms = [term_of(word) for word in ("the", "red", "foxs", "of", "hills", "wine")]
    assert query_term_recall(terms, queries).tolist() == [0, 0.25, 0.75, 0, 0.5, 0]


def test_a_word_has_its_first_token_and_none_beyond_the_length(made: Small) -> None:
    text = "  Ab-cde, fgl's store! ".ljust(30) + "tail " * 40
    (read,) = reader(made)([text])
    assert read.words[:5] == ["Ab", "cde", "fgl", "s", "store"] and len(read.words) == 45
    tokenizer = AutoTokenizer.from_pretrained(made.tokenizer.folder / "tokenizer")
    assert len(read.ids) == LENGTH == len(tokenizer(text, truncation=True, max_length=LENGTH)["input_ids"])
    inside = read.first[read.first != NOWHERE]
    assert (np.diff(inside) > 0).all() and len(inside) < 45 and (read.first[len(inside) :] == NOWHERE).all()
    for word, place in zip(read.words, inside, strict=False):
        piece = str(tokenizer.decode([read.ids[place]])).strip()
        assert piece and word.lower().startswith(piece.lower())


def test_examples_are_relevant_passages_with_their_targets(made: Small) -> None:
    queries, passages = ["the red fox", "foxs", "of the", "hill"], ["A fox of the hills", "red", "no one asks this"]
    judged = judged_by([(0, 0, 1), (1, 0, 2), (3, 0, 0), (2, 1, 1)], 4, 3)
    (example,) = examples_of(queries, passages, judged, reader(made), term_of)  # query 2 has no term
    assert example.target.tolist() == [0, 1, 0, 0, 0] and len(example.first) == 5


def test_the_loss_is_the_mean_over_words(made: Small) -> None:
    module = TermWeights(made.encoder(), 1).eval()
    judged = judged_by([(0, 0, 1), (0, 1, 1), (1, 1, 1)], 2, 2)
    examples = examples_of(["ab cd", "cd"], ["ab ef", "cd ab gh ij " * 3], judged, reader(made), str)
    pad = made.tokenizer.facts["pad"]
    with torch.no_grad():
        found = squared_error(module, examples, pad, 1, CPU)
        together = squared_error(module, examples, pad, 8, CPU)
        errors = []
        for example in examples:
            weights = module(torch.from_numpy(example.ids)[None], torch.ones(1, len(example.ids), dtype=torch.int64))
            errors += [(weights[0, at] - aim) ** 2 for at, aim in zip(example.first, example.target, strict=True)]
    assert examples[1].target.tolist()[:4] == [1, 0.5, 0, 0]
    for loss in (found, together):
        assert float(loss) == pytest.approx(float(torch.stack(errors).mean()), abs=1e-5)


def test_weights_become_whole_numbers_and_none_is_negative() -> None:
    counts = occurrences(np.array([0.254, -0.3, 0.004, 1.2], np.float32), 100)
    assert counts.dtype == np.int64 and counts.tolist() == [25, 0, 0, 120]
    assert repeated(["a", "b", "c"], np.array([2, 0, 1])) == "a a c"


def test_words_that_no_query_has_sink(made: Small, tmp_path: Path) -> None:
    """Four words are in every query of a passage that has them, and four in none."""
    known = sorted({word for text in passage_texts(made.collection) for word in words_of(text)})[::7]
    asked, others = known[:4], known[4:8]
    rng = np.random.default_rng(4)
    passages = [" ".join(rng.permutation([*asked[n % 4 :], *others[n % 3 :]])) for n in range(16)]
    queries = [" ".join(word for word in text.split() if word in asked) for text in passages]
    judged = judged_by([(number, number, 1) for number in range(16)], 16, 16)
    examples = examples_of(queries, passages, judged, reader(made), str)
    torch.manual_seed(0)
    module, pad = TermWeights(made.encoder(), 1), made.tokenizer.facts["pad"]
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(40):
        optimizer.zero_grad()
        squared_error(module, examples, pad, 16, CPU).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    stage = stage_of(tmp_path / "weighted", {})
    long = " ".join(known * 4)
    how = Weighing(module, reader(made), pad, 100, CPU, "fp32")
    stage.facts = write_weighted([*passages, "", long], 18, how, stage.folder / WEIGHTED, "")
    texts = list(weighted_texts(seal(stage, [WEIGHTED])))
    assert len(texts) == 18 and texts[16] == "" and stage.facts["beyond"] > 0
    counts = {word: np.mean([text.split().count(word) for text in texts[:16] if word in text]) for word in known[:8]}
    assert min(counts[word] for word in asked) > 60 > 30 > max(counts.get(word, 0) for word in others)
    assert set(texts[0].split()) <= set(passages[0].split())


def trained(made: Small, folder: Path) -> Artifact:
    settings = {
        "encoder": {"backbone": "builtin:tiny", "tiny": ENCODER["tiny"], "width": 1},
        "length": LENGTH,
        "order": default_of("order").model_dump(),
        "passage_template": "{text}",
        "precision": "fp32",
        "seed": 3,
        "split": "train",
        "train": {**TRAIN, "steps": 3},
    }
    stage = stage_of(folder, settings, {"collection": made.collection, "tokenizer": made.tokenizer})
    return seal(stage, train_term_weights(stage, RUNTIME, CPU, str))


def test_training_repeats(made: Small, tmp_path: Path) -> None:
    first, second = (trained(made, tmp_path / name) for name in ("one", "two"))
    assert first.facts["steps"] == 3 and first.facts["passages"] == 11
    for name in first.manifest["files"]:
        assert first.path(name).read_bytes() == second.path(name).read_bytes()
    module = TermWeights.load(first)
    assert module.head.weight.shape == (1, ENCODER["tiny"]["hidden"])


# --- plans ---


def plan_of(**more: Any) -> Plan:
    systems = {"bm25": {"preset": "bm25"}, "deepct": {"preset": "deepct", "train": {"steps": 5}}}
    return Plan(load({"collection": {"format": "pydocs"}, "systems": systems, **more}))


def test_the_weighted_passages_are_indexed_as_bm25s_are() -> None:
    plan = plan_of()
    run = plan.systems["deepct"].run
    index = run.parents["index"]
    assert (run.kind, run.settings["k1"], run.settings["b"]) == ("bm25_run", 10, 0.9)
    assert index.parents["weighted"].parents["model"] is plan.of("deepct")[0]
    own = plan.systems["bm25"].run.parents["index"]
    assert own is not index and own.settings == index.settings and own.kind == index.kind == "bm25_index"
    other = plan_of(deepct={"k1": 2.0})
    assert other.systems["deepct"].run.version != run.version
    assert other.of("weighted")[0].version == plan.of("weighted")[0].version


@pytest.mark.parametrize(
    ("train", "key"), [({}, "train"), ({"steps": 5, "chunk": 4}, "train.chunk"), ({"steps": 5, "epochs": 1}, "train")]
)
def test_its_training_is_checked(train: dict[str, Any], key: str) -> None:
    systems = {"bm25": {"preset": "bm25"}, "deepct": {"preset": "deepct", "train": train}}
    with pytest.raises(HardnegError) as raised:
        load({"collection": {"format": "pydocs"}, "systems": systems})
    assert f"systems.deepct.{key}\n" in str(raised.value)
