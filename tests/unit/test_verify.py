"""`hardneg verify`: nothing that changed since it was sealed goes unnoticed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hardneg.cli.main import main
from hardneg.stages.artifacts import MANIFEST, Artifact, StageFolder, manifest_digest
from hardneg.stages.stage import Stage


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with two stages, one made from the other."""
    monkeypatch.chdir(tmp_path)
    collection = Stage("small", "collection", "small", {"format": "beir"}, revision="r1")
    tokens = Stage("small", "tokens", "tokens", {"length": 8}, {"collection": collection}, "r2")
    parents: dict[str, Artifact] = {}
    for stage in (collection, tokens):
        stage.folder.mkdir(parents=True)
        (stage.folder / "texts.txt").write_text(f"the files of {stage.label}\n")
        StageFolder(stage.folder, stage.record, parents).seal(stage.manifest, ["texts.txt"])
        parents = {"collection": Artifact.open(stage.manifest)}
    return tmp_path


def stage_of(folder: Path, kind: str) -> Path:
    (found,) = folder.glob(f"artifacts/small/{kind}/*")
    return found


def test_what_is_as_it_was_sealed_is_counted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["verify"])
    assert capsys.readouterr().out.startswith("2 stages are as they were sealed: 2 files, 0.0 MiB.")


@pytest.mark.parametrize("kind", ["collection", "tokens"])
def test_a_flipped_byte_is_told_by_name(folder: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = stage_of(folder, kind) / "texts.txt"
    content = bytearray(file.read_bytes())
    content[4] ^= 1
    file.write_bytes(content)
    with pytest.raises(SystemExit, match="1 stage is not"):
        main(["verify"])
    told = capsys.readouterr().out
    assert f"wrong: artifacts/small/{kind}/" in told
    assert "texts.txt" in told
    assert "1 stages are as they were sealed" in told


def test_a_manifest_that_was_rewritten_with_a_digest_of_its_own_is_noticed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = stage_of(folder, "tokens") / MANIFEST
    content = json.loads(path.read_text())
    content["settings"]["length"] = 16
    path.write_text(json.dumps({**content, "digest": manifest_digest(content)}))
    with pytest.raises(SystemExit):
        main(["verify"])
    assert "A stage's version is not that of its settings, inputs and code." in capsys.readouterr().out


def test_a_stage_in_another_folder_is_noticed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moved = stage_of(folder, "tokens")
    moved.rename(moved.with_name("tokens-0123456789ab"))
    with pytest.raises(SystemExit):
        main(["verify"])
    assert "A stage lies in another stage's folder." in capsys.readouterr().out


def test_unfinished_and_pruned_stages_are_no_faults(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    collection = stage_of(folder, "collection")
    (collection / MANIFEST).unlink()
    main(["verify"])
    assert f"unfinished: {collection.relative_to(folder)}" in capsys.readouterr().out
    version = collection.name.rpartition("-")[2]
    collection.rename(folder / "elsewhere")
    main(["verify"])
    assert f"was made from collection {version}, which is not here any more" in capsys.readouterr().out


def test_a_folder_without_artifacts_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="There is nothing to verify here"):
        main(["verify"])
