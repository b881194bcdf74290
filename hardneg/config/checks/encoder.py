"""Whether the settings of the encoder fit together, and lengths in training fit the stored tokens."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

from hardneg.config.config import Config
from hardneg.config.encoder import Encoder
from hardneg.data.template import check_query_template, check_template
from hardneg.errors import HardnegError


def problems(config: Config) -> Iterator[HardnegError]:
    """Problems of passage templates, the backbone, and the lengths in training."""
    for template, where, check in (
        (config.encoder.passage_template, "encoder.passage_template", check_template),
        (config.encoder.query_template, "encoder.query_template", check_query_template),
        (config.bm25.passage_template, "bm25.passage_template", check_template),
    ):
        try:
            if template is not None:
                check(template, where)
        except HardnegError as fault:
            yield fault
    yield from _backbone(config.encoder)
    yield from _passage_backbone(config.encoder)
    yield from _dims(config.encoder)
    yield from _lengths(config)
    trains = [name for name, system in config.systems.items() if system.trains in ("both_encoders", "query_encoder")]
    if config.encoder.weights == "bfloat16" and config.encoder.lora is None and trains:
        yield HardnegError(
            "Weights in bfloat16 are too coarse to be trained: most updates would be lost in rounding.",
            where="encoder.weights",
            found=f"bfloat16, and {', '.join(trains)} train all weights",
            remedy="set encoder.lora, which trains adapters in float32, or weights: float32.",
        )


def _dims(encoder: Encoder) -> Iterator[HardnegError]:
    """Widths that vectors can be cut to; a pretrained backbone without a head tells its own when it is loaded."""
    width = encoder.projection or (encoder.tiny.hidden if encoder.backbone == "builtin:tiny" else None)
    if len(set(encoder.dims)) < len(encoder.dims) or (width is not None and max(encoder.dims, default=0) > width):
        yield HardnegError(
            "These are no widths that vectors can be cut to.",
            where="encoder.dims",
            found=str(list(encoder.dims)),
            expected=f"each once{f', at most {width}' if width is not None else ''}",
            remedy="correct the list.",
        )


def _backbone(encoder: Encoder) -> Iterator[HardnegError]:
    built_in = encoder.backbone == "builtin:tiny"
    unused = ("lower_case", "prefix_space", "append_eos")
    for key, given in ((key, getattr(encoder, key)) for key in unused):
        if built_in and given:
            yield HardnegError(
                "builtin:tiny does not use this setting.",
                where=f"encoder.{key}",
                found=str(given).lower(),
                remedy="remove the key (use encoder.tiny.lower_case for lower case), or choose another backbone.",
            )
    if encoder.head_from and (built_in or encoder.projection is None):
        yield HardnegError(
            "Loading a head needs a checkpoint that contains it, and the head's width.",
            where="encoder.head_from",
            found=f"backbone {encoder.backbone}, projection {encoder.projection}",
            remedy="set encoder.backbone to the checkpoint and encoder.projection to the head's width.",
        )
    if encoder.lora is not None and built_in:
        yield HardnegError(
            "builtin:tiny has random weights, so adapters alone cannot train it.",
            where="encoder.lora",
            found="builtin:tiny",
            remedy="remove the key, or choose a pretrained backbone.",
        )
    if encoder.lora is not None and importlib.util.find_spec("peft") is None:
        yield HardnegError(
            "Adapters need the package peft, which is not installed.",
            where="encoder.lora",
            remedy="pip install '.[lora]', in this project's folder, or remove the key.",
        )
    tiny = encoder.tiny
    if tiny.hidden % tiny.heads:
        yield HardnegError(
            "The hidden width is not a multiple of the number of heads.",
            where="encoder.tiny.heads",
            found=f"{tiny.heads} heads for a hidden width of {tiny.hidden}",
            expected="a divisor of encoder.tiny.hidden",
            remedy="change one of the two.",
        )


def _passage_backbone(encoder: Encoder) -> Iterator[HardnegError]:
    """A backbone of the passage encoder, which only untied encoders have."""
    if encoder.passage_revision is not None and encoder.passage_backbone is None:
        yield HardnegError(
            "A commit is given without the backbone that it is of.",
            where="encoder.passage_revision",
            found=encoder.passage_revision,
            remedy="set encoder.passage_backbone, or remove the key.",
        )
    if encoder.passage_backbone is None:
        return
    if not encoder.untied:
        yield HardnegError(
            "One encoder cannot start from two backbones.",
            where="encoder.passage_backbone",
            found=encoder.passage_backbone,
            expected="encoder.untied: true",
            remedy="set that, or remove the key.",
        )
    if "builtin:tiny" in (encoder.backbone, encoder.passage_backbone):
        yield HardnegError(
            "builtin:tiny cannot be paired with another backbone.",
            where="encoder.passage_backbone",
            found=f"{encoder.passage_backbone}, beside {encoder.backbone}",
            remedy="remove the key: untied encoders both start from encoder.backbone.",
        )


def _lengths(config: Config) -> Iterator[HardnegError]:
    for name, system in config.systems.items():
        for key in ("query_length", "passage_length"):
            given, stored = getattr(system.train, key), getattr(config.encoder, key)
            if stored is None and config.encoder.backbone == "builtin:tiny":  # which says nothing of itself
                stored = getattr(config.encoder, key.replace("length", "tokens"))
            if given is not None and stored is not None and given > stored:
                yield HardnegError(
                    "Training cannot read more tokens than the encoder stores.",
                    where=f"systems.{name}.train.{key}",
                    found=str(given),
                    expected=f"at most encoder.{key}, {stored}",
                    remedy=f"lower it, or raise encoder.{key}.",
                )
