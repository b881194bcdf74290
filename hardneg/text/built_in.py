"""The tokenizer of `builtin:tiny`, trained on the collection: byte-pair encoding that knows every character.

It learns the collection's characters, the commonest first, until they cover nearly all of its text. What is left, and
what only a later question holds, becomes the bytes of its UTF-8. So no text has unknown tokens, in any script.

Of a large collection it reads `PASSAGES`, spread evenly: what is common in all is common in them, and neither time nor
memory grows with the collection.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import accumulate, filterfalse
from typing import Any

from hardneg.data.template import Reading
from hardneg.stages.artifacts import Artifact
from hardneg.text.tokens import passage_texts, query_texts

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
"""The names that the tokenizers library gives to tokens of single bytes."""

PASSAGES = 100_000
FEWEST_CHARACTERS = 256
COVERAGE = 0.9995  # of the characters of a text; the share that SentencePiece advises for large alphabets
MOST_CHARACTERS = 4  # as a part of the vocabulary: a quarter


def built_in(settings: dict[str, Any], collection: Artifact, reading: Reading) -> Any:
    """Train it on passages and the training queries.

    Args:
        settings: `vocabulary`, how many tokens are learned (the bytes come on top), and `lower_case`.
        collection: the prepared collection.
        reading: how its texts are read.

    Returns:
        A tokenizer of Transformers.
    """
    from transformers import PreTrainedTokenizerFast

    pad, unknown, first, last, mask = SPECIAL
    return PreTrainedTokenizerFast(
        tokenizer_object=_train(collection, settings["vocabulary"], settings["lower_case"], reading),
        pad_token=pad,
        unk_token=unknown,
        cls_token=first,
        sep_token=last,
        mask_token=mask,
        clean_up_tokenization_spaces=False,
    )


def _train(collection: Artifact, vocabulary: int, lower_case: bool, reading: Reading) -> Any:
    """Byte-pair encoding without a subword prefix. WordPiece's trainer is not deterministic."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE(unk_token=SPECIAL[1]))
    steps = [normalizers.NFKC(), *([normalizers.Lowercase()] if lower_case else [])]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()

    def texts() -> Iterator[str]:
        there = replace(reading, separator=" ")  # there is no separator token yet
        yield from passage_texts(collection, there, PASSAGES)
        yield from query_texts(collection, collection.settings["train"])

    # Among characters that are equally common the trainer takes any, so they are chosen here.
    alphabet = characters(map(tokenizer.normalizer.normalize_str, texts()), vocabulary)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    tokenizer = _with_bytes(tokenizer)
    ends = [(name, tokenizer.token_to_id(name)) for name in SPECIAL[2:4]]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{ends[0][0]} $A {ends[1][0]}",
        pair=f"{ends[0][0]} $A {ends[1][0]} $B:1 {ends[1][0]}:1",
        special_tokens=ends,
    )
    return tokenizer


def characters(texts: Iterable[str], vocabulary: int) -> list[str]:
    """The characters to learn, the commonest first: at least 256 if there are so many, at most a quarter of the tokens.

    Between these bounds they are as few as cover `COVERAGE` of the text. Equally common ones are taken in the order of
    their code points.

    Args:
        texts: normalised.
        vocabulary: how many tokens are learned.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    ranked = sorted(filterfalse(str.isspace, counts), key=lambda character: (-counts[character], character))
    covered = list(accumulate(counts[character] for character in ranked))
    enough = bisect_left(covered, COVERAGE * covered[-1]) + 1 if covered else 0
    return ranked[: max(FEWEST_CHARACTERS, min(enough, vocabulary // MOST_CHARACTERS))]


def _with_bytes(tokenizer: Any) -> Any:
    """The tokenizer with a token for each byte, numbered after those that it learnt, which keep their numbers."""
    from tokenizers import Tokenizer

    content, size = json.loads(tokenizer.to_str()), tokenizer.get_vocab_size()
    content["model"]["byte_fallback"] = True
    content["model"]["vocab"] |= {name: size + byte for byte, name in enumerate(BYTES)}
    return Tokenizer.from_str(json.dumps(content))
