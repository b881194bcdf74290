"""Exact search and mining from vectors, beside FAISS and sentence-transformers.

    python -m benchmarks.search --output docs/speed-search.md

Search: the best 200 of a million made-up passages for 32, 512 and 4,096 queries, in this project's exact search and in
a flat FAISS index; and of 25,000 passages, 40 times. Mining: the best 200 of 20,958 passages for 10,000 queries without
the judged one, in `retrieve` and `mine`, which write Parquet, and in `mine_hard_negatives` with FAISS, given the same
vectors.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.side_by_side import in_turns, measured, page, parser_of, table
from hardneg.model.products import halves_by_onednn
from hardneg.stages.devices import set_arithmetic_threads

MODULE = "benchmarks.search"
K, DIM, PASSAGES, QUERIES = 200, 384, (1_000_000, 25_000), (32, 512, 4096)
MINED_PASSAGES, MINED_QUERIES = 20_958, 10_000
TOOLS = ("hardneg", "faiss", "hardneg mining", "sentence-transformers mining")


def vectors(rows: int, seed: int) -> npt.NDArray[np.float32]:
    """Unit vectors around a few hundred centres, as encoders make them: [rows, DIM]."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((400, DIM), dtype=np.float32)
    made = centres[generator.integers(0, len(centres), rows)]
    made += 2 * generator.standard_normal((rows, DIM), dtype=np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def prepare(folder: Path, passages: Sequence[int]) -> None:
    """Write the vectors; what is there is kept."""
    for name, rows, seed in (
        *((f"passages-{count}", count, 1) for count in passages),
        ("queries", max(QUERIES), 2),
        ("mined_passages", MINED_PASSAGES, 3),
        ("mined_queries", MINED_QUERIES, 4),
    ):
        if not (folder / f"{name}.npy").exists():
            np.save(folder / f"{name}.npy", vectors(rows, seed))


def judged() -> npt.NDArray[np.int64]:
    """The one judged passage of each mined query."""
    return np.random.default_rng(5).integers(0, MINED_PASSAGES, MINED_QUERIES)


def times(passages: int) -> int:
    """How often so few are searched that it takes about as long as one search of the most."""
    return max(1, max(PASSAGES) // passages)


def ours(folder: Path, count: int, passages: int) -> None:
    """Exact search: a training loop's where the queries are its batch, else that of the stages."""
    from hardneg.retrieval.search.exact import ExactSearcher
    from hardneg.retrieval.search.sizes import QUERY_BATCH
    from hardneg.retrieval.search.vectors import VectorStore

    at_once = min(count, QUERY_BATCH)
    searcher = ExactSearcher(VectorStore([folder / f"passages-{passages}.npy"]), resident=True, query_batch=at_once)
    queries = torch.from_numpy(np.load(folder / "queries.npy")[:count])
    searcher.search(queries[:32], K)  # the passages are in memory

    def work() -> None:
        for _ in range(times(passages)):
            found = searcher.search(queries, K)[0]
        np.save(folder / f"found-hardneg-{passages}-{count}.npy", found.numpy())

    measured(work)


def faiss_flat(folder: Path, count: int, passages: int) -> None:
    """A flat index."""
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    index = faiss.IndexFlatIP(DIM)
    index.add(np.load(folder / f"passages-{passages}.npy"))
    queries = np.load(folder / "queries.npy")[:count]
    index.search(queries[:32], K)

    def work() -> None:
        for _ in range(times(passages)):
            found = index.search(queries, K)[1]
        np.save(folder / f"found-faiss-{passages}-{count}.npy", found)

    measured(work)


def our_mining(folder: Path) -> None:
    """From vectors to a file of negatives."""
    from hardneg.data.judgements import Judgements
    from hardneg.retrieval.mine import NEGATIVES, mine
    from hardneg.retrieval.runs import RunWriter, read_run
    from hardneg.retrieval.search.exact import ExactSearcher
    from hardneg.retrieval.search.retrieve import retrieve
    from hardneg.retrieval.search.vectors import VectorStore

    known = Judgements(np.arange(MINED_QUERIES), judged(), np.ones(MINED_QUERIES), MINED_QUERIES, MINED_PASSAGES)

    target = folder / "mined"
    target.mkdir(exist_ok=True)

    def work() -> str:
        searcher = ExactSearcher(VectorStore([folder / "mined_passages.npy"]))
        run = target / "run.parquet"
        with RunWriter(run) as writer:
            for part in retrieve(searcher, folder / "mined_queries.npy", K, "benchmark"):
                writer.append(*part)
        return str(mine(run, known, MINED_QUERIES, (), target)["candidates"])

    measured(work)
    found = read_run(target / NEGATIVES)
    query, passage = (found[name].to_numpy() for name in ("query", "passage"))
    np.save(
        folder / "mined-hardneg.npy", np.stack([passage[query == number][: K - 1] for number in range(MINED_QUERIES)])
    )


class Given:
    """What `mine_hard_negatives` asks of a model, for texts whose vectors are known: a text is its number."""

    similarity_fn_name = "dot"
    default_prompt_name = None
    device = torch.device("cpu")

    def __init__(self, queries: npt.NDArray[np.float32], passages: npt.NDArray[np.float32]) -> None:
        self.prompts: dict[str, str] = {}
        self._queries, self._passages = queries, passages

    def get_embedding_dimension(self) -> int:
        """The width of all vectors."""
        return DIM

    def encode_query(self, texts: Sequence[str], **_: Any) -> npt.NDArray[np.float32]:
        """The vectors of queries."""
        return self._queries[[int(text[1:]) for text in texts]]

    def encode_document(self, texts: Sequence[str], **_: Any) -> npt.NDArray[np.float32]:
        """The vectors of passages."""
        return self._passages[[int(text[1:]) for text in texts]]

    def similarity_pairwise(self, left: Any, right: Any) -> torch.Tensor:
        """Inner products, row by row."""
        return (torch.as_tensor(left) * torch.as_tensor(right)).sum(dim=-1)

    def similarity(self, left: Any, right: Any) -> torch.Tensor:
        """Inner products of all pairs."""
        return torch.as_tensor(left) @ torch.as_tensor(right).T


def their_mining(folder: Path) -> None:
    """From vectors to a dataset of negatives."""
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    model: Any = Given(np.load(folder / "mined_queries.npy"), np.load(folder / "mined_passages.npy"))
    rows = {"anchor": [f"q{n}" for n in range(MINED_QUERIES)], "positive": [f"p{n}" for n in judged()]}
    dataset, corpus = Dataset.from_dict(rows), [f"p{number}" for number in range(MINED_PASSAGES)]

    found: list[Dataset] = []

    def work() -> str:
        mined = mine_hard_negatives(
            dataset,
            model,
            corpus=corpus,
            range_max=K - 1,
            num_negatives=K - 1,
            output_format="n-tuple",
            use_faiss=True,
            verbose=False,
        )
        found.append(mined)
        return str(len(mined) * (K - 1))

    measured(work)
    texts = found[0].remove_columns(["anchor", "positive"]).to_pandas()
    rows = found[0].to_pandas()["anchor"].str[1:].astype(int).argsort()
    np.save(folder / "mined-peer.npy", texts.map(lambda text: int(text[1:])).to_numpy()[rows])


def agreement(folder: Path, count: int, passages: int) -> str:
    """How often both searches have the same passage at the same place, and how far its scores are apart elsewhere."""
    ours, theirs = (np.load(folder / f"found-{tool}-{passages}-{count}.npy") for tool in ("hardneg", "faiss"))
    query, place = (ours != theirs).nonzero()
    asked = np.load(folder / "queries.npy")[query].astype(np.float64)
    stored = np.load(folder / f"passages-{passages}.npy", mmap_mode="r")
    own, other = ((asked * stored[found[query, place]]).sum(axis=1) for found in (ours, theirs))
    apart = float(np.abs(own - other).max(initial=0.0))
    return (
        f"The same passage at {1 - len(query) / ours.size:.4%} of all places. At the others, whose order is decided by "
        f"rounding, exact scores are at most {apart:.1e} apart."
    )


def shared(folder: Path) -> str:
    """How many of a query's first negatives both tools have mined, in any order."""
    ours, theirs = (np.sort(np.load(folder / f"mined-{tool}.npy"), axis=1) for tool in ("hardneg", "peer"))
    alike = sum(len(np.intersect1d(*rows, assume_unique=True)) for rows in zip(ours, theirs, strict=True))
    return f"Of the first {K - 1} of each query, {alike / ours.size:.4%} are the same passages."


def main() -> None:
    """Run one tool, or all in turns."""
    parser = parser_of(__doc__, TOOLS)
    parser.add_argument("--queries", type=int, nargs="+", default=QUERIES)
    parser.add_argument("--passages", type=int, nargs="+", default=PASSAGES, help="collections that are searched")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.tool is not None:
        if given.tool in (TOOLS[0], TOOLS[2]):
            set_arithmetic_threads(given.threads)  # as stages do
        do = {
            "hardneg": lambda: ours(given.work, given.queries[0], given.passages[0]),
            "faiss": lambda: faiss_flat(given.work, given.queries[0], given.passages[0]),
            "hardneg mining": lambda: our_mining(given.work),
            "sentence-transformers mining": lambda: their_mining(given.work),
        }
        do[given.tool]()
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.work or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        prepare(folder, given.passages)
        common = ["--work", str(folder), "--threads", str(given.threads)]
        parts = []
        for passages, count in itertools.product(given.passages, given.queries):
            sizes = ["--passages", str(passages), "--queries", str(count)]
            runs = in_turns(MODULE, TOOLS[:2], [*common, *sizes], given.runs)
            often = f", {times(passages)} times" if times(passages) > 1 else ""
            title = f"{count} queries, best {K} of {passages:,} x {DIM}{often}"
            parts.append((title, table(runs, TOOLS[0]), agreement(folder, count, passages)))
        runs = in_turns(MODULE, TOOLS[2:], common, given.runs)
        answers = ", ".join(dict.fromkeys(f"{run.tool}: {run.answer}" for run in runs))
        said = f"Negatives found: {answers}. {shared(folder)}"
        parts.append((f"Mining, {MINED_QUERIES:,} queries x {MINED_PASSAGES:,} passages", table(runs, TOOLS[2]), said))
        about = (
            "A search of fewer than 512 queries has them in one product, as a training loop has its batch. On "
            + ("this processor" if halves_by_onednn() else "processors with AVX-512 BF16 that are not Intel's")
            + " this project searches a million passages in bf16 first, and scores the best again in float32: with a "
            "proof for each query, and the same result to the last bit as by float32 alone."
        )
        text = page("Search and mining", MODULE, parts, given.threads, about)
    print(text)
    if given.output is not None:
        given.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
