"""The results of a study: a table of all scores, significance tests, and links to the runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow.parquet as pq

from hardneg.errors import HardnegError
from hardneg.evaluation.measures import aggregate, significance_table
from hardneg.evaluation.several import COLLECTIONS, over_collections
from hardneg.report.text import collections_text, measures_text
from hardneg.stages.artifacts import Artifact, atomic_path, write_table
from hardneg.stages.stage import ARTIFACTS


class Scored(NamedTuple):
    """A collection that the systems are evaluated on, and the manifest of each system's scores there.

    `name` stands for it: that of the dataset, or of the split where several are the study's own.
    """

    dataset: str
    name: str
    split: str
    measures: Mapping[str, Path]


def summarise(
    systems: Mapping[str, Path],
    pairs: Sequence[tuple[str, str]],
    main_measure: str,
    exports: Mapping[str, Path],
    output: Path,
    collections: Sequence[Scored] = (),
) -> None:
    """Write `measures.csv` (system, split, measure, value) and the files beside it.

    These are `per_query.parquet`, `significance.csv`, `measures.txt`, and links into the artifacts:
    `runs/<system>.<split>.trec`, and `export/<system>` for exported systems. With several collections there are also
    `collections.csv` (see `hardneg.evaluation.several.over_collections`) and `runs/<system>.<collection>.<split>.trec`.

    Args:
        systems: the manifest of each system's measure stage, in display order.
        pairs: systems and the baselines they are compared with.
        main_measure: shown first.
        exports: the manifest of each exported system's export stage.
        output: `measures.csv`.
        collections: that the systems are also evaluated on.
    """
    folder, frames = output.parent, []
    links: dict[str, Path] = {}
    for system, manifest in systems.items():
        stage = Artifact.open(manifest)
        for name in sorted(stage.manifest["files"]):
            split = name.removeprefix("measures.").rsplit(".", 1)[0]
            if name.endswith(".trec"):
                links[f"{system}.{split}.trec"] = stage.path(name)
            else:
                frames.append(pq.read_table(stage.path(name)).to_pandas().assign(system=system, split=split))
    per_query = pd.concat(frames, ignore_index=True)[["system", "split", "query_id", "measure", "value"]]
    per_query = _main_first(per_query, main_measure)
    measures = aggregate(per_query)
    write_table(folder / "per_query.parquet", per_query)
    _write_csv(significance_table(per_query, pairs), folder / "significance.csv")
    texts = [measures_text(measures, split) for split in measures["split"].unique()]
    if collections:
        several = _several(collections, main_measure)
        _write_csv(several, folder / COLLECTIONS)
        texts.append(collections_text(several, main_measure))
        links |= _runs_elsewhere(collections, own=output.parent.name)
    else:
        (folder / COLLECTIONS).unlink(missing_ok=True)
    _link(folder / "runs", links)
    _link(folder / "export", {system: manifest.parent for system, manifest in exports.items()})
    with atomic_path(folder / "measures.txt") as temporary:
        temporary.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    _write_csv(measures, output)


def _several(collections: Sequence[Scored], main_measure: str) -> pd.DataFrame:
    """The scores on each collection and their mean."""
    scored = []
    for _, name, split, measures in collections:
        for system, manifest in measures.items():
            values = pq.read_table(Artifact.open(manifest).path(f"measures.{split}.parquet")).to_pandas()
            scored.append((name, split, system, _main_first(values, main_measure)))
    return over_collections(scored)


def _main_first(values: pd.DataFrame, main_measure: str) -> pd.DataFrame:
    others = values["measure"].ne(main_measure)
    return values.iloc[others.argsort(kind="stable")].reset_index(drop=True)


def _runs_elsewhere(collections: Sequence[Scored], own: str) -> dict[str, Path]:
    """Links to the runs on collections that are not the study's own, which has them already."""
    return {
        f"{system}.{dataset}.{split}.trec": Artifact.open(manifest).path(f"{split}.trec")
        for dataset, _, split, measures in collections
        if dataset != own
        for system, manifest in measures.items()
    }


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
