"""What answers questions without Transformers gives what Transformers gives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from made import ENCODER, Small, small
from transformers import AutoTokenizer

from hardneg.model.quick import QuickTiny, load_encoder, load_tokenizer
from hardneg.text.tokens import TokenStore, passage_texts


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return small(tmp_path_factory.mktemp("small"))


@pytest.mark.parametrize("size", [{"layers": 1, "heads": 2}, {"layers": 3, "heads": 4}])
def test_the_quick_built_in_encoder_gives_the_same_vectors(made: Small, tmp_path: Path, size: dict[str, int]) -> None:
    """With padding, cut texts, an empty text, and a bias and a LayerNorm that are not as they are drawn."""
    encoder = made.encoder(seed=4, projection=6, tiny={**ENCODER["tiny"], "hidden": 32, "feed_forward": 24, **size})
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    model = made.model(tmp_path / "model", encoder)
    quick = load_encoder(model).eval()
    assert isinstance(quick.backbone, QuickTiny)
    ids, mask = (torch.from_numpy(part) for part in TokenStore(made.tokens, "passages").batch(range(40)))
    with torch.inference_mode():
        torch.testing.assert_close(quick(ids, mask), encoder.eval()(ids, mask), rtol=0, atol=1e-5)
        alone, kept = quick(ids[:1, : mask[0].sum()], mask[:1, : mask[0].sum()]), encoder(ids[:1], mask[:1])
        torch.testing.assert_close(alone, kept, rtol=0, atol=1e-5)


def test_ids_of_a_question_are_the_tokenizers_own(made: Small) -> None:
    tokenizer, ids_of = (
        AutoTokenizer.from_pretrained(made.tokenizer.folder / "tokenizer"),
        load_tokenizer(made.tokenizer),
    )
    texts = ["", " ", "Sort a LIST", "naïve ﬁles 漢字 🙂", "[SEP] in [MASK] text", "a\tb\n c", "x" * 300]
    texts += list(passage_texts(made.collection))
    for length in (0, 3, 10, 1000):
        own = tokenizer(texts, add_special_tokens=False, truncation=True, max_length=length)["input_ids"]
        assert [ids_of(text, length) for text in texts] == own


def test_transformers_is_not_imported(made: Small, tmp_path: Path) -> None:
    made.model(tmp_path / "model", made.encoder())
    script = f"""
import sys
from pathlib import Path
from hardneg.stages.artifacts import Artifact
from hardneg.model.quick import load_encoder, load_tokenizer
load_encoder(Artifact.open(Path({str(tmp_path / "model" / "manifest.json")!r})))
load_tokenizer(Artifact.open(Path({str(made.tokenizer.folder / "manifest.json")!r})))
assert "transformers" not in sys.modules, "transformers"
"""
    subprocess.run([sys.executable, "-c", script], check=True)
