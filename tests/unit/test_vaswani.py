"""The Vaswani collection's own files: records that a line with a slash ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hardneg.config import load
from hardneg.data.collection import Judgement, Passage, Query
from hardneg.data.formats.vaswani import Vaswani
from hardneg.data.readers import open_collection
from hardneg.errors import HardnegError
from hardneg.planning.plan import Plan

# Written for this test, in the form of the collection's files.
FILES = {
    "doc-text": "1\nvalves and their noise\n at low frequencies\n   /\n2\na / b ratio of\n/path\n   /\n3\n   /\n",
    "query-text": "1\nNOISE OF VALVES\n/\n2\nRATIOS\n/\n3\nNOT JUDGED\n/\n",
    "rlv-ass": "1\n   1   3\n   2\n   /\n2\n   2\n   /\n",
}


def folder_of(path: Path, suffix: str = "", **changed: str) -> Path:
    path.mkdir()
    for name, text in (FILES | changed).items():
        (path / f"{name}{suffix}").write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", ["", ".txt"])
def test_records_end_with_a_slash_on_a_line_of_its_own(tmp_path: Path, suffix: str) -> None:
    reader = Vaswani(folder_of(tmp_path / "npl", suffix))
    assert list(reader.passages()) == [
        Passage("1", "", "valves and their noise at low frequencies"),
        Passage("2", "", "a / b ratio of /path"),
        Passage("3", "", ""),
    ]
    assert list(reader.queries("train")) == [Query("1", "NOISE OF VALVES"), Query("2", "RATIOS")]
    where = tmp_path / "npl" / f"rlv-ass{suffix}"
    assert list(reader.judgements("train")) == [
        *(Judgement("1", passage, 1, f"{where}:1") for passage in "132"),
        Judgement("2", "2", 1, f"{where}:5"),
    ]
    assert reader.splits() == ("train",) and set(reader.files(["train"])) == {f"{name}{suffix}" for name in FILES}
    assert {facts["bytes"] for facts in reader.provenance()["files"].values()} == {len(text) for text in FILES.values()}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("doc-text", "1\nvalves\n", r"(?s)not closed.*doc-text:1.*a line with /"),
        ("doc-text", "valves\n/\n", r"(?s)does not begin with its number.*doc-text:1.*'valves'"),
        ("doc-text", "1\nvalves\n/\n/\n", r"(?s)does not begin with its number.*doc-text:4"),
        ("query-text", "1\nNOISE\n/\n", r"(?s)judge a query that is not in query-text.*rlv-ass:5.*2 \(1 in all\)"),
    ],
)
def test_what_has_another_form_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    reader = Vaswani(folder_of(tmp_path / "npl", **{name: text}))
    with pytest.raises(HardnegError, match=message):
        list(reader.passages() if name == "doc-text" else reader.queries("train"))


def test_a_missing_file_and_another_split_are_told(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "npl")
    with pytest.raises(HardnegError, match=r"(?s)no such split.*test.*collection\.holdout"):
        list(Vaswani(folder).queries("test"))
    (folder / "rlv-ass").unlink()
    with pytest.raises(HardnegError, match=r"(?s)missing.*doc-text, query-text.*rlv-ass or rlv-ass\.txt"):
        Vaswani(folder)


def test_it_is_a_format_of_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder_of(tmp_path / "npl")
    collection = {"format": "vaswani", "name": "npl", "path": "npl", "holdout": {"test": 0.5}}
    raw: dict[str, Any] = {
        "collection": collection,
        "splits": {"evaluate": ["test"]},
        "systems": {"bm25": {"preset": "bm25"}},
    }
    config = load(raw)
    assert Plan(config).collection.settings["splits"] == ["train", "test"]
    reader = open_collection(config.collection.model_dump(mode="json"), "train")
    assert {"train", "test"} <= set(reader.splits())
    asked = [query.query_id for split in ("train", "test") for query in reader.queries(split)]
    assert sorted(asked) == ["1", "2"]
