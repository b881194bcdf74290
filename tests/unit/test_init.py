"""`hardneg init` writes a project that runs, into an empty folder only."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from hardneg.cli import run, workflow
from hardneg.cli.main import main
from hardneg.config import load, read_yaml

ROOT = Path(__file__).resolve().parents[2]


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_project_has_the_configurations_and_profiles_of_the_workflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["init", "new/demo"])
    demo = tmp_path / "new" / "demo"
    wanted = {"config.yaml", "config.expected.yaml", "configs/own-data.yaml", "profiles/default/profile.yaml"}
    assert wanted < files(demo)
    for name in files(demo) - {".gitignore"}:
        assert (demo / name).read_bytes() == (ROOT / name).read_bytes(), name
    told = capsys.readouterr().out
    assert "  cd new/demo\n  hardneg run config.yaml bm25 " in told
    for study in (demo / "configs").glob("*.yaml"):  # what they extend came along
        if not study.name.endswith(".expected.yaml"):
            load(read_yaml(study))
    assert set((demo / ".gitignore").read_text().split()) >= {"/artifacts", "/results", "/logs", "/.snakemake"}


def test_the_default_profile_is_the_project_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    main(["init", "."])
    assert "logger" in yaml.safe_load(Path("profiles/default/profile.yaml").read_text(encoding="utf-8"))
    assert run.command([])[3:5] == ["--snakefile", str(ROOT / "Snakefile")]


@pytest.mark.parametrize(("inside", "told"), [("notes.txt", "1 files or folders, such as notes.txt"), (None, "a file")])
def test_nothing_of_the_user_s_is_overwritten(inside: str | None, told: str, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    if inside is None:
        folder.write_text("mine")
    else:
        folder.mkdir()
        (folder / inside).write_text("mine")
    before = files(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["init", str(folder)])
    assert f"where:    {folder}\n  found:    {told}" in str(end.value.code)
    assert files(tmp_path) == before


def test_a_fresh_repository_is_empty(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    main(["init", str(tmp_path)])
    assert (tmp_path / "config.yaml").exists()


def test_an_installed_package_has_the_workflow_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "PACKAGE", tmp_path / "hardneg")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").touch()
    with pytest.raises(SystemExit) as end:
        main(["run", "config.yaml"])
    assert "no Snakefile" in str(end.value.code)
    inside = tmp_path / "hardneg" / "workflow" / "Snakefile"
    inside.parent.mkdir(parents=True)
    inside.touch()
    assert run.command([])[3:5] == ["--snakefile", str(inside)]
