"""The shape of the house: nothing knows an answer by its class or name, and nothing is too long to read."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from statistics import median

from hardneg.methods.axes import AXES, answers

ROOT = Path(__file__).resolve().parents[2]
METHODS = ROOT / "hardneg" / "methods"
FOLDERS = {axis.folder for axis in AXES.values()}
NAMES = {name for key in AXES for name in answers(key)}
CLASSES = {answer.__name__ for key in AXES for answer in answers(key).values()}
PACKAGES = ("hardneg", "workflow_scripts", "snakemake_logger_plugin_hardneg")
CODE = [path for folder in PACKAGES for path in sorted((ROOT / folder).rglob("*.py"))]
OUTSIDE = [path for path in CODE if not path.is_relative_to(METHODS)]
ALL = [*CODE, *(path for folder in ("tests", "benchmarks", "envs") for path in sorted((ROOT / folder).rglob("*.py")))]
LONGEST_FILE, LONGEST_FUNCTION, MEDIAN_RULE = 500, 60, 22

Function = ast.FunctionDef | ast.AsyncFunctionDef


def place(path: Path, node: ast.AST | None = None) -> str:
    line = f":{node.lineno}" if node is not None and hasattr(node, "lineno") else ""
    return f"{path.relative_to(ROOT)}{line}"


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


# --- answers ---


def imported(node: ast.AST) -> list[str]:
    """The modules that a statement imports, each with what is taken from it too."""
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=str() as module, names=names):
            return [module, *(f"{module}.{alias.name}" for alias in names)]
    return []


def test_nothing_outside_the_grammar_imports_an_answer() -> None:
    prefixes = tuple(f"hardneg.methods.{folder}" for folder in FOLDERS)
    found = [
        place(path, node)
        for path in OUTSIDE
        for node in ast.walk(parsed(path))
        if any(module == prefix or module.startswith(f"{prefix}.") for module in imported(node) for prefix in prefixes)
    ]
    assert found == []


def texts(node: ast.AST) -> set[str]:
    """The string literals in an expression or a pattern."""
    return {part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)}


def is_a_name(node: ast.AST) -> bool:
    """Whether an expression is the name of something: `x.name`, `x["name"]` or `x.get("name")`."""
    match node:
        case ast.Attribute(attr="name"):
            return True
        case ast.Subscript(slice=ast.Constant(value="name")):
            return True
        case ast.Call(func=ast.Attribute(attr="get"), args=[ast.Constant(value="name"), *_]):
            return True
    return False


def compared(tree: ast.Module) -> Iterator[tuple[ast.AST, set[str]]]:
    """Where a name is compared with literals, and which."""
    for node in ast.walk(tree):
        match node:
            case ast.Compare(left=left, comparators=others):
                sides = [left, *others]
                if any(is_a_name(side) for side in sides):
                    yield node, set(chain.from_iterable(texts(side) for side in sides if not is_a_name(side)))
            case ast.Match(subject=subject, cases=cases) if is_a_name(subject):
                yield node, set(chain.from_iterable(texts(case.pattern) for case in cases))


def test_the_scan_for_names_finds_them() -> None:
    for text in (
        'answer.name == "ranknet"',
        '"ranknet" != chosen["name"]',
        'chosen.get("name") in ("ranknet", "softmax")',
        'match answer.name:\n    case "ranknet" | "softmax":\n        pass',
    ):
        assert any(NAMES & literals for _, literals in compared(ast.parse(text))), text
    assert list(compared(ast.parse('key == "ranknet"'))) == []


def test_nothing_outside_the_grammar_compares_an_answers_name() -> None:
    found = [
        f"{place(path, node)} {literals & NAMES}"
        for path in OUTSIDE
        for node, literals in compared(parsed(path))
        if literals & NAMES
    ]
    assert found == []


def test_nothing_asks_whether_an_answer_is_of_a_class() -> None:
    found = [
        place(path, node)
        for path in OUTSIDE
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("isinstance", "issubclass")
        and CLASSES
        & {
            part.id if isinstance(part, ast.Name) else part.attr
            for part in ast.walk(node.args[1])
            if isinstance(part, ast.Name | ast.Attribute)
        }
    ]
    assert found == []


# --- lengths ---


def test_no_file_is_too_long() -> None:
    lengths = {place(path): len(path.read_text(encoding="utf-8").splitlines()) for path in ALL}
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}


def test_no_function_is_too_long_unless_it_says_why() -> None:
    """A longer one has the word "long" in its docstring, with the reason."""
    found = {
        f"{place(path, node)} {node.name}": length
        for path in ALL
        for node in ast.walk(parsed(path))
        if isinstance(node, Function)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > LONGEST_FUNCTION
        and not re.search(r"\blong\b", ast.get_docstring(node) or "")
    }
    assert found == {}


def rules() -> dict[str, int]:
    """Lines of each rule, from its `rule` to its last line."""
    found: dict[str, int] = {}
    for path in [ROOT / "Snakefile", *sorted((ROOT / "rules").glob("*.smk"))]:
        blocks = re.findall(r"^rule (\w+):\n((?:[ \t].*\n|\n)*)", path.read_text(encoding="utf-8"), re.MULTILINE)
        found |= {name: 1 + len(body.rstrip().splitlines()) for name, body in blocks}
    return found


def test_rules_are_short() -> None:
    executing = {name: lines for name, lines in rules().items() if lines > 4}
    assert len(executing) >= 25
    assert median(executing.values()) <= MEDIAN_RULE, sorted(executing.items(), key=lambda item: item[1])
