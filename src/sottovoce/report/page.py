"""One HTML file with everything in it: words, tables, drawings as SVG; no script, no font, no address."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from sottovoce.look import style

# Drawings have the colors of a light page.
STYLE = style() + "body { max-width: 1180px; color-scheme: light; }\n"


@dataclass(frozen=True)
class Section:
    """A part of a page: a heading, and HTML.

    Example:
        >>> Section("Cost", paragraph("What it costs.")).anchor
        'cost'
    """

    title: str
    body: str

    @property
    def anchor(self) -> str:
        """The name that links go to."""
        return "".join(letter if letter.isalnum() else "-" for letter in self.title.lower())


def page(title: str, lead: str, sections: Iterable[Section]) -> str:
    """The whole file.

    Example:
        >>> page("Analysis", "of a model", [Section("Cost", "")])[:15]
        '<!doctype html>'
    """
    known = list(sections)
    links = "".join(f'<a href="#{section.anchor}">{escape(section.title)}</a>' for section in known)
    parts = [f'<h2 id="{section.anchor}">{escape(section.title)}</h2>\n{section.body}' for section in known]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
        f"<h1>{escape(title)}</h1>\n{lead}\n<nav>{links}</nav>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def paragraph(text: str, *, note: bool = False) -> str:
    """Words.

    Example:
        >>> paragraph("a < b")
        '<p>a &lt; b</p>'
    """
    kind = ' class="note"' if note else ""
    return f"<p{kind}>{escape(text)}</p>"


def heading(text: str) -> str:
    """A heading inside a section.

    Example:
        >>> heading("flatten")
        '<h3>flatten</h3>'
    """
    return f"<h3>{escape(text)}</h3>"


def captioned(drawing: str, text: str) -> str:
    """A drawing with words below.

    Example:
        >>> captioned("<svg></svg>", "in frames")
        "<figure><svg></svg><figcaption class='note'>in frames</figcaption></figure>"
    """
    return f"<figure>{drawing}<figcaption class='note'>{escape(text)}</figcaption></figure>"


def drawings(pictures: Iterable[str]) -> str:
    """Drawings side by side.

    Example:
        >>> drawings(["<svg></svg>"])
        '<div class="drawings"><svg></svg></div>'
    """
    return '<div class="drawings">' + "\n".join(pictures) + "</div>"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, code: int | None = None) -> str:
    """A table; cells that begin with a digit stand on the right, those of the column `code` are code.

    Example:
        >>> table(["part", "share"], [["layers", "94 %"]])[:7]
        '<table>'
    """

    def cell(column: int, text: str) -> str:
        if column == code and text:
            return f"<td><code>{escape(text)}</code></td>"
        number = text.lstrip("-")[:1].isdigit()
        kind = ' class="number"' if number else ""
        return f"<td{kind}>{escape(text)}</td>"

    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "\n".join("<tr>" + "".join(cell(i, text) for i, text in enumerate(row)) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>\n{body}</table>"


def folded(title: str, body: str) -> str:
    """HTML that is shown on request.

    Example:
        >>> folded("more", "<p>…</p>")
        '<details><summary>more</summary><p>…</p></details>'
    """
    return f"<details><summary>{escape(title)}</summary>{body}</details>"
