"""Training: optimizer, learning rate, length and logging."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hardneg.config.base import Model


class Centroids(Model):
    """Centroids of a product-quantised index, which train with the query encoder. The codes of the passages stay."""

    lr: float = Field(
        gt=0, description="peak learning rate; JPQ has 5e-6 for PQ16 and PQ24, 2e-5 for PQ32, 1e-4 from PQ48 on"
    )


class Training(Model):
    """One training run. Its length is given in steps or epochs, never in seconds."""

    steps: int | None = Field(None, ge=1, description="optimizer steps; set either this or epochs")
    epochs: float | None = Field(None, gt=0, description="passes over the training queries; set either this or steps")
    batch_size: int = Field(32, ge=1, description="queries per step")
    optimizer: Literal["adamw", "lamb"] = "adamw"
    eps: float = Field(1e-8, gt=0, description="added to the square root of the second moment")
    lr: float = Field(5e-5, gt=0, description="peak learning rate")
    schedule: Literal["linear", "constant", "cosine"] = "linear"
    warmup_steps: int = Field(0, ge=0)
    schedule_steps: int | None = Field(
        None, ge=1, description="length of the schedule in steps, if training stops before its end; null: all steps"
    )
    weight_decay: float = Field(0.01, ge=0, description="not applied to biases and LayerNorm weights")
    max_grad_norm: float = Field(1.0, gt=0)
    query_length: int | None = Field(
        None, ge=3, description="maximum tokens of a query in training; null: encoder.query_length"
    )
    passage_length: int | None = Field(
        None, ge=3, description="maximum tokens of a passage in training; null: encoder.passage_length"
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] | None = Field(
        None, exclude_if=lambda given: given is None, description="of this training; null: arithmetic.precision"
    )
    centroids: Centroids | None = Field(
        None,
        exclude_if=lambda given: given is None,
        description="train the centroids of the system's PQ index too, neither decayed nor clipped; only when the "
        "query encoder is trained; null: the index stays",
    )
    gradient_checkpointing: bool = Field(
        False, description="recompute activations in the backward pass: less memory, more time"
    )
    chunk: int | None = Field(
        None,
        ge=1,
        description="texts whose activations are held at a time (GradCache): the gradient of the whole batch in the "
        "memory of a chunk, for a second forward pass; null: all are held, and rows_per_forward counts",
    )
    rows_per_forward: int | None = Field(
        None,
        ge=1,
        description="texts of similar length that are encoded in one forward pass; null: on a CPU 8 to 64, as many "
        "as have 4,096 tokens, on a GPU 1024",
    )
    new_queries: bool = Field(
        False,
        exclude_if=lambda given: not given,
        description="begin behind the queries that the training it starts from has met; false: every training meets "
        "the queries in the same order, from the first, so that several short ones meet the same",
    )
    log_every: int = Field(10, ge=1, description="steps between logged losses")
    log_retrieved_every: int = Field(
        100, ge=1, description="steps between logged live rankings; only when the query encoder is trained"
    )
