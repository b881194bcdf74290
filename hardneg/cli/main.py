"""The `hardneg` command: watch, plan, prune, estimate, expect, search, methods."""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardneg import axes
from hardneg.cli import watch
from hardneg.config import Config, load, merge, presets, read_yaml
from hardneg.errors import HardnegError
from hardneg.planning.graph import ARTIFACTS, RESULTS, Plan, Stage
from hardneg.stages.artifacts import MANIFEST

if TYPE_CHECKING:
    from hardneg.cli.ask import Answer


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; faults the user can mend end it with one message and status 1."""
    parser = argparse.ArgumentParser(prog="hardneg", description="Look at, and tidy, the workflow's stages.")
    commands = parser.add_subparsers(dest="command", required=True)
    watching = commands.add_parser("watch", help="progress of running stages, until interrupted")
    watching.add_argument("--once", action="store_true", help="print once and exit")
    planning = commands.add_parser(
        "plan", help="every stage of a configuration: version, done or not, why it would run"
    )
    planning.add_argument("--json", action="store_true", help="the stages' records, as the scripts take them")
    planning.add_argument("--runtime", action="store_true", help="the runtime settings, as the scripts take them")
    pruning = commands.add_parser("prune", help="list and remove stages that none of the given configurations names")
    pruning.add_argument("--yes", action="store_true", help="remove without asking")
    estimating = commands.add_parser(
        "estimate", help="predict each stage's time, memory and disk from short measurements, and what will not fit"
    )
    estimating.add_argument("study", nargs="?", type=Path, help="the configuration; the same as --configfile")
    estimating.add_argument("--gpus", type=_positive, help="predict for so many GPUs like the one here (default: 1)")
    estimating.add_argument("--passages", type=_positive, help="passages (default: counted)")
    estimating.add_argument("--queries-train", type=_positive, help="training queries (default: counted)")
    estimating.add_argument("--queries-eval", type=_positive, help="queries of all evaluation splits together")
    estimating.add_argument("--passage-characters", type=_positive, help="mean characters of a passage")
    estimating.add_argument("--query-characters", type=_positive, help="mean characters of a query")
    estimating.add_argument("--quick", action="store_true", help="measure for a shorter time, less exactly")
    estimating.add_argument("--json", action="store_true", help="the estimate in seconds and bytes")
    expecting = commands.add_parser(
        "expect", help="hold measured scores against expected ones; status 1 if one is short or missing"
    )
    expecting.add_argument(
        "expected", nargs="?", type=Path, help="a YAML file (default: study.expected.yaml beside study.yaml)"
    )
    searching = commands.add_parser("search", help="answer a question with passages, by a system that is finished")
    searching.add_argument("question", type=_question, help="the question; - reads questions, one a line")
    searching.add_argument("--system", required=True, help="which of the configuration's systems answers")
    searching.add_argument("--k", type=_positive, default=10, help="answers wanted (default: 10)")
    searching.add_argument("--json", action="store_true", help="one line of JSON an answer, with its whole text")
    for command in (planning, pruning, estimating, expecting, searching):
        command.add_argument(
            "--configfile",
            nargs=1 if command is searching else "+",  # a question may follow it
            type=Path,
            default=[Path("config.yaml")],
            help="configurations (default: config.yaml)",
        )
        command.add_argument(
            "--config", default="{}", help="settings on top, as YAML: 'systems={star: {train: {lr: 1e-5}}}'"
        )
    commands.add_parser("methods", help="the six questions, their answers, and the presets")
    given = parser.parse_args(arguments)
    if getattr(given, "study", None):
        given.configfile = [given.study]
    run = {
        "watch": _watch,
        "plan": _plan,
        "prune": _prune,
        "estimate": _estimate,
        "expect": _expect,
        "search": _search,
        "methods": _methods,
    }[given.command]
    try:
        run(given)
    except HardnegError as fault:
        sys.exit(f"error: {fault}")
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of a pipe, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 1 or more")
    return int(text)


def _question(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("the question is empty")
    return text


def _configs(given: argparse.Namespace) -> Iterator[Config]:
    import yaml

    key, _, value = given.config.partition("=")
    over = {key: yaml.safe_load(value)} if value else {}
    for path in given.configfile:
        yield load(merge(read_yaml(path), over))


def _plans(given: argparse.Namespace) -> Iterator[Plan]:
    return map(Plan, _configs(given))


def _watch(given: argparse.Namespace) -> None:
    while True:
        lines = [watch.shown(line) for line in watch.running(ARTIFACTS)] or ["nothing is running"]
        if sys.stdout.isatty() and not given.once:
            print("\033[H\033[2J", end="")
        print("\n".join(lines), flush=True)
        if given.once:
            return
        time.sleep(2)


def _plan(given: argparse.Namespace) -> None:
    for plan in _plans(given):
        if given.json:
            print(json.dumps([stage.record for stage in plan.stages], indent=2))
            continue
        if given.runtime:
            print(json.dumps(plan.runtime))
            continue
        waiting = 0
        print(f"{'stage':<12}{'label':<22}{'version':<15}state")
        for stage in plan.stages:
            state = "done" if stage.manifest.exists() else f"to do: {_reason(stage)}"
            waiting += state != "done"
            print(f"{stage.kind:<12}{stage.label:<22}{stage.version:<15}{state}")
        print(f"{len(plan.stages)} stages, {waiting} to do")


def _reason(stage: Stage) -> str:
    """Why a stage would run: never made, or what differs from the newest version of it that was."""
    made = sorted(stage.folder.parent.glob(f"{stage.label}-*/{MANIFEST}"), key=lambda path: path.stat().st_mtime)
    others = [json.loads(path.read_text(encoding="utf-8")) for path in made]
    others = [other for other in others if other["label"] == stage.label]
    if not others:
        return "never made"
    last = others[-1]
    changed = list(_differences(last["settings"], stage.settings, ""))
    changed += [f"parent {role}" for role, p in stage.parents.items() if last["parents"].get(role) != p.version]
    if last["revision"] != stage.revision:
        changed.append("its code")
    return "changed: " + ", ".join(changed) if changed else "its manifest is gone"


def _differences(old: Any, new: Any, key: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted({*old, *new}):
            yield from _differences(old.get(name), new.get(name), f"{key}.{name}" if key else name)
    elif old != new:
        yield f"{key} ({old} -> {new})"


def _prune(given: argparse.Namespace) -> None:
    plans = list(_plans(given))
    named = {stage.folder for plan in plans for stage in plan.stages}
    datasets = {plan.dataset for plan in plans}
    folders = [f for dataset in sorted(datasets) for f in sorted((ARTIFACTS / dataset).glob("*/*-*")) if f.is_dir()]
    unnamed = [folder for folder in folders if folder not in named]
    if not unnamed:
        print("Nothing to remove: the configuration names every stage there is.")
        return
    total = 0
    for folder in unnamed:
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        total += size
        print(f"{size / 2**20:10.1f} MiB  {folder}")
    print(f"{total / 2**20:10.1f} MiB  in {len(unnamed)} stages")
    if not given.yes and input("Remove them? [y/N] ").strip().lower() not in ("y", "yes"):
        print("Nothing was removed.")
        return
    for folder in unnamed:
        shutil.rmtree(folder)
    print("Removed.")


def _estimate(given: argparse.Namespace) -> None:
    from hardneg.estimate import text
    from hardneg.estimate.counts import Given, count, plan_of
    from hardneg.estimate.estimate import on_this_machine
    from hardneg.stages.devices import lease

    said = Given(
        given.passages, given.queries_train, given.queries_eval, given.passage_characters, given.query_characters
    )
    for config in _configs(given):
        plan = plan_of(config, said)
        counts = count(plan, said)
        with lease(1, "cpu" if config.runtime.device == "cpu" else "auto") as granted:
            print("measuring this machine", file=sys.stderr, flush=True)
            made = on_this_machine(
                plan, counts, granted.devices[0], given.gpus or 1, quick=given.quick, all_to_do=said.any
            )
        print(json.dumps(text.as_json(made), indent=2) if given.json else text.table(made, given.gpus))


def _expect(given: argparse.Namespace) -> None:
    from hardneg.evaluation import expected as expect

    reached = True
    for path, config in zip(given.configfile, _configs(given), strict=True):
        entries = expect.read_expected(given.expected or expect.expected_file(path))
        scores = expect.read_measures(RESULTS / config.collection.name / "measures.csv")
        outcomes = expect.compare(entries, scores, config.systems)
        print(expect.table(outcomes))
        reached &= expect.reached(outcomes)
    if not reached:
        sys.exit(1)


def _search(given: argparse.Namespace) -> None:
    gc.disable()  # nothing of what is imported is garbage, and to look for some in it takes a fifth of the start
    try:
        from hardneg.cli.ask import Answerer

        (plan,) = _plans(given)
        answerer = Answerer(plan, given.system)
    finally:
        gc.freeze()
        gc.enable()
    several = given.question == "-"
    for question in filter(None, map(str.strip, sys.stdin)) if several else [given.question]:
        answers = answerer.answer(question, given.k)
        if given.json:
            lines = [json.dumps({"question": question, **answer._asdict()}, ensure_ascii=False) for answer in answers]
        else:
            lines = [question] if several else []
            lines += [line for answer in answers for line in _shown(answer)] or ["Nothing was found."]
        for line in lines:
            print(line, flush=True)


def _shown(answer: Answer) -> Iterator[str]:
    yield f"{answer.rank:>3}  {answer.score:.4f}  {answer.id}  {answer.title}".rstrip()
    indent, width = " " * 5, max(shutil.get_terminal_size().columns, 20)
    yield from textwrap.wrap(
        answer.text, width, max_lines=3, placeholder=" ...", initial_indent=indent, subsequent_indent=indent
    )


def _methods(given: argparse.Namespace) -> None:
    for axis, (question, answers) in axes.QUESTIONS.items():
        print(f"\n{axis}: {question}")
        for answer in answers:
            name = answer.model_fields["name"].default
            summary = (answer.__doc__ or "").split("\n\n")[0]
            print(
                textwrap.fill(
                    " ".join(summary.split()), 110, initial_indent=f"  {name:<16}", subsequent_indent=" " * 18
                )
            )
            for key, field in answer.model_fields.items():
                if key != "name":
                    default = "required" if field.is_required() else json.dumps(field.default)
                    text = f"{key} = {default}" + (f": {field.description}" if field.description else "")
                    print(textwrap.fill(text, 110, initial_indent=" " * 20, subsequent_indent=" " * 24))
    print("\npresets (`preset:` of a system)")
    for name, chosen in presets().items():
        filled = ", ".join(
            f"{key} {value['name'] if isinstance(value, dict) else value}" for key, value in chosen.items()
        )
        print(textwrap.fill(filled, 110, initial_indent=f"  {name:<16}", subsequent_indent=" " * 18))


if __name__ == "__main__":
    main()
