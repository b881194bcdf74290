"""The embedded collection, `pydocs`: docstrings of pinned packages and of the standard library.

A query is the first paragraph of a docstring. Its relevant passage is the qualified name and the rest of the docstring.
Sources are parsed, never imported. The rules:

* The sources are the folders of `DISTRIBUTIONS` and the Python modules of the standard library, without folders named
  `tests` or `test` and without `NOT_EVERYWHERE`. Modules, classes, methods and functions are used, but nothing defined
  inside a function. Files that this Python cannot parse are skipped and listed in the provenance.
* Underlines of headings are removed and white space is normalized. A docstring is used if it has at least 25 words, a
  first paragraph of 4 to 30 words, and something after it. The first paragraph must be a sentence, not a list of
  arguments, an example or a directive.
* Texts are equal if they differ only in case, white space, and punctuation at either end. Docstrings with equal first
  paragraphs give one query, and docstrings with equal rests give one passage. A passage is relevant to a query if and
  only if some docstring has both. Relevance is not transitive, because functions with the same arguments may do
  different things. A passage's title lists the best qualified name for each of its queries (public before private, then
  shorter, then alphabetical). Its id is the best name of all.
* A passage that contains the text of one of its queries is left out.
* The split is a fixed range of a hash. Queries that share a passage go to the same split, by the hash of the
  alphabetically first of them, so no passage is judged in two splits. Adding a package moves an existing query only if
  it links the query to such a group.
* A sample consists of whole groups of such queries with their passages, taken in the order of another hash until the
  next would exceed the number of passages. A smaller sample is part of a larger one.
"""

from __future__ import annotations

import ast
import hashlib
import multiprocessing
import platform
import re
import sys
import sysconfig
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from hardneg.data.collection import Judgement, Passage, Query
from hardneg.errors import HardnegError

DISTRIBUTIONS: Mapping[str, str] = {
    "datasets": "5.2.0",
    "huggingface_hub": "2.4.0",
    "matplotlib": "3.11.2",
    "networkx": "3.6.1",
    "numpy": "2.4.6",
    "pandas": "3.1.1",
    "scikit-learn": "1.9.1",
    "scipy": "1.17.1",
    "sympy": "1.14.0",
    "torch": "2.13.0",
    "transformers": "5.23.0",
}
IMPORT_NAMES: Mapping[str, str] = {"scikit-learn": "sklearn"}

# Parts of the standard library that some systems package separately or omit. Without them the collection is the same
# everywhere.
NOT_EVERYWHERE = frozenset(
    {"distutils", "ensurepip", "idlelib", "lib2to3", "test", "tkinter", "turtle", "turtledemo", "venv"}
)
TEST_FOLDERS = frozenset({"tests", "test"})

FEWEST_WORDS = 25
QUERY_WORDS = range(4, 31)
QUERIES_ABOUT = 24_000
"""The approximate number of queries. The hash has this many slots, and `test` and `dev` each take some of them."""
SPLITS = ("train", "dev", "test")

UNDERLINE = re.compile(r"^[^\w\n]{3,}$\n?", re.MULTILINE)
PARAGRAPH_END = re.compile(r"\n[ \t]*\n")
NO_SENTENCE = re.compile(
    r"(?:args|arguments|parameters|inputs?|returns|raises|examples?|attributes)\s*:?\s*\n"  # a section's heading
    r"|\w+ \((?:[^()]|\([^()]*\))*\):\s"  # the entry of an argument, its type in brackets
    r"|\.\. |>>> |```",
    re.IGNORECASE,
)

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Docstring:
    """A usable docstring: its qualified name, its first paragraph and the rest, with white space normalized."""

    name: str
    summary: str
    rest: str


@dataclass(frozen=True, slots=True)
class Sources:
    """The usable docstrings by file and line, the number of files, and the modules that could not be parsed."""

    docstrings: list[Docstring]
    files: int
    unparsed: list[str]


@dataclass(frozen=True, slots=True)
class Merged:
    """The passages, sorted by id, and for each split its queries, sorted by id, and its judgements."""

    passages: list[Passage]
    queries: dict[str, list[Query]]
    judgements: dict[str, list[Judgement]]


def fold(text: str) -> str:
    """The text with white space collapsed to single spaces."""
    return " ".join(text.split())


def normalise(text: str) -> str:
    """The normal form of a text, without case, extra white space, and punctuation at either end."""
    return fold(text).casefold().strip(" .:;,!")


def summary_and_rest(docstring: str) -> tuple[str, str] | None:
    """The first paragraph of a cleaned docstring and the rest, or None if they are not usable."""
    paragraphs = PARAGRAPH_END.split(UNDERLINE.sub("", docstring).strip(), maxsplit=1)
    if len(paragraphs) < 2 or NO_SENTENCE.match(paragraphs[0] + "\n"):
        return None
    summary, rest = map(fold, paragraphs)
    words = len(summary.split())
    if words not in QUERY_WORDS or words + len(rest.split()) < FEWEST_WORDS or not normalise(rest):
        return None
    return summary, rest


def definitions(tree: ast.AST, name: str) -> Iterator[tuple[str, Documented]]:
    """Yield the qualified names and nodes of a module or class and its members. Function bodies are not entered."""
    if isinstance(tree, Documented):
        yield name, tree
    if isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef):
        return
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from definitions(child, f"{name}.{child.name}")
        elif isinstance(child, ast.If | ast.Try | ast.ExceptHandler | ast.With):
            yield from definitions(child, name)


def read_source(path: Path, module: str) -> list[Docstring] | None:
    """The usable docstrings of a file, in line order, or None if it cannot be parsed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in third-party code
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError, RecursionError):
            return None
    found = []
    for name, node in definitions(tree, module):
        if pair := summary_and_rest(ast.get_docstring(node) or ""):
            found.append(Docstring(name, *pair))
    return found


def source_files(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield the Python files of a package folder (or a single file) with their module names, sorted."""
    for path in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
        parts = path.relative_to(root.parent).with_suffix("").parts
        if TEST_FOLDERS.isdisjoint(parts[:-1]):
            yield path, ".".join(parts[:-1] if path.name == "__init__.py" else parts)


def read_sources(roots: Sequence[Path], workers: int = 1) -> Sources:
    """Read all Python files under `roots` (package folders or single modules) in `workers` processes.

    The order of the result does not depend on the number of workers.
    """
    files = [file for root in roots for file in source_files(root)]
    paths, modules = [path for path, _ in files], [module for _, module in files]
    if workers == 1:
        read = list(map(read_source, paths, modules))
    else:
        # Spawn instead of fork: forking is not safe with running threads (torch, the JVM).
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            read = list(pool.map(read_source, paths, modules, chunksize=32))
    return Sources(
        docstrings=[docstring for found in read if found is not None for docstring in found],
        files=len(files),
        unparsed=[module for module, found in zip(modules, read, strict=True) if found is None],
    )


def name_order(docstring: Docstring) -> tuple[int, int, str]:
    """The sort key of names, the best first: fewer private parts, then fewer parts, then alphabetical."""
    parts = docstring.name.split(".")
    private = sum(part.startswith("_") and not part.endswith("__") for part in parts)
    return private, len(parts), docstring.name


def query_id_of(text: str) -> str:
    """A query id derived only from the normal form of its text."""
    return f"q-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def split_of(text: str, test: int, dev: int) -> str:
    """The split of a query (or of the group it leads), from the SHA-256 of its normal form."""
    slot = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) % QUERIES_ABOUT
    return "test" if slot < test else "dev" if slot < test + dev else "train"


def group_leaders(judged: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """For each query the alphabetically first query that it is connected to through shared passages.

    Args:
        judged: the queries of each passage, by passage id.
    """
    leader: dict[str, str] = {}

    def find(query: str) -> str:
        while (above := leader.setdefault(query, query)) != query:
            query = above
        return query

    for queries in judged.values():
        first, *others = sorted({find(query) for query in queries})
        for other in others:
            leader[other] = first
    return {query: find(query) for query in leader}


def sample(judged: Mapping[str, Sequence[str]], leaders: Mapping[str, str], most: int) -> set[str]:
    """The ids of the passages of a sample: whole groups, at most `most` passages.

    Args:
        judged: the queries of each passage, by passage id.
        leaders: the first query of each query's group.
        most: passages.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for passage_id, queries in judged.items():
        groups[leaders[queries[0]]].append(passage_id)
    taken: set[str] = set()
    for leader in sorted(groups, key=lambda text: hashlib.sha256(f"sample {text}".encode()).digest()):
        if len(taken) + len(groups[leader]) > most:
            break
        taken.update(groups[leader])
    return taken


def merge(docstrings: Sequence[Docstring], test: int, dev: int, most: int | None = None) -> Merged:
    """Build queries, passages and judgements by the rules of this module's docstring.

    Args:
        docstrings: the docstrings, in a fixed order.
        test: the number of test slots out of `QUERIES_ABOUT`.
        dev: the number of dev slots out of `QUERIES_ABOUT`.
        most: passages of a sample; None: all passages.
    """
    query_texts: dict[str, str] = {}
    by_rest: dict[str, dict[str, Docstring]] = defaultdict(dict)  # the best docstring by rest and query
    for docstring in sorted(docstrings, key=name_order):
        query = normalise(docstring.summary)
        query_texts.setdefault(query, docstring.summary)
        by_rest[normalise(docstring.rest)].setdefault(query, docstring)

    passages = []
    judged: dict[str, list[str]] = {}
    uses: Counter[str] = Counter()
    for answers in by_rest.values():
        first = next(iter(answers.values()))
        title = ", ".join(dict.fromkeys(docstring.name for docstring in answers.values()))
        whole = normalise(f"{title} {first.rest}")
        if any(query in whole for query in answers):
            continue
        uses[first.name] += 1  # a name can be defined twice, for instance in the branches of an `if`
        passage_id = first.name if uses[first.name] == 1 else f"{first.name}~{uses[first.name]}"
        passages.append(Passage(passage_id, title, first.rest))
        judged[passage_id] = list(answers)

    leaders = group_leaders(judged)
    if most is not None:
        taken = sample(judged, leaders, most)
        passages = [passage for passage in passages if passage.passage_id in taken]
        judged = {passage_id: answered for passage_id, answered in judged.items() if passage_id in taken}

    queries: dict[str, list[Query]] = {split: [] for split in SPLITS}
    judgements: dict[str, list[Judgement]] = {split: [] for split in SPLITS}
    relevant: dict[str, list[str]] = defaultdict(list)
    for passage_id, answered in sorted(judged.items()):
        for query in answered:
            relevant[query].append(passage_id)
    for query_id, query in sorted((query_id_of(query), query) for query in relevant):
        split = split_of(leaders[query], test, dev)
        queries[split].append(Query(query_id, query_texts[query]))
        judgements[split] += [Judgement(query_id, passage_id, grade=1) for passage_id in relevant[query]]
    return Merged(sorted(passages, key=lambda passage: passage.passage_id), queries, judgements)


def installed_roots(distributions: Mapping[str, str]) -> list[Path]:
    """The source folders of pinned distributions, found without importing them.

    Args:
        distributions: versions by name. A local suffix such as `+cpu` of the installed version is ignored.

    Raises:
        HardnegError: a distribution is not installed, has another version, or has no source folder.
    """
    roots, faults = [], {}
    for name, wanted in sorted(distributions.items()):
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            faults[name] = "not installed"
            continue
        root = Path(str(distribution.locate_file(IMPORT_NAMES.get(name, name))))
        if distribution.version.partition("+")[0] != wanted:
            faults[name] = distribution.version
        elif not root.is_dir():
            faults[name] = f"{distribution.version} without its source folder"
        roots.append(root)
    if faults:
        raise HardnegError(
            "The collection pydocs needs pinned packages, and the installed ones differ.",
            found=", ".join(f"{name} {fault}" for name, fault in faults.items()),
            expected=", ".join(f"{name} {distributions[name]}" for name in faults),
            remedy="make install",
        )
    return roots


def standard_library_roots() -> list[Path]:
    """The Python modules and packages of the standard library, without `NOT_EVERYWHERE`."""
    library = Path(sysconfig.get_path("stdlib"))
    names = sorted(sys.stdlib_module_names - NOT_EVERYWHERE)
    return [root for name in names for root in (library / name, library / f"{name}.py") if root.exists()]


class PyDocs:
    """Reads the embedded collection; a `CollectionReader`.

    Args:
        distributions: the packages to read in addition to the standard library, versions by name.
        workers: the number of parsing processes. It does not change the result.
        test: the number of test slots out of `QUERIES_ABOUT`.
        dev: the number of dev slots out of `QUERIES_ABOUT`.
        most: passages of a sample; None: all passages.

    Raises:
        HardnegError: a distribution is not installed at its version.
    """

    def __init__(
        self,
        distributions: Mapping[str, str] = DISTRIBUTIONS,
        workers: int = 1,
        test: int = 1000,
        dev: int = 1000,
        most: int | None = None,
    ) -> None:
        self.distributions = dict(distributions)
        self.workers, self.test, self.dev, self.most = workers, test, dev, most
        self.roots = installed_roots(distributions) + standard_library_roots()

    @cached_property
    def _sources(self) -> Sources:
        return read_sources(self.roots, self.workers)

    @cached_property
    def _merged(self) -> Merged:
        return merge(self._sources.docstrings, self.test, self.dev, self.most)

    def splits(self) -> tuple[str, ...]:
        """train, dev, test."""
        return SPLITS

    def files(self, splits: Iterable[str]) -> dict[str, Path]:
        """Empty: the versions identify the sources."""
        return {}

    def passages(self) -> Iterator[Passage]:
        """Every passage, in ascending order of id."""
        return iter(self._merged.passages)

    def queries(self, split: str) -> Iterator[Query]:
        """The queries of a split, in ascending order of id."""
        return iter(self._merged.queries[split])

    def judgements(self, split: str) -> Iterator[Judgement]:
        """The judgements of a split, all of grade 1, in ascending order of query and passage id."""
        return iter(self._merged.judgements[split])

    def provenance(self) -> dict[str, Any]:
        """The versions of Python and the packages, and the numbers of files and docstrings."""
        return {
            "python": platform.python_version(),
            "distributions": self.distributions,
            "files": self._sources.files,
            "unparsed": self._sources.unparsed,
            "docstrings": len(self._sources.docstrings),
        }
