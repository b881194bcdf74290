"""Files for papers: each table as CSV and LaTeX, each figure as SVG and PNG, each caption as text."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import pandas as pd

from hardneg.report.content import MARKS
from hardneg.report.figures.style import STYLE
from hardneg.report.material import Item
from hardneg.report.text import best_cells, cell_text
from hardneg.stages.artifacts import atomic_path, write_json

DPI = 200

WRITTEN = ".written.json"
"""Which files the last report wrote."""

# Metadata that varies between runs or releases.
_NO_METADATA = {
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    "png": {"Software": None},
}
_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        **{sign: f"\\{sign}" for sign in "{}$&#%_"},
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "–": "--",
        "—": "---",
        "…": r"\dots{}",
        "−": "$-$",
        "×": r"$\times$",
        "±": r"$\pm$",
        "≤": r"$\leq$",
        "≥": r"$\geq$",
        "→": r"$\rightarrow$",
        "∩": r"$\cap$",
        "Δ": r"$\Delta$",
        "↓": r"$\downarrow$",
        "▼": r"$\blacktriangledown$",
    }
)


def write_files(items: Sequence[Item], folder: Path) -> None:
    """Write `tables/<name>.csv` and `.tex`, `figures/<name>.svg` and `.png`, `captions/<name>.rst`.

    The same items give the same bytes. Files of items that no longer exist are removed.

    Args:
        items: the items of the report.
        folder: the parent of the three folders.

    Raises:
        HardnegError: a file could not be written.
    """
    wanted: set[Path] = set()
    for name in ("tables", "figures", "captions"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for item in items:
        contents = {folder / "captions" / f"{item.name}.rst": caption(item).encode()}
        if item.table is not None:
            csv = item.table.to_csv(index=False, lineterminator="\n")
            contents[folder / "tables" / f"{item.name}.csv"] = csv.encode()
            contents[folder / "tables" / f"{item.name}.tex"] = latex(item, item.table).encode()
        if item.figure is not None:
            for form in _NO_METADATA:
                contents[folder / "figures" / f"{item.name}.{form}"] = drawn(item, form)
        for path, content in contents.items():
            with atomic_path(path) as temporary:
                temporary.write_bytes(content)
        wanted |= contents.keys()
    names = sorted(path.relative_to(folder).as_posix() for path in wanted)
    for name in set(_written_before(folder)) - set(names):
        (folder / name).unlink(missing_ok=True)
    write_json(folder / WRITTEN, names)


def _written_before(folder: Path) -> list[str]:
    """The files that the last report wrote. Others in these folders belong to somebody else."""
    try:
        names = json.loads((folder / WRITTEN).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return []
    ours = re.compile(r"(tables|figures|captions)/[^/]+")
    return [name for name in names if isinstance(name, str) and ours.fullmatch(name)]


def drawn(item: Item, form: str) -> bytes:
    """An item's figure as `svg` or `png`. The same numbers give the same bytes."""
    assert item.figure is not None
    drawing = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        item.figure().savefig(drawing, format=form, dpi=DPI, metadata=_NO_METADATA[form])
    return drawing.getvalue()


def latex(item: Item, table: pd.DataFrame) -> str:
    """A LaTeX table as papers print them: booktabs, the best in bold, marks as superscripts, the `printed` columns."""
    cells, best, places = pd.DataFrame(index=table.index), best_cells(table), ""
    for name, column in table.items():
        if item.printed and str(name).removesuffix(MARKS) not in item.printed:
            continue
        written = [_latex(cell_text(value, item.digits.get(str(name), 0))) for value in column]
        if str(name).endswith(MARKS):
            before = cells.columns[-1]
            cells[before] += [f"\\textsuperscript{{{marks}}}" if marks else "" for marks in written]
            continue
        bold = [f"\\textbf{{{text}}}" if is_best else text for text, is_best in zip(written, best[name], strict=True)]
        cells[_latex(str(name))] = bold
        places += "r" if pd.api.types.is_numeric_dtype(column) else "l"
    return "% In the preamble: \\usepackage{booktabs,amssymb}\n" + cells.to_latex(
        index=False,
        escape=False,
        column_format=places,
        caption=(_latex(f"{item.title}. {item.caption}"), _latex(item.title)),
        label=f"tab:{item.name}",
    )


def caption(item: Item) -> str:
    """The title, caption, paper's finding and own finding as reStructuredText, one paragraph each."""
    parts = [f"**{_plain(item.title)}**", _plain(item.caption)]
    parts += [f"*{label}:* {_plain(text)}" for label, text in (("The paper", item.paper), ("Here", item.here)) if text]
    return "\n\n".join(parts) + "\n"


def _latex(text: str) -> str:
    """Text escaped for LaTeX, with symbols that pdflatex does not know replaced by commands."""
    return text.translate(_LATEX)


def _plain(text: str) -> str:
    """Text on one line, escaped for reStructuredText."""
    return re.sub(r"""([!"#$&()*+\-.:<=>?@\[\\\]^_`{|}~])""", r"\\\1", " ".join(text.split()))
