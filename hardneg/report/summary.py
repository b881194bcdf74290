"""The results of a study: a table of all scores, significance tests, and links to the runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from hardneg.errors import HardnegError
from hardneg.evaluation.measures import aggregate, significance_table
from hardneg.report.text import measures_text
from hardneg.stages.artifacts import Artifact, atomic_path, write_table
from hardneg.stages.stage import ARTIFACTS


def summarise(
    systems: Mapping[str, Path],
    pairs: Sequence[tuple[str, str]],
    main_measure: str,
    exports: Mapping[str, Path],
    output: Path,
) -> None:
    """Write `measures.csv` (system, split, measure, value) and the files beside it.

    These are `per_query.parquet`, `significance.csv`, `measures.txt`, and links into the artifacts:
    `runs/<system>.<split>.trec`, and `export/<system>` for exported systems.

    Args:
        systems: the manifest of each system's measure stage, in display order.
        pairs: systems and the baselines they are compared with.
        main_measure: shown first.
        exports: the manifest of each exported system's export stage.
        output: `measures.csv`.
    """
    folder, frames = output.parent, []
    links = {}
    for system, manifest in systems.items():
        stage = Artifact.open(manifest)
        for name in sorted(stage.manifest["files"]):
            split = name.removeprefix("measures.").rsplit(".", 1)[0]
            if name.endswith(".trec"):
                links[f"{system}.{split}.trec"] = stage.path(name)
            else:
                frames.append(pq.read_table(stage.path(name)).to_pandas().assign(system=system, split=split))
    per_query = pd.concat(frames, ignore_index=True)[["system", "split", "query_id", "measure", "value"]]
    main_first = per_query["measure"].ne(main_measure)
    per_query = per_query.iloc[main_first.argsort(kind="stable")].reset_index(drop=True)
    measures = aggregate(per_query)
    write_table(folder / "per_query.parquet", per_query)
    _write_csv(significance_table(per_query, pairs), folder / "significance.csv")
    _link(folder / "runs", links)
    _link(folder / "export", {system: manifest.parent for system, manifest in exports.items()})
    with atomic_path(folder / "measures.txt") as temporary:
        tables = [measures_text(measures, split) for split in measures["split"].unique()]
        temporary.write_text("\n\n".join(tables) + "\n", encoding="utf-8")
    _write_csv(measures, output)


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


def _link(folder: Path, links: Mapping[str, Path]) -> None:
    """Make a folder of these links, without those of earlier runs. Without links, no folder is created.

    Raises:
        HardnegError: something that was not made here has the name of a link.
    """
    if links:
        folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir() if folder.is_dir() else ():
        if old.name not in links and _is_ours(old):
            old.unlink()
    for name, target in links.items():
        link = folder / name
        if link.exists() and not _is_ours(link):
            raise HardnegError(
                "A file or folder that is not ours is in the way of a link.",
                where=str(link),
                expected=f"nothing, or a link into {ARTIFACTS}",
                remedy="move it to another place or give it another name.",
            )
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(target, folder))


def _is_ours(path: Path) -> bool:
    """Whether it is a link into the artifacts. Everything else belongs to somebody else."""
    return path.is_symlink() and ARTIFACTS.name in path.readlink().parts
