"""The tokenizer of `builtin:tiny` knows every character: what it did not learn is bytes. What it learnt stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made import PASSAGE_LENGTH, QUERY_LENGTH, READING, TOKENIZER, seal, stage_of, write_collection
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer

from hardneg.config import load
from hardneg.model.quick import load_tokenizer
from hardneg.planning.plan import Plan
from hardneg.stages.artifacts import Artifact
from hardneg.stages.revision import code_revision
from hardneg.text.built_in import BYTES, characters
from hardneg.text.tokens import AskedTokens, TokenStore, make_tokenizer, passage_texts, tokenize

ENGLISH = ["The town lies by a river.", "Old bridges are easy to reach on foot.", "A river, a town: bridges!"] * 4
OTHERS = {
    "zh": ["这座城市在河边。", "古老的桥梁闻名于世。"],
    "ja": ["町は川のそばにあり、橋で知られています。", "古い橋"],
    "th": ["เมืองนี้อยู่ริมแม่น้ำ", "และมีสะพานเก่า"],
}
MANY = ["".join(map(chr, range(0x4E00 + 100 * n, 0x4E00 + 100 * (n + 1)))) for n in range(10)]
"""A thousand characters, of which a tokenizer of 400 tokens learns 256."""


def tokenizer_of(folder: Path, passages: list[str], vocabulary: int = 400) -> Artifact:
    collection = write_collection(folder / "collection", passages, [*passages[:2]] * 6)
    stage = stage_of(folder / "tokenizer", {**TOKENIZER, "vocabulary": vocabulary})
    names, stage.facts = make_tokenizer(stage.settings, stage.folder, collection, None)
    return seal(stage, names)


def plain(texts: list[str]) -> Any:
    """Byte-pair encoding as the library trains it."""
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    )
    return tokenizer


def tokens_of(folder: Path, tokenizer: Artifact) -> Artifact:
    stage = stage_of(folder, {"query_length": QUERY_LENGTH, "passage_length": PASSAGE_LENGTH, **READING})
    collection = Artifact.open(tokenizer.folder.parent / "collection" / "manifest.json")
    names, stage.facts = tokenize(stage.settings, stage.folder, collection, tokenizer)
    return seal(stage, names)


@pytest.fixture(scope="module")
def english(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return tokenizer_of(tmp_path_factory.mktemp("english"), [*ENGLISH] * 4)


def test_what_was_learnt_has_the_tokens_and_ids_of_plain_byte_pair_encoding(english: Artifact) -> None:
    passages = [*ENGLISH] * 4
    learnt = plain([*passages, *[*passages[:2]] * 6])
    model = AutoTokenizer.from_pretrained(english.folder / "tokenizer")
    for text in [*ENGLISH, "bridges that reach a river", "THE TOWN", ""]:
        assert model(text, add_special_tokens=False)["input_ids"] == learnt.encode(text).ids
    size = learnt.get_vocab_size()
    assert english.facts["vocabulary"] == len(model) == size + 256
    assert model.convert_ids_to_tokens(list(range(size, size + 256))) == list(BYTES)


@pytest.mark.parametrize("text", ["河", "ん", "แ", "é", "🙂", "\u0378"])
def test_a_character_that_no_text_has_is_its_bytes(english: Artifact, text: str) -> None:
    model = AutoTokenizer.from_pretrained(english.folder / "tokenizer")
    assert model.tokenize(text) == [BYTES[byte] for byte in text.encode()]


def test_the_name_of_a_byte_in_a_text_is_no_byte(english: Artifact) -> None:
    model = AutoTokenizer.from_pretrained(english.folder / "tokenizer")
    assert not {*model.tokenize("<0x41>")} & {"<0x41>"}


@pytest.mark.parametrize("texts", [*OTHERS.values(), MANY], ids=[*OTHERS, "many"])
def test_no_text_of_a_collection_holds_an_unknown_token(tmp_path: Path, texts: list[str]) -> None:
    tokenizer = tokenizer_of(tmp_path, [*texts] * 6)
    tokens = tokens_of(tmp_path / "tokens", tokenizer)
    unknown = AutoTokenizer.from_pretrained(tokenizer.folder / "tokenizer").unk_token_id
    stored = TokenStore(tokens, "passages").ids
    assert len(stored) and not (np.asarray(stored) == unknown).any()
    bodies = {TokenStore(tokens, "passages").body(position).tobytes() for position in range(len(texts))}
    assert len(bodies) == len(texts)


def test_texts_of_unlearnt_characters_are_told_apart(english: Artifact) -> None:
    model = AutoTokenizer.from_pretrained(english.folder / "tokenizer")
    assert len({tuple(model(text)["input_ids"]) for text in ("河", "桥", "水")}) == 3


def test_characters_are_256_more_if_they_are_needed_and_a_quarter_at_most() -> None:
    even = ["".join(MANY)] * 3  # 1,000 characters, all equally common
    assert characters(even, 400) == sorted(even[0])[:256]
    assert characters(even, 2000) == sorted(even[0])[:500]
    assert characters(even, 65535) == sorted(even[0])  # 99.95% of 1,000 characters
    rare = ["ab" * 999_000, even[0]]  # the 254 next to "a" and "b" cover more than that
    assert characters(rare, 65535) == ["a", "b", *sorted(even[0])[:254]]
    assert characters(["b a\n", "b"], 400) == ["b", "a"]
    assert characters([], 400) == []


def test_a_new_question_is_read_as_the_stored_texts_are(tmp_path: Path, english: Artifact) -> None:
    tokens = tokens_of(tmp_path / "tokens", english)
    asked = AskedTokens(tokens, load_tokenizer(english), ["river 河"])
    model = AutoTokenizer.from_pretrained(english.folder / "tokenizer")
    assert asked.body(0).tolist() == model("river 河", add_special_tokens=False)["input_ids"]


def test_making_it_again_gives_the_same_bytes(tmp_path: Path) -> None:
    one, two = (tokenizer_of(tmp_path / name, [*OTHERS["zh"], *MANY]) for name in ("one", "two"))
    for name in one.manifest["files"]:
        assert one.path(name).read_bytes() == two.path(name).read_bytes()


def test_its_code_is_part_of_the_version_where_it_is_the_backbone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pretrained backbone's tokenizer does not depend on it."""
    monkeypatch.chdir(tmp_path)
    raw = {"collection": {"format": "pydocs"}, "systems": {"inbatch": {"preset": "inbatch", "train": {"steps": 1}}}}
    root, own = "hardneg.text.tokens:make_tokenizer", "hardneg.text.built_in:built_in"
    revisions = {}
    for backbone in ("builtin:tiny", "bert-base-uncased"):
        [stage] = Plan(load({**raw, "encoder": {"backbone": backbone}})).of("tokenizer")
        revisions[backbone] = stage.revision
    assert revisions == {"builtin:tiny": code_revision([root, own]), "bert-base-uncased": code_revision([root])}
    assert code_revision([own]) != code_revision([root])


def test_of_a_large_collection_it_learns_from_passages_spread_evenly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passages = [f"{number}" for number in range(9001)]
    collection = write_collection(tmp_path / "numbers", passages, ["one"])
    for most in (2, 7, 3000, 9000):
        taken = [int(text) for text in passage_texts(collection, most=most)]
        assert len(taken) == most
        assert set(np.diff(taken)) <= {9001 // most, 9001 // most + 1}
    assert [*passage_texts(collection, most=9001)] == [*passage_texts(collection)]

    monkeypatch.setattr("hardneg.text.built_in.PASSAGES", 24)
    learnt = {}
    for name, unread in (("one", "unread words"), ("other", "not these either")):
        mixed = [text for pair in zip([unread] * 24, [*ENGLISH] * 2, strict=True) for text in pair]
        collection = write_collection(tmp_path / name, mixed, ENGLISH[:2])
        stage = stage_of(tmp_path / f"{name}-tokenizer", TOKENIZER)
        make_tokenizer(stage.settings, stage.folder, collection, None)
        learnt[name] = (stage.folder / "tokenizer" / "tokenizer.json").read_bytes()
    assert learnt["one"] == learnt["other"]
