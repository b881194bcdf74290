"""Build the Lucene index of all passages."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from hardneg.data.template import Reading
from hardneg.retrieval.languages import detected
from hardneg.retrieval.lexical import build_index
from hardneg.retrieval.members import index_within
from hardneg.stages.artifacts import PROGRESS, StageFolder
from hardneg.text.terms import weighted_texts
from hardneg.text.tokens import passage_texts
from workflow_scripts.command import stage_command
from workflow_scripts.told import language_of


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Build it."""
    collection, index = stage.parents["collection"], stage.folder / "lucene"
    # Lucene has no separator token: a space ends a word as well.
    reading = Reading(stage.settings["passage_template"], separator=" ")
    given, found = stage.settings.get("language"), detected(collection)
    language = given or found.language
    for line in language_of(given, found):
        print(line, file=sys.stderr)
    stage.facts |= {"language": language, "detected": found._asdict()}
    weighted = stage.parents.get("weighted")
    passages = passage_texts(collection, reading) if weighted is None else weighted_texts(weighted)
    if "members" in collection.facts:
        files, counts = index_within(
            passages,
            collection.facts,
            stage.folder,
            language=language,
            heap_mib=runtime["java_heap_mib"],
            progress_file=stage.folder / PROGRESS,
        )
        stage.facts |= counts
        return files
    stage.facts |= build_index(
        passages,
        index,
        language=language,
        heap_mib=runtime["java_heap_mib"],
        total=collection.facts["passages"],
        progress_file=stage.folder / PROGRESS,
    )
    return [f"lucene/{path.name}" for path in index.iterdir()]


if __name__ == "__main__":
    stage_command(run, __doc__)
