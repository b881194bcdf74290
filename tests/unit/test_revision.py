"""Code revisions: what changes one and what does not, on small packages written here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from hardneg.stages.revision import code_revision

ROOT = "hardneg.training:train"

TRAINING = """
    from __future__ import annotations
    import math
    from typing import TYPE_CHECKING
    import hardneg.search
    from hardneg import losses as objective
    from hardneg.batches import draw as pick
    from hardneg.errors import HardnegError
    if TYPE_CHECKING:
        from hardneg.encoder import Encoder

    RATE = 0.1
    UNUSED = 1

    def scheduled(function):
        return function

    @scheduled
    def train(encoder: Encoder, steps: int = RATE, margin=objective.MARGIN) -> float:
        '''Trains.'''
        from .encoder import pool
        total: float = 0.0
        for step in range(steps):
            total += objective.ranknet(pool(pick(step)), hardneg.search.top(step))
        if total != total:
            raise HardnegError("no")
        return math.exp(total)

    def unused():
        return 2
"""

FILES = {
    "__init__": "",
    "training": TRAINING,
    "losses": """
        import math
        MARGIN = 1.0
        SCALE = 2.0

        def ranknet(a, b):
            # pairwise
            return SCALE * soft(a - b)

        def soft(x):
            return math.log(1 + math.exp(x)) if x < 30 else even(x)

        def even(n):
            return n if n == 0 else odd(n - 1)

        def odd(n):
            return even(n - 1)

        def softmax(x):
            return x
    """,
    "batches/__init__": "from .drawing import Sampler, draw",
    "batches/drawing": """
        from dataclasses import dataclass

        class Base:
            def __call__(self, step):
                return self.shift(step)

        @dataclass
        class Sampler(Base):
            top: int = 5
            seed: int = 0

            def shift(self, step):
                return step + self.top

        def draw(step):
            return Sampler()(step)
    """,
    "encoder": """
        class Encoder:
            width = 8

        def pool(x):
            return [weight(each) for each in (x,)][0]

        def weight(each):
            return each * 2
    """,
    "search": """
        def top(k, best=lambda scores: sorted(scores)):
            softmax = max
            return softmax(best([k, 1]))

        def softmax(x):
            return x
    """,
    "errors": "class HardnegError(Exception):\n    code = 1",
}


class Package:
    """A package under a temporary folder, whose revision is asked for again after an edit."""

    def __init__(self, folder: Path, files: dict[str, str]) -> None:
        self.folder = folder / "hardneg"
        for name, text in files.items():
            self.write(name, text)

    def write(self, name: str, text: str) -> None:
        file = self.folder / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text), encoding="utf-8")

    def edit(self, name: str, old: str, new: str) -> None:
        file = self.folder / f"{name}.py"
        text = file.read_text(encoding="utf-8")
        assert old in text
        file.write_text(text.replace(old, new), encoding="utf-8")

    def revision(self, *roots: str) -> str:
        return code_revision(roots or (ROOT,), self.folder)


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return Package(tmp_path, FILES)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("losses", "# pairwise", "# of pairs, as in section 3"),
        ("training", "'''Trains.'''", "'''Trains an encoder.'''"),
        ("training", "'''Trains.'''\n", "\n\n"),
        ("training", "encoder: Encoder", "encoder: object"),
        ("training", " -> float", ""),
        ("training", "total: float = 0.0", "total = 0.0"),
        ("training", "RATE = 0.1", "RATE: float = 1e-1"),
        ("losses", "SCALE * soft(a - b)", "(SCALE *\n        soft(a-b))"),
        ("losses", "return x\n", "'''Of one.'''\n    return x + 1\n"),
        ("losses", "MARGIN = 1.0", "# of RankNet\n'''Unit: score.'''\nMARGIN = 1.0"),
        ("training", "UNUSED = 1", "UNUSED = 2"),
        ("training", "return 2", "return 3"),
        ("encoder", "width = 8", "width = 9"),
        ("search", "def softmax(x):\n    return x", "def softmax(x):\n    return 0"),
        ("errors", "code = 1", "code = 2"),
    ],
)
def test_what_makes_no_difference(package: Package, name: str, old: str, new: str) -> None:
    before = package.revision()
    package.edit(name, old, new)
    assert package.revision() == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("losses", "soft(a - b)", "soft(b - a)"),  # through a module alias
        ("losses", "1 + math.exp(x)", "2 + math.exp(x)"),  # reached from a reached function
        ("losses", "odd(n - 1)", "odd(n - 2)"),  # two functions that call each other
        ("losses", "SCALE = 2.0", "SCALE = 3.0"),  # a constant
        ("losses", "MARGIN = 1.0", "MARGIN = 2.0"),  # a default argument
        ("losses", "import math", "import cmath as math"),  # what a name stands for
        ("training", "RATE = 0.1", "RATE = 0.2"),
        ("training", "return function", "return lambda *x: function(*x) + 1"),  # a decorator
        ("training", "math.exp(total)", "math.exp(-total)"),
        ("training", "range(steps)", "range(steps, 0)"),
        ("batches/drawing", "step + self.top", "step - self.top"),  # a method of a class reached by a re-export
        ("batches/drawing", "self.shift(step)", "self.shift(-step)"),  # a method of its base
        ("batches/drawing", "top: int = 5", "top: int = 6"),
        ("batches/drawing", "top: int = 5", "top: float = 5"),  # an annotation that makes a field
        ("batches/drawing", "@dataclass", "@dataclass(order=True)"),
        ("encoder", "each * 2", "each * 3"),  # through an import in a function, relative, and a comprehension
        ("search", "sorted(scores)", "list(scores)"),  # through `import hardneg.search`
        ("batches/__init__", "from .drawing import", "from .others import"),
    ],
)
def test_what_makes_a_difference(package: Package, name: str, old: str, new: str) -> None:
    package.write("batches/others", FILES["batches/drawing"])
    before = package.revision()
    package.edit(name, old, new)
    assert package.revision() != before


def test_an_edit_undone_gives_the_first_revision_again(package: Package) -> None:
    before = package.revision()
    package.edit("losses", "a - b", "a + b")
    package.edit("losses", "a + b", "a - b")
    assert package.revision() == before


def test_roots_are_a_set_and_each_counts(package: Package) -> None:
    first, second = "hardneg.losses:soft", "hardneg.losses:softmax"
    assert package.revision(first, second) == package.revision(second, first, first)
    assert len({package.revision(first), package.revision(second), package.revision(first, second)}) == 3


def test_a_method_stands_for_its_class_and_a_re_export_for_its_origin(package: Package) -> None:
    of_class = package.revision("hardneg.batches.drawing:Sampler")
    assert package.revision("hardneg.batches.drawing:Sampler.shift") == of_class
    assert package.revision("hardneg.batches:Sampler") == of_class


@pytest.mark.parametrize(
    "root",
    [
        "hardneg.losses:ranknett",
        "hardneg.lossses:ranknet",
        "hardneg.losses",
        "hardneg.batches.drawing:Sampler.shifft",
        "hardneg.losses:ranknet.inner",
        "hardneg.losses:math",
        "math:log",
    ],
)
def test_a_root_that_names_nothing_is_refused(package: Package, root: str) -> None:
    with pytest.raises(LookupError, match=root):
        package.revision(root)


def test_swapped_imports_differ_though_they_reach_the_same(tmp_path: Path) -> None:
    package = Package(tmp_path, {"a": "def one():\n    return 1\ndef two():\n    return 2"})
    package.write("b", "from hardneg.a import one as x, two as y\ndef f():\n    return x() - y()")
    before = package.revision("hardneg.b:f")
    package.edit("b", "one as x, two as y", "two as x, one as y")
    assert package.revision("hardneg.b:f") != before


def test_local_names_hide_those_of_the_module(tmp_path: Path) -> None:
    """Only the names that no scope binds reach the module's `x`; `f` itself never does."""
    bodies = {
        "def f(x):\n    return x": False,
        "def f(*x, **y):\n    return [x for _ in y]": False,
        "def f():\n    for x in ():\n        return lambda: x": False,
        "def f():\n    return [x for x in ()]": False,
        "def f():\n    try:\n        pass\n    except OSError as x:\n        return x": False,
        "def f(y):\n    match y:\n        case {'a': x}:\n            return x": False,
        "def f():\n    if (x := 1):\n        return x": False,
        "def f():\n    import math as x\n    return x": False,
        "def f(y: x) -> x:\n    z: x = y\n    return z": False,
        "def f():\n    return [y for y in x]": True,
        "def f():\n    return [x for x in x]": True,
        "def f():\n    return [x for x in ()] + x": True,
        "def f(y=x):\n    return y": True,
        "def f():\n    global x\n    x = x + 1": True,
        "class f:\n    x = 1\n    def g(self):\n        return x": True,
        "class f(x): pass": True,
        "def f():\n    def g(x):\n        return x\n    return g(x)": True,
    }  # fmt: skip
    for number, (body, reaches) in enumerate(bodies.items()):
        package = Package(tmp_path / str(number), {"a": f"x = 1\n{body}\n"})
        before = package.revision("hardneg.a:f")
        package.edit("a", "x = 1\n", "x = 2\n")
        assert (package.revision("hardneg.a:f") != before) is reaches, body


def test_a_module_handed_on_reaches_all_it_defines(tmp_path: Path) -> None:
    package = Package(tmp_path, {"a": "def one():\n    return 1", "c": "def three():\n    return 3"})
    package.write("b", "from hardneg import a, c\ndef f(name):\n    return getattr(a, name)()")
    before = package.revision("hardneg.b:f")
    package.edit("c", "return 3", "return 4")
    assert package.revision("hardneg.b:f") == before
    package.edit("a", "return 1", "return 2")
    assert package.revision("hardneg.b:f") != before


def test_both_sides_of_a_conditional_definition_or_import_count(tmp_path: Path) -> None:
    fallback = "try:\n    from hardneg.fast import g\nexcept ImportError:\n    from hardneg.slow import g\n"
    switch = "import sys\nif sys.version_info > (3, 12):\n    h = 1\nelse:\n    h = 2\n"
    package = Package(tmp_path, {"a": f"{fallback}{switch}def f():\n    return g() + h"})
    for name in ("fast", "slow"):
        package.write(name, "def g():\n    return 1")
    seen = {package.revision("hardneg.a:f")}
    for name, old, new in (("fast", "1", "5"), ("slow", "1", "5"), ("a", "h = 1", "h = 5"), ("a", "h = 2", "h = 6")):
        package.edit(name, old, new)
        seen.add(package.revision("hardneg.a:f"))
    assert len(seen) == 5


def test_what_a_module_does_on_import_counts(tmp_path: Path) -> None:
    effects = "import torch\nTABLE = {}\nTABLE['x'] = 1\ntorch.manual_seed(1)\n"
    package = Package(tmp_path, {"a": f"{effects}def f():\n    pass"})
    seen = {package.revision("hardneg.a:f")}
    package.edit("a", "TABLE['x'] = 1", "TABLE['x'] = 2")
    seen.add(package.revision("hardneg.a:f"))
    package.edit("a", "manual_seed(1)", "manual_seed(2)")
    seen.add(package.revision("hardneg.a:f"))
    assert len(seen) == 3


def test_star_imports_and_circles_of_re_exports_end(tmp_path: Path) -> None:
    package = Package(tmp_path, {"a": "from hardneg.b import *\nfrom hardneg.b import lost\nCONSTANT = 1"})
    package.write("b", "from hardneg.a import *\nfrom hardneg.a import lost\ndef f():\n    return lost(CONSTANT)")
    before = package.revision("hardneg.b:f")
    package.edit("a", "CONSTANT = 1", "CONSTANT = 2")
    assert package.revision("hardneg.b:f") != before


def test_runtime_modules_count_only_for_their_own_roots(tmp_path: Path) -> None:
    package = Package(tmp_path, {"stages/__init__": "", "stages/devices": "FLAG = 1\ndef settle():\n    return FLAG"})
    package.write("a", "from hardneg.stages import devices\ndef f():\n    devices.settle()\n    return devices")
    roots = ("hardneg.a:f",), ("hardneg.stages.devices:settle",)
    before = [package.revision(*root) for root in roots]
    package.edit("stages/devices", "FLAG = 1", "FLAG = 2")
    after = [package.revision(*root) for root in roots]
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False]


def test_the_library_is_read_and_not_imported() -> None:
    """Two fresh processes agree with this one, and have imported neither torch nor the module they digest."""
    code = """
        import sys
        from hardneg.stages.revision import code_revision
        root = "hardneg.stages.progress"
        print(code_revision([f"{root}:Progress"]), not {"torch", root} & set(sys.modules))
    """
    command = [sys.executable, "-c", dedent(code)]
    here = Path(__file__).parents[2]
    printed = [subprocess.run(command, cwd=here, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert printed == [f"{code_revision(['hardneg.stages.progress:Progress'])} True\n"] * 2
