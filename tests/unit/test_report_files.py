"""Files for a paper: what is written reads back as it was, twice the same, and nothing stale stays."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest
from docutils.core import publish_doctree
from matplotlib.figure import Figure
from PIL import Image

from hardneg.errors import HardnegError
from hardneg.report.content import LOWER, MARKS
from hardneg.report.files import DPI, caption, latex, write_files
from hardneg.report.material import Item
from hardneg.report.summary import _link

SIGNS = r"50% of $x_1$ & {a} #1 ~ ^ \ <b> “ü”"


def draw() -> Figure:
    figure = Figure(figsize=(3, 2))
    axes = figure.subplots()
    axes.plot([1, 2], [0.5, 0.25], label=SIGNS)
    axes.legend()
    return figure


def both(name: str = "table2") -> Item:
    frame = pd.DataFrame(
        {
            "a_system": ["bm25", SIGNS],
            "MRR@10": [0.123456, 1 / 3],
            f"MRR@10{MARKS}": ["", "a▼b"],
            f"errors{LOWER}": [12345.0, None],
        }
    )
    return Item(
        name=name,
        title="Table 2: what_it is",
        category="Effectiveness",
        caption=f"Means over {SIGNS}",
        paper="*Found* `that` |x|_.",
        here="- Confirmed here::",
        table=frame,
        digits={"MRR@10": 4, f"errors{LOWER}": 1},
        figure=draw,
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_item_has_the_files_of_what_it_has_and_twice_the_same(tmp_path: Path) -> None:
    alone = Item("alone", "t", "Cost", "c", figure=draw)
    write_files([both(), alone], tmp_path / "1")
    write_files([both(), alone], tmp_path / "2")
    assert set(contents(tmp_path / "1")) == {
        "tables/table2.csv",
        "tables/table2.tex",
        "figures/table2.svg",
        "figures/table2.png",
        "figures/alone.svg",
        "figures/alone.png",
        "captions/table2.rst",
        "captions/alone.rst",
        ".written.json",
    }
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


def test_files_of_items_that_are_no_more_are_removed_others_stay(tmp_path: Path) -> None:
    write_files([both(), both("old")], tmp_path)
    own = {"notes.txt", "tables/notes.txt", "report.html", "tables/mine.csv", "figures/mine.svg", "captions/mine.rst"}
    for name in own:
        (tmp_path / name).write_text("mine", encoding="utf-8")
    for _ in range(2):
        write_files([both()], tmp_path)
    names = set(contents(tmp_path))
    assert not [name for name in names if "old" in name]
    assert {*own, "tables/table2.csv"} <= names


def test_a_record_of_written_files_cannot_reach_others(tmp_path: Path) -> None:
    write_files([both()], tmp_path / "results")
    (tmp_path / "mine.csv").write_text("mine", encoding="utf-8")
    planted = ["tables/../../mine.csv", "/etc/hostname", 3, "tables/old.csv"]
    (tmp_path / "results" / ".written.json").write_text(json.dumps(planted), encoding="utf-8")
    write_files([both()], tmp_path / "results")
    assert (tmp_path / "mine.csv").exists()


def test_links_to_runs_replace_no_file_of_the_user(tmp_path: Path) -> None:
    target, folder = tmp_path / "artifacts" / "run.trec", tmp_path / "runs"
    target.parent.mkdir()
    target.write_text("ours", encoding="utf-8")
    _link(folder, {"star.dev.trec": target, "old.dev.trec": target})
    (folder / "mine.trec").write_text("mine", encoding="utf-8")
    (folder / "mine").mkdir()
    _link(folder, {"star.dev.trec": target})
    assert {path.name for path in folder.iterdir()} == {"star.dev.trec", "mine.trec", "mine"}
    with pytest.raises(HardnegError, match=r"in the way of a link(?s:.*)mine\.trec"):
        _link(folder, {"mine.trec": target})
    assert (folder / "mine.trec").read_text(encoding="utf-8") == "mine"


def test_a_csv_reads_back_as_the_table(tmp_path: Path) -> None:
    write_files([both()], tmp_path)
    table = both().table
    assert table is not None
    found = pd.read_csv(tmp_path / "tables" / "table2.csv", keep_default_na=False, na_values={f"errors{LOWER}": [""]})
    pd.testing.assert_frame_equal(found, table, check_dtype=False)


def test_a_figure_is_drawn_at_its_size_with_its_text(tmp_path: Path) -> None:
    write_files([both()], tmp_path)
    with Image.open(io.BytesIO((tmp_path / "figures" / "table2.png").read_bytes())) as image:
        assert image.size == (3 * DPI, 2 * DPI)
        colours = image.convert("RGB").getcolors(maxcolors=1_000_000)
        assert len(colours or []) > 20
    drawing = (tmp_path / "figures" / "table2.svg").read_text(encoding="utf-8")
    assert "50% of $x_1$ &amp; {a} #1 ~ ^ \\ &lt;b&gt; “ü”" in drawing
    assert "date" not in drawing.lower().split("<defs>")[0]


def test_latex_is_a_booktabs_table_with_signs_escaped_best_bold_and_marks_raised() -> None:
    item = both()
    assert item.table is not None
    lines = latex(item, item.table).splitlines()
    escaped = r"50\% of \$x\_1\$ \& \{a\} \#1 \textasciitilde{} \textasciicircum{} \textbackslash{} " + (
        r"\textless{}b\textgreater{} “ü”"
    )
    assert lines[0] == r"% In the preamble: \usepackage{booktabs,amssymb}"
    assert rf"\caption[Table 2: what\_it is]{{Table 2: what\_it is. Means over {escaped}}}" in lines
    assert r"\label{tab:table2}" in lines
    assert r"\begin{tabular}{lrr}" in lines
    body = lines[lines.index(r"\toprule") : lines.index(r"\bottomrule") + 1]
    assert body == [
        r"\toprule",
        r"a\_system & MRR@10 & errors $\downarrow$ \\",
        r"\midrule",
        r"bm25 & 0.1235 & 12,345.0 \\",
        rf"{escaped} & \textbf{{0.3333}}\textsuperscript{{a$\blacktriangledown$b}} & -- \\",
        r"\bottomrule",
    ]


def test_a_caption_is_read_as_plain_paragraphs() -> None:
    item = both()
    document = publish_doctree(caption(item), settings_overrides={"report_level": 1, "halt_level": 1})
    assert [node.tagname for node in document.children] == ["paragraph"] * 4
    assert [node.astext() for node in document.children] == [
        item.title,
        item.caption,
        f"The paper: {item.paper}",
        f"Here: {item.here}",
    ]


def test_what_the_paper_has_not_is_not_said() -> None:
    item = Item("wins", "Wins", "Effectiveness", "1. Counts\n\n   of queries")
    assert [node.astext() for node in publish_doctree(caption(item)).children] == ["Wins", "1. Counts of queries"]


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "captions" / "table2.rst").mkdir(parents=True)
    with pytest.raises(HardnegError, match="Could not write a file"):
        write_files([both()], tmp_path)
    assert not list(tmp_path.rglob("*.tmp"))


def test_latex_has_the_columns_that_are_printed_with_their_marks_and_the_csv_has_all(tmp_path: Path) -> None:
    frame = pd.DataFrame({"system": ["a", "b"], "MRR@10": [0.25, 0.5], f"MRR@10{MARKS}": ["", "a"], "seconds": [1, 2]})
    item = Item("t", "T", "Effectiveness", "C.", table=frame, digits={"MRR@10": 4}, printed=("system", "MRR@10"))
    write_files([item], tmp_path)
    rows = [line for line in (tmp_path / "tables" / "t.tex").read_text().splitlines() if "&" in line]
    assert rows == [r"system & MRR@10 \\", r"a & 0.2500 \\", r"b & \textbf{0.5000}\textsuperscript{a} \\"]
    assert "seconds" in (tmp_path / "tables" / "t.csv").read_text()
