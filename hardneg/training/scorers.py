"""What trains, and how it scores the passages that meet the queries of a step.

A scorer knows nothing of negatives or losses. Everything that has a gradient goes through its `encode`, which gradient
caching wraps.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from hardneg.data.judgements import Judgements
from hardneg.data.members import members_of
from hardneg.methods.batch import Origin
from hardneg.methods.draws import Positions, Scores
from hardneg.model.cross_encoder import CrossEncoder
from hardneg.model.dropout import around_recomputing
from hardneg.model.encoder import (
    Encoder,
    encode_rows,
    encode_together,
    goes_together,
    initial_encoder,
    texts_at_once,
)
from hardneg.model.late_interaction import LateInteraction, Tokens, max_sim, token_vectors
from hardneg.model.narrow import narrow
from hardneg.model.untied import Untied, passage_side, sides
from hardneg.retrieval.search.centroids import FILE, CodedIndex, decoded
from hardneg.retrieval.search.exact import Part
from hardneg.retrieval.search.retrieve import files_of, open_searcher, served_vectors
from hardneg.stages.artifacts import StageFolder, atomic_path
from hardneg.text.outside import TrainingPairs, passage_store
from hardneg.text.tokenizer_contract import check_same_tokens
from hardneg.text.tokens import TokenStore
from hardneg.training.draws import Live, Meeting
from hardneg.training.gradients import encode_of
from hardneg.training.processes import ALONE, Processes

Encode = Callable[[Encoder, TokenStore, Positions, int, torch.device], torch.Tensor]


class Scorer(Protocol):
    """What trains."""

    @property
    def module(self) -> Encoder | Untied | CrossEncoder | LateInteraction:
        """The model."""

    @property
    def weights(self) -> nn.Module:
        """All that trains: the model, and the centroids of the index where these train."""

    @property
    def live(self) -> Live | None:
        """The index that is searched at every step; None without one."""

    @property
    def found(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """What the last search returned: passages int64 and scores float32 [B, depth]; None if there was none."""

    @property
    def encoded(self) -> torch.Tensor | None:
        """The vectors [C, dim] of the passages of the last step; None where passages are not encoded."""

    def encode_passages(self, passages: Positions) -> torch.Tensor:
        """Vectors float32 [n, dim] of passages [n], without dropout or gradients."""

    def queries(self, rows: Positions) -> torch.Tensor | None:
        """Vectors [B, dim] of the queries of a step, with gradients; None where query and passage are read together."""

    def scores(self, query: torch.Tensor | None, meeting: Meeting) -> torch.Tensor:
        """Scores float32 [B, C] of what meets, over the temperature, with gradients."""

    def both(self, meeting: Meeting) -> tuple[torch.Tensor | None, torch.Tensor]:
        """What `queries` and `scores` give for a step whose passages are known before its queries are encoded."""

    def among(self, meeting: Meeting) -> torch.Tensor:
        """Scores float32 [B, C] of each row's own positive against the passages that have just been scored."""

    def save(self, folder: Path) -> list[str]:
        """Write what was trained; the names of the files, relative to `folder`."""


class OfModel:
    """What trains is the model alone."""

    module: Encoder | Untied | CrossEncoder | LateInteraction

    @property
    def weights(self) -> nn.Module:
        """See `Scorer`."""
        return self.module

    def both(self: Scorer, meeting: Meeting) -> tuple[torch.Tensor | None, torch.Tensor]:
        """See `Scorer`."""
        query = self.queries(meeting.rows)
        return query, self.scores(query, meeting)

    def save(self, folder: Path) -> list[str]:
        """See `Scorer`."""
        return self.module.save(folder)


class BothEncoders(OfModel):
    """Queries and passages are encoded by one set of weights, or each by its own (`untied`).

    Args:
        stage: of the training.
        runtime: `places`.
        device: where it runs.
        encode: from texts to vectors.
    """

    module: Encoder | Untied
    live = None
    found = None

    def __init__(
        self, stage: StageFolder, runtime: dict[str, Any], device: torch.device, encode: Encode = encode_rows
    ) -> None:
        options, parents = stage.settings["train"], stage.parents
        self._queries = TokenStore(parents["tokens"], f"queries.{stage.settings['split']}", options["query_length"])
        self._passages = passage_store(parents, options["passage_length"])
        longest = max(self._queries.longest, self._passages.longest)
        self._rows, self._device = texts_at_once(options["rows_per_forward"], device, longest), device
        self._encode = encode
        self.module = starting_encoders(stage, runtime).to(device)
        lengths = parents["tokens"].facts
        self.module.require_length(max(lengths["query_length"], lengths["passage_length"]))  # it will encode them all
        self.encoded: torch.Tensor | None = None

    def encode_passages(self, passages: Positions) -> torch.Tensor:
        """See `Scorer`."""
        return self.plain("passages", passages, None)

    @torch.no_grad()
    def plain(self, what: str, positions: Positions, weights: Mapping[str, torch.Tensor] | None) -> torch.Tensor:
        """See `hardneg.methods.draws.EncodePlain`."""
        prefix, side = sides(self.module)[what]
        own = {name.removeprefix(prefix): value for name, value in (weights or {}).items() if name.startswith(prefix)}

        def by_other_weights(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            vectors: torch.Tensor = functional_call(side, own, (ids, mask))
            return vectors

        encoder: Any = side if weights is None else by_other_weights
        store = self._queries if what == "queries" else self._passages
        self.module.eval()
        vectors = encode_rows(encoder, store, positions, self._rows, self._device).float()
        self.module.train()
        return vectors

    def queries(self, rows: Positions) -> torch.Tensor:
        """See `Scorer`."""
        _, encoder = sides(self.module)["queries"]
        return self._encode(encoder, self._queries, rows, self._rows, self._device)

    def scores(self, query: torch.Tensor | None, meeting: Meeting) -> torch.Tensor:
        """See `Scorer`."""
        assert query is not None
        _, encoder = sides(self.module)["passages"]
        return self._scored(query, self._encode(encoder, self._passages, meeting.passages, self._rows, self._device))

    def both(self, meeting: Meeting) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Scorer`. One forward pass reads them all where that takes less time."""
        parts, module = [(self._queries, meeting.rows), (self._passages, meeting.passages)], self.module
        plain = self._encode is encode_rows and goes_together(parts, self._rows, self._device)
        if plain and isinstance(module, Encoder):
            query, passages = encode_together(module, parts, self._device)
            return query, self._scored(query, passages)
        query = self.queries(meeting.rows)
        return query, self.scores(query, meeting)

    def _scored(self, query: torch.Tensor, passages: torch.Tensor) -> torch.Tensor:
        self.encoded = passages
        with torch.autocast(self._device.type, enabled=False):  # mixed precision is for the encoder
            return query @ passages.T / self.module.temperature

    def among(self, meeting: Meeting, width: int | None = None) -> torch.Tensor:
        """See `Scorer`; by the vectors cut to a width where one is given."""
        passages = self._encoded(width)
        own = torch.from_numpy((meeting.origin == Origin.OWN).argmax(1)).to(self._device)
        with torch.autocast(self._device.type, enabled=False):
            return passages[own] @ passages.T / self.module.temperature

    def narrower(self, query: torch.Tensor, width: int) -> torch.Tensor:
        """Scores float32 [B, C] of what has just been scored, by the vectors cut to a width."""
        with torch.autocast(self._device.type, enabled=False):
            query = narrow(query, width, self.module.settings["normalize"])
            return query @ self._encoded(width).T / self.module.temperature

    def _encoded(self, width: int | None) -> torch.Tensor:
        assert self.encoded is not None
        return self.encoded if width is None else narrow(self.encoded, width, self.module.settings["normalize"])


class QueryEncoder(OfModel):
    """Queries are encoded; passages are taken from an index, whose vectors never change (Zhan et al., section 6.2).

    Passages are scored with the vectors that the index itself scores with, so that training sees what serving sees
    (section 6.2.3).

    Args:
        stage: of the training.
        devices: the encoder trains on the first; all of them search.
        judged: the training judgements.
        live: whether the index is searched at every step.
        encode: from texts to vectors.
        processes: that train together; each searches its part of the passages.
    """

    module: Encoder

    def __init__(
        self,
        stage: StageFolder,
        devices: Sequence[torch.device],
        judged: Judgements,
        live: bool,
        encode: Encode = encode_rows,
        processes: Processes = ALONE,
    ) -> None:
        self._processes = processes
        options, parents = stage.settings["train"], stage.parents
        self._queries = TokenStore(parents["tokens"], f"queries.{stage.settings['split']}", options["query_length"])
        self._device = devices[0]
        self._rows = texts_at_once(options["rows_per_forward"], devices[0], self._queries.longest)
        self._encode = encode
        self.module = Encoder.load(parents["continues" if "continues" in parents else "init"]).to(devices[0])
        self.module.require_length(self._queries.longest)
        self.found: tuple[torch.Tensor, torch.Tensor] | None = None
        self.encoded = None
        self.live: Live | None = Live(self._search, self._score) if live else None
        self._open(stage, devices)

    def _open(self, stage: StageFolder, devices: Sequence[torch.device]) -> None:
        """Open the vectors of the passages, and what searches them."""
        parents = stage.parents
        self._vectors = served_vectors(parents["passages"], parents["index"])
        if self.live is not None:
            size, search = stage.settings["train"]["batch_size"], stage.settings["search"]
            part = Part(self._processes.rank, self._processes.count, self._processes.join)
            self._searcher = open_searcher(parents["passages"], parents["index"], devices, size, search, part)

    def _asked(self, query: torch.Tensor) -> torch.Tensor:
        """Query vectors [n, dim] in the space of the passages' vectors, with gradients."""
        return self._vectors.query(query.float())

    def _taken(self, passages: Positions) -> torch.Tensor:
        """The vectors [n, dim'] of passages [n], which the index scores with."""
        return torch.from_numpy(self._vectors.take(passages)).to(self._device)

    def encode_passages(self, passages: Positions) -> torch.Tensor:
        """See `Scorer`; here passages are not encoded."""
        raise NotImplementedError

    def queries(self, rows: Positions) -> torch.Tensor:
        """See `Scorer`."""
        return self._encode(self.module, self._queries, rows, self._rows, self._device)

    def scores(self, query: torch.Tensor | None, meeting: Meeting) -> torch.Tensor:
        """See `Scorer`."""
        assert query is not None
        wanted = np.maximum(meeting.passages, 0)
        taken = self._taken(wanted.ravel())
        with torch.autocast(self._device.type, enabled=False):  # mixed precision is for the encoder
            asked = self._asked(query)
            if wanted.ndim == 1:
                return asked @ taken.T / self.module.temperature
            return torch.einsum("qd,qld->ql", asked, taken.view(*wanted.shape, -1)) / self.module.temperature

    def among(self, meeting: Meeting) -> torch.Tensor:
        """See `Scorer`; here passages are not encoded."""
        raise NotImplementedError

    def _search(self, vectors: torch.Tensor, depth: int) -> tuple[Positions, Scores]:
        self.found = self._searcher.search(vectors, depth)
        passages, scores = self.found
        return passages.cpu().numpy(), scores.cpu().numpy()

    @torch.no_grad()
    def _score(self, vectors: torch.Tensor, passages: Positions) -> Scores:
        taken, asked = self._taken(np.maximum(passages, 0).ravel()), self._asked(vectors)
        scores = torch.einsum("qd,qld->ql", asked, taken.view(*passages.shape, -1)).cpu().numpy()
        return np.where(passages >= 0, scores, np.float32(np.nan))


class QueryEncoderAndCentroids(QueryEncoder):
    """As `QueryEncoder`, and the centroids of the index train too; the codes of the passages stay (JPQ).

    Each search is with the centroids of its step, so that it finds what is then scored.
    """

    def _open(self, stage: StageFolder, devices: Sequence[torch.device]) -> None:
        index, size = stage.parents["index"], stage.settings["train"]["batch_size"]
        self._index = CodedIndex(files_of(index), index.settings["factory"], size)
        self._searcher = self._index
        self._trained = WithCentroids(self.module, torch.from_numpy(self._index.centroids())).to(self._device)

    @property
    def weights(self) -> nn.Module:
        """See `Scorer`."""
        return self._trained

    def save(self, folder: Path) -> list[str]:
        """See `Scorer`."""
        with atomic_path(folder / FILE) as temporary, temporary.open("wb") as stream:
            np.save(stream, self._trained.centroids.detach().cpu().numpy())
        return [*super().save(folder), FILE]

    def queries(self, rows: Positions) -> torch.Tensor:
        """See `Scorer`; in float32, which mixed precision gives of the module that it prepared only."""
        return super().queries(rows).float()

    def _asked(self, query: torch.Tensor) -> torch.Tensor:
        return self._index.query(query.float())

    def _taken(self, passages: Positions) -> torch.Tensor:
        return decoded(self._trained.centroids, self._index.codes(passages))

    def _search(self, vectors: torch.Tensor, depth: int) -> tuple[Positions, Scores]:
        self._index.put(self._trained.centroids.detach().cpu().numpy())
        return super()._search(vectors, depth)


class WithCentroids(nn.Module):
    """An encoder and the centroids of an index, which train together.

    Args:
        encoder: of the queries.
        centroids: float32 [M, centroids, width of a part].
    """

    def __init__(self, encoder: nn.Module, centroids: torch.Tensor) -> None:
        super().__init__()
        self.encoder = encoder
        self.centroids = nn.Parameter(centroids)  # named as CENTROIDS says


class Reranker(OfModel):
    """A cross-encoder reads query and passage together.

    Args:
        stage: of the training.
        runtime: `places`.
        device: where it runs.
    """

    module: CrossEncoder
    live = None
    found = None
    encoded = None

    def __init__(self, stage: StageFolder, runtime: dict[str, Any], device: torch.device) -> None:
        settings, parents = stage.settings, stage.parents
        self._pairs = TrainingPairs(parents, settings["split"], settings["train"])
        rows = settings["train"]["rows_per_forward"]
        self._rows, self._device = texts_at_once(rows, device, self._pairs.longest), device
        self.module = CrossEncoder.starting(stage, runtime).to(device)
        self.module.require_length(self._pairs.longest)

    def encode_passages(self, passages: Positions) -> torch.Tensor:
        """See `Scorer`; here passages are not encoded."""
        raise NotImplementedError

    def queries(self, rows: Positions) -> None:
        """See `Scorer`."""

    def scores(self, query: torch.Tensor | None, meeting: Meeting) -> torch.Tensor:
        """See `Scorer`."""
        wanted = np.maximum(meeting.passages, 0)
        asked = np.broadcast_to(meeting.rows[:, None], wanted.shape)
        scores = self.module.score(self._pairs, asked.ravel(), wanted.ravel(), self._rows, self._device)
        return scores.view(wanted.shape)

    def among(self, meeting: Meeting) -> torch.Tensor:
        """See `Scorer`; here passages have no vectors."""
        raise NotImplementedError


class Late(OfModel):
    """Tokens of queries and passages are encoded apart, by one set of weights, and their vectors meet (ColBERT).

    Args:
        stage: of the training.
        runtime: `places`.
        device: where it runs.
    """

    module: LateInteraction
    live = None
    found = None
    encoded = None

    def __init__(self, stage: StageFolder, runtime: dict[str, Any], device: torch.device) -> None:
        options, parents = stage.settings["train"], stage.parents
        self._queries = TokenStore(parents["tokens"], f"queries.{stage.settings['split']}", options["query_length"])
        self._passages = passage_store(parents, options["passage_length"])
        longest = max(self._queries.longest, self._passages.longest)
        rows = options["chunk"] or texts_at_once(options["rows_per_forward"], device, longest)
        self._rows, self._device = rows, device
        self.module = LateInteraction.starting(stage, runtime).to(device)
        lengths = parents["tokens"].facts
        self.module.require_length(max(lengths["query_length"], lengths["passage_length"]))
        self._forward: Tokens = self.module
        if options["chunk"] is not None:  # no activations are kept: they are computed again, with the same dropout
            again = partial(checkpoint, use_reentrant=False, preserve_rng_state=True, context_fn=around_recomputing)
            self._forward = partial(again, self.module)

    def encode_passages(self, passages: Positions) -> torch.Tensor:
        """See `Scorer`; here a passage has many vectors."""
        raise NotImplementedError

    def queries(self, rows: Positions) -> torch.Tensor:
        """Token vectors [B, L, dim] of the queries of a step, with gradients."""
        return token_vectors(self._forward, self._queries, rows, self._rows, self._device)

    def scores(self, query: torch.Tensor | None, meeting: Meeting) -> torch.Tensor:
        """See `Scorer`."""
        assert query is not None
        passages = token_vectors(self._forward, self._passages, meeting.passages, self._rows, self._device)
        return max_sim(query, passages)

    def among(self, meeting: Meeting) -> torch.Tensor:
        """See `Scorer`; here passages have no single vectors."""
        raise NotImplementedError


def scorer_of(
    stage: StageFolder,
    runtime: dict[str, Any],
    devices: Sequence[torch.device],
    judged: Judgements,
    live: bool,
    processes: Processes = ALONE,
) -> Scorer:
    """What a training stage trains; `live` says whether it searches the index at every step."""
    encode = encode_of(stage.settings["train"].get("chunk"))
    match stage.settings["trains"]:
        case "both_encoders":
            return BothEncoders(stage, runtime, devices[0], encode)
        case "query_encoder":
            if members_of(stage.parents["collection"].facts):
                from hardneg.training.within import QueryEncoderWithin  # which builds on this module

                return QueryEncoderWithin(stage, devices, judged, live, encode, processes)
            made = QueryEncoderAndCentroids if stage.settings["train"].get("centroids") else QueryEncoder
            return made(stage, devices, judged, live, encode, processes)
        case "cross_encoder":
            return Reranker(stage, runtime, devices[0])
        case "late_interaction":
            return Late(stage, runtime, devices[0])
        case unknown:
            raise ValueError(unknown)


def starting_encoders(stage: StageFolder, runtime: dict[str, Any]) -> Encoder | Untied:
    """The encoders of the last round, or of the system that this one starts from, or the backbone's.

    Raises:
        HardnegError: a backbone cannot be loaded, or the two do not fit together.
    """
    parents, settings = stage.parents, stage.settings
    untied = settings.get("untied", False)
    for role in ("continues", "init"):
        if role in parents:
            query = Encoder.load(parents[role])
            passages = passage_side(parents.get("init_passages", parents[role]))
            return Untied(query, Encoder.load(passages)) if untied else query
    query = _of_backbone(settings["encoder"], stage, runtime["places"].get("backbone"))
    if not untied:
        return query
    if (chosen := settings.get("passage_encoder")) is None:
        return Untied(query, copy.deepcopy(query))
    place = runtime["places"].get("passage_backbone")
    check_same_tokens(parents["tokenizer"], place or chosen["backbone"], chosen)
    return Untied(query, _of_backbone(chosen, stage, place))


def _of_backbone(chosen: dict[str, Any], stage: StageFolder, place: str | None) -> Encoder:
    template, lengths = stage.parents["tokenizer"].facts, stage.parents["tokens"].facts
    longest = max(lengths["passage_length"], lengths["query_length"])
    return initial_encoder(chosen, template["vocabulary"], template["pad"], longest, place, stage.settings["seed"])
