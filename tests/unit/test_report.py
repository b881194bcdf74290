"""The report: complete, self-contained, and the same bytes for the same numbers."""

from __future__ import annotations

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from hardneg.report import Facts, duration, measures_text, summary, write_report

SYSTEMS = ["bm25", "in<batch>", "star", "adore_$star$"]
FACTS: Facts = {
    "collection": {"passages": 25037, "test queries": 1000},
    "relevant_grade": {"dev": 1, "test": 1},
    "command": "snakemake --cores all --config 'a={b: <c>}'",
    "versions": {"hardneg": "0.1.0", "Python": "3.11.7"},
}
PLAN = [{"system": system, "starts from": "–", "negatives": "bm25, first 200"} for system in SYSTEMS]
COSTS = pd.DataFrame(
    [
        ("prepare", None, "0f3a", 41.25, "cpu", 900.0),
        ("train", "star", "11aa", 62.0, "cpu", 1200.5),
        ("adore", "adore_$star$", "22bb", 50.0, "cpu", None),
        ("encode", "adore_$star$", "33cc", 8.0, None, 700.0),
    ],
    columns=["stage", "system", "version", "seconds", "device", "peak_memory_mib"],
)


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
    columns = [
        "split",
        "measure",
        "system",
        "baseline",
        "queries",
        "difference",
        "ci_low",
        "ci_high",
        "p_t",
        "p_randomisation",
        "p_t_holm",
        "p_randomisation_holm",
    ]
    rows = [
        ("dev", "MRR@10", "star", "bm25", 300, 0.05, 0.01, 0.09, 0.01, 0.01, 0.03, 0.03),
        ("test", "MRR@10", "in<batch>", "bm25", 1000, -0.0209, -0.03, -0.011, 0.001, 0.001, 0.003, 0.003),
        ("test", "MRR@10", "adore_$star$", "bm25", 1000, 0.0482, 0.03, 0.066, 1e-9, 1e-4, 3e-9, 3e-4),
        ("test", "MRR@10", "adore_$star$", "star", 1000, 0.0289, -0.002, 0.06, 0.06, 0.05, 0.06, 0.05),
        ("test", "R@100", "adore_$star$", "star", 1000, 0.0, -0.01, 0.01, 1.0, 1.0, 1.0, 1.0),
    ]
    return pd.DataFrame(rows, columns=columns)


def make(path: Path) -> str:
    write_report(path, "pydocs & more", effectiveness(), comparisons(), COSTS, PLAN, FACTS)
    return path.read_text(encoding="utf-8")


class Page(HTMLParser):
    """Collects tags with their attributes, the text, and the text inside <svg> and <strong>."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[tuple[tuple[str, ...], str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "br", "path", "use", "rect"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            assert self.open.pop() == tag, f"</{tag}> closes what it did not open"

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.text.append((tuple(self.open), " ".join(data.split())))

    def inside(self, tag: str) -> list[str]:
        return [text for tags, text in self.text if tag in tags]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return Page(make(tmp_path_factory.mktemp("report") / "report.html"))


def test_nothing_is_fetched_and_no_script_runs(page: Page) -> None:
    assert not {tag for tag, _ in page.tags} & {"script", "iframe", "img", "object", "embed"}
    fetching = ("src", "href", "xlink:href", "srcset", "data", "action", "poster")
    targets = [attributes[name] for _, attributes in page.tags for name in fetching if name in attributes]
    assert targets
    assert all(target.startswith(("#", "data:")) for target in targets if target is not None)
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    style = " ".join(page.inside("style"))
    assert style
    assert "url(" not in style
    assert "@import" not in style


def test_every_element_is_closed(page: Page) -> None:
    assert page.open == []


def test_names_with_markup_are_shown_as_they_are(page: Page) -> None:
    assert "in<batch>" in page.inside("table")
    assert "pydocs & more: retrieval with hard negatives" in page.inside("h1")
    assert FACTS["command"] in page.inside("pre")


def test_the_chart_has_every_system_and_every_value_of_the_test_split(page: Page) -> None:
    drawn = page.inside("svg")
    assert {system for system in SYSTEMS if system in drawn} == set(SYSTEMS)
    test = effectiveness().query("split == 'test'")
    assert [text for text in drawn if text in {f"{value:.3f}" for value in test["value"]}].count("0.812") == 2
    assert {f"{value:.3f}" for value in test["value"]} <= set(drawn)
    assert {f"{measure} (mean over queries)" for measure in test["measure"].unique()} <= set(drawn)


def test_the_best_of_each_measure_is_bold_ties_too(page: Page) -> None:
    bold = [text for tags, text in page.text if "strong" in tags and "table" in tags]
    by_system_on_test, by_system_on_dev = ["0.8120", "0.1300", "0.4133", "0.8120"], ["0.3500", "0.1300", "0.7300"]
    assert bold == by_system_on_test + by_system_on_dev


def test_tables_carry_the_costs_the_comparisons_and_the_plan(page: Page) -> None:
    cells = page.inside("td")
    for cell in (
        "41.2",
        "1,200.5",
        "0f3a",
        "+0.0482",
        "−0.0209",
        "+0.0300 to +0.0660",
        "< 0.0001 (< 0.0001)",
        "0.0600 (0.0600)",
        "bm25, first 200",
    ):
        assert cell in cells
    assert page.inside("h3") == ["test", "dev"]
    assert "25,037" in page.inside("dd")
    assert page.inside("summary") == [
        "test, MRR@10: comparisons over 1,000 queries",
        "test, R@100: comparisons over 1,000 queries",
        "dev, MRR@10: comparisons over 300 queries",
    ]
    assert page.inside("strong").count("no difference shown") == 1
    assert page.inside("strong").count("worse") == 1


def test_the_summary_says_what_won_by_how_much_whether_significant_and_the_cost() -> None:
    assert summary(effectiveness(), comparisons(), COSTS) == [
        "On test, adore_$star$ ranks best of 4 systems, with MRR@10 0.4133.",
        "That is +0.0482 over bm25 (95% interval +0.0300 to +0.0660; significant, corrected p < 0.0001, "
        "1,000 queries).",
        "That is +0.0289 over star (95% interval −0.0020 to +0.0600; not significant, corrected p 0.0600, "
        "1,000 queries).",
        "Its own stages took 58 s; all stages together took 3 min.",
    ]


def test_a_study_of_one_system_without_comparisons_has_a_report(tmp_path: Path) -> None:
    alone = pd.DataFrame([("bm25", "eval", "MRR@10", 0.0)], columns=["system", "split", "measure", "value"])
    write_report(tmp_path / "report.html", "toy", alone, comparisons().iloc[:0], COSTS, [], FACTS)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.inside("h2") == ["Effectiveness", "Cost", "Collection", "How to reproduce"]


def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    code = "import sys, test_report; test_report.make(test_report.Path(sys.argv[1]))"
    found_at = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    for seed in "12":
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": found_at}
        subprocess.run([sys.executable, "-c", code, str(tmp_path / seed)], check=True, env=environment)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    assert (tmp_path / "1").stat().st_size < 200_000


def test_measures_text_is_an_aligned_table_in_the_order_given() -> None:
    lines = measures_text(effectiveness(), "test").splitlines()
    assert lines[0].split() == ["test", "MRR@10", "R@100", "MAP"]
    assert [line.split()[0] for line in lines[1:]] == SYSTEMS
    assert lines[4].split()[1:] == ["0.4133*", "0.8120*", "0.1000"]
    assert lines[3].split()[1:] == ["0.3844", "0.8120*", "0.1300*"]
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (8.26, "8.3 s"), (95.4, "95 s"), (720, "12 min"), (19440, "5.4 h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
