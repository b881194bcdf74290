"""Wrong collections: each fault is reported with its file and line."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Project, new_project
from wrong_inputs import Case, check_refused, check_refused_by_its_script, line, nothing, repeated, written


def grades_zero(project: Project) -> None:
    """Judge every training passage as not relevant."""
    path = project.folder / "data/qrels/train.tsv"
    path.write_text(path.read_text(encoding="utf-8").replace("\t1\n", "\t0\n"), encoding="utf-8")


def ids_of_another_collection(project: Project) -> None:
    path = project.folder / "data" / "qrels" / "train.tsv"
    path.write_text(path.read_text(encoding="utf-8").replace("\tp", "\tother-"), encoding="utf-8")


PASSAGE = '{"_id": "p0", "title": "", "text": "a"}'

DATA = [
    Case(
        "judgements of another collection",
        ids_of_another_collection,
        (
            "A judgement names a passage that does not exist.",
            "data/qrels/train.tsv:2",
            "'other-",
            "all of them",
            "remove the judgement",
        ),
        fails="collection",
        whole=True,
    ),
    Case(
        "judgement of a missing query",
        line("data/qrels/dev.tsv", 7, "nobody\tp0\t1"),
        ("The qrels judge a query that is not in queries.jsonl.", "data/qrels/dev.tsv:7", "nobody", "add the query"),
        fails="collection",
    ),
    Case(
        "no passages",
        written("data/corpus.jsonl", ""),
        ("The collection has no passages.", "data/corpus.jsonl", "put the passages there"),
        fails="collection",
    ),
    Case(
        "passage id twice",
        repeated("data/corpus.jsonl", 5, 200),
        (
            "The passages have duplicate ids.",
            "data/corpus.jsonl:5 and data/corpus.jsonl:200",
            "remove or rename",
        ),
        fails="collection",
    ),
    Case(
        "query id twice",
        repeated("data/queries.jsonl", 2, 145),
        ("The train queries have duplicate ids.", "data/queries.jsonl:2 and data/queries.jsonl:145", "rename"),
        fails="collection",
    ),
    Case(
        "broken JSON",
        line("data/corpus.jsonl", 31, '{"_id": "p", "text": '),
        ("A line is not valid JSON.", "data/corpus.jsonl:31", "fix or remove that line"),
        fails="collection",
    ),
    Case(
        "broken JSON, with retries",
        line("data/queries.jsonl", 9, "words"),
        ("A line is not valid JSON.", "data/queries.jsonl:9", "fix or remove that line", "Trying to restart job"),
        fails="collection",
        arguments=("--retries", "1"),
    ),
    Case(
        "missing key",
        line("data/corpus.jsonl", 12, '{"_id": "p", "contents": "words"}'),
        ("A record has no key `text`.", "data/corpus.jsonl:12", "_id, contents", "add the key"),
        fails="collection",
    ),
    Case(
        "number for text",
        line("data/queries.jsonl", 3, '{"_id": 3, "text": "words"}'),
        ("The value of `_id` is invalid.", "data/queries.jsonl:3", "correct the value"),
        fails="collection",
    ),
    Case(
        "not UTF-8",
        line("data/corpus.jsonl", 77, PASSAGE.encode().replace(b'"a"', b'"caf\xe9"')),
        ("A line is not UTF-8 text.", "data/corpus.jsonl:77", "byte 0xe9", "save the file as UTF-8"),
        fails="collection",
    ),
    Case(
        "no positives to train on",
        grades_zero,
        ("A split has no positive judgement.", "data/qrels/train.tsv:2", "check the qrels of the training split"),
        fails="collection",
    ),
    Case(
        "no queries in a split",
        written("data/qrels/test.tsv", "query-id\tcorpus-id\tscore\n"),
        ("A split has no queries.", "split test", "check its queries and judgements"),
        fails="collection",
    ),
    Case(
        "judgement of two columns",
        line("data/qrels/test.tsv", 4, "q0-5\tp0"),
        ("A line of the qrels does not have three columns.", "data/qrels/test.tsv:4", "separated by tabs"),
        fails="collection",
    ),
    Case(
        "grade that is no number",
        line("data/qrels/test.tsv", 4, "q0-5\tp0\thigh"),
        ("A grade is not an integer.", "data/qrels/test.tsv:4", "'high'", "correct the grade"),
        fails="collection",
    ),
    Case(
        "judgements without a header",
        line("data/qrels/train.tsv", 1, "q0-0\tp0-0\t1"),
        ("The qrels have no header.", "data/qrels/train.tsv:1", "add the header as the first line"),
        fails="collection",
    ),
    Case(
        "full disk while a collection is prepared",
        nothing,
        ("Could not write a file", "passages.parquet", "free space"),
        fails="collection",
        file_bytes=20_000,
    ),
]


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in DATA])
def test_a_wrong_collection_is_refused(case: Case, tmp_path: Path) -> None:
    project = new_project(tmp_path / "project")
    (check_refused if case.needs_snakemake else check_refused_by_its_script)(case, project)
