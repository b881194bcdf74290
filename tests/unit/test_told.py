"""What is told of texts that BM25 or the tokenizer can make nothing of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hardneg.data.languages import Detected
from workflow_scripts.told import language_of, nothing_learnt, unknown_tokens, without_hits


@pytest.mark.parametrize(("without", "lines", "named"), [(0, 0, False), (3, 1, False), (10, 1, True)])
def test_queries_without_hits(without: int, lines: int, named: bool) -> None:
    told = list(without_hits("dev", 10, without, "de"))
    assert len(told) == lines
    assert any("language de" in line and "bm25.language" in line for line in told) == named
    assert all(f"dev: BM25 found nothing for {without} of 10 queries" in line for line in told)


@pytest.mark.parametrize(
    ("given", "begins"),
    [(None, "BM25 analyses language ja: why."), ("ja", ""), ("zh", "warning: bm25.language is zh, but ")],
)
def test_the_language_is_told_and_a_contradiction_too(given: str | None, begins: str) -> None:
    told = list(language_of(given, Detected("ja", "why")))
    assert len(told) == (1 if begins else 0)
    assert all(line.startswith(begins) for line in told)


@pytest.mark.parametrize(
    ("ids", "unknown", "share"),
    [([1, 5, 1, 6], 1, "50%"), ([5] * 99 + [1], 1, "1%"), ([5] * 199 + [1], 1, ""), ([1], None, ""), ([], 1, "")],
)
def test_unknown_tokens(ids: list[int], unknown: int | None, share: str) -> None:
    told = list(unknown_tokens("passages", np.array(ids, np.uint16), unknown))
    assert [line[: line.index(" of")] for line in told] == ([f"passages: {share}"] if share else [])


@pytest.mark.parametrize(("rows", "told"), [("1,0,1e-3\n2,0.0,1e-3\n", 1), ("1,0,1e-3\n2,1e-9,1e-3\n", 0), ("", 0)])
def test_a_loss_of_nothing(tmp_path: Path, rows: str, told: int) -> None:
    (tmp_path / "loss.csv").write_text(f"step,loss,lr\n{rows}")
    assert len(list(nothing_learnt(tmp_path / "loss.csv"))) == told
