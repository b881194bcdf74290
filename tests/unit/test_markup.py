"""Files with marked-up records: TREC documents, SMART records and XML topics."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from hardneg.data.collection import Passage, Query
from hardneg.data.columns import Table
from hardneg.data.formats.tables import Files
from hardneg.errors import HardnegError

DOCUMENTS = """<DOC>
<DOCNO> AP-1 </DOCNO>
<FILEID>AP-NR-1</FILEID>
<HEAD>A Head &amp; More</HEAD>
<HEAD>Second head</HEAD>
<TEXT>
 First   text with a List<String> and a < b.
<P>
A paragraph </P>
</TEXT>
<TEXT>second part<!-- a
comment --></TEXT>
</DOC>

<doc><docno>FT-2</docno><headline></headline>
<lp>lead</lp> <text>body</text></doc>
<DOC>
<DOCNO>3</DOCNO>
<DOCHDR>http://x 200</DOCHDR>
<title>Web <b>page</b></title>
compact memories <br> have flexible <a href="x>y">links</a>
</DOC>
"""
FOUND = [
    Passage("AP-1", "A Head & More", "First text with a List<String> and a < b. A paragraph second part"),
    Passage("FT-2", "", "body lead"),
    Passage("3", "Web page", "compact memories have flexible links"),
]

SMART = """.I 1
.T
experimental investigation of the
aerodynamics of a wing
.A
brenckman,m.
.B
j. ae. scs. 25, 1958, 324.
.W
an experimental study of a wing .
 the second line

.W
.I 0020
.T
only a title
.X
1 5 2
.I three
.W
only a text
"""
RECORDS = [
    Passage(
        "1",
        "experimental investigation of the aerodynamics of a wing",
        "an experimental study of a wing . the second line",
    ),
    Passage("20", "only a title", ""),
    Passage("three", "", "only a text"),
]


def put(path: Path, text: str) -> Path:
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def passages(path: Path, **settings: Any) -> list[Passage]:
    return list(Files(Table(path, **settings), {}).passages())


def asked(folder: Path, name: str, text: str, ids: tuple[str, ...]) -> list[Query]:
    put(folder / "p.tsv", "d1\ta passage\n")
    put(folder / "qrels", "".join(f"{query} 0 d1 1\n" for query in ids))
    reader = Files(Table(folder / "p.tsv"), {"test": (Table(put(folder / name, text)), Table(folder / "qrels"))})
    return list(reader.queries("test"))


@pytest.mark.parametrize("name", ["ap880212", "docs.txt", "docs.trec.gz", "cran.all"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_trec_documents(tmp_path: Path, name: str, ending: str) -> None:
    path = put(tmp_path / name, DOCUMENTS.replace("\n", ending))
    assert passages(path) == FOUND
    assert [passage.where for passage in passages(path)] == [f"{path}:{line}" for line in (1, 15, 17)]
    assert not any("TREC" in line for line in Files(Table(path), {}).provenance()["told"].values())


def test_a_folder_of_trec_documents(tmp_path: Path) -> None:
    blocks = DOCUMENTS.split("\n\n")
    put(tmp_path / "ap1", blocks[0])
    put(tmp_path / "ft2.gz", blocks[1])
    assert passages(tmp_path) == FOUND


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (DOCUMENTS.rstrip().removesuffix("</DOC>"), ":17\n  found:    the end of the file"),
        (DOCUMENTS.replace("</DOC>\n\n", "\n\n"), "A document is not closed."),
        (DOCUMENTS.replace("<doc>", "stray <doc>"), "has no opening tag.\n  where:    {path}:15\n  found:    stray"),
        (DOCUMENTS.replace("<docno>FT-2</docno>", ""), "no id.\n  where:    {path}:15\n"),
    ],
)
def test_broken_documents_are_refused_with_their_place(tmp_path: Path, text: str, said: str) -> None:
    path = put(tmp_path / "docs", text)
    with pytest.raises(HardnegError) as fault:
        passages(path)
    assert said.replace("{path}", str(path)) in str(fault.value)


@pytest.mark.parametrize("name", ["cran.all.1400", "cacm.txt", "vaswani.gz"])
def test_smart_records(tmp_path: Path, name: str) -> None:
    assert passages(put(tmp_path / name, SMART)) == RECORDS


def test_smart_queries_and_qrels(tmp_path: Path) -> None:
    text = ".I 001\n.W\nwhat similarity laws\n must be obeyed\n.I 2\n.W\nwhat are\n.N\n 2. somebody\n"
    expected = [Query("1", "what similarity laws must be obeyed"), Query("2", "what are")]
    assert asked(tmp_path, "cran.qry", text, ("1", "2")) == expected
    assert asked(tmp_path, "query.text", text, ("2",)) == expected[1:]


@pytest.mark.parametrize("text", [".I 1\nbefore a field\n", ".I 1\n.W\n.I 2\n lost\n"])
def test_a_line_of_no_field(tmp_path: Path, text: str) -> None:
    with pytest.raises(HardnegError, match=r"belongs to no field(.|\n)*docs:[24]\n"):
        passages(put(tmp_path / "docs", text))


TOPICS = {
    "covid": '<topics task="X">\n<topic number="1">\n<query>what is</query>\n<question>is it so?</question></topic>\n'
    '<topic number="2"><query>a &lt; <i>b</i></query></topic></topics>',
    "trials": '<topics><topic number="1">\n what\n is </topic><topic number="2">a &lt; b</topic></topics>',
    "health": "<topics>\n<topic><number>1</number><query>what is</query></topic>"
    "<topic><number>2</number><title>a &lt; b</title></topic></topics>",
    "web": '<webtrack2012>\n<!-- note -->\n<topic number="1" type="faceted"><query>what is</query><description>d'
    '</description><subtopic number="1">s</subtopic></topic><topic number="2"><query>a &lt; b</query></topic>'
    "</webtrack2012>",
    "named": '<t:topics xmlns:t="http://x"><t:topic number="1"><t:query>what is</t:query></t:topic><t:topic number="2">'
    "<t:query>a &lt; b</t:query></t:topic></t:topics>",
    "queries": '<queries><query id="1">what is</query><query id="2">a &lt; b</query></queries>',
}


@pytest.mark.parametrize("shape", list(TOPICS))
@pytest.mark.parametrize("start", ["", '<?xml version="1.0" encoding="UTF-8"?>\n', "\ufeff\n", "<!-- topics -->\n"])
@pytest.mark.parametrize("name", ["topics.xml", "topics.txt", "topics.gz"])
def test_xml_topics(tmp_path: Path, shape: str, start: str, name: str) -> None:
    start = start.replace("\ufeff\n", "\ufeff")
    assert asked(tmp_path, name, start + TOPICS[shape], ("1", "2")) == [Query("1", "what is"), Query("2", "a < b")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<topics>\n<topic number='1'><query>a & b</query></topic></topics>", "not valid XML(.|\n)*topics.xml:2\n"),
        ("<topics><topic><query>a</query></topic></topics>", "lacks its id(.|\n)*topic 1\n"),
        ("<topics><topic number='1'><disease>a</disease></topic></topics>", "lacks its text(.|\n)*number, <disease>"),
    ],
)
def test_other_xml_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(HardnegError, match=said):
        asked(tmp_path, "topics.xml", text, ("1",))


def test_topics_are_no_passages(tmp_path: Path) -> None:
    with pytest.raises(HardnegError, match=r"file of passages holds something else(.|\n)*XML topics"):
        passages(put(tmp_path / "p.txt", TOPICS["covid"]))


def test_columns_mean_nothing_to_marked_up_files(tmp_path: Path) -> None:
    with pytest.raises(HardnegError, match="nothing, because the file holds SMART records"):
        passages(put(tmp_path / "p.txt", SMART), columns={"id": "I"})
