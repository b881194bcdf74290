"""A query encoder and a passage encoder with weights of their own (DPR, Karpukhin et al. 2020).

A training stage keeps the query encoder where it keeps a single one, and the passage encoder in a folder of its own, in
the same layout. What encodes queries therefore asks for nothing new.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from hardneg.errors import HardnegError
from hardneg.model.encoder import Encoder
from hardneg.stages.artifacts import Artifact

PASSAGES = "passages"
"""The folder, inside that of a training stage, of its passage encoder."""


class Untied(nn.Module):
    """Two encoders that train together.

    Args:
        query: of the queries.
        passage: of the passages.

    Raises:
        HardnegError: their vectors cannot be compared.
    """

    def __init__(self, query: Encoder, passage: Encoder) -> None:
        super().__init__()
        if query.dim != passage.dim:
            raise HardnegError(
                "The vectors of queries and of passages differ in width, so they cannot be compared.",
                where="encoder.passage_backbone",
                found=f"{query.dim} for queries, {passage.dim} for passages",
                remedy="choose backbones of one width, or set encoder.projection.",
            )
        self.query, self.passage = query, passage
        self.settings: dict[str, Any] = query.settings
        self.dim, self.temperature = query.dim, query.temperature

    @property
    def facts(self) -> dict[str, Any]:
        """What the manifest says of them: the width of their vectors."""
        return self.query.facts

    def checkpoint_gradients(self) -> None:
        """See `Encoder.checkpoint_gradients`."""
        self.query.checkpoint_gradients()
        self.passage.checkpoint_gradients()

    def require_length(self, longest: int) -> None:
        """See `Encoder.require_length`."""
        self.query.require_length(longest)
        self.passage.require_length(longest)

    def save(self, folder: Path) -> list[str]:
        """Write both below `folder`; returns the names of the files, relative to `folder`."""
        names = self.passage.save(folder / PASSAGES)
        return [*self.query.save(folder), *(f"{PASSAGES}/{name}" for name in names)]


def passage_side(model: Artifact) -> Artifact:
    """What of a training stage encodes passages: all of it where the encoders are tied, else the part that does."""
    prefix = f"{PASSAGES}/"
    files = model.manifest["files"]
    inner = {name.removeprefix(prefix): facts for name, facts in files.items() if name.startswith(prefix)}
    return Artifact(model.folder / PASSAGES, {**model.manifest, "files": inner}) if inner else model


def sides(module: Encoder | Untied) -> dict[str, tuple[str, Encoder]]:
    """The encoder of `queries` and of `passages`, each with what its parameters' names begin with in `module`."""
    if isinstance(module, Untied):
        return {"queries": ("query.", module.query), "passages": ("passage.", module.passage)}
    return {"queries": ("", module), "passages": ("", module)}
