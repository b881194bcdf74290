"""Choose and tokenize the generated texts that training meets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hardneg.errors import HardnegError
from hardneg.generation.review import read_review
from hardneg.retrieval.mine import NEGATIVES
from hardneg.retrieval.outside import GENERATED, kept_texts, read_texts, write_lists
from hardneg.stages.artifacts import PROGRESS, StageFolder
from hardneg.text.tokens import tokenize_more
from workflow_scripts.command import stage_command


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Tokenize them."""
    parents, settings = stage.parents, stage.settings
    collection, written = parents["collection"], parents["generated"].path(GENERATED)
    reviewed = None
    if settings["review"] is not None:
        reviewed = read_review(Path(runtime["places"]["review"]), read_texts(written))
    kept = kept_texts(written, collection, settings["split"], reviewed)
    if not kept.texts:
        raise HardnegError(
            "No generated text is left, so there is nothing to train on.",
            where=str(parents["generated"].folder),
            found=", ".join(f"{cause} {count:,}" for cause, count in kept.facts.items()),
            remedy="read its review file, and change generation.prompt or generation.model.",
        )
    write_lists(kept.query, collection.facts["passages"], stage.folder / NEGATIVES)
    names, facts = tokenize_more(
        kept.texts, len(kept.texts), parents["tokens"], parents["tokenizer"], stage.folder, stage.folder / PROGRESS
    )
    stage.facts |= {**facts, **kept.facts, "kept": len(kept.texts)}
    return [*names, NEGATIVES]


if __name__ == "__main__":
    stage_command(run, __doc__)
