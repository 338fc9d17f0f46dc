"""Tries what objectives and constraints promise on the batches of a problem."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..genomes import Genomes
from ..problem import Array, Constraint, Context, Objective, Problem
from ..streams import stream
from .findings import Finding, Findings, copy_genomes, failed, same_genomes, watching_chance


def check_objective(
    objective: Objective, problem: Problem, *, n: int = 8, seed: int = 0, device: str = "cpu"
) -> list[Finding]:
    """Try one objective on the batches of a problem.

    Args:
        objective: What is tried.
        problem: Whose batches it is tried on.
        n: Candidates to judge, 3 or more.
        seed: For sampling and for the context.
        device: Where to judge.
    """
    found = Findings()
    genomes = problem.space.sample(n, stream(seed, "check"))
    with watching_chance(found):
        context = Context(device=device, seed=seed)
        check_judge(objective, problem, genomes, context, found)
        names = getattr(problem, "default_objectives", [o.name for o in problem.objectives])
        others = [o for o in problem.objectives if o.name in names and o.name != objective.name]
        if not failed(found):
            check_sharing([objective, *others], problem, genomes, context, found)
    return found


def check_judge(
    judge: Objective | Constraint,
    problem: Problem,
    genomes: Genomes,
    context: Context,
    found: Findings,
) -> None:
    """One finite value per candidate, whatever the neighbours, the chunk and the repetition."""
    what = f"{'objective' if isinstance(judge, Objective) else 'constraint'} {judge.name!r}"
    kept = copy_genomes(genomes)

    def values(rows: Any) -> Array:
        return judge(problem.batch(genomes.take(rows), context))

    early = found.attempt(what, lambda: _in_chunks(values, len(genomes)))
    whole = None if early is None else found.attempt(what, lambda: values(slice(None)))
    if early is None or whole is None:
        return
    good = f"{what} gives one finite number per candidate"
    bad = np.flatnonzero(~np.isfinite(whole)).tolist()
    if not found.expect(not bad, good, f"{what} is not finite", f"rows {bad}"):
        return
    step = judge.resolution if isinstance(judge, Objective) else 1e-9
    late = found.attempt(f"{what} in chunks", lambda: _in_chunks(values, len(genomes)))
    if late is None:
        return
    # Chunks that differ only while nothing else had been judged tell of a memory, not of chunks.
    steady = early if near(late, whole, step) else whole
    tries: tuple[tuple[str, str, Callable[[], Array]], ...] = (
        ("repeats", "does not repeat", lambda: values(slice(None))),
        ("agrees between chunks", "depends on the chunk", lambda: late),
        ("has no memory", "depends on what was judged before", lambda: steady),
        (
            "does not see its neighbours",
            "depends on the order",
            lambda: values(_back(genomes))[::-1],
        ),
    )
    for right, wrong, act in tries:
        other = found.attempt(f"{what} again", act)
        if other is not None:
            far = float(np.abs(other - whole).max())
            detail = f"values differ by {far:.4g}, the resolution is {step:.4g}"
            found.expect(near(other, whole, step), f"{what} {right}", f"{what} {wrong}", detail)
    if isinstance(judge, Objective) and np.ptp(whole) == 0:
        _check_resolution(judge, problem.batch(genomes, context), what, found)
    found.expect(
        same_genomes(kept, genomes), f"{what} leaves genomes alone", f"{what} changes the genomes"
    )


def check_sharing(
    judges: Sequence[Objective],
    problem: Problem,
    genomes: Genomes,
    context: Context,
    found: Findings,
) -> float:
    """Objectives that judge one batch find it unchanged; seconds that judging it took."""
    start = time.perf_counter()
    forward = _on_one_batch(judges, problem, genomes, context, found)
    seconds = time.perf_counter() - start
    backward = _on_one_batch(judges[::-1], problem, genomes, context, found)
    if forward is not None and backward is not None:
        steps = {o.name: o.resolution for o in judges}
        far = [k for k, v in forward.items() if not near(v, backward[k], steps[k])]
        good, bad = "objectives can share a batch", "objectives change the batch they share"
        found.expect(not far, good, bad, f"{far} depend on the order of judging")
    return seconds


def _on_one_batch(
    judges: Sequence[Objective],
    problem: Problem,
    genomes: Genomes,
    context: Context,
    found: Findings,
) -> dict[str, Array] | None:
    batch = problem.batch(genomes, context)
    return found.attempt("judging on one batch", lambda: {o.name: o(batch) for o in judges})


def _check_resolution(judge: Objective, batch: Any, what: str, found: Findings) -> None:
    """Values that all tie must do so before they are rounded, but for differences of 1e-9."""
    raw = np.asarray(judge.fn(batch), dtype=np.float64)
    real = np.ptp(raw) <= 1e-9 * max(1.0, np.abs(raw).max())
    detail = f"values differ by {np.ptp(raw):.4g}, the resolution is {judge.resolution:.4g}"
    found.expect(real, f"{what} has one value", f"{what} rounds all differences away", detail)


def near(first: Array, second: Array, step: float) -> bool:
    """Whether values tie: one step of the resolution apart at most, as noise may meet an edge.

    Infinities tie with their like, and NaN with NaN.
    """
    slack = 1e-12 * np.maximum(np.abs(first), np.abs(second))
    with np.errstate(invalid="ignore"):
        far = np.abs(first - second)
    tied = np.isfinite(far) & (far <= step * (1 + 1e-6) + slack)
    same = (first == second) | (np.isnan(first) & np.isnan(second))
    return bool((tied | same).all())


def _in_chunks(values: Callable[[Any], Array], n: int) -> Array:
    """Rows judged as one alone, then two together, then the rest."""
    stops = sorted({0, 1, min(3, n), n})
    return np.concatenate([values(slice(a, b)) for a, b in itertools.pairwise(stops)])


def _back(genomes: Genomes) -> NDArray[np.intp]:
    return np.arange(len(genomes))[::-1]
