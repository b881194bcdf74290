"""Options that several commands share, and the configurations and plans that they name."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hardneg.config import Config, load, merge, read_yaml
from hardneg.errors import HardnegError
from hardneg.planning.plan import Plan

DEFAULT = Path("config.yaml")
KEY = re.compile(r"[a-zA-Z_][\w-]*\w")  # what Snakemake takes


def positive(text: str) -> int:
    """The type of an argument that is a whole number of at least 1."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def add_configurations(command: argparse.ArgumentParser, study: bool, several: bool = True) -> None:
    """Add `--configfile` and `--config`, as Snakemake takes them.

    Args:
        command: the command's parser.
        study: the configuration may also be the first argument, without `--configfile`.
        several: the options take several values; False if another positional argument may follow them.
    """
    if study:
        command.add_argument("study", nargs="?", type=Path, help="the configuration; the same as --configfile")
    command.add_argument(
        "--configfile",
        "--configfiles",
        nargs="+" if several else 1,
        action="extend",
        metavar="FILE",
        type=Path,
        help=f"configuration files (default: {DEFAULT})",
    )
    command.add_argument(
        "--config",
        "-C",
        nargs="*" if several else 1,
        action="extend",
        metavar="KEY=VALUE",
        help="settings that override the file's: seed=7 'systems={star: {train: {lr: 1e-5}}}'",
    )


def files(given: argparse.Namespace) -> list[Path]:
    """The configuration files that were named, or the default one.

    Raises:
        HardnegError: none was named, and the default one is not here.
    """
    study: Path | None = getattr(given, "study", None)
    named = [*([study] if study is not None else []), *(given.configfile or [])]
    return named or [default_file()]


def default_file() -> Path:
    """`config.yaml` of this folder.

    Raises:
        HardnegError: it is not here.
    """
    if not DEFAULT.exists():
        raise HardnegError(
            "This folder has no configuration.",
            where=str(Path.cwd()),
            found=f"no {DEFAULT}",
            remedy="change to the folder of a project, or name a configuration file.",
        )
    return DEFAULT


def settings(entries: Sequence[str] | None) -> dict[str, Any]:
    """The settings of `--config`, read as Snakemake reads them: later entries on top, nested values as text.

    Raises:
        HardnegError: an entry is not KEY=VALUE.
    """
    read: dict[str, Any] = {}
    for entry in entries or ():
        key, sign, value = entry.partition("=")
        if not sign or not KEY.fullmatch(key):
            raise HardnegError(
                "--config takes settings as KEY=VALUE.",
                where="--config",
                found=entry,
                expected="such as seed=7 or 'systems={star: {train: {lr: 1e-5}}}'",
                remedy=_corrected(entry),
            )
        read = _updated(read, {key: _value(value.strip("'\""))})
    return read


def refuse_dropped(arguments: Sequence[str]) -> None:
    """Refuse what Snakemake would drop: the settings of every `--config` but the last.

    Args:
        arguments: Snakemake's command line.

    Raises:
        HardnegError: there are several.
    """
    flags = [argument for argument in arguments if argument.partition("=")[0] in ("--config", "-C")]
    if len(flags) > 1:
        raise HardnegError(
            "Snakemake would take only the last --config.",
            where="--config",
            found=f"{len(flags)} of them",
            expected="one, with all settings: --config seed=7 'encoder={pooling: mean}'",
            remedy="write them into one, or use `hardneg run`, which does it.",
        )


def config(given: argparse.Namespace) -> Config:
    """The checked configuration: as for Snakemake, later files lie on earlier ones, and `--config` on top.

    Raises:
        HardnegError: a file is missing or a setting is not allowed.
    """
    over = settings(given.config)
    raw: dict[str, Any] = {}
    for path in files(given):
        raw = merge(raw, read_yaml(path))
    return load(merge(raw, over))


def configs(given: argparse.Namespace) -> Iterator[Config]:
    """The checked configuration of each file by itself, with `--config` on top; errors as for `config`."""
    over = settings(given.config)
    for path in files(given):
        yield load(merge(read_yaml(path), over))


def plans(given: argparse.Namespace) -> Iterator[Plan]:
    """The plan of each configuration; errors as for `configs`, and those of `Plan`."""
    return map(Plan, configs(given))


def _corrected(entry: str) -> str:
    """How an entry that is not KEY=VALUE was probably meant."""
    mapping = entry.strip()[1:-1] if entry.strip()[:1] == "{" else entry
    key, sign, value = (part.strip() for part in mapping.partition(":"))
    if sign and KEY.fullmatch(key):
        return f"write {key}={value}." if not re.search(r"[\s{\[]", value) else f"write '{key}={value}'."
    outer, dot, inner = entry.partition("=")[0].partition(".")
    if dot and KEY.fullmatch(outer):
        return f"nest with braces: '{outer}={{{inner.replace('.', ': {')}: ...{'}' * (inner.count('.') + 1)}'."
    value_or_target = f"give a value: {entry}=...; a target stands before the options."
    return value_or_target if KEY.fullmatch(entry) else "write the key, =, and the value."


def _value(text: str) -> Any:
    import yaml

    if text == "":
        return None
    readers: tuple[Callable[[str], Any], ...] = (int, float, lambda given: {"True": True, "False": False}[given])
    for reader in readers:
        try:
            return reader(text)
        except (ValueError, KeyError):
            continue
    try:
        return yaml.load(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError:
        return text


def _updated(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` on `base`, mapping by mapping."""
    both = {
        key: _updated(base[key], value)
        for key, value in over.items()
        if isinstance(base.get(key), dict) and isinstance(value, dict)
    }
    return {**base, **over, **both}
