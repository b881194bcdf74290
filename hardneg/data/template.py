"""What is read of a text before it is tokenised: the fields of a passage joined by a template, a cut, lower-casing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter

from hardneg.errors import HardnegError, nearest

FIELDS = ("url", "title", "text")
SEPARATOR = "sep"
DEFAULT_TEMPLATE = "{title} {text}"


def check_template(template: str, where: str = "encoder.passage_template") -> None:
    """Refuse a template that names anything but the fields of a passage and `{sep}`, or no field at all.

    Raises:
        HardnegError: naming the key `where`, what was found there and what is allowed.
    """
    allowed = [f"{{{name}}}" for name in (*FIELDS, SEPARATOR)]
    try:
        parts = [part[1:] for part in Formatter().parse(template) if part[1] is not None]
    except ValueError as fault:
        raise HardnegError(
            "The passage template is not readable.",
            where=where,
            found=f"{template!r}: {fault}",
            expected=f"text with {', '.join(allowed)}",
            remedy="close each brace, or double it where a brace is meant: {{ or }}.",
        ) from None
    for name, form, conversion in parts:
        if name not in (*FIELDS, SEPARATOR) or form or conversion:
            near = nearest(str(name), (*FIELDS, SEPARATOR))
            raise HardnegError(
                "The passage template names an unknown field.",
                where=where,
                found=f"{{{name}{'!' + conversion if conversion else ''}{':' + form if form else ''}}}",
                expected=", ".join(allowed),
                remedy=f"did you mean {{{near}}}?" if near else "use one of these.",
            )
    if not fields_of(template):
        raise HardnegError(
            "The passage template names no field: every passage would be the same text.",
            where=where,
            found=repr(template),
            expected=f"at least one of {', '.join(allowed[:-1])}",
            remedy=f"write for instance {DEFAULT_TEMPLATE!r}.",
        )


def fields_of(template: str) -> list[str]:
    """The fields of a passage that a template names, each once, in the order url, title, text."""
    named = {name for _, name, _, _ in Formatter().parse(template)}
    return [field for field in FIELDS if field in named]


@dataclass(frozen=True)
class Reading:
    """How the texts of a collection are read.

    Attributes:
        passage_template: see `check_template`; white space at the ends of the result is removed.
        separator: what `{sep}` stands for: the text of the tokenizer's separator token, which is never lower-cased.
        lower_case: lower-case passages and queries.
        characters: characters of a joined passage that are kept; None: all.
    """

    passage_template: str = DEFAULT_TEMPLATE
    separator: str = ""
    lower_case: bool = False
    characters: int | None = None

    def passage(self, fields: Mapping[str, str]) -> str:
        """One passage as one text; `fields` holds at least those that the template names."""
        joined = self.passage_template.format(**fields, **{SEPARATOR: self.separator}).strip()
        return self._lowered(joined[: self.characters])

    def query(self, text: str) -> str:
        """One query."""
        return self._lowered(text)

    def _lowered(self, text: str) -> str:
        if not self.lower_case:
            return text
        parts = text.split(self.separator) if self.separator else [text]
        return self.separator.join(part.lower() for part in parts)
