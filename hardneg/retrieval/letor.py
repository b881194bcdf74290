"""Learning to rank: candidates of a first stage, described by features of words, and ordered by LambdaMART."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from hardneg.data.judgements import Judgements
from hardneg.errors import HardnegError
from hardneg.retrieval.runs import whole_queries
from hardneg.stages.artifacts import atomic_path
from hardneg.stages.optional import require_lightgbm
from hardneg.stages.progress import Progress
from hardneg.text.words import Ids, Words

MODEL = "model.txt"
Features = npt.NDArray[np.float32]
Hits = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]

FEATURES = {
    "score": "the candidate's score in the first stage",
    "share_of_best": "that score over the query's greatest one",
    "reciprocal_rank": "1 / its rank there",
    "query_words": "words of the query",
    "passage_words": "words of the passage",
    "shared": "different words of the query that the passage has",
    "share": "their share of the different words of the query",
    "idf": "the sum of their idf",
    "idf_share": "its share of the sum over all different words of the query",
    "rarest": "the greatest idf among them",
    "occurrences": "how often the passage has words of the query",
    "density": "occurrences over passage_words",
    "tf_idf": "the sum over them of ln(1 + occurrences of the word) x idf",
    "neighbours": "pairs of neighbours in the query that are neighbours in the passage, in this order",
}
"""The features, in the order of their columns. All that count words count those of `hardneg.text.words`."""


def described(words: Words, query: int, passage: int) -> list[float]:
    """The features of a pair from `query_words` on.

    Args:
        words: of the texts.
        query: position of the query.
        passage: position of a passage whose words were kept.
    """
    asked, read = words.queries[query], words.passages[passage]
    different = np.unique(asked)
    counts = (read == different[:, None]).sum(1)
    there, idf = counts > 0, words.idf[different]
    shared, weight, occurrences = int(there.sum()), float(idf[there].sum()), int(counts.sum())
    return [
        len(asked),
        len(read),
        shared,
        shared / max(len(different), 1),
        weight,
        weight / float(idf.sum()) if len(idf) else 0.0,
        float(idf[there].max(initial=0.0)),
        occurrences,
        occurrences / max(len(read), 1),
        float((np.log1p(counts) * idf).sum()),
        _neighbours(asked, read),
    ]


def _neighbours(asked: Ids, read: Ids) -> int:
    return len(set(pairwise(asked.tolist())) & set(pairwise(read.tolist())))


def features_of(words: Words, hits: Hits) -> Features:
    """Features float32 [n, features] of hits of whole queries: query, passage, rank and score, [n] each."""
    query, passage, rank, score = hits
    best = np.full(int(query.max(initial=-1)) + 1, -np.inf)
    np.maximum.at(best, query, score)
    greatest = best[query]
    ratio = np.divide(score, greatest, out=np.zeros(len(score)), where=greatest > 0)
    rows = [described(words, int(q), int(p)) for q, p in zip(query, passage, strict=True)]
    of_words = np.array(rows, np.float32).reshape(len(rows), len(FEATURES) - 3)
    return np.column_stack((score, ratio, 1 / rank, of_words)).astype(np.float32)


def hits_in(run: Path) -> Iterator[Hits]:
    """The hits of a run, in parts of whole queries."""
    for table in whole_queries(run):
        query, passage, rank = (table[name].to_numpy().astype(np.int64) for name in ("query", "passage", "rank"))
        yield query, passage, rank, table["score"].to_numpy()


def passages_in(run: Path) -> npt.NDArray[np.int64]:
    """The passages of a run, each once: int64, ascending."""
    return np.unique(pq.read_table(run, columns=["passage"])["passage"].to_numpy()).astype(np.int64)


def train_ranker(
    run: Path, words: Words, judged: Judgements, settings: Mapping[str, Any], target: Path
) -> dict[str, int]:
    """Train LambdaMART on the candidates of training queries and write it in LightGBM's text form.

    Grades are those of the judgements, 0 where there is none. A candidate that is the query itself is left out, as are
    queries without a candidate that is relevant, and without one that is not. One thread trains, so that the same
    candidates give the same bytes.

    Args:
        run: candidates of the training queries.
        words: of their texts.
        judged: the training judgements.
        settings: `trees`, `leaves`, `lr`, `least`, `seed`.
        target: the file to write.

    Returns:
        Facts: queries, candidates and relevant ones that it learned from.

    Raises:
        HardnegError: lightgbm is not installed, or no query has a relevant candidate beside another one.
    """
    require_lightgbm()
    import lightgbm

    features, grades, sizes = list[Features](), list[npt.NDArray[np.int64]](), list[int]()
    for hits in hits_in(run):
        described_all, graded = features_of(words, hits), judged.grades_of(hits[0], hits[1])
        for query in np.unique(hits[0]):
            rows = np.flatnonzero((hits[0] == query) & (graded >= 0))
            if 0 < (graded[rows] > 0).sum() < len(rows):
                features.append(described_all[rows])
                grades.append(graded[rows])
                sizes.append(len(rows))
    if not sizes:
        raise HardnegError(
            "No training query has a relevant candidate beside one that is not, so there is nothing to learn.",
            where=str(run),
            remedy="raise rerank.depth, or give more training judgements.",
        )
    labels = np.concatenate(grades)
    data = lightgbm.Dataset(
        np.concatenate(features), _levels(labels), group=sizes, feature_name=list(FEATURES), free_raw_data=True
    )
    model = lightgbm.train(_parameters(settings), data, num_boost_round=settings["trees"])
    with atomic_path(target) as temporary:
        temporary.write_text(model.model_to_string(), encoding="utf-8")
    return {"queries": len(sizes), "candidates": len(labels), "relevant": int((labels > 0).sum())}


def ranked_by(
    model: Path, run: Path, words: Words, label: str, progress: Path | None = None
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]]:
    """Sort the hits of each query by a trained model; ties keep the order of the run.

    Args:
        model: the file that `train_ranker` wrote.
        run: `run.<split>.parquet`, sorted by query and rank.
        words: of its texts.
        label: for the progress bar.
        progress: where progress is written.

    Yields:
        Query, passage, rank (from 1) and score, of consecutive queries.

    Raises:
        HardnegError: lightgbm is not installed.
    """
    require_lightgbm()
    import lightgbm

    trained = lightgbm.Booster(model_file=str(model))
    with Progress(label, pq.ParquetFile(run).metadata.num_rows, "pairs", progress) as bar:
        for hits in hits_in(run):
            query, passage = hits[:2]
            scores = np.asarray(trained.predict(features_of(words, hits), num_threads=1), np.float64)
            order = np.lexsort((-scores, query))
            first = np.flatnonzero(np.diff(query[order], prepend=-1))
            rank = np.arange(len(query)) - np.repeat(first, np.diff(first, append=len(query))) + 1
            yield query[order], passage[order], rank, scores[order]
            bar.advance(len(query))


def _levels(grades: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Grades from 0 without gaps, as LightGBM counts gains by them: the order stays."""
    return np.unique(np.append(grades, 0), return_inverse=True)[1][:-1].astype(np.int64)


def _parameters(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "objective": "lambdarank",
        "num_leaves": settings["leaves"],
        "learning_rate": settings["lr"],
        "min_data_in_leaf": settings["least"],
        "seed": settings["seed"],
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }
