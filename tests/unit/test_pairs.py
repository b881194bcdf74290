"""Rows of pairs: every shape that people bring, ids from texts, merging, given negatives, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hardneg.config import load
from hardneg.data.columns import Table
from hardneg.data.formats.pairs import Pairs
from hardneg.data.holdout import HeldOut
from hardneg.data.prepare import prepare, repairs
from hardneg.data.readers import open_collection, roots
from hardneg.errors import HardnegError

ROWS = [("who mends kettles", ["the tinker"], ["the baker", "a rope"]), ("what rusts", ["iron", "steel"], ["wood"])]


def lines(rows: Sequence[object]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def reader_of(path: Path, content: str | Sequence[object], **settings: Any) -> Pairs:
    path.write_text(content if isinstance(content, str) else lines(content), encoding="utf-8")
    return Pairs({"train": Table(path)}, **settings)


def triples(reader: Any, split: str = "train") -> list[tuple[str, list[str], list[str]]]:
    """Query, relevant passages and negatives, as texts."""
    texts = {passage.passage_id: f"{passage.title} {passage.text}".strip() for passage in reader.passages()}
    found = []
    for query in reader.queries(split):
        judged = [j.passage_id for j in reader.judgements(split) if j.query_id == query.query_id]
        given = [g.passage_id for g in reader.given(split) if g.query_id == query.query_id and not g.relevant]
        found.append((query.text, [texts[each] for each in judged], [texts[each] for each in given]))
    return found


def passages(texts: list[str]) -> list[dict[str, str]]:
    return [{"docid": str(number), "title": "", "text": text} for number, text in enumerate(texts)]


def shapes() -> dict[str, list[dict[str, Any]]]:
    """The rows in the shapes of other tools' documentation."""
    both = [(query, positives, negatives) for query, positives, negatives in ROWS]
    return {
        "flagembedding": [{"query": q, "pos": p, "neg": n, "prompt": "", "type": "normal"} for q, p, n in both],
        "tevatron": [
            {"query_id": "1", "query": q, "positive_passages": passages(p), "negative_passages": passages(n)}
            for q, p, n in both
        ],
        "lists": [{"Question": q, "Answer": p, "Negatives": n} for q, p, n in both],
        "numbered": [
            {"anchor": q, "positive": p, **{f"negative_{k}": text for k, text in enumerate(n, 1)}} for q, p, n in both
        ],
        "hard": [{"question": q, "positives": p, "hard_negatives": n} for q, p, n in both],
    }


@pytest.mark.parametrize("shape", list(shapes()))
@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet"])
def test_rows_of_lists(tmp_path: Path, shape: str, ending: str) -> None:
    rows, path = shapes()[shape], tmp_path / f"pairs.{ending}"
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
        reader = Pairs({"train": Table(path)})
    else:
        reader = reader_of(path, json.dumps(rows) if ending == "json" else rows)
    assert triples(reader) == ROWS


PLAIN = [("one?", "first", "second"), ("two?", "third, with comma", "fourth")]


@pytest.mark.parametrize("ending", ["csv", "tsv"])
@pytest.mark.parametrize("header", [("anchor", "positive", "negative"), ("Query", "POS", "neg"), None])
def test_rows_of_texts(tmp_path: Path, ending: str, header: tuple[str, ...] | None) -> None:
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter="," if ending == "csv" else "\t", lineterminator="\n", quotechar="|")
    writer.writerows([*([header] if header else []), *PLAIN])
    text = stream.getvalue().replace("|", '"')
    expected = [(query, [positive], [negative]) for query, positive, negative in PLAIN]
    assert triples(reader_of(tmp_path / f"pairs.{ending}", text)) == expected


def test_lists_in_cells_are_json_and_other_brackets_are_text(tmp_path: Path) -> None:
    rows = [
        ("a?", '["one", "two"]', '[{"title": "T", "text": "x"}]', "[0.5, 1]"),
        ("b?", "[1] see", "[not] {a list}", ""),
    ]
    frame = pd.DataFrame(rows, columns=["query", "positive", "negative", "pos_scores"])
    frame.to_csv(tmp_path / "pairs.csv", index=False)
    reader = Pairs({"train": Table(tmp_path / "pairs.csv")})
    assert triples(reader) == [("a?", ["one", "two"], ["T x"]), ("b?", ["[1] see"], ["[not] {a list}"])]
    assert [each.score for each in reader.given("train")][:2] == [0.5, 1.0]
    # In JSON a text is a text.
    row = {"query": "c?", "positive": '["one", "two"]'}
    assert triples(reader_of(tmp_path / "p.jsonl", [row])) == [("c?", ['["one", "two"]'], [])]


def test_equal_texts_are_one(tmp_path: Path) -> None:
    rows = [
        {"query": "who?", "pos": ["a", "b"]},
        {"query": " who?\n", "pos": ["a", "c"], "neg": ["a ", "d"]},
        {"query": "Who?", "pos": "d"},
    ]
    reader = reader_of(tmp_path / "pairs.jsonl", rows)
    assert [passage.text for passage in reader.passages()] == ["a", "b", "c", "d"]
    assert triples(reader)[0][:2] == ("who?", ["a", "b", "c"])
    assert len({query.query_id for query in reader.queries("train")}) == 2
    # Ids come from the texts alone, whatever stands before them.
    other = reader_of(tmp_path / "other.jsonl", rows[::-1])
    assert {p.passage_id: p.text.strip() for p in reader.passages()} == {
        p.passage_id: p.text.strip() for p in other.passages()
    }


@pytest.mark.parametrize("titled", [False, True])
def test_a_corpus_is_joined(tmp_path: Path, titled: bool) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text(
        lines([{"id": "c1", "title": "T", "text": "one"}, {"id": "c2", "text": "two"}, {"id": "c3", "text": "two"}])
    )
    row = {"query": "who?", "pos": "T one" if titled else "one", "neg": ["two ", "new"]}
    reader = reader_of(tmp_path / "pairs.jsonl", [row], corpus=Table(corpus))
    assert [passage.passage_id for passage in reader.passages()][:3] == ["c1", "c2", "c3"]
    assert [passage.text for passage in reader.passages()] == ["one", "two", "two", "new"]
    assert [judgement.passage_id for judgement in reader.judgements("train")] == ["c1"]
    assert [each.passage_id for each in reader.given("train")][:2] == ["c1", "c2"]
    assert set(reader.files(["train"])) == {"pairs.train/pairs.jsonl", "corpus/corpus.jsonl"}


def test_labels_are_grades(tmp_path: Path) -> None:
    text = "query,passage,label\nwho?,a,2\nwho?,b,0\nwhat?,c,0\nwho?,d,1.0\n"
    reader = reader_of(tmp_path / "pairs.csv", text)
    assert triples(reader) == [("who?", ["a", "d"], ["b"])]
    assert [judgement.grade for judgement in reader.judgements("train")] == [2, 1]
    told = reader.provenance()["told"]
    assert told == {"train rows without a relevant passage": "2 (their negatives are not used)"}


def test_what_is_not_used_is_told(tmp_path: Path) -> None:
    rows = [{"query": "a", "pos": "b", "prompt": "x", "type": "y"}, {"query": "c", "pos": []}]
    assert reader_of(tmp_path / "pairs.txt", rows).provenance()["told"] == {
        "pairs.txt": "read as JSON",
        "train rows without a relevant passage": "1 (their negatives are not used)",
        "train columns that are not used": "prompt, type",
    }


def test_columns_of_other_names(tmp_path: Path) -> None:
    rows = [{"ask": "a?", "good": "g", "bad": "b", "worse": ["w", "x"], "query": "no"}]
    columns = {"query": "ask", "positive": "good", "negative": ["bad", "worse"]}
    assert triples(reader_of(tmp_path / "p.jsonl", rows, columns=columns)) == [("a?", ["g"], ["b", "w", "x"])]
    text = "ask\tgood\na?\tg\n"
    assert triples(reader_of(tmp_path / "p.tsv", text, columns={"query": "ask", "positive": "good"})) == [
        ("a?", ["g"], [])
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"query": "a", "text": "b"}\n', "no column or key for `positive`"),
        ('{"query": "", "pos": "b"}\n', "has no query"),
        ('{"query": null, "pos": "b"}\n', "has no query"),
        ('{"query": "a", "pos": 7}\n', "expected: a string"),
        ('{"query": "a", "pos": [{"docid": "7"}]}\n', "has no text"),
        ('{"query": "a", "pos": ["b"], "pos_scores": [1, 2]}\n', "expected: 1 finite numbers"),
        ('{"query": "a", "pos": ["b"], "neg_scores": [1]}\n', "expected: 0 finite numbers"),
        ('{"query": "a", "pos": ["b"], "neg": ["c"], "scores": [1]}\n', "expected: 2 finite numbers"),
        ('{"query": "a", "pos": ["b"], "scores": ["high"]}\n', "expected: 1 finite numbers"),
        ('{"query": "a", "pos": ["b"], "label": 0.7}\n', "not a grade"),
        ("source text,target text\none,two\n", "looks like a header"),
        ("one,two,three,four\n", "or a header"),
        ("query,positive\none\n", "2, as in the first line"),
    ],
)
def test_what_is_refused_with_its_place(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / ("p.jsonl" if content.startswith("{") else "p.csv")
    with pytest.raises(HardnegError) as fault:
        triples(reader_of(path, content))
    assert said in str(fault.value) and f"{path}:" in str(fault.value)


def test_given_negatives_and_scores_are_written(tmp_path: Path) -> None:
    rows = [
        {"query": "a?", "pos": ["p", "q"], "neg": ["n", "p", "m"], "pos_scores": [3, 2.5], "neg_scores": [1, 0, -1]},
        {"query": "b?", "pos": ["q"], "neg": ["m"]},
        {"query": "a?", "pos": ["q"], "neg": ["m", "o"]},
        {"query": "no?", "pos": [], "neg": ["m"]},
    ]
    folder = tmp_path / "out"
    folder.mkdir()
    names, facts = prepare(reader_of(tmp_path / "pairs.jsonl", rows), folder, ["train"], "train")
    assert sorted(names) == sorted(path.name for path in folder.iterdir())
    texts = pq.read_table(folder / "passages.parquet")["text"].to_pylist()
    given = pq.read_table(folder / "given.train.parquet")
    assert [str(field.type) for field in given.schema] == ["int32", "int32", "int32", "float"]
    found = [
        (q, texts[p], rank, None if math.isnan(score) else score)
        for q, p, rank, score in zip(*given.to_pydict().values(), strict=True)
    ]
    assert found == [(0, "n", 1, 1.0), (0, "m", 2, -1.0), (0, "o", 3, None), (1, "m", 1, None)]
    own = pq.read_table(folder / "given_positives.train.parquet").to_pydict()
    assert sorted(zip(own["query"], [texts[p] for p in own["passage"]], own["score"], strict=True)) == [
        (0, "p", 3.0),
        (0, "q", 2.5),
    ]
    counts = facts["splits"]["train"]
    assert (counts["queries"], counts["given_negatives"], counts["given_negatives_relevant"]) == (2, 4, 1)
    assert "train given negatives that are relevant to their query: 1 (no negatives)" in list(repairs(facts))


def test_a_holdout_keeps_the_given_negatives_of_its_queries(tmp_path: Path) -> None:
    rows = [{"query": f"q{number}?", "pos": [f"p{number}"], "neg": ["n"]} for number in range(60)]
    path = tmp_path / "pairs.jsonl"
    reader = HeldOut(reader_of(path, rows), "train", {"dev": 0.3})
    sizes = {}
    for split in ("train", "dev"):
        asked = {query.query_id for query in reader.queries(split)}
        assert {each.query_id for each in reader.given(split)} == asked
        sizes[split] = len(asked)
    assert sum(sizes.values()) == 60 and 5 < sizes["dev"] < 35


SYSTEMS = {"bm25": {"preset": "bm25"}}


def test_from_a_configuration(tmp_path: Path) -> None:
    for name in ("train", "dev"):
        (tmp_path / f"{name}.tsv").write_text(f"ask\tpositive\n{name}?\ttext\n")
    collection = {
        "format": "pairs",
        "name": "x",
        "splits": {"train": str(tmp_path / "train.tsv"), "dev": {"path": str(tmp_path / "dev.tsv")}},
        "columns": {"query": "ask"},
    }
    config = load({"collection": collection, "systems": SYSTEMS, "splits": {"evaluate": ["dev"]}})
    chosen = config.collection.model_dump(mode="json")
    reader = open_collection(chosen, "train")
    assert [query.text for query in reader.queries("dev")] == ["dev?"]
    assert roots(chosen) == ["hardneg.data.formats.pairs:Pairs"]
    with pytest.raises(HardnegError, match=r"no such split(.|\n)*found: +test"):
        reader.files(["test"])
    faults: list[dict[str, Any]] = [{"splits": {}}, {"path": "pairs.jsonl"}]
    for wrong in faults:
        with pytest.raises(HardnegError, match="exactly one of two ways"):
            load({"collection": {**collection, **wrong}, "systems": SYSTEMS})
