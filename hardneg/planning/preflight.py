"""What can be checked of the machine, and of files too large to be read whole, before hours are spent."""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

from hardneg.config import Index
from hardneg.errors import HardnegError
from hardneg.planning.backbone import local_backbone, read_json
from hardneg.planning.plan import Plan
from hardneg.planning.sides import KEY, of_passages
from hardneg.planning.systems import TRAINED
from hardneg.retrieval.java import find_java
from hardneg.stages.artifacts import Artifact
from hardneg.stages.devices import check_cuda, check_visible
from hardneg.stages.kinds import KINDS
from hardneg.stages.optional import require_lightgbm
from hardneg.stages.stage import Stage


def check_machine(plan: Plan) -> None:
    """Check visible devices, and what stages that are still to be made need: Java, a backbone, an index that exists.

    Raises:
        HardnegError: CUDA_VISIBLE_DEVICES names an absent device; there is no Java 21, or no lightgbm; the files of a
            local backbone are damaged; FAISS cannot make an index, or not train it on so few vectors, or search it like
            that.
    """
    check_visible()
    if _to_do(plan, "bm25_index", "bm25_run"):
        find_java()
    if _to_do(plan, "letor", "letor_run"):
        require_lightgbm()
    folder, passages = local_backbone(plan.config.encoder.backbone), of_passages(plan.config.encoder)
    own = local_backbone(passages.backbone, KEY) if passages is not None else None
    for place in filter(None, (folder, own)):
        if _to_do(plan, "tokenizer", *TRAINED):
            _check_backbone(place)
    _check_indexes(plan, folder)


def least_passages(plan: Plan) -> dict[str, Any] | None:
    """How many passages the indexes need to be trained on, for when the collection is read; None: any number will do.

    Returns:
        rows, and the key (`where`) and the `factory` of the index that needs most.
    """
    found: list[dict[str, Any]] = []
    folder = local_backbone(plan.config.encoder.backbone)
    for where, index, stage in _indexes(plan):
        if _is_built(index, stage) and (dim := _dim(plan, stage, folder)) is not None:
            from hardneg.retrieval.search.factory import least_training

            found.append({"rows": least_training(index.factory, dim), "where": where, "factory": index.factory})
    return max(found, key=itemgetter("rows"), default=None)


def check_devices(plan: Plan, everything: bool = True) -> None:
    """Check that the device that is asked for is here; not for a machine that only hands jobs to others.

    Args:
        plan: what is to be made.
        everything: whether all of it, and not some targets only, which may need no GPU.

    Raises:
        HardnegError: `runtime.device` is cuda, or training is in fp16, a stage that needs it is still to be made, and
            there is no CUDA device.
    """
    if plan.config.runtime.device == "cuda" and _to_do(plan, *(name for name, kind in KINDS.items() if kind.gpu)):
        check_cuda()
    waiting = [stage for stage in plan.of(*TRAINED) if not stage.manifest.exists()]
    fp16 = list(dict.fromkeys(stage.label for stage in waiting if stage.settings.get("precision") == "fp16"))
    if everything and fp16:
        try:
            check_cuda()
        except HardnegError:
            raise HardnegError(
                "fp16 training needs a GPU, and there is none here.",
                where="arithmetic.precision, or train.precision of a system",
                found=f"fp16 for {', '.join(fp16)}",
                expected="auto, fp32 or bf16 on a CPU",
                remedy="set one of these (--config 'arithmetic={precision: auto}'), or run on a GPU.",
            ) from None


def _check_indexes(plan: Plan, folder: Path | None) -> None:
    """Check indexes that are still to be built, and parameters that are still to be searched with.

    FAISS is imported for these only: every start of the workflow comes here.
    """
    made = [stage for stage in plan.of("collection") if stage.manifest.exists()]
    passages = {stage.dataset: Artifact.open(stage.manifest, digests=False).facts["passages"] for stage in made}
    for where, index, stage in _indexes(plan):
        used = [user for user in plan.stages if user.parents.get("index") is stage and not user.manifest.exists()]
        built, searched = _is_built(index, stage), bool(used) and (index.nprobe, index.ef_search) != (None, None)
        if not (built or searched) or (dim := _dim(plan, stage, folder)) is None:
            continue
        from hardneg.retrieval.search import factory

        factory.check_factory(index.factory, dim, f"{where}.factory")
        factory.check_search(index.factory, dim, index.nprobe, index.ef_search, where)
        if built:
            factory.check_sample(index.factory, dim, passages.get(stage.dataset), index.train_rows, where)
            if any(user.kind == "query_encoder" for user in used):
                factory.check_reconstruct(index.factory, dim, f"{where}.factory")
            if any("centroids" in user.settings.get("train", {}) for user in used):
                factory.check_centroids(index.factory, dim, f"{where}.factory")


def _indexes(plan: Plan) -> Iterator[tuple[str, Index, Stage]]:
    """Each index by its key, with each stage that builds it."""
    for where, index in plan.config.indexes().items():
        settings = (index.factory, index.train_rows, index.rows_per_file)
        for stage in plan.of("index"):
            if settings == tuple(stage.settings[name] for name in ("factory", "train_rows", "rows_per_file")):
                yield where, index, stage


def _is_built(index: Index, stage: Stage) -> bool:
    """Whether FAISS is still to build it, of more than the vectors themselves."""
    return index.factory != "Flat" and not stage.manifest.exists()


def _to_do(plan: Plan, *kinds: str) -> bool:
    return any(not stage.manifest.exists() for stage in plan.of(*kinds))


def _check_backbone(folder: Path) -> None:
    """Read the backbone's configuration, and the headers of its weights, which say how long the files must be."""
    from safetensors import SafetensorError, safe_open

    _model_config(folder)
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "np"):
                pass
        except (SafetensorError, OSError) as fault:
            raise HardnegError(
                "The encoder's weights cannot be read.",
                where=str(path),
                found=str(fault),
                expected="a whole safetensors file",
                remedy="get or save the model again: the file is damaged or cut short.",
            ) from None


def _dim(plan: Plan, index: Stage, folder: Path | None) -> int | None:
    """The width of the vectors of an index, or None where only the loaded backbone knows it."""
    encoder, passages = plan.config.encoder, index.parents["passages"]
    if passages.kind == "given_vectors":
        from hardneg.retrieval.search.vectors import VectorStore

        given = plan.config.systems[passages.label].vectors
        assert given is not None
        return VectorStore(given.passages, remedy="correct or replace the file.").dim
    if encoder.projection is not None:
        return encoder.projection
    if plan.said.width is not None:
        return plan.said.width
    if folder is not None:
        width = _model_config(folder).get("hidden_size")
        return width if isinstance(width, int) else None
    return encoder.tiny.hidden if encoder.backbone == "builtin:tiny" else None


def _model_config(folder: Path) -> dict[str, object]:
    content = read_json(folder, "config.json")
    return content if isinstance(content, dict) else {}
