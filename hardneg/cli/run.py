"""`hardneg run`: Snakemake on a study, its arguments in an order that Snakemake reads as they are meant."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from hardneg.cli.options import default_file, settings
from hardneg.cli.workflow import SNAKEFILE, workflow_folder
from hardneg.errors import HardnegError

ELSEWHERE = ("--profile", "--executor", "-e", "--jobs", "-j")
"""Options that say how many jobs run at once, or where."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare the arguments, for the help."""
    command.add_argument("study", nargs="?", metavar="STUDY", help="the configuration file (default: config.yaml)")
    command.add_argument("target", nargs="*", metavar="TARGET", help="how far to run, such as star (default: all)")
    command.epilog = (
        "All else is given to Snakemake: -n lists the jobs, --config KEY=VALUE changes settings, "
        "--cores 2 limits the processor cores (default: all), --forcerun RULE makes again."
    )


def replace_process(arguments: Sequence[str]) -> None:
    """Become Snakemake: its exit status and what Ctrl-C does are its own.

    Raises:
        HardnegError: as for `command`.
    """
    line = command(arguments)
    # The rules call `python`, which must be this environment's, also where that is not activated.
    here = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    os.execve(line[0], line, {**os.environ, "PATH": here})


def command(arguments: Sequence[str]) -> list[str]:
    """The command line of Snakemake.

    Targets come first, since `--configfile`, `--config` and others take all that follows up to the next option. What
    several `--config` say is put into one, since Snakemake would keep only the last.

    Args:
        arguments: a study, targets, then options of Snakemake.

    Raises:
        HardnegError: the study or the Snakefile is missing, or `--config` has something other than KEY=VALUE.
    """
    named = list(takewhile(lambda argument: not argument.startswith("-"), arguments))
    study, targets = _study(named), named[1:]
    parser = argparse.ArgumentParser(prog="hardneg run", add_help=False, allow_abbrev=False)
    parser.add_argument("--configfile", "--configfiles", nargs="+", action="extend", default=[])
    parser.add_argument("--config", "-C", nargs="*", action="extend", default=[])
    parser.add_argument("--cores", "-c", nargs="?", const="all")
    parser.add_argument("--snakefile", "-s")
    given, rest = parser.parse_known_args(arguments[len(named) :])
    settings(given.config)
    line = [sys.executable, "-m", "workflow_scripts.start", *targets, *rest]
    line += ["--snakefile", given.snakefile or _snakefile()]
    if given.cores is not None or not any(option.startswith(ELSEWHERE) for option in rest):
        line += ["--cores", given.cores or "all"]
    line += ["--configfile", study, *given.configfile]
    return [*line, "--config", *given.config] if given.config else line


def _study(named: Sequence[str]) -> str:
    if not named:
        return str(default_file())
    if not Path(named[0]).is_file():
        raise HardnegError(
            "The study is not a file.",
            where="hardneg run STUDY",
            found=named[0],
            expected="a configuration file, and targets after it",
            remedy=f"correct the path, or, if {named[0]} is a target: `hardneg run config.yaml {named[0]}`.",
        )
    return named[0]


def _snakefile() -> str:
    """The workflow of this folder, or the one that belongs to `hardneg`; errors as for `workflow_folder`."""
    return SNAKEFILE if Path(SNAKEFILE).is_file() else str(workflow_folder() / SNAKEFILE)
