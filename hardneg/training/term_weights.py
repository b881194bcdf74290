"""Training of term weights (DeepCT): each word of a relevant passage learns how many of its queries have it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from hardneg.data.judgements import Judgements
from hardneg.methods.axes import function_of
from hardneg.methods.draws import TrainingQueries
from hardneg.model.encoder import texts_at_once
from hardneg.model.term_weights import TermWeights
from hardneg.retrieval.pair_scores import judged_pairs
from hardneg.retrieval.terms import TermOf
from hardneg.stages.artifacts import StageFolder
from hardneg.text.terms import NOWHERE, Reader, reader_of, reading_of
from hardneg.text.tokens import passage_texts, query_texts
from hardneg.text.words import words_of
from hardneg.training.loop import Budget, fit, new_accelerator, write_log
from hardneg.training.schedule import total_steps
from hardneg.training.state import Log

TEXTS_AT_ONCE = 1024


class Example(NamedTuple):
    """A passage to learn from.

    Attributes:
        ids: int64 [tokens].
        first: int64 [words], the place of each word's first token.
        target: float32 [words], see `query_term_recall`.
    """

    ids: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    target: npt.NDArray[np.float32]


def query_term_recall(terms: Sequence[str | None], queries: Sequence[frozenset[str]]) -> npt.NDArray[np.float32]:
    """The share of a passage's queries that have each of its terms: float32 [terms]; 0 of what is no term.

    Args:
        terms: of the passage's words.
        queries: the terms of each query that the passage is relevant to; at least one.
    """
    return np.array([sum(term in query for query in queries) / len(queries) for term in terms], np.float32)


def examples_of(
    queries: Iterable[str], passages: Iterable[str], judged: Judgements, read: Reader, term_of: TermOf
) -> list[Example]:
    """All passages that are relevant to a training query with a term, in order of position.

    Words beyond the greatest length have no token to learn by and are left out.

    Args:
        queries: texts of the training queries, in order of position.
        passages: texts of all passages, in order of position.
        judged: the training judgements.
        read: from texts to tokens.
        term_of: from words to terms.
    """
    asked = [frozenset(term for word in words_of(text) if (term := term_of(word)) is not None) for text in queries]
    relevant: dict[int, list[frozenset[str]]] = {}
    for query, passage in zip(*(side.tolist() for side in judged_pairs(judged)), strict=True):
        if asked[query]:
            relevant.setdefault(passage, []).append(asked[query])
    found: list[Example] = []
    for positions, texts in _groups((place, text) for place, text in enumerate(passages) if place in relevant):
        for position, each in zip(positions, read(texts), strict=True):
            terms = [term_of(word.casefold()) for word in each.words]
            inside = each.first != NOWHERE
            if inside.any():
                target = query_term_recall(terms, relevant[position])
                found.append(Example(each.ids, each.first[inside], target[inside]))
    return found


def _groups(chosen: Iterator[tuple[int, str]]) -> Iterator[tuple[list[int], list[str]]]:
    from hardneg.data.prepare import in_groups  # which imports pandas

    for group in in_groups(chosen, TEXTS_AT_ONCE):
        yield [position for position, _ in group], [text for _, text in group]


def squared_error(
    module: TermWeights, examples: Sequence[Example], pad: int, rows: int, device: torch.device
) -> torch.Tensor:
    """Mean squared difference between weights and targets over all words of some passages: float32 []."""
    ordered = sorted(examples, key=lambda each: len(each.ids))
    errors: list[torch.Tensor] = []
    for start in range(0, len(ordered), rows):
        some = ordered[start : start + rows]
        ids, mask = padded([each.ids for each in some], pad)
        weights = module(torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device))
        row = np.repeat(np.arange(len(some)), [len(each.first) for each in some])
        place = np.concatenate([each.first for each in some])
        target = torch.from_numpy(np.concatenate([each.target for each in some])).to(device)
        errors.append((weights[torch.from_numpy(row), torch.from_numpy(place)] - target).square())
    return torch.cat(errors).mean()


def padded(texts: Sequence[npt.NDArray[np.int64]], pad: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Ids and mask int64 [n, width], as wide as the longest text rounded up to a multiple of 8."""
    lengths = np.array([len(text) for text in texts])
    width = -(-int(lengths.max()) // 8) * 8
    ids = np.full((len(texts), width), pad, np.int64)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = text
    return ids, (np.arange(width) < lengths[:, None]).astype(np.int64)


def train_term_weights(stage: StageFolder, runtime: dict[str, Any], device: torch.device, term_of: TermOf) -> list[str]:
    """Train term weights and write them into the stage's folder.

    Args:
        stage: settings `encoder`, `length`, `order`, `passage_template`, `precision`, `seed`, `split`, `train`; parents
            `collection` and `tokenizer`.
        runtime: `checkpoint_seconds`, `trackers`, `places`.
        device: where it trains.
        term_of: from words to terms.

    Returns:
        The names of the files written.
    """
    from transformers import AutoTokenizer

    settings, collection, tokenizer = stage.settings, stage.parents["collection"], stage.parents["tokenizer"]
    options, split = settings["train"], settings["split"]
    counts = collection.facts["splits"][split]["queries"], collection.facts["passages"]
    judged = Judgements.read(collection.path(f"qrels.{split}.parquet"), *counts)
    model = AutoTokenizer.from_pretrained(tokenizer.folder / "tokenizer")
    read = reader_of(model, tokenizer.facts, options["passage_length"] or settings["length"])
    passages = passage_texts(collection, reading_of(settings["passage_template"], tokenizer.facts))
    examples = examples_of(query_texts(collection, split), passages, judged, read, term_of)
    module = TermWeights.of_backbone(stage, runtime, settings["length"]).to(device)
    module.require_length(settings["length"])
    if options["gradient_checkpointing"]:
        module.checkpoint_gradients()
    rows_of = function_of("order", settings["order"])
    given = TrainingQueries(np.arange(len(examples)), options["batch_size"], settings["seed"])

    def loss(step: int, log: Log) -> torch.Tensor:
        chosen = [examples[row] for row in rows_of(given, step)]
        rows = texts_at_once(options["rows_per_forward"], device, options["passage_length"] or settings["length"])
        return squared_error(module, chosen, tokenizer.facts["pad"], rows, device)

    total = total_steps(options["steps"], options["epochs"], len(examples), options["batch_size"])
    log = fit(
        module,
        loss,
        stage,
        Budget(0, total, total),
        new_accelerator(device, settings["precision"], runtime["trackers"], stage.folder),
        checkpoint_seconds=runtime["checkpoint_seconds"],
        label=f"train {stage.record['label']}",
    )
    words = sum(len(each.target) for each in examples)
    stage.facts |= {"steps": total, "passages": len(examples), "words": words}
    return [*module.save(stage.folder), *write_log(log, stage.folder)]
