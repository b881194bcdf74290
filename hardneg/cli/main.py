"""The `hardneg` command and its subcommands."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from hardneg.cli import compare, doctor, expected, init, methods, plan, prune, push, run, search, verify, watch
from hardneg.cli.options import add_configurations, config, positive
from hardneg.cli.version import ShowVersion
from hardneg.errors import HardnegError

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command. A fault that the user can correct ends it with one message and status 1."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if sys.stdout is None:  # closed by the shell: nobody reads
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    try:
        _run(given)
        sys.stdout.flush()
    except HardnegError as fault:
        sys.exit(f"error: {fault}")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader of a pipe, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(arguments: list[str]) -> None:
    parser = _parser()
    if arguments[:1] == ["run"] and not {"-h", "--help"} & {*arguments}:
        run.replace_process(arguments[1:])
        return
    given = parser.parse_args(arguments)
    given.run(given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hardneg", description="Run the workflow; inspect, estimate and clean up its stages."
    )
    parser.add_argument("--version", action=ShowVersion, help="show the version, and the commit of a checkout")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    beginning = commands.add_parser("init", help="write a project: a configuration to run, and profiles")
    init.add_arguments(beginning)
    running = commands.add_parser("run", help="run the workflow on a configuration, by Snakemake")
    run.add_arguments(running)
    watching = commands.add_parser("watch", help="progress of running stages, until interrupted")
    watch.add_arguments(watching)
    planning = commands.add_parser(
        "plan", help="every stage of a configuration: version, done or to do, and why it would run"
    )
    plan.add_arguments(planning)
    pruning = commands.add_parser("prune", help="list and remove stages that none of the given configurations uses")
    prune.add_arguments(pruning)
    verifying = commands.add_parser("verify", help="check every finished stage against what was sealed, byte by byte")
    examining = commands.add_parser(
        "doctor", help="what of this machine and installation would not work, and what to do"
    )
    estimating = commands.add_parser(
        "estimate", help="predict time, memory and disk of each stage from short measurements, and what will not fit"
    )
    _add_estimate_arguments(estimating)
    expecting = commands.add_parser(
        "expect", help="compare measured scores with expected ones; status 1 if one is too low or missing"
    )
    expected.add_arguments(expecting)
    comparing = commands.add_parser("compare", help="several finished studies side by side, with the mean over them")
    compare.add_arguments(comparing)
    pushing = commands.add_parser("push", help="upload an exported encoder to the Hugging Face hub")
    push.add_arguments(pushing)
    searching = commands.add_parser("search", help="retrieve passages for a question with a finished system")
    search.add_arguments(searching)
    describing = commands.add_parser("methods", help="the questions, their answers, the presets and the recipes")
    methods.add_arguments(describing)
    for command in (planning, pruning, estimating, expecting, comparing, searching):
        add_configurations(command, study=command in (planning, estimating), several=command is not searching)
    for command, action in (
        (beginning, init.run),
        (watching, watch.run),
        (planning, plan.run),
        (pruning, prune.run),
        (verifying, verify.run),
        (examining, doctor.run),
        (estimating, _estimate),
        (expecting, expected.run),
        (comparing, compare.run),
        (pushing, push.run),
        (searching, search.run),
        (describing, methods.run),
    ):
        command.set_defaults(run=action)
    return parser


def _add_estimate_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--gpus", type=positive, help="number of GPUs like the one here to predict for (default: 1)")
    command.add_argument("--passages", type=positive, help="number of passages (default: counted)")
    command.add_argument("--queries-train", type=positive, help="number of training queries (default: counted)")
    command.add_argument("--queries-eval", type=positive, help="number of queries of all evaluation splits together")
    command.add_argument("--passage-characters", type=positive, help="mean characters of a passage")
    command.add_argument("--query-characters", type=positive, help="mean characters of a query")
    command.add_argument("--quick", action="store_true", help="measure for a shorter time, less exactly")
    command.add_argument("--json", action="store_true", help="print the estimate as JSON, in seconds and bytes")


def _estimate(given: argparse.Namespace) -> None:
    from hardneg.estimate import text
    from hardneg.estimate.counts import Given, count, count_elsewhere, plan_of
    from hardneg.estimate.estimate import on_this_machine
    from hardneg.stages.devices import lease

    said = Given(
        given.passages, given.queries_train, given.queries_eval, given.passage_characters, given.query_characters
    )
    plan = plan_of(config(given), said)
    counts = count(plan, said)
    with lease(1, "cpu" if plan.config.runtime.device == "cpu" else "auto") as granted:
        print("measuring this machine", file=sys.stderr, flush=True)
        estimate = on_this_machine(
            plan,
            counts,
            granted.devices[0],
            given.gpus or 1,
            quick=given.quick,
            all_to_do=said.any,
            elsewhere=count_elsewhere(plan),
        )
    print(json.dumps(text.as_json(estimate), indent=2) if given.json else text.table(estimate, given.gpus))


if __name__ == "__main__":
    main()
