"""A query encoder that trains on joined collections: a live search is in the collection that the batch is of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from hardneg.data.members import members_of
from hardneg.methods.draws import Positions, Scores
from hardneg.retrieval.members import VectorsOf
from hardneg.retrieval.search.exact import ExactSearcher, Part
from hardneg.retrieval.search.retrieve import vectors_of
from hardneg.stages.artifacts import StageFolder
from hardneg.training.scorers import QueryEncoder


class QueryEncoderWithin(QueryEncoder):
    """As `QueryEncoder`, where the queries of a batch are of one collection among several."""

    def _open(self, stage: StageFolder, devices: Sequence[torch.device]) -> None:
        super()._open(stage, devices)
        members, split = members_of(stage.parents["collection"].facts), stage.settings["split"]
        self._of = np.repeat(np.arange(len(members)), [len(member.queries[split]) for member in members])
        self._firsts, self._member = [member.passages.start for member in members], 0
        if self.live is not None:
            whole, size = vectors_of(stage.parents["passages"]), stage.settings["train"]["batch_size"]
            part = Part(self._processes.rank, self._processes.count, self._processes.join)
            self._searchers = [
                ExactSearcher(
                    VectorsOf(whole, member.passages.start, member.passages.stop), devices, None, size, part=part
                )
                for member in members
            ]

    def queries(self, rows: Positions) -> torch.Tensor:
        """See `Scorer`. What is searched next is their collection."""
        self._member = int(self._of[rows[0]])
        return super().queries(rows)

    def _search(self, vectors: torch.Tensor, depth: int) -> tuple[Positions, Scores]:
        passages, scores = self._searchers[self._member].search(vectors, depth)
        self.found = torch.where(passages >= 0, passages + self._firsts[self._member], passages), scores
        return self.found[0].cpu().numpy(), scores.cpu().numpy()
