"""Golden token ids, worked by hand from small vocabularies of the three families, held before anything trains."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from made import READING, TOKENIZER, seal, small, stage_of, write_collection
from transformers import AutoTokenizer, BertTokenizer, RobertaTokenizer, T5Tokenizer, XLMRobertaTokenizer

from hardneg.data.template import Reading
from hardneg.errors import HardnegError
from hardneg.text.tokenizer_contract import check_contract, read_contract
from hardneg.text.tokens import TokenStore, make_tokenizer, tokenize

# Byte-level BPE as RoBERTa's; the letter with which a word begins carries its space, written Ġ.
ROBERTA = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *"ĠHhotcas<ep>", "ho", "hot", "Ġhot", "ca", "cat", "Ġcat"]
MERGES: list[Any] = [("h", "o"), ("ho", "t"), ("Ġ", "hot"), ("c", "a"), ("ca", "t"), ("Ġ", "cat")]
# WordPiece as BERT's: greedy, longest first; a piece inside a word begins with ##.
BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hot", "Hot", "cat", "##s", "-"]
# Unigram as XLM-R's: the cut with the best sum of scores; ▁ begins a word.
XLMR = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁hot", -1.0), ("▁cat", -1.0), ("▁", -3.0)]
XLMR += [(letter, -4.0) for letter in "hotcas"] + [("<mask>", 0.0)]

R = {piece: number for number, piece in enumerate(ROBERTA)}
B = {piece: number for number, piece in enumerate(BERT)}
X = {piece: number for number, (piece, _) in enumerate(XLMR)}


@pytest.fixture(scope="module")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder with a tokenizer of each family; BERT's keeps capitals, so that lower-casing is seen to be ours."""
    folder = tmp_path_factory.mktemp("backbones")
    RobertaTokenizer(vocab=dict(R), merges=MERGES).save_pretrained(folder / "roberta")
    BertTokenizer(vocab=dict(B), do_lower_case=False).save_pretrained(folder / "bert")
    XLMRobertaTokenizer(vocab=XLMR).save_pretrained(folder / "xlmr")
    T5Tokenizer(vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁a", -1.0)], extra_ids=0).save_pretrained(
        folder / "t5"
    )
    return {path.name: path for path in folder.iterdir()}


def made(backbone: Path, folder: Path, **settings: Any) -> dict[str, Any]:
    """The facts of a tokenizer stage."""
    folder.mkdir(exist_ok=True)
    plain = {**READING, "backbone": "local", "trust_remote_code": False, "lower_case": False, "contract": None}
    return make_tokenizer({**plain, **settings}, folder, None, str(backbone))[1]


def ids(table: dict[str, int], pieces: str) -> list[int]:
    return [table[piece] for piece in pieces.split()]


LOWER: dict[str, Any] = {"lower_case": True}
SPACED: dict[str, Any] = {"lower_case": True, "prefix_space": True}
CASES: list[tuple[str, dict[str, Any], dict[str, Any], list[int]]] = [
    # As the tokenizer comes: no space before the first word, and capitals, which no merge knows.
    ("roberta", {}, {"text": "Hot cat"}, ids(R, "<s> H o t Ġcat </s>")),
    ("roberta", LOWER, {"text": "Hot cat"}, ids(R, "<s> hot Ġcat </s>")),
    ("roberta", SPACED, {"text": "Hot cat"}, ids(R, "<s> Ġhot Ġcat </s>")),
    ("roberta", SPACED, {"text": " hot cat"}, ids(R, "<s> Ġhot Ġcat </s>")),  # one space, not two
    ("roberta", SPACED, {"text": ""}, ids(R, "<s> </s>")),
    # White space at the end is a token, which readers of MS MARCO remove; a literal special token is that token.
    ("roberta", SPACED, {"text": "hot cat "}, ids(R, "<s> Ġhot Ġcat Ġ </s>")),
    ("roberta", SPACED, {"text": "hot</s> cat"}, ids(R, "<s> Ġhot </s> Ġcat </s>")),
    ("roberta", {**SPACED, "prefix_space": False}, {"text": "hot hot"}, ids(R, "<s> hot Ġhot </s>")),
    # A separator in the middle: the token, or, as the reference implementation's documents have it, its mere letters.
    (
        "roberta",
        {**SPACED, "passage_template": "{url}{sep}{title}{sep}{text}"},
        {"url": "Hot", "title": "", "text": "Cat"},
        ids(R, "<s> Ġhot </s> </s> Ġcat </s>"),
    ),
    (
        "roberta",
        {**SPACED, "passage_template": "{title}<sep>{text}"},
        {"title": "Hot", "text": "Cat"},
        ids(R, "<s> Ġhot < s e p > cat </s>"),
    ),
    # A cut text keeps its closing token.
    ("roberta", SPACED, {"text": "hot cat hot", "length": 4}, ids(R, "<s> Ġhot Ġcat </s>")),
    (
        "roberta",
        {**SPACED, "passage_template": "{title}{sep}{text}", "characters": len("hot</s>ca")},
        {"title": "hot", "text": "cat"},
        ids(R, "<s> Ġhot </s> Ġ ca </s>"),
    ),
    ("bert", {}, {"text": "Hot cats"}, ids(B, "[CLS] Hot cat ##s [SEP]")),
    ("bert", LOWER, {"text": "Hot cats"}, ids(B, "[CLS] hot cat ##s [SEP]")),
    ("bert", {}, {"text": "HOT"}, ids(B, "[CLS] [UNK] [SEP]")),
    (
        "bert",
        {**LOWER, "passage_template": "{title} {sep} {text}"},
        {"title": "Hot-HOT", "text": "Cats", "length": 6},
        ids(B, "[CLS] hot - hot [SEP] [SEP]"),  # one separator is the template's, one closes the cut text
    ),
    ("xlmr", {}, {"text": "hot cats"}, ids(X, "<s> ▁hot ▁cat s </s>")),
    ("xlmr", {}, {"text": "Hot"}, ids(X, "<s> ▁ <unk> o t </s>")),
    ("xlmr", LOWER, {"text": "Hot"}, ids(X, "<s> ▁hot </s>")),
    (
        "xlmr",
        {**LOWER, "passage_template": "{title}{sep}{text}"},
        {"title": "Hot", "text": "Cats", "length": 4},
        ids(X, "<s> ▁hot </s> </s>"),
    ),
]


@pytest.mark.parametrize(("family", "settings", "entry", "golden"), CASES)
def test_golden_ids(
    backbones: dict[str, Path],
    tmp_path: Path,
    family: str,
    settings: dict[str, Any],
    entry: dict[str, Any],
    golden: list[int],
) -> None:
    made(backbones[family], tmp_path / "kept", **settings, contract=[{**entry, "ids": golden}])
    with pytest.raises(HardnegError, match="breaks the tokenisation contract"):
        made(backbones[family], tmp_path / "broken", **settings, contract=[{**entry, "ids": [*golden[:-1], 4]}])


def test_what_is_stored_is_what_the_contract_saw(backbones: dict[str, Path], tmp_path: Path) -> None:
    """Through tokenize and TokenStore: template, lower-casing, prefix space, and a cut that keeps the last token."""
    collection = write_collection(tmp_path / "collection", ["Hot Cat", "Cat cat CAT hot", ""], ["HOT hot"])
    settings = {**SPACED, "passage_template": "{text}{sep}{title}", "characters": 11}
    plain = {"backbone": "local", "trust_remote_code": False, "contract": None}
    stage = stage_of(tmp_path / "tokenizer", {**plain, **settings})
    names, stage.facts = make_tokenizer(stage.settings, stage.folder, None, str(backbones["roberta"]))
    tokenizer = seal(stage, names)
    stage = stage_of(
        tmp_path / "tokens",
        {
            "query_length": 3,
            "passage_length": 5,
            **{key: settings[key] for key in ("passage_template", "characters")},
        },
    )
    names, stage.facts = tokenize(stage.settings, stage.folder, collection, tokenizer)
    tokens = seal(stage, names)
    rows, mask = TokenStore(tokens, "passages").batch([0, 1, 2], multiple=1)
    kept = [row[part == 1].tolist() for row, part in zip(rows, mask, strict=True)]
    # "cat cat CAT hot" is cut at 11 characters before the separator comes, then at 5 tokens
    assert kept == [
        ids(R, "<s> Ġhot Ġcat </s> </s>"),
        ids(R, "<s> Ġcat Ġcat Ġcat </s>"),
        ids(R, "<s> </s> </s>"),
    ]
    rows, _ = TokenStore(tokens, "queries.train").batch([0], multiple=1)
    assert rows.tolist() == [ids(R, "<s> Ġhot </s>")]


def test_a_broken_contract_names_the_text_the_ids_and_the_versions(backbones: dict[str, Path], tmp_path: Path) -> None:
    contract = [
        {"text": "Hot cat", "ids": ids(R, "<s> Ġhot Ġcat </s>")},
        {"text": "Cat", "ids": ids(R, "<s> cat </s>")},
        {"text": "cat", "ids": []},
    ]
    with pytest.raises(HardnegError) as fault:
        made(backbones["roberta"], tmp_path / "made", **SPACED, contract=contract)
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("tokenizers", "transformers"))
    assert str(fault.value).splitlines() == [
        "The tokenizer breaks the tokenisation contract.",
        "  where:    encoder.contract: text 'cat', token 2",
        f"  found:    {ids(R, '<s> Ġcat </s>')}: ['<s>', 'Ġcat', '</s>']",
        f"  expected: {ids(R, '<s> cat </s>')}",
        f"  remedy:   install the versions that the contract was made with (installed: {versions}), or correct "
        "encoder.backbone, lower_case, prefix_space and passage_template.",
    ]


@pytest.mark.parametrize(("family", "wanted"), [("bert", False), ("xlmr", False)])
def test_a_prefix_space_that_does_nothing_is_refused(
    backbones: dict[str, Path], tmp_path: Path, family: str, wanted: bool
) -> None:
    with pytest.raises(HardnegError, match=r"ignores prefix_space\.\n.*encoder.prefix_space\n.*false, but 'a'"):
        made(backbones[family], tmp_path / "made", prefix_space=wanted)


def test_a_tokenizer_without_a_separator_is_told(backbones: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(HardnegError, match=r"has no separator token\.\n.*encoder.passage_template"):
        made(backbones["t5"], tmp_path / "made", passage_template="{title}{sep}{text}")


def test_the_builtin_tokenizer_keeps_its_own_lower_casing(tmp_path: Path) -> None:
    """Its normalizer lower-cases, so that texts reach it as they are; the separator is its token all the same."""
    collection = small(tmp_path).collection
    template = "{title}{sep}{text}"
    settings = {**TOKENIZER, "passage_template": template}
    stage = stage_of(tmp_path / "made", settings)
    stage.facts = make_tokenizer(settings, stage.folder, collection, None)[1]
    assert stage.facts["reading"] == {
        "passage_template": template,
        "separator": "[SEP]",
        "lower_case": False,
        "characters": None,
        "query_template": "{text}",
    }
    facts = json.loads((stage.folder / "template.json").read_text(encoding="utf-8"))
    assert facts == stage.facts and facts["suffix"] == [3]
    tokenizer = AutoTokenizer.from_pretrained(stage.folder / "tokenizer")
    first, second = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("ab[SEP]a", "AB[SEP]A"))
    assert first == second and first.count(3) == 1


# --- the file ---


def test_a_contract_file(tmp_path: Path, backbones: dict[str, Path]) -> None:
    path = tmp_path / "golden.jsonl"
    path.write_text(
        '{"text": "hot", "ids": [2, 5, 3]}\n\n{"title": "", "text": "cat", "ids": [2, 7, 3], "length": 9}\n'
    )
    entries = read_contract(path)
    assert [entry["ids"] for entry in entries] == [[2, 5, 3], [2, 7, 3]]
    check_contract(AutoTokenizer.from_pretrained(backbones["bert"]), entries, Reading())


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("[1, 2]", "[1, 2]"),
        ('{"text": "a"}', '{"text": "a"}'),
        ('{"text": "a", "ids": ["x"]}', "ids"),
        ('{"text": "a", "ids": [1], "lenght": 3}', "lenght"),
        ('{"text": "a", "ids": [1], "length": 0}', "length"),
        ('{"text": 3, "ids": [1]}', "text"),
        ("{", "{"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, found: str) -> None:
    path = tmp_path / "golden.jsonl"
    path.write_text('{"text": "a", "ids": [1]}\n' + line + "\n")
    with pytest.raises(HardnegError) as fault:
        read_contract(path)
    where, shown = str(fault.value).splitlines()[1:3]
    assert where == f"  where:    {path}, line 2" and found in shown


def test_a_missing_or_empty_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(HardnegError, match=r"cannot be read\.\n.*encoder.contract: .*none.jsonl"):
        read_contract(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(HardnegError, match="The tokenisation contract is empty"):
        read_contract(tmp_path / "empty.jsonl")
