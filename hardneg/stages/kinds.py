"""The kinds of stages: what each reads, what code it runs, and what resources its jobs request.

A new kind is an entry here, a rule and a script. Nothing else lists the kinds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ARITHMETIC = "hardneg.stages.devices:set_arithmetic_threads"
TEXT_TO_VECTOR = ("hardneg.model.encoder:Encoder", "hardneg.text.tokens:TokenStore")
PAIR_TO_SCORE = ("hardneg.model.cross_encoder:CrossEncoder", "hardneg.text.pairs:PairStore")
WORDS = (
    "hardneg.retrieval.letor:passages_in",
    "hardneg.text.words:read_words",
    "hardneg.text.tokens:passage_texts",
    "hardneg.text.tokens:query_texts",
    "hardneg.data.template:Reading",
)
TRAINING = ("hardneg.training.train:train", ARITHMETIC)

COLLECTION = "the prepared collection"
TOKENS = "token ids of all texts"
MODEL = "the trained encoder"
READER = "the cross-encoder or late interaction"
PASSAGES = "the passage vectors"
QUERIES = "the query vectors"
INDEX = "the index"
RUN = "a ranking"
TRAINED = {
    "collection": COLLECTION,
    "tokenizer": "the tokenizer",
    "tokens": TOKENS,
    "init": "the model it starts from",
    "init_passages": "the model whose passage encoder it starts from, where that is another",
    "continues": "the round it continues",
    "negatives": "mined negatives; those of further sources are negatives_2, ...",
    "passages_negatives": "the passage vectors that the mined ranking was made from; further ones end in _2, ...",
    "queries_negatives": "the query vectors that it was made from; further ones end in _2, ...",
    "clusters": "clusters of the training queries",
    "teacher": "a teacher's scores of pairs",
    "passages_teacher": "the passage vectors of a dense teacher",
    "queries_teacher": "its query vectors",
    "late_teacher": "a late interaction that teaches",
    "late_tokens": "token ids of all texts, as it reads them",
    "outside": "texts from outside the collection",
}


@dataclass(frozen=True)
class Kind:
    """A kind of stage.

    Attributes:
        script: the module of `workflow_scripts` that runs it, and the name of its rule.
        roles: the parents that it can have, with a description. A role that ends in a dot is a family of roles.
        roots: the code that determines its result, as `module:name`, in addition to a system's answers.
        threads: CPU threads of a job: a number, or the name of a setting under `arithmetic`.
        gpu: devices of a job: a number, or the names of settings under `runtime`, of which the largest counts.
        minutes: the least time limit of a job's first attempt. Laws of the estimate ask for more.
    """

    script: str
    roles: Mapping[str, str]
    roots: tuple[str, ...]
    threads: int | str = 1
    gpu: int | tuple[str, ...] = 0
    minutes: int = 60

    @property
    def trains(self) -> bool:
        """Whether a job has a process for each device that trains."""
        return isinstance(self.gpu, tuple) and "gpus_per_training" in self.gpu


KINDS: dict[str, Kind] = {
    "download": Kind("download_collection", {}, ("hardneg.data.download:fetch",), minutes=720),
    "collection": Kind(
        "prepare_collection",
        {"files": "what was downloaded"},
        ("hardneg.data.prepare:prepare", "hardneg.data.prepare:repairs"),
        threads=2,
    ),
    "tokenizer": Kind("make_tokenizer", {"collection": COLLECTION}, ("hardneg.text.tokens:make_tokenizer",)),
    "tokens": Kind(
        "tokenize_texts",
        {"collection": COLLECTION, "tokenizer": "the tokenizer"},
        ("hardneg.text.tokens:tokenize",),
        threads=2,
        minutes=120,
    ),
    "bm25_index": Kind(
        "index_bm25",
        {"collection": COLLECTION, "weighted": "the passages with their words repeated by their weights"},
        (
            "hardneg.retrieval.lexical:build_index",
            "hardneg.retrieval.languages:detected",
            "hardneg.text.tokens:passage_texts",
            "hardneg.data.template:Reading",
        ),
        minutes=120,
    ),
    "bm25_run": Kind(
        "search_bm25",
        {"collection": COLLECTION, "index": "the Lucene index"},
        ("hardneg.retrieval.lexical:search", "hardneg.text.tokens:query_texts", "hardneg.retrieval.runs:write_run"),
        threads=2,
        minutes=240,
    ),
    "deepct": Kind(
        "train_deepct",
        {"collection": COLLECTION, "tokenizer": "the tokenizer"},
        (
            "hardneg.training.term_weights:train_term_weights",
            "hardneg.retrieval.languages:detected",
            "hardneg.retrieval.terms:analysis",
            ARITHMETIC,
        ),
        threads="training_threads",
        gpu=1,
        minutes=1440,
    ),
    "weighted": Kind(
        "weigh_passages",
        {"collection": COLLECTION, "tokenizer": "the tokenizer", "model": "the term weights"},
        (
            "hardneg.retrieval.weighted:write_weighted",
            "hardneg.retrieval.weighted:Weighing",
            "hardneg.model.term_weights:TermWeights",
            "hardneg.text.terms:reader_of",
            "hardneg.text.terms:reading_of",
            "hardneg.text.tokens:passage_texts",
            ARITHMETIC,
        ),
        threads="encoding_threads",
        gpu=1,
        minutes=1440,
    ),
    "letor": Kind(
        "train_letor",
        {"collection": COLLECTION, "run": "candidates of the training queries"},
        ("hardneg.retrieval.letor:train_ranker", *WORDS, "hardneg.data.judgements:Judgements"),
        minutes=240,
    ),
    "letor_run": Kind(
        "rank_letor",
        {"collection": COLLECTION, "model": "the trained trees", "run": "the ranking to reorder"},
        ("hardneg.retrieval.letor:ranked_by", *WORDS, "hardneg.retrieval.runs:RunWriter"),
        minutes=240,
    ),
    "given_run": Kind("import_run", {"collection": COLLECTION}, ("hardneg.retrieval.given:import_run",)),
    "given_vectors": Kind(
        "import_vectors", {"collection": COLLECTION}, ("hardneg.retrieval.given:import_vectors",), minutes=120
    ),
    "given_lists": Kind("import_given", {"collection": COLLECTION}, ("hardneg.retrieval.given_lists:given_lists",)),
    "mine": Kind(
        "mine_negatives",
        {
            "collection": COLLECTION,
            "run": "the ranking to mine",
            "scores": "scores of the judged pairs",
            "teacher.": "a teacher's scores of pairs, by the place of the filter that reads them",
        },
        ("hardneg.retrieval.mine:mine", "hardneg.retrieval.mine:positives_in", "hardneg.data.judgements:Judgements"),
    ),
    "pair_scores": Kind(
        "score_pairs",
        {
            "collection": COLLECTION,
            "model": READER,
            "tokens": TOKENS,
            "passages": PASSAGES,
            "queries": QUERIES,
            "negatives": "mined negatives; those of further sources are negatives_2, ...",
        },
        (
            "hardneg.retrieval.pair_scores:by_cross_encoder",
            "hardneg.retrieval.pair_scores:by_vectors",
            "hardneg.retrieval.pair_scores:judged_pairs",
            "hardneg.retrieval.pair_scores:listed_pairs",
            "hardneg.retrieval.pair_scores:write_scores",
            "hardneg.retrieval.search.retrieve:vectors_of",
            "hardneg.data.judgements:Judgements",
            *PAIR_TO_SCORE,
            ARITHMETIC,
        ),
        threads="encoding_threads",
        gpu=1,
        minutes=1440,
    ),
    "generated": Kind(
        "generate_texts",
        {"collection": COLLECTION},
        (
            "hardneg.generation.generate:generate",
            "hardneg.generation.generate:open_writer",
            "hardneg.generation.settings:GenerationSettings",
            "hardneg.generation.review:write_review",
            "hardneg.retrieval.outside:requests_of",
            "hardneg.retrieval.outside:write_texts",
        ),
        threads="encoding_threads",
        gpu=1,
        minutes=1440,
    ),
    "outside": Kind(
        "tokenize_outside",
        {"collection": COLLECTION, "tokenizer": "the tokenizer", "tokens": TOKENS, "generated": "generated texts"},
        (
            "hardneg.generation.review:read_review",
            "hardneg.retrieval.outside:kept_texts",
            "hardneg.retrieval.outside:read_texts",
            "hardneg.retrieval.outside:write_lists",
            "hardneg.text.tokens:tokenize_more",
        ),
    ),
    "clusters": Kind(
        "cluster_queries",
        {"queries": QUERIES},
        ("hardneg.retrieval.clusters:cluster", ARITHMETIC),
        threads="encoding_threads",
    ),
    "dual_encoder": Kind(
        "train_dual_encoder", TRAINED, TRAINING, threads="training_threads", gpu=("gpus_per_training",), minutes=240
    ),
    "query_encoder": Kind(
        "train_query_encoder",
        {**TRAINED, "passages": "the passage vectors, which do not change", "index": INDEX},
        TRAINING,
        threads="training_threads",
        gpu=("gpus_per_training", "gpus_per_search"),
        minutes=240,
    ),
    "cross_encoder": Kind(
        "train_cross_encoder", TRAINED, TRAINING, threads="training_threads", gpu=("gpus_per_training",), minutes=2880
    ),
    "late_interaction": Kind(
        "train_late_interaction",
        TRAINED,
        TRAINING,
        threads="training_threads",
        gpu=("gpus_per_training",),
        minutes=1440,
    ),
    "passages": Kind(
        "encode_passages",
        {"model": MODEL, "tokens": TOKENS},
        ("hardneg.model.embedding:encode_passages", "hardneg.model.embedding:shard_rows", *TEXT_TO_VECTOR, ARITHMETIC),
        threads="encoding_threads",
        gpu=1,
        minutes=240,
    ),
    "queries": Kind(
        "encode_queries",
        {"model": MODEL, "tokens": TOKENS},
        ("hardneg.model.embedding:encode_queries", *TEXT_TO_VECTOR, ARITHMETIC),
        threads="encoding_threads",
        gpu=1,
        minutes=240,
    ),
    "narrowed": Kind(
        "narrow_vectors",
        {"vectors": "vectors of passages or of queries"},
        ("hardneg.model.narrow:narrow_file", ARITHMETIC),
    ),
    "index": Kind(
        "build_index",
        {
            "passages": PASSAGES,
            "index": "the index whose codes it keeps",
            "model": "the training that left its centroids",
        },
        (
            "hardneg.retrieval.search.index:build_index",
            "hardneg.retrieval.search.retrieve:vectors_of",
            ARITHMETIC,
        ),
        minutes=240,
    ),
    "run": Kind(
        "search_dense",
        {
            "passages": PASSAGES,
            "index": INDEX,
            "queries": QUERIES,
            "collection": "the prepared collection, where it is several that were joined",
        },
        (
            "hardneg.retrieval.search.retrieve:retrieve",
            "hardneg.retrieval.search.retrieve:open_searcher",
            "hardneg.retrieval.runs:write_run",
            ARITHMETIC,
        ),
        threads="encoding_threads",
        gpu=("gpus_per_search",),
        minutes=240,
    ),
    "rerank": Kind(
        "rerank_run",
        {"model": READER, "tokens": TOKENS, "run": "the ranking to reorder"},
        (
            "hardneg.retrieval.pair_scores:rerank",
            "hardneg.retrieval.pair_scores:by_cross_encoder",
            "hardneg.retrieval.runs:RunWriter",
            *PAIR_TO_SCORE,
            ARITHMETIC,
        ),
        threads="encoding_threads",
        gpu=1,
        minutes=1440,
    ),
    "measure": Kind(
        "measure_run",
        {"collection": COLLECTION, "run": "the system's run"},
        (
            "hardneg.evaluation.measures:evaluate",
            "hardneg.evaluation.measures:parse_measures",
            "hardneg.data.copies:own_of",
            "hardneg.data.documents:read_documents",
            "hardneg.data.lacking:scored_judgements",
            "hardneg.retrieval.runs:read_run",
            "hardneg.retrieval.runs:best_passage",
            "hardneg.retrieval.runs:write_trec",
        ),
    ),
    "pairwise_errors": Kind(
        "count_errors",
        {"collection": COLLECTION, "passages": PASSAGES, "queries": QUERIES},
        ("hardneg.analysis.pairwise_errors:pairwise_errors", ARITHMETIC),
        threads="encoding_threads",
        gpu=1,
        minutes=240,
    ),
    "trajectory": Kind(
        "follow_training",
        {
            "collection": COLLECTION,
            "model": "the query encoder, with what was kept of its training",
            "passages": PASSAGES,
            "index": INDEX,
            "negatives": "the static lists it was trained on",
        },
        ("hardneg.analysis.trajectory:trajectory", ARITHMETIC),
        threads="encoding_threads",
        gpu=("gpus_per_search",),
        minutes=240,
    ),
    "diagnosis": Kind(
        "diagnose_negatives",
        {
            "collection": COLLECTION,
            "model": "what was trained on the negatives",
            "run": "the ranking that was mined",
            "negatives": "what mining kept of it; that of further sources is negatives_2, ...",
            "passages_negatives": "the passage vectors that the ranking was made from; further ones end in _2, ...",
            "queries_negatives": "the query vectors that it was made from; further ones end in _2, ...",
            "clusters": "clusters of the training queries",
            "teacher": "a teacher's scores of pairs",
            "passages_teacher": "the passage vectors of a dense teacher",
            "queries_teacher": "its query vectors",
            "outside": "texts from outside the collection",
            "teacher_passages": "passage vectors of the teacher",
            "teacher_queries": "its vectors of the training queries",
        },
        ("hardneg.analysis.diagnosis:diagnose", ARITHMETIC),
        threads="encoding_threads",
    ),
    "agreement": Kind(
        "compare_rankings",
        {"collection": COLLECTION, "run.": "the run of each system"},
        ("hardneg.analysis.agreement:agreement",),
    ),
    "movement": Kind(
        "project_movement",
        {"collection": COLLECTION, "model": "the query encoder, with what was kept", "passages": PASSAGES},
        ("hardneg.analysis.movement:movement", ARITHMETIC),
        threads="encoding_threads",
    ),
    "export": Kind(
        "export_system",
        {
            "collection": COLLECTION,
            "tokenizer": "the tokenizer",
            "tokens": TOKENS,
            "model": "the query encoder",
            "passage_model": "the passage encoder",
            "passages": PASSAGES,
            "index": INDEX,
            "run": "its rankings",
            "measure": "its scores",
        },
        ("hardneg.export.export:export",),
        minutes=120,
    ),
    "negatives_export": Kind(
        "export_negatives",
        {
            "collection": COLLECTION,
            "negatives": "mined negatives; those of further sources are negatives_2, ...",
            "teacher": "scores of the judged pairs and of the negatives",
            "scores": "scores of the judged pairs in the mined ranking",
            "run": "the mined ranking, which has the scores of the judged pairs in it",
        },
        ("hardneg.export.negatives:export_negatives",),
    ),
}

TRAINS = {
    "both_encoders": "dual_encoder",
    "query_encoder": "query_encoder",
    "cross_encoder": "cross_encoder",
    "late_interaction": "late_interaction",
}
"""The kind of stage that each value of a system's `trains` makes."""
