"""Texts from a language model: what is asked, kept, checked and gone on with. The model is a function here."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError

from hardneg.errors import HardnegError
from hardneg.generation.answers import ANSWERS, Answers
from hardneg.generation.cost import Budget, most_input_tokens
from hardneg.generation.generate import generate
from hardneg.generation.prompts import load_prompt
from hardneg.generation.settings import RUNTIME, GenerationSettings
from hardneg.generation.types import NO_QUERY, Answer, Keep, Outcome, Question, Request

REQUESTS = [
    Request(7, 3, "capital of australia", "Canberra is the capital of Australia."),
    Request(2, 5, "sort a list", "list.sort() sorts in place."),
]
PASSAGES = [Request(NO_QUERY, one.passage, "", one.passage_text) for one in REQUESTS]


class Scripted:
    """A model that answers by a function of the question, and remembers what it was asked."""

    def __init__(self, text: Callable[[Question], str | Answer], stop_after: int | None = None) -> None:
        self.text, self.stop_after = text, stop_after
        self.asked: list[Question] = []
        self.identity: Mapping[str, str] = {"model": "scripted"}

    def write(self, questions: Sequence[Question], missing: Sequence[int], budget: Budget, keep: Keep) -> None:
        for position in reversed(missing):  # any order is allowed
            if len(self.asked) == self.stop_after:
                raise KeyboardInterrupt
            self.asked.append(questions[position])
            found = self.text(questions[position])
            keep(position, found if isinstance(found, Answer) else Answer(found, "stop", 30, 5))


def content(question: Question) -> str:
    return question.messages[-1]["content"]


def is_check(question: Question) -> bool:
    return "yes or no" in content(question)


def plain(question: Question) -> str:
    return "No." if is_check(question) else f"Text {question.prompt_digest[:8]} {question.number}."


def settings(**own: object) -> GenerationSettings:
    return GenerationSettings.model_validate({"model": "scripted", "per_query": 2, **own})


def run(folder: Path, writer: Scripted, requests: Sequence[Request] = REQUESTS, **own: object) -> Outcome:
    folder.mkdir(exist_ok=True)
    return generate(requests, settings(**own), folder, writer)


# --- what is asked and what comes back ---


def test_texts_come_in_the_order_of_requests_and_each_is_checked(tmp_path: Path) -> None:
    writer = Scripted(plain)
    outcome = run(tmp_path, writer)
    assert [(one.query, one.passage, one.number) for one in outcome.generated] == [
        (7, 3, 1), (7, 3, 2), (2, 5, 1), (2, 5, 2),
    ]  # fmt: skip
    assert outcome.accepted == outcome.generated and outcome.rejections == {}
    checks = [content(question) for question in writer.asked if is_check(question)]
    assert len(checks) == 4 and all(any(one.text in check for check in checks) for one in outcome.generated)
    assert outcome.usage.asked == 8 and outcome.usage.input_tokens == 240 and outcome.usage.output_tokens == 40
    asked = next(one for one in writer.asked if one.prompt_digest == outcome.generated[2].prompt_digest)
    assert "sort a list" in content(asked) and "list.sort() sorts in place." in content(asked)


def test_each_number_has_its_own_angle_and_seed(tmp_path: Path) -> None:
    writer = Scripted(plain)
    run(tmp_path, writer, per_query=6, self_check=False, seed=100)
    first = sorted((one for one in writer.asked if "australia" in content(one)), key=lambda one: one.number)
    assert [one.seed for one in first] == [101, 102, 103, 104, 105, 106]
    angles = load_prompt(settings()).angles
    assert len(angles) == 5
    assert [[angle in content(one) for angle in angles].index(True) for one in first] == [0, 1, 2, 3, 4, 0]
    assert content(first[0]) == content(first[5])  # told apart by number and seed alone


def test_a_negative_that_answers_the_query_is_rejected(tmp_path: Path) -> None:
    outcome = run(tmp_path, Scripted(lambda one: "Yes, it does." if is_check(one) else plain(one)))
    assert outcome.accepted == () and len(outcome.generated) == 4
    assert outcome.rejections == {"answers the query, says the check": 4}


def test_a_check_that_says_neither_rejects(tmp_path: Path) -> None:
    outcome = run(tmp_path, Scripted(lambda one: "Nobody knows" if is_check(one) else plain(one)))
    assert outcome.rejections == {"the check is neither yes nor no": 4}


def test_without_a_check_nothing_more_is_asked(tmp_path: Path) -> None:
    writer = Scripted(plain)
    assert len(run(tmp_path, writer, self_check=False).accepted) == 4
    assert len(writer.asked) == 4


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer("A text that is cut", "length", 9, 256), "cut off at max_new_tokens"),
        (Answer("", "too_long", 9000, 0), "the prompt is longer than the model reads"),
        (Answer("", "content_filter", 9, 0), "ended by the server: content_filter"),
        (Answer(" \n ", "stop", 9, 2), "empty"),
        (Answer("<think>Let me see</think> A text", "stop", 9, 9), "holds the model's thinking"),
        (Answer("canberra is  the capital of AUSTRALIA.", "stop", 9, 9), "repeats another text of this query"),
    ],
)
def test_unusable_texts_are_rejected_and_not_checked(tmp_path: Path, answer: Answer, reason: str) -> None:
    writer = Scripted(lambda one: answer)
    outcome = run(tmp_path, writer, REQUESTS[:1], per_query=1)
    assert [(one.accepted, one.reason) for one in outcome.generated] == [(False, reason)]
    assert len(writer.asked) == 1


def test_a_text_that_repeats_an_accepted_one_is_rejected(tmp_path: Path) -> None:
    outcome = run(tmp_path, Scripted(lambda one: "No." if is_check(one) else "Always the same."))
    assert [one.accepted for one in outcome.generated] == [True, False, True, False]


def test_queries_for_passages_must_be_answered_by_them(tmp_path: Path) -> None:
    def model(question: Question) -> str:
        if is_check(question):
            return "yes" if "list.sort" in content(question) else "no"
        return f"which text is {question.prompt_digest[:6]}?"

    outcome = run(tmp_path, Scripted(model), PASSAGES, kind="queries")
    assert [(one.query, one.passage, one.accepted) for one in outcome.generated] == [
        (NO_QUERY, 3, False), (NO_QUERY, 3, False), (NO_QUERY, 5, True), (NO_QUERY, 5, True),
    ]  # fmt: skip
    assert outcome.rejections == {"is not answered by the passage, says the check": 2}


def test_a_query_of_several_lines_is_rejected(tmp_path: Path) -> None:
    outcome = run(tmp_path, Scripted(lambda one: "one\ntwo"), PASSAGES[:1], kind="queries", per_query=1)
    assert outcome.rejections == {"has several lines": 1}


def test_long_passages_are_cut_in_prompts(tmp_path: Path) -> None:
    writer = Scripted(plain)
    run(tmp_path, writer, [Request(0, 0, "q", "x" * 50 + "y" * 50)], passage_characters=50)
    assert all("y" * 3 not in content(question) for question in writer.asked)
    assert any("x" * 50 in content(question) for question in writer.asked)


@pytest.mark.parametrize(
    ("requests", "said"),
    [
        ([REQUESTS[0], REQUESTS[0]], "stands twice"),
        ([Request(1, 1, " ", "text")], "A query without text"),
        ([Request(1, 1, "query", "")], "A passage without text"),
    ],
)
def test_unusable_requests_are_refused_before_anything_is_asked(
    tmp_path: Path, requests: list[Request], said: str
) -> None:
    writer = Scripted(plain)
    with pytest.raises(HardnegError, match=said):
        run(tmp_path, writer, requests)
    assert writer.asked == [] and list(tmp_path.iterdir()) == []


# --- the file of answers ---


def test_a_rerun_asks_nothing_and_gives_the_same(tmp_path: Path) -> None:
    first, bytes_before = run(tmp_path, Scripted(plain)), (tmp_path / ANSWERS).read_bytes()
    again = Scripted(plain)
    second = run(tmp_path, again)
    assert again.asked == [] and second.generated == first.generated
    assert (second.usage.asked, second.usage.known) == (0, 8)
    assert second.usage.input_tokens == first.usage.input_tokens
    assert (tmp_path / ANSWERS).read_bytes() == bytes_before


@pytest.mark.parametrize("stop_after", range(8))
def test_interrupted_work_ends_with_the_same_bytes(tmp_path: Path, stop_after: int) -> None:
    whole = run(tmp_path / "whole", Scripted(plain))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", Scripted(plain, stop_after))
    assert len((tmp_path / "cut" / ANSWERS).read_bytes().splitlines() if stop_after else []) == stop_after
    rest = Scripted(plain)
    assert run(tmp_path / "cut", rest).generated == whole.generated
    assert len(rest.asked) == 8 - stop_after
    assert (tmp_path / "cut" / ANSWERS).read_bytes() == (tmp_path / "whole" / ANSWERS).read_bytes()


def test_a_torn_last_line_is_dropped_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, Scripted(plain))
    path, whole = tmp_path / ANSWERS, (tmp_path / ANSWERS).read_bytes()
    path.write_bytes(whole[:-20])
    rest = Scripted(plain)
    run(tmp_path, rest)
    assert len(rest.asked) == 1 and path.read_bytes() == whole
    assert f"{path}: the last line was not finished" in capsys.readouterr().out


@pytest.mark.parametrize("damage", [b"{}", b"not JSON", b'{"key": "a"}', b""])
def test_a_damaged_line_is_refused_with_its_number(tmp_path: Path, damage: bytes) -> None:
    run(tmp_path, Scripted(plain))
    path = tmp_path / ANSWERS
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], damage, *lines[2:]]))
    with pytest.raises(HardnegError, match=rf"{ANSWERS}, line 2"):
        run(tmp_path, Scripted(plain))


def test_answers_of_other_settings_stay(tmp_path: Path) -> None:
    run(tmp_path, Scripted(plain), temperature=0.5)
    other = Scripted(plain)
    run(tmp_path, other, temperature=0.9)
    assert len(other.asked) == 4  # the checks, at temperature 0, have the same texts and are known
    back = Scripted(plain)
    run(tmp_path, back, temperature=0.5)
    assert back.asked == [] and len((tmp_path / ANSWERS).read_bytes().splitlines()) == 12


def test_answers_of_other_work_are_taken_over_and_its_file_is_left_alone(tmp_path: Path) -> None:
    run(tmp_path / "whole", Scripted(plain))
    run(tmp_path / "other", Scripted(plain), REQUESTS[:1])
    other = tmp_path / "other" / ANSWERS
    with other.open("ab") as stream:
        stream.write(b'{"key": "being writ')  # another process is at work there
    before = other.read_bytes()
    writer, folder = Scripted(plain), tmp_path / "new"
    folder.mkdir()
    outcome = generate(REQUESTS, settings(), folder, writer, earlier=[other])
    assert len(writer.asked) == 4 and (outcome.usage.known, outcome.usage.asked) == (4, 4)
    assert other.read_bytes() == before
    assert (folder / ANSWERS).read_bytes() == (tmp_path / "whole" / ANSWERS).read_bytes()


def test_the_key_of_an_answer_holds_all_that_decides_it() -> None:
    base = Question(({"role": "user", "content": "a"},), 1, 10, 0.7, 1.0, 13)
    others = [
        Question(({"role": "user", "content": "b"},), 1, 10, 0.7, 1.0, 13),
        Question(base.messages, 2, 10, 0.7, 1.0, 13),
        Question(base.messages, 1, 11, 0.7, 1.0, 13),
        Question(base.messages, 1, 10, 0.8, 1.0, 13),
        Question(base.messages, 1, 10, 0.7, 0.9, 13),
        Question(base.messages, 1, 10, 0.7, 1.0, None),
    ]
    keys = {one.key({"model": "m"}) for one in [base, *others]} | {base.key({"model": "n"})}
    assert len(keys) == 8


def test_a_failed_write_leaves_no_torn_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    question = Question(({"role": "user", "content": "a"},), 1, 10, 0.7, 1.0, 13)
    answers = Answers.open(tmp_path / ANSWERS)
    answers.add("k1", question, Answer("one", "stop", 1, 1))
    before = (tmp_path / ANSWERS).read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(HardnegError, match="No space left"):
            answers.add("k2", question, Answer("two", "stop", 1, 1))
    assert (tmp_path / ANSWERS).read_bytes() == before
    answers.add("k3", question, Answer("three\nlines", "stop", 1, 1))
    again = Answers.open(tmp_path / ANSWERS)
    assert again.get("k2") is None and again.get("k3") == Answer("three\nlines", "stop", 1, 1)


# --- prompt files and settings ---


def prompt_file(tmp_path: Path, **content: object) -> Path:
    path = tmp_path / "prompt.yaml"
    given = {"ask": "Q {query} P {passage}", "check": "{query}? {text}? yes or no", **content}
    path.write_text(json.dumps({key: value for key, value in given.items() if value is not None}))
    return path


def test_texts_with_braces_stay_as_they_are(tmp_path: Path) -> None:
    writer, own = Scripted(plain), prompt_file(tmp_path, system="Be brief.")
    request = Request(0, 0, "what is {passage}", "use {query} and {0}")
    run(tmp_path / "out", writer, [request], prompt=own, per_query=1, self_check=False)
    assert writer.asked[0].messages == (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Q what is {passage} P use {query} and {0}"},
    )


def test_the_digest_of_a_prompt_ignores_its_form(tmp_path: Path) -> None:
    path = prompt_file(tmp_path)
    one = load_prompt(settings(prompt=path)).digest
    path.write_text("# said otherwise\ncheck: '{query}? {text}? yes or no'\nask: 'Q {query} P {passage}'\n")
    assert load_prompt(settings(prompt=path)).digest == one
    path.write_text(path.read_text().replace("Q ", "q "))
    assert load_prompt(settings(prompt=path)).digest != one


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"ask": "Q {qurey}"}, r"\{qurey\}[\s\S]*did you mean \{query\}"),
        ({"ask": "no placeholder"}, r"lacks a placeholder[\s\S]*\{query\}"),
        ({"ask": "{query} {angle}"}, "gives no angles"),
        ({"angles": ["one"]}, r"lacks a placeholder[\s\S]*\{angle\}"),
        ({"ask": "{query} {angle}", "angles": ["one", "one"]}, "stands twice"),
        ({"ask": "{query} {angle}", "angles": "one"}, "no list of texts"),
        ({"check": None}, "has no check"),
        ({"check": "{query} yes or no"}, r"\{text\}"),
        ({"system": "for {query}"}, "system's message has a placeholder"),
        ({"chek": "x"}, "did you mean check"),
        ({"ask": ""}, "lacks a text"),
    ],
)
def test_a_prompt_file_is_checked(tmp_path: Path, content: dict[str, object], said: str) -> None:
    with pytest.raises(HardnegError, match=said):
        load_prompt(settings(prompt=prompt_file(tmp_path, **content), per_query=1))


@pytest.mark.parametrize(("text", "said"), [("ask: [", "not valid YAML"), ("- ask", "wrong form"), (None, "cannot be")])
def test_a_prompt_file_that_is_none(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "prompt.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(HardnegError, match=said):
        load_prompt(settings(prompt=path))


def test_at_temperature_0_each_text_needs_its_own_angle() -> None:
    assert load_prompt(settings(temperature=0, per_query=5))
    with pytest.raises(HardnegError, match="would be the same"):
        load_prompt(settings(temperature=0, per_query=6))


@pytest.mark.parametrize(
    "own",
    [
        {"endpoint": "http://localhost/v1", "gguf_file": "a.gguf"},
        {"endpoint": "localhost:8000"},
        {"temperature": None},
        {"seed": None},
        {"max_cost": 1.0, "endpoint": "http://localhost/v1"},
        {"api_key_env": "sk-not-a-name"},
        {"api_key": "x"},
    ],
)
def test_settings_that_contradict_each_other_are_refused(own: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        settings(**own)


def test_runtime_settings_are_settings() -> None:
    assert set(GenerationSettings.model_fields) > RUNTIME


def test_the_bound_on_tokens_holds_for_any_sign() -> None:
    assert most_input_tokens([{"role": "user", "content": "é漢🙂"}]) >= 2 + 3 + 4
