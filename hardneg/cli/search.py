"""`hardneg search`: passages for a question, from a finished system."""

from __future__ import annotations

import argparse
import gc
import json
import shutil
import sys
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hardneg.cli.options import config, positive
from hardneg.planning.plan import Plan

if TYPE_CHECKING:
    from hardneg.cli.ask import Answer


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    command.add_argument("question", type=_question, help="the question; - reads questions from stdin, one a line")
    command.add_argument("--system", required=True, help="which system of the configuration answers")
    command.add_argument("--k", type=positive, default=10, help="number of answers (default: 10)")
    command.add_argument("--json", action="store_true", help="print one line of JSON an answer, with its full text")


def run(given: argparse.Namespace) -> None:
    """Print the answers to one question, or to each line of the standard input."""
    gc.disable()  # imports leave no garbage, and collecting would take a fifth of the start-up time
    try:
        from hardneg.cli.ask import Answerer

        answerer = Answerer(Plan(config(given)), given.system)
    finally:
        gc.freeze()
        gc.enable()
    several = given.question == "-"
    for question in filter(None, map(str.strip, sys.stdin or ())) if several else [given.question]:
        answers = answerer.answer(question, given.k)
        if given.json:
            lines = [json.dumps({"question": question, **answer._asdict()}, ensure_ascii=False) for answer in answers]
        else:
            lines = [question] if several else []
            lines += [line for answer in answers for line in shown(answer)] or ["Nothing was found."]
        for line in lines:
            print(line, flush=True)


def shown(answer: Answer) -> Iterator[str]:
    """An answer for people: rank, score, id and title, then up to three lines of text."""
    yield f"{answer.rank:>3}  {answer.score:.4f}  {answer.id}  {answer.title}".rstrip()
    indent, width = " " * 5, max(shutil.get_terminal_size().columns, 20)
    yield from textwrap.wrap(
        answer.text, width, max_lines=3, placeholder=" ...", initial_indent=indent, subsequent_indent=indent
    )


def _question(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("the question is empty")
    return text
