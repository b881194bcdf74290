"""The report: complete, self-contained, and the same bytes for the same numbers."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_report import made_material
from matplotlib.figure import Figure

from hardneg.report.content import LOWER, MARKS
from hardneg.report.gather import TRAINING_COSTS
from hardneg.report.graph import BOX_HEIGHT, BOX_WIDTH, layout
from hardneg.report.material import Examples, Item, Material
from hardneg.report.page import table, write_report
from hardneg.report.text import best_cells, cell_text, duration, measures_text

SYSTEMS = ["bm25", "in<batch>", "star", "adore_$star$"]
VOID = {"meta", "link", "br", "path", "use", "rect", "circle", "input"}


def effectiveness() -> pd.DataFrame:
    values = {
        ("dev", "MRR@10"): [0.30, 0.20, 0.35, 0.34],
        ("dev", "R@100"): [0.70, 0.71, 0.72, 0.73],
        ("dev", "MAP"): [0.11, 0.12, 0.13, 0.10],
        ("test", "MRR@10"): [0.3651, 0.3442, 0.3844, 0.4133],
        ("test", "R@100"): [0.72, 0.75, 0.812, 0.812],
        ("test", "MAP"): [0.11, 0.12, 0.13, 0.10],
    }
    rows = [
        (system, split, measure, value)
        for (split, measure), column in values.items()
        for system, value in zip(SYSTEMS, column, strict=True)
    ]
    return pd.DataFrame(rows, columns=["system", "split", "measure", "value"])


def comparisons() -> pd.DataFrame:
    columns = ["split", "measure", "system", "baseline", "queries", "difference", "ci_low", "ci_high"]
    columns += ["p_t", "p_randomisation", "p_t_holm", "p_randomisation_holm"]
    rows = [
        ("dev", "MRR@10", "star", "bm25", 300, 0.05, 0.01, 0.09, 0.01, 0.01, 0.03, 0.03),
        ("test", "MRR@10", "in<batch>", "bm25", 1000, -0.0209, -0.03, -0.011, 0.001, 0.001, 0.003, 0.003),
        ("test", "MRR@10", "adore_$star$", "bm25", 1000, 0.0482, 0.03, 0.066, 1e-9, 1e-4, 3e-9, 3e-4),
        ("test", "MRR@10", "adore_$star$", "star", 1000, 0.0289, -0.002, 0.06, 0.06, 0.05, 0.06, 0.05),
        ("test", "R@100", "adore_$star$", "star", 1000, 0.0, -0.01, 0.01, 1.0, 1.0, 1.0, 1.0),
    ]
    return pd.DataFrame(rows, columns=columns)


def material() -> Material:
    """A small study with markup in every name; nothing optional but examples."""
    costs = [
        ("prepare", "docs", "0f3a", 41.25, 0, "cpu", 900.0),
        ("train", "star", "11aa", 62.0, 1, "cpu", 1200.5),
        ("adore", "adore_$star$", "22bb", 50.0, 2, "cpu", None),
        ("encode", "adore_$star$", "33cc", 8.0, 1, None, 700.0),
    ]
    stages: list[dict[str, Any]] = [
        {"kind": "prepare", "label": "docs", "version": "0f3a", "seconds": 41.25, "parents": []},
        {"kind": "train", "label": "<star>", "version": "11aa", "seconds": None, "parents": [0]},
        {"kind": "adore", "label": "adore", "version": "22bb", "seconds": 50.0, "parents": [0, 1]},
    ]
    per_query = [
        (system, "test", f"q<{number}>", "MRR@10", value)
        for place, system in enumerate(SYSTEMS)
        for number, value in ((1, place / 3), (0, 0.25))
    ]
    starts = ["", "bm25", "bm25", "star"]
    return Material(
        dataset="docs & more",
        main_measure="MRR@10",
        split="test",
        analysis_split="dev",
        collection={"passages": 25037, "test queries": 1000},
        relevant_grade={"dev": 1, "test": 2},
        systems=pd.DataFrame({"system": SYSTEMS, "starts_from": starts, "source": "<script>alert(1)</script>"}),
        measures=effectiveness(),
        per_query=pd.DataFrame(per_query, columns=["system", "split", "query_id", "measure", "value"]),
        significance=comparisons(),
        marks=comparisons(),
        costs=pd.DataFrame(
            costs, columns=["stage", "system", "version", "seconds", "devices", "device", "peak_memory_mib"]
        ),
        training_costs=pd.DataFrame(
            [("adore_$star$", "star", 58.0, 2, 0.03, 161.0, 0.06, 640, 0, 1280, 2560)], columns=TRAINING_COSTS
        ),
        speed_baseline=None,
        stages=stages,
        configuration="systems: {a: <c>}\n",
        targets=pd.DataFrame([("scores of <a>", "snakemake a.json")], columns=["what", "command"]),
        versions={"hardneg": "0.1.0", "Python": "3.11.7"},
        examples=examples(),
    )


def examples() -> Examples:
    """One query that star ranks higher."""
    return Examples(
        "star",
        "bm25",
        {
            "passages": {
                "p": {"title": "", "text": "</script><!--<script> Sorts"},
                "n": {"title": "N", "text": "no"},
            },
            "queries": [
                {
                    "query_id": "q<1>",
                    "text": "</script><!--<script> sorts",
                    "values": {"star": 1.0, "bm25": 0.5},
                    "relevant": [{"id": "p", "ranks": {"star": 1, "bm25": 2, "adore_$star$": None}}],
                    "above": {"star": [], "bm25": [{"id": "n", "rank": 1, "judged": True}]},
                }
            ],
        },
    )


def items() -> list[Item]:
    """Two of one category, one of another; both figures have the same content."""

    def draw() -> Figure:
        figure = Figure(figsize=(3, 2))
        axes = figure.subplots()
        axes.plot([1, 2, 3], marker="o", label='<x> id="a"')
        axes.legend()
        return figure

    scores = pd.DataFrame(
        {
            "system": SYSTEMS,
            "test MRR@10": [0.25, 0.5, 0.5, None],
            f"test MRR@10{MARKS}": ["", "a", "▼b", ""],
            f"errors{LOWER}": [1234.5, 10.0, 3.25, 99.0],
            "queries": [5, 6, 7, 8],
        }
    )
    return [
        Item(
            name="table2",
            title="Table 2: <Effectiveness>",
            category="Effectiveness",
            caption="Caption <1>.",
            paper="Found <2>.",
            here="Shows <3>.",
            table=scores,
            digits={"test MRR@10": 4, f"errors{LOWER}": 1},
        ),
        Item(name="bars", title="Bars", category="Effectiveness", caption="Drawn.", figure=draw),
        Item(name="again", title="Again", category="Negatives", caption="Drawn.", figure=draw),
    ]


def make(path: Path) -> str:
    write_report(material(), items(), path)
    return path.read_text(encoding="utf-8")


class Page(HTMLParser):
    """Collects tags with their attributes, and each text with the tags and ids that it stands in."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[tuple[str, str]] = []
        self.text: list[tuple[tuple[tuple[str, str], ...], str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        if tag not in VOID:
            self.open.append((tag, found.get("id") or found.get("class") or ""))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop()[0] == tag, f"</{tag}> closes what it did not open"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.text.append((tuple(self.open), " ".join(data.split())))

    def inside(self, *names: str) -> list[str]:
        """Texts inside elements of each of these tags, ids or classes."""
        return [text for open_, text in self.text if set(names) <= {name for pair in open_ for name in pair}]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make(tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def query_data(text: str) -> dict[str, Any]:
    found = re.findall(r'<script type="application/json" id="query-data">(.*?)</script>', text, re.DOTALL)
    assert len(found) == 1
    content: dict[str, Any] = json.loads(found[0])
    return content


def test_the_page_asks_for_nothing_else(text: str, page: Page) -> None:
    for tag, attributes in page.tags:
        assert tag not in {"img", "iframe", "object", "embed", "audio", "video", "base", "form"}
        assert "src" not in attributes
        for name in ("href", "xlink:href"):
            link = attributes.get(name) or "#"
            assert link.startswith(("#", "data:,", "tables/", "figures/")), link
    assert [attributes["href"] for tag, attributes in page.tags if tag == "link"] == ["data:,"]
    style = " ".join(page.inside("style"))
    assert "@import" not in style
    assert "url(" not in style
    policy = next(content["content"] for tag, content in page.tags if content.get("http-equiv"))
    scripts: list[str] = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert policy == (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digests[0]}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    assert len(scripts) == 1


def test_every_element_is_closed_and_every_id_is_one_of_a_kind(page: Page) -> None:
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    # Of the two equal figures: each refers to its own markers.
    links = [attributes["xlink:href"] for tag, attributes in page.tags if tag == "use"]
    assert {str(link).split("-")[0] for link in links} == {"#bars", "#again"}
    assert {str(link)[1:] for link in links} <= set(ids)


def test_names_with_markup_are_shown_as_they_are(page: Page) -> None:
    assert "in<batch>" in page.inside("part-summary", "bars")
    assert "docs & more: retrieval with hard negatives" in page.inside("h1")
    assert "<script>alert(1)</script>" in page.inside("part-systems", "td")
    assert "systems: {a: <c>}" in page.inside("pre")
    assert "scores of <a>" in page.inside("part-reproduce", "td")
    assert "<star>" in page.inside("svg", "label")
    assert page.inside("table2", "claims")[-4:] == ["The paper:", "Found <2>.", "Here:", "Shows <3>."]
    assert page.inside("table2", "caption") == ["Caption <1>."]
    assert '<x> id="a"' in page.inside("bars", "svg")


def test_data_for_the_drill_down_cannot_end_its_script(text: str) -> None:
    found = query_data(text)
    assert found["texts"] == {"q<1>": "</script><!--<script> sorts"}
    assert found["ids"] == ["q<1>", "q<0>"]
    assert found["systems"] == SYSTEMS
    assert found["values"] == [[0.0, 0.25], [0.3333, 0.25], [0.6667, 0.25], [1.0, 0.25]]
    assert found["pair"] == ["star", "bm25"]


def test_a_query_that_a_system_was_not_scored_on_is_missing_there(tmp_path: Path) -> None:
    study = material()
    write_report(replace(study, per_query=study.per_query.iloc[:-1], examples=None), [], tmp_path / "report.html")
    found = query_data((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert found["values"][-1] == [1.0, None]
    assert found["pair"] == ["adore_$star$", "star"], "the last comparison, where there are no examples"


def test_the_contents_lead_to_every_part(page: Page) -> None:
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = [
        str(attributes["href"])[1:] for tag, attributes in page.tags if tag == "a" and "download" not in attributes
    ]
    parts = [attributes["id"] for tag, attributes in page.tags if tag in {"section", "article"}]
    assert links == ["part-summary", *parts], "the first one skips the contents"
    assert set(links) <= ids
    assert page.inside("main", "h2") == [
        *("Differences", "Effectiveness", "Negatives", "Before and after", "Queries", "Systems", "Appendix")
    ]
    details = ["Time by kind of stage", "Stages", "Collection", "Configuration", "How to reproduce", "Versions"]
    assert page.inside("part-appendix", "summary") == details


def test_downloads_are_those_of_what_an_item_has(page: Page) -> None:
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a" and "download" in attributes]
    assert links == [
        "tables/table2.csv",
        "tables/table2.tex",
        *(f"figures/{name}.{kind}" for name in ("bars", "again") for kind in ("svg", "png")),
    ]


def test_a_table_has_its_digits_marks_best_and_missing_values(page: Page) -> None:
    assert page.inside("table2", "th") == ["system", "test MRR@10", f"errors{LOWER}", "queries"]
    assert page.inside("table2", "td") == [
        *("bm25", "0.2500", "1,234.5", "5"),
        *("in<batch>", "0.5000", "a", "10.0", "6"),
        *("star", "0.5000", "▼b", "3.2", "7"),
        *("adore_$star$", "–", "99.0", "8"),
    ]
    assert page.inside("table2", "strong") == ["0.5000", "0.5000", "3.2"]
    numbers = [attributes["data-number"] for _, attributes in page.tags if "data-number" in attributes][:4]
    assert numbers == ["0.25", "1234.5", "5", "0.5"]


def test_only_measures_have_a_best() -> None:
    frame = pd.DataFrame(
        {
            "dev nDCG@10": [0.1, 0.3],
            "served on PQ8": [0.5, 0.4],
            f"Hole, %{LOWER}": [3, 2],
            "test Hole@10": [0.2, 0.1],
            "seconds": [1.0, 2.0],
            "R@100": [0.5, 0.5],
            "dl2019 R(rel=1)@100": [0.6, 0.5],
            "queries met": [10, 20],
            "MRR@10, low": ["a", "b"],
        }
    )
    best = best_cells(frame)
    assert {name: list(best.index[best[name]]) for name in best} == {
        "dev nDCG@10": [1],
        "served on PQ8": [0],
        f"Hole, %{LOWER}": [1],
        "test Hole@10": [1],
        "seconds": [],
        "R@100": [],
        "dl2019 R(rel=1)@100": [0],
        "queries met": [],
        "MRR@10, low": [],
    }


def test_bars_are_as_long_as_values_and_the_best_is_told(page: Page, text: str) -> None:
    assert page.inside("bars", "number") == ["0.3651", "0.3442", "0.3844", "0.4133"]
    assert page.inside("bars", "best") == ["adore_$star$", "0.4133"]
    lengths = [float(width) for width in re.findall(r'<i style="width:([\d.]+)%">', text)]
    assert lengths == pytest.approx([100 * value / 0.4133 for value in (0.3651, 0.3442, 0.3844, 0.4133)], abs=0.05)


def test_steps_come_before_other_baselines_with_their_verdicts(page: Page) -> None:
    assert page.inside("steps", "td") == [
        *("in<batch>", "bm25", "worse", "−0.0209", "−0.0300 to −0.0110", ".0030"),
        *("adore_$star$", "star", "no difference shown", "+0.0289", "−0.0020 to +0.0600", ".0600"),
        *("adore_$star$", "bm25", "better", "+0.0482", "+0.0300 to +0.0660", "<.0001"),
    ]
    assert page.inside("steps", "worse") == ["worse"]
    assert page.inside("steps", "better") == ["better"]
    drawn = [
        attributes["d"]
        for tag, attributes in page.tags
        if tag == "path" and (attributes.get("d") or "").endswith("V14")
    ]
    assert drawn == ["M50 0V14"] * 3
    middles = [attributes["cx"] for tag, attributes in page.tags if tag == "circle"]
    assert middles == [f"{50 + 48 * value / 0.066:.2f}".rstrip("0") for value in (-0.0209, 0.0289, 0.0482)]


def test_time_is_summed_by_kind_of_stage(page: Page) -> None:
    cells = page.inside("part-costs", "td")
    assert cells[:6] == ["prepare", "1", "41.2", "25.6", "0.0000", "900"]
    assert cells[12:18] == ["adore", "1", "50.0", "31.0", "0.0278", "–"]


def test_a_study_of_one_system_without_comparisons_has_a_report(tmp_path: Path) -> None:
    study = material()
    alone = replace(
        study,
        measures=pd.DataFrame([("bm25", "test", "MRR@10", 0.0)], columns=study.measures.columns),
        systems=study.systems.iloc[:1],
        per_query=study.per_query.iloc[:2],
        significance=study.significance.iloc[:0],
        examples=None,
    )
    write_report(alone, [], tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.inside("h2") == ["Differences", "Queries", "Systems", "Appendix"]
    assert page.inside("part-summary", "h3") == []
    assert page.inside("lead") == [
        "On test, bm25 is the only system, with MRR@10 0.0000.",
        "It needs no training. All stages of this report took 3 min.",
    ]


def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    code = "import sys, test_report; test_report.make(test_report.Path(sys.argv[1]))"
    found_at = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    for seed in "12":
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": found_at}
        subprocess.run([sys.executable, "-c", code, str(tmp_path / seed)], check=True, env=environment)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_a_thousand_queries_of_fifteen_systems_fit_in_half_a_megabyte(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random(1000)
    frames = [
        pd.DataFrame({"query_id": [f"query-{number}" for number in range(1000)], "value": values}).assign(
            system=f"system_{number}", split="test", measure="MRR@10"
        )
        for number in range(15)
    ]
    write_report(replace(material(), per_query=pd.concat(frames, ignore_index=True)), [], tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 500_000


def test_stages_stand_right_of_their_parents_and_apart() -> None:
    stages = made_material().stages
    drawn = layout(stages)
    assert [box.place for box in drawn.boxes] == list(range(len(stages)))
    assert [(line.parent, line.child) for line in drawn.lines] == [
        (parent, child) for child, stage in enumerate(stages) for parent in sorted(stage["parents"])
    ]
    corners = [(box.x, box.y) for box in drawn.boxes]
    for line in drawn.lines:
        assert corners[line.parent][0] + BOX_WIDTH < corners[line.child][0]
        assert line.path.startswith(
            f"M{corners[line.parent][0] + BOX_WIDTH} {corners[line.parent][1] + BOX_HEIGHT // 2}C"
        )
    for place, (x, y) in enumerate(corners):
        assert 0 <= x <= drawn.width - BOX_WIDTH and 0 <= y <= drawn.height - BOX_HEIGHT
        assert not any(x == x2 and abs(y - y2) <= BOX_HEIGHT for x2, y2 in corners[place + 1 :])


def test_a_line_that_a_longer_way_implies_is_told_apart() -> None:
    drawn = layout(material().stages)
    assert [(line.parent, line.child, line.implied) for line in drawn.lines] == [
        (0, 1, False),
        (0, 2, True),
        (1, 2, False),
    ]
    assert [round(box.share, 3) for box in drawn.boxes] == [0.825, 0.0, 1.0]


def test_stages_of_a_kind_stand_together() -> None:
    drawn = layout(made_material().stages)
    for x in {box.x for box in drawn.boxes}:
        kinds = [box.stage["kind"] for box in sorted(drawn.boxes, key=lambda box: box.y) if box.x == x]
        changes = [kind for kind, before in zip(kinds, [None, *kinds], strict=False) if kind != before]
        assert len(changes) == len(set(kinds))
        named = [
            heading.text.split(" (")[0] for heading in sorted(drawn.headings, key=lambda one: one.y) if heading.x == x
        ]
        assert named == changes


def test_measures_text_is_an_aligned_table_in_the_order_given() -> None:
    lines = measures_text(effectiveness(), "test").splitlines()
    assert lines[0].split() == ["test", "MRR@10", "R@100", "MAP"]
    assert [line.split()[0] for line in lines[1:]] == SYSTEMS
    assert lines[4].split()[1:] == ["0.4133*", "0.8120*", "0.1000"]
    assert lines[3].split()[1:] == ["0.3844", "0.8120*", "0.1300*"]
    assert len({len(line) for line in lines}) == 1


def test_the_lowest_hole_has_the_star() -> None:
    rows = [("bm25", "test", "Hole@10", 0.2), ("star", "test", "Hole@10", 0.3)]
    lines = measures_text(pd.DataFrame(rows, columns=["system", "split", "measure", "value"]), "test").splitlines()
    assert [line.split()[1] for line in lines[1:]] == ["0.2000*", "0.3000"]


def test_cells_are_numbers_by_their_column_not_their_look() -> None:
    shown = table(pd.DataFrame({"version": ["11", "0f3a"], "kept": [True, False], "n": [1234, -2]}))
    assert shown.headings == [("version", False), ("kept", False), ("n", True)]
    assert [[cell.text for cell in row] for row in shown.rows] == [["11", "yes", "1,234"], ["0f3a", "no", "−2"]]
    assert cell_text(pd.NA) == cell_text(None) == cell_text(float("nan")) == "–"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (8.26, "8.3 s"), (95.4, "95 s"), (720, "12 min"), (19440, "5.4 h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
