"""What the plan reads of the user's files: their digests, which belong to versions, and their places, which do not."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from hardneg.config import Config, CrossEncoder, Encoder, FolderCollection, Generation, Splits, System
from hardneg.data import readers
from hardneg.data.template import QUERY_TEMPLATE
from hardneg.errors import HardnegError
from hardneg.generation.settings import RUNTIME as WHERE_AND_COST
from hardneg.model.described import Described
from hardneg.planning.backbone import local_backbone
from hardneg.stages.artifacts import cached_digest
from hardneg.stages.stage import ARTIFACTS
from hardneg.text.tokenizer_contract import read_contract

# How texts are read: this concerns the tokenizer, not the weights.
READING = (
    "passage_template",
    "query_template",
    "lower_case",
    "prefix_space",
    "append_eos",
    "characters",
    "contract",
)


def plain(model: BaseModel, drop: Sequence[str] = ()) -> dict[str, Any]:
    """The settings of a model as JSON types."""
    return model.model_dump(mode="json", exclude=set(drop))


class Inputs:
    """The files of a configuration.

    Args:
        config: what names them.
        said: what the backbone of `config.encoder` says of itself.
        read: the splits that the collection is prepared with; None: those of `config`.
    """

    def __init__(self, config: Config, said: Described | None = None, read: Splits | None = None) -> None:
        self._config, self.said, self._read = config, said or Described(), read or config.splits
        self._digests = ARTIFACTS / ".digests.json"

    def digest(self, path: Path, key: str) -> str:
        """The SHA-256 of a file that the configuration names at `key`.

        Raises:
            HardnegError: it is missing.
        """
        if not path.is_file():
            raise HardnegError(
                "A file that the configuration names is missing.",
                where=key,
                found=str(path),
                expected="an existing file",
                remedy="correct the path; it counts from the folder where snakemake runs.",
            )
        return cached_digest(path, self._digests)

    def collection(self) -> tuple[dict[str, Any], list[str], dict[str, Any] | None]:
        """What decides the prepared collection.

        Returns:
            Its settings, the code that reads it, and the settings of its download; None where nothing is downloaded.

        Raises:
            HardnegError: files are missing.
        """
        collection, splits = self._config.collection, self._read
        chosen = collection.model_dump(mode="json")
        wanted = self.splits()
        settings = _without_places(plain(collection, drop=["name", "download", "weights"]))
        settings |= {"made_from": settings.get("splits"), "splits": wanted, "train": splits.train}
        roots = readers.roots(chosen)
        if collection.format == "pydocs":
            from hardneg.data.installed import installed_versions

            settings |= {"python": platform.python_version(), "distributions": installed_versions()}
        elif collection.format == "ir_datasets":  # it repairs texts: its version belongs to the data
            from hardneg.data.formats.irds import PINNED

            settings["package"] = PINNED
        elif isinstance(collection, FolderCollection) and collection.download:
            settings["inside"] = str(collection.path)  # here it says which of the fetched files are read
            return settings, roots, {"download": [plain(file) for file in collection.download]}
        else:
            files = readers.open_collection(chosen, splits.train).files(wanted)
            digests = {name: cached_digest(path, self._digests) for name, path in files.items()}
            settings["files"] = readers.digest_of(digests)
        return settings, roots, None

    def splits(self) -> list[str]:
        """The splits that are read, the training split first."""
        splits = self._read
        return list(dict.fromkeys([*([splits.train] if splits.train else []), *splits.evaluate]))

    def backbone(self, encoder: Encoder | CrossEncoder, key: str, said: Described | None = None) -> dict[str, Any]:
        """What decides pretrained weights: a name and revision on the hub, or the digests of local files.

        Args:
            encoder: whose backbone.
            key: where it stands in the configuration.
            said: what it says of itself; None: it is that of `config.encoder`, or says nothing.
        """
        folder = local_backbone(encoder.backbone, key)
        if folder is None:
            return {
                "backbone": encoder.backbone,
                "revision": encoder.revision,
                "trust_remote_code": encoder.trust_remote_code,
            }
        files = sorted(path for path in folder.iterdir() if path.suffix in (".json", ".safetensors", ".txt", ".model"))
        digests = {path.name: cached_digest(path, self._digests) for path in files}
        inner = (said or self.said).files if isinstance(encoder, Encoder) else ()
        digests |= {name: self.digest(folder / name, key) for name in inner}
        return {"backbone": "local", "files": digests, "trust_remote_code": encoder.trust_remote_code}

    def reading(self, encoder: Encoder | CrossEncoder) -> dict[str, Any]:
        """How texts are read, golden token ids included. What is as usual is not said."""
        template = getattr(encoder, "query_template", QUERY_TEMPLATE)
        return {
            **({"query_template": template} if template != QUERY_TEMPLATE else {}),
            **({"append_eos": True} if getattr(encoder, "append_eos", False) else {}),
            "passage_template": encoder.passage_template,
            "characters": encoder.characters,
            "contract": read_contract(encoder.contract) if encoder.contract else None,
        }

    def given_run(self, name: str, system: System, splits: Sequence[str]) -> dict[str, str]:
        """The digests of a system's run files, by split."""
        return {split: self.digest(system.runs[split], f"systems.{name}.runs.{split}") for split in splits}

    def given_vectors(self, name: str, system: System, splits: Sequence[str]) -> dict[str, Any]:
        """The digests of a system's vector files and of their ids."""
        given, at = system.vectors, f"systems.{name}.vectors"
        assert given is not None
        found: dict[str, Any] = {
            "passages": [self.digest(path, f"{at}.passages") for path in given.passages],
            "queries": {split: self.digest(given.queries[split], f"{at}.queries.{split}") for split in splits},
        }
        if given.passage_ids is not None:
            found["passage_ids"] = self.digest(given.passage_ids, f"{at}.passage_ids")
        if given.query_ids:
            found["query_ids"] = {
                split: self.digest(path, f"{at}.query_ids.{split}")
                for split, path in given.query_ids.items()
                if split in splits
            }
        return found

    def generation(self) -> dict[str, Any]:
        """What decides generated texts: the model, what it is asked, how it samples; not where it runs, nor costs."""
        from hardneg.generation.local import model_files
        from hardneg.generation.prompts import load_prompt

        chosen = self._written_by()
        settings = plain(chosen, drop=[*WHERE_AND_COST, "review", "prompt"])
        if (files := model_files(chosen)) is not None:
            settings["model"] = {path.name: cached_digest(path, self._digests) for path in files}
        return {**settings, "prompt": load_prompt(chosen).digest}

    def review(self) -> str | None:
        """The digest of the reviewed texts, where a person looked."""
        review = self._written_by().review
        return None if review is None else self.digest(review, "generation.review")

    def _written_by(self) -> Generation:
        assert self._config.generation is not None, "source generated is refused without it"
        return self._config.generation

    def place(self, kind: str, label: str, backbones: Mapping[str, str]) -> dict[str, Any]:
        """Where the files lie, on this machine, that a stage reads from outside; empty where it reads none.

        Args:
            kind: of the stage.
            label: of the stage.
            backbones: the local backbones that it reads, by `backbone` and `passage_backbone`.
        """
        if kind == "collection":
            return {"collection": self._config.collection.model_dump(mode="json")}
        if kind == "given_run":
            return {"runs": plain(self._config.systems[label])["runs"]}
        if kind == "generated":
            return {"generation": self._written_by().model_dump(mode="json", exclude={"queries", "review"})}
        if kind == "outside" and (review := self._written_by().review) is not None:
            return {"review": str(review)}
        if kind == "given_vectors":
            return {"vectors": plain(self._config.systems[label])["vectors"]}
        return dict(backbones)


def _without_places(value: Any) -> Any:
    """Settings without paths, which say where a file lies on this machine; digests say what is in it."""
    if isinstance(value, Mapping):
        return {key: _without_places(inner) for key, inner in value.items() if key != "path"}
    return value
