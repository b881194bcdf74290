"""Training steps on a CPU, beside sentence-transformers.

    python -m benchmarks.step --output docs/speed-step.md

A step has 32 questions of SQuAD, for each the paragraph that answers it, and the paragraph after that as its hard
negative; all-MiniLM-L6-v2, float32, AdamW, clipping, dropout as the model has it; ours in bf16 too, where the processor
multiplies it. Texts have their own lengths first,
and then all the same number of tokens (there, questions are paragraphs too), so that nobody pads.

Ours is the workflow's own training of a STAR system. The peer is `SentenceTransformerTrainer` with
`MultipleNegativesRankingLoss`. Both get the same texts in the same batches. The tokens of each step are compared, and
the losses too in a training of two steps without dropout and with the peer's loss.

The work counted is three times that of the forward pass over the tokens of texts, see `benchmarks.encode`.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import torch
from transformers import BertModel

from benchmarks.ceiling import layer_rate
from benchmarks.encode import multiplies_bf16, rates
from benchmarks.gpu import SHAPES, spread
from benchmarks.parts import OTHERS, PARTS, named_parts, seconds_by_part
from benchmarks.sample import MINILM, Question, Study, found, lines, minilm, reading, without_dropout, write_study
from benchmarks.side_by_side import Run, in_turns, page, table, told, versions
from hardneg.methods.draws import TrainingQueries
from hardneg.methods.order.shuffle import rows as rows_of_step
from hardneg.retrieval.mine import NEGATIVES
from hardneg.retrieval.runs import RunWriter
from hardneg.stages.artifacts import MANIFEST, Artifact, StageFolder
from hardneg.stages.devices import set_arithmetic_threads
from hardneg.stages.stage import Stage
from hardneg.text.tokens import passage_texts, query_texts
from hardneg.training.state import TrainingState
from workflow_scripts.training import train

MODULE = "benchmarks.step"
TOOLS = ("hardneg", "hardneg bf16", "sentence-transformers", "products")
PRECISIONS = {"hardneg": "fp32", "hardneg bf16": "bf16"}
PAIR = (TOOLS[0], TOOLS[2])
BATCH, SEED, LR, TEMPERATURE = 32, 13, 2e-5, 0.05
STEPS, WARM = 2, 1
"""Timed steps of a run, and those before them."""
EQUAL = 64
"""Tokens of each text where all are as long."""
NATURAL = 256
"""Tokens at which texts are cut otherwise; no question is as long."""
SHAPE = SHAPES[0]
SECTIONS = ("natural", "equal", "parts")


def triples(data: Path, count: int, equal: bool) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Questions, the paragraph that answers each, and the next paragraph of the same article, from all over SQuAD.

    Raises:
        SystemExit: the folder has no such passages.
    """
    every = list(lines(data / "corpus.jsonl"))
    asked: dict[str, str] = {}
    texts = {line["_id"]: line["text"] for line in lines(data / "queries.jsonl")}
    for row in (data / "qrels" / "train.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, passage, _ = row.split("\t")
        asked.setdefault(passage, texts[query])
    there = []
    for at in range(len(every) - 2):
        following = every[at : at + 3]
        together = len({one["title"] for one in following}) == 1
        long = all(len(one["text"].split()) >= EQUAL for one in following)
        if together and every[at]["_id"] in asked and (long or not equal):
            there.append(at)
    if not there:
        raise SystemExit(
            f"No passage of {data} has a training query and two more passages of its title after it. "
            "Give a BEIR folder of SQuAD with --data."
        )
    for place in np.linspace(0, len(there) - 1, count).astype(int):
        at = there[place]
        yield every[at + 2]["text"] if equal else asked[every[at]["_id"]], every[at], every[at + 1]


def prepare(folder: Path, data: Path, steps: int, equal: bool, backbone: str, loss: str, threads: int) -> None:
    """Write a study whose training takes each question once; let the workflow make what the training reads."""
    if folder.exists():
        return
    passages: list[dict[str, Any]] = []
    questions = []
    for question, positive, negative in triples(data, steps * BATCH, equal):
        questions.append(Question(question, len(passages)))
        passages += [positive, negative]
    longest = EQUAL if equal else NATURAL
    settings = {"steps": steps, "batch_size": BATCH, "lr": LR, "log_every": 1}
    encoder = {"backbone": backbone, "pooling": None, "normalize": None, "temperature": TEMPERATURE}
    star = {"preset": "star", "from": "pretrained", "loss": loss, "train": settings}
    study = {
        "seed": SEED,
        "encoder": {**encoder, "query_length": longest, "passage_length": longest},
        "systems": {"pretrained": {"preset": "pretrained"}, "star": star},
        "arithmetic": {"training_threads": threads},
    }
    write_study(folder, passages, questions, study)
    one = Study(folder)
    model = one.plan.systems["pretrained"].model
    assert model is not None
    one.run(one.tokens(), model)


class Noted:
    """What the steps of a training took and read.

    Args:
        warm: steps before those that are timed.
        steps: timed ones.
        profile: whether the profiler looks at them.
    """

    def __init__(self, warm: int, steps: int, profile: bool) -> None:
        self._warm, self._steps = warm, steps
        self._profile = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) if profile else None
        self._texts: list[np.ndarray] = []
        self._began = self._spent = 0.0, 0.0
        self.lengths: list[np.ndarray] = []
        self.computed: list[int] = []
        self.losses: list[float] = []
        self._cells = 0

    def forward(self, work: Any) -> Any:
        """A forward pass that notes the lengths of its texts, and the tokens that it computes, padding included."""

        @functools.wraps(work)
        def noted(*given: Any, **named: Any) -> Any:
            packed = named.get("bounds")
            self._texts.append((named["attention_mask"].sum(1) if packed is None else packed.diff()).numpy())
            self._cells += named["input_ids"].numel()
            return work(*given, **named)

        return noted

    def end(self) -> None:
        """A step has ended."""
        now = time.perf_counter(), time.process_time()
        self.lengths.append(np.concatenate(self._texts))
        self.computed.append(self._cells)
        self._texts, self._cells = [], 0
        done = len(self.computed)
        if done == self._warm + self._steps:
            self._spent = now[0] - self._began[0], now[1] - self._began[1]
            if self._profile is not None:
                self._profile.stop()
        elif done == self._warm:
            if self._profile is not None:
                self._profile.start()
            self._began = time.perf_counter(), time.process_time()

    def tell(self) -> None:
        """Print seconds a step, and an answer: of each step its loss and its work, and the parts of a step."""
        answer: dict[str, Any] = {
            "losses": self.losses,
            "tokens": [int(each.sum()) for each in self.lengths],
            "sorted": [sorted(each.tolist()) for each in self.lengths],
            "computed": self.computed,
            "operations": [3 * SHAPE.operations(each) for each in self.lengths],
        }
        if self._profile is not None:
            parts = seconds_by_part(self._profile)
            answer["parts"] = {part: spent / self._steps for part, spent in parts.items()}
        told(self._spent[0] / self._steps, self._spent[1] / self._steps, answer)


def mined(stage: Stage, folder: Path, queries: int) -> Artifact:
    """What the mining stage would leave: for each question the paragraph after its own."""
    written = StageFolder(folder, stage.record, {})
    folder.mkdir()
    query, first = np.arange(queries), np.ones(queries, np.int64)
    with RunWriter(folder / NEGATIVES) as writer:
        writer.append(query, 2 * query + 1, first, -first.astype(np.float32))
    written.seal(folder / MANIFEST, [NEGATIVES])
    return Artifact.open(folder / MANIFEST)


def ours(folder: Path, noted: Noted, queries: int, threads: int, precision: str) -> None:
    """The training stage of a system with the preset `star`, as its script runs it."""
    set_arithmetic_threads(threads)
    one = Study(folder)
    stage, update = one.plan.systems["star"].model, TrainingState.update
    assert stage is not None
    stage.settings["precision"] = precision
    parents = {role: one.open(parent) for role, parent in stage.parents.items() if role != "negatives"}

    def updated(*given: Any) -> float:
        lr = update(*given)
        noted.end()
        return lr

    with tempfile.TemporaryDirectory() as temporary, mock.patch.object(TrainingState, "update", updated):
        parents["negatives"] = mined(stage.parents["negatives"], Path(temporary) / "mined", queries)
        train(StageFolder(Path(temporary), stage.record, parents), one.plan.runtime, ["cpu"])
        noted.losses = pd.read_csv(Path(temporary) / "loss.csv")["loss"].tolist()


def columns_of(folder: Path, steps: int) -> dict[str, list[str]]:
    """The texts of the first steps, in the order that ours reads them."""
    one = Study(folder)
    collection = one.open(one.plan.collection)
    passages, queries = list(passage_texts(collection)), list(query_texts(collection, "train"))
    order = TrainingQueries(np.arange(len(queries)), BATCH, SEED)
    rows = np.concatenate([rows_of_step(order, step) for step in range(steps)])
    return {
        "anchor": [queries[row] for row in rows],
        "positive": [passages[2 * row] for row in rows],
        "negative": [passages[2 * row + 1] for row in rows],
    }


def theirs(folder: Path, noted: Noted, model: Path, longest: int, steps: int) -> None:
    """`SentenceTransformerTrainer`, with the batches that our order gives."""
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.base.sampler import DefaultBatchSampler
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from transformers import TrainerCallback

    class InOrder(DefaultBatchSampler):
        """Batches in the order of the rows."""

        def __iter__(self) -> Iterator[list[int]]:
            return (list(range(BATCH * step, BATCH * (step + 1))) for step in range(steps))

        def __len__(self) -> int:
            return steps

    class Ends(TrainerCallback):
        """Notes the ends of steps."""

        def on_step_end(self, *_: Any, **__: Any) -> None:
            """See `TrainerCallback`."""
            noted.end()

    peer = SentenceTransformer(str(model), device="cpu")
    peer.max_seq_length = longest
    loss = MultipleNegativesRankingLoss(peer, scale=1 / TEMPERATURE)
    loss.register_forward_hook(lambda _, __, value: noted.losses.append(float(value.detach())))
    with tempfile.TemporaryDirectory() as temporary:
        settings = SentenceTransformerTrainingArguments(
            output_dir=temporary,
            max_steps=steps,
            per_device_train_batch_size=BATCH,
            learning_rate=LR,
            weight_decay=0.01,
            max_grad_norm=1.0,
            batch_sampler=InOrder,
            seed=SEED,
            use_cpu=True,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = SentenceTransformerTrainer(
            model=peer,
            args=settings,
            train_dataset=Dataset.from_dict(columns_of(folder, steps)),
            loss=loss,
            callbacks=[Ends()],
        )
        trainer.train()


def same_work(runs: Sequence[Run]) -> None:
    """Check that all runs read texts of the same lengths at each step.

    Raises:
        SystemExit: they do not.
    """
    if any(run.answer["sorted"] != runs[0].answer["sorted"] for run in runs):
        raise SystemExit("The tools read other texts: this is not the same work.")


def section(title: str, runs: Sequence[Run]) -> tuple[str, pd.DataFrame, str]:
    """What was found with texts of some lengths."""
    trained = [run for run in runs if run.tool != "products"]
    same_work(trained)
    answers = {run.tool: run.answer for run in trained}
    one, timed = answers[TOOLS[0]], slice(WARM, None)
    operations = float(np.mean(one["operations"][timed]))
    tools = [tool for tool in TOOLS if tool in answers]
    rows = pd.concat([table(trained, TOOLS[0]), rates(runs, tools, operations)], axis=1)
    padded = [np.sum(answers[tool]["computed"][timed]) / np.sum(one["tokens"][timed]) for tool in rows["tool"]]
    rows.insert(1, "tokens computed for each of a text", [f"{each:.2f}" for each in padded])
    allowed = [run.answer for run in runs if run.tool == "products"]
    said = (
        f"{np.mean(one['tokens'][timed]):,.0f} tokens of texts a step, {operations / 1e12:.2f} TFLOP. Texts have the "
        f"same lengths in both tools, step by step. The products of a layer alone, forward and backward, reach "
        f"{spread(allowed, '.0f')} GFLOP/s. Seconds are of a step: the mean of {len(one['tokens']) - WARM} after "
        f"{WARM} that is not counted."
    )
    return title, rows, said


def profiles(folder: Path, common: Sequence[str]) -> tuple[str, pd.DataFrame, str]:
    """The parts of a step."""
    runs = in_turns(MODULE, PAIR, ["--work", str(folder), "--equal", "--profile", *common], 1)
    same_work(runs)
    rows: dict[str, list[str]] = {"part": [*PARTS, OTHERS, "all"]}
    for run in runs:
        known = {part: run.answer["parts"].get(part, 0.0) for part in PARTS}
        every = [*known.values(), run.seconds - sum(known.values()), run.seconds]
        rows[f"{run.tool}, ms"] = [f"{1000 * each:.0f}" for each in every]
        rows[f"{run.tool}, share"] = [f"{each / run.seconds:.1%}" for each in every]
    said = (
        f"Texts of {EQUAL} tokens, one run of each tool under torch's profiler, which itself takes time. Forward and "
        "backward pass together. Products with weights include adding biases. Ours draws dropout by NumPy, and its "
        "attention is of each text to itself; the peer's is torch's."
    )
    return "Parts of a step", pd.DataFrame(rows), said


def checked(folder: Path, data: Path, threads: int) -> str:
    """Two steps without dropout and with one loss.

    Raises:
        SystemExit: the losses differ.
    """
    study, model = folder / "check", without_dropout(folder / "plain-model")
    prepare(study, data, 2, True, str(model), "softmax", threads)
    more = ["--work", str(study), "--equal", "--plain", "--steps", "1", "--warm-up", "1", "--threads", str(threads)]
    runs = in_turns(MODULE, PAIR, more, 1)
    same_work(runs)
    losses = np.array([run.answer["losses"] for run in runs])
    apart = float(np.abs(losses[0] - losses[1]).max())
    if apart > 1e-3:
        raise SystemExit(f"The losses differ: {losses.tolist()}")
    return (
        "In a training of two steps without dropout, where ours has the peer's loss, the losses were "
        f"{losses[0][0]:.5f} and {losses[0][1]:.5f} here, and differed from the peer's by {apart:.1e} at most."
    )


def about(check: str) -> str:
    """What the page says of all its numbers."""
    return (
        f"{versions('torch', 'transformers', 'sentence-transformers', 'accelerate')}. all-MiniLM-L6-v2, float32. A "
        f"step has {BATCH} questions of SQuAD, {BATCH} paragraphs that answer them and {BATCH} hard negatives (the "
        f"paragraphs after those), the same texts in the same batches for both tools. Both have AdamW (fused), weight "
        f"decay .01, clipping at 1, lr {LR:g}, and the dropout of the model's own configuration. {check}\n\n"
        "What differs otherwise: ours has the loss of STAR (RankNet over all pairs of the batch), the peer a softmax "
        "over the batch's passages. Ours reads tokens from a file that an earlier stage wrote; the peer tokenises in "
        "the step. Ours encodes questions in one pass and both kinds of paragraphs in another, sorted by length, the "
        "peer each kind in its own. In float32 ours pads no text; in bf16 (`arithmetic.precision`) it pads those of a "
        "pass, which are 16 of up to 256 tokens by default. The peer's are 32. Ours draws dropout by NumPy, and is "
        "deterministic.\n\n"
        "Each run is a process of its own, and the tools take turns; tables have medians. Operations are counted from "
        "the tokens of texts, without padding: three times those of the forward pass. A share is of the products of "
        "one layer, by the faster of torch's libraries, in the same turn. Other programs may run on the machine; where "
        "CPU seconds are hardly more than seconds, they had the other core."
    )


def run_one(given: argparse.Namespace) -> None:
    """Run one tool."""
    steps = given.warm_up + given.steps
    longest = EQUAL if given.equal else NATURAL
    if given.tool == "products":
        tokens, begun = 64 * (EQUAL if given.equal else 160), (time.perf_counter(), time.process_time())
        rate = layer_rate(SHAPE, tokens, backward=True)
        told(time.perf_counter() - begun[0], time.process_time() - begun[1], rate)
        return
    noted = Noted(given.warm_up, given.steps, given.profile)
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(BertModel, "forward", noted.forward(BertModel.forward)))
        if given.profile:
            stack.enter_context(named_parts())
        if given.tool in PRECISIONS:
            ours(given.work, noted, steps * BATCH, given.threads, PRECISIONS[given.tool])
        else:
            model = given.work.parent / "plain-model" if given.plain else minilm()
            theirs(given.work, noted, model, longest, steps)
    noted.tell()


def main() -> None:
    """Run one tool, or all in turns."""
    parser = reading(__doc__, TOOLS)
    parser.add_argument("--steps", type=int, default=STEPS, help="that are timed")
    parser.add_argument("--warm-up", type=int, default=WARM, help="steps before them")
    parser.add_argument("--sections", choices=SECTIONS, nargs="+", default=SECTIONS, help="of the page")
    parser.add_argument("--equal", action="store_true", help="with --tool: texts of one length")
    parser.add_argument("--plain", action="store_true", help="with --tool: no dropout")
    parser.add_argument("--profile", action="store_true", help="with --tool: under the profiler")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.tool is not None:
        run_one(given)
        return
    if not found(given.data):
        return
    with ExitStack() as stack:
        folder = given.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = folder.resolve()
        check = checked(folder, given.data, given.threads)
        common = ["--threads", str(given.threads), "--steps", str(given.steps), "--warm-up", str(given.warm_up)]
        parts: list[tuple[str, pd.DataFrame, str]] = []
        for name, title in (("natural", "Lengths as they are"), ("equal", f"All texts of {EQUAL} tokens")):
            study, equal = folder / name, name == "equal"
            if name not in given.sections and not (equal and "parts" in given.sections):
                continue
            prepare(study, given.data, given.steps + given.warm_up, equal, MINILM, "ranknet", given.threads)
            more = ["--work", str(study), *common, *(["--equal"] if equal else [])]
            tools = [tool for tool in TOOLS if tool != TOOLS[1] or multiplies_bf16()]
            if name in given.sections:
                parts.append(section(title, in_turns(MODULE, tools, more, given.runs)))
                write(parts, check, given)
        if "parts" in given.sections:
            parts.append(profiles(folder / "equal", common))
            write(parts, check, given)


def write(parts: Sequence[tuple[str, pd.DataFrame, str]], check: str, given: argparse.Namespace) -> None:
    """Print the page of what was measured so far, and write it where it is asked for."""
    text = page("Training steps", MODULE, parts, given.threads, about(check))
    print(text, flush=True)
    if given.output is not None:
        given.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
