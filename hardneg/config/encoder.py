"""The encoder: a Transformer, how its output is pooled, and how texts are prepared for it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from hardneg.config.base import Model, Path
from hardneg.data.template import DEFAULT_TEMPLATE

QUERY_TOKENS, PASSAGE_TOKENS = 32, 128
BACKBONES = (
    "builtin:tiny, a local folder, `package:name/folder` (a model inside an installed package), or a Hugging Face "
    "model name"
)


class Tiny(Model):
    """`builtin:tiny`: a randomly initialised BERT with a byte-pair vocabulary learned from the collection."""

    vocabulary: int = Field(8192, ge=300, le=65535, description="tokens learned; 256 of single bytes come on top")
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

    backbone: str = Field("builtin:tiny", description=BACKBONES)
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


class LateInteraction(Model):
    """Late interaction, for `trains: late_interaction`: the encoder's backbone with a vector for each token.

    Backbone, texts and their lengths are those of `encoder`. All of the backbone trains, in float32, without adapters.
    """

    width: int = Field(128, ge=1, description="width of the token vectors")


class Lora(Model):
    """Low-rank adapters (LoRA): they train, and the backbone does not. Needs the package peft."""

    rank: int = Field(16, ge=1, description="rank of an adapter")
    alpha: float = Field(32, gt=0, description="an adapter's output is multiplied by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout of an adapter's input")
    targets: tuple[str, ...] | None = Field(
        None, min_length=1, description="names of the linear layers that get adapters; null: all of the backbone"
    )


class Encoder(Model):
    """The encoder of queries and passages: a Transformer, pooling and an optional projection head.

    A backbone in the form of sentence-transformers says how its vectors are made. What is null here is taken from it.
    """

    backbone: str = Field("builtin:tiny", description=BACKBONES)
    revision: str | None = Field(None, description="commit of the backbone on the Hugging Face Hub")
    untied: bool = Field(
        False,
        description="queries and passages have encoders of their own, as in DPR, which both start from the backbone; "
        "false: one encoder serves both",
    )
    passage_backbone: str | None = Field(
        None,
        description="for untied: where the passage encoder starts instead, with the same tokenizer; null: backbone",
    )
    passage_revision: str | None = Field(None, description="commit of the passage_backbone on the Hugging Face Hub")
    trust_remote_code: bool = Field(False, description="run the Python code that comes with the backbone")
    tiny: Tiny = Field(default_factory=Tiny, description="the size of builtin:tiny")
    pooling: Literal["cls", "mean", "last_token", "weighted_mean"] | None = Field(
        None, description="which hidden states make the vector; null: as the backbone says, else mean"
    )
    projection: int | None = Field(
        None, ge=1, description="width of a linear layer with LayerNorm after pooling; null: none"
    )
    head_from: HeadFrom | None = Field(
        None, description="load the head from the backbone's safetensors; for checkpoints published with their head"
    )
    normalize: bool | None = Field(
        None, description="scale vectors to length 1; null: as the backbone says, else false"
    )
    temperature: float = Field(1.0, gt=0, description="inner products are divided by it in training")
    dims: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (),
        description="widths that vectors can be cut to (Matryoshka): training of both encoders adds the loss "
        "at each, and each dense system is also scored as `<system>.dim<width>`",
    )
    query_length: int | None = Field(
        None,
        ge=3,
        description="maximum tokens of a query, special ones included; null: the backbone's, at most 512, else 32",
    )
    passage_length: int | None = Field(
        None,
        ge=3,
        description="maximum tokens of a passage, special ones included; null: the backbone's, at most 512, else 128",
    )
    query_template: str | None = Field(
        None,
        description="what a query is read as, such as `query: {text}`; null: the backbone's prompt and the text",
    )
    passage_template: str | None = Field(
        None,
        description="how a passage's url, title and text are joined; {sep} is the tokenizer's separator; null: the "
        f"backbone's prompt, then {DEFAULT_TEMPLATE}",
    )
    lower_case: bool | None = Field(
        None,
        description="lower-case texts before tokenization; null: as the backbone says, else false; for builtin:tiny, "
        "set tiny.lower_case instead",
    )
    prefix_space: bool | None = Field(None, description="put a space before each text; null: the tokenizer's default")
    append_eos: bool = Field(False, description="end texts with the end token if the tokenizer does not add it")
    characters: int | None = Field(None, ge=1, description="cut passages to this many characters; null: no limit")
    contract: Path | None = Field(
        None, description="JSON lines of texts with their token ids; a tokenizer that disagrees is refused"
    )
    lora: Lora | None = Field(None, description="train adapters instead of the backbone; null: train the backbone")
    weights: Literal["float32", "bfloat16"] = Field(
        "float32", description="how the backbone's weights are held; bfloat16 needs a backbone that does not train"
    )

    @property
    def query_tokens(self) -> int:
        """`query_length`, or what it is where nothing says it."""
        return self.query_length or QUERY_TOKENS

    @property
    def passage_tokens(self) -> int:
        """`passage_length`, or what it is where nothing says it."""
        return self.passage_length or PASSAGE_TOKENS
