"""The sentences of a comparison."""

from __future__ import annotations

from itertools import combinations

from ..report.markup import count, listed
from ..statistics import LEVEL, least_p
from .measure import Compared, Comparison


def counted(comparison: Comparison) -> str:
    """How much is compared."""
    runs = sum(len(p.facts.runs) for p in comparison.problems)
    told = [count(len(comparison.problems), "problem"), count(runs, "run")]
    return " · ".join([*told, count(len(comparison.contestants), "contestant")])


def left_out(comparison: Comparison) -> str:
    """Which runs are missing."""
    names = [folder.name for folder in comparison.left_out]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{count(len(names), 'run')} not finished and left out: {', '.join(names[:5])}{more}."


def finding(comparison: Comparison) -> str:
    """Who wins how often by hypervolume, in one sentence."""
    names = comparison.contestants
    if len(names) < 2:
        return f"Nothing is compared with {listed(list(names))} here."
    wins = dict.fromkeys(names, 0)
    for p in comparison.problems:
        for test in p.tests["hypervolume"]:
            if test.better is not None:
                wins[test.better] += 1
    if not any(wins.values()):
        return "By hypervolume, no difference between any two is significant."
    order = sorted(names, key=lambda name: -wins[name])
    told = [f"{count(wins[name], 'time')} for {name}" for name in order if wins[name]]
    return f"By hypervolume, significantly better than another: {listed(told)}."


def told_apart(comparison: Comparison) -> str:
    """How many pairs differ."""
    tests = [t for p in comparison.problems for t in p.tests["hypervolume"]]
    if not tests:
        return "Tests need two runs at least of two contestants"
    found = sum(t.better is not None for t in tests)
    return f"{found} of {count(len(tests), 'pair')} differ significantly in hypervolume"


def ranked(comparison: Comparison) -> str:
    """The order over all problems by hypervolume."""
    if "hypervolume" not in comparison.rankings:
        return "Ranks over the problems"
    r = comparison.rankings["hypervolume"]
    order = sorted(zip(r.ranks, r.names, strict=True))
    told = ", ".join(f"{name} {rank:.2f}" for rank, name in order)
    verdict = "differ" if r.p <= LEVEL else "do not differ significantly"
    return f"Mean ranks by hypervolume {verdict}: {told}"


def power(p: Compared) -> str:
    """Who is better than whom by hypervolume, or why nobody can be."""
    tests = p.tests["hypervolume"]
    better = [
        f"{t.better} beats {t.second if t.better == t.first else t.first}"
        for t in tests if t.better is not None
    ]  # fmt: skip
    if better:
        more = f", and {len(better) - 4} more" if len(better) > 4 else ""
        return "; ".join(better[:4]) + more
    weak = too_few(p)
    return weak or ("No two differ significantly" if tests else "Nothing to test")


def too_few(p: Compared) -> str:
    """Says so where no outcome whatever could be significant; else nothing."""
    counts = [len(p.sample("hypervolume", c)) for c in p.contestants]
    counts = [n for n in counts if n > 1]
    tests = len(p.tests["hypervolume"])
    if p.paired or tests == 0:
        return ""
    least = min(least_p(a, b) for a, b in combinations(counts, 2)) * tests
    if least <= LEVEL:
        return ""
    return (
        f"With {min(counts)} to {max(counts)} runs and {count(tests, 'pair')}, no difference could "
        f"be significant at {LEVEL:g}"
        if min(counts) < max(counts)
        else f"With {min(counts)} runs each and {count(tests, 'pair')}, no difference could be "
        f"significant at {LEVEL:g}"
    )
