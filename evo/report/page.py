"""The whole page: head, navigation, sections, one script; nothing is loaded from anywhere."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from . import evidence, look, sections, words
from .facts import Facts
from .markup import Section, count, esc, tied


@dataclass(frozen=True, slots=True)
class Parts:
    """What a page says, without what makes it look and move.

    Args:
        title: Plain text for the window.
        head: Ready HTML above the sections.
        sections: The sections.
        foot: Plain text at the end, after the version.
    """

    title: str
    head: str
    sections: tuple[Section, ...]
    foot: str

    def footer(self) -> str:
        """The last line as plain text."""
        import evo

        return f"evo {evo.__version__} · {self.foot}"


def parts(facts: Facts) -> Parts:
    """What the report says."""
    prints = {str(view.meta.get("fingerprint") or "–") for view in facts.runs}
    return Parts(
        f"{words.title(facts)} · evo report", _header(facts),
        tuple(s for s in _sections(facts) if s is not None),
        f"configuration {', '.join(sorted(prints)[:4])}",
    )  # fmt: skip


def render(facts: Facts) -> str:
    """The report as HTML text."""
    return shell(parts(facts))


def shell(told: Parts) -> str:
    """A whole page as HTML text, plotly's script included (about 5 MB)."""
    scripts = look.library(), look.script()
    policy = f'<meta http-equiv="Content-Security-Policy" content="{_policy(scripts)}">'
    body = (
        f"{told.head}{navigation(told.sections)}"
        f"<main>{''.join(section.html() for section in told.sections)}</main>"
        f"<footer>{esc(told.footer())}</footer>"
    )
    return document(told.title, policy, body + "".join(f"<script>{s}</script>" for s in scripts))


def document(title: str, head: str, body: str) -> str:
    """HTML text around ready HTML for the head and the body, with the style sheet."""
    return "".join([
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">', head,
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark"><meta name="generator" content="evo">',
        f"<title>{esc(title)}</title><style>{look.style()}</style></head>",
        f"<body>{body}</body></html>\n",
    ])  # fmt: skip


def _policy(scripts: Sequence[str]) -> str:
    """The browser itself refuses every request and every script but these."""
    digests = [base64.b64encode(sha256(script.encode()).digest()).decode() for script in scripts]
    known = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {known}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _sections(facts: Facts) -> list[Section | None]:
    return [
        sections.asked(facts), sections.answer(facts), sections.journey(facts),
        sections.look(facts), sections.drawn(facts), evidence.baselines(facts),
        evidence.sure(facts), evidence.repeat(facts),
    ]  # fmt: skip


def _header(facts: Facts) -> str:
    names = [words.shown(view.folder) for view in facts.runs]
    told = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    when, many = sections.stamp(facts.runs[0]), count(len(names), "run")
    over = " · ".join(filter(None, [told, when, many if len(names) > 1 else ""]))
    return header(over, words.title(facts), words.finding(facts), _banner(facts))


def header(over: str, title: str, lead: str, banner: str = "") -> str:
    """The head of a page: plain texts, and ready HTML of a banner."""
    return (
        f'<header><div><p class="over">{esc(over)}</p><h1>{esc(title)}</h1>'
        f'<p class="lead">{esc(tied(lead))}</p>{banner}'
        '<noscript><p class="banner">Figures need JavaScript; tables and text do not.</p>'
        "</noscript></div></header>"
    )


def _banner(facts: Facts) -> str:
    open_runs = [view for view in facts.runs if not view.complete]
    if not open_runs:
        return ""
    told = []
    for view in open_runs:
        done = sum(generation.complete for generation in view.generations)
        told.append(
            f"{words.shown(view.folder)}: {count(done, 'complete generation')}, "
            f"{count(len(view.candidates), 'candidate')}"
        )
    text = f"Not finished yet; this page shows what was recorded so far ({'; '.join(told)})."
    return f'<p class="banner" id="unfinished">{esc(text)}</p>'


def navigation(chosen: Sequence[Section]) -> str:
    """Links to the sections."""
    links = "".join(f'<a href="#{esc(s.id)}">{esc(s.step)}</a>' for s in chosen)
    return f'<nav aria-label="Sections"><div>{links}</div></nav>'
