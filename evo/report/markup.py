"""Safe HTML pieces: text, tables and figures, everything escaped before it enters the page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from ..live import plain


@dataclass(frozen=True, slots=True)
class Section:
    """One section of the page.

    Args:
        id: Anchor, also the key in the navigation.
        step: What the section answers, e.g. ``The answer``.
        finding: Its heading, plain text.
        body: Ready HTML.
    """

    id: str
    step: str
    finding: str
    body: str

    def html(self) -> str:
        """The section as HTML."""
        return (
            f'<section id="{esc(self.id)}"><p class="step">{esc(self.step)}</p>'
            f"<h2>{esc(tied(self.finding))}</h2>{self.body}</section>"
        )


def tied(text: str) -> str:
    """The text with arrows and units kept on the line of what they belong to."""
    return re.sub(r" (?=[↓↑])|(?<=\d) (?=[kMGTB%µ]|[mn]?s\b|min\b|Ki|Mi|Gi)", "\u00a0", text)


def esc(value: Any) -> str:
    """Any value as text that HTML shows as it is, quotes included."""
    return escape(str(value), quote=True)


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text, with an optional class."""
    return f'<p class="{kind}">{esc(text)}</p>' if kind else f"<p>{esc(text)}</p>"


def words(pairs: Iterable[tuple[str, Any]]) -> str:
    """Names and plain texts as a two-column table; empty texts are left out."""
    rows = [
        f'<tr><th scope="row">{esc(name)}</th><td>{esc(text)}</td></tr>'
        for name, text in pairs
        if text not in (None, "")
    ]
    return f'<table class="words"><tbody>{"".join(rows)}</tbody></table>'


def grid(head: Sequence[str], rows: Iterable[Sequence[Any]], *, left: int = 1, id: str = "") -> str:
    """A plain table, the first ``left`` columns flushed left; it scrolls where it is too wide."""
    sides = [' class="w"' if i < left else "" for i in range(len(head))]
    top = "".join(f'<th scope="col"{s}>{esc(h)}</th>' for h, s in zip(head, sides, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{s}>{esc(c)}</td>" for c, s in zip(row, sides, strict=True)) + "</tr>"
        for row in rows
    )
    name = f' id="{esc(id)}"' if id else ""
    table = f"<table{name}><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="across">{table}</div>'


def plot(name: str, figure: Mapping[str, Any], caption: str, *, label: str, least: int = 0) -> str:
    """A figure as a box, its caption, and its data for the script of the page.

    Args:
        name: Its key on the page.
        figure: Plain plotly figure.
        caption: Plain text below it.
        label: What it shows, for those who do not see it.
        least: Pixels in width below which the box scrolls instead of getting narrower.
    """
    height = int(figure["layout"].get("height", 400))
    return (
        f'<figure><div class="wide"><div class="plot" id="plot-{esc(name)}" role="img" '
        f'aria-label="{esc(label)}" style="height:{height}px;min-width:{least}px"></div></div>'
        f"<figcaption>{esc(caption)}</figcaption></figure>"
        + data(figure, f'data-figure="{esc(name)}"')
    )


def data(value: Any, attributes: str) -> str:
    """JSON in a script element that no browser runs; ``<`` never appears in it."""
    text = json.dumps(plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    safe = text.replace("<", "\\u003c")
    return f'<script type="application/json" {attributes}>{safe}</script>'


def pre(text: str) -> str:
    """Preformatted plain text."""
    return f"<pre>{esc(text)}</pre>"


def details(summary: str, body: str) -> str:
    """Ready HTML behind a line that opens it."""
    return f"<details><summary>{esc(summary)}</summary>{body}</details>"


def count(n: int, one: str, many: str | None = None) -> str:
    """A number with its noun: ``1 run``, ``3,987 evaluations``."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def listed(items: Sequence[str]) -> str:
    """Items as a phrase: ``a``, ``a and b``, ``a, b and c``."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"
