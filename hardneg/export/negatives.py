"""Mined negatives as rows for other tools: sentence-transformers, FlagEmbedding and Tevatron."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import zip_longest
from typing import Any, NamedTuple, TextIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hardneg.data.judgements import Judgements
from hardneg.data.parquet import batches
from hardneg.errors import HardnegError
from hardneg.export.negatives_card import CARD, card
from hardneg.methods.draws import PairScores
from hardneg.methods.lists import MinedLists
from hardneg.retrieval.mine import NEGATIVES
from hardneg.retrieval.pair_scores import FILE as SCORES
from hardneg.stages.artifacts import Artifact, StageFolder, atomic_path

TRIPLETS, TUPLES, FLAG, TEVATRON = "triplets.jsonl", "tuples.jsonl", "flagembedding.jsonl", "tevatron.jsonl"

Positions = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]
# Scores of a query's passages [n]; NaN where one has none.
Score = Callable[[int, Positions], Scores]


class Group(NamedTuple):
    """A query with its relevant passages and its negatives, as positions: int, int64 [p], int64 [n]."""

    query: int
    positives: Positions
    negatives: Positions


class Text(NamedTuple):
    """A passage."""

    docid: str
    title: str
    text: str

    @property
    def whole(self) -> str:
        """Title and text, as rows of texts have them."""
        return f"{self.title} {self.text}".strip()


def export_negatives(stage: StageFolder) -> list[str]:
    """Write `triplets.jsonl`, `tuples.jsonl`, `flagembedding.jsonl`, `tevatron.jsonl` and `README.md`.

    A query has at most `count` negatives. Of several relevant passages each makes triplets and a tuple of its own; in
    the other two files a query is one row. Queries without text, without a relevant passage or without a negative are
    left out and counted, and so are passages without text.

    Args:
        stage: settings `system`, `split`, `count`, `draw` (top or uniform) and, for uniform, `seed`; parents
            `collection`, `negatives` (and `negatives_2`, ...), and for scores perhaps `teacher`, `scores` or `run`.

    Returns:
        The names of the files.

    Raises:
        HardnegError: no query has a negative.
    """
    settings, collection = stage.settings, stage.parents["collection"]
    split = settings["split"]
    counts = collection.facts["splits"][split]["queries"], collection.facts["passages"]
    judged = Judgements.read(collection.path(f"qrels.{split}.parquet"), *counts)
    queries = pq.read_table(collection.path(f"queries.{split}.parquet"), columns=["query_id", "text"])
    mined = [parent for role, parent in stage.parents.items() if role.startswith("negatives")]
    lists = [MinedLists.read(each.path(NEGATIVES), counts[0]) for each in mined]
    groups = list(_groups(lists, judged, settings))
    needed = np.unique(np.concatenate([np.zeros(0, np.int64), *(np.concatenate(group[1:]) for group in groups)]))
    texts = _texts(collection, needed)
    asked = queries["text"].to_pylist()
    kept = [group for each in groups if (group := _with_text(each, asked, texts)) is not None]
    if not kept:
        raise HardnegError(
            "There are no mined negatives to export.",
            where=f"export.negatives: {settings['system']}",
            found=f"0 of {len(judged.with_positives()):,} training queries have one",
            remedy="weaken the filters, or mine another system.",
        )
    score = _scores_of(stage.parents, mined, counts[1])
    known = score is not None and all(_known(score, group) for group in kept)
    facts = _facts(kept, judged, known)
    ids = queries["query_id"].to_pylist()
    with ExitStack() as stack:
        files = {name: stack.enter_context(_lines(stage, name)) for name in (TRIPLETS, TUPLES, FLAG, TEVATRON)}
        for group in kept:
            query = asked[group.query]
            positives, negatives = ([texts[p] for p in side.tolist()] for side in group[1:])
            _write(files[TRIPLETS], triplets(query, positives, negatives))
            _write(files[TUPLES], tuples(query, positives, negatives, facts["width"]))
            scores = [score(group.query, side).tolist() for side in group[1:]] if known and score is not None else None
            _write(files[FLAG], [flag(query, positives, negatives, scores)])
            _write(files[TEVATRON], [tevatron(ids[group.query], query, positives, negatives)])
    stage.facts |= facts
    with atomic_path(stage.folder / CARD) as temporary:
        temporary.write_text(card(settings, stage.parents, mined, facts), encoding="utf-8")
    return [TRIPLETS, TUPLES, FLAG, TEVATRON, CARD]


# --- rows ---


def triplets(query: str, positives: Sequence[Text], negatives: Sequence[Text]) -> Iterator[dict[str, Any]]:
    """A row for each relevant passage and each negative."""
    for positive in positives:
        for negative in negatives:
            yield {"anchor": query, "positive": positive.whole, "negative": negative.whole}


def tuples(query: str, positives: Sequence[Text], negatives: Sequence[Text], width: int) -> Iterator[dict[str, Any]]:
    """A row for each relevant passage, with `width` negatives; a shorter list starts again."""
    again = [negatives[number % len(negatives)].whole for number in range(width)]
    for positive in positives:
        numbered = {f"negative_{number}": text for number, text in enumerate(again, 1)}
        yield {"anchor": query, "positive": positive.whole, **numbered}


def flag(
    query: str, positives: Sequence[Text], negatives: Sequence[Text], scores: Sequence[list[float]] | None
) -> dict[str, Any]:
    """The row of a query, with the scores of both sides where they are known."""
    row: dict[str, Any] = {"query": query, "pos": [p.whole for p in positives], "neg": [n.whole for n in negatives]}
    return row if scores is None else {**row, "pos_scores": scores[0], "neg_scores": scores[1]}


def tevatron(query_id: str, query: str, positives: Sequence[Text], negatives: Sequence[Text]) -> dict[str, Any]:
    """The row of a query, with ids and titles."""
    sides = {"positive_passages": positives, "negative_passages": negatives}
    return {
        "query_id": query_id,
        "query": query,
        **{side: [text._asdict() for text in texts] for side, texts in sides.items()},
    }


@contextmanager
def _lines(stage: StageFolder, name: str) -> Iterator[TextIO]:
    """A file for rows, which appears under its name when all went well."""
    with atomic_path(stage.folder / name) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        yield stream


def _write(stream: TextIO, rows: Iterable[dict[str, Any]]) -> None:
    stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


# --- what is in them ---


def _groups(lists: Sequence[MinedLists], judged: Judgements, settings: Mapping[str, Any]) -> Iterator[Group]:
    """Each query that has a relevant passage, with the negatives that are chosen of its lists."""
    for query in judged.with_positives().tolist():
        found = [each.passage[each.offsets[query] : each.offsets[query + 1]] for each in lists]
        merged = in_turn([each.tolist() for each in found])
        chosen = np.arange(min(len(merged), settings["count"]))
        if settings["draw"] == "uniform":
            rng = np.random.default_rng([settings["seed"], query, 6])
            chosen = np.sort(rng.choice(len(merged), len(chosen), replace=False))
        yield Group(query, judged.of(query)[0], merged[chosen])


def in_turn(lists: Sequence[Sequence[int]]) -> Positions:
    """The first of each list, then the second of each, and so on; each value once."""
    values = (value for rank in zip_longest(*lists) for value in rank if value is not None)
    return np.array(list(dict.fromkeys(values)), np.int64)


def _texts(collection: Artifact, needed: Positions) -> dict[int, Text]:
    """The passages at some positions, ascending; the file is streamed."""
    texts: dict[int, Text] = {}
    first = 0
    columns = ["passage_id", "title", "text"]
    for part in batches(collection.path("passages.parquet"), columns):
        rows = needed[np.searchsorted(needed, first) : np.searchsorted(needed, first + len(part))]
        taken = part.take(pa.array(rows - first))
        values = (taken.column(name).to_pylist() for name in columns)
        texts |= {int(row): Text(*fields) for row, fields in zip(rows, zip(*values, strict=True), strict=True)}
        first += len(part)
    return texts


def _with_text(group: Group, asked: Sequence[str], texts: Mapping[int, Text]) -> Group | None:
    """A group without passages that have no text; None where a side of it is empty."""
    sides = [np.array([p for p in side.tolist() if texts[p].whole], np.int64) for side in group[1:]]
    if not asked[group.query].strip() or not all(map(len, sides)):
        return None
    return Group(group.query, *sides)


def _scores_of(parents: Mapping[str, Artifact], mined: Sequence[Artifact], passages: int) -> Score | None:
    """What scores relevant passages and negatives on one scale; None where nothing does."""
    if "teacher" in parents:
        if SCORES not in parents["teacher"].manifest["files"]:
            return None
        pairs = PairScores.read(parents["teacher"].path(SCORES), passages)
    elif "scores" in parents or "run" in parents:
        run = parents.get("run")
        names = [name for name in run.manifest["files"] if name.endswith(".parquet")] if run is not None else []
        others = [run.path(name) for name in names] if run is not None else [parents["scores"].path(SCORES)]
        columns = ["query", "passage", "score"]
        tables = [pq.read_table(path, columns=columns) for path in (mined[0].path(NEGATIVES), *others)]
        scored = pa.concat_tables(tables)
        query, passage, score = (scored[name].to_numpy() for name in columns)
        pairs = PairScores(query, passage, score, passages)
    else:
        return None
    return lambda query, found: pairs(np.array(query), found).astype(np.float64)


def _known(score: Score, group: Group) -> bool:
    return not any(np.isnan(score(group.query, side)).any() for side in group[1:])


def _facts(kept: Sequence[Group], judged: Judgements, known: bool) -> dict[str, Any]:
    positives = np.array([len(group.positives) for group in kept])
    negatives = np.array([len(group.negatives) for group in kept])
    width = int(negatives.max())
    return {
        "queries": len(kept),
        "queries_left_out": len(judged.with_positives()) - len(kept),
        "short_lists": int((negatives < width).sum()),
        "width": width,
        "triplets": int((positives * negatives).sum()),
        "tuples": int(positives.sum()),
        "scores": known,
    }
