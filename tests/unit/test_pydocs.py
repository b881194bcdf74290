"""The embedded collection: which docstrings serve, how they merge and split; the same bytes from any process."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from hardneg.data.formats.pydocs import (
    DISTRIBUTIONS,
    Docstring,
    Merged,
    PyDocs,
    group_leaders,
    installed_roots,
    merge,
    normalise,
    read_sources,
    standard_library_roots,
    summary_and_rest,
)
from hardneg.errors import HardnegError

FILLER = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau upsilon phi"


def documented(definition: str, summary: str, rest: str = FILLER, indent: str = "") -> str:
    return f'{indent}{definition}:\n{indent}    """{summary}\n\n{indent}    {rest}\n{indent}    """\n'


@pytest.fixture
def package(tmp_path: Path) -> Path:
    root = tmp_path / "made"
    (root / "tests").mkdir(parents=True)
    (root / "sub").mkdir()
    (root / "__init__.py").write_text(f'"""The package as a whole.\n\n{FILLER}\n"""\n')
    (root / "shapes.py").write_text(
        documented("class Circle", "A round shape of one radius.")
        + documented("def area(self)", "Return the area it covers.", indent="    ")
        + documented("def outer()", "The outer of two functions.")
        + documented("def inner()", "The inner of two functions.", indent="    ")
        + "if True:\n"
        + documented("async def wait()", "Wait until all is done.", indent="    ")
    )
    (root / "broken.py").write_text("def (:\n")
    (root / "sub" / "latin.py").write_bytes(
        b"# coding: latin-1\n" + documented("def umlaut()", "Return the letter \xe4 alone.").encode("latin-1")
    )
    (root / "tests" / "test_shapes.py").write_text(documented("def test_area()", "Test the area of shapes."))
    (root / "explodes.py").write_text("raise SystemExit('imported')\n")
    return root


def test_definitions_are_found_without_importing(package: Path) -> None:
    sources = read_sources([package])
    assert {docstring.name: docstring.summary for docstring in sources.docstrings} == {
        "made": "The package as a whole.",
        "made.shapes.Circle": "A round shape of one radius.",
        "made.shapes.Circle.area": "Return the area it covers.",
        "made.shapes.outer": "The outer of two functions.",
        "made.shapes.wait": "Wait until all is done.",
        "made.sub.latin.umlaut": "Return the letter ä alone.",
    }
    assert (sources.files, sources.unparsed) == (5, ["made.broken"])
    assert read_sources([package], workers=2) == sources


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        (f"Four words are enough.\n\n{FILLER}", ("Four words are enough.", FILLER)),
        (f"Three words only.\n\n{FILLER} {FILLER}", None),
        ("Folded \n  over two\tlines.\n  \n" + FILLER.replace(" ", "\n"), ("Folded over two lines.", FILLER)),
        ("word " * 30 + "\n\nrest", (" ".join(["word"] * 30), "rest")),
        ("word " * 31 + "\n\nrest", None),
        ("Just four words here.\n\n" + "rest " * 21, ("Just four words here.", " ".join(["rest"] * 21))),
        ("Just four words here.\n\n" + "rest " * 20, None),
        ("word " * 28, None),
        ("word " * 28 + "\n\n...", None),
        (f"A title with underline\n=====\n\nNotes\n-----\n{FILLER}", ("A title with underline", f"Notes {FILLER}")),
        (f"Args:\n  x: the value to use\n\n{FILLER}", None),
        (f"Parameters\n----------\nx : int\n    The value.\n\n{FILLER}", None),
        (f"mask (`Tensor` of shape `(n, m)`, *optional*): Which to mask.\n\n{FILLER}", None),
        (f">>> one line of example\n\n{FILLER}", None),
        (f"Parameters of a model in use.\n\n{FILLER}", ("Parameters of a model in use.", FILLER)),
    ],
)
def test_which_docstrings_serve(docstring: str, expected: tuple[str, str] | None) -> None:
    assert summary_and_rest(docstring) == expected


def judged(merged: Merged) -> set[tuple[str, str]]:
    """Judgements as pairs of query text and passage id."""
    texts = {query.query_id: query.text for queries in merged.queries.values() for query in queries}
    return {(texts[j.query_id], j.passage_id) for judgements in merged.judgements.values() for j in judgements}


def test_merging() -> None:
    merged = merge(
        [
            Docstring("b._private.sort", "Sort the values.", "In place, stable."),
            Docstring("a.sort", "sort the VALUES", "in  place, stable"),  # the same query and passage
            Docstring("c.sort", "Sort the values!", "Returns a copy."),  # the same query, another passage
            Docstring("c.Box.order", "Order what is boxed.", "Returns a copy."),  # the same passage, another query
            Docstring("d.alone", "Be alone.", "Nobody else."),
            Docstring("d.alone", "Be alone.", "Nobody else, on Windows."),  # defined twice
        ],
        test=0,
        dev=0,
    )
    assert [(p.passage_id, p.title, p.text) for p in merged.passages] == [
        ("a.sort", "a.sort", "in  place, stable"),
        ("c.sort", "c.sort, c.Box.order", "Returns a copy."),
        ("d.alone", "d.alone", "Nobody else."),
        ("d.alone~2", "d.alone", "Nobody else, on Windows."),
    ]
    assert judged(merged) == {
        ("sort the VALUES", "a.sort"),
        ("sort the VALUES", "c.sort"),
        ("Order what is boxed.", "c.sort"),
        ("Be alone.", "d.alone"),
        ("Be alone.", "d.alone~2"),
    }


def test_a_passage_that_holds_its_query_is_left_out() -> None:
    merged = merge(
        [
            Docstring("a.f", "Compute the sum.", "We COMPUTE\nthe  sum of all."),
            Docstring("b.f", "Add up.", "We compute the sum of all."),
            Docstring("c.f", "Add up.", "By pairs."),
            Docstring("d.f", "d.f works as", "as g does"),
            Docstring("e.f", "e.f works", "works as g does"),  # held across title and text
        ],
        test=0,
        dev=0,
    )
    assert [passage.passage_id for passage in merged.passages] == ["c.f", "d.f"]
    assert judged(merged) == {("Add up.", "c.f"), ("d.f works as", "d.f")}


def test_queries_that_share_passages_have_one_leader() -> None:
    leaders = group_leaders({"1": ["d", "c"], "2": ["f", "e"], "3": ["g"], "4": ["e", "d"], "5": ["b", "h"]})
    assert leaders == {"c": "c", "d": "c", "e": "c", "f": "c", "g": "g", "b": "b", "h": "b"}


def made_docstrings(count: int) -> list[Docstring]:
    return [Docstring(f"m.f{i}", f"Do thing {i} // 2 = {i // 2}", f"rest {i % (count // 3)}.") for i in range(count)]


def test_splits() -> None:
    docstrings = made_docstrings(6000)
    merged = merge(docstrings, test=8000, dev=4000)
    shares = {split: len(queries) / 6000 for split, queries in merged.queries.items()}
    # 2,000 groups of three queries: a share's standard deviation is at most sqrt(0.25 / 2000) = 0.011.
    assert shares == pytest.approx({"test": 1 / 3, "dev": 1 / 6, "train": 1 / 2}, abs=0.06)
    passages = [{judgement.passage_id for judgement in merged.judgements[split]} for split in ("train", "dev", "test")]
    assert sum(map(len, passages)) == len(set.union(*passages)) == len(merged.passages) == 2000


def test_more_packages_move_no_query() -> None:
    docstrings = [Docstring(f"m.f{i}", f"Do the thing {i}", f"Rest {i}.") for i in range(500)]
    few, many = merge(docstrings[:250], 6000, 6000), merge(docstrings, 6000, 6000)
    for split in ("train", "dev", "test"):
        assert few.queries[split]
        assert set(few.queries[split]) < set(many.queries[split])


DUMP = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from hardneg.data.formats.pydocs import merge, read_sources
if __name__ == "__main__":
    sources = read_sources([Path(sys.argv[2])], workers=int(sys.argv[1]))
    print(json.dumps([asdict(sources), asdict(merge(sources.docstrings, 3000, 3000))]))
"""


def test_bytes_do_not_depend_on_process_or_workers(tmp_path: Path) -> None:
    script = tmp_path / "dump.py"
    script.write_text(DUMP)
    (root,) = installed_roots({"networkx": DISTRIBUTIONS["networkx"]})
    outputs = [
        subprocess.run(
            [sys.executable, script, workers, root],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            check=True,
        ).stdout
        for workers, seed in (("1", "0"), ("2", "77"))
    ]
    assert len(outputs[0]) > 500_000
    assert outputs[0] == outputs[1]


@pytest.fixture(scope="module")
def networkx() -> PyDocs:
    reader = PyDocs({"networkx": DISTRIBUTIONS["networkx"]})
    reader.roots = [root for root in reader.roots if root.stem in {"networkx", "argparse", "asyncio"}]
    return reader


def test_real_text_keeps_the_rules(networkx: PyDocs) -> None:
    passages = {passage.passage_id: passage for passage in networkx.passages()}
    assert len(passages) == len({normalise(passage.text) for passage in passages.values()}) > 1000
    queries = {query.query_id: query for split in networkx.splits() for query in networkx.queries(split)}
    assert len(queries) == len({normalise(query.text) for query in queries.values()})
    assert sum(len(list(networkx.queries(split))) for split in networkx.splits()) == len(queries)
    judgements = [judgement for split in networkx.splits() for judgement in networkx.judgements(split)]
    assert {judgement.query_id for judgement in judgements} == set(queries)
    assert {judgement.passage_id for judgement in judgements} == set(passages)
    for judgement in judgements:
        passage = passages[judgement.passage_id]
        query = queries[judgement.query_id].text
        assert " ".join(query.casefold().split()) not in " ".join(f"{passage.title} {passage.text}".casefold().split())
        assert 4 <= len(query.split()) <= 30
        assert len(query.split()) + len(passage.text.split()) >= 25
    assert any(passage_id.startswith("asyncio.") for passage_id in passages)


def test_provenance(networkx: PyDocs) -> None:
    provenance = networkx.provenance()
    assert provenance["python"] == ".".join(map(str, sys.version_info[:3]))
    assert provenance["distributions"] == {"networkx": metadata.version("networkx")}
    assert provenance["unparsed"] == []
    files = [path for root in networkx.roots for path in ([root] if root.is_file() else root.rglob("*.py"))]
    assert provenance["files"] == sum("tests" not in path.parts for path in files)


def test_the_standard_library_is_found_without_what_systems_leave_out() -> None:
    names = {root.stem for root in standard_library_roots()}
    assert {"argparse", "asyncio", "json", "os"} <= names
    assert names.isdisjoint({"test", "idlelib", "tkinter", "site-packages"})


def test_another_version_is_refused() -> None:
    with pytest.raises(HardnegError) as fault:
        PyDocs({"networkx": "0.1", "no-such-distribution": "2.0"})
    message = str(fault.value)
    assert f"networkx {metadata.version('networkx')}, no-such-distribution not installed" in message
    assert "networkx 0.1, no-such-distribution 2.0" in message
    assert "make install" in message


def test_a_local_version_part_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata.Distribution, "version", property(lambda self: "3.6.1+cpu"))
    assert installed_roots({"networkx": "3.6.1"})[0].name == "networkx"


def test_a_sample_keeps_whole_groups_and_smaller_ones_are_part_of_larger_ones() -> None:
    # Every third passage answers two queries, which makes a group of two queries and two passages.
    do = "Do the thing of number"
    docstrings = [Docstring(f"m.f{n}", f"{do} {n}.", f"Rest {n}. {FILLER}") for n in range(60)]
    docstrings += [Docstring(f"m.g{n}", f"{do} {n}.", f"Other {n}. {FILLER}") for n in range(0, 60, 3)]
    whole = merge(docstrings, 4000, 4000)
    relevant = {(j.query_id, j.passage_id) for split in whole.judgements.values() for j in split}
    ids: list[set[str]] = []
    for most in (10, 30, 200):
        part = merge(docstrings, 4000, 4000, most)
        kept = {passage.passage_id for passage in part.passages}
        assert most - 2 < len(kept) <= most or kept == {passage.passage_id for passage in whole.passages}
        asked = {query.query_id for split in part.queries.values() for query in split}
        assert {(j.query_id, j.passage_id) for split in part.judgements.values() for j in split} == {
            pair for pair in relevant if pair[1] in kept
        }
        assert asked == {query for query, passage in relevant if passage in kept}
        assert all(pair[1] in kept for pair in relevant if pair[0] in asked)  # nothing relevant is missing
        for split, queries in part.queries.items():
            assert {query.query_id for query in queries} <= {query.query_id for query in whole.queries[split]}
        ids.append(kept)
    assert ids[0] < ids[1] < ids[2]
