"""Tries what a problem and its objectives promise."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import EvoError
from ..genomes import Genomes
from ..problem import Array, Constraint, Context, Objective, Problem
from ..schema import FIXED_COLUMNS
from ..space import SearchSpace
from ..streams import stream
from .findings import Finding, Findings, copy_genomes, same_genomes, watching_chance


def check_problem(
    problem: Problem,
    *,
    n: int = 8,
    seed: int = 0,
    device: str = "cpu",
    rebuild: Callable[[], Problem] | None = None,
) -> list[Finding]:
    """Try everything a problem promises, on ``n`` sampled candidates.

    Space, batch, objectives, constraints, illegal genomes, and whichever optional parts it offers.
    Every item tried gives one finding; a problem that breaks its promises raises nothing here.

    Args:
        problem: Any object that should satisfy :class:`Problem`.
        n: Candidates to judge, 3 or more.
        seed: For sampling and for the context.
        device: Where to judge.
        rebuild: Builds the same problem anew, as every worker and every resumed run does; None
            tries no such thing.
    """
    found = Findings()
    missing = [
        k for k in ("space", "objectives", "constraints", "batch") if not hasattr(problem, k)
    ]
    if not found.expect(not missing, "has all required parts", "lacks required parts", missing):
        return found
    if not _check_types(problem, found):
        return found
    context = Context(device=device, seed=seed)
    with watching_chance(found):
        _check_space(problem.space, n, seed, found)
        _check_names(problem, found)
        genomes = found.attempt("sampling", lambda: problem.space.sample(n, stream(seed, "check")))
        if genomes is not None:
            _check_judging(problem, genomes, context, found)
            _check_illegal(problem, genomes, context, found)
            _check_extras(problem, genomes, context, found)
            if rebuild is not None:
                _check_rebuilt(problem, rebuild, genomes, context, found)
    return found


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
        _check_judge(objective, problem, genomes, Context(device=device, seed=seed), found)
    return found


def _check_types(problem: Problem, found: Findings) -> bool:
    """Whether the required parts are what everything after them stands on."""
    parts = {
        "space": ((problem.space,), SearchSpace),
        "objectives": (problem.objectives, Objective),
        "constraints": (problem.constraints, Constraint),
    }
    for name, (values, kind) in parts.items():
        strange = [
            type(value).__name__ for value in _several(values) if not isinstance(value, kind)
        ]
        good, bad = f"{name} made of evo.{kind.__name__}", f"{name} not made of evo.{kind.__name__}"
        if not found.expect(not strange, good, bad, f"got {', '.join(strange)}"):
            return False
    return True


def _several(values: Any) -> Sequence[Any]:
    """The values, or what stands in their place when it is no sequence."""
    return values if isinstance(values, Sequence) else (values,)


def _check_space(space: SearchSpace, n: int, seed: int, found: Findings) -> None:
    first = found.attempt("sampling", lambda: space.sample(n, stream(seed, "space")))
    if first is None:
        return
    again = space.sample(n, stream(seed, "space"))
    found.expect(
        same_genomes(first, again), "sampling repeats", "sampling differs for the same stream"
    )
    legal = found.attempt("checking sampled genomes", lambda: space.check(first) or True)
    if legal:
        found.append(Finding("sampled genomes are legal", True))
    found.expect(
        same_genomes(space.unflat(space.flat(first)), first),
        "flat genomes come back", "flat genomes do not come back",
    )  # fmt: skip
    noise = space.unflat(stream(seed, "noise").normal(0, 50, (n, space.length)))
    repaired = found.attempt("repair", lambda: space.repair(noise))
    if repaired is not None and found.attempt(
        "checking repaired genomes", lambda: space.check(repaired) or True
    ):
        found.append(Finding("repair makes genomes legal", True))


def _check_names(problem: Problem, found: Findings) -> None:
    names = [o.name for o in problem.objectives]
    limits = [c.name for c in problem.constraints]
    found.expect(names, "offers objectives", "offers no objective")
    twice = sorted(
        {x for x in names if names.count(x) > 1} | {x for x in limits if limits.count(x) > 1}
    )
    found.expect(not twice, "names are unique", "names are used twice", twice)
    taken = sorted(FIXED_COLUMNS.intersection(names))
    found.expect(not taken, "names are free", "names belong to the run file", taken)
    defaults = getattr(problem, "default_objectives", None)
    if defaults is not None:
        strange = [name for name in defaults if name not in names]
        found.expect(
            not strange,
            "default objectives are offered",
            "default objectives are not offered",
            strange,
        )


def _check_judging(problem: Problem, genomes: Genomes, context: Context, found: Findings) -> None:
    kept = copy_genomes(genomes)
    batch = found.attempt("batch", lambda: problem.batch(genomes, context))
    if batch is None:
        return
    right = [len(problem.batch(genomes.take(slice(k)), context)) == k for k in (1, len(genomes))]
    found.expect(all(right), "batch has one row per genome", "batch has not one row per genome")
    found.expect(
        same_genomes(kept, genomes), "batch leaves its input alone", "batch changes its input"
    )
    for judge in (*problem.objectives, *problem.constraints):
        _check_judge(judge, problem, genomes, context, found)
    start = time.perf_counter()
    forward = _on_one_batch(problem.objectives, problem, genomes, context, found)
    each = (time.perf_counter() - start) / len(genomes)
    found.append(Finding("cost per candidate", True, f"{each * 1000:.4g} ms at n = {len(genomes)}"))
    backward = _on_one_batch(problem.objectives[::-1], problem, genomes, context, found)
    if forward is None or backward is None:
        return
    steps = {o.name: o.resolution for o in problem.objectives}
    far = [k for k, v in forward.items() if not _near(v, backward[k], steps[k])]
    good, bad = "objectives can share a batch", "objectives change the batch they share"
    found.expect(not far, good, bad, f"{far} depend on the order of judging")


def _on_one_batch(
    judges: Sequence[Objective],
    problem: Problem,
    genomes: Genomes,
    context: Context,
    found: Findings,
) -> dict[str, Array] | None:
    batch = problem.batch(genomes, context)
    return found.attempt("judging on one batch", lambda: {o.name: o(batch) for o in judges})


def _check_judge(
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
    steady = early if _near(late, whole, step) else whole
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
            found.expect(_near(other, whole, step), f"{what} {right}", f"{what} {wrong}", detail)
    if isinstance(judge, Objective) and np.ptp(whole) == 0:
        _check_resolution(judge, problem.batch(genomes, context), what, found)
    found.expect(
        same_genomes(kept, genomes), f"{what} leaves genomes alone", f"{what} changes the genomes"
    )


def _check_resolution(judge: Objective, batch: Any, what: str, found: Findings) -> None:
    """Values that all tie must do so before they are rounded, but for the last bits."""
    raw = np.asarray(judge.fn(batch), dtype=np.float64)
    real = np.ptp(raw) <= 1e-9 * np.abs(raw).max()
    detail = f"values differ by {np.ptp(raw):.4g}, the resolution is {judge.resolution:.4g}"
    found.expect(real, f"{what} has one value", f"{what} rounds all differences away", detail)


def _near(first: Array, second: Array, step: float) -> bool:
    """Whether values tie: one step of the resolution apart at most, as noise may meet an edge."""
    slack = 1e-12 * np.maximum(np.abs(first), np.abs(second))
    return bool((np.abs(first - second) <= step * (1 + 1e-6) + slack).all())


def _in_chunks(values: Callable[[Any], Array], n: int) -> Array:
    """Rows judged as one alone, then two together, then the rest."""
    stops = sorted({0, 1, min(3, n), n})
    return np.concatenate([values(slice(a, b)) for a, b in itertools.pairwise(stops)])


def _back(genomes: Genomes) -> NDArray[np.intp]:
    return np.arange(len(genomes))[::-1]


def _check_illegal(problem: Problem, genomes: Genomes, context: Context, found: Findings) -> None:
    for name, wrong in _illegal(problem.space, genomes):
        try:
            problem.batch(wrong, context)
        except EvoError as error:
            found.append(Finding(f"{name} are refused", True, error.message))
        except Exception as error:  # any other error is not the sentence a user should meet
            told = f"{type(error).__name__} instead of an EvoError: {error}"
            found.append(Finding(f"{name} raise the wrong error", False, told))
        else:
            found.append(Finding(f"{name} are accepted", False, "call self.space.check(genomes)"))


def _illegal(space: SearchSpace, genomes: Genomes) -> Iterator[tuple[str, Genomes]]:
    part = space.parts[0]
    narrow = dict(genomes.parts.items())
    narrow[part.name] = np.concatenate([narrow[part.name], narrow[part.name][:, :1]], axis=1)
    yield "genomes of the wrong width", Genomes(narrow)
    for part in space.parts:
        if part.kind != "mask":
            values = genomes[part.name].copy()
            values[:, 0] = part.bounds.high[0] + 1
            yield "genomes beyond the bounds", Genomes({**genomes.parts, part.name: values})
            return


def _check_extras(problem: Any, genomes: Genomes, context: Context, found: Findings) -> None:
    """Whatever a problem offers beyond the four required parts."""
    if hasattr(problem, "starts"):
        _check_offered(
            problem, "starts", lambda: problem.starts(5, stream(context.seed, "starts")), found, 5
        )
    if hasattr(problem, "ladder"):
        _check_offered(problem, "ladder", problem.ladder, found)
    if hasattr(problem, "baselines"):
        for name, find in problem.baselines().items():
            _check_offered(
                problem, f"baseline {name}", lambda find=find: find(lambda *_: None).genomes, found
            )
    for name in ("describe", "fingerprint"):
        if hasattr(problem, name):
            told = found.attempt(name, lambda name=name: json.dumps(dict(getattr(problem, name)())))
            if told is not None:
                found.append(Finding(f"{name} is JSON", True))
    if hasattr(problem, "drawing"):
        told = found.attempt("drawing", lambda: json.dumps(dict(problem.drawing(genomes))))
        if told is not None:
            found.append(Finding("drawing is JSON", True))
    if getattr(problem, "validation", False):
        other = Context(device=context.device, seed=context.seed, split="validation")
        values = found.attempt(
            "judging on the validation split",
            lambda: [o(problem.batch(genomes, other)) for o in problem.objectives],
        )
        if values is not None:
            finite = bool(np.isfinite(np.stack(values)).all())
            found.expect(finite, "validation values are finite", "validation values are not finite")


def _check_rebuilt(
    problem: Any,
    rebuild: Callable[[], Any],
    genomes: Genomes,
    context: Context,
    found: Findings,
) -> None:
    """Workers and resumed runs build the problem again; it must be the same one."""
    other = found.attempt("building it again", rebuild)
    if other is None:
        return
    if hasattr(problem, "measurements"):
        other.restore(problem.measurements())
    draws = [p.space.sample(len(genomes), stream(context.seed, "space")) for p in (problem, other)]
    good, bad = "is built alike each time", "is built differently each time"
    if not found.expect(same_genomes(*draws), good, bad, "the search spaces differ"):
        return
    batches = [p.batch(genomes, context) for p in (problem, other)]
    far = [
        first.name
        for first, second in zip(problem.objectives, other.objectives, strict=True)
        if not _near(first(batches[0]), second(batches[1]), first.resolution)
    ]
    marks = [dict(p.fingerprint()) if hasattr(p, "fingerprint") else {} for p in (problem, other)]
    far += [f"fingerprint {name}" for name in marks[0] if marks[0][name] != marks[1].get(name)]
    good, bad = "judges alike when built again", "judges differently when built again"
    found.expect(not far, good, bad, f"{', '.join(far)}; draw from a named stream of a seed")


def _check_offered(
    problem: Any, name: str, act: Callable[[], Genomes], found: Findings, most: int | None = None
) -> None:
    first = found.attempt(name, act)
    if (
        first is None
        or found.attempt(f"checking {name}", lambda: problem.space.check(first) or True) is None
    ):
        return
    again = act()
    found.expect(
        same_genomes(first, again), f"{name} repeats", f"{name} differs for the same stream"
    )
    if most is not None:
        found.expect(
            len(first) <= most, f"{name} keeps to n", f"{name} gives more than asked", len(first)
        )
