"""An encoder to measure with, with random weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hardneg.config import Encoder as Settings
from hardneg.planning.backbone import local_backbone
from hardneg.planning.plan import Plan

if TYPE_CHECKING:
    from hardneg.model.encoder import Encoder


def encoder_of(settings: Settings, trained: dict[str, Any]) -> tuple[Encoder, str]:
    """An encoder of the configured size, with random weights, which take as long as trained ones.

    If a backbone's configuration cannot be loaded (no network, no such folder), bert-base's is used if the name says
    so, else roberta-base's.

    Args:
        settings: of the configuration.
        trained: the `encoder` settings of a training stage.

    Returns:
        The encoder, and what it is, for people.
    """
    from transformers import AutoConfig, AutoModel, BertConfig, RobertaConfig

    from hardneg.model.dpr import bert_of
    from hardneg.model.encoder import Encoder, initial_encoder

    longest = max(settings.query_tokens, settings.passage_tokens)
    if trained["backbone"] == "builtin:tiny":
        return initial_encoder(trained, settings.tiny.vocabulary, 0, longest, None, 0), trained["backbone"]
    name = settings.backbone
    try:
        config = AutoConfig.from_pretrained(str(local_backbone(settings.backbone) or name), revision=settings.revision)
        said = f"{name} with random weights"
    except (OSError, ValueError):
        bert = "bert-base" in name and "roberta" not in name
        config = (
            BertConfig(max_position_embeddings=max(512, longest))
            if bert
            else RobertaConfig(max_position_embeddings=max(512, longest) + 2)
        )
        size = "bert-base" if bert else "roberta-base"
        said = f"the size of {size} with random weights ({name} could not be loaded)"
    backbone: Any = bert_of(AutoModel.from_config(config), name)
    if getattr(backbone, "pooler", None) is not None:
        backbone.pooler = None  # as in training: the encoder pools
    return Encoder(backbone, trained), said


def encoder_settings(plan: Plan) -> dict[str, Any]:
    """The `encoder` settings of the first training on this collection, or of another study's if there is none."""
    own = [stage for stage in plan.of("dual_encoder") if stage.dataset == plan.dataset]
    chosen: dict[str, Any] = (own or plan.of("dual_encoder"))[0].settings["encoder"]
    return chosen
