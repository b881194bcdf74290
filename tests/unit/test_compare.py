"""Several studies side by side: means over collections, what is not alike, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from hardneg.cli.main import main
from hardneg.config import load
from hardneg.config.elsewhere import MEAN
from hardneg.errors import HardnegError
from hardneg.report.studies import read_studies, write_page


def study(name: str, **changes: Any) -> dict[str, Any]:
    systems = {"bm25": {"preset": "bm25"}, "star": {"preset": "bm25neg", "train": {"steps": 1}}}
    return {
        "collection": {"format": "pydocs", "name": name},
        "systems": systems,
        "evaluation": {"measures": ["nDCG@10", "R@100"], "main_measure": "R@100"},
        **changes,
    }


def score(folder: Path, name: str, rows: list[tuple[str, str, str, float]]) -> None:
    (folder / "results" / name).mkdir(parents=True)
    lines = ["system,split,measure,value", *(f"{a},{b},{c},{value}" for a, b, c, value in rows)]
    (folder / "results" / name / "measures.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def both(value: float, system: str, split: str = "test") -> list[tuple[str, str, str, float]]:
    return [(system, split, "nDCG@10", value), (system, split, "R@100", value / 2)]


def test_each_collection_weighs_the_same_and_a_system_that_is_missing_has_no_mean(tmp_path: Path) -> None:
    score(tmp_path, "one", [*both(0.2, "bm25"), *both(0.9, "bm25", "dev"), *both(0.4, "star")])
    score(tmp_path, "two", [*both(0.6, "bm25"), *both(0.5, "left")])
    second = study("two")
    second["systems"] = {"bm25": {"preset": "bm25"}}
    studies = read_studies([load(study("one")), load(second)], tmp_path / "results")
    assert studies.measures == ["R@100", "nDCG@10"]  # the main measure first
    means = studies.scores[studies.scores["collection"] == MEAN]
    found = {(row.system, row.measure): row.value for row in means.itertuples()}
    assert found == {("bm25", "nDCG@10"): pytest.approx(0.4), ("bm25", "R@100"): pytest.approx(0.2)}
    assert studies.notes == ["star has no mean: it is not in the study of two."]
    write_page(studies, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("<table") == 2 and "0.4000" in page and "one (test), two (test)" in page


def test_what_is_not_alike_is_told(tmp_path: Path) -> None:
    for name in ("one", "two"):
        score(tmp_path, name, [*both(0.2, "bm25"), *both(0.4, "star")])
    second = study("two", encoder={"passage_length": 64}, bm25={"k1": 1.2})
    second["systems"]["star"] = {"preset": "bm25neg", "train": {"steps": 2}}
    studies = read_studies([load(study("one")), load(second)], tmp_path / "results")
    assert studies.notes == [
        "`encoder` of two is not that of one.",
        "`bm25` of two is not that of one.",
        "star has other settings in two than in one.",
    ]


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in (("one", 0.25), ("two", 0.75)):
        score(tmp_path, name, [*both(value, "bm25"), *both(0.5, "star")])
        Path(f"{name}.yaml").write_text(yaml.safe_dump(study(name)), encoding="utf-8")
    main(["compare", "--configfile", "one.yaml", "two.yaml", "--output", "page.html"])
    told = capsys.readouterr().out.splitlines()
    assert told[0].split() == ["R@100", "by", "collection", "one", "two", MEAN]
    assert told[1].split() == ["bm25", "0.1250", "0.3750*", "0.2500*"]
    assert told[2].split() == ["star", "0.2500*", "0.2500", "0.2500*"]
    assert told[-1] == "page.html" and Path("page.html").exists()


@pytest.mark.parametrize(
    ("names", "measures", "said"),
    [
        (["one"], ["R@100"], "needs several studies"),
        (["one", "one"], ["R@100", "R@100"], "needs several studies"),
        (["one", "two"], ["R@100", "nDCG@10"], "no measure in common"),
    ],
)
def test_refused(tmp_path: Path, names: list[str], measures: list[str], said: str) -> None:
    configs = []
    for name, measure in zip(names, measures, strict=True):
        if not (tmp_path / "results" / name).exists():
            score(tmp_path, name, [("bm25", "test", measure, 0.5)])
        configs.append(load(study(name, evaluation={"measures": [measure], "main_measure": measure})))
    with pytest.raises(HardnegError, match=said):
        read_studies(configs, tmp_path / "results")
