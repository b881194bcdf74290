"""Expected scores: what passes, what is missing, and what is said about a file that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from hardneg.cli.main import main
from hardneg.config import load, read_yaml
from hardneg.errors import HardnegError
from hardneg.evaluation.expected import Entry, compare, expected_file, reached, read_expected, read_measures, table

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
COMMITTED = sorted([*CONFIGS.glob("*.expected.yaml"), *CONFIGS.parent.glob("*.expected.yaml")])
GOOD = """expected:
  - system: star
    split: dev
    measure: MRR@10
    value: 0.340
    tolerance: 0.005
    source: Zhan et al. 2021, Table 2
  - {system: bm25, split: dev, measure: R@100, value: 0.670, tolerance: 0.01, source: the same}
"""
CONFIG = """collection: {format: pydocs, name: study}
systems:
  bm25: {preset: bm25}
  star: {preset: bm25neg, train: {steps: 1}}
evaluation: {measures: [MRR@10, R@100]}
"""


def entry(system: str = "star", value: float = 0.34, tolerance: float = 0.005) -> Entry:
    return Entry(
        system=system, split="dev", measure="MRR@10", value=value, tolerance=tolerance, source="Zhan et al. 2021"
    )


def write(folder: Path, text: str) -> Path:
    path = folder / "study.expected.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(HardnegError) as raised:
        read_expected(write(folder, text))
    return str(raised.value).replace(str(folder), "")


@pytest.mark.parametrize(
    ("found", "verdict"),
    [(0.34, "pass"), (0.345, "pass"), (0.335, "pass"), (0.3349, "short"), (0.3451, "beyond")],
)
def test_verdicts_at_the_limits_of_the_tolerance(found: float, verdict: str) -> None:
    (outcome,) = compare([entry()], {("star", "dev", "MRR@10"): found}, ["star"])
    assert outcome.verdict == verdict
    assert reached([outcome]) == (verdict in ("pass", "beyond"))


@pytest.mark.parametrize("path", COMMITTED, ids=[path.stem for path in COMMITTED])
def test_what_is_expected_is_measured(path: Path) -> None:
    """Each entry of a committed file names a system, a split and a measure of its configuration, once."""
    config = load(read_yaml(path.with_name(path.name.replace(".expected", ""))))
    entries = read_expected(path)
    assert {entry.system for entry in entries} <= config.systems.keys()
    assert {entry.split for entry in entries} <= set(config.splits.evaluate)
    assert {entry.measure for entry in entries} <= set(config.evaluation.measures)
    assert len({(entry.system, entry.split, entry.measure) for entry in entries}) == len(entries)


@pytest.mark.parametrize(("name", "notpaper"), [("passage", set()), ("document", {"bm25neg", "star_passage"})])
def test_every_row_of_the_papers_table_2_is_expected(name: str, notpaper: set[str]) -> None:
    config = load(read_yaml(CONFIGS / f"msmarco-{name}.yaml"))
    entries = read_expected(CONFIGS / f"msmarco-{name}.expected.yaml")
    assert {entry.system for entry in entries} == config.systems.keys() - notpaper
    for system in {entry.system for entry in entries}:
        assert [entry.split for entry in entries if entry.system == system] == ["dev", "dev", "dl2019", "dl2019"]
    best = {
        (e.split, e.measure): max(o.value for o in entries if (o.split, o.measure) == (e.split, e.measure))
        for e in entries
    }
    chain = {(e.split, e.measure): e.value for e in entries if e.system == "adore_star"}
    main = config.evaluation.main_measure
    assert chain["dev", main] == best["dev", main]


def test_what_was_not_measured_or_is_no_system_of_the_configuration_is_missing() -> None:
    scores = {("star", "dev", "R@100"): 0.9, ("old", "dev", "MRR@10"): 0.34}
    outcomes = compare([entry(), entry("old")], scores, ["star"])
    assert [(outcome.found, outcome.verdict) for outcome in outcomes] == [(None, "missing")] * 2
    assert not reached(outcomes)


def test_entries_are_read_in_their_order(tmp_path: Path) -> None:
    entries = read_expected(write(tmp_path, GOOD))
    assert [(e.system, e.measure, e.value, e.tolerance, e.source) for e in entries] == [
        ("star", "MRR@10", 0.34, 0.005, "Zhan et al. 2021, Table 2"),
        ("bm25", "R@100", 0.67, 0.01, "the same"),
    ]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("tolerance: 0.005", "tolerence: 0.005", ("line 6: expected.0.tolerence", "did you mean tolerance?")),
        ("    tolerance: 0.005\n", "", ("A key is missing.", "line 2: expected.0.tolerance")),
        ("tolerance: 0.005", "tolerance: 0", ("line 6: expected.0.tolerance", "greater than 0")),
        ("value: 0.340", "value: .nan", ("line 5: expected.0.value", "finite number")),
        ("source: the same", "source: ' '", ("line 8: expected.1.source", "gives the source of the number")),
        ("measure: MRR@10", "measure: MRRR@10", ("line 4: expected.0.measure", "did you mean MRR@10?")),
        ("expected:", "expcted:", ("line 1: expcted", "did you mean expected?")),
        ("split: dev\n", "split: [dev\n", ("not valid YAML", "line 4")),
    ],
)
def test_a_fault_is_told_with_its_line(tmp_path: Path, before: str, after: str, said: tuple[str, ...]) -> None:
    told = refusal(tmp_path, GOOD.replace(before, after, 1))
    assert [part for part in said if part not in told] == []


@pytest.mark.parametrize("text", ["", "- 1\n", "just words\n"])
def test_a_file_without_entries_is_refused(tmp_path: Path, text: str) -> None:
    assert "`expected:` and below it a list of entries" in refusal(tmp_path, text)


def test_a_broken_table_of_measures_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "measures.csv"
    for text, line in (("a,b\n", 1), ("system,split,measure,value\nstar,dev,MRR@10\n", 2), ("", 1)):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(HardnegError, match=rf"measures\.csv:{line}\n"):
            read_measures(path)


def test_the_table_is_aligned_and_names_the_source() -> None:
    scores = {("star", "dev", "MRR@10"): 0.3333333}
    lines = table(compare([entry(), entry("none_such", value=1)], scores, ["star"])).splitlines()
    assert lines[0].split() == ["system", "split", "measure", "found", "expected", "tolerance", "verdict", "source"]
    assert lines[1].split(maxsplit=7) == [
        "star", "dev", "MRR@10", "0.3333", "0.3400", "0.005", "short", "Zhan et al. 2021"
    ]  # fmt: skip
    assert lines[2].split()[3:7] == ["-", "1.0000", "0.005", "missing"]
    assert len({line.index(word) for line, word in zip(lines, ("verdict", "short", "missing"), strict=True)}) == 1


def test_the_command_finds_the_file_beside_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "study.yaml"
    config.write_text(CONFIG, encoding="utf-8")
    with pytest.raises(SystemExit, match=r"The file of expected scores does not exist"):
        main(["expect", "--configfile", str(config)])
    assert expected_file(config) == write(tmp_path, GOOD)
    with pytest.raises(
        SystemExit, match=r"There are no measured scores yet\.\n  where:    results/study/measures\.csv"
    ):
        main(["expect", "--configfile", str(config)])
    measures = tmp_path / "results" / "study" / "measures.csv"
    measures.parent.mkdir(parents=True)
    header = "system,split,measure,value\n"
    measures.write_text(f"{header}star,dev,MRR@10,0.342\nbm25,dev,R@100,0.9\n", encoding="utf-8")
    main(["expect", "--configfile", str(config)])
    assert [line.split()[6] for line in capsys.readouterr().out.splitlines()[1:3]] == ["pass", "beyond"]
    measures.write_text(f"{header}star,dev,MRR@10,0.3\n", encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["expect", "study.expected.yaml", "--configfile", str(config)])
    assert ended.value.code == 1
    assert [line.split()[6] for line in capsys.readouterr().out.splitlines()[1:3]] == ["short", "missing"]
