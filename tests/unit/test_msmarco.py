"""MS MARCO in its official layout, in miniature."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from hardneg.data.collection import Passage, Query
from hardneg.data.formats.msmarco import MsMarcoDocument, MsMarcoPassage, top1000_rows
from hardneg.data.formats.tables import Files
from hardneg.errors import HardnegError

PASSAGE = {
    "collection.tsv": '0\tThe presence of "communication amid\n1\tEssay on\xa0science.\n2\t\n',
    "queries.train.tsv": "121352\tdefine extreme\n634306\twhat does chattel mean\n5\tunjudged\n",
    "qrels.train.tsv": "121352\t0\t0\t1\n634306\t0\t2\t1\n",
    "queries.dev.tsv": "1048585\tlarge dev\n300674\thow many\n",
    "qrels.dev.tsv": "1048585\t0\t1\t1\n300674\t0\t0\t1\n",
    "queries.dev.small.tsv": "300674\thow many\n",
    "qrels.dev.small.tsv": "300674\t0\t0\t1\n",
    "queries.eval.tsv": "9\tnever judged\n",
    "msmarco-test2019-queries.tsv": "1108939\twhat slows\n1112389\tunjudged\n",
    "2019qrels-pass.txt": "1108939 Q0 0 3\n1108939 Q0 1 0\n1108939 Q0 2 1\n",
    "msmarco-test2020-queries.tsv": "1030303\twho is aziz hashim\n",
    "2020qrels-pass.txt": "1030303 0 2 2\n",
}
DOCUMENT = {
    "msmarco-docs.tsv": 'D1\thttps://a.org/x\tA "title\tBody one.\nD2\thttp://b.org\t.\t\nD3\t\t\tno url\n',
    "msmarco-doctrain-queries.tsv": "3\tanother name for the primary visual cortex is\n",
    "msmarco-doctrain-qrels.tsv": "3 0 D1 1\n",
    "msmarco-docdev-queries.tsv": "174249\tdoes xpress bet charge\n",
    "msmarco-docdev-qrels.tsv": "174249 0 D3 1\n",
    "msmarco-test2019-queries.tsv": "1108939\twhat slows\n",
    "2019qrels-docs.txt": "1108939 Q0 D2 2\n1108939 Q0 D1 0\n",
}


def fill(folder: Path, files: dict[str, str], packed: tuple[str, ...] = ()) -> Path:
    for name, text in files.items():
        if name in packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
        else:
            (folder / name).write_text(text, encoding="utf-8")
    return folder


def judged(reader: Files, split: str) -> list[tuple[str, str, int]]:
    return [(j.query_id, j.passage_id, j.grade) for j in reader.judgements(split)]


@pytest.mark.parametrize("packed", [(), tuple(PASSAGE)])
def test_passages(tmp_path: Path, packed: tuple[str, ...]) -> None:
    reader = MsMarcoPassage(fill(tmp_path, PASSAGE, packed))
    assert reader.splits() == ("train", "dev", "dl2019", "dl2020")
    assert list(reader.passages()) == [
        Passage("0", "", 'The presence of "communication amid'),
        Passage("1", "", "Essay on\xa0science."),
        Passage("2", "", ""),
    ]
    assert [query.query_id for query in reader.queries("train")] == ["121352", "634306"]
    assert list(reader.queries("dev")) == [Query("300674", "how many")]
    assert list(reader.queries("dl2019")) == [Query("1108939", "what slows")]
    assert judged(reader, "train") == [("121352", "0", 1), ("634306", "2", 1)]
    assert judged(reader, "dl2019") == [("1108939", "0", 3), ("1108939", "1", 0), ("1108939", "2", 1)]
    assert judged(reader, "dl2020") == [("1030303", "2", 2)]
    ending = ".gz" if packed else ""
    assert list(reader.files(["dev"])) == [
        f"passages/collection.tsv{ending}",
        f"queries.dev/queries.dev.small.tsv{ending}",
        f"qrels.dev/qrels.dev.small.tsv{ending}",
    ]
    assert reader.provenance()["queries_without_judgements"] == {"train": 1, "dev": 0, "dl2019": 1, "dl2020": 0}


def test_documents(tmp_path: Path) -> None:
    reader = MsMarcoDocument(fill(tmp_path, DOCUMENT, ("msmarco-docs.tsv", "msmarco-doctrain-queries.tsv")))
    assert reader.splits() == ("train", "dev", "dl2019")
    assert list(reader.passages()) == [
        Passage("D1", 'A "title', "Body one.", url="https://a.org/x"),
        Passage("D2", ".", "", url="http://b.org"),
        Passage("D3", "", "no url"),
    ]
    assert judged(reader, "dev") == [("174249", "D3", 1)]
    assert judged(reader, "dl2019") == [("1108939", "D2", 2), ("1108939", "D1", 0)]


def test_white_space_at_the_end_of_a_field_is_no_text(tmp_path: Path) -> None:
    """A byte-level tokenizer would make a token of it; see test_tokenizer_contract."""
    files = {
        **DOCUMENT,
        "msmarco-docs.tsv": "D1\thttps://a.org/x \t A title\xa0\t  Body  one. \u3000\nD3\t\t \t \n",
        "msmarco-docdev-queries.tsv": "174249\t does xpress  bet charge  \n",
    }
    reader = MsMarcoDocument(fill(tmp_path, files))
    assert list(reader.passages()) == [
        Passage("D1", " A title", "  Body  one.", url="https://a.org/x"),
        Passage("D3", "", "", url=""),
    ]
    assert list(reader.queries("dev")) == [Query("174249", " does xpress  bet charge")]


def test_dev_without_the_small_one(tmp_path: Path) -> None:
    files = {name: text for name, text in PASSAGE.items() if ".small" not in name and "20" not in name}
    reader = MsMarcoPassage(fill(tmp_path, files))
    assert reader.splits() == ("train", "dev")
    assert judged(reader, "dev") == [("1048585", "1", 1), ("300674", "0", 1)]
    with pytest.raises(HardnegError) as fault:
        reader.files(["dl2020"])
    assert "expected: msmarco-test2020-queries.tsv with 2020qrels-pass.txt (dl2020); each plain" in str(fault.value)
    with pytest.raises(HardnegError, match=r"found: +eval\n +expected: train, dev"):
        list(reader.judgements("eval"))


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(HardnegError, match=r"found: +no such folder\n +expected: msmarco-docs\.tsv; each plain or"):
        MsMarcoDocument(tmp_path / "nowhere")
    with pytest.raises(HardnegError, match=r"found: +an empty folder"):
        MsMarcoPassage(tmp_path)
    fill(tmp_path, {name: PASSAGE[name] for name in ("queries.train.tsv", "queries.dev.tsv")})
    with pytest.raises(
        HardnegError, match=r"found: +queries\.dev\.tsv, queries\.train\.tsv\n +expected: collection\.tsv"
    ):
        MsMarcoPassage(tmp_path)
    fill(tmp_path, {"collection.tsv": PASSAGE["collection.tsv"]})
    with pytest.raises(
        HardnegError, match=r"queries\.train\.tsv with qrels\.train\.tsv \(train\); or queries\.dev\.small"
    ):
        MsMarcoPassage(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "line", "words"),
    [
        ("collection.tsv", "0\ta\n1\tb\tc\n", 2, "found:    3: '1<tab>b<tab>c'\n  expected: 2\n"),
        ("collection.tsv", "0\ta\tb\n", 1, "found:    3: "),
        ("collection.tsv", "0\ta\n\tb\n", 2, "no valid passage id"),
        ("queries.train.tsv", "121352\ta\n634306\n", 2, "found:    1: '634306'"),
    ],
)
def test_refused(tmp_path: Path, name: str, text: str, line: int, words: str) -> None:
    reader = MsMarcoPassage(fill(tmp_path, PASSAGE | {name: text}))
    with pytest.raises(HardnegError) as fault:
        list(reader.passages())
        list(reader.queries("train"))
    assert f"{tmp_path / name}:{line}\n" in str(fault.value)
    assert words in str(fault.value)


def test_query_of_the_qrels_that_is_absent(tmp_path: Path) -> None:
    reader = MsMarcoPassage(fill(tmp_path, PASSAGE | {"qrels.train.tsv": "1\t0\t0\t1\n5\t0\t1\t1\n2\t0\t0\t1\n"}))
    with pytest.raises(
        HardnegError, match=r"not in queries\.train\.tsv(.|\n)*qrels\.train\.tsv:1\n +found: +1 \(2 in all"
    ):
        list(reader.queries("train"))


def test_top1000(tmp_path: Path) -> None:
    path = tmp_path / "top1000.dev"
    path.write_text("188714\t1000052\tfoods\tWhy\n188714\t1000084\tfoods\tIn\n9\t1000052\tq\tWhy\n", encoding="utf-8")
    assert list(top1000_rows(path)) == [("188714", "1000052", 1), ("188714", "1000084", 2), ("9", "1000052", 1)]
    path.write_text("188714\t1000052\n", encoding="utf-8")
    with pytest.raises(HardnegError, match=r"top1000\.dev:1\n +found: +2: "):
        list(top1000_rows(path))
