"""The grammar: six questions about a system and the answers known to each.

An answer is one class here (its name, its settings with defaults, and where it is implemented) and one function there.
The plan digests the implementing function, the configuration is validated against the settings, `hardneg methods`
prints the docstrings, and training calls `function_of(...)`. Adding a method adds an answer; nothing else knows
the names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class Answer(BaseModel):
    """One answer to one of the six questions. Subclasses give it a `name` and its settings.

    Attributes:
        implemented_by: the function, as module:name.
        live: of a source: whether it asks the index at every step, instead of drawing from candidates.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    implemented_by: ClassVar[str]
    live: ClassVar[bool] = False


# --- source: where do candidates come from? -------------------------------------------------------------------------


class NoSource(Answer):
    """No mined candidates: the batch alone supplies negatives."""

    name: Literal["none"] = "none"
    implemented_by: ClassVar[str] = "hardneg.negatives.sources:no_candidates"


class RandomSource(Answer):
    """The whole collection, drawn from afresh at every step."""

    name: Literal["random"] = "random"
    implemented_by: ClassVar[str] = "hardneg.negatives.sources:whole_collection"


class RunSource(Answer):
    """The ranking of an earlier system (BM25 or dense) for the training queries, cut at `depth`."""

    name: Literal["run"] = "run"
    implemented_by: ClassVar[str] = "hardneg.negatives.sources:mined"
    system: str | None = Field(None, description="the system whose ranking is mined; null: the one this starts `from`")
    depth: int = Field(200, ge=1, description="how many ranks of it are looked at")


class SelfSource(Answer):
    """The system's own ranking, mined anew at the start of every round (ANCE); the first round mines `from`."""

    name: Literal["self"] = "self"
    implemented_by: ClassVar[str] = "hardneg.negatives.sources:mined"
    depth: int = Field(200, ge=1, description="how many ranks are looked at")


class LiveSource(Answer):
    """The top `depth` of the index under the query encoder of this very step (ADORE)."""

    name: Literal["live"] = "live"
    implemented_by: ClassVar[str] = "hardneg.negatives.sources:live"
    live: ClassVar[bool] = True
    depth: int = Field(200, ge=1, description="how many passages are retrieved a query and step (the paper's K)")
    append: Literal["missing", "if_none"] = Field(
        "missing",
        description="positives that were not retrieved join the end of the list: each that is `missing`, or all of "
        "them `if_none` was retrieved (as the paper's released code does)",
    )


# --- filter: which are thrown out? ----------------------------------------------------------------------------------


class NoFilter(Answer):
    """Nothing beyond the judged positives, which are always removed."""

    name: Literal["none"] = "none"
    implemented_by: ClassVar[str] = "hardneg.negatives.filters:keep_all"


# --- sampler: which are drawn? --------------------------------------------------------------------------------------


class UniformSampler(Answer):
    """`count` passages, uniformly and without repetition, from the first `k` candidates."""

    name: Literal["uniform"] = "uniform"
    implemented_by: ClassVar[str] = "hardneg.negatives.samplers:uniform"
    k: int = Field(200, ge=1, description="how many of the best candidates are drawn from")
    count: int = Field(1, ge=1, description="negatives a query and step")


class TopSampler(Answer):
    """The first `count` candidates, the same at every step."""

    name: Literal["top"] = "top"
    implemented_by: ClassVar[str] = "hardneg.negatives.samplers:top"
    count: int = Field(1, ge=1, description="negatives a query and step")


class AllSampler(Answer):
    """Every candidate (the live list)."""

    name: Literal["all"] = "all"
    implemented_by: ClassVar[str] = "hardneg.negatives.samplers:every"


# --- refresh: when are they renewed? --------------------------------------------------------------------------------


class Never(Answer):
    """Mined once, before training (static)."""

    name: Literal["never"] = "never"
    implemented_by: ClassVar[str] = "hardneg.training.schedule:one_round"


class Rounds(Answer):
    """Mined anew `rounds` times, at equal distances over the steps, each round from the model the last one left."""

    name: Literal["rounds"] = "rounds"
    implemented_by: ClassVar[str] = "hardneg.training.schedule:equal_rounds"
    rounds: int = Field(3, ge=2, description="how often candidates are mined")


class EveryStep(Answer):
    """Retrieved anew at every step (dynamic)."""

    name: Literal["every_step"] = "every_step"
    implemented_by: ClassVar[str] = "hardneg.training.schedule:one_round"


# --- loss: what is minimised? ---------------------------------------------------------------------------------------


class RankNet(Answer):
    """Mean softplus(negative - positive) over all (query, negative) pairs.

    Without `alpha` the pairs of mined and in-batch negatives are pooled, as in the paper's released code; with it the
    loss is the mean over mined pairs plus `alpha` times the mean over in-batch pairs, the paper's Eq. 13.
    """

    name: Literal["ranknet"] = "ranknet"
    implemented_by: ClassVar[str] = "hardneg.losses:ranknet"
    alpha: float | None = Field(None, ge=0, description="weight of the in-batch pairs (Eq. 13); null pools all pairs")


class Softmax(Answer):
    """Negative log of the positive's share of the softmax over itself and the negatives (NCE)."""

    name: Literal["softmax"] = "softmax"
    implemented_by: ClassVar[str] = "hardneg.losses:softmax"


class LambdaRankNet(Answer):
    """RankNet over the retrieved list, each pair weighted by what swapping it would change in `metric` at `cut`."""

    name: Literal["lambda_ranknet"] = "lambda_ranknet"
    implemented_by: ClassVar[str] = "hardneg.losses:lambda_ranknet"
    metric: Literal["MRR", "nDCG"] = "MRR"
    cut: int = Field(200, ge=1, description="ranks beyond it count nothing; a cut of 0 would make every weight 0")


class ListRankNet(Answer):
    """RankNet over the retrieved list with every pair weighted alike (the paper's ablation without lambda)."""

    name: Literal["list_ranknet"] = "list_ranknet"
    implemented_by: ClassVar[str] = "hardneg.losses:list_ranknet"


# --- batch: what else is in the batch? ------------------------------------------------------------------------------


class OwnNegatives(Answer):
    """Nothing else: each query meets only its own negatives."""

    name: Literal["own"] = "own"
    implemented_by: ClassVar[str] = "hardneg.batches:own"


class InBatch(Answer):
    """The other rows' positives, and all rows' mined negatives."""

    name: Literal["in_batch"] = "in_batch"
    implemented_by: ClassVar[str] = "hardneg.batches:in_batch"


class SharedNegatives(Answer):
    """All rows' mined negatives, but not the other rows' positives."""

    name: Literal["shared"] = "shared"
    implemented_by: ClassVar[str] = "hardneg.batches:shared"


def _named(value: object) -> object:
    """Let an answer without settings be written as its bare name."""
    return {"name": value} if isinstance(value, str) else value


_ByName = Field(discriminator="name")

Source = Annotated[
    Annotated[NoSource | RandomSource | RunSource | SelfSource | LiveSource, _ByName], BeforeValidator(_named)
]
Filter = Annotated[NoFilter, BeforeValidator(_named)]
Sampler = Annotated[Annotated[UniformSampler | TopSampler | AllSampler, _ByName], BeforeValidator(_named)]
Refresh = Annotated[Annotated[Never | Rounds | EveryStep, _ByName], BeforeValidator(_named)]
Loss = Annotated[Annotated[RankNet | Softmax | LambdaRankNet | ListRankNet, _ByName], BeforeValidator(_named)]
Batch = Annotated[Annotated[OwnNegatives | InBatch | SharedNegatives, _ByName], BeforeValidator(_named)]

QUESTIONS: dict[str, tuple[str, tuple[type[Answer], ...]]] = {
    "source": (
        "Where do candidates come from?",
        (NoSource, RandomSource, RunSource, SelfSource, LiveSource),
    ),
    "filter": ("Which are thrown out?", (NoFilter,)),
    "sampler": ("Which are drawn?", (UniformSampler, TopSampler, AllSampler)),
    "refresh": ("When are they renewed?", (Never, Rounds, EveryStep)),
    "loss": ("What is minimised?", (RankNet, Softmax, LambdaRankNet, ListRankNet)),
    "batch": ("What else is in the batch?", (OwnNegatives, InBatch, SharedNegatives)),
}


def answer_of(question: str, chosen: Mapping[str, Any]) -> type[Answer]:
    """The class of a validated answer (its name and settings)."""
    _, answers = QUESTIONS[question]
    return next(answer for answer in answers if answer.model_fields["name"].default == chosen["name"])


def function_of(question: str, chosen: Mapping[str, Any]) -> Callable[..., Any]:
    """The function that implements a validated answer (its name and settings), with the settings bound to it.

    It is imported here, when it is asked for: the plan reads this module at every start and must not import torch.
    """
    module, name = answer_of(question, chosen).implemented_by.split(":")
    settings = {key: value for key, value in chosen.items() if key != "name"}
    return partial(getattr(import_module(module), name), **settings)
