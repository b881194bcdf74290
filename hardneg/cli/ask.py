"""Questions from the terminal, answered from the finished stages of a system, as its run ranks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from hardneg.data.documents import read_documents
from hardneg.errors import HardnegError, nearest
from hardneg.planning.graph import Plan, Stage
from hardneg.stages.artifacts import Artifact

# Rows of the matrix product that a question is one of, the others being zeros: few, since a person waits, but more than
# one, since a product of a single row sums in another order than those of a run.
QUERY_BATCH = 16

# Passage positions and scores, both [hits], best first.
Hits = tuple[npt.NDArray[np.integer], npt.NDArray[np.float32]]


class Answer(NamedTuple):
    """A passage that was found; of a document that was cut into passages, its best one.

    Attributes:
        rank: from 1.
        score: as in the system's run.
        id: of the passage, or of its document.
        title: of the passage.
        text: of the passage.
    """

    rank: int
    score: float
    id: str
    title: str
    text: str


class Answerer:
    """A system whose stages are finished, opened for questions.

    Files are checked for their presence and size, not their digests: a person waits. Vectors are computed and
    compared on the CPU; their last digits may differ from those of the system's run, the more the less precision
    that had.

    Args:
        plan: the configuration's.
        system: its name.

    Raises:
        HardnegError: there is no such system, its ranking or its vectors were made elsewhere, or a stage that it
            answers from is not finished, or broken.
    """

    def __init__(self, plan: Plan, system: str) -> None:
        if system not in plan.systems:
            near = nearest(system, plan.systems)
            raise HardnegError(
                "The configuration has no such system.",
                where="--system",
                found=system,
                expected=", ".join(plan.systems),
                remedy=f"did you mean {near}?" if near else "name one of these.",
            )
        retriever = plan.config.systems[system].retriever
        if retriever in ("run", "vectors"):
            lacking = "only a ranking of its own queries" if retriever == "run" else "vectors, without their encoder"
            able = [name for name, other in plan.config.systems.items() if other.retriever in ("bm25", "dense")]
            raise HardnegError(
                "A system that was made elsewhere cannot answer new questions.",
                where=f"systems.{system}.retriever",
                found=f"{retriever}: {lacking}",
                expected="bm25 or dense",
                remedy=f"ask another one: {', '.join(able)}." if able else "add a system that ranks here.",
            )
        run = plan.systems[system].run
        # As deep as the run goes: some indexes look further for more hits, and documents need passages to spare.
        self._depth: int = run.settings["depth"]
        needed = {"collection": plan.collection, "index": run.parents["index"]}
        if retriever == "bm25":
            opened = _opened(plan, needed)
            self._search = _by_words(opened["index"], run.settings, plan.config.runtime.java_heap_mib)
        else:
            queries = run.parents["queries"]
            needed |= {"passages": run.parents["passages"], "tokens": queries.parents["tokens"]}
            needed |= {"tokenizer": needed["tokens"].parents["tokenizer"], "model": queries.parents["model"]}
            opened = _opened(plan, needed)
            self._search = _by_vectors(opened, queries.settings["precision"], run.settings["search"])
        self._collection = opened["collection"]
        self._document = read_documents(self._collection)

    def answer(self, question: str, k: int = 10) -> list[Answer]:
        """The `k` best passages, or documents; fewer where fewer are found.

        Raises:
            HardnegError: Java or the index fails, or a vector is not finite.
        """
        positions, scores = self._search(question, max(k, self._depth))
        kept = np.arange(len(positions))
        if self._document is not None:  # a document stands where its first passage does
            kept = np.sort(np.unique(self._document[positions], return_index=True)[1])
        positions, scores = positions[kept[:k]], scores[kept[:k]]
        passages = _rows(self._collection.path("passages.parquet"), ["passage_id", "title", "text"], positions)
        ids = [row["passage_id"] for row in passages]
        if self._document is not None:
            documents = self._collection.path("documents.parquet")
            ids = [row["document_id"] for row in _rows(documents, ["document_id"], self._document[positions])]
        ranked = enumerate(zip(scores.tolist(), ids, passages, strict=True), 1)
        return [Answer(rank, score, name, row["title"], row["text"]) for rank, (score, name, row) in ranked]


def _opened(plan: Plan, needed: dict[str, Stage]) -> dict[str, Artifact]:
    for stage in plan.stages:  # parents first
        if stage in needed.values() and not stage.manifest.exists():
            raise HardnegError(
                "The system is not finished.",
                where=str(stage.manifest),
                found=f"the stage {stage.kind} {stage.label} is still to be made",
                remedy="run the workflow with this configuration first: `snakemake --cores all --configfile ...`.",
            )
    return {role: Artifact.open(stage.manifest, digests=False) for role, stage in needed.items()}


def _by_words(index: Artifact, settings: dict[str, Any], heap_mib: int) -> Callable[[str, int], Hits]:
    """Search by BM25."""
    from hardneg.retrieval import lexical

    def search(question: str, depth: int) -> Hits:
        folder, formula = index.folder / "lucene", {"k1": settings["k1"], "b": settings["b"]}
        (found,) = lexical.search(folder, [question], depth, **formula, threads=1, heap_mib=heap_mib)
        return found

    return search


def _by_vectors(opened: dict[str, Artifact], precision: str, given: dict[str, Any]) -> Callable[[str, int], Hits]:
    """Search with the question's vector: exactly, or in the index where that is not Flat; `given` goes to the index."""
    import torch

    from hardneg.model.embedding import autocast
    from hardneg.model.encoder import encode_rows
    from hardneg.model.quick import load_encoder, load_tokenizer
    from hardneg.retrieval.search.retrieve import open_searcher
    from hardneg.text.tokens import AskedTokens

    device = torch.device("cpu")
    tokenizer = load_tokenizer(opened["tokenizer"])
    encoder = load_encoder(opened["model"]).eval()
    searcher = open_searcher(opened["passages"], opened["index"], [device], QUERY_BATCH, search=given)

    def search(question: str, depth: int) -> Hits:
        store = AskedTokens(opened["tokens"], tokenizer, [question])
        with torch.inference_mode(), autocast(device, precision):
            vector = encode_rows(encoder, store, np.zeros(1, np.int64), 1, device)
        positions, scores = (part[0].numpy() for part in searcher.search(vector.float(), depth))
        found = positions >= 0
        return positions[found], scores[found]

    return search


def _rows(path: Path, columns: list[str], positions: npt.NDArray[np.integer]) -> list[dict[str, Any]]:
    """The rows of a Parquet file at these positions, in their order; only row groups that hold one are read."""
    file = pq.ParquetFile(path)
    sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    starts = np.cumsum([0, *sizes])
    owner = np.searchsorted(starts, positions, side="right") - 1
    rows: dict[int, dict[str, Any]] = {}
    for number in np.unique(owner).tolist():
        mine = positions[owner == number]
        table = file.read_row_group(number, columns).take(mine - starts[number])
        rows |= zip(mine.tolist(), table.to_pylist(), strict=True)
    return [rows[position] for position in positions.tolist()]
