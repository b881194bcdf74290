"""How a passage's fields become one text, and what is refused as a template."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hardneg.data.template import (
    DEFAULT_TEMPLATE,
    Reading,
    check_query_template,
    check_template,
    fields_of,
    prompt_of,
    prompted,
)
from hardneg.errors import HardnegError

FIELDS = {"url": "A.org/B", "title": "The Title", "text": "Its {text}."}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (DEFAULT_TEMPLATE, "The Title Its {text}."),
        ("{text}", "Its {text}."),
        ("{url}<sep>{title}<sep>{text}", "A.org/B<sep>The Title<sep>Its {text}."),
        ("{title}{sep}{text}", "The Title[SEP]Its {text}."),
        ("{{{title}}}", "{The Title}"),
    ],
)
def test_fields_are_joined(template: str, expected: str) -> None:
    """Braces in a passage are text, not fields."""
    check_template(template)
    assert Reading(template, "[SEP]").passage(FIELDS) == expected


@pytest.mark.parametrize(
    ("title", "text", "expected"), [("", "body", "body"), ("head", "", "head"), ("", "", ""), (" a", "b ", "a b")]
)
def test_the_ends_are_stripped(title: str, text: str, expected: str) -> None:
    assert Reading().passage({"title": title, "text": text}) == expected


def test_the_joined_text_is_cut_then_lower_cased_but_for_the_separator() -> None:
    reading = Reading("{title}{sep}{text}", "[SEP]", lower_case=True, characters=len("The Title[SEP]Its"))
    assert reading.passage(FIELDS) == "the title[SEP]its"
    assert reading.query("What IS it? " * 9) == "what is it? " * 9  # queries are not cut
    assert Reading(lower_case=True).passage(FIELDS) == "the title its {text}."


def test_a_template_reads_only_the_fields_it_names() -> None:
    assert fields_of("{text} {title} {text}{sep}") == ["title", "text"]
    assert Reading("{text}").passage({"text": "body"}) == "body"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (
            "{titel} {text}",
            "The passage template uses an unknown field.\n  where:    encoder.passage_template\n"
            "  found:    {titel}\n  expected: {url}, {title}, {text}, {sep}\n  remedy:   did you mean {title}?",
        ),
        ("{text.__class__}", "uses an unknown field"),
        ("{text!r}", "found:    {text!r}"),
        ("{text:>9}", "found:    {text:>9}"),
        ("{0} {text}", "found:    {0}"),
        ("{} {text}", "found:    {}"),
        ("{title {text}", "uses an unknown field|is malformed"),
        ("text}", "The passage template is malformed."),
        ("{sep}", "all passages would be the same"),
        ("", "all passages would be the same"),
    ],
)
def test_other_templates_are_refused(template: str, message: str) -> None:
    with pytest.raises(HardnegError) as fault:
        check_template(template)
    assert any(part in str(fault.value) for part in message.split("|"))


def test_the_configuration_can_check_it_at_every_start() -> None:
    """Importing it, and the contract's reader, brings no heavy library."""
    code = (
        "import sys, hardneg.data.template, hardneg.text.tokenizer_contract; "
        "print({'numpy', 'torch', 'transformers', 'tokenizers', 'pyarrow'} & {*sys.modules})"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown == "set()\n"


@pytest.mark.parametrize("title", ["", "head"])
def test_a_prompt_stands_before_the_stripped_text(title: str) -> None:
    """As a library that puts the prompt before a text: no space of an empty field follows it."""
    reading = Reading("passage {{1}}: {title} {text}")
    joined = f"{title} body".strip()
    assert reading.passage({"title": title, "text": "body "}) == f"passage {{1}}: {joined}"
    assert prompt_of(reading.passage_template) == "passage {1}: " and prompt_of(DEFAULT_TEMPLATE) == ""
    assert prompted("passage {1}: ", DEFAULT_TEMPLATE) == reading.passage_template


@pytest.mark.parametrize("template", ["{text}", "query: {text}", "{{{text}}}\n", "Instruct: find\nQuery: {text}"])
def test_a_query_template_holds_the_query(template: str) -> None:
    check_query_template(template)
    assert "a {b}" in Reading(query_template=template).query("a {b}")


@pytest.mark.parametrize("template", ["", "query", "{title} {text}", "{text}{text}", "{text!r}", "{text:>9}", "{text"])
def test_other_query_templates_are_refused(template: str) -> None:
    with pytest.raises(HardnegError, match=r"encoder\.query_template") as fault:
        check_query_template(template)
    assert "{text}" in str(fault.value)
