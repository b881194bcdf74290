"""The configuration, validated once at the boundary.

`load` reads a mapping (what Snakemake merged from files and `--config`), fills presets in, checks it against the models
below and the rules that hold between systems, and either returns a `Config` or raises one `HardnegError` that names
every key at fault. Nested scalars given with `--config` arrive as text, so numbers are read leniently.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hardneg import axes
from hardneg.errors import HardnegError, nearest
from hardneg.measure_names import split_name

FOLDER_NAME = r"^\w[\w.-]*$"
NAMES_FOLDERS = "names the folders under artifacts/ and results/: letters, digits, dots, hyphens and underscores"


class Model(BaseModel):
    """Settings: unknown keys are refused, values cannot be changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class PyDocsCollection(Model):
    """The embedded collection: docstrings of the pinned packages and the standard library."""

    format: Literal["pydocs"]
    name: str = Field("pydocs", pattern=FOLDER_NAME, description=NAMES_FOLDERS)


class BeirCollection(Model):
    """A folder in BEIR layout: corpus.jsonl, queries.jsonl (plain or .gz), qrels/<split>.tsv."""

    format: Literal["beir"]
    name: str = Field(pattern=FOLDER_NAME, description=NAMES_FOLDERS)
    path: Path = Field(description="the folder")


Collection = Annotated[PyDocsCollection | BeirCollection, Field(discriminator="format")]


class Splits(Model):
    """Which splits of the collection train and which are searched and scored."""

    train: str = "train"
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


class Encoder(Model):
    """One encoder for queries and passages: a Transformer, pooled, with an optional head."""

    backbone: str = Field("builtin:tiny", description="builtin:tiny, a local folder, or a Hugging Face model name")
    revision: str | None = Field(None, description="the hub revision (commit) of the backbone")
    trust_remote_code: bool = Field(False, description="run code that comes with the backbone")
    tiny: Tiny = Field(default_factory=Tiny, description="the size of builtin:tiny")
    pooling: Literal["cls", "mean"] = "mean"
    projection: int | None = Field(None, ge=1, description="width of a linear layer with LayerNorm after pooling")
    normalize: bool = Field(False, description="scale vectors to length 1")
    temperature: float = Field(1.0, gt=0, description="training divides inner products by it")
    query_length: int = Field(32, ge=3, description="tokens of a query, special ones included")
    passage_length: int = Field(128, ge=3, description="tokens of a passage, special ones included")


class Bm25(Model):
    """BM25 through Lucene."""

    k1: float = Field(0.9, ge=0)
    b: float = Field(0.4, ge=0, le=1)


class Index(Model):
    """The index that serves and that ADORE retrieves from."""

    factory: str = Field("Flat", description="a FAISS index factory string")
    train_rows: int = Field(200_000, ge=1, description="vectors sampled to train an index that needs training")


class Training(Model):
    """One training run. Budgets are steps or epochs, never seconds."""

    steps: int | None = Field(None, ge=1, description="optimizer steps; or give epochs")
    epochs: float | None = Field(None, gt=0, description="passes over the training queries; or give steps")
    batch_size: int = Field(32, ge=1, description="queries a step")
    optimizer: Literal["adamw"] = "adamw"
    lr: float = Field(5e-5, gt=0, description="peak learning rate")
    schedule: Literal["linear", "constant", "cosine"] = "linear"
    warmup_steps: int = Field(0, ge=0)
    weight_decay: float = Field(0.01, ge=0, description="not applied to biases and LayerNorm weights")
    max_grad_norm: float = Field(1.0, gt=0)
    rows_per_forward: int = Field(64, ge=1, description="texts of similar length that go through the encoder together")
    log_every: int = Field(10, ge=1, description="steps between logged losses")
    log_retrieved_every: int = Field(100, ge=1, description="steps between logged live rankings (query encoder)")


class System(Model):
    """A retrieval system: answers to the six questions, and the system it starts from."""

    preset: str | None = None
    from_: str | None = Field(
        None, alias="from", description="the system whose weights it starts with; null: the backbone's"
    )
    retriever: Literal["bm25", "dense"] = "dense"
    trains: Literal["nothing", "both_encoders", "query_encoder"] = "both_encoders"
    source: axes.Source = axes.NoSource()
    filter: axes.Filter = axes.NoFilter()
    sampler: axes.Sampler = axes.UniformSampler()
    refresh: axes.Refresh = axes.Never()
    loss: axes.Loss = axes.RankNet()
    batch: axes.Batch = axes.OwnNegatives()
    train: Training = Field(default_factory=Training)


class Evaluation(Model):
    """What is searched and measured."""

    depth: int = Field(1000, ge=1, description="passages a query in a run")
    measures: tuple[str, ...] = Field(("MRR@10", "nDCG@10", "R@100"), min_length=1)
    relevant_grade: int = Field(1, ge=1, description="lowest grade that counts as relevant in binary measures")
    main_measure: str = Field("MRR@10", description="the measure the report ranks systems by")


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
    splits: Splits = Field(default_factory=Splits)
    seed: int = Field(13, ge=0, description="enters training stages only")
    encoder: Encoder = Field(default_factory=Encoder)
    bm25: Bm25 = Field(default_factory=Bm25)
    index: Index = Field(default_factory=Index)
    systems: dict[str, System] = Field(min_length=1)
    evaluation: Evaluation = Field(default_factory=Evaluation)
    arithmetic: Arithmetic = Field(default_factory=Arithmetic)
    runtime: Runtime = Field(default_factory=Runtime)


def presets() -> dict[str, Any]:
    """The published methods, by name."""
    text = resources.files("hardneg").joinpath("presets.yaml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a configuration file and the one it `extends:` (relative to it), the nearer winning.

    Raises:
        HardnegError: a file is missing, is no YAML mapping, or extends itself.
    """
    layers: list[dict[str, Any]] = []
    seen: list[Path] = []
    following: Path | None = path
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


def merge(base: Any, over: Any) -> Any:
    """Lay `over` on `base`, key by key; an answer with another `name` replaces the whole answer."""
    if isinstance(base, str) and isinstance(over, Mapping):
        base = {"name": base}
    if not (isinstance(base, Mapping) and isinstance(over, Mapping)):
        return over
    # A collection has a name too, but is no answer: it is told by its format.
    if "name" in base and "format" not in base and over.get("name", base["name"]) != base["name"]:
        return over
    return {**base, **{key: merge(base[key], value) if key in base else value for key, value in over.items()}}


def load(raw: Mapping[str, Any]) -> Config:
    """Validate a configuration.

    Raises:
        HardnegError: with one paragraph for each key at fault.
    """
    filled = dict(raw)
    known = presets()
    systems = raw.get("systems")
    if isinstance(systems, Mapping):
        filled["systems"] = {name: _with_preset(name, own, known) for name, own in systems.items()}
    try:
        config = Config.model_validate(filled)
    except ValidationError as fault:
        raise HardnegError("\n".join(_explain(error) for error in fault.errors())) from None
    problems = list(_contradictions(config))
    if problems:
        raise HardnegError("\n".join(str(problem) for problem in problems))
    return config


def _with_preset(name: str, own: Any, known: Mapping[str, Any]) -> Any:
    if own is None:
        own = {}
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
        if system.from_ in systems and systems[system.from_].retriever == "bm25":
            yield HardnegError(
                "A system cannot start from BM25, which has no weights.",
                where=f"{at}.from",
                found=system.from_,
                remedy="start from a trained system, or mine BM25 with `source: {name: run, system: bm25}`.",
            )
        yield from _wrong_answers(at, name, system)
    yield from _cycles(systems)
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
    if system.from_ is not None:
        yield "from", system.from_
    if isinstance(system.source, axes.RunSource) and system.source.system is not None:
        yield "source.system", system.source.system


def _wrong_answers(at: str, name: str, system: System) -> Iterator[HardnegError]:
    if system.retriever == "bm25":
        if system.trains != "nothing" or system.from_ is not None:
            yield HardnegError(
                "BM25 trains nothing.", where=at, remedy="remove `trains` and `from`, or set `retriever: dense`."
            )
        return
    if system.trains == "nothing":
        yield HardnegError(
            "A dense system that trains nothing is not supported.",
            where=f"{at}.trains",
            found="nothing",
            expected="both_encoders or query_encoder",
            remedy="train it, or set `retriever: bm25`.",
        )
        return
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
        if (
            not live
            or not isinstance(system.refresh, axes.EveryStep)
            or not list_loss
            or not isinstance(system.sampler, axes.AllSampler)
        ):
            yield HardnegError(
                "Training the query encoder alone needs the live index.",
                where=at,
                found=answers,
                expected="source live, refresh every_step, sampler all, loss lambda_ranknet or list_ranknet",
                remedy="start from `preset: adore`.",
            )
        if system.from_ is None:
            yield HardnegError(
                "Training the query encoder needs a system to start from: its passage vectors are kept.",
                where=f"{at}.from",
                found="nothing",
                expected="the name of a dense system",
                remedy="set `from`.",
            )
        return
    if live or list_loss or isinstance(system.refresh, axes.EveryStep) or isinstance(system.sampler, axes.AllSampler):
        yield HardnegError(
            "The live index serves training of the query encoder only.",
            where=at,
            found=answers,
            remedy="set `trains: query_encoder`, or take a static source, sampler and loss.",
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
            found=f"source {source.name}, refresh {system.refresh.name}",
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
    if isinstance(source, axes.NoSource) and (not isinstance(system.batch, axes.InBatch) or train.batch_size == 1):
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
