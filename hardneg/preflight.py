"""What can be checked of the machine, and of files too large to be read whole, before hours are spent."""

from __future__ import annotations

import json
from pathlib import Path

from hardneg.devices import check_cuda, check_visible
from hardneg.errors import HardnegError
from hardneg.java import find_java
from hardneg.plan import Plan, local_backbone


def check_machine(plan: Plan) -> None:
    """Check visible devices, and what stages that are still to be made need: Java, a backbone, an index that exists.

    Raises:
        HardnegError: CUDA_VISIBLE_DEVICES names an absent device; there is no Java 21; the files of a local backbone
            are damaged; FAISS cannot make the index.
    """
    check_visible()
    if _to_do(plan, "bm25_index", "bm25_run"):
        find_java()
    folder = local_backbone(plan.config.encoder)
    if folder is not None and _to_do(plan, "tokenizer", "train"):
        _check_backbone(folder)
    factory = plan.config.index.factory
    if factory != "Flat" and _to_do(plan, "index") and (dim := _dim(plan, folder)) is not None:
        from hardneg.search.factory import check_factory

        check_factory(factory, dim)


def check_devices(plan: Plan, everything: bool = True) -> None:
    """Check that the device that is asked for is here; not for a machine that only hands jobs to others.

    Args:
        plan: what is to be made.
        everything: whether all of it, and not some targets only, which may need no GPU.

    Raises:
        HardnegError: `runtime.device` is cuda, or training is in fp16, a stage that needs it is still to be made, and
            there is no CUDA device.
    """
    if plan.config.runtime.device == "cuda" and _to_do(plan, "train", "adore", "passages", "queries", "run"):
        check_cuda()
    waiting = [stage for stage in plan.of("train", "adore") if not stage.manifest.exists()]
    if everything and any(stage.settings["precision"] == "fp16" for stage in waiting):
        try:
            check_cuda()
        except HardnegError:
            raise HardnegError(
                "fp16 training needs a GPU, and there is none here.",
                where="arithmetic.precision",
                found="fp16",
                expected="auto, fp32 or bf16 on a CPU",
                remedy="set one of these (--config 'arithmetic={precision: auto}'), or run on a GPU.",
            ) from None


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


def _dim(plan: Plan, folder: Path | None) -> int | None:
    """The width of the vectors, or None where only the loaded backbone knows it."""
    encoder = plan.config.encoder
    if encoder.projection is not None:
        return encoder.projection
    if folder is not None:
        width = _model_config(folder).get("hidden_size")
        return width if isinstance(width, int) else None
    return encoder.tiny.hidden if encoder.backbone == "builtin:tiny" else None


def _model_config(folder: Path) -> dict[str, object]:
    path = folder / "config.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as fault:
        raise HardnegError(
            "The encoder's configuration is not valid JSON.",
            where=str(path),
            found=str(fault),
            remedy="get or save the model again.",
        ) from None
    return content if isinstance(content, dict) else {}
