"""The text that is tokenized: the fields of a passage joined by a template, truncated and lower-cased."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter

from hardneg.errors import HardnegError, nearest

FIELDS = ("url", "title", "text")
SEPARATOR = "sep"
DEFAULT_TEMPLATE = "{title} {text}"
QUERY_TEMPLATE = "{text}"


def check_template(template: str, where: str = "encoder.passage_template") -> None:
    """Check that a template uses at least one field of a passage, and nothing else but `{sep}`.

    Raises:
        HardnegError: it does not. `where` is the key shown in the message.
    """
    allowed = [f"{{{name}}}" for name in (*FIELDS, SEPARATOR)]
    try:
        parts = [part[1:] for part in Formatter().parse(template) if part[1] is not None]
    except ValueError as fault:
        raise HardnegError(
            "The passage template is malformed.",
            where=where,
            found=f"{template!r}: {fault}",
            expected=f"text with {', '.join(allowed)}",
            remedy="close each brace, or write a literal brace as {{ or }}.",
        ) from None
    for name, form, conversion in parts:
        if name not in (*FIELDS, SEPARATOR) or form or conversion:
            near = nearest(str(name), (*FIELDS, SEPARATOR))
            raise HardnegError(
                "The passage template uses an unknown field.",
                where=where,
                found=f"{{{name}{'!' + conversion if conversion else ''}{':' + form if form else ''}}}",
                expected=", ".join(allowed),
                remedy=f"did you mean {{{near}}}?" if near else "use one of these.",
            )
    if not fields_of(template):
        raise HardnegError(
            "The passage template uses no field, so all passages would be the same.",
            where=where,
            found=repr(template),
            expected=f"at least one of {', '.join(allowed[:-1])}",
            remedy=f"write, for instance, {DEFAULT_TEMPLATE!r}.",
        )


def check_query_template(template: str, where: str = "encoder.query_template") -> None:
    """Check that a template uses `{text}`, once, and nothing else.

    Raises:
        HardnegError: it does not.
    """
    try:
        parts = [part[1:] for part in Formatter().parse(template) if part[1] is not None]
    except ValueError as fault:
        parts, why = [], f": {fault}"
    else:
        why = ""
    if parts != [("text", "", None)]:
        raise HardnegError(
            "The query template must hold the query, once.",
            where=where,
            found=f"{template!r}{why}",
            expected="text with {text}, such as 'query: {text}'",
            remedy="correct it; write a literal brace as {{ or }}.",
        )


def prompt_of(template: str) -> str:
    """The text before the first field of a template."""
    before = ""
    for literal, field, _, _ in Formatter().parse(template):  # an escaped brace ends a literal too
        before += literal
        if field is not None:
            break
    return before


def prompted(prompt: str, template: str) -> str:
    """A template that begins with a prompt, in which braces are plain text."""
    return prompt.replace("{", "{{").replace("}", "}}") + template


def fields_of(template: str) -> list[str]:
    """The fields that a template uses, each once, in the order url, title, text."""
    named = {name for _, name, _, _ in Formatter().parse(template)}
    return [field for field in FIELDS if field in named]


@dataclass(frozen=True)
class Reading:
    """How the texts of a collection are prepared for the tokenizer.

    Attributes:
        passage_template: see `check_template`. The result is stripped of white space.
        separator: the value of `{sep}`, the tokenizer's separator token. It is never lower-cased.
        lower_case: whether passages and queries are lower-cased.
        characters: the maximum length of a joined passage in characters. None: unlimited.
        query_template: see `check_query_template`.
    """

    passage_template: str = DEFAULT_TEMPLATE
    separator: str = ""
    lower_case: bool = False
    characters: int | None = None
    query_template: str = QUERY_TEMPLATE

    def passage(self, fields: Mapping[str, str]) -> str:
        """The text of a passage. `fields` has at least the fields of the template."""
        joined = self.passage_template.format(**fields, **{SEPARATOR: self.separator})
        prompt = prompt_of(self.passage_template)
        joined = prompt + joined[len(prompt) :].strip()  # a passage without a title begins with a space
        return self._lowered(joined[: self.characters])

    def query(self, text: str) -> str:
        """The text of a query."""
        return self._lowered(self.query_template.format(text=text))

    def _lowered(self, text: str) -> str:
        if not self.lower_case:
            return text
        parts = text.split(self.separator) if self.separator else [text]
        return self.separator.join(part.lower() for part in parts)
