"""Tokenizers that repeat, and stored ids that read as the tokenizer's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made import PASSAGE_LENGTH, QUERY_LENGTH, TOKENIZER, Small, seal, small, stage_of
from transformers import AutoTokenizer

from hardneg.model.quick import load_tokenizer
from hardneg.text.tokens import AskedTokens, TokenStore, passage_texts, query_texts, tokenize, tokens_of

AGAIN = """
import json, sys
from pathlib import Path
from hardneg.stages.artifacts import Artifact
from hardneg.text.tokens import make_tokenizer
settings = json.loads(sys.argv[3])
make_tokenizer(settings, Path(sys.argv[2]), Artifact.open(sys.argv[1]), None)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return small(tmp_path_factory.mktemp("small"))


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "tokenizer").iterdir()}


def test_every_process_trains_the_same_tokenizer(made: Small, tmp_path: Path) -> None:
    """Once in this process, once in another with other hashes."""
    subprocess.run(
        [
            sys.executable,
            "-c",
            AGAIN,
            str(made.collection.folder / "manifest.json"),
            str(tmp_path),
            json.dumps(TOKENIZER),
        ],
        env={**os.environ, "PYTHONHASHSEED": "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"},
        check=True,
    )
    assert files(tmp_path) == files(made.tokenizer.folder)
    assert "tokenizer.json" in files(tmp_path)


@pytest.mark.parametrize(("name", "length"), [("passages", PASSAGE_LENGTH), ("queries.train", QUERY_LENGTH)])
def test_ids_are_the_tokenizers_own(made: Small, name: str, length: int) -> None:
    tokenizer = AutoTokenizer.from_pretrained(made.tokenizer.folder / "tokenizer")
    texts = list(passage_texts(made.collection) if name == "passages" else query_texts(made.collection, "train"))
    store = TokenStore(made.tokens, name)
    assert len(store) == len(texts)
    ids, mask = store.batch(range(len(texts)))
    own = [tokenizer(text, truncation=True, max_length=length)["input_ids"] for text in texts]
    assert [row[: kept.sum()].tolist() for row, kept in zip(ids, mask, strict=True)] == own
    assert store.lengths(np.arange(len(texts))).tolist() == [len(row) for row in own]
    assert any(len(row) == length for row in own) and any(len(row) < length for row in own)


def test_a_cut_text_keeps_its_closing_token(made: Small) -> None:
    store = TokenStore(made.tokens, "passages")
    long = next(n for n, text in enumerate(passage_texts(made.collection)) if len(text.split()) == 300)
    ids, mask = store.batch([long])
    assert mask.all() and ids.shape == (1, PASSAGE_LENGTH)
    assert (ids[0, 0], ids[0, -1]) == (store.prefix[0], store.suffix[0])


def test_an_empty_text_is_its_special_tokens(made: Small) -> None:
    store = TokenStore(made.tokens, "passages")
    empty = list(passage_texts(made.collection)).index("")
    ids, mask = store.batch([empty], multiple=1)
    assert ids.tolist() == [[*store.prefix, *store.suffix]] and mask.all()


def test_padding_and_mask(made: Small) -> None:
    store = TokenStore(made.tokens, "passages")
    positions = np.argsort(store.lengths(np.arange(len(store))))[:6][::-1]
    ids, mask = store.batch(positions, multiple=8)
    lengths = store.lengths(positions)
    assert ids.shape[1] % 8 == 0 and 0 <= ids.shape[1] - lengths.max() < 8
    assert mask.sum(1).tolist() == lengths.tolist()
    assert (ids[mask == 0] == store.pad).all() and (ids[mask == 1] != store.pad).all()
    assert ((np.diff(mask, axis=1) <= 0).all()).item()  # all padding is at the end


@pytest.mark.parametrize(("name", "longest"), [("passages", 9), ("queries.train", 5), ("passages", 2)])
def test_training_may_cut_shorter_than_what_is_stored(made: Small, name: str, longest: int) -> None:
    """As if the texts had been tokenised at that length: the closing token is there."""
    tokenizer = AutoTokenizer.from_pretrained(made.tokenizer.folder / "tokenizer")
    texts = list(passage_texts(made.collection) if name == "passages" else query_texts(made.collection, "train"))
    store = TokenStore(made.tokens, name, longest)
    ids, mask = store.batch(range(len(texts)))
    own = [tokenizer(text, truncation=True, max_length=longest)["input_ids"] for text in texts]
    assert [row[: kept.sum()].tolist() for row, kept in zip(ids, mask, strict=True)] == own
    assert store.lengths(np.arange(len(texts))).tolist() == [len(row) for row in own]
    assert ids.shape[1] == longest and (ids[mask == 0] == store.pad).all()


def test_a_cut_beyond_what_is_stored_cuts_nothing(made: Small) -> None:
    whole, longer = TokenStore(made.tokens, "passages"), TokenStore(made.tokens, "passages", PASSAGE_LENGTH + 9)
    for given, same in zip(whole.batch(range(40)), longer.batch(range(40)), strict=True):
        assert np.array_equal(given, same)


def test_a_question_needs_no_tables() -> None:
    """Pandas takes a while to import."""
    subprocess.run(
        [sys.executable, "-c", "import sys, hardneg.text.tokens; assert 'pandas' not in sys.modules"], check=True
    )


def test_a_query_template_is_read_by_every_query(made: Small, tmp_path: Path) -> None:
    """In the stored ids, and in those of a question that is asked later; braces in a question are text."""
    stage = stage_of(tmp_path / "tokens", {**made.tokens.settings, "query_template": "find {{it}}: {text}"})
    names, stage.facts = tokenize(stage.settings, stage.folder, made.collection, made.tokenizer)
    tokens = seal(stage, names)
    texts = list(query_texts(made.collection, "train"))
    tokenizer = AutoTokenizer.from_pretrained(made.tokenizer.folder / "tokenizer")
    own = [tokenizer(f"find {{it}}: {text}", truncation=True, max_length=QUERY_LENGTH)["input_ids"] for text in texts]
    asked = AskedTokens(tokens, load_tokenizer(made.tokenizer), texts)
    for store in (TokenStore(tokens, "queries.train"), asked):
        ids, mask = store.batch(range(len(texts)))
        assert [row[: length.sum()].tolist() for row, length in zip(ids, mask, strict=True)] == own
    before, after = (part.path("passages.ids.bin").read_bytes() for part in (made.tokens, tokens))
    assert before == after
    assert AskedTokens(tokens, load_tokenizer(made.tokenizer), ["a {text} b {"]).lengths(np.array([0]))[0] > 0


def test_functions_that_share_a_tokenizer_cut_at_their_own_lengths(made: Small) -> None:
    model = AutoTokenizer.from_pretrained(made.tokenizer.folder / "tokenizer")
    texts = [*passage_texts(made.collection)][:5]
    whole = model(texts, add_special_tokens=False)["input_ids"]
    short, long = tokens_of(model, 3), tokens_of(model, 5)
    for _ in range(2):
        assert short(texts) == [ids[:3] for ids in whole]
        assert long(texts) == [ids[:5] for ids in whole]
