"""Upload an exported encoder to the Hugging Face hub, on request."""

from __future__ import annotations

from pathlib import Path

from hardneg.errors import HardnegError

CARD, MODULES = "README.md", "modules.json"


def push(folder: Path, repository: str, *, private: bool) -> str:
    """Upload a folder with its model card; the page of the repository, which is created if it does not exist.

    The token is the one that `hf auth login` keeps, or HF_TOKEN: it is read by huggingface_hub and written nowhere.

    Args:
        folder: an exported encoder, such as `results/pydocs/export/star/query_encoder`.
        repository: `user/name`, or `name` for one's own.
        private: only its owner may see a new repository. One that exists keeps its setting.

    Raises:
        HardnegError: the folder is no exported encoder, the name is none, nobody is logged in or may write there, or
            the hub cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (  # type: ignore[attr-defined] # of the HTTP client that it uses
        HfHubHTTPError,
        HFValidationError,
        HTTPError,
        LocalTokenNotFoundError,
        OfflineModeIsEnabled,
    )

    _require_export(folder)
    api = HfApi()
    try:
        made = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(repo_id=made.repo_id, folder_path=folder, commit_message="Upload an exported encoder")
    except HFValidationError as fault:
        raise HardnegError(
            "This is not the name of a repository.",
            where="REPOSITORY",
            found=repository,
            expected="user/name",
            remedy=str(fault).splitlines()[0],
        ) from None
    except LocalTokenNotFoundError:
        raise _refused("nobody is logged in on this machine") from None
    except OfflineModeIsEnabled:
        raise HardnegError(
            "The hub is switched off.", where="HF_HUB_OFFLINE", found="1", remedy="unset it, and push again."
        ) from None
    except HfHubHTTPError as fault:
        raise _refused(str(fault).splitlines()[0]) from None
    except (HTTPError, OSError) as fault:
        raise HardnegError(
            "The hub cannot be reached.",
            found=str(fault),
            remedy="check the network, and push again: what was uploaded is not uploaded twice.",
        ) from None
    return str(made)


def _require_export(folder: Path) -> None:
    missing = [name for name in (CARD, MODULES) if not (folder / name).is_file()]
    if missing:
        inside = sorted(path.parent.name for path in folder.glob(f"*/{MODULES}"))
        raise HardnegError(
            "This folder is not an exported encoder.",
            where=str(folder),
            found=f"no {' and no '.join(missing)}" if folder.is_dir() else "no folder",
            expected="such as results/pydocs/export/star/query_encoder",
            remedy=f"name one of {', '.join(str(folder / name) for name in inside)}."
            if inside
            else "add the system to `export`, and run the workflow.",
        )


def _refused(found: str) -> HardnegError:
    return HardnegError(
        "The hub refuses the upload.",
        found=found,
        expected="a token that may write to this repository",
        remedy="`hf auth login` with a token for writing, or set HF_TOKEN.",
    )
