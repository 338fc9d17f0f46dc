"""The sentences of the page: what was found, said in one line per section."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..live import arrow, duration, number
from .markup import count, listed
from .plot import value_of

if TYPE_CHECKING:
    from ..store import Column
    from .facts import Band, Facts, Standing
    from .maps import Kept


def shown(folder: Path) -> str:
    """A folder as a command would name it: relative when it lies below the current one."""
    try:
        return str(folder.resolve().relative_to(Path(os.getcwd()).resolve()))
    except ValueError:
        return str(folder)


def name_of(facts: Facts, row: int) -> str:
    """What the page calls a candidate: its id, after its run's name when there are several runs."""
    id = str(facts.pool.id[row])
    return id if len(facts.runs) == 1 else f"{facts.runs[facts.pool.run[row]].folder.name}:{id}"


def export_command(facts: Facts, row: int) -> str:
    """The line that builds one candidate."""
    folder = shown(facts.runs[facts.pool.run[row]].folder)
    id = facts.pool.id[row]
    return f"evo export {shlex.quote(folder)} {id} --to candidate-{id}"


def title(facts: Facts) -> str:
    """The problem in words: what it calls itself, else its id."""
    told = facts.describe.get("title")
    config = facts.runs[0].meta.get("config") or {}
    return str(told or (config.get("problem") or {}).get("id") or "Pareto search")


def budget(facts: Facts) -> str:
    """How much was judged, by what, with which seeds."""
    searched = int((facts.pool.origin == "search").sum())
    configs = [view.meta.get("config") or {} for view in facts.runs]
    seeds = [str(config.get("seed", "–")) for config in configs]
    names = dict.fromkeys(
        str((config.get("algorithm") or {}).get("id", "search")) for config in configs
    )
    return (
        f"{count(searched, 'evaluation')} by {listed(list(names))}, "
        f"{count(len(seeds), 'run')}, {'seed' if len(seeds) == 1 else 'seeds'} "
        f"{', '.join(dict.fromkeys(seeds))}"
    )


def wanted(facts: Facts) -> str:
    """What is looked for: the searched objectives with arrows."""
    told = listed([f"{c.name} {arrow(c.goal)}" for c in facts.objectives])
    return f"the best trade-offs of {told}" if len(facts.objectives) > 1 else f"the best {told}"


def finding(facts: Facts) -> str:
    """The answer in one sentence."""
    pool = facts.pool
    searched = pool.origin == "search"
    n, failed = int(searched.sum()), int((searched & ~pool.ok).sum())
    if facts.knee is None:
        illegal = int((searched & pool.ok & ~pool.feasible).sum())
        why = f"{failed:,} failed, {illegal:,} not feasible" if n else "the search has just begun"
        return f"There is no front yet: {count(n, 'candidate')} judged; {why}."
    told = listed([_against_dense(facts, facts.knee, j) for j in range(len(facts.objectives))])
    many = "" if len(facts.runs) == 1 else f" in {count(len(facts.runs), 'run')}"
    who = f"candidate {name_of(facts, facts.knee)}"
    if len(facts.objectives) == 1:
        return f"The best of {count(n, 'candidate')}{many} is {who} with {told}."
    members = f"{len(facts.front):,} of {count(n, 'candidate')}{many}"
    return f"{members} form the front; its knee, {who}, has {told}."


def _against_dense(facts: Facts, row: int, j: int) -> str:
    """A value, and its share of the dense model's where there is one."""
    column, value = facts.objectives[j], float(facts.pool.values[row, j])
    text = f"{column.name} {number(value, column.unit if column.unit != column.name else '')}"
    dense = facts.dense.get(column.name)
    if dense is None or not np.isfinite(dense) or dense == 0:
        return text
    return f"{text} ({value / dense:.0%} of dense)"


def span_of_front(facts: Facts) -> str:
    """From where to where the front reaches."""
    if facts.knee is None:
        return "No feasible candidate yet"
    if len(facts.objectives) == 1:
        column = facts.objectives[0]
        return f"The best {column.name} is {_value(facts, facts.best[0], column, 0)}"
    if len(facts.front) == 1:
        return "One candidate is best in everything"
    first, a = facts.objectives[0], facts.best[0]
    j = next((j for j, row in enumerate(facts.best) if row != a), None)
    if j is None:
        return "The front is flat"
    second, b = facts.objectives[j], facts.best[j]
    return (
        f"The front reaches from {first.name} {_value(facts, a, first, 0)} at {second.name} "
        f"{_value(facts, a, second, j)} to {first.name} {_value(facts, b, first, 0)} at "
        f"{second.name} {_value(facts, b, second, j)}"
    )


def _value(facts: Facts, row: int, column: Column, j: int) -> str:
    return value_of(float(facts.pool.values[row, j]), column)


def speed(facts: Facts) -> str:
    """When most of the hypervolume was there."""
    if len(facts.runs) > 1:
        finals = [float(c.volume[-1]) for c in facts.curves if len(c.volume)]
        if not finals:
            return "Nothing has been judged yet"
        span = f"between {min(finals):.3f} and {max(finals):.3f}"
        return f"The {len(finals)} runs end at a hypervolume {span}"
    curve = facts.curves[0]
    if not len(curve.volume) or curve.volume[-1] <= 0:
        return "No hypervolume yet"
    step = int(np.argmax(curve.volume >= 0.95 * curve.volume[-1]))
    return (
        f"95% of the final hypervolume was there after {curve.evaluations[step]:,} of "
        f"{count(int(curve.evaluations[-1]), 'evaluation')}"
        f" ({duration(60 * float(curve.minutes[step]))} of "
        f"{duration(60 * float(curve.minutes[-1]))})"
    )


def habit(spared: Sequence[tuple[str, float]], cut: Sequence[tuple[str, float]]) -> str:
    """What the front spares and what it cuts."""
    if spared[0][1] - cut[0][1] < 0.005:
        return f"The front keeps about {spared[0][1]:.0%} at every site"
    return (
        f"The front spares {spared[0][0]} (keeps {spared[0][1]:.0%} on average) and cuts "
        f"{cut[0][0]} (keeps {cut[0][1]:.0%})"
    )


def map_caption(found: Kept, members: int, total: int) -> str:
    """What the genome map shows."""
    part = "" if members == total else f" ({members:,} of {total:,}, evenly spaced)"
    return (
        f"Rows are front members{part}, best on top in the chosen objective, whose values the line "
        f"on the right shows. The {len(found.sites)} columns are sites by depth. The stronger the "
        "colour, the more of the dense cost of a site is kept: parameters, or cache bytes where "
        "parameters do not differ. Point at a cell for the name of the variant."
    )


def against_baselines(lines: Sequence[Standing]) -> str:
    """Search against baselines on the common box."""
    search, others = lines[0], lines[1:]
    told = listed([f"{line.origin.removeprefix('baseline:')} {line.volume:.3f}" for line in others])
    best = max(line.volume for line in others)
    verb = "beats every baseline" if search.volume > best else "does not beat every baseline"
    return f"The search {verb}: hypervolume {search.volume:.3f}, against {told}"


def across_seeds(bands: Sequence[Band]) -> str:
    """Final medians with quartiles, one phrase per configuration."""
    told = [
        f"{b.label}: {b.median[-1]:.3f} ({b.low[-1]:.3f} to {b.high[-1]:.3f}, {b.runs} runs)"
        for b in bands
    ]
    return "Median final hypervolume with quartiles: " + "; ".join(told)
