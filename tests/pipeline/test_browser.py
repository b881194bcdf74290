"""The report as a person meets it: opened from disk in a browser, clicked, sorted, searched, printed."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import networkx as nx
import pandas as pd
import pytest
from made_report import made_material
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from hardneg.report.files import write_files
from hardneg.report.items import items
from hardneg.report.material import Item, Material
from hardneg.report.page import write_report

NUMBERS = pd.DataFrame(
    {
        "name": ["a", "b", "c", "d", "e", "f10", "f9"],
        "version": ["1e3", "9", None, "10", "2", "3", "0"],
        "n": [10.0, 9.0, None, 2.5, 2.5, -1.0, 1000.0],
    }
)


def study() -> Material:
    """Of some hundred queries; ranked on the split that the examples are of."""
    made = made_material(120)
    assert made.examples is not None
    example = made.examples.content["queries"][0]["query_id"]
    split = made.per_query.set_index("query_id")["split"].loc[example].iloc[0]
    return replace(made, split=str(split))


@dataclass
class Opened:
    """A page, and what happened while it was open."""

    page: Page
    url: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def open_all(self) -> None:
        """Open what is closed, but for long tables."""
        self.page.evaluate("document.querySelectorAll('details:not(.rows)').forEach((one) => { one.open = true; })")

    def column(self, table: str, number: int) -> list[str]:
        """The texts of a column, of rows that are shown."""
        cells = self.page.locator(f"{table} tbody tr:visible:not(.panel) > :nth-child({number})")
        return [text.strip() for text in cells.all_inner_texts()]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on PATH to look at the report with")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=arguments)
        yield started
        started.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    shown = [*items(study()), Item("numbers", "Numbers", "Negatives", "To sort.", table=NUMBERS, digits={"n": 1})]
    write_files(shown, folder)
    write_report(study(), shown, folder / "report.html")
    return folder / "report.html"


def opened(context: BrowserContext, report: Path) -> Opened:
    page = context.new_page()
    seen = Opened(page, report.as_uri())
    page.on("request", lambda request: seen.requests.append(request.url))
    page.on("console", lambda message: seen.complaints.append(message.text))
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    page.goto(seen.url)
    return seen


@pytest.fixture
def seen(browser: Browser, report: Path) -> Iterator[Opened]:
    """The report at the width of a screen; it must ask for nothing and have nothing to complain about."""
    context = browser.new_context(viewport={"width": 1400, "height": 900}, reduced_motion="reduce")
    here = opened(context, report)
    yield here
    context.close()
    assert here.requests == [here.url]
    assert here.complaints == []


def test_what_would_leave_the_page_is_stopped(browser: Browser, report: Path) -> None:
    context = browser.new_context()
    here = opened(context, report)
    stopped = here.page.evaluate(
        """() => new Promise((done) => {
            const stopped = [];
            document.addEventListener("securitypolicyviolation", (event) => {
                stopped.push(event.effectiveDirective);
                if (stopped.length === 3) done(stopped.sort());
            });
            const image = document.createElement("img"), script = document.createElement("script");
            image.src = "https://example.org/image.png";
            script.textContent = "window.ran = true";
            document.body.append(image, script);
            fetch("https://example.org/").catch(() => {});
        })"""
    )
    assert stopped == ["connect-src", "img-src", "script-src-elem"]
    assert here.page.evaluate("window.ran") is None
    context.close()


def test_a_click_on_a_heading_sorts_and_another_turns_it_round(seen: Opened) -> None:
    heading = seen.page.locator("#numbers th", has_text="n").last
    assert heading.get_attribute("aria-sort") is None
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert seen.column("#numbers", 3) == ["−1.0", "2.5", "2.5", "9.0", "10.0", "1,000.0", "–"]
    assert seen.column("#numbers", 1) == ["f10", "d", "e", "b", "a", "f9", "c"], "equal ones stay as they were"
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert seen.column("#numbers", 3) == ["1,000.0", "10.0", "9.0", "2.5", "2.5", "−1.0", "–"]
    assert seen.column("#numbers", 1) == ["f9", "a", "b", "d", "e", "f10", "c"]


def test_the_keyboard_sorts_and_one_heading_at_a_time_says_so(seen: Opened) -> None:
    first = seen.page.locator("#numbers th").first
    first.get_by_role("button").focus()
    seen.page.keyboard.press("Enter")
    assert seen.column("#numbers", 1) == ["a", "b", "c", "d", "e", "f9", "f10"]
    seen.page.keyboard.press("Space")
    assert seen.column("#numbers", 1) == ["f10", "f9", "e", "d", "c", "b", "a"]
    seen.page.keyboard.press("Tab")
    seen.page.keyboard.press("Enter")
    assert first.get_attribute("aria-sort") is None
    assert seen.page.locator("#numbers th").nth(1).get_attribute("aria-sort") == "ascending"
    assert seen.column("#numbers", 2)[-1] == "–"


def test_long_tables_show_ten_rows_open_and_have_a_filter(seen: Opened) -> None:
    assert seen.page.locator("#numbers input").count() == seen.page.locator("#numbers .rows").count() == 0
    assert not seen.page.locator("#stages_cost table").is_visible(), "the appendix is closed"
    seen.page.locator("#stages_cost .part > summary").click()
    assert len(seen.column("#stages_cost", 1)) == 10
    more = seen.page.locator("#stages_cost .rows > summary")
    more.focus()
    seen.page.keyboard.press("Enter")
    every = seen.column("#stages_cost", 1)
    assert len(every) == len(study().costs) > 10
    seen.page.keyboard.press("Enter")
    assert len(seen.column("#stages_cost", 1)) == 10
    seen.page.locator("#stages_cost input").fill("TRAIN")
    assert len(every) > len(seen.column("#stages_cost", 1)) == every.count("train") > 0
    assert seen.page.locator("#stages_cost output").inner_text() == f"{every.count('train')} of {len(every)} rows"
    seen.page.locator("#stages_cost input").fill("")
    assert seen.column("#stages_cost", 1) == every[:10]
    seconds = seen.page.locator("#stages_cost th", has_text="seconds").get_by_role("button")
    seconds.click()
    shown = [float(text.replace(",", "")) for text in seen.column("#stages_cost", 4)]
    assert shown == pytest.approx(sorted(study().costs["seconds"])[:10], abs=0.05), "the first ten of the new order"


def test_queries_come_with_the_greatest_gain_first_a_page_at_a_time(seen: Opened) -> None:
    material = study()
    assert material.examples is not None
    rows = material.per_query[material.per_query["split"] == material.split]
    rows = rows[rows["measure"] == material.main_measure]
    values = rows.pivot(index="query_id", columns="system", values="value")
    gains = (values[material.examples.chosen] - values[material.examples.baseline]).sort_values(ascending=False)
    shown = [float(text.replace("−", "-")) for text in seen.column("#queries", 2)]
    assert shown == pytest.approx(gains.to_list()[:10], abs=1e-4)
    for _ in range(11):
        seen.page.get_by_role("button", name="Next").click()
    shown = [float(text.replace("−", "-")) for text in seen.column("#queries", 2)]
    assert shown == pytest.approx(gains.to_list()[110:], abs=1e-4)
    assert seen.page.get_by_role("button", name="Next").is_disabled()
    assert seen.page.locator("#queries output").inner_text() == "111 to 120 of 120 queries"


def test_queries_are_sorted_by_any_system_and_compared_with_any(seen: Opened) -> None:
    seen.page.locator("#queries th", has_text="ance").get_by_role("button").click()
    place = [text.strip() for text in seen.page.locator("#queries th").all_inner_texts()].index("ance") + 1
    shown = seen.column("#queries", place)
    assert shown == sorted(shown) and len(shown) == 10
    seen.page.locator("#queries select").last.select_option(label="adore_star")
    assert set(seen.column("#queries", 2)) == {"0.0000"}, "a system does not differ from itself"


def test_a_query_opens_with_its_text_and_passages(seen: Opened) -> None:
    examples = study().examples
    assert examples is not None
    query = max(examples.content["queries"], key=lambda query: len(query["above"][examples.chosen]))
    seen.page.get_by_label("Find queries").fill(query["text"].upper())
    button = seen.page.locator("#queries").get_by_role("button", name=query["query_id"], exact=True)
    assert len(seen.column("#queries", 2)) == 1
    assert button.get_attribute("aria-expanded") == "false"
    button.focus()
    seen.page.keyboard.press("Enter")
    assert button.get_attribute("aria-expanded") == "true"
    panel = seen.page.locator("#queries .panel")
    shown = panel.inner_text()
    passages = examples.content["passages"]
    for relevant in query["relevant"]:
        assert passages[relevant["id"]]["text"] in shown
        for system, rank in relevant["ranks"].items():
            assert f"{system} {'–' if rank is None else rank}" in panel.locator(".ranks > span").all_inner_texts()
    assert panel.locator("mark").count() > 0
    for system, above in query["above"].items():
        side = panel.locator(
            ".sides-by-side > div", has=seen.page.locator("h4", has_text=re.compile(rf"(^|: ){system}$"))
        )
        found = [one["ranks"][system] for one in query["relevant"] if one["ranks"][system] is not None]
        ranks = [passage["rank"] for passage in above] + sorted(found)[:1]
        assert side.locator(".rank").all_inner_texts() == [str(rank) for rank in ranks]
        assert all(passages[passage["id"]]["text"] in side.inner_text() for passage in above)
    seen.page.keyboard.press("Enter")
    assert seen.page.locator("#queries .panel").count() == 0


def test_figures_are_drawn(seen: Opened) -> None:
    figures = seen.page.locator("figure.drawing > svg")
    assert figures.count() == sum(item.figure is not None for item in items(study())) > 5
    for figure in figures.all():
        box = figure.bounding_box()
        assert box is not None and box["width"] > 200 and box["height"] > 80
        assert box["x"] >= 0 and box["x"] + box["width"] <= 1400
        assert figure.locator("path").count() > 5
        assert figure.get_attribute("aria-label")


def test_the_graph_shows_what_a_stage_depends_on(seen: Opened) -> None:
    stages = study().stages
    graph = nx.DiGraph([(parent, child) for child, stage in enumerate(stages) for parent in stage["parents"]])
    deepest = nx.dag_longest_path(graph)[-1]
    boxes = seen.page.locator(".stage")
    seen.page.locator("#part-stages summary").click()

    def lit() -> set[int]:
        return set(boxes.evaluate_all("boxes => boxes.flatMap((box, at) => box.classList.contains('on') ? [at] : [])"))

    assert boxes.count() == len(stages)
    assert lit() == set()
    boxes.nth(deepest).hover()
    assert lit() == nx.ancestors(graph, deepest) | {deepest}
    wanted = len(graph.subgraph(lit()).edges)
    assert seen.page.locator(".line.on").count() == wanted > 3
    seen.page.locator("h1").hover()
    assert lit() == set()
    boxes.nth(1).focus()
    seen.page.keyboard.press("Enter")
    seen.page.locator("h1").hover()
    assert lit() == {0, 1}, "kept until it is let go"
    assert boxes.nth(1).get_attribute("aria-pressed") == "true"
    boxes.nth(1).click()
    seen.page.locator("h1").hover()
    assert lit() == set()


def test_contents_lead_there_and_say_where_one_is(seen: Opened) -> None:
    link = seen.page.locator("nav a", has_text="Table 4")
    link.click()
    box = seen.page.locator("#table4").bounding_box()
    assert box is not None and 0 <= box["y"] < 200
    seen.page.wait_for_function("document.querySelector('nav a[href=\"#table4\"]').ariaCurrent === 'true'")
    assert link.bounding_box() is not None and link.is_visible(), "the contents stay in sight"


@pytest.mark.parametrize("width", [1400, 800, 390])
def test_nothing_is_wider_than_the_window(browser: Browser, report: Path, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900})
    here = opened(context, report)
    assert here.page.evaluate("document.documentElement.scrollWidth") == width
    cut = here.page.evaluate(
        """() => [...document.querySelectorAll("main *")].filter((part) =>
            !part.closest(".wide, .graph, pre") && part.getBoundingClientRect().right > innerWidth).length"""
    )
    assert cut == 0
    context.close()


def test_the_page_reads_without_scripts(browser: Browser, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    here = opened(context, report)
    assert here.column("#numbers", 1) == list(NUMBERS["name"])
    assert here.page.locator("#queries").inner_text().startswith("This list needs JavaScript")
    for part in (".lead", ".about", ".bars", ".steps", "#table2 table", "#effectiveness svg", ".example > summary"):
        assert here.page.locator(part).first.is_visible(), part
    here.page.locator("#table2 .claims > summary").click()
    assert here.page.locator("#table2 .paper").is_visible(), "it opens by itself"
    assert here.complaints == []
    context.close()


def test_links_to_files_lead_to_files(seen: Opened, report: Path) -> None:
    links = seen.page.locator("a[download]").evaluate_all("links => links.map(link => link.getAttribute('href'))")
    assert len(links) == len(set(links)) > 20
    assert [link for link in links if not (report.parent / link).is_file()] == []


def test_paper_shows_all_of_a_table_and_no_controls(seen: Opened) -> None:
    seen.page.emulate_media(media="print")
    for part in ("nav", "#part-queries", ".rows > summary"):
        assert not seen.page.locator(part).first.is_visible()
    assert not seen.page.locator(".controls").first.is_visible()
    clipped = seen.page.locator(".wide, .graph, pre").evaluate_all(
        "parts => parts.filter(part => getComputedStyle(part).overflowY !== 'visible').length"
    )
    assert clipped == 0
    heads = seen.page.locator("thead").evaluate_all("heads => heads.map(head => getComputedStyle(head).display)")
    assert set(heads) == {"table-header-group"}, "headings are repeated on each sheet"
    assert seen.page.locator("main > section").last.get_attribute("id") == "part-appendix"
    # What is closed is opened when it is printed, and closed again.
    seen.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert len(seen.column("#stages_cost", 1)) == len(study().costs)
    assert seen.page.locator("#table2 .paper").is_visible() and seen.page.locator("svg.stages").is_visible()
    seen.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert seen.page.locator("details[open]").count() == 0


CONTRASTS = """() => {
    const light = (colour) => {
        const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map((part) => {
            const share = Number(part) / 255;
            return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const page = light(getComputedStyle(document.body).backgroundColor);
    const parts = ["p", ".caption", ".better", ".worse", ".unclear", "a[download]", "td", "dt"];
    return parts.map((part) => document.querySelector("main " + part)).filter(Boolean).map((part) => {
        const ink = light(getComputedStyle(part).color);
        return (Math.max(ink, page) + 0.05) / (Math.min(ink, page) + 0.05);
    });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_in_the_light_and_in_the_dark(
    browser: Browser, report: Path, scheme: Literal["light", "dark"]
) -> None:
    context = browser.new_context(color_scheme=scheme)
    here = opened(context, report)
    ground = here.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
    assert min(here.page.evaluate(CONTRASTS)) >= 4.5
    context.close()


def test_the_first_screen_says_all_that_matters(seen: Opened) -> None:
    for part in ("h1", ".lead p >> nth=-1", ".about dd >> nth=-1"):
        box = seen.page.locator(part).bounding_box()
        assert box is not None and box["y"] + box["height"] < 900, part


def test_verdicts_are_in_sight(seen: Opened) -> None:
    seen.open_all()
    for part in (".steps td:nth-child(3):visible", "#comparisons th:nth-child(3)"):
        box = seen.page.locator(part).first.bounding_box()
        assert box is not None and box["x"] + box["width"] <= 1400
    assert seen.page.locator("#comparisons th").nth(2).inner_text().strip() == "verdict"
