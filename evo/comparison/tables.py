"""Comparisons as tables: plain text, Markdown and LaTeX for people, CSV for other programs."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..live import aligned
from ..report.facts import bands
from ..statistics import LEVEL, quartiles
from .attainment import surfaces
from .measure import INDICATORS, Compared, Comparison, Indicator, setting

DAGGER = "†"


@dataclass(frozen=True, slots=True)
class Entry:
    """One cell of a table: a contestant on a problem.

    Args:
        runs: How many values.
        low: Lower quartile.
        median: Median; NaN for no value.
        high: Upper quartile.
        best: Whether no other median is better.
        level: Whether it is not the best, and no test tells it from the best one.
    """

    runs: int
    low: float
    median: float
    high: float
    best: bool
    level: bool

    def text(self) -> str:
        """Median, and the distance between the quartiles in brackets."""
        if np.isnan(self.median):
            return "–"
        width = self.high - self.low
        shown = "–" if np.isnan(width) else f"{width:.2g}"
        return f"{self.median:.4g} ({shown})" if self.runs > 1 else f"{self.median:.4g}"


def entries(compared: Compared, indicator: str) -> dict[str, Entry]:
    """Contestant → cell."""
    row = INDICATORS[indicator]
    names = compared.contestants
    spans = {name: quartiles(compared.sample(indicator, name)) for name in names}
    medians = [span[1] for span in spans.values() if not np.isnan(span[1])]
    top = (max(medians) if row.goal == "max" else min(medians)) if medians else float("nan")
    winners = [name for name, span in spans.items() if span[1] == top]
    apart = {
        frozenset((p.first, p.second)) for p in compared.tests[indicator] if p.better is not None
    }
    tested = {n for p in compared.tests[indicator] for n in (p.first, p.second)}
    return {
        name: Entry(
            len(compared.sample(indicator, name)), *spans[name], name in winners,
            name not in winners and name in tested and bool(winners)
            and any(frozenset((name, winner)) not in apart for winner in winners),
        )
        for name in names
    }  # fmt: skip


def text(comparison: Comparison, indicator: str) -> list[str]:
    """The table of one indicator as aligned lines."""
    return aligned(_body(comparison, indicator, lambda e: e.text() + _mark(e)), left=1)


def markdown(comparison: Comparison) -> str:
    """All indicators as Markdown tables."""
    parts = []
    for name, row in INDICATORS.items():
        head, *body = _body(comparison, name, lambda e: f"**{e.text()}**" if e.best else _plain(e))
        lines = [head, ["---", *["---:"] * (len(head) - 1)], *body]
        table = "\n".join(f"| {' | '.join(_escaped(c) for c in line)} |" for line in lines)
        parts.append(f"## {row.title}\n\n{table}\n\n{caption(comparison, row)}")
    return "\n\n".join([*parts, *(f"{p.name}: {setting(p)}" for p in comparison.problems)]) + "\n"


def latex(comparison: Comparison) -> str:
    r"""All indicators as ``table`` environments; they need ``\usepackage{booktabs}``."""
    out = ["% needs \\usepackage{booktabs}"]
    for name, row in INDICATORS.items():
        head, *body = _body(comparison, name, _latex_entry, tex)
        out += [
            "", "\\begin{table}", "\\centering",
            f"\\caption{{{tex(row.title)}. {tex(caption(comparison, row))}}}",
            f"\\label{{tab:{name.replace('_', '-')}}}",
            f"\\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}", "\\toprule",
            " & ".join(head) + " \\\\", "\\midrule",
            *(" & ".join(line) + " \\\\" for line in body),
            "\\bottomrule", "\\end{tabular}", "\\end{table}",
        ]  # fmt: skip
    notes = [f"% {p.name}: {setting(p)}" for p in comparison.problems]
    return "\n".join([*out, "", *notes]) + "\n"


def caption(comparison: Comparison, row: Indicator) -> str:
    """What a table shows, how many runs, and which test."""
    counts = sorted({
        len(p.sample(row.name, c)) for p in comparison.problems for c in p.contestants
    })  # fmt: skip
    runs = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])
    better = "more" if row.goal == "max" else "less"
    told = f"Median and interquartile range of {runs} runs; {better} is better."
    if not any(p.tests[row.name] for p in comparison.problems):
        return f"{told} The best median of a problem is bold."
    test = "Wilcoxon's signed-rank" if comparison.problems[0].paired else "the Mann-Whitney"
    return (
        f"{told} The best median of a problem is bold; {DAGGER} marks those that {test} test, with "
        f"Holm's correction over all pairs of the problem, does not tell from it at {LEVEL:g}."
    )


def starred(comparison: Comparison, row: Indicator) -> str:
    """The caption where the best has a star."""
    return caption(comparison, row).replace("is bold", "has a star")


def runs_csv(comparison: Comparison) -> str:
    """One row per front measured."""
    head = ["problem", "contestant", "origin", "seed", "run", "evaluations", "failed", "front_size"]
    return _csv([*head, *INDICATORS], (
        [p.name, s.contestant, s.origin, s.seed, s.run.name, s.evaluations, s.failed, len(s.front),
         *s.values.values()]
        for p in comparison.problems for s in p.scores
    ))  # fmt: skip


def medians_csv(comparison: Comparison) -> str:
    """One row per indicator, problem and contestant."""
    head = ["indicator", "problem", "contestant", "runs", "lower_quartile", "median",
            "upper_quartile", "best"]  # fmt: skip
    return _csv(head, (
        [name, p.name, c, e.runs, e.low, e.median, e.high, int(e.best)]
        for name in INDICATORS for p in comparison.problems for c, e in entries(p, name).items()
    ))  # fmt: skip


def tests_csv(comparison: Comparison) -> str:
    """One row per indicator, problem and pair."""
    head = ["indicator", "problem", "first", "second", "p", "p_holm", "a12", "better"]
    return _csv(head, (
        [name, p.name, t.first, t.second, t.p, t.adjusted, t.a12, t.better or ""]
        for name in INDICATORS for p in comparison.problems for t in p.tests[name]
    ))  # fmt: skip


def ranks_csv(comparison: Comparison) -> str:
    """Mean ranks over problems, with Friedman's p-value and Nemenyi's critical difference."""
    head = ["indicator", "contestant", "mean_rank", "problems", "friedman_chi2", "friedman_p",
            "critical_difference"]  # fmt: skip
    return _csv(head, (
        [name, c, rank, r.problems, r.statistic, r.p, r.difference]
        for name, r in comparison.rankings.items()
        for c, rank in sorted(zip(r.names, r.ranks, strict=True), key=lambda row: row[1])
    ))  # fmt: skip


def curves_csv(comparison: Comparison) -> str:
    """Hypervolume by evaluations and by minutes, median and quartiles."""
    head = ["problem", "contestant", "by", "at", "lower_quartile", "median", "upper_quartile"]
    return _csv(head, (
        [p.name, band.label, by, *row]
        for p in comparison.problems
        for by in ("evaluations", "minutes")
        for band in bands(p.facts, by)
        for row in zip(band.at.tolist(), band.low, band.median, band.high, strict=True)
    ))  # fmt: skip


def attainment_csv(comparison: Comparison) -> str:
    """Corners of the attainment surfaces of problems with two objectives, in raw units."""
    rows = []
    for p in comparison.problems:
        for surface in surfaces(p):
            rows += [[p.name, surface.contestant, surface.share, *c] for c in surface.corners]
    return _csv(["problem", "contestant", "share", "first_objective", "second_objective"], rows)


def tex(plain: str) -> str:
    """Plain text as LaTeX shows it."""
    signs = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
             DAGGER: r"$\dagger$", "–": "--", "↓": r"$\downarrow$", "↑": r"$\uparrow$",
             "·": r"$\cdot$"}  # fmt: skip
    return re.sub(r"[\\~^&%$#_{}†–↓↑·]", lambda m: signs.get(m[0], f"\\{m[0]}"), plain)


def _body(
    comparison: Comparison, indicator: str, show: Callable[[Entry], str],
    name: Callable[[str], str] = str,
) -> list[list[str]]:  # fmt: skip
    """Head and rows: problems down, contestants across."""
    head = ["problem", *map(name, comparison.contestants)]
    rows = []
    for p in comparison.problems:
        found = entries(p, indicator)
        told = [show(found[c]) if c in found else "–" for c in comparison.contestants]
        rows.append([name(p.name), *told])
    return [head, *rows]


def _plain(entry: Entry) -> str:
    return entry.text() + (DAGGER if entry.level else "")


def _mark(entry: Entry) -> str:
    """Behind a value in plain text, always as wide."""
    return " *" if entry.best else f" {DAGGER}" if entry.level else "  "


def _latex_entry(entry: Entry) -> str:
    if np.isnan(entry.median):
        return "--"
    shown = tex(entry.text()).replace("inf", "$\\infty$")
    shown = re.sub(r"(\d)e([+-])0*(\d+)", r"\1e$\2$\3", shown)
    return f"\\textbf{{{shown}}}" if entry.best else shown + ("$^\\dagger$" if entry.level else "")


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")


def _csv(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    out = io.StringIO()
    write = csv.writer(out, lineterminator="\n")
    write.writerow(head)
    write.writerows(
        ["" if isinstance(v, float) and np.isnan(v) else v for v in row] for row in rows
    )
    return out.getvalue()
