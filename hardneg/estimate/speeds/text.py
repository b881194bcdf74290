"""Preparing texts, training a tokenizer, tokenizing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hardneg.estimate.counts import Lengths
from hardneg.estimate.speeds.clock import affine, timed
from hardneg.estimate.speeds.synthetic import SyntheticCollection
from hardneg.planning.backbone import local_backbone
from hardneg.planning.plan import Plan
from hardneg.text.tokens import tokens_of

TEXTS_AT_ONCE = 1024


def prepare(synthetic: SyntheticCollection, folder: Path) -> float:
    """`Measured.prepare`: characters per second."""
    from hardneg.data.prepare import prepare as write

    return synthetic.characters / timed(lambda: write(synthetic, folder, ["train"], "train"))


def tokenize(plan: Plan, synthetic: SyntheticCollection) -> tuple[tuple[float, float] | None, float]:
    """`Measured.tokenizer` and `Measured.tokenize`."""
    trained, tokenizer = None, _finished_tokenizer(plan)
    texts = synthetic.passage_texts
    if tokenizer is None:
        size, spent = plan.config.encoder.tiny.vocabulary, []
        parts = [texts[: len(texts) // 5], texts]
        for part in parts:
            started = time.perf_counter()
            tokenizer = _train_tokenizer(part, size)
            spent.append(time.perf_counter() - started)
        trained = affine([sum(map(len, part)) for part in parts], spent)
    ids_of = tokens_of(tokenizer, plan.config.encoder.passage_tokens)

    def all_texts() -> None:
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            ids_of(texts[start : start + TEXTS_AT_ONCE])

    return trained, synthetic.characters / timed(all_texts)


def texts(
    plan: Plan, lengths: Lengths, folder: Path, count: int, *, tokens: bool
) -> tuple[float, tuple[float, float] | None, float | None]:
    """`Measured.prepare`, `Measured.tokenizer` and `Measured.tokenize`; without `tokens`, only the first."""
    synthetic = SyntheticCollection(lengths, count)
    prepared = prepare(synthetic, folder)
    return (prepared, *tokenize(plan, synthetic)) if tokens else (prepared, None, None)


def _finished_tokenizer(plan: Plan) -> Any:
    """The tokenizer of a finished stage, or a local backbone's; None if there is neither."""
    from transformers import AutoTokenizer

    for stage in plan.of("tokenizer"):
        if stage.manifest.exists():
            return AutoTokenizer.from_pretrained(stage.folder / "tokenizer")
    place = local_backbone(plan.config.encoder.backbone)
    return None if place is None else AutoTokenizer.from_pretrained(place)


def _train_tokenizer(texts: Sequence[str], vocabulary: int) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=["[UNK]", "[PAD]"], show_progress=False)
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]")
