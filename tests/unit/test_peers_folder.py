"""A folder that sentence-transformers saved gives here the vectors that it gives there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made import seal, stage_of, texts, write_collection
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as models
from transformers import BertConfig, BertModel, BertTokenizer

from hardneg.config import Encoder as Settings
from hardneg.model.encoder import Encoder, encode_rows, initial_encoder
from hardneg.planning.backbone import resolved
from hardneg.text.tokens import TokenStore, make_tokenizer, tokenize

LETTERS = [chr(number) for number in range(ord("a"), ord("z") + 1)]
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ":", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
PROMPTS = {"query": "ask: ", "document": "text: "}


def saved(folder: Path, pooling: str, *after: Any) -> SentenceTransformer:
    """A miniature BERT with these modules, saved as its library saves it."""
    BertTokenizer(vocab={piece: at for at, piece in enumerate(PIECES)}, do_lower_case=False).save_pretrained(
        folder / "bert"
    )
    torch.manual_seed(4)
    size: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = BertModel(BertConfig(vocab_size=len(PIECES), intermediate_size=24, max_position_embeddings=40, **size))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder / "bert")
    transformer = models.Transformer(str(folder / "bert"), max_seq_length=20, do_lower_case=True)
    made = SentenceTransformer(
        modules=[transformer, models.Pooling(16, pooling_mode=pooling), *after], device="cpu", prompts=PROMPTS
    )
    made.save(str(folder / "saved"))
    return SentenceTransformer(str(folder / "saved"), device="cpu")


@pytest.mark.parametrize(
    ("pooling", "after"),
    [
        ("cls", []),
        ("weightedmean", [models.Normalize]),
        ("mean", [lambda: models.Dense(16, 12), lambda: models.Dense(12, 6, bias=False, activation_function=None)]),
        ("lasttoken", [lambda: models.Dense(16, 8, activation_function=torch.nn.GELU()), models.Normalize]),
    ],
)
def test_its_vectors(tmp_path: Path, pooling: str, after: list[Any]) -> None:
    peer = saved(tmp_path, pooling, *(module() for module in after))
    encoder, said, notes = resolved(Settings(backbone=str(tmp_path / "saved")))
    assert notes == [] and encoder.passage_length == 20
    passages, queries = (
        [text.title() for text in texts(40, [3, 0, 9, 60], 1)],
        [text.upper() for text in texts(12, [2, 30], 2)],
    )
    collection = write_collection(tmp_path / "collection", passages, queries)
    reading = encoder.model_dump(include={"passage_template", "query_template", "lower_case", "characters"})
    own = {"backbone": "local", "trust_remote_code": False, "prefix_space": None, "contract": None}
    stage = stage_of(tmp_path / "tokenizer", {**own, **reading})
    names, stage.facts = make_tokenizer(stage.settings, stage.folder, None, str(tmp_path / "saved"))
    tokenizer = seal(stage, names)
    lengths = encoder.model_dump(include={"query_length", "passage_length"})
    stage = stage_of(tmp_path / "tokens", {**lengths, **reading})
    names, stage.facts = tokenize(stage.settings, stage.folder, collection, tokenizer)
    tokens = seal(stage, names)
    settings = {**encoder.model_dump(mode="json"), "backbone": "local", "modules": list(said.modules)}
    made = initial_encoder(settings, 0, 0, 0, str(tmp_path / "saved"), 1)
    stage = stage_of(tmp_path / "model", {})
    model = Encoder.load(seal(stage, made.save(stage.folder))).eval()
    assert model.dim == said.width or said.width is None
    stores = (TokenStore(tokens, "passages"), TokenStore(tokens, "queries.train"))
    with torch.inference_mode():
        ours, asked = (encode_rows(model, s, np.arange(len(s)), 7, torch.device("cpu")).numpy() for s in stores)
    # It compares by cosine, which inner products are where vectors have length 1.
    assert peer.similarity_fn_name == "cosine" and encoder.normalize
    theirs = peer.encode_document(passages, normalize_embeddings=True)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
    np.testing.assert_allclose(asked, peer.encode_query(queries, normalize_embeddings=True), rtol=0, atol=1e-5)
    np.testing.assert_allclose(asked @ ours.T, peer.similarity(peer.encode_query(queries), theirs), rtol=0, atol=1e-5)


def test_pickled_layers_are_not_read(tmp_path: Path) -> None:
    saved(tmp_path, "mean", models.Dense(16, 8))
    (tmp_path / "saved/2_Dense/model.safetensors").rename(tmp_path / "saved/2_Dense/pytorch_model.bin")
    encoder, said, _ = resolved(Settings(backbone=str(tmp_path / "saved")))
    settings = {**encoder.model_dump(mode="json"), "backbone": "local", "modules": list(said.modules)}
    with pytest.raises(Exception, match="layer after pooling cannot be loaded"):
        initial_encoder(settings, 0, 0, 0, str(tmp_path / "saved"), 1)
