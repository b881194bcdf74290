"""The encoder: a Transformer, how its output is pooled, and how texts are prepared for it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hardneg.config.base import Model, Path
from hardneg.data.template import DEFAULT_TEMPLATE


class Tiny(Model):
    """`builtin:tiny`: a randomly initialised BERT with a byte-pair vocabulary learned from the collection."""

    vocabulary: int = Field(8192, ge=300, le=65535)
    hidden: int = Field(128, ge=8, multiple_of=8)
    layers: int = Field(2, ge=1)
    heads: int = Field(2, ge=1)
    feed_forward: int = Field(512, ge=8)
    dropout: float = Field(0.1, ge=0, lt=1)
    attention_dropout: float = Field(0.0, ge=0, lt=1)
    lower_case: bool = True


class HeadFrom(Model):
    """Where a published checkpoint stores its head: a linear projection and a LayerNorm."""

    linear: str = Field(description="prefix of the projection's tensor names, such as embeddingHead")
    norm: str = Field(description="prefix of the LayerNorm's tensor names, such as norm")


class CrossEncoder(Model):
    """The cross-encoder: any sequence classifier of Transformers, or a small one from random weights."""

    backbone: str = Field("builtin:tiny", description="builtin:tiny, a local folder, or a Hugging Face model name")
    revision: str | None = Field(None, description="commit of the backbone on the Hugging Face Hub")
    trust_remote_code: bool = Field(False, description="run the Python code that comes with the backbone")
    tiny: Tiny = Field(default_factory=Tiny, description="the size of builtin:tiny")
    query_length: int = Field(32, ge=3, description="maximum tokens of a query, including special tokens")
    passage_length: int = Field(128, ge=3, description="maximum tokens of a passage, including special tokens")
    passage_template: str = Field(
        DEFAULT_TEMPLATE,
        description="how a passage's url, title and text are joined; {sep} is the tokenizer's separator",
    )
    lower_case: bool = Field(
        False, description="lower-case texts before tokenization; for builtin:tiny, set tiny.lower_case instead"
    )
    prefix_space: bool | None = Field(None, description="put a space before each text; null: the tokenizer's default")
    characters: int | None = Field(None, ge=1, description="cut passages to this many characters; null: no limit")
    contract: Path | None = Field(
        None, description="JSON lines of texts with their token ids; a tokenizer that disagrees is refused"
    )


class Encoder(Model):
    """The encoder of queries and passages: a Transformer, pooling and an optional projection head."""

    backbone: str = Field("builtin:tiny", description="builtin:tiny, a local folder, or a Hugging Face model name")
    revision: str | None = Field(None, description="commit of the backbone on the Hugging Face Hub")
    trust_remote_code: bool = Field(False, description="run the Python code that comes with the backbone")
    tiny: Tiny = Field(default_factory=Tiny, description="the size of builtin:tiny")
    pooling: Literal["cls", "mean"] = "mean"
    projection: int | None = Field(
        None, ge=1, description="width of a linear layer with LayerNorm after pooling; null: none"
    )
    head_from: HeadFrom | None = Field(
        None, description="load the head from the backbone's safetensors; for checkpoints published with their head"
    )
    normalize: bool = Field(False, description="scale vectors to length 1")
    temperature: float = Field(1.0, gt=0, description="inner products are divided by it in training")
    query_length: int = Field(32, ge=3, description="maximum tokens of a query, including special tokens")
    passage_length: int = Field(128, ge=3, description="maximum tokens of a passage, including special tokens")
    passage_template: str = Field(
        DEFAULT_TEMPLATE,
        description="how a passage's url, title and text are joined; {sep} is the tokenizer's separator",
    )
    lower_case: bool = Field(
        False, description="lower-case texts before tokenization; for builtin:tiny, set tiny.lower_case instead"
    )
    prefix_space: bool | None = Field(None, description="put a space before each text; null: the tokenizer's default")
    characters: int | None = Field(None, ge=1, description="cut passages to this many characters; null: no limit")
    contract: Path | None = Field(
        None, description="JSON lines of texts with their token ids; a tokenizer that disagrees is refused"
    )
