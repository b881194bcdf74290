"""Query and passage read together: one score a pair, from any sequence classifier of Transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from hardneg.errors import HardnegError
from hardneg.model.encoder import positions_of, tiny_config
from hardneg.stages.artifacts import Artifact, StageFolder, write_json
from hardneg.text.pairs import PairStore

FOLDER = "cross_encoder"


class CrossEncoder(nn.Module):
    """A sequence classifier. Of one label the logit is the score; of two, the second's logit less the first's.

    Args:
        classifier: a model of Transformers with `logits`.
        settings: of the stage's `encoder`: `backbone`, and where weights are made `tiny`.

    Raises:
        HardnegError: it has more than two labels.
    """

    def __init__(self, classifier: nn.Module, settings: dict[str, Any]) -> None:
        super().__init__()
        self.classifier, self.settings = classifier, settings
        config: Any = classifier.config
        self._typed = getattr(config, "type_vocab_size", 0) > 1
        if config.num_labels > 2:
            raise HardnegError(
                "A cross-encoder gives one score for a pair.",
                where="cross_encoder.backbone",
                found=f"a classifier with {config.num_labels} labels",
                expected="one label, or two (not relevant, relevant)",
                remedy="name another backbone.",
            )

    @property
    def facts(self) -> dict[str, Any]:
        """What the manifest says of it."""
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
        """Scores float32 [n] of pairs, in the order given, with gradients if these are on.

        Args:
            pairs: their texts.
            queries: int64 [n].
            passages: int64 [n].
            rows: pairs of similar length that go through together.
            device: where it runs.
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
        """Refuse pairs of more tokens than the classifier has positions for.

        Raises:
            HardnegError: it has fewer than `longest`.
        """
        usable = positions_of(self.classifier)
        if usable is not None and longest > usable:
            raise HardnegError(
                "Pairs are longer than the cross-encoder can read.",
                where="cross_encoder.query_length, cross_encoder.passage_length",
                found=f"{longest} tokens",
                expected=f"at most {usable}, the positions that its weights know",
                remedy="lower the lengths.",
            )

    def checkpoint_gradients(self) -> None:
        """In training, compute each layer's activations again on the way back instead of keeping them."""
        self.classifier.gradient_checkpointing_enable()  # type: ignore[operator]

    def save(self, folder: Path) -> list[str]:
        """Write it under `folder/cross_encoder/`; the names of the files, relative to `folder`."""
        from transformers.utils import logging

        target = folder / FOLDER
        logging.disable_progress_bar()
        self.classifier.save_pretrained(target / "classifier")  # type: ignore[operator]
        write_json(target / "settings.json", self.settings)
        return sorted(str(path.relative_to(folder)) for path in target.rglob("*") if path.is_file())

    @classmethod
    def load(cls, model: Artifact) -> Self:
        """Read the cross-encoder that a training stage sealed."""
        target = model.folder / FOLDER
        settings = json.loads((target / "settings.json").read_text(encoding="utf-8"))
        return cls(_pretrained(str(target / "classifier"), settings, trained=True), settings)

    @classmethod
    def starting(cls, stage: StageFolder, runtime: dict[str, Any], trained: bool = False) -> Self:
        """The last round's, that of the system this one starts from, or the backbone's with a fresh head.

        Args:
            stage: settings `encoder` and `seed`; parents `tokenizer`, `tokens`, and `continues` or `init`.
            runtime: `places`.
            trained: whether the backbone's head must be there too, since nothing will be trained.

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
        place: a folder, or a name on the hub.
        settings: `revision` and `trust_remote_code`, where they are given.
        trained: whether its head must be there too.
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
            "The backbone's files lack weights of the cross-encoder, which would be random numbers.",
            where=f"cross_encoder.backbone: {place}",
            found=f"{len(missing)} missing: {', '.join(missing[:5])}",
            expected="all weights of the model that config.json describes",
            remedy="check model_type in config.json and the names of the tensors.",
        )
    return classifier
