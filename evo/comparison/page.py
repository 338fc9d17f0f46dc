"""A comparison as one HTML page with the look of the report; it needs no network."""

from __future__ import annotations

from ..live import number
from ..report import curves, rivals
from ..report.facts import bands
from ..report.markup import Section, count, details, esc, grid, listed, paragraph, plot
from ..report.page import Parts, header, shell
from ..statistics import LEVEL, Ranking
from .attainment import surfaces
from .measure import INDICATORS, Compared, Comparison, setting
from .tables import DAGGER, entries, starred
from .words import counted, finding, left_out, power, ranked, told_apart


def render(comparison: Comparison) -> str:
    """The page as HTML text, plotly's script included (about 5 MB)."""
    return shell(parts(comparison))


def parts(comparison: Comparison) -> Parts:
    """What the page says."""
    problems = comparison.problems
    title = comparison.name or listed([p.name for p in problems])
    chosen = [_tables(comparison), _ranks(comparison), *map(_problem, problems)]
    banner = ""
    if comparison.left_out:
        banner = f'<p class="banner" id="unfinished">{esc(left_out(comparison))}</p>'
    head = header(counted(comparison), f"Comparison: {title}", finding(comparison), banner)
    return Parts(
        f"{title} · evo comparison", head, tuple(s for s in chosen if s is not None),
        f"tests at {LEVEL:g}, Holm's correction over all pairs of a problem",
    )  # fmt: skip


def _tables(comparison: Comparison) -> Section:
    """The table of every indicator, the main one with its scatter over runs."""
    html = ""
    for name, row in INDICATORS.items():
        body = [
            [p.name, *_cells(p, name, comparison.contestants)] for p in comparison.problems
        ]  # fmt: skip
        head = ["problem", *comparison.contestants]
        table = f"<h3>{esc(row.title)}</h3>" + grid(head, body, id=f"table-{name}")
        table += paragraph(f"{row.meaning} {starred(comparison, row)}", "note")
        if name == "hypervolume":
            samples = {
                c: {p.name: p.sample(name, c) for p in comparison.problems}
                for c in comparison.contestants
            }
            spec = rivals.scatter(samples, "hypervolume ↑")
            table += plot(
                "runs", spec, "Every run is a point; boxes span the quartiles.",
                label="Hypervolume of every run",
            )  # fmt: skip
        html += table
    return Section("tables", "The answer", told_apart(comparison), html)


def _cells(p: Compared, indicator: str, contestants: tuple[str, ...]) -> list[str]:
    found = entries(p, indicator)
    told = []
    for c in contestants:
        entry = found.get(c)
        mark = "" if entry is None else " ★" if entry.best else DAGGER if entry.level else ""
        told.append("–" if entry is None else entry.text() + mark)
    return told


def _ranks(comparison: Comparison) -> Section | None:
    """Mean ranks over the problems and the diagram of critical differences, where there are any."""
    found = comparison.rankings
    if not found:
        return None
    html = ""
    for name, ranking in found.items():
        diagram = plot(f"ranks-{name}", rivals.critical(ranking), _rank_caption(ranking),
                       label=f"Mean ranks by {INDICATORS[name].title}")  # fmt: skip
        title = f"By {INDICATORS[name].title}"
        html += (
            f"<h3>{esc(title)}</h3>{diagram}" if name == "hypervolume" else details(title, diagram)
        )
    return Section("ranks", "Over all problems", ranked(comparison), html)


def _rank_caption(r: Ranking) -> str:
    return (
        f"Mean ranks of medians over {count(r.problems, 'problem')}, 1 is best. Friedman's "
        f"chi-square {r.statistic:.3f}, p = {r.p:.3g}. Bars join those that Nemenyi's test at "
        f"{LEVEL:g} does not tell apart: their mean ranks are nearer than the critical difference, "
        f"{r.difference:.3f}."
    )


def _problem(p: Compared) -> Section:
    """How runs got there, what they attain, and the tests of one problem."""
    html = _curves(p)
    found = surfaces(p)
    if found:
        html += "<h3>What runs attain</h3>" + plot(
            f"attained-{p.name}", rivals.attained(found, p.facts.objectives),
            "Median attainment surface: half of the runs reach every point on the firm line or "
            "better; a quarter and three quarters of them reach the thin lines.",
            label=f"Attainment surfaces on {p.name}",
        )  # fmt: skip
    html += paragraph(setting(p), "note")
    html += details("Tests of every pair", _tests(p)) + details("Runs", _runs(p))
    return Section(f"problem-{p.name}", p.name, power(p), html)


def _curves(p: Compared) -> str:
    html = ""
    for by, key in (("evaluations", "evaluations"), ("minutes", "minutes")):
        found = bands(p.facts, key)  # type: ignore[arg-type]
        if found:
            html += plot(
                f"curve-{by}-{p.name}", curves.spread(found, by),
                f"Hypervolume of everything found so far by {by}: median (line) and quartiles "
                "(band), up to the end of the shortest run.",
                label=f"Hypervolume by {by} on {p.name}",
            )  # fmt: skip
    return html


def _tests(p: Compared) -> str:
    rows = [
        (row.title, t.first, t.second, f"{t.p:.3g}", f"{t.adjusted:.3g}", f"{t.a12:.2f}",
         t.better or "–")
        for name, row in INDICATORS.items() for t in p.tests[name]
    ]  # fmt: skip
    head = ("indicator", "first", "second", "p", "p (Holm)", "A12", "better")
    note = "A12 is the probability that a run of the first is better than one of the second."
    return grid(head, rows, left=3, id=f"tests-{p.name}") + paragraph(note, "note")


def _runs(p: Compared) -> str:
    head = ("contestant", "run", "seed", "evaluations", "failed", "front",
            *(row.title for row in INDICATORS.values()))  # fmt: skip
    rows = [
        (s.contestant, s.run.name, s.seed, f"{s.evaluations:,}", s.failed, len(s.front),
         *(number(v) for v in s.values.values()))
        for s in p.scores
    ]  # fmt: skip
    return grid(head, rows, left=2, id=f"runs-{p.name}")
