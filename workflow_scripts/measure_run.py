"""Score a system's runs query by query, and write them as TREC files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow.parquet as pq

from hardneg.data.copies import own_of
from hardneg.data.documents import read_documents
from hardneg.data.lacking import scored_judgements
from hardneg.evaluation.measures import evaluate, parse_measures
from hardneg.retrieval.runs import best_passage, read_run, write_trec
from hardneg.stages.artifacts import StageFolder, write_table
from workflow_scripts.command import stage_command


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Score them."""
    collection, ranked, settings = stage.parents["collection"], stage.parents["run"], stage.settings
    names: list[str] = []
    documents = read_documents(collection)
    shown = ("documents.parquet", "document_id") if documents is not None else ("passages.parquet", "passage_id")
    passage_ids = pq.read_table(collection.path(shown[0]), columns=[shown[1]]).column(0)
    for split in ranked.settings["splits"]:
        ranking = read_run(ranked.path(f"run.{split}.parquet"), own_of(collection, split))
        query_ids = pq.read_table(collection.path(f"queries.{split}.parquet"), columns=["query_id"]).column(0)
        qrels = scored_judgements(collection, split)
        if documents is not None:  # passages are windows of documents, which are what is judged
            ranking = best_passage(ranking, documents)
        measures, grade = parse_measures(settings["measures"]), settings["relevant_grade"][split]
        scores = evaluate(ranking, qrels, query_ids.to_pylist(), measures, grade)
        names += [f"{split}.trec", f"measures.{split}.parquet"]
        write_trec(stage.folder / names[-2], ranking, query_ids, passage_ids, stage.record["label"])
        write_table(stage.folder / names[-1], scores)
    return names


if __name__ == "__main__":
    stage_command(run, __doc__)
