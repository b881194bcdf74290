"""Answers to new questions from the finished stages of a system, ranked as in its runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hardneg.data.documents import read_documents
from hardneg.errors import HardnegError, nearest
from hardneg.planning.plan import Plan
from hardneg.stages.artifacts import Artifact
from hardneg.stages.stage import Stage

# Rows of the matrix product; all but the question's are zero. Few rows keep the answer fast. More than one is needed,
# since a product with a single row sums in another order than the products of a run.
QUERY_BATCH = 16
LACKING = {
    "letor": "the features of new questions",
    "rerank": "a ranking of new questions to reorder",
    "run": "a run of given queries only",
    "vectors": "vectors without their encoder",
}
"""What keeps a retriever from answering."""

# Passage positions and scores, both [hits], best first.
Hits = tuple[npt.NDArray[np.integer], npt.NDArray[np.float32]]


class Answer(NamedTuple):
    """A retrieved passage; for documents split into passages, a document's best passage.

    Attributes:
        rank: from 1.
        score: as in the system's run.
        id: id of the passage, or of its document.
        title: title of the passage.
        text: text of the passage.
    """

    rank: int
    score: float
    id: str
    title: str
    text: str


class Answerer:
    """Answers questions with a system whose stages are finished.

    For speed, files are checked by presence and size, not by digest. Vectors are computed and compared on the CPU, in
    the run's precision, so their last digits may differ from those of a run on a GPU; lower precision, such as bf16,
    differs more.

    Args:
        plan: the plan of the configuration.
        system: the system's name.

    Raises:
        HardnegError: the system does not exist, its run or vectors were imported, or a stage that it needs is not
            finished or is damaged.
    """

    def __init__(self, plan: Plan, system: str) -> None:
        if system not in plan.systems:
            near = nearest(system, plan.systems)
            raise HardnegError(
                "The configuration has no system of this name.",
                where="--system",
                found=system,
                expected=", ".join(plan.systems),
                remedy=f"did you mean {near}?" if near else "choose one of these.",
            )
        retriever = plan.config.systems[system].retriever
        if retriever in LACKING:
            able = [name for name, other in plan.config.systems.items() if other.retriever in ("bm25", "dense")]
            raise HardnegError(
                "This system cannot answer new questions.",
                where=f"systems.{system}.retriever",
                found=f"{retriever}: {LACKING[retriever]}",
                expected="bm25 or dense",
                remedy=f"use another system: {', '.join(able)}." if able else "add a BM25 or dense system.",
            )
        run = plan.systems[system].run
        # Search as deep as the run: some indexes find other hits at other depths, and documents need extra passages.
        self._depth: int = run.settings["depth"]
        needed = {"collection": plan.collection, "index": run.parents["index"]}
        if retriever in ("bm25", "deepct"):
            opened = _opened(plan, needed)
            self._search = _by_words(opened["index"], run.settings, plan.config.runtime.java_heap_mib)
        else:
            queries, cut = run.parents["queries"], None
            if "vectors" in queries.parents:  # which are cut
                queries, cut = queries.parents["vectors"], queries.settings
            needed |= {"passages": run.parents["passages"], "tokens": queries.parents["tokens"]}
            needed |= {"tokenizer": needed["tokens"].parents["tokenizer"], "model": queries.parents["model"]}
            opened = _opened(plan, needed)
            self._search = _by_vectors(opened, queries.settings["precision"], run.settings["search"], cut)
        self._collection = opened["collection"]
        self._document = read_documents(self._collection)

    def answer(self, question: str, k: int = 10) -> list[Answer]:
        """The best `k` passages or documents, or fewer if fewer are found.

        Raises:
            HardnegError: Java or the index fails, or a vector is not finite.
        """
        positions, scores = self._search(question, max(k, self._depth))
        kept = np.arange(len(positions))
        if self._document is not None:  # a document has the rank of its best passage
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
                found=f"the stage {stage.kind} {stage.label} has not run yet",
                remedy="run the workflow with this configuration first: `hardneg run ...`.",
            )
    return {role: Artifact.open(stage.manifest, digests=False) for role, stage in needed.items()}


def _by_words(index: Artifact, settings: dict[str, Any], heap_mib: int) -> Callable[[str, int], Hits]:
    """A BM25 search.

    Raises:
        HardnegError: there is an index for each of several collections that were joined.
    """
    from hardneg.retrieval import lexical

    if any((index.folder / "lucene").iterdir()) and not list((index.folder / "lucene").glob("segments*")):
        raise HardnegError(
            "BM25 has an index for each of the joined collections, and their scores do not compare.",
            where=str(index.folder),
            remedy="ask a dense system, or configure one of the collections by itself.",
        )

    def search(question: str, depth: int) -> Hits:
        folder, language = index.folder / "lucene", index.facts["language"]
        formula = {"k1": settings["k1"], "b": settings["b"]}
        (found,) = lexical.search(folder, [question], depth, **formula, language=language, threads=1, heap_mib=heap_mib)
        return found

    return search


def _by_vectors(
    opened: dict[str, Artifact], precision: str, given: dict[str, Any], cut: Mapping[str, Any] | None
) -> Callable[[str, int], Hits]:
    """A search with the question's vector, exact or in an index.

    Args:
        opened: stages by role.
        precision: of the encoder.
        given: the index's search parameters.
        cut: how the question's vector is cut; None: it is whole.
    """
    import torch

    from hardneg.model.embedding import autocast
    from hardneg.model.encoder import encode_rows
    from hardneg.model.narrow import narrow
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
        vector = vector.float() if cut is None else narrow(vector.float(), cut["width"], cut["normalize"])
        positions, scores = (part[0].numpy() for part in searcher.search(vector, depth))
        found = positions >= 0
        return positions[found], scores[found]

    return search


def _rows(path: Path, columns: list[str], positions: npt.NDArray[np.integer]) -> list[dict[str, Any]]:
    """The rows of a Parquet file at these positions, in this order. Reads only the row groups that contain one."""
    file = pq.ParquetFile(path)
    sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    starts = np.cumsum([0, *sizes])
    owner = np.searchsorted(starts, positions, side="right") - 1
    rows: dict[int, dict[str, Any]] = {}
    for number in np.unique(owner).tolist():
        mine = positions[owner == number]
        within = (mine - starts[number]).astype(np.int64)
        # Given the NumPy array, pyarrow would import pandas to see what it is, for a quarter of a second.
        taken = pa.Array.from_buffers(pa.int64(), len(within), [None, pa.py_buffer(within)])
        table = file.read_row_group(number, columns).take(taken)
        rows |= zip(mine.tolist(), table.to_pylist(), strict=True)
    return [rows[position] for position in positions.tolist()]
