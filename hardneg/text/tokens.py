"""Token ids: computed once for each collection, tokenizer and pair of lengths, then memory-mapped.

Ids are stored without special tokens. `TokenStore` adds them when a text is read, so that a truncated text still ends
with the closing token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hardneg.data.mapped import forget
from hardneg.data.parquet import batches
from hardneg.data.template import Reading, fields_of
from hardneg.errors import HardnegError
from hardneg.stages.artifacts import Artifact, atomic_path, write_json
from hardneg.stages.progress import Progress
from hardneg.text.special import pair_form
from hardneg.text.tokenizer_contract import check_contract

TEXTS_AT_ONCE = 4096
READ = ("passage_template", "query_template", "lower_case", "characters")
"""Settings that say how texts are read; see `Reading`."""


def passage_texts(collection: Artifact, reading: Reading | None = None, most: int | None = None) -> Iterator[str]:
    """Each passage as one text: title, space, text by default; `reading` may change that.

    With `most`, at most so many of them, spread evenly over the collection.
    """
    reading = reading or Reading()
    fields = fields_of(reading.passage_template)
    count, first = collection.facts["passages"], 0
    for batch in batches(collection.path("passages.parquet"), fields):
        if most is not None and count > most:
            rows = np.arange(first, first + len(batch))
            first += len(batch)
            batch = batch.filter(pa.array((rows + 1) * most // count != rows * most // count))
        columns = (batch.column(field).to_pylist() for field in fields)
        yield from (reading.passage(dict(zip(fields, row, strict=True))) for row in zip(*columns, strict=True))


def query_texts(collection: Artifact, split: str, reading: Reading | None = None) -> Iterator[str]:
    """The texts of a split's queries, as `reading` reads them."""
    reading = reading or Reading()
    for batch in batches(collection.path(f"queries.{split}.parquet"), ["text"]):
        yield from map(reading.query, batch.column("text").to_pylist())


def make_tokenizer(
    settings: dict[str, Any], folder: Path, collection: Artifact | None, backbone: str | None
) -> tuple[list[str], dict[str, Any]]:
    """Train the tokenizer of `builtin:tiny` on the passages and training queries, or copy the backbone's.

    Args:
        settings: the stage's settings: `backbone`; `vocabulary` (for `builtin:tiny`); how texts are read
            (`passage_template`, `query_template`, `lower_case`, `characters`); `append_eos`, whether the end token
            closes texts; `prefix_space`, whether a text begins with a space (None:
            the tokenizer's default); `contract`, golden token ids, or None.
        folder: where `tokenizer/` and `template.json` are written.
        collection: the prepared collection; required for `builtin:tiny`.
        backbone: local folder or hub name; required for any other backbone.

    Returns:
        The names of the files, and facts: vocabulary size, special ids before and after a text, the padding id, how
        texts are read.

    Raises:
        HardnegError: the backbone's tokenizer cannot be loaded, lacks a required token, ignores `prefix_space`, or
            breaks the contract.
    """
    from transformers import AutoTokenizer

    from hardneg.text.built_in import built_in

    reading = Reading(**{name: settings[name] for name in READ if name in settings})
    if settings["backbone"] == "builtin:tiny":
        assert collection is not None
        reading = replace(reading, lower_case=False)  # the built-in tokenizer's normalizer lower-cases
        tokenizer = built_in(settings, collection, reading)
    else:
        tokenizer = _pretrained(settings, backbone)
    if tokenizer.pad_token is None and tokenizer.eos_token is not None:
        tokenizer.pad_token = tokenizer.eos_token  # decoders often have none; what is padded is masked
    tokenizer.save_pretrained(folder / "tokenizer")
    # Check and record the saved tokenizer, which is the one that later stages load.
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    prefix, suffix = _template(tokenizer)
    suffix = _closed(tokenizer, suffix) if settings.get("append_eos") else suffix
    _check_special_tokens(tokenizer, reading.passage_template)
    reading = replace(reading, separator=tokenizer.sep_token or "")
    _check_prefix_space(tokenizer, settings.get("prefix_space"))
    check_contract(tokenizer, settings["contract"] or [], reading)
    facts = {
        "vocabulary": len(tokenizer),
        "prefix": prefix,
        "suffix": suffix,
        "pad": tokenizer.pad_token_id,
        "pair": pair_form(tokenizer),
        "reading": asdict(reading),
    }
    write_json(folder / "template.json", facts)
    return ["template.json", *sorted(f"tokenizer/{path.name}" for path in (folder / "tokenizer").iterdir())], facts


def _pretrained(settings: dict[str, Any], backbone: str | None) -> Any:
    """The tokenizer of a pretrained backbone."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(
            backbone,
            revision=settings.get("revision"),
            trust_remote_code=settings["trust_remote_code"],
            **({} if settings.get("prefix_space") is None else {"add_prefix_space": settings["prefix_space"]}),
        )
    except (OSError, ValueError) as fault:
        raise HardnegError(
            "The backbone's tokenizer cannot be loaded.",
            where="encoder.backbone",
            found=str(fault).splitlines()[0],
            expected="a local folder, or a name that the Hugging Face hub knows and this machine can reach",
            remedy="correct the name, or download the model and give its folder.",
        ) from None


def _check_special_tokens(tokenizer: Any, passage_template: str) -> None:
    """Refuse a tokenizer without a padding token, or without the separator token that the template uses."""
    if tokenizer.pad_token_id is None:
        raise HardnegError(
            "The backbone's tokenizer has no padding token.",
            where="encoder.backbone",
            remedy="set one in its tokenizer_config.json.",
        )
    if tokenizer.sep_token is None and "{sep}" in passage_template:
        raise HardnegError(
            "The backbone's tokenizer has no separator token.",
            where="encoder.passage_template",
            found=passage_template,
            remedy="replace {sep} by another separator, or set one in the backbone's tokenizer_config.json.",
        )


def _template(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special ids that a tokenizer puts before and after one text."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a")["input_ids"]
    start = next(at for at in range(len(full)) if full[at : at + len(bare)] == bare)
    return full[:start], full[start + len(bare) :]


def _closed(tokenizer: Any, suffix: list[int]) -> list[int]:
    """The special ids after a text, with the end token last."""
    end = tokenizer.eos_token_id
    if end is None:
        raise HardnegError(
            "The backbone's tokenizer has no end token.",
            where="encoder.append_eos",
            found="true",
            remedy="set it to false, or set eos_token in the backbone's tokenizer_config.json.",
        )
    return suffix if suffix[-1:] == [end] else [*suffix, end]


def _check_prefix_space(tokenizer: Any, wanted: bool | None) -> None:
    """Refuse a tokenizer that ignores `prefix_space`. One that adds a space gives "a" and " a" the same ids."""
    bare, spaced = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("a", " a"))
    if wanted is not None and (bare == spaced) != wanted:
        raise HardnegError(
            "The backbone's tokenizer ignores prefix_space.",
            where="encoder.prefix_space",
            found=f"{str(wanted).lower()}, but 'a' is {bare} and ' a' is {spaced}",
            remedy="remove the key, or set add_prefix_space in the backbone's tokenizer files.",
        )


def tokenize(
    settings: dict[str, Any], folder: Path, collection: Artifact, tokenizer: Artifact, progress: Path | None = None
) -> tuple[list[str], dict[str, Any]]:
    """Write `<texts>.ids.bin` (little-endian uint16 or uint32, concatenated) and `<texts>.offsets.npy` (int64 [n + 1]).

    `<texts>` is `passages` and `queries.<split>` for each split. Texts are truncated so that, with special tokens,
    they fit their maximum length.

    Returns:
        The names of the files, and facts: dtype, special ids, lengths, and count and mean length of each kind of text.
    """
    from transformers import AutoTokenizer

    model = AutoTokenizer.from_pretrained(tokenizer.folder / "tokenizer")
    own = {name: settings[name] for name in READ if name in settings}
    reading = Reading(**tokenizer.facts["reading"] | own)
    special = len(tokenizer.facts["prefix"]) + len(tokenizer.facts["suffix"])
    dtype = np.dtype("<u2") if tokenizer.facts["vocabulary"] <= 65536 else np.dtype("<u4")
    facts: dict[str, Any] = {
        **tokenizer.facts,
        "dtype": dtype.str,
        "texts": {},
        "reading": asdict(reading),
        "query_length": settings["query_length"],
        "passage_length": settings["passage_length"],
    }
    kinds: dict[str, tuple[Iterator[str], int, int]] = {
        "passages": (
            passage_texts(collection, reading),
            collection.facts["passages"],
            settings["passage_length"] - special,
        )
    }
    for split, counts in collection.facts["splits"].items():
        kinds[f"queries.{split}"] = (
            query_texts(collection, split, reading),
            counts["queries"],
            settings["query_length"] - special,
        )
    names = []
    for name, (texts, count, length) in kinds.items():
        with Progress(f"tokenize {name}", count, "texts", progress) as bar:
            total = _write_ids(folder, name, texts, count, tokens_of(model, length), dtype, bar)
        facts["texts"][name] = {"count": count, "mean_length": round(total / max(count, 1), 2)}
        names += [f"{name}.ids.bin", f"{name}.offsets.npy"]
    return names, facts


def tokenize_more(
    texts: Iterable[str], count: int, tokens: Artifact, tokenizer: Artifact, folder: Path, progress: Path | None = None
) -> tuple[list[str], dict[str, Any]]:
    """Write texts from outside the collection as `tokenize` writes its passages, so that `TokenStore` reads them.

    Args:
        texts: each a passage without title or url.
        count: how many there are.
        tokens: the tokens stage, which says how passages are read and truncated.
        tokenizer: the tokenizer stage.
        folder: where `passages.ids.bin` and `passages.offsets.npy` are written.
        progress: where progress is written.

    Returns:
        The names of the files, and facts, as `tokenize` returns them.
    """
    from transformers import AutoTokenizer

    model, known = AutoTokenizer.from_pretrained(tokenizer.folder / "tokenizer"), tokens.facts
    reading = Reading(**known["reading"])
    passages = (reading.passage({"title": "", "url": "", "text": text}) for text in texts)
    length = known["passage_length"] - len(known["prefix"]) - len(known["suffix"])
    with Progress("tokenize texts", count, "texts", progress) as bar:
        ids_of = tokens_of(model, length)
        total = _write_ids(folder, "passages", passages, count, ids_of, np.dtype(known["dtype"]), bar)
    read = {"passages": {"count": count, "mean_length": round(total / max(count, 1), 2)}}
    return ["passages.ids.bin", "passages.offsets.npy"], {**known, "texts": read}


def tokens_of(tokenizer: Any, length: int) -> Callable[[Sequence[str]], list[list[int]]]:
    """A function that gives the ids of texts, without special tokens, at most `length` each."""
    if not tokenizer.is_fast:
        return lambda texts: tokenizer(
            list(texts), add_special_tokens=False, truncation=True, max_length=length, return_attention_mask=False
        )["input_ids"]
    inner = tokenizer.backend_tokenizer

    def ids_of(texts: Sequence[str]) -> list[list[int]]:
        """The lengths are set each time, since they are the tokenizer's, which other functions may share."""
        inner.no_padding()
        inner.enable_truncation(length, direction=tokenizer.truncation_side)
        # Where each token stands in its text is not asked for, which takes a third of the time.
        return [found.ids for found in inner.encode_batch_fast(list(texts), add_special_tokens=False)]

    return ids_of


def _write_ids(
    folder: Path,
    name: str,
    texts: Iterable[str],
    count: int,
    ids_of: Callable[[Sequence[str]], list[list[int]]],
    dtype: np.dtype[Any],
    bar: Progress,
) -> int:
    from hardneg.data.prepare import in_groups  # imports pandas, which `hardneg search` does not need

    end = np.zeros(1, np.int64)
    with (
        atomic_path(folder / f"{name}.ids.bin") as temporary,
        temporary.open("wb") as stream,
        atomic_path(folder / f"{name}.offsets.npy") as beside,
        beside.open("wb") as ends,
    ):
        shape = {"descr": end.dtype.str, "fortran_order": False, "shape": (count + 1,)}
        np.lib.format.write_array_header_1_0(ends, shape)
        ends.write(end.tobytes())
        for group in in_groups(texts, TEXTS_AT_ONCE):
            ids = ids_of(group)
            offsets = end[-1] + np.cumsum(np.fromiter(map(len, ids), np.int64, len(ids)))
            stream.write(np.fromiter(chain.from_iterable(ids), dtype).tobytes())
            ends.write(offsets.tobytes())
            end = offsets
            count -= len(group)
            bar.advance(len(group))
        assert count == 0, "the header of the offsets tells the number of texts"
    return int(end[-1])


class TokenStore:
    """The token ids of all passages, or of a split's queries, memory-mapped.

    Args:
        tokens: the tokens stage.
        name: `passages` or `queries.<split>`.
        longest: truncate texts to this many tokens, special ones included. None: the stored length.
    """

    def __init__(self, tokens: Artifact, name: str, longest: int | None = None) -> None:
        facts = tokens.facts
        self.offsets = np.asarray(np.load(tokens.path(f"{name}.offsets.npy"), mmap_mode="r"))
        self.prefix, self.suffix, self.pad = facts["prefix"], facts["suffix"], facts["pad"]
        stored = facts["passage_length"] if name == "passages" else facts["query_length"]
        self.longest = stored if longest is None else min(longest, stored)
        size = int(self.offsets[-1])
        dtype = np.dtype(facts["dtype"])
        self.ids = np.memmap(tokens.path(f"{name}.ids.bin"), dtype, "r", shape=(size,)) if size else np.zeros(0, dtype)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def forget(self) -> None:
        """Give back the memory of what was read; it is read again when it is used again."""
        for array in (self.ids, self.offsets):
            forget(array)

    def lengths(self, positions: np.ndarray) -> np.ndarray:
        """Number of tokens of each text, special ones included: int64 [n]."""
        special = len(self.prefix) + len(self.suffix)
        stored = np.asarray(self.offsets[positions + 1] - self.offsets[positions])
        return np.minimum(stored, max(self.longest - special, 0)) + special

    def body(self, position: int) -> np.ndarray:
        """The ids of one text, without special tokens."""
        start = self.offsets[position]
        length = int(self.lengths(np.array([position]))[0]) - len(self.prefix) - len(self.suffix)
        return np.asarray(self.ids[start : start + length])

    def batch(self, positions: Sequence[int] | np.ndarray, multiple: int = 8) -> tuple[np.ndarray, np.ndarray]:
        """Ids int64 [n, width] and mask int64 [n, width]; the longest text sets the width, rounded up to `multiple`."""
        positions = np.asarray(positions)
        lengths = self.lengths(positions)
        width = min(-(-int(lengths.max()) // multiple) * multiple, max(self.longest, int(lengths.max())))
        # Row by row, a GPU would wait for this.
        place, first = np.arange(width), len(self.prefix)
        end = (lengths - len(self.suffix))[:, None]
        ids = np.full((len(positions), width), self.pad, np.int64)
        ids[:, :first] = self.prefix
        body = (place >= first) & (place < end)
        ids[body] = self.ids[(self.offsets[positions][:, None] - first + place)[body]]
        np.put_along_axis(ids, end + np.arange(len(self.suffix)), np.asarray(self.suffix, np.int64), axis=1)
        return ids, (place < lengths[:, None]).astype(np.int64)


class AskedTokens(TokenStore):
    """New questions, in memory, tokenised and truncated as the tokens stage does with queries.

    Args:
        tokens: the tokens stage.
        ids_of: the tokenizer, from `hardneg.model.quick.load_tokenizer`.
        texts: the questions, at least one.
    """

    def __init__(self, tokens: Artifact, ids_of: Callable[[str, int], list[int]], texts: Sequence[str]) -> None:
        facts = tokens.facts
        self.prefix, self.suffix, self.pad = facts["prefix"], facts["suffix"], facts["pad"]
        self.longest = facts["query_length"]
        reading, length = Reading(**facts["reading"]), self.longest - len(self.prefix) - len(self.suffix)
        ids = [ids_of(reading.query(text), length) for text in texts]
        self.offsets = np.cumsum([0, *map(len, ids)])
        self.ids = np.fromiter((token for row in ids for token in row), np.dtype(facts["dtype"]))
