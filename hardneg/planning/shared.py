"""Stages that systems share: the collection, tokens, vectors, indexes and runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from hardneg.config import Config, CrossEncoder, Encoder, Index, System
from hardneg.config.collection import JoinedCollection
from hardneg.data.template import QUERY_TEMPLATE
from hardneg.methods.axes import default_of, root_of
from hardneg.model.described import Described
from hardneg.planning.graph import Graph
from hardneg.planning.inputs import READING, Inputs, plain
from hardneg.planning.sides import KEY, of_passages
from hardneg.stages.stage import Stage

# Settings of weights that are named only where they are not as usual.
USUAL = {"lora": None, "weights": "float32"}
UNTIED = ("untied", "passage_backbone", "passage_revision")
POOLED = ("pooling", "projection", "head_from", "normalize", "temperature", "modules", *USUAL)
"""Settings of an encoder's weights that a late interaction does not read."""
READING_ROOTS = {
    "late_interaction": [
        "hardneg.model.late_interaction:LateInteraction",
        "hardneg.retrieval.pair_scores:by_late_interaction",
    ]
}
"""By the kind of what scores pairs, its code, where a cross-encoder's is not asked."""
# Settings of an index that only its searches see.
SEARCHED = ("nprobe", "ef_search")


def search_of(index: Index | None) -> dict[str, Any]:
    """How an index is searched. It is not part of how it is built, so another nprobe builds nothing again."""
    return {key: getattr(index, key, None) for key in SEARCHED}


class Shared:
    """Makes the stages that more than one system may need, each once.

    Args:
        config: what to plan.
        graph: where stages go.
        inputs: the files of the configuration.
        collection: the stage of the prepared collection.
        passages_said: what the backbone of the passage encoder says of itself; None: it is that of queries too.
    """

    def __init__(
        self,
        config: Config,
        graph: Graph,
        inputs: Inputs,
        collection: Stage,
        passages_said: Described | None = None,
    ) -> None:
        self.config, self.graph, self.inputs, self.collection = config, graph, inputs, collection
        self._passages = of_passages(config.encoder)
        self._passages_said = passages_said or inputs.said

    @property
    def evaluated(self) -> list[str]:
        """The splits that are evaluated."""
        return list(self.config.splits.evaluate)

    # --- texts ---

    def tokenizer(self, encoder: Encoder | CrossEncoder) -> Stage:
        """The tokenizer: trained on the collection for `builtin:tiny`, the backbone's own otherwise."""
        reading = self.inputs.reading(encoder)
        if encoder.backbone == "builtin:tiny":
            size = {"vocabulary": encoder.tiny.vocabulary, "lower_case": encoder.tiny.lower_case}
            settings = {"backbone": encoder.backbone, **size, **reading}
            roots = ["hardneg.text.built_in:built_in"]
            return self.graph.add("tokenizer", "tiny", settings, {"collection": self.collection}, roots)
        reading |= {"lower_case": encoder.lower_case, "prefix_space": encoder.prefix_space}
        return self.graph.add("tokenizer", "backbone", {**self.backbone(encoder), **reading}, {})

    def backbone(self, encoder: Encoder | CrossEncoder) -> dict[str, Any]:
        """What decides the weights of a backbone that is not built in."""
        if encoder == self._passages:
            return self.inputs.backbone(encoder, KEY, self._passages_said)
        return self.inputs.backbone(encoder, f"{section_of(encoder)}.backbone")

    def tokens(self, tokenizer: Stage, encoder: Encoder | CrossEncoder | None = None) -> Stage:
        """Token ids of all texts, made once for all systems that share a tokenizer and lengths."""
        chosen = encoder or self.config.encoder
        settings = {
            "query_length": chosen.query_length,
            "passage_length": chosen.passage_length,
            "passage_template": chosen.passage_template,
            "characters": chosen.characters,
        }
        if (template := getattr(chosen, "query_template", QUERY_TEMPLATE)) != QUERY_TEMPLATE:
            settings["query_template"] = template
        label = "all" if tokenizer.dataset == self.graph.dataset else tokenizer.dataset
        return self.graph.add("tokens", label, settings, {"collection": self.collection, "tokenizer": tokenizer})

    def weights(self, encoder: Encoder | CrossEncoder) -> dict[str, Any]:
        """The settings that decide the weights which a training starts with."""
        reading = {*READING, "query_length", "passage_length"}
        drop = ["backbone", "revision", "trust_remote_code", "tiny", "dims", *UNTIED, *reading]
        settings = plain(encoder, drop=drop)
        usual = [name for name, plainly in USUAL.items() if settings.get(name) == plainly]
        settings = {name: value for name, value in settings.items() if name not in usual}
        said = self._passages_said if encoder == self._passages else self.inputs.said
        if isinstance(encoder, Encoder) and said.modules:
            settings["modules"] = list(said.modules)
        if encoder.backbone == "builtin:tiny":
            size = plain(encoder.tiny, drop=("vocabulary", "lower_case"))
            return {**settings, "backbone": encoder.backbone, "tiny": size}
        return {**settings, **self.backbone(encoder)}

    def passage_weights(self) -> dict[str, Any]:
        """`passage_encoder`, the settings that decide the first weights of a passage encoder with its own backbone."""
        return {} if self._passages is None else {"passage_encoder": self.weights(self._passages)}

    def pretrained(self, tokenizer: Stage) -> Stage:
        """The encoder as its backbone has it, without any training; two where there are two backbones."""
        weights = self.weights(self.config.encoder)
        drawn = weights["backbone"] == "builtin:tiny" or weights.get("lora") is not None
        drawn = drawn or (weights["projection"] is not None and weights["head_from"] is None)
        # A seed that decides nothing would encode everything again for every seed.
        settings = {"trains": "nothing", "encoder": weights, "seed": self.config.seed if drawn else 0}
        if own := self.passage_weights():
            settings |= {"untied": True, **own}
        parents = {"tokenizer": tokenizer, "tokens": self.tokens(tokenizer)}
        return self.graph.add("dual_encoder", "pretrained", settings, parents)

    def outside(self, training: Mapping[str, Stage | None], split: str) -> Stage:
        """Texts that a language model writes for the queries of a split, tokenised as a training's passages are.

        Args:
            training: its parents `tokenizer` and `tokens`.
            split: of the queries.
        """
        written = {**self.inputs.generation(), "split": split}
        generated = self.graph.add("generated", "texts", written, {"collection": self.collection})
        parents: dict[str, Stage | None] = {"collection": self.collection, "generated": generated}
        parents |= {role: training[role] for role in ("tokenizer", "tokens")}
        return self.graph.add("outside", "texts", {"split": split, "review": self.inputs.review()}, parents)

    # --- vectors ---

    def encoded(self, label: str, tokenizer: Stage, model: Stage) -> dict[str, Stage]:
        """The roles of an encoder whose passages are encoded."""
        arithmetic = self.config.arithmetic
        settings = {
            "threads": arithmetic.encoding_threads,
            "precision": arithmetic.precision,
            "dtype": arithmetic.vectors,
        }
        parents = {"model": model, "tokens": self.tokens(tokenizer)}
        roots = ["hardneg.model.untied:passage_side"] if model.settings.get("untied") else []
        passages = self.graph.add("passages", label, settings, parents, roots)
        return {"tokenizer": tokenizer, "model": model, "passage_model": model, "passages": passages}

    def queries(self, label: str, tokenizer: Stage, model: Stage, splits: Sequence[str]) -> Stage:
        """The vectors of the queries of some splits."""
        arithmetic = self.config.arithmetic
        settings = {"threads": arithmetic.encoding_threads, "precision": arithmetic.precision, "splits": splits}
        return self.graph.add("queries", label, settings, {"model": model, "tokens": self.tokens(tokenizer)})

    def narrowed(self, label: str, vectors: Mapping[str, Stage], width: int) -> dict[str, Stage]:
        """The roles `passages` and `queries` with vectors cut to a width."""
        settings = {"width": width, "normalize": bool(self.config.encoder.normalize), "threads": 1}
        return {
            role: self.graph.add("narrowed", label, settings, {"vectors": vectors[role]})
            for role in ("passages", "queries")
        }

    def index(self, label: str, passages: Stage, index: Index) -> Stage:
        """An index of passage vectors."""
        settings = {**plain(index, drop=SEARCHED), "threads": self.config.arithmetic.encoding_threads}
        return self.graph.add("index", label, settings, {"passages": passages})

    def trained_index(self, label: str, built: Stage, model: Stage) -> Stage:
        """An index with the centroids that a training left."""
        roots = ["hardneg.retrieval.search.centroids:write_trained"]
        return self.graph.add("index", label, built.settings, {**built.parents, "index": built, "model": model}, roots)

    # --- runs ---

    @cached_property
    def bm25_index(self) -> Stage:
        """The Lucene index."""
        settings = {"passage_template": self.config.bm25.passage_template}
        if (language := self.config.bm25.language) is not None:
            settings["language"] = language
        roots = self._within("index_within")
        return self.graph.add("bm25_index", "lucene", settings, {"collection": self.collection}, roots)

    def _within(self, function: str) -> list[str]:
        """Code that a stage of words runs in addition where collections are joined."""
        return [f"hardneg.retrieval.members:{function}"] if self.joined else []

    def bm25_run(self, name: str, splits: Sequence[str], depth: int) -> Stage:
        """BM25's ranking."""
        indexed = ["passage_template", "language"]  # what the index decides
        settings = {**plain(self.config.bm25, drop=indexed), "splits": splits, "depth": depth}
        parents = {"collection": self.collection, "index": self.bm25_index}
        roots = self._within("search_within")
        return self.graph.add("bm25_run", name, settings, parents, roots)

    def term_weighted_run(self, name: str, system: System, splits: Sequence[str], depth: int) -> Stage:
        """BM25's ranking by learned term weights: the weights, the passages that they make, their index, and a run."""
        config, arithmetic, tokenizer = self.config, self.config.arithmetic, self.tokenizer(self.config.encoder)
        common = {"length": config.encoder.passage_tokens, "passage_template": config.bm25.passage_template}
        common["precision"] = system.train.precision or arithmetic.precision
        analysed = {} if config.bm25.language is None else {"language": config.bm25.language}
        learnt = {
            "train": plain(system.train, drop=["precision"]),
            "order": default_of("order").model_dump(mode="json"),
            "seed": config.seed,
            "split": config.splits.train,
            "threads": arithmetic.training_threads,
            "encoder": {**self.late_weights(), "width": 1},
        }
        parents: dict[str, Stage | None] = {"collection": self.collection, "tokenizer": tokenizer}
        roots = [root_of("order", default_of("order"))]
        model = self.graph.add("deepct", name, {**common, **analysed, **learnt}, parents, roots)
        weighing = {**common, "scale": config.deepct.scale, "threads": arithmetic.encoding_threads}
        weighing["precision"] = arithmetic.precision
        weighted = self.graph.add("weighted", name, weighing, {**parents, "model": model})
        indexed = {"passage_template": config.bm25.passage_template, **analysed}
        roots = ["hardneg.text.terms:weighted_texts", *self._within("index_within")]
        index = self.graph.add(
            "bm25_index", name, indexed, {"collection": self.collection, "weighted": weighted}, roots
        )
        settings = {"k1": config.deepct.k1, "b": config.deepct.b, "splits": splits, "depth": depth}
        read = {"collection": self.collection, "index": index}
        return self.graph.add("bm25_run", name, settings, read, self._within("search_within"))

    def given_run(self, name: str, system: System, splits: Sequence[str], depth: int) -> Stage:
        """A ranking computed elsewhere."""
        settings = {"splits": splits, "depth": depth, "files": self.inputs.given_run(name, system, splits)}
        return self.graph.add("given_run", name, settings, {"collection": self.collection})

    def given_vectors(self, name: str, system: System) -> dict[str, Stage]:
        """Vectors computed elsewhere, of passages and of queries."""
        splits = self.evaluated
        settings = {"splits": splits, **self.inputs.given_vectors(name, system, splits)}
        vectors = self.graph.add("given_vectors", name, settings, {"collection": self.collection})
        index = self.index(name, vectors, self.config.index_of(name))
        return {"passages": vectors, "queries": vectors, "index": index}

    def searched(self, splits: Sequence[str], depth: int, index: Index | None = None) -> dict[str, Any]:
        """Settings of a search; without an index it is exact."""
        threads = self.config.arithmetic.encoding_threads
        return {"splits": splits, "depth": depth, "search": search_of(index), "threads": threads}

    def dense_run(self, label: str, roles: Mapping[str, Stage], index: Index) -> Stage:
        """The ranking of the evaluated splits, from the index in `roles`, which is of the kind `index`."""
        settings = self.searched(self.evaluated, self.config.evaluation.depth, index)
        return self.ranked(label, settings, {role: roles[role] for role in ("passages", "index", "queries")})

    def ranked(self, label: str, settings: Mapping[str, Any], parents: Mapping[str, Stage | None]) -> Stage:
        """A ranking by vectors. Where collections are joined, it reads which of them a query is from."""
        if not self.joined:
            return self.graph.add("run", label, settings, parents)
        roots = ["hardneg.retrieval.members:retrieve_within"]
        return self.graph.add("run", label, settings, {**parents, "collection": self.collection}, roots)

    @property
    def joined(self) -> bool:
        """Whether the collection is several, each of which a query keeps to."""
        return isinstance(self.config.collection, JoinedCollection)

    def late_weights(self) -> dict[str, Any]:
        """The settings that decide the weights which a late interaction starts with: the backbone's, and a width."""
        weights = self.weights(self.config.encoder)
        kept = {name: value for name, value in weights.items() if name not in POOLED}
        return {**kept, "width": self.config.late_interaction.width}

    def read_tokens(self, reader: Mapping[str, Stage]) -> Stage:
        """Token ids of all texts for a cross-encoder or a late interaction, by its roles."""
        tokenizer = reader["tokenizer"]
        return self.tokens(tokenizer) if reader["model"].kind in READING_ROOTS else self.pair_tokens(tokenizer)

    def pair_tokens(self, tokenizer: Stage) -> Stage:
        """Token ids of all texts for a cross-encoder."""
        return self.tokens(tokenizer, self.config.cross_encoder)

    def pretrained_cross_encoder(self, name: str, parents: Mapping[str, Stage | None]) -> Stage:
        """A cross-encoder as its backbone has it, without any training."""
        encoder = self.config.cross_encoder
        settings = {"trains": "nothing", "encoder": self.weights(encoder), "seed": self.config.seed}
        return self.graph.add("cross_encoder", name, settings, parents)

    def reranked(self, name: str, roles: Mapping[str, Stage], first: Stage, splits: Sequence[str]) -> Stage:
        """A ranking reordered by a cross-encoder or a late interaction."""
        arithmetic = self.config.arithmetic
        settings = {"splits": splits, "depth": first.settings["depth"]}
        settings |= {"threads": arithmetic.encoding_threads, "precision": arithmetic.precision}
        parents = {"model": roles["model"], "tokens": self.read_tokens(roles), "run": first}
        return self.graph.add("rerank", name, settings, parents, READING_ROOTS.get(roles["model"].kind, ()))

    def measure(self, label: str, run: Stage) -> Stage:
        """The scores of a run."""
        evaluation = self.config.evaluation
        grades = evaluation.relevant_grades(self.config.splits.evaluate)
        settings = {"measures": evaluation.measures, "relevant_grade": grades}
        return self.graph.add("measure", label, settings, {"collection": self.collection, "run": run})


def section_of(encoder: Encoder | CrossEncoder) -> str:
    """The section of the configuration that an encoder's settings stand in."""
    return "encoder" if isinstance(encoder, Encoder) else "cross_encoder"
