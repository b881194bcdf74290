"""The configuration, validated once at the boundary.

`load` reads a mapping (what Snakemake merged from files and `--config`), fills presets in, checks it against the models
below and the rules that hold between systems, and either returns a `Config` or raises one `HardnegError` that names
every key at fault. Nested scalars given with `--config` arrive as text, so numbers are read leniently.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path as AnyPath
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from hardneg import axes
from hardneg.data.template import DEFAULT_TEMPLATE, check_template
from hardneg.errors import HardnegError, nearest
from hardneg.evaluation.measure_names import lower_is_better, split_name

FOLDER_NAME = r"^\w[\w.-]*$"
NAMES_FOLDERS = "names the folders under artifacts/ and results/: letters, digits, dots, hyphens and underscores"


def _from_home(path: AnyPath) -> AnyPath:
    try:
        return path.expanduser()
    except RuntimeError as fault:
        raise ValueError(str(fault)) from None


Path = Annotated[AnyPath, AfterValidator(_from_home)]
"""A place on this machine; it counts from the folder where snakemake runs, and ~ is the user's home."""


class Model(BaseModel):
    """Settings: unknown keys are refused, values cannot be changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Windows(Model):
    """Documents are cut into passages of at most `words` words, `overlap` of them shared with the next passage."""

    words: int = Field(ge=1)
    overlap: int = Field(0, ge=0)


class Download(Model):
    """A file to fetch into the collection's `path` before it is read; an archive is unpacked there."""

    url: str = Field(pattern=r"^https?://", description="http or https")
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    md5: str | None = Field(None, pattern=r"^[0-9a-f]{32}$")
    size: int | None = Field(None, ge=0, description="bytes")
    unpack: bool = Field(False, description="zip, tar, tar.gz or tgz")


class AnyCollection(Model):
    """What all formats have in common."""

    name: str = Field(pattern=FOLDER_NAME, description=NAMES_FOLDERS)
    holdout: dict[str, float] = Field(
        {},
        description="splits made by putting aside a share of the training queries, chosen by a hash of their ids: "
        "{dev: 0.1, test: 0.1}",
    )
    windows: Windows | None = Field(
        None, description="cut documents into passages; a document is then scored by its best passage"
    )


class PyDocsCollection(AnyCollection):
    """The embedded collection: docstrings of the pinned packages and the standard library."""

    format: Literal["pydocs"]
    name: str = Field("pydocs", pattern=FOLDER_NAME, description=NAMES_FOLDERS)


class FolderCollection(AnyCollection):
    """A folder with files of known names, fetched first where `download` says from where."""

    path: Path = Field(description="the folder")
    download: tuple[Download, ...] = Field((), description="what to fetch into it")


class BeirCollection(FolderCollection):
    """A folder in BEIR layout: corpus.jsonl, queries.jsonl (plain or .gz), qrels/<split>.tsv."""

    format: Literal["beir"]


class MsMarcoPassageCollection(FolderCollection):
    """MS MARCO passages under their official names; splits train, dev, dl2019, dl2020, where their files are."""

    format: Literal["msmarco-passage"]


class MsMarcoDocumentCollection(FolderCollection):
    """MS MARCO documents under their official names; splits train, dev, dl2019, dl2020, where their files are."""

    format: Literal["msmarco-document"]


class SquadCollection(FolderCollection):
    """SQuAD 1.1 or 2.0: paragraphs are passages, questions are queries."""

    format: Literal["squad"]
    splits: dict[str, str] = Field(min_length=1, description="the JSON file of each split, in the folder")


Column = str | int


def _only_path(value: object) -> object:
    """Let a file be written as its bare path."""
    return {"path": value} if isinstance(value, str | AnyPath) else value


class TableFile(Model):
    """A JSONL, TSV, CSV or Parquet file (.gz too); columns are found by usual names unless they are named here."""

    path: Path = Field(description="a file, a folder of parts, or a pattern with *")
    header: bool | None = Field(None, description="whether the first line names the columns; null: look")


class PassageColumns(Model):
    """Where a passage's fields are."""

    id: Column | None = None
    url: Column | None = None
    title: Column | None = None
    text: Column | None = None


class QueryColumns(Model):
    """Where a query's fields are."""

    id: Column | None = None
    text: Column | None = None


class QrelsColumns(Model):
    """Where a judgement's fields are."""

    query: Column | None = None
    passage: Column | None = None
    grade: Column | None = None


class PassageFile(TableFile, PassageColumns):
    """Columns are names, or numbers from 0 where there is no header."""


class QueryFile(TableFile, QueryColumns):
    """Columns are names, or numbers from 0 where there is no header. TREC topics are read too."""


class QrelsFile(TableFile, QrelsColumns):
    """Columns are names, or numbers from 0 where there is no header. TREC qrels of 2, 3 or 4 columns are read too."""


class SplitFiles(Model):
    """The queries and judgements of one split."""

    queries: Annotated[QueryFile, BeforeValidator(_only_path, json_schema_input_type=str | QueryFile)]
    qrels: Annotated[QrelsFile, BeforeValidator(_only_path, json_schema_input_type=str | QrelsFile)]


class FilesCollection(AnyCollection):
    """Your own files: passages, and for each split queries and judgements.

    With `queries` and `qrels` in place of `splits` there is one split, `train`, and `holdout` puts aside the others.
    """

    format: Literal["files"]
    passages: Annotated[PassageFile, BeforeValidator(_only_path, json_schema_input_type=str | PassageFile)]
    queries: Annotated[QueryFile, BeforeValidator(_only_path, json_schema_input_type=str | QueryFile)] | None = None
    qrels: Annotated[QrelsFile, BeforeValidator(_only_path, json_schema_input_type=str | QrelsFile)] | None = None
    splits: dict[str, SplitFiles] = {}


class IrDatasetsCollection(AnyCollection):
    """What the package ir_datasets knows, by its ids."""

    format: Literal["ir_datasets"]
    splits: dict[str, str] = Field(min_length=1, description="the ir_datasets id of each split; one set of documents")


class HubRows(Model):
    """Rows of a dataset of the Hugging Face Hub."""

    dataset: str = Field(description="owner/name")
    config: str | None = Field(None, description="the dataset's configuration (subset)")
    split: str = "train"
    revision: str | None = Field(None, description="the commit; null reads the newest")


class HubPassages(HubRows, PassageColumns):
    """Columns are found by usual names unless they are named here."""


class HubQueries(HubRows, QueryColumns):
    """Columns are found by usual names unless they are named here."""


class HubQrels(HubRows, QrelsColumns):
    """Columns are found by usual names unless they are named here."""


class HubSplit(Model):
    """The queries and judgements of one split."""

    queries: HubQueries
    qrels: HubQrels


class HubCollection(AnyCollection):
    """Datasets of the Hugging Face Hub, by their columns."""

    format: Literal["hf_datasets"]
    passages: HubPassages
    splits: dict[str, HubSplit] = Field(min_length=1)


Collection = Annotated[
    PyDocsCollection
    | BeirCollection
    | MsMarcoPassageCollection
    | MsMarcoDocumentCollection
    | SquadCollection
    | FilesCollection
    | IrDatasetsCollection
    | HubCollection,
    Field(discriminator="format"),
]


class Splits(Model):
    """Which splits of the collection train and which are searched and scored."""

    train: str | None = Field("train", description="null: nothing is trained here, systems come from elsewhere")
    evaluate: tuple[str, ...] = Field(("dev", "test"), min_length=1)


class Tiny(Model):
    """`builtin:tiny`: a BERT from random weights with a byte-pair vocabulary trained on the collection."""

    vocabulary: int = Field(8192, ge=300, le=65535)
    hidden: int = Field(128, ge=8, multiple_of=8)
    layers: int = Field(2, ge=1)
    heads: int = Field(2, ge=1)
    feed_forward: int = Field(512, ge=8)
    dropout: float = Field(0.1, ge=0, lt=1)
    attention_dropout: float = Field(0.0, ge=0, lt=1)
    lower_case: bool = True


class HeadFrom(Model):
    """Where a published checkpoint keeps the projection and the LayerNorm of its head."""

    linear: str = Field(description="prefix of the projection's tensors, such as embeddingHead")
    norm: str = Field(description="prefix of the LayerNorm's tensors, such as norm")


class Encoder(Model):
    """One encoder for queries and passages: a Transformer, pooled, with an optional head."""

    backbone: str = Field("builtin:tiny", description="builtin:tiny, a local folder, or a Hugging Face model name")
    revision: str | None = Field(None, description="the hub revision (commit) of the backbone")
    trust_remote_code: bool = Field(False, description="run code that comes with the backbone")
    tiny: Tiny = Field(default_factory=Tiny, description="the size of builtin:tiny")
    pooling: Literal["cls", "mean"] = "mean"
    projection: int | None = Field(None, ge=1, description="width of a linear layer with LayerNorm after pooling")
    head_from: HeadFrom | None = Field(
        None, description="take the head from the backbone's own safetensors, where a whole checkpoint is published"
    )
    normalize: bool = Field(False, description="scale vectors to length 1")
    temperature: float = Field(1.0, gt=0, description="training divides inner products by it")
    query_length: int = Field(32, ge=3, description="tokens of a query, special ones included")
    passage_length: int = Field(128, ge=3, description="tokens of a passage, special ones included")
    passage_template: str = Field(
        DEFAULT_TEMPLATE, description="a passage's text of its url, title and text; {sep}: the tokenizer's separator"
    )
    lower_case: bool = Field(False, description="lower-case texts first; builtin:tiny has its own setting")
    prefix_space: bool | None = Field(None, description="begin a text with a space; null: as the tokenizer has it")
    characters: int | None = Field(None, ge=1, description="characters of a passage that are kept; null: all")
    contract: Path | None = Field(
        None, description="JSON lines of texts and their token ids; a tokenizer that gives others is refused"
    )


class Bm25(Model):
    """BM25 through Lucene."""

    passage_template: str = Field(DEFAULT_TEMPLATE, description="what is indexed of a passage's url, title and text")

    k1: float = Field(0.9, ge=0)
    b: float = Field(0.4, ge=0, le=1)


class Index(Model):
    """The index that serves and that ADORE retrieves from."""

    factory: str = Field("Flat", description="a FAISS index factory string, such as PQ32, OPQ16,PQ16, IVF256,PQ32, SQ8")
    train_rows: int = Field(200_000, ge=1, description="vectors sampled to train an index that needs training")
    rows_per_file: int = Field(
        2_000_000, ge=1, description="vectors in one file; files are built, and where memory is short searched, in turn"
    )
    nprobe: int | None = Field(
        None, ge=1, description="lists of an IVF index that a search looks into; null: FAISS's 1"
    )
    ef_search: int | None = Field(
        None, ge=1, description="candidates that a search of an HNSW index keeps; null: FAISS's 16"
    )

    @property
    def label(self) -> str:
        """What tells it from others in a table."""
        searched = {"nprobe": self.nprobe, "efSearch": self.ef_search}
        return ", ".join([self.factory, *(f"{key} {value}" for key, value in searched.items() if value is not None)])


def _only_factory(value: object) -> object:
    """Let an index be written as its bare factory string."""
    return {"factory": value} if isinstance(value, str) else value


class Training(Model):
    """One training run. Budgets are steps or epochs, never seconds."""

    steps: int | None = Field(None, ge=1, description="optimizer steps; or give epochs")
    epochs: float | None = Field(None, gt=0, description="passes over the training queries; or give steps")
    batch_size: int = Field(32, ge=1, description="queries a step")
    optimizer: Literal["adamw", "lamb"] = "adamw"
    eps: float = Field(1e-8, gt=0, description="added to the root of the second moment")
    lr: float = Field(5e-5, gt=0, description="peak learning rate")
    schedule: Literal["linear", "constant", "cosine"] = "linear"
    warmup_steps: int = Field(0, ge=0)
    schedule_steps: int | None = Field(
        None, ge=1, description="steps that the schedule is planned for, where training stops earlier; null: all"
    )
    weight_decay: float = Field(0.01, ge=0, description="not applied to biases and LayerNorm weights")
    max_grad_norm: float = Field(1.0, gt=0)
    query_length: int | None = Field(None, ge=3, description="tokens of a query in training; null: encoder's")
    passage_length: int | None = Field(None, ge=3, description="tokens of a passage in training; null: encoder's")
    gradient_checkpointing: bool = Field(False, description="less memory, more time: activations are made again")
    rows_per_forward: int = Field(64, ge=1, description="texts of similar length that go through the encoder together")
    log_every: int = Field(10, ge=1, description="steps between logged losses")
    log_retrieved_every: int = Field(100, ge=1, description="steps between logged live rankings (query encoder)")


class Vectors(Model):
    """Vectors made elsewhere: `.npy` [rows, width] of float16 or float32, scored by inner product."""

    passages: tuple[Path, ...] = Field(min_length=1, description="the passages' vectors, in one or several files")
    passage_ids: Path | None = Field(None, description="the id of each row, a line each; null: the collection's order")
    queries: dict[str, Path] = Field(min_length=1, description="the queries' vectors of each split")
    query_ids: dict[str, Path] = Field({}, description="the id of each row of a split; none: the split's order")


class System(Model):
    """A retrieval system: answers to the six questions, and the system it starts from."""

    preset: str | None = None
    from_: str | None = Field(
        None,
        alias="from",
        description="the system whose weights it starts with, `study:system` for another study's; null: the backbone's",
    )
    retriever: Literal["bm25", "dense", "run", "vectors"] = Field(
        "dense", description="run, vectors: rankings or vectors that were made elsewhere are scored here"
    )
    runs: dict[str, Path] = Field({}, description="for retriever run: the TREC or MS MARCO run file of each split")
    vectors: Vectors | None = Field(None, description="for retriever vectors: .npy files")
    trains: Literal["nothing", "both_encoders", "query_encoder"] = "both_encoders"
    source: axes.Source = axes.NoSource()
    filter: axes.Filter = axes.NoFilter()
    sampler: axes.Sampler = axes.UniformSampler()
    refresh: axes.Refresh = axes.Never()
    loss: axes.Loss = axes.RankNet()
    batch: axes.Batch = axes.OwnNegatives()
    train: Training = Field(default_factory=Training)
    index: Annotated[Index, BeforeValidator(_only_factory, json_schema_input_type=str | Index)] | None = Field(
        None, description="what serves it, and what its query encoder is trained on; null: the one under `index`"
    )


Grade = Annotated[int, Field(ge=1)]


class Evaluation(Model):
    """What is searched and measured."""

    depth: int = Field(1000, ge=1, description="passages a query in a run")
    measures: tuple[str, ...] = Field(("MRR@10", "nDCG@10", "R@100"), min_length=1)
    relevant_grade: Grade | dict[str, Grade] = Field(
        1, description="lowest grade that counts as relevant in binary measures; one for all splits, or by split"
    )
    main_measure: str = Field("MRR@10", description="the measure the report ranks systems by")

    def relevant_grades(self, splits: Iterable[str]) -> dict[str, int]:
        """The lowest relevant grade of each split; 1 where none is given for it."""
        given = self.relevant_grade
        return {split: given if isinstance(given, int) else given.get(split, 1) for split in splits}


class Errors(Model):
    """Pairwise errors of the dense systems (the paper's Table 1 and Figure 3)."""

    k: int = Field(200, ge=1, description="errors of a positive are cut at this number in the top-K errors")
    hard: int = Field(1000, ge=1, description="a query with more errors than this is called hard")


class Negatives(Model):
    """What was mined and what was met in the batch: judged positives, likely false negatives, scores by rank."""

    teacher: str | None = Field(None, description="a dense system: what it scores above the positive is likely false")


class Agreement(Model):
    """Likely false negatives by agreement: unjudged passages that several systems rank at the top."""

    k: int = Field(10, ge=1, description="ranks of a system that are looked at")
    agree: int = Field(2, ge=1, description="how many other systems must have a passage there")
    exhaustive: bool = Field(
        False, description="the split's queries are judged exhaustively: the false-negative rate is then measured"
    )


class Compression(Model):
    """Systems trained on one index and served on another (the paper's Tables 3 and 5)."""

    base: str = Field(description="the system whose passage vectors are indexed")
    systems: tuple[str, ...] = Field(min_length=1, description="its query encoders, each trained on its own index")


class Probes(Model):
    """Query encoders looked at while they train (the paper's Figures 4 and 6)."""

    systems: tuple[str, ...] = Field(min_length=1, description="systems with `trains: query_encoder`")
    every: int = Field(50, ge=1, description="steps between two looks")
    k: int = Field(200, ge=1, description="static negatives and live ranking are compared to this depth")


class Movement(Model):
    """One query on its way to its passages, in two dimensions (the paper's Figure 6)."""

    system: str = Field(description="one of probes.systems")
    query: str | None = Field(None, description="its id; null: the one whose first relevant passage rises most")
    passages: int = Field(50, ge=1, description="passages near it that are shown, before and after")


class Seeds(Model):
    """Systems trained again with other seeds, with all that they build on."""

    more: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1, description="seeds beside `seed`")
    systems: tuple[str, ...] = Field(min_length=1)


class Examples(Model):
    """Queries shown with their passages: what one system wins and loses against another."""

    system: str | None = Field(None, description="null: the last of the configuration")
    baseline: str | None = Field(None, description="null: the system it starts from")
    count: int = Field(100, ge=2)


class Analyses(Model):
    """What the report looks into beside effectiveness; null leaves a part out."""

    split: str | None = Field(None, description="the evaluated split that is looked at; null: dev, or the first")
    baselines: tuple[str, ...] = Field((), description="systems that all others are tested against (Table 2's marks)")
    errors: Errors | None = Field(default_factory=Errors)
    negatives: Negatives | None = Field(default_factory=Negatives)
    agreement: Agreement | None = Field(default_factory=Agreement)
    examples: Examples | None = Field(default_factory=Examples)
    compression: Compression | None = None
    probes: Probes | None = None
    movement: Movement | None = None
    ablation: dict[str, dict[str, str]] = Field(
        {}, description="the paper's Figure 5: by base system, variants by what they are called and the system"
    )
    speed_baseline: str | None = Field(None, description="the system that training times are compared with (Table 4)")
    seeds: Seeds | None = None


class Arithmetic(Model):
    """What changes floating-point results, and so belongs to the versions."""

    training_threads: int = Field(2, ge=1, description="CPU threads of one training job")
    encoding_threads: int = Field(1, ge=1, description="CPU threads of one encoding or search job")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field("auto", description="auto: bf16 on a GPU, fp32 on a CPU")
    vectors: Literal["float32", "float16"] = Field("float32", description="how passage vectors are stored")


class Runtime(Model):
    """What never changes a result: part of no version."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    shards: int = Field(2, ge=1, description="encoding jobs a collection is cut into")
    gpus_per_search: int = Field(1, ge=1)
    checkpoint_seconds: float = Field(60.0, ge=0, description="a training checkpoint this often; 0: every step")
    java_heap_mib: int = Field(2048, ge=256)
    trackers: tuple[str, ...] = Field((), description="experiment trackers that Accelerate knows, such as tensorboard")


class Config(Model):
    """Everything a run needs."""

    collection: Collection
    studies: dict[str, Path] = Field({}, description="configurations whose systems this one uses, by a name")
    splits: Splits = Field(default_factory=Splits)
    seed: int = Field(13, ge=0, description="enters training stages only")
    encoder: Encoder = Field(default_factory=Encoder)
    bm25: Bm25 = Field(default_factory=Bm25)
    index: Index = Field(default_factory=Index)
    systems: dict[str, System] = Field(min_length=1)
    evaluation: Evaluation = Field(default_factory=Evaluation)
    analyses: Analyses = Field(default_factory=Analyses)
    export: tuple[str, ...] = Field((), description="systems that are written in the layouts of other tools")
    arithmetic: Arithmetic = Field(default_factory=Arithmetic)
    runtime: Runtime = Field(default_factory=Runtime)

    def indexes(self) -> dict[str, Index]:
        """Every index that is named, by its key."""
        own = {f"systems.{name}.index": system.index for name, system in self.systems.items() if system.index}
        return {"index": self.index, **own}

    def index_of(self, system: str) -> Index:
        """What serves a system: its own index, or the one for all."""
        return self.systems[system].index or self.index

    @property
    def analysed_split(self) -> str:
        """The split that analyses look at."""
        evaluated = self.splits.evaluate
        return self.analyses.split or ("dev" if "dev" in evaluated else evaluated[0])


def presets() -> dict[str, Any]:
    """The published methods, by name."""
    text = resources.files("hardneg").joinpath("presets.yaml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def read_yaml(path: AnyPath) -> dict[str, Any]:
    """Read a configuration file and the one it `extends:` (relative to it), the nearer winning.

    Raises:
        HardnegError: a file is missing, is no YAML mapping, or extends itself.
    """
    layers: list[dict[str, Any]] = []
    seen: list[AnyPath] = []
    following: AnyPath | None = path
    while following is not None:
        if following.resolve() in seen:
            raise HardnegError(
                "Configuration files extend each other in a circle.",
                where=str(following),
                remedy="remove one `extends:`.",
            )
        seen.append(following.resolve())
        try:
            content = yaml.safe_load(following.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise HardnegError(
                "A configuration file does not exist.",
                where=str(seen[-2]) if len(seen) > 1 else "--configfile",
                found=str(following),
                remedy="correct the path.",
            ) from None
        except yaml.YAMLError as fault:
            mark = getattr(fault, "problem_mark", None)
            line = f", line {mark.line + 1}" if mark else ""
            raise HardnegError(
                "A configuration file is not valid YAML.",
                where=f"{following}{line}",
                found=str(getattr(fault, "problem", fault)),
                remedy="mend that line.",
            ) from None
        if not isinstance(content, dict):
            raise HardnegError(
                "A configuration file holds no mapping.",
                where=str(following),
                found=type(content).__name__,
                expected="key: value lines",
                remedy="see config.yaml for an example.",
            )
        base = content.pop("extends", None)
        layers.append(content)
        following = (following.parent / base) if base else None
    merged: dict[str, Any] = {}
    for layer in reversed(layers):
        merged = merge(merged, layer)
    return merged


# What may be written as its bare path or factory string, by the keys that others lay on it; all else is a bare name.
BARE = {
    "path": {"path", *PassageFile.model_fields, *QueryFile.model_fields, *QrelsFile.model_fields},
    "factory": {*Index.model_fields},
}


def merge(base: Any, over: Any) -> Any:
    """Lay `over` on `base`, key by key; an answer with another `name`, or another `factory`, replaces the whole."""
    if isinstance(base, str) and isinstance(over, Mapping):
        base = {next((key for key, beside in BARE.items() if over.keys() & beside), "name"): base}
    if not (isinstance(base, Mapping) and isinstance(over, Mapping)):
        return over
    # A collection has a name too, but is no answer: it is told by its format.
    told = next((key for key in ("format", "factory") if key in base), "name")
    if told in base and over.get(told, base[told]) != base[told]:
        return over
    return {**base, **{key: merge(base[key], value) if key in base else value for key, value in over.items()}}


def load(raw: Mapping[str, Any]) -> Config:
    """Validate a configuration. A system that is null is left out: so a file removes one of those it extends.

    Raises:
        HardnegError: with one paragraph for each key at fault.
    """
    filled = dict(raw)
    known = presets()
    systems = raw.get("systems")
    if isinstance(systems, Mapping):
        filled["systems"] = {name: _with_preset(name, own, known) for name, own in systems.items() if own is not None}
    try:
        config = Config.model_validate(filled)
    except ValidationError as fault:
        raise HardnegError("\n".join(_explain(error) for error in fault.errors())) from None
    problems = list(_contradictions(config))
    if problems:
        raise HardnegError("\n".join(str(problem) for problem in problems))
    return config


def _with_preset(name: str, own: Any, known: Mapping[str, Any]) -> Any:
    if not isinstance(own, Mapping) or own.get("preset") is None:
        return own
    chosen = own["preset"]
    if not isinstance(chosen, str) or chosen not in known:
        near = nearest(str(chosen), known)
        raise HardnegError(
            "Unknown preset.",
            where=f"systems.{name}.preset",
            found=str(chosen),
            expected=", ".join(known),
            remedy=f"did you mean {near}?" if near else "choose one of these; `hardneg methods` describes them.",
        )
    return merge(known[chosen], own)


def _contradictions(config: Config) -> Iterator[HardnegError]:
    """What no single key can be blamed for: references between systems and answers that exclude each other."""
    systems = config.systems
    yield from _wrong_collection(config)
    for name, system in systems.items():
        at = f"systems.{name}"
        if not _is_name(name):
            yield HardnegError(
                "A system's name is not usable.",
                where=at,
                found=name,
                expected="letters, digits and underscores, a letter first",
                remedy="rename it.",
            )
        if system.from_ and ":" in system.from_:
            yield from _wrong_study(config, at, system.from_)
        for key, other in _references(system):
            if other not in systems:
                near = nearest(other, systems)
                yield HardnegError(
                    "A system names another that does not exist.",
                    where=f"{at}.{key}",
                    found=other,
                    expected=", ".join(systems),
                    remedy=f"did you mean {near}?" if near else "add that system or name one of these.",
                )
        if system.from_ in systems and systems[system.from_].retriever != "dense":
            kind = {"bm25": "BM25", "run": "a given run", "vectors": "given vectors"}[systems[system.from_].retriever]
            yield HardnegError(
                f"A system cannot start from {kind}, which has no weights.",
                where=f"{at}.from",
                found=system.from_,
                remedy=f"start from a trained system, or mine with `source: {{name: run, system: {system.from_}}}`.",
            )
        yield from _wrong_answers(at, system, config)
    yield from _cycles(systems)
    yield from _wrong_encoder(config)
    yield from _wrong_analyses(config)
    tiny = config.encoder.tiny
    if tiny.hidden % tiny.heads:
        yield HardnegError(
            "The heads do not divide the width.",
            where="encoder.tiny.heads",
            found=f"{tiny.heads} heads for a hidden width of {tiny.hidden}",
            expected="a divisor of encoder.tiny.hidden",
            remedy="change one of the two.",
        )
    for number, measure in enumerate(config.evaluation.measures):
        try:
            split_name(measure, f"evaluation.measures.{number}")
        except HardnegError as fault:
            yield fault
        else:
            if measure == config.evaluation.main_measure and lower_is_better(measure):
                yield HardnegError(
                    "The main measure must be one of which more is better.",
                    where="evaluation.main_measure",
                    found=measure,
                    remedy="name another of evaluation.measures.",
                )
    if config.evaluation.main_measure not in config.evaluation.measures:
        yield HardnegError(
            "The main measure is not measured.",
            where="evaluation.main_measure",
            found=config.evaluation.main_measure,
            expected=", ".join(config.evaluation.measures),
            remedy="add it to evaluation.measures.",
        )


def _is_name(name: str) -> bool:
    return name.isidentifier() and name.isascii() and not name.startswith("_")


def _references(system: System) -> Iterator[tuple[str, str]]:
    if system.from_ is not None and ":" not in system.from_:
        yield "from", system.from_
    if isinstance(system.source, axes.RunSource) and system.source.system is not None:
        yield "source.system", system.source.system


def _wrong_collection(config: Config) -> Iterator[HardnegError]:
    collection, splits = config.collection, config.splits
    if collection.holdout and not all(
        0 < share < 1 for share in (*collection.holdout.values(), sum(collection.holdout.values()))
    ):
        yield HardnegError(
            "The shares that are held out leave nothing to train with.",
            where="collection.holdout",
            found=", ".join(f"{split} {share}" for split, share in collection.holdout.items()),
            expected="shares above 0, together below 1",
            remedy="such as {dev: 0.1, test: 0.1}.",
        )
    if collection.holdout and splits.train is None:
        yield HardnegError(
            "Queries are held out of the training split, and there is none.",
            where="collection.holdout",
            found="splits.train: null",
            remedy="name the split to take them from under splits.train, or remove the holdout.",
        )
    if collection.windows and collection.windows.overlap >= collection.windows.words:
        yield HardnegError(
            "Windows over a document must move on.",
            where="collection.windows.overlap",
            found=f"{collection.windows.overlap} of {collection.windows.words} words",
            expected="less than collection.windows.words",
            remedy="lower the overlap.",
        )
    if isinstance(collection, FolderCollection) and collection.download:
        if collection.path.is_absolute() or ".." in collection.path.parts:
            yield HardnegError(
                "What is downloaded does not lie there.",
                where="collection.path",
                found=str(collection.path),
                expected="a folder inside what is downloaded, such as . or scifact",
                remedy="correct it, or remove `download` (`download: []`) to read files that are there already.",
            )
        names = [file.url.rpartition("/")[2] for file in collection.download]
        for name in dict.fromkeys(name for name in names if names.count(name) > 1):
            yield HardnegError(
                "Two downloads have the same file name.",
                where="collection.download",
                found=name,
                expected="each name once: all are kept in one folder",
                remedy="get one of them yourself, or from another address.",
            )
    if isinstance(collection, HubCollection):
        tables = [
            collection.passages,
            *(t for split in collection.splits.values() for t in (split.queries, split.qrels)),
        ]
        for dataset in dict.fromkeys(table.dataset for table in tables if AnyPath(table.dataset).exists()):
            yield HardnegError(
                "A dataset of the Hub is a folder on this machine.",
                where="collection",
                found=dataset,
                expected="an id of the Hub, owner/name",
                remedy="read your own files with `format: files`, which notices when they change.",
            )
    if isinstance(collection, FilesCollection):
        single = (collection.queries is not None) + (collection.qrels is not None)
        if single != (0 if collection.splits else 2):
            found = [key for key in ("queries", "qrels", "splits") if getattr(collection, key)]
            yield HardnegError(
                "The queries and judgements must be given once.",
                where="collection",
                found=", ".join(found) or "none",
                expected="`queries` and `qrels`, or `splits` with both for each split",
                remedy="see configs/own-data.yaml.",
            )
    grades = config.evaluation.relevant_grade
    graded = grades if isinstance(grades, dict) else {}
    for split in graded:
        # One that is not evaluated does no harm; one that is nearly the name of another is a slip.
        near = nearest(split, splits.evaluate)
        if split not in splits.evaluate and near and near not in graded:
            yield HardnegError(
                "A relevant grade is set for a split that is not evaluated.",
                where=f"evaluation.relevant_grade.{split}",
                found=split,
                expected=", ".join(splits.evaluate),
                remedy=f"did you mean {near}?",
            )
    for name in (*splits.evaluate, *([splits.train] if splits.train else []), *collection.holdout):
        if not re.fullmatch(FOLDER_NAME, name):
            yield HardnegError(
                "A split's name is not usable.",
                where="splits",
                found=name,
                expected="letters, digits, dots, hyphens and underscores",
                remedy="rename it: it names files.",
            )
    if splits.train in splits.evaluate:
        yield HardnegError(
            "The training split would be evaluated: scores on queries that were trained on say nothing.",
            where="splits.evaluate",
            found=splits.train,
            expected="splits other than splits.train",
            remedy="leave it out, put queries aside (collection.holdout), or train nothing (splits: {train: null}).",
        )


def _wrong_encoder(config: Config) -> Iterator[HardnegError]:
    encoder = config.encoder
    for template, where in (
        (encoder.passage_template, "encoder.passage_template"),
        (config.bm25.passage_template, "bm25.passage_template"),
    ):
        try:
            check_template(template, where)
        except HardnegError as fault:
            yield fault
    built_in = encoder.backbone == "builtin:tiny"
    for key, given in (("lower_case", encoder.lower_case), ("prefix_space", encoder.prefix_space)):
        if built_in and given:
            yield HardnegError(
                "The built-in encoder reads texts in its own way.",
                where=f"encoder.{key}",
                found=str(given).lower(),
                remedy="remove the key (encoder.tiny.lower_case is the built-in encoder's), or name another backbone.",
            )
    if encoder.head_from and (built_in or encoder.projection is None):
        yield HardnegError(
            "A head to take over needs a backbone that has one, and its width.",
            where="encoder.head_from",
            found=f"backbone {encoder.backbone}, projection {encoder.projection}",
            remedy="name the checkpoint under encoder.backbone and the head's width under encoder.projection.",
        )
    for name, system in config.systems.items():
        for key in ("query_length", "passage_length"):
            given, stored = getattr(system.train, key), getattr(encoder, key)
            if given is not None and given > stored:
                yield HardnegError(
                    "Training cannot read more tokens than are stored.",
                    where=f"systems.{name}.train.{key}",
                    found=str(given),
                    expected=f"at most encoder.{key}, {stored}",
                    remedy="lower it, or raise the encoder's.",
                )


def _wrong_study(config: Config, at: str, start: str) -> Iterator[HardnegError]:
    study, _, _ = start.partition(":")
    if study not in config.studies:
        near = nearest(study, config.studies)
        yield HardnegError(
            "A system starts from a study that is not named.",
            where=f"{at}.from",
            found=start,
            expected=", ".join(f"{name}:<system>" for name in config.studies) or "a study under `studies`",
            remedy=f"did you mean {near}?" if near else f"add `studies: {{{study}: configs/{study}.yaml}}`.",
        )


def _wrong_answers(at: str, system: System, config: Config) -> Iterator[HardnegError]:
    yield from _wrong_files(at, system, config)
    if system.retriever in ("bm25", "run", "vectors"):
        kind = {"bm25": "BM25", "run": "A given run", "vectors": "A system of given vectors"}[system.retriever]
        if system.trains != "nothing" or system.from_ is not None:
            yield HardnegError(
                f"{kind} trains nothing.", where=at, remedy="remove `trains` and `from`, or set `retriever: dense`."
            )
        return
    if system.trains == "nothing":
        elsewhere = system.from_ is not None and ":" in system.from_
        if not elsewhere and (system.from_ is None or system.index is None):
            yield HardnegError(
                "A dense system that trains nothing needs a trained one: of another study, or for another index.",
                where=f"{at}.from",
                found=system.from_ or "nothing",
                expected="`study:system`; or a system of this study and an `index`; or trains: both_encoders",
                remedy="name the study's system, or an index, or train this one, or set `retriever: bm25`.",
            )
        return
    if config.splits.train is None:
        yield HardnegError(
            "A system cannot be trained without a training split.",
            where=at,
            found="splits.train: null",
            remedy="name a split there, or evaluate another study's system: `preset: zero_shot`, `from: study:system`.",
        )
    source, loss, train = system.source, system.loss, system.train
    live = isinstance(source, axes.LiveSource)
    answers = f"source {source.name}, refresh {system.refresh.name}, sampler {system.sampler.name}, loss {loss.name}"
    list_loss = isinstance(loss, axes.LambdaRankNet | axes.ListRankNet)
    if (train.steps is None) == (train.epochs is None):
        found = "neither" if train.steps is None else f"steps: {train.steps}, epochs: {train.epochs}"
        yield HardnegError(
            "Training needs a budget: steps or epochs, one of them.",
            where=f"{at}.train",
            found=found,
            remedy="set train.steps or train.epochs.",
        )
    if system.trains == "query_encoder":
        dynamic = (live, isinstance(system.refresh, axes.EveryStep), isinstance(system.sampler, axes.AllSampler))
        if not list_loss or isinstance(source, axes.NoSource) or len(set(dynamic)) > 1:
            yield HardnegError(
                "Training the query encoder alone goes over lists, live or static.",
                where=at,
                found=answers,
                expected="source live, refresh every_step, sampler all; or none of these three, and a source; "
                "and loss lambda_ranknet or list_ranknet",
                remedy="start from `preset: adore` or `preset: static`.",
            )
        if system.from_ is None:
            yield HardnegError(
                "Training the query encoder needs a system to start from: its passage vectors are kept.",
                where=f"{at}.from",
                found="nothing",
                expected="the name of a dense system",
                remedy="set `from`.",
            )
    elif live or list_loss or isinstance(system.refresh, axes.EveryStep) or isinstance(system.sampler, axes.AllSampler):
        yield HardnegError(
            "The live index serves training of the query encoder only.",
            where=at,
            found=answers,
            remedy="set `trains: query_encoder`, or take a static source, sampler and loss.",
        )
    yield from _wrong_source(at, system, config)


def _wrong_source(at: str, system: System, config: Config) -> Iterator[HardnegError]:
    """Whether candidates are there to draw from, and as many as are drawn."""
    source, loss, train, answers = system.source, system.loss, system.train, f"source {system.source.name}"
    mined = config.systems.get(source.system or "") if isinstance(source, axes.RunSource) else None
    if mined is not None and (
        mined.retriever == "vectors" or (mined.retriever == "run" and config.splits.train not in mined.runs)
    ):
        yield HardnegError(
            "A system mines another that has no ranking of the training queries.",
            where=f"{at}.source.system",
            found=source.system,  # type: ignore[union-attr]
            remedy=f"add a run file of {config.splits.train} to its `runs`, or mine another system.",
        )
    if isinstance(source, axes.RunSource) and source.system is None and system.from_ is None:
        yield HardnegError(
            "A mined source needs a system to mine.",
            where=f"{at}.source.system",
            found="nothing",
            remedy="name a system there, or one in `from`.",
        )
    if isinstance(source, axes.SelfSource) != isinstance(system.refresh, axes.Rounds):
        yield HardnegError(
            "Source `self` and refresh `rounds` go together.",
            where=at,
            found=f"{answers}, refresh {system.refresh.name}",
            remedy="use both, or neither (`source: {name: run, system: ...}` mines once).",
        )
    if isinstance(source, axes.SelfSource) and system.from_ is None:
        yield HardnegError(
            "The first round mines the system this one starts from.",
            where=f"{at}.from",
            found="nothing",
            remedy="set `from`.",
        )
    depth = getattr(source, "depth", None)
    wanted = (
        system.sampler.k if isinstance(system.sampler, axes.UniformSampler) else getattr(system.sampler, "count", 1)
    )
    key = "k" if isinstance(system.sampler, axes.UniformSampler) else "count"
    if depth is not None and wanted > depth:
        yield HardnegError(
            "The sampler reaches deeper than the source.",
            where=f"{at}.sampler.{key}",
            found=str(wanted),
            expected=f"at most source.depth, {depth}",
            remedy="raise source.depth or lower the sampler.",
        )
    if (
        isinstance(system.sampler, axes.UniformSampler)
        and system.sampler.count > system.sampler.k
        and depth is not None
    ):
        yield HardnegError(
            "The sampler draws more than it draws from.",
            where=f"{at}.sampler.count",
            found=str(system.sampler.count),
            expected=f"at most sampler.k, {system.sampler.k}",
            remedy="lower count or raise k.",
        )
    alone = not isinstance(system.batch, axes.InBatch) or train.batch_size == 1
    if system.trains == "both_encoders" and isinstance(source, axes.NoSource) and alone:
        yield HardnegError(
            "This system has no negatives at all.",
            where=at,
            found=f"source none, batch {system.batch.name}, batch_size {train.batch_size}",
            remedy="choose a source, or `batch: in_batch` with train.batch_size of 2 or more.",
        )
    if (
        isinstance(loss, axes.RankNet)
        and loss.alpha is not None
        and (isinstance(source, axes.NoSource) or not isinstance(system.batch, axes.InBatch))
    ):
        yield HardnegError(
            "alpha weighs in-batch pairs against mined ones; this system lacks one of them.",
            where=f"{at}.loss.alpha",
            found=f"source {source.name}, batch {system.batch.name}",
            remedy="remove alpha.",
        )


def _wrong_analyses(config: Config) -> Iterator[HardnegError]:
    """Whether analyses and exports name systems that are there, and of the kind that they look into."""
    asked, systems = config.analyses, config.systems
    dense = [name for name, system in systems.items() if system.retriever == "dense"]
    vectors = [name for name, system in systems.items() if system.retriever in ("dense", "vectors")]
    queries = [name for name in dense if systems[name].trains == "query_encoder"]
    named: list[tuple[str, Iterable[str | None], list[str], str]] = [
        (
            "export",
            config.export,
            [n for n, s in systems.items() if s.retriever in ("dense", "bm25")],
            "that ranks here",
        ),
        ("analyses.baselines", asked.baselines, list(systems), "of this configuration"),
        ("analyses.speed_baseline", [asked.speed_baseline], dense, "that is trained"),
    ]
    if asked.negatives:
        named.append(("analyses.negatives.teacher", [asked.negatives.teacher], dense, "with encoders"))
    if asked.examples:
        named += [
            (f"analyses.examples.{key}", [getattr(asked.examples, key)], list(systems), "of this configuration")
            for key in ("system", "baseline")
        ]
    if asked.compression:
        named.append(("analyses.compression.base", [asked.compression.base], vectors, "with vectors"))
        named.append(("analyses.compression.systems", asked.compression.systems, queries, "that trains query_encoder"))
    if asked.probes:
        named.append(("analyses.probes.systems", asked.probes.systems, queries, "that trains query_encoder"))
    if asked.movement:
        probed = list(asked.probes.systems) if asked.probes else []
        named.append(("analyses.movement.system", [asked.movement.system], probed, "of analyses.probes.systems"))
    if asked.seeds:
        named.append(("analyses.seeds.systems", asked.seeds.systems, dense, "that is trained"))
    for base, variants in asked.ablation.items():
        named.append((f"analyses.ablation.{base}", [base, *variants.values()], list(systems), "of this configuration"))
    for where, names, allowed, kind in named:
        for name in names:
            if name is not None and name not in allowed:
                near = nearest(name, allowed)
                yield HardnegError(
                    f"An analysis or export names no system {kind}.",
                    where=where,
                    found=name,
                    expected=", ".join(allowed) or "none is there",
                    remedy=f"did you mean {near}?" if near else "name one of these, or remove the key.",
                )
    if asked.split is not None and asked.split not in config.splits.evaluate:
        yield HardnegError(
            "The split to look at is not evaluated.",
            where="analyses.split",
            found=asked.split,
            expected=", ".join(config.splits.evaluate),
            remedy="add it to splits.evaluate, or name one of these.",
        )
    if asked.compression:
        for name in asked.compression.systems:
            if name in queries and systems[name].from_ != asked.compression.base:
                yield HardnegError(
                    "A system to compare on compressed indexes starts from another base.",
                    where="analyses.compression.systems",
                    found=f"{name}, from {systems[name].from_}",
                    expected=f"from: {asked.compression.base}",
                    remedy="change its `from`, or leave it out.",
                )
    if asked.seeds and config.seed in asked.seeds.more:
        yield HardnegError(
            "A further seed is the seed itself.",
            where="analyses.seeds.more",
            found=str(config.seed),
            expected="seeds other than `seed`",
            remedy="remove it.",
        )


def _wrong_files(at: str, system: System, config: Config) -> Iterator[HardnegError]:
    """Whether a system that was made elsewhere, and no other, has files, for all splits that are evaluated."""
    if system.retriever in ("bm25", "dense"):
        if system.runs or system.vectors:
            yield HardnegError(
                "A system that ranks here makes its own rankings and vectors.",
                where=f"{at}.{'runs' if system.runs else 'vectors'}",
                remedy="set `retriever: run` or `retriever: vectors`, or remove the key.",
            )
        return
    made = system.vectors.queries if system.vectors is not None else {}
    key, given = ("runs", system.runs) if system.retriever == "run" else ("vectors.queries", made)
    lacking = [split for split in config.splits.evaluate if split not in given]
    if lacking:
        yield HardnegError(
            "Files are missing for splits that are evaluated.",
            where=f"{at}.{key}",
            found=", ".join(given) or "none",
            expected=", ".join(config.splits.evaluate),
            remedy=f"name the file of {', '.join(lacking)}, or leave the split out of splits.evaluate.",
        )


def _cycles(systems: Mapping[str, System]) -> Iterator[HardnegError]:
    finished: set[str] = set()
    for start in systems:
        if (circle := _circle(start, systems, [], finished)) is not None:
            yield HardnegError(
                "Systems depend on each other in a circle.",
                where=f"systems.{circle[0]}",
                found=" -> ".join(circle),
                remedy="let one of them start from, or mine, an earlier system.",
            )
            return


def _circle(name: str, systems: Mapping[str, System], path: list[str], finished: set[str]) -> list[str] | None:
    """The first circle met on the way from a system to those it references; `path` led here."""
    if name in path:
        return [*path[path.index(name) :], name]
    if name not in finished and name in systems:
        for _, other in _references(systems[name]):
            if (circle := _circle(other, systems, [*path, name], finished)) is not None:
                return circle
        finished.add(name)
    return None


def schema() -> dict[str, Any]:
    """JSON schema of a configuration file, for editors: what is written there, before presets are filled in.

    `config.schema.json` holds it: `python -m hardneg.config > config.schema.json`. It is wider than the models where a
    file may leave to others what they need: a base that it `extends`, a preset, or --config.
    """
    whole = Config.model_json_schema()
    del whole["required"]
    whole["properties"] = {
        "extends": {"type": "string", "description": "a configuration file that this one changes, relative to it"},
        **whole["properties"],
    }
    whole["$defs"]["System"]["type"] = ["object", "null"]  # null leaves out a system of the base
    system = whole["$defs"]["System"]["properties"]
    system["preset"] |= {"anyOf": [{"enum": list(presets())}, {"type": "null"}]}
    for question, (asked, answers) in axes.QUESTIONS.items():
        kinds = [{"$ref": f"#/$defs/{answer.__name__}"} for answer in answers]
        names = [answer.model_fields["name"].default for answer in answers]
        system[question] = {"description": asked, "anyOf": [{"enum": names}, *kinds]}
    return whole


# --- explaining what the models refuse ------------------------------------------------------------------------------


# What YAML calls the shapes that pydantic calls dictionaries, instances and tuples.
SHAPES = dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "keys and values, `key: value`")
SHAPES |= {"tuple_type": "a list, `[a, b]`"}


def _explain(error: Any) -> str:
    """One paragraph for one pydantic error, with the key's path and the nearest known name."""
    keys, models = _walk(error["loc"])
    where = ".".join(keys) or "the configuration"
    kind, context = error["type"], error.get("ctx", {})
    found = error["input"]
    if kind == "extra_forbidden":
        allowed = [field.alias or name for name, field in models[-1].model_fields.items()] if models else []
        near = nearest(keys[-1], allowed)
        return str(
            HardnegError(
                "Unknown key.",
                where=where,
                found=keys[-1],
                expected=", ".join(allowed),
                remedy=f"did you mean {near}?" if near else "remove it or use one of these.",
            )
        )
    if kind == "missing":
        return str(HardnegError("A key is missing.", where=where, remedy="add it; config.yaml shows an example."))
    if kind in ("union_tag_invalid", "literal_error"):
        allowed = [
            item.strip(" '")
            for item in context.get("expected_tags", context.get("expected", "")).replace(" or ", ",").split(",")
        ]
        value = str(context.get("tag", found))
        if "discriminator" in context:
            where += "." + str(context["discriminator"]).strip("'")
        near = nearest(value, allowed)
        return str(
            HardnegError(
                "Unknown value.",
                where=where,
                found=value,
                expected=", ".join(allowed),
                remedy=f"did you mean {near}?" if near else "choose one of these.",
            )
        )
    if kind == "union_tag_not_found":
        where += "." + str(context["discriminator"]).strip("'")
        return str(HardnegError("A key is missing.", where=where, remedy="add it; config.yaml shows an example."))
    shown = str(found)
    return str(
        HardnegError(
            "A value is not allowed.",
            where=where,
            found=shown if len(shown) <= 80 else shown[:77] + "...",
            expected=SHAPES.get(kind, error["msg"]),
            remedy="correct it.",
        )
    )


def _walk(location: tuple[int | str, ...]) -> tuple[list[str], list[type[BaseModel]]]:
    """The key path that a pydantic location stands for (without union tags) and the models passed on the way."""
    keys: list[str] = []
    models: list[type[BaseModel]] = [Config]
    annotation: Any = Config
    for part in location:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            field = next((f for name, f in annotation.model_fields.items() if part in (name, f.alias)), None)
            keys.append(str(part))
            annotation = field.annotation if field is not None else None
        else:
            members = list(_members(annotation))
            tagged = [member for member in members if _tag(member) == part]
            if tagged:
                annotation = tagged[0]
            else:
                keys.append(str(part))
                annotation = get_args(annotation)[-1] if get_origin(annotation) is dict else None
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        plain = [
            member for member in _members(annotation) if isinstance(member, type) and issubclass(member, BaseModel)
        ]
        if len(plain) == 1:
            annotation = plain[0]
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            models.append(annotation)
    return keys, models


def _members(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Annotated:
        yield from _members(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from _members(member)
    else:
        yield annotation


def _tag(member: Any) -> str | None:
    if not (isinstance(member, type) and issubclass(member, BaseModel)):
        return None
    field = member.model_fields.get(
        "name" if "name" in member.model_fields and issubclass(member, axes.Answer) else "format"
    )
    return get_args(field.annotation)[0] if field is not None else None


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2))
