"""Options that several commands share, and the configurations and plans that they name."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from hardneg.config import Config, load, merge, read_yaml
from hardneg.planning.plan import Plan


def positive(text: str) -> int:
    """The type of an argument that is a whole number of at least 1."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def add_configurations(command: argparse.ArgumentParser, several: bool) -> None:
    """Add `--configfile` and `--config`.

    Args:
        command: the command's parser.
        several: `--configfile` takes several files; False if a positional argument may follow it.
    """
    command.add_argument(
        "--configfile",
        nargs="+" if several else 1,
        type=Path,
        default=[Path("config.yaml")],
        help="configuration files (default: config.yaml)" if several else "configuration file (default: config.yaml)",
    )
    command.add_argument(
        "--config",
        default="{}",
        help="settings that override the file's, as YAML: 'systems={star: {train: {lr: 1e-5}}}'",
    )


def configs(given: argparse.Namespace) -> Iterator[Config]:
    """The checked configuration of each file in `--configfile`, with the settings of `--config` on top.

    Raises:
        HardnegError: a file is missing or a setting is not allowed.
    """
    import yaml

    key, _, value = given.config.partition("=")
    over = {key: yaml.safe_load(value)} if value else {}
    for path in given.configfile:
        yield load(merge(read_yaml(path), over))


def plans(given: argparse.Namespace) -> Iterator[Plan]:
    """The plan of each configuration; errors as for `configs`, and those of `Plan`."""
    return map(Plan, configs(given))
