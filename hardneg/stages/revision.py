"""Code revisions: a digest of the source code that determines a stage's numbers, parsed with `ast` and never run.

The digest covers the functions and classes that are a stage's roots, and every function, class and constant of the
package that they reach. Comments, layout and docstrings are not part of it, nor are annotations, except in class
bodies, where they define fields. What is reached follows from the source text:

* Every name counts that is used in a body, decorator, default or base class. Scopes, imports (at the top or in a
  function, absolute or relative) and re-exports are resolved. A class is reached as a whole.
* A module that is used as a value (`getattr(losses, name)`) reaches everything it defines.
* If anything in a module is reached, so is what the module does on import besides defining names (`TABLE[name] = ...`).
* For other packages only the imported name counts (`math.log`); the manifest records their versions.

The analysis does not see objects that are passed as arguments, registered by a decorator, or imported by a computed
name. So a stage whose script builds an encoder and passes it to `train` lists both as roots. `ast.unparse` may differ
between Python versions, so a new Python version may change revisions.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hardneg.stages.artifacts import write_json

RUNTIME_MODULES = (
    "hardneg.errors",  # messages; a run that raises gives no numbers
    "hardneg.stages.progress",  # bars and logs
    "hardneg.model.rows",  # how processes share a forward pass, which is that of one
    "hardneg.training.processes",  # what they tell each other
    "hardneg.training.launch",  # starts them
    "hardneg.training.stopping",  # signals
    "hardneg.training.tracking",  # what experiment trackers are told
    "hardneg.stages.artifacts",  # locks, renames and digests of finished files
    "hardneg.stages.devices",  # where to compute; its arithmetic settings count if a stage lists them as a root
    "hardneg.methods.axes",  # maps an answer's name to its function; the function chosen is itself a root
    "hardneg.methods.base",  # what answers say of themselves; it was checked before
    "hardneg.config",  # checks settings; the checked values are in the version already
    "hardneg.planning",  # picks settings and parents, which are in the version already
    "hardneg.text.built_in",  # trains one backbone's tokenizer; where that is the backbone, it is itself a root
    "hardneg.data.readers",  # maps a format's name to its reader; the reader chosen is itself a root
    "hardneg.data.installed",  # versions of packages, which are in the settings
    "hardneg.data.told",  # messages
    "hardneg.data.download",  # fetches bytes; their digests are in the settings
    "hardneg.retrieval.java",  # finds and starts a Java runtime; the libraries it runs are pinned and recorded
)
"""Modules and packages that never change a number. References to them are not followed, but a root may be in one."""

PACKAGE = Path(__file__).parents[1]
EFFECTS = "<import>"
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)

Reference = tuple[str, tuple[str, ...]]
"""A module and the attribute path to follow in it: `losses.ranknet` is ("hardneg.losses", ("ranknet",))."""

Scope = dict[str, set[Reference | None]]
"""The names that a block binds: to the imported reference, or to None if the block defines them."""


def code_revision(roots: Iterable[str], package: Path = PACKAGE) -> str:
    """SHA-256, in hexadecimal, of the normalised source that `roots` reach. The order of roots does not matter.

    Args:
        roots: "module:qualified.name" of functions or classes; a method includes its whole class.
        package: the package's folder, which has the package's name.

    Raises:
        LookupError: a root does not exist (a programming error).
    """
    source = _Package(package)
    waiting = [target for root in roots for target in source.root(root)]
    reached: dict[str, str] = {}
    while waiting:
        target = waiting.pop()
        if target in reached:
            continue
        definition = source.definition(target)
        # What a name refers to is part of the digest: `from math import log` may become `log2 as log`.
        uses = {
            (written, use)
            for written, references in definition.references.items()
            for reference in references
            for use in source.resolve(definition.module.name, reference)
        }
        meanings = [f"{written} is {use}" for written, use in sorted(uses)]
        reached[target] = "\n".join([target, definition.text, *meanings])
        waiting += [use for _, use in uses if ":" in use]
    return hashlib.sha256("\n".join(reached[target] for target in sorted(reached)).encode()).hexdigest()


@dataclass(eq=False, repr=False)
class _Definition:
    """The top-level statements of a module that define one name; usually one statement."""

    module: _Module
    statements: list[ast.stmt] = field(default_factory=list)

    @functools.cached_property
    def text(self) -> str:
        return "\n".join(map(ast.unparse, self.statements))

    @functools.cached_property
    def references(self) -> dict[str, set[Reference]]:
        """What the definition uses, by the name in the source."""
        visitor = _Uses(self.module)
        for statement in self.statements:
            visitor.visit(statement)
        visitor.found[EFFECTS].add((self.module.name, (EFFECTS,)))
        return visitor.found


@dataclass(eq=False, repr=False)
class _Module:
    name: str
    is_package: bool
    definitions: dict[str, _Definition] = field(default_factory=dict)
    imports: dict[str, set[Reference]] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)

    def define(self, name: str, statement: ast.stmt) -> None:
        self.definitions.setdefault(name, _Definition(self)).statements.append(statement)

    def origin(self, statement: ast.ImportFrom) -> str:
        """The absolute name of the module in a `from ... import`."""
        if statement.level == 0:
            return statement.module or ""
        parts = self.name.split(".")
        parts = parts[: len(parts) - statement.level + self.is_package]
        return ".".join([*parts, statement.module] if statement.module else parts)

    def bindings(self, nodes: Iterable[ast.AST]) -> Scope:
        """The names bound in a block, without those in inner blocks that have their own scope."""
        scope: Scope = defaultdict(set)
        elsewhere: set[str] = set()
        waiting = list(nodes)
        while waiting:
            node = waiting.pop()
            inner: Iterable[ast.AST] = ast.iter_child_nodes(node)
            match node:
                case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                    scope[name].add(None)
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                    scope[name].add(None)
                    inner = ()
                case ast.Lambda():
                    inner = ()
                case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                    inner = [part.target for part in ast.walk(node) if isinstance(part, ast.NamedExpr)]
                case ast.Import(names=names):
                    for alias in names:
                        whole = alias.name if alias.asname else alias.name.partition(".")[0]
                        scope[alias.asname or whole].add((whole, ()))
                case ast.ImportFrom(names=names):
                    for alias in names:
                        if alias.name != "*":
                            scope[alias.asname or alias.name].add((self.origin(node), (alias.name,)))
                case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                    scope[name].add(None)
                case ast.MatchMapping(rest=str(name)):
                    scope[name].add(None)
                case ast.Global(names=names) | ast.Nonlocal(names=names):
                    elsewhere.update(names)
            waiting.extend(inner)
        return {name: bound for name, bound in scope.items() if name not in elsewhere}


class _Uses(ast.NodeVisitor):
    """Collects the names that a definition uses, except its local variables."""

    def __init__(self, module: _Module) -> None:
        self.module = module
        self.scopes: list[Scope] = []
        self.found: dict[str, set[Reference]] = defaultdict(set)

    def visit_Name(self, node: ast.Name) -> None:
        self._use(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        names: list[str] = []
        inner: ast.expr = node
        while isinstance(inner, ast.Attribute):
            names.insert(0, inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):
            self._use(inner.id, *names)
        else:
            self.visit(inner)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._visit_all([node.target, node.value])

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._visit_all(node.decorator_list)
        self._visit_function(node.args, node.body)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._visit_function(node.args, [node.body])

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._visit_all([*node.decorator_list, *node.bases, *node.keywords])
        # Methods do not see the class's own names, and a field may have the same name as a function.
        bound = self.module.bindings(node.body)
        self._visit_all(node.body, {name: found for name, found in bound.items() if found != {None}})

    def visit_comprehension_of(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> None:
        self.visit(node.generators[0].iter)  # evaluated in the enclosing scope
        targets = self.module.bindings(generator.target for generator in node.generators)
        self._visit_all(ast.iter_child_nodes(node), targets)

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = visit_comprehension_of

    def _visit_function(self, arguments: ast.arguments, body: Sequence[ast.AST]) -> None:
        self._visit_all([*arguments.defaults, *arguments.kw_defaults])
        named = [*arguments.posonlyargs, *arguments.args, arguments.vararg, *arguments.kwonlyargs, arguments.kwarg]
        own: Scope = {argument.arg: {None} for argument in named if argument}
        self._visit_all(body, own | self.module.bindings(body))

    def _visit_all(self, nodes: Iterable[ast.AST | None], scope: Scope | None = None) -> None:
        self.scopes.append(scope or {})
        for node in nodes:
            if node is not None:
                self.visit(node)
        self.scopes.pop()

    def _use(self, name: str, *attributes: str) -> None:
        here: set[Reference | None] = {(self.module.name, (name,))}
        bound = next((scope[name] for scope in reversed(self.scopes) if name in scope), here)
        for reference in bound:
            if reference is not None:
                module, path = reference
                self.found[".".join((name, *attributes))].add((module, (*path, *attributes)))


@functools.cache
def _parse(name: str, is_package: bool, source: bytes) -> _Module:
    """A module's normalised definitions and imports, cached for the life of the process."""
    module = _Module(name, is_package)
    for statement in _normalised(ast.parse(source).body, in_class=False):
        if isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*":
            module.stars.append(module.origin(statement))
        bound = module.bindings([statement])
        for binding, references in bound.items():
            if None in references:
                module.define(binding, statement)
            if imported := {reference for reference in references if reference is not None}:
                module.imports.setdefault(binding, set()).update(imported)
        imports_only = bound and not any(None in references for references in bound.values())
        if not imports_only and not _only_defines(statement):
            module.define(EFFECTS, statement)
    return module


def _only_defines(statement: ast.stmt) -> bool:
    """Whether a top-level statement only defines names."""
    match statement:
        case ast.Assign(targets=targets):
            parts = [part for target in targets for part in ast.walk(target)]
            return not any(isinstance(part, ast.Subscript | ast.Attribute) for part in parts)
        case ast.AugAssign(target=ast.Name()):
            return True
    return isinstance(statement, (*FUNCTION, ast.ClassDef, ast.ImportFrom, ast.Pass))


def _normalised(statements: list[ast.stmt], in_class: bool) -> list[ast.stmt]:
    """The statements without docstrings and annotations, changed in place; annotations of class fields stay."""
    kept: list[ast.stmt] = []
    for statement in statements:
        match statement:
            case ast.Expr(value=ast.Constant(value=str())):
                continue
            case ast.AnnAssign(value=None) if not in_class:
                continue
            case ast.AnnAssign(target=target, value=ast.expr() as value) if not in_class:
                kept.append(ast.copy_location(ast.Assign([target], value), statement))
                continue
            case ast.FunctionDef(args=arguments) | ast.AsyncFunctionDef(args=arguments):
                statement.returns = None
                for argument in ast.walk(arguments):
                    if isinstance(argument, ast.arg):
                        argument.annotation = None
        inside = isinstance(statement, ast.ClassDef) or (in_class and not isinstance(statement, FUNCTION))
        for block in (statement, *getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
            for part in ("body", "orelse", "finalbody"):
                if nested := getattr(block, part, None):
                    setattr(block, part, _normalised(nested, inside))
        kept.append(statement)
    return kept or [ast.Pass()]


def _is_runtime(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in RUNTIME_MODULES)


class _Package:
    """A package's modules; resolves references between them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules: dict[str, _Module | None] = {}

    def module(self, name: str) -> _Module | None:
        """A module of the package, or None if it does not exist."""
        if name not in self.modules:
            path = self.folder.joinpath(*name.split(".")[1:])
            initial, single = path / "__init__.py", path.with_suffix(".py")
            if initial.is_file():
                self.modules[name] = _parse(name, True, initial.read_bytes())
            elif single.is_file():
                self.modules[name] = _parse(name, False, single.read_bytes())
            else:  # a folder without `__init__.py` is also a package
                self.modules[name] = _parse(name, True, b"") if path.is_dir() else None
        return self.modules[name]

    def definition(self, target: str) -> _Definition:
        name, _, head = target.partition(":")
        module = self.module(name)
        assert module is not None, target
        return module.definitions[head]

    def root(self, root: str) -> list[str]:
        """The definitions of a root."""
        name, _, qualified = root.partition(":")
        head, *inner = qualified.split(".")
        targets = [target for target in self.resolve(name, (name, (head,))) if ":" in target]
        for target in targets:
            nodes: list[ast.stmt] = self.definition(target).statements
            for part in inner:
                members = [member for node in nodes for member in getattr(node, "body", [])]
                nodes = [member for member in members if getattr(member, "name", None) == part]
            if nodes:
                return targets
        raise LookupError(f"No function or class {root!r} is defined in {self.folder}.")

    def resolve(self, user: str, reference: Reference, seen: set[Reference] | None = None) -> set[str]:
        """Resolve a reference to "module:name" of definitions in the package, or "module.name" in other packages.

        Args:
            user: the module that contains the reference.
            reference: the reference to follow.
            seen: references followed so far, since re-exports may be circular.
        """
        seen = set() if seen is None else seen
        name, path = reference
        if name.partition(".")[0] != self.folder.name:
            return {".".join((name, *path))}
        module = self.module(name)
        if module is None or reference in seen:
            return set()
        seen.add(reference)
        entered = name == user or not _is_runtime(name)
        if not path:  # the module is used as a value, so any of its names may be used
            names = [*module.definitions, *(module.imports if module.is_package else ())] if entered else []
            return set().union(*(self.resolve(user, (name, (each,)), seen) for each in names))
        head, rest = path[0], path[1:]
        found = {f"{name}:{head}"} if head in module.definitions and entered else set()
        for origin, there in module.imports.get(head, ()):
            found |= self.resolve(user, (origin, (*there, *rest)), seen)
        if found or head in module.definitions or head in module.imports:
            return found
        if module.is_package and self.module(f"{name}.{head}"):
            return self.resolve(user, (f"{name}.{head}", rest), seen)
        for star in module.stars:
            found |= self.resolve(user, (star, path), seen)
        return found


class Revisions:
    """Revisions of this package's code, computed once for each state of its sources: every start asks for dozens.

    Args:
        cache: where they are kept; they are computed again when a source, or the version of Python, changed.
        package: the package's folder.
    """

    def __init__(self, cache: Path, package: Path) -> None:
        self._cache, self._package = cache, package
        sources = hashlib.sha256(sys.version.encode())
        for path in sorted(package.rglob("*.py")):
            sources.update(f"\n{path.relative_to(package)}\n".encode() + path.read_bytes())
        self._state = sources.hexdigest()
        try:
            content = json.loads(cache.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            content = {}
        self._known: dict[str, str] = content["revisions"] if content.get("sources") == self._state else {}
        self._added = False

    def of(self, roots: Iterable[str]) -> str:
        """`code_revision` of some roots."""
        key = " ".join(sorted(roots))
        if key not in self._known:
            self._known[key] = code_revision(key.split(), self._package)
            self._added = True
        return self._known[key]

    def save(self) -> None:
        """Keep what was computed since the last time."""
        if self._added:
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            write_json(self._cache, {"sources": self._state, "revisions": self._known})
            self._added = False
