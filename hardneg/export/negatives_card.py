"""What is written beside exported negatives: what each file holds, and how tools read it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hardneg import __version__
from hardneg.stages.artifacts import Artifact

CARD = "README.md"

TEMPLATE = """# Mined negatives of `{system}`

Negatives of the training queries of `{dataset}`, split `{split}`, as hardneg {version} mined them: from {mined}.
{chosen}
Nothing that is judged relevant to a query is among its negatives.

* `triplets.jsonl`, {triplets:,} rows for sentence-transformers: anchor, positive, negative.
  {load}
* `tuples.jsonl`, {tuples:,} rows for sentence-transformers: anchor, positive, negative_1 to negative_{width}. Loaded in
  the same way; `MultipleNegativesRankingLoss` takes all columns.
* `flagembedding.jsonl`, {queries:,} rows for FlagEmbedding: query, pos, neg{score_columns}.
  `--train_data flagembedding.jsonl`
* `tevatron.jsonl`, {queries:,} rows for Tevatron: query_id, query, positive_passages and negative_passages, each
  with docid, title and text. `--dataset_name json --dataset_path tevatron.jsonl`

All have the same (query, relevant passage, negative) triples. hardneg reads each with `collection: {{format: pairs}}`.

* A text is the title and the text of a passage. No prompt is added; give your trainer those of the model.
* A query with several relevant passages has a triplet for each of them and each negative, and a tuple for each of them.
* {short:,} queries have fewer than {width} negatives. Their tuples start again at the first; the other files have what
  there is.
* {left_out:,} training queries with a relevant passage are left out, because they have no negative, or no text.
* {scores}
"""
LOAD = '`load_dataset("json", data_files="triplets.jsonl", split="train")`'


def card(
    settings: Mapping[str, Any], parents: Mapping[str, Artifact], mined: Sequence[Artifact], facts: Mapping[str, Any]
) -> str:
    """The page, Markdown.

    Args:
        settings: of the export stage.
        parents: of the export stage.
        mined: the mining stages.
        facts: of the export stage.
    """
    return TEMPLATE.format(
        system=settings["system"],
        dataset=parents["collection"].manifest["dataset"],
        split=settings["split"],
        version=__version__,
        mined=" and ".join(map(_mined, mined)),
        chosen=_chosen(settings["count"], settings["draw"], len(mined)),
        load=LOAD,
        score_columns=", pos_scores, neg_scores" if facts["scores"] else "",
        short=facts["short_lists"],
        left_out=facts["queries_left_out"],
        scores=_scores(parents, mined, facts["scores"]),
        **{name: facts[name] for name in ("triplets", "tuples", "queries", "width")},
    )


def _mined(stage: Artifact) -> str:
    filters = ", ".join(f"`{json.dumps(chosen)}`" for chosen in stage.settings["filter"])
    return f"`{stage.manifest['label']}`" + (f", filtered by {filters}" if filters else "")


def _chosen(count: int, draw: str, lists: int) -> str:
    taken = f"A query has the first {count} of its list"
    if draw == "uniform":
        taken = f"A query has up to {count} of its list, drawn uniformly and left in its order"
    return f"{taken}; the list takes its sources in turn." if lists > 1 else f"{taken}."


def _scores(parents: Mapping[str, Artifact], mined: Sequence[Artifact], known: bool) -> str:
    if not known:
        return "There are no scores: some relevant passage or negative has none, or sources have scores of their own."
    whose = parents["teacher"] if "teacher" in parents else mined[0]
    return f"Scores are those of `{whose.manifest['label']}`, for `--knowledge_distillation True`."
