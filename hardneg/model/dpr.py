"""Checkpoints of DPR: a BERT inside a question or context encoder of Transformers. Its first token is the vector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from hardneg.errors import HardnegError

if TYPE_CHECKING:
    from transformers import BertModel

DPR = "dpr"
INSIDE = {"DPRQuestionEncoder": "question_encoder", "DPRContextEncoder": "ctx_encoder"}
"""Where each class keeps its encoder."""


def class_of(place: str, revision: str | None) -> Any:
    """The class of Transformers that loads a backbone. AutoModel takes every DPR checkpoint for one of questions.

    Args:
        place: a folder, or a name on the hub.
        revision: on the hub.

    Raises:
        HardnegError: it is of DPR, and no encoder.
        OSError: it has no configuration.
    """
    import transformers

    content, _ = transformers.PretrainedConfig.get_config_dict(place, revision=revision)
    if content.get("model_type") != DPR:
        return transformers.AutoModel
    named = (content.get("architectures") or ["nothing"])[0]
    if named not in INSIDE:
        raise HardnegError(
            "This checkpoint of DPR is no encoder.",
            where=f"encoder.backbone: {place}",
            found=f"architectures: {named} in config.json",
            expected=" or ".join(INSIDE),
            remedy="name the question or the context encoder.",
        )
    return getattr(transformers, named)


def bert_of(model: nn.Module, place: str) -> nn.Module:
    """The BERT inside a DPR encoder, as a model of its own; any other model as it is.

    Args:
        model: what was loaded.
        place: where from, for the message.

    Raises:
        HardnegError: a linear layer follows the first token's hidden state.
    """
    config: Any = getattr(model, "config", None)
    if getattr(config, "model_type", None) != DPR:
        return model
    if config.projection_dim:
        raise HardnegError(
            "This checkpoint of DPR has a linear layer after the BERT, which is not read.",
            where=f"encoder.backbone: {place}",
            found=f"projection_dim: {config.projection_dim} in config.json",
            expected="projection_dim: 0, as in the published checkpoints",
            remedy="choose another checkpoint.",
        )
    return _apart(getattr(model, INSIDE[type(model).__name__]).bert_model)


def _apart(inner: Any) -> BertModel:
    """A BERT with a configuration of its own: that of DPR would be loaded as a question encoder again."""
    from transformers import BertConfig, BertModel

    said = inner.config.to_dict()
    kept = {name: value for name, value in said.items() if name in BertConfig().to_dict() and name != "model_type"}
    bert = BertModel(BertConfig(**kept), add_pooling_layer=False).to(inner.dtype)
    bert.load_state_dict(inner.state_dict())
    return bert.eval()
