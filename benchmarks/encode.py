"""Encoding of real passages on a CPU, beside sentence-transformers.

    python -m benchmarks.encode --output docs/speed-encode.md

From texts to float32 vectors, with all-MiniLM-L6-v2 and with an encoder of the shape of BERT base whose weights are
random. Texts are paragraphs of SQuAD, cut at the 256 tokens that MiniLM reads, and at 128 for the larger encoder. Ours
tokenises into a file, and encodes from there in blocks, as the workflow does; the peer is `SentenceTransformer.encode`.
Both are in float32, in one process.

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
from hardneg.model.embedding import MICRO_ROWS, encode_passages
from hardneg.model.encoder import Encoder
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
TOOLS = ("hardneg", "sentence-transformers", "products")
ENOUGH = 1e-5
"""How far numbers of the vectors, whose length is 1, may be apart."""


def prepare(folder: Path, data: Path, count: int, backbone: str, longest: int) -> None:
    """Write a study of `count` passages from all over the collection; let the workflow make what encoding reads."""
    if folder.exists():
        return
    every = list(lines(data / "corpus.jsonl"))
    chosen = [every[place] for place in np.linspace(0, len(every) - 1, count).astype(int)]
    encoder = {"backbone": backbone, "pooling": None, "normalize": None, "query_length": 32, "passage_length": longest}
    study = {"encoder": encoder, "systems": {"pretrained": {"preset": "pretrained"}}}
    write_study(folder, chosen, [Question("What is told?", 0)], study)
    one = Study(folder)
    model = one.plan.systems["pretrained"].model
    assert model is not None
    one.run(one.tokens(), model)
    np.save(folder / "lengths.npy", TokenStore(one.open(one.tokens()), "passages").lengths(np.arange(count)))


def ours(folder: Path, threads: int) -> None:
    """Tokenise, then encode, as the two stages do."""
    set_arithmetic_threads(threads)
    one = Study(folder)
    stage, device = one.tokens(), torch.device("cpu")
    parents = {role: one.open(parent) for role, parent in stage.parents.items()}
    encoder = Encoder.load(passage_side(one.open(one.plan.systems["pretrained"].model)))
    ready = TokenStore(one.open(stage), "passages")
    common: dict[str, Any] = {"dtype": "float32", "precision": "fp32", "device": device, "label": "encode"}

    def work() -> float:
        with tempfile.TemporaryDirectory() as temporary:
            begun = time.perf_counter()
            written = StageFolder(Path(temporary), stage.record, parents)
            names, written.facts = tokenize(written.settings, written.folder, *parents_of(parents))
            written.seal(written.folder / MANIFEST, names)
            store = TokenStore(Artifact.open(written.folder / MANIFEST), "passages")
            tokenised = time.perf_counter() - begun
            encode_passages(encoder, store, folder / "found-hardneg.npy", (0, len(store)), **common)
            return tokenised

    encoder.eval()
    with torch.inference_mode():  # what a first pass allocates, later ones have
        encoder(*map(torch.from_numpy, ready.batch(np.arange(min(8, len(ready))))))
    measured(work)


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
        np.save(folder / f"found-{TOOLS[1]}.npy", peer.encode(texts, show_progress_bar=False))

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
    vectors = {tool: np.load(folder / f"found-{tool}.npy") for tool in TOOLS[:-1]}
    apart = {tool: float(np.abs(made - vectors[TOOLS[0]]).max()) for tool, made in vectors.items()}
    if max(apart.values()) > ENOUGH:
        raise SystemExit(f"The vectors differ by {apart}: this is not the same work.")
    rows = table([run for run in runs if run.tool != "products"], TOOLS[0])
    passages = [f"{len(lengths) / float(seconds):.1f}" for seconds in rows["seconds"]]
    rows.insert(1, "passages a second", passages)
    rows = pd.concat([rows, rates(runs, TOOLS[:-1], shape.operations(lengths))], axis=1)
    allowed = [run.answer for run in runs if run.tool == "products"]
    tokenised = [run.answer for run in runs if run.tool == TOOLS[0]]
    said = (
        f"{int(lengths.sum()):,} tokens, {lengths.mean():.0f} a passage (from {lengths.min()} to {lengths.max()}), "
        f"{shape.operations(lengths) / 1e12:.2f} TFLOP without padding. The vectors of all tools agree to "
        f"{max(apart.values()):.1e}. The products of a layer alone reach {spread(allowed, '.0f')} GFLOP/s, measured in "
        f"every turn with {rows_of(lengths):,} rows. Of our seconds, {spread(tokenised, '.2g')} are tokenising."
    )
    return f"{shape.name}, {len(lengths):,} passages", rows, said


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
        if given.tool == "hardneg":
            ours(given.work, given.threads)
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
            runs = in_turns(MODULE, TOOLS, common, given.runs)
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
