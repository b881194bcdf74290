"""An exported encoder goes to the hub, and every refusal is told."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled

from hardneg.cli.main import main
from hardneg.errors import HardnegError
from hardneg.export.hub import push


class Repository(str):
    """What `create_repo` returns."""

    repo_id = "user/name"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "star" / "query_encoder"
    made.mkdir(parents=True)
    (made / "README.md").write_text("# star\n", encoding="utf-8")
    (made / "modules.json").write_text("[]\n", encoding="utf-8")
    return made


def test_the_folder_is_uploaded_with_its_card(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, Any]] = []

    def create(self: HfApi, repo_id: str, **given: Any) -> Repository:
        asked.append((repo_id, given))
        return Repository("https://huggingface.co/user/name")

    def upload(self: HfApi, **given: Any) -> None:
        asked.append((given["repo_id"], given["folder_path"]))

    monkeypatch.setattr(HfApi, "create_repo", create)
    monkeypatch.setattr(HfApi, "upload_folder", upload)
    main(["push", str(folder), "name", "--private"])
    assert asked == [("name", {"private": True, "exist_ok": True}), ("user/name", folder)]
    assert capsys.readouterr().out == "https://huggingface.co/user/name\n"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (HFValidationError("Repo id must be 'name' or 'user/name'"), "not the name of a repository"),
        (LocalTokenNotFoundError("no token"), "nobody is logged in"),
        (HfHubHTTPError("403 Forbidden: no right to write", response=SimpleNamespace(headers={}, request=None)), "403"),  # type: ignore[arg-type]
        (OfflineModeIsEnabled("offline"), "switched off"),
        (ConnectionError("Connection refused"), "cannot be reached"),
    ],
)
def test_a_refusal_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception, said: str) -> None:
    def refuse(self: HfApi, *_: Any, **__: Any) -> None:
        raise fault

    monkeypatch.setattr(HfApi, "create_repo", refuse)
    with pytest.raises(HardnegError, match=said):
        push(folder, "user/name", private=False)


def test_another_folder_is_refused_before_anything_is_sent(folder: Path) -> None:
    with pytest.raises(HardnegError, match="not an exported encoder") as told:
        push(folder.parent, "user/name", private=False)
    assert f"name one of {folder}." in str(told.value)
    with pytest.raises(HardnegError, match="no folder"):
        push(folder / "nothing", "user/name", private=False)


def test_nothing_reaches_a_hub_that_is_not_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the real client: a closed port, and a token that the message must not contain."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.hf_api.ENDPOINT", "http://127.0.0.1:9", raising=False)
    with pytest.raises(HardnegError) as told:
        push(folder, "user/name", private=False)
    assert "hf_secret" not in str(told.value) and "cannot be reached" in str(told.value)
