"""Encoding of real passages on a CPU, beside sentence-transformers.

    python -m benchmarks.encode --output docs/speed-encode.md

From texts to float32 vectors, with all-MiniLM-L6-v2 and with an encoder of the shape of BERT base whose weights are
random. Texts are paragraphs of SQuAD, cut at the 256 tokens that MiniLM reads, and at 128 for the larger encoder. Ours
tokenises into a file, and encodes from there in blocks, as the workflow does; the peer is `SentenceTransformer.encode`.
Both are in float32, in one process. Where the processor multiplies bf16 numbers, ours encodes with
`arithmetic.precision: bf16` too, and the passages that SQuAD's questions find are compared.

The work counted is that of the tokens of texts, not of padding: for each layer and token 8 h^2 + 4 h f operations of
products (h wide, feed-forward f), and 4 h L of attention in a text of L tokens.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.ceiling import layer_rate
from benchmarks.gpu import SHAPES, Shape, spread
from benchmarks.sample import MINILM, Question, Study, base_sized, found, lines, minilm, reading, write_study
from benchmarks.side_by_side import Run, in_turns, measured, page, table, versions
from hardneg.model.embedding import MICRO_ROWS, autocast, encode_passages, encode_queries
from hardneg.model.encoder import Encoder
from hardneg.model.products import PROCESSORS
from hardneg.model.untied import passage_side
from hardneg.stages.artifacts import MANIFEST, Artifact, StageFolder
from hardneg.stages.devices import set_arithmetic_threads
from hardneg.text.tokens import TokenStore, passage_texts, tokenize

MODULE = "benchmarks.encode"
PASSAGES, BASE_PASSAGES = 768, 128
"""Whole micro-batches, which all but the last of a collection are."""
LENGTHS = (256, 128)
"""Tokens at which texts are cut. The few texts of the larger encoder hardly differ in length then. Of a whole block,
which is sorted by length, the texts of a micro-batch do not either."""
TOOLS = ("hardneg", "hardneg bf16", "sentence-transformers", "products")
PEER = TOOLS[2]
PRECISIONS = {"hardneg": "fp32", "hardneg bf16": "bf16"}
DEPTH = 10
"""Passages of a question that are compared."""
ENOUGH = 1e-5
"""How far numbers of the vectors, whose length is 1, may be apart."""


def prepare(folder: Path, data: Path, count: int, backbone: str, longest: int) -> None:
    """Write a study of `count` passages from all over the collection; let the workflow make what encoding reads."""
    if folder.exists():
        return
    every = list(lines(data / "corpus.jsonl"))
    chosen = [every[place] for place in np.linspace(0, len(every) - 1, count).astype(int)]
    places = {passage["_id"]: place for place, passage in enumerate(chosen)}
    texts = {line["_id"]: line["text"] for line in lines(data / "queries.jsonl")}
    rows = [row for file in sorted((data / "qrels").glob("*.tsv")) for row in file.read_text("utf-8").splitlines()[1:]]
    answers: dict[str, int] = {}
    for query, passage, _ in (row.split("\t") for row in rows):
        if passage in places:
            answers.setdefault(query, places[passage])  # SQuAD judges one passage of a question
    asked = [Question(texts[query], place) for query, place in answers.items()]
    encoder = {"backbone": backbone, "pooling": None, "normalize": None, "query_length": 32, "passage_length": longest}
    study = {"encoder": encoder, "systems": {"pretrained": {"preset": "pretrained"}}}
    write_study(folder, chosen, asked, study)
    one = Study(folder)
    model = one.plan.systems["pretrained"].model
    assert model is not None
    one.run(one.tokens(), model)
    np.save(folder / "lengths.npy", TokenStore(one.open(one.tokens()), "passages").lengths(np.arange(count)))
    np.save(folder / "answers.npy", np.array([question.passage for question in asked]))


def ours(folder: Path, threads: int, tool: str) -> None:
    """Tokenise, then encode, as the two stages do. The questions are encoded when that has been measured."""
    set_arithmetic_threads(threads)
    one = Study(folder)
    stage, device = one.tokens(), torch.device("cpu")
    parents = {role: one.open(parent) for role, parent in stage.parents.items()}
    encoder = Encoder.load(passage_side(one.open(one.plan.systems["pretrained"].model)))
    ready = TokenStore(one.open(stage), "passages")
    common: dict[str, Any] = {"precision": PRECISIONS[tool], "device": device, "label": "encode"}

    def work() -> float:
        with tempfile.TemporaryDirectory() as temporary:
            begun = time.perf_counter()
            written = StageFolder(Path(temporary), stage.record, parents)
            names, written.facts = tokenize(written.settings, written.folder, *parents_of(parents))
            written.seal(written.folder / MANIFEST, names)
            store = TokenStore(Artifact.open(written.folder / MANIFEST), "passages")
            tokenised = time.perf_counter() - begun
            target = folder / f"found-{tool}.npy"
            encode_passages(encoder, store, target, (0, len(store)), dtype="float32", **common)
            return tokenised

    encoder.eval()
    with torch.inference_mode(), autocast(device, PRECISIONS[tool]):  # what a first pass allocates, later ones have
        encoder(*map(torch.from_numpy, ready.batch(np.arange(min(8, len(ready))))))
    measured(work)
    queries = TokenStore(one.open(stage), "queries.train")
    encode_queries(encoder, queries, folder / f"asked-{tool}.npy", **common)


def parents_of(parents: dict[str, Artifact]) -> tuple[Artifact, Artifact]:
    """What `tokenize` reads, in its order."""
    return parents["collection"], parents["tokenizer"]


def theirs(folder: Path, model: Path, longest: int) -> None:
    """`SentenceTransformer.encode`, of the same texts."""
    from sentence_transformers import SentenceTransformer

    one = Study(folder)
    texts, peer = list(passage_texts(one.open(one.plan.collection))), SentenceTransformer(str(model), device="cpu")
    peer.max_seq_length = longest
    peer.encode(texts[:8], show_progress_bar=False)

    def work() -> None:
        np.save(folder / f"found-{PEER}.npy", peer.encode(texts, show_progress_bar=False))

    measured(work)


def rates(runs: Sequence[Run], tools: Sequence[str], operations: float) -> pd.DataFrame:
    """Of each tool, GFLOP/s of real tokens, and the share that this is of the products of the same turn."""
    rows = []
    allowed = [run.answer for run in runs if run.tool == "products"]
    for tool in tools:
        reached = [operations / run.seconds / 1e9 for run in runs if run.tool == tool]
        shares = [own / most for own, most in zip(reached, allowed, strict=True)]
        rows.append((f"{statistics.median(reached):.3g}", spread(shares, ".0%")))
    return pd.DataFrame(rows, columns=["GFLOP/s", "share of the products (least to most)"])


def section(folder: Path, shape: Shape, runs: Sequence[Run]) -> tuple[str, pd.DataFrame, str]:
    """What was found with one encoder.

    Raises:
        SystemExit: the vectors differ.
    """
    lengths = np.load(folder / "lengths.npy")
    own, theirs = (np.load(folder / f"found-{tool}.npy") for tool in (TOOLS[0], PEER))
    apart = float(np.abs(own - theirs).max())
    if apart > ENOUGH:
        raise SystemExit(f"The vectors differ by {apart}: this is not the same work.")
    rows = table([run for run in runs if run.tool != "products"], TOOLS[0])
    passages = [f"{len(lengths) / float(seconds):.1f}" for seconds in rows["seconds"]]
    rows.insert(1, "passages a second", passages)
    rows = pd.concat([rows, rates(runs, list(rows["tool"]), shape.operations(lengths))], axis=1)
    allowed = [run.answer for run in runs if run.tool == "products"]
    tokenised = [run.answer for run in runs if run.tool == TOOLS[0]]
    said = (
        f"{int(lengths.sum()):,} tokens, {lengths.mean():.0f} a passage (from {lengths.min()} to {lengths.max()}), "
        f"{shape.operations(lengths) / 1e12:.2f} TFLOP without padding. The float32 vectors of both tools "
        f"agree to {apart:.1e}. The products of a layer alone reach {spread(allowed, '.0f')} GFLOP/s, measured in "
        f"every turn with {rows_of(lengths):,} rows. Of our seconds, {spread(tokenised, '.2g')} are tokenising."
    )
    if TOOLS[1] in set(rows["tool"]):
        said += halved(folder, runs)
    return f"{shape.name}, {len(lengths):,} passages", rows, said


def halved(folder: Path, runs: Sequence[Run]) -> str:
    """How much faster than the peer bf16 is, and what it changes for the questions."""
    answers = np.load(folder / "answers.npy")
    best = {}
    for tool in PRECISIONS:
        scores = np.load(folder / f"asked-{tool}.npy") @ np.load(folder / f"found-{tool}.npy").T
        best[tool] = np.argsort(-scores, axis=1, kind="stable")[:, :DEPTH]
    alike = np.mean([len(np.intersect1d(*both)) for both in zip(*best.values(), strict=True)]) / DEPTH
    gains = [np.where(found == answers[:, None], 1 / np.log2(np.arange(2, DEPTH + 2)), 0) for found in best.values()]
    means = [gain.sum(axis=1).mean() for gain in gains]
    half, peer = ([run.seconds for run in runs if run.tool == tool] for tool in (TOOLS[1], PEER))
    times = [other / own for own, other in zip(half, peer, strict=True)]
    return (
        f" In bf16 the peer takes {spread(times, '.2f')} times as long as this project. {len(answers):,} questions "
        f"find {alike:.2%} of the {DEPTH} best passages that they find in float32; nDCG@{DEPTH} is {means[1]:.4f} in "
        f"place of {means[0]:.4f}."
    )


def multiplies_bf16() -> bool:
    """Whether the processor multiplies bf16 numbers by itself."""
    flags = PROCESSORS.read_text(encoding="utf-8").split() if PROCESSORS.exists() else []
    return "avx512_bf16" in flags or "amx_bf16" in flags


def rows_of(lengths: np.ndarray) -> int:
    """Tokens of a micro-batch of ours of texts of the mean length."""
    return MICRO_ROWS * round(float(lengths.mean()))


def main() -> None:
    """Run one tool, or all in turns."""
    parser = reading(__doc__, TOOLS)
    parser.add_argument("--passages", type=int, default=PASSAGES, help="that MiniLM encodes")
    parser.add_argument("--base-passages", type=int, default=BASE_PASSAGES, help="that the larger encoder encodes")
    parser.add_argument("--shape", type=int, default=0, help="which encoder --tool runs")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.tool is not None:
        model = (minilm(), given.work.parent / "base-model")[given.shape]
        if given.tool in PRECISIONS:
            ours(given.work, given.threads, given.tool)
        elif given.tool == "products":
            tokens = rows_of(np.load(given.work / "lengths.npy"))
            measured(lambda: layer_rate(SHAPES[given.shape], tokens, backward=False))
        else:
            theirs(given.work, model, LENGTHS[given.shape])
        return
    if not found(given.data):
        return
    with contextlib.ExitStack() as stack:
        folder = given.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = folder.resolve()
        backbones = [MINILM, str(base_sized(folder / "base-model"))]
        parts = []
        for number, count in enumerate((given.passages, given.base_passages)):
            study = folder / f"study-{number}"
            prepare(study, given.data, count, backbones[number], LENGTHS[number])
            common = ["--work", str(study), "--threads", str(given.threads), "--shape", str(number)]
            tools = [tool for tool in TOOLS if tool != TOOLS[1] or multiplies_bf16()]
            runs = in_turns(MODULE, tools, common, given.runs)
            parts.append(section(study, SHAPES[number], runs))
        text = page("Encoding", MODULE, parts, given.threads, about())
    print(text)
    if given.output is not None:
        given.output.write_text(text, encoding="utf-8")


def about() -> str:
    """What the page says of all its numbers."""
    return (
        f"{versions('torch', 'transformers', 'sentence-transformers')}. From texts to float32 vectors, in one process, "
        "the model already loaded. Texts are paragraphs of SQuAD with their titles. Ours has 64 of them in a forward "
        "pass, the peer 32, as each does by default; both sort them by length. Each run is a process of its own, and "
        "the tools take turns. Seconds are the median of the runs. Operations are counted from the tokens of texts, "
        "without padding. A share is of the products of one layer, by the faster of torch's libraries, in the shapes "
        "of that encoder and in the same turn. Other programs may run on the machine; where CPU seconds are hardly "
        "more than seconds, they had the other core."
    )


if __name__ == "__main__":
    main()
