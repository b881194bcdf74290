"""How jobs compute: what may change digits, and what never does."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hardneg.config.base import Model


class Arithmetic(Model):
    """Settings that change floating-point results. They are part of the versions of stages."""

    training_threads: int = Field(2, ge=1, description="CPU threads per training job")
    encoding_threads: int = Field(1, ge=1, description="CPU threads per encoding or search job")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto: fp32 on a CPU; on a GPU bf16, and fp16 in encoding"
    )
    vectors: Literal["float32", "float16"] = Field("float32", description="data type of stored passage vectors")


class Runtime(Model):
    """Settings that never change a result. They are part of no version."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    shards: int = Field(2, ge=1, description="encoding jobs per collection")
    gpus_per_training: int = Field(
        1, ge=1, description="devices of a training job, each with a process; the batch of a step stays the same"
    )
    gpus_per_search: int = Field(1, ge=1)
    checkpoint_seconds: float = Field(
        60.0, ge=0, description="seconds between training checkpoints; 0: one after every step"
    )
    java_heap_mib: int = Field(2048, ge=256)
    trackers: tuple[str, ...] = Field((), description="experiment trackers that Accelerate knows, such as tensorboard")
