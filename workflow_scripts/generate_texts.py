"""Let a language model write hard negatives for the training queries."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from hardneg.generation.answers import ANSWERS
from hardneg.generation.generate import generate, open_writer
from hardneg.generation.review import write_review
from hardneg.generation.settings import GenerationSettings
from hardneg.retrieval.outside import GENERATED, REVIEW, requests_of, write_texts
from hardneg.stages.artifacts import PROGRESS, StageFolder
from workflow_scripts.command import stage_command


def run(stage: StageFolder, runtime: dict[str, Any], devices: Sequence[str]) -> list[str]:
    """Ask for what was not asked before."""
    chosen, split = stage.settings, stage.settings["split"]
    settings = GenerationSettings(**runtime["places"]["generation"])
    asked = requests_of(stage.parents["collection"], split, chosen["queries"], settings.seed or 0)
    earlier = sorted(path for path in stage.folder.parent.glob(f"*/{ANSWERS}") if path.parent != stage.folder)
    writer = open_writer(settings, devices[0])
    made = generate(asked, settings, stage.folder, writer, stage.folder / PROGRESS, earlier)
    write_texts(made.generated, stage.folder / GENERATED)
    write_review(made.generated, stage.folder / REVIEW, asked)
    stage.facts |= {"requests": len(asked), "texts": len(made.generated), "accepted": len(made.accepted)}
    stage.facts |= {"rejections": made.rejections}
    stage.cost |= asdict(made.usage)
    if not made.accepted:
        print("warning: no text was accepted; the review file says why.", file=sys.stderr)
    return [GENERATED, REVIEW, ANSWERS]


if __name__ == "__main__":
    stage_command(run, __doc__)
