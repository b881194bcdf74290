"""Cross-encoder: reads query and passage together and scores the pair, with any sequence classifier of Transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from hardneg.errors import HardnegError
from hardneg.model.dropout import around_recomputing
from hardneg.model.encoder import positions_of, tiny_config
from hardneg.model.products import use_in
from hardneg.stages.artifacts import Artifact, StageFolder, write_json
from hardneg.text.pairs import PairStore

FOLDER = "cross_encoder"


class CrossEncoder(nn.Module):
    """A sequence classifier that scores pairs.

    With one label the score is the logit; with two, the second logit minus the first.

    Args:
        classifier: a Transformers model whose output has `logits`.
        settings: the stage's `encoder` settings: `backbone`, and `tiny` for `builtin:tiny`.

    Raises:
        HardnegError: the classifier has more than two labels.
    """

    def __init__(self, classifier: nn.Module, settings: dict[str, Any]) -> None:
        super().__init__()
        self.classifier, self.settings = classifier, settings
        config: Any = classifier.config
        self._typed = getattr(config, "type_vocab_size", 0) > 1
        if config.num_labels > 2:
            raise HardnegError(
                "The classifier has too many labels for a cross-encoder, which needs one score for each pair.",
                where="cross_encoder.backbone",
                found=f"a classifier with {config.num_labels} labels",
                expected="one label, or two (not relevant, relevant)",
                remedy="choose another backbone.",
            )
        use_in(self)

    @property
    def facts(self) -> dict[str, Any]:
        """Facts for the manifest: the number of labels."""
        return {"labels": self.classifier.config.num_labels}  # type: ignore[union-attr]

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> torch.Tensor:
        """Scores float32 [n] of ids, mask and token types, int64 [n, width] each."""
        types = {"token_type_ids": token_type_ids} if self._typed else {}
        logits = self.classifier(input_ids=input_ids, attention_mask=attention_mask, **types).logits.float()
        return logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]

    def score(
        self, pairs: PairStore, queries: np.ndarray, passages: np.ndarray, rows: int, device: torch.device
    ) -> torch.Tensor:
        """Scores float32 [n] of pairs, in the given order; differentiable if gradients are enabled.

        Args:
            pairs: the texts.
            queries: query positions, int64 [n].
            passages: passage positions, int64 [n].
            rows: pairs in one forward pass; pairs of similar length are scored together.
            device: where to compute.
        """
        order = np.argsort(pairs.lengths(queries, passages), kind="stable")
        parts = []
        for start in range(0, len(order), rows):
            chosen = order[start : start + rows]
            arrays = pairs.batch(queries[chosen], passages[chosen])
            parts.append(self(*(torch.from_numpy(array).to(device) for array in arrays)))
        back = torch.from_numpy(np.argsort(order, kind="stable")).to(device)
        return torch.cat(parts)[back]

    def require_length(self, longest: int) -> None:
        """Refuse pairs that are longer than the classifier's maximum.

        Raises:
            HardnegError: the classifier has fewer than `longest` positions.
        """
        usable = positions_of(self.classifier)
        if usable is not None and longest > usable:
            raise HardnegError(
                "Pairs are longer than the cross-encoder's maximum.",
                where="cross_encoder.query_length, cross_encoder.passage_length",
                found=f"{longest} tokens",
                expected=f"at most {usable}, the number of its position embeddings",
                remedy="lower the lengths.",
            )

    def checkpoint_gradients(self) -> None:
        """Turn on gradient checkpointing: recompute activations in the backward pass instead of storing them."""
        self.classifier.activation_checkpointing_enable(  # type: ignore[operator]
            {"use_reentrant": False, "context_fn": around_recomputing}
        )

    def save(self, folder: Path) -> list[str]:
        """Write the model to `folder/cross_encoder/`; returns the names of the files, relative to `folder`."""
        from transformers.utils import logging

        target = folder / FOLDER
        logging.disable_progress_bar()
        self.classifier.save_pretrained(target / "classifier")  # type: ignore[operator]
        write_json(target / "settings.json", self.settings)
        return sorted(str(path.relative_to(folder)) for path in target.rglob("*") if path.is_file())

    @classmethod
    def load(cls, model: Artifact) -> Self:
        """Load the cross-encoder of a finished training stage."""
        target = model.folder / FOLDER
        settings = json.loads((target / "settings.json").read_text(encoding="utf-8"))
        return cls(_pretrained(str(target / "classifier"), settings, trained=True), settings)

    @classmethod
    def starting(cls, stage: StageFolder, runtime: dict[str, Any], trained: bool = False) -> Self:
        """The cross-encoder that training starts from: the last round's, the `from` system's, or the backbone's.

        Args:
            stage: settings `encoder` and `seed`; parents `tokenizer`, `tokens`, and `continues` or `init`.
            runtime: `places`.
            trained: whether the backbone must have a trained head, because it will not be trained here. Otherwise a
                missing head is initialised at random.

        Raises:
            HardnegError: the backbone cannot be loaded.
        """
        for role in ("continues", "init"):
            if role in stage.parents:
                return cls.load(stage.parents[role])
        settings, tokens = stage.settings["encoder"], stage.parents["tokens"].facts
        torch.manual_seed(stage.settings["seed"])
        if settings["backbone"] != "builtin:tiny":
            place = runtime["places"].get("backbone") or settings["backbone"]
            return cls(_pretrained(place, settings, trained=trained), settings)
        from transformers import BertForSequenceClassification

        longest = tokens["query_length"] + tokens["passage_length"] + 1
        config = tiny_config(settings["tiny"], tokens["vocabulary"], tokens["pad"], longest)
        config.num_labels = 1
        return cls(BertForSequenceClassification(config), settings)


def _pretrained(place: str, settings: dict[str, Any], *, trained: bool) -> nn.Module:
    """A sequence classifier from safetensors.

    Args:
        place: a local folder or a hub name.
        settings: optionally `revision` and `trust_remote_code`.
        trained: whether the files must contain the head.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    given = {
        "revision": settings.get("revision"),
        "trust_remote_code": settings.get("trust_remote_code", False),
    }
    try:
        config = AutoConfig.from_pretrained(place, **given)
        classifies = any("SequenceClassification" in name for name in config.architectures or ())
        labels = {} if classifies else {"num_labels": 1}
        made = AutoModelForSequenceClassification.from_pretrained(
            place, **given, **labels, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError) as fault:
        raise HardnegError(
            "The cross-encoder's backbone cannot be loaded.",
            where=f"cross_encoder.backbone: {place}",
            found=str(fault).splitlines()[0],
            expected="safetensors weights of a Transformers encoder or sequence classifier",
            remedy="correct the name, or save the model with `save_pretrained`, which writes safetensors.",
        ) from None
    classifier: nn.Module = made[0]
    heads = ("classifier", "pooler", "score", "pre_classifier")
    missing = sorted(name for name in made[1]["missing_keys"] if trained or name.split(".")[0] not in heads)
    missing = [name for name in missing if trained or "pooler" not in name.split(".")]
    if missing:
        raise HardnegError(
            "The backbone's files lack weights of the cross-encoder; these would be initialised at random.",
            where=f"cross_encoder.backbone: {place}",
            found=f"{len(missing)} missing: {', '.join(missing[:5])}",
            expected="all weights of the model that config.json describes",
            remedy="check model_type in config.json and the names of the tensors.",
        )
    return classifier
