"""The report as it is read: the first screen, ten rows of a table, passages before and after, and by the keyboard."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from made_report import made_material
from scipy import stats
from test_report import Page, make, material

from hardneg.report.content import P_VALUE
from hardneg.report.headline import summary
from hardneg.report.material import Item
from hardneg.report.page import SHOWN_ROWS, write_report
from hardneg.report.passages import marked, words
from hardneg.report.text import cell_text, p_value


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return Page(make(tmp_path_factory.mktemp("report") / "report.html"))


def test_the_summary_says_what_won_by_how_much_whether_significant_and_the_cost() -> None:
    assert summary(material()) == [
        "On test, adore_$star$ is the best of 4 systems, with MRR@10 0.4133.",
        "Its lead over the runner-up, star, is +0.0289 (95% interval −0.0020 to +0.0600; not significant, corrected p "
        ".0600, 1,000 queries).",
        "Its lead over bm25 is +0.0482 (95% interval +0.0300 to +0.0660; significant, corrected p <.0001, "
        "1,000 queries).",
        "Training it took 58 s, and 3 min with all systems it builds on. All stages of this report took 3 min.",
    ]


def test_a_runner_up_that_nobody_compared_is_tested_alone() -> None:
    study = made_material()
    values = study.per_query.query("split == 'test' and measure == 'MRR@10'")
    values = values.pivot(index="query_id", columns="system", values="value")
    best, second = values.mean().nlargest(2).index
    rest = study.significance[study.significance["baseline"] != second]
    told = summary(replace(study, significance=rest))
    test = stats.ttest_rel(values[best], values[second])
    assert told[1].startswith(
        f"Its lead over the runner-up, {second}, is +{values[best].mean() - values[second].mean():.4f}"
    )
    assert f"p of this pair alone {p_value(test.pvalue)}, 150 queries" in told[1]
    assert study.lexical is not None
    won = int((values["bm25"] > values[study.lexical.other]).sum())
    assert told[-2].startswith(f"bm25 is better than {study.lexical.other} on {won} of 150 queries ")


def test_the_first_screen_has_date_seed_commit_and_machine(tmp_path: Path) -> None:
    write_report(made_material(), [], tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.inside("part-summary", "dt") == ["date", "seed", "commit", "machine"]
    assert page.inside("part-summary", "dd")[1:] == ["13", "0123456", "a processor, 2 cores"]


@pytest.mark.parametrize(
    ("value", "text"), [(0.00009, "<.0001"), (0.0001, ".0001"), (0.0456, ".0456"), (1.0, "1.0000"), (float("nan"), "–")]
)
def test_p_values_are_as_the_field_prints_them(value: float, text: str) -> None:
    assert p_value(value) == text
    assert cell_text(value, P_VALUE) == text


def test_a_long_table_shows_ten_rows_and_opens(tmp_path: Path) -> None:
    long = Item("long", "Long", "Negatives", "Rows.", table=pd.DataFrame({"n": range(SHOWN_ROWS + 3)}))
    short = Item("short", "Short", "Negatives", "Rows.", table=pd.DataFrame({"n": range(SHOWN_ROWS)}))
    write_report(material(), [long, short], tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.inside("long", "rows") == ["10 of 13 rows; open for all"]
    assert page.inside("long", "more") == ["10", "11", "12"]
    assert page.inside("short", "rows") == page.inside("short", "more") == []
    assert "open" not in next(attributes for tag, attributes in page.tags if tag == "details")


def test_systems_stand_first_in_the_configuration_s_order_with_their_filters(tmp_path: Path) -> None:
    study = made_material()
    write_report(study, [], tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    headings = page.inside("part-systems", "th")
    assert headings[:2] == ["system", "retriever"] and "filter" in headings
    cells = page.inside("part-systems", "td")
    named = [text for text in cells if text in {*study.systems["system"]}]
    assert list(dict.fromkeys(named)) == list(study.systems["system"])


def test_tables_are_named_and_reached_by_the_keyboard(page: Page) -> None:
    regions = [attributes for tag, attributes in page.tags if attributes.get("role") == "region"]
    assert len(regions) == sum(tag == "table" for tag, _ in page.tags) > 3
    assert all(region["tabindex"] == "0" and region["aria-label"] for region in regions)
    assert all(attributes.get("aria-label") for tag, attributes in page.tags if tag in ("table", "nav"))
    assert all(attributes.get("scope") for tag, attributes in page.tags if tag == "th")


def test_before_and_after_stand_side_by_side_with_the_query_s_words_marked(page: Page) -> None:
    assert page.inside("example", "summary") == ["</script><!--<script> sorts", "bm25 0.500 → star 1.000"]
    assert page.inside("example", "h4") == ["Relevant passages", "Before: bm25", "After: star"]
    assert page.inside("example", "mark") == ["script", "script", "Sorts"] * 3
    before, after = (page.inside("sides-by-side", "rank")[:2], page.inside("sides-by-side", "rank")[2:])
    assert (before, after) == (["1", "2"], ["1"])
    assert page.inside("sides-by-side", "note") == ["judged, not relevant", "relevant", "relevant"]
    assert "adore_$star$ –" in page.inside("example", "ranks")


def test_words_are_marked_whole_in_any_case_and_text_stays_text() -> None:
    wanted = words("The sort of an array <b>")
    assert wanted == {"sort", "array"}
    assert marked("Sort, sorted & ARRAY <i>", wanted) == (
        "<mark>Sort</mark>, sorted &amp; <mark>ARRAY</mark> &lt;i&gt;"
    )
