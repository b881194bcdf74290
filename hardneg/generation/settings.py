"""What decides which texts are written, by what, and at what cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Kind = Literal["negatives", "queries"]

RUNTIME = frozenset(
    {
        "endpoint",
        "api_key_env",
        "length_field",
        "price_per_million_input",
        "price_per_million_output",
        "max_cost",
        "timeout_seconds",
        "retries",
        "backoff_seconds",
        "parallel",
    }
)
"""Settings that decide how the texts are got, and not which: they stay out of a stage's version."""


def _expand_home(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as fault:
        raise ValueError(str(fault)) from None


class GenerationSettings(BaseModel):
    """A language model, what it is asked, and how much of it.

    With `endpoint`, the texts come from an OpenAI-compatible server; without, from a model on this machine.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind = Field("negatives", description="negatives: passages for queries; queries: queries for passages")
    model: str = Field(
        min_length=1,
        description="a local folder, `package:name/folder` (a model inside an installed package) or a Hugging Face "
        "model name; with an endpoint, the name by which the server knows the model",
    )
    revision: str | None = Field(None, description="commit of the model on the Hugging Face Hub")
    gguf_file: str | None = Field(
        None, description="name of the GGUF file in the model's folder; needs the package gguf"
    )
    endpoint: str | None = Field(
        None, pattern=r"^https?://[^/\s]+", description="base URL of an OpenAI-compatible server, such as .../v1"
    )
    api_key_env: str | None = Field(
        "OPENAI_API_KEY",
        pattern=r"^[A-Za-z_]\w*$",
        description="name of the environment variable that holds the key; null: the server needs none",
    )
    length_field: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens", description="the server's name for the limit of an answer"
    )
    prompt: Annotated[Path, AfterValidator(_expand_home)] | None = Field(
        None, description="a prompt file (YAML); null: the prompt of this project for this kind"
    )
    self_check: bool = Field(
        True, description="ask the model whether each passage answers its query; a negative must not, a query must be"
    )
    per_query: int = Field(3, ge=1, description="texts asked for each pair (negatives) or each passage (queries)")
    passage_characters: int = Field(4000, ge=1, description="passages are cut to so many characters in prompts")
    max_new_tokens: int = Field(256, ge=1, description="limit of a written text; a text that reaches it is rejected")
    check_tokens: int = Field(8, ge=1, description="limit of the answer to a check")
    temperature: float | None = Field(
        0.7, ge=0, le=2, description="0: the likeliest token; null: the server's own. Checks are made at 0"
    )
    top_p: float = Field(1.0, gt=0, le=1, description="sample among the likeliest tokens of this total probability")
    seed: int | None = Field(13, ge=0, lt=2**31, description="seed of sampling; null: none is sent to the server")
    batch: int = Field(8, ge=1, description="texts that a local model writes at once; decides digits")
    price_per_million_input: float = Field(0.0, ge=0, description="price of a million input tokens")
    price_per_million_output: float = Field(0.0, ge=0, description="price of a million output tokens")
    max_cost: float | None = Field(None, gt=0, description="stop before the texts cost more, in the prices' currency")
    timeout_seconds: float = Field(60.0, gt=0, description="how long the server may be silent")
    retries: int = Field(5, ge=0, description="how often a question is asked again after a passing fault")
    backoff_seconds: float = Field(1.0, gt=0, description="pause before the first retry; doubled for each further one")
    parallel: int = Field(4, ge=1, description="questions to the server at the same time")

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if self.endpoint is not None and (self.gguf_file is not None or self.revision is not None):
            raise ValueError("gguf_file and revision are for models on this machine; remove them or the endpoint")
        if self.endpoint is None and self.temperature is None:
            raise ValueError("temperature null is for an endpoint; a model on this machine needs a number")
        if self.endpoint is None and self.seed is None and self.temperature != 0:
            raise ValueError(
                "seed null is for an endpoint; a model on this machine needs a seed unless temperature is 0"
            )
        if self.max_cost is not None and not (self.price_per_million_input or self.price_per_million_output):
            raise ValueError("max_cost needs price_per_million_input and price_per_million_output")
        return self
