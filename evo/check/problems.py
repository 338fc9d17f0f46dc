"""Tries what a problem promises."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..errors import EvoError
from ..genomes import Genomes
from ..problem import Constraint, Context, Objective, Problem
from ..schema import FIXED_COLUMNS
from ..space import SearchSpace
from ..streams import stream
from .findings import Finding, Findings, copy_genomes, failed, same_genomes, watching_chance
from .objectives import check_judge, check_sharing, near


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
            if rebuild is not None and not failed(found):
                _check_rebuilt(problem, rebuild, genomes, context, found)
    return found


def _check_types(problem: Problem, found: Findings) -> bool:
    """Whether the required parts are what everything after them stands on."""
    parts = {
        "space": ((problem.space,), SearchSpace),
        "objectives": (problem.objectives, Objective),
        "constraints": (problem.constraints, Constraint),
    }
    for name, (values, kind) in parts.items():
        row = values if isinstance(values, Sequence) else ()
        strange = [type(v).__name__ for v in row if not isinstance(v, kind)]
        strange += [] if isinstance(values, Sequence) else [f"a {type(values).__name__}"]
        good = f"{name} made of evo.{kind.__name__}"
        if not found.expect(
            not strange, good, good.replace("made", "not made"), f"got {', '.join(strange)}"
        ):
            return False
    return True


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
        check_judge(judge, problem, genomes, context, found)
    seconds = check_sharing(problem.objectives, problem, genomes, context, found)
    each = 1000 * seconds / len(genomes)
    found.append(Finding("cost per candidate", True, f"{each:.4g} ms at n = {len(genomes)}"))


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
    both = (problem, other)
    draws = [p.space.sample(len(genomes), stream(context.seed, "space")) for p in both]
    names = [[o.name for o in p.objectives] for p in both]
    good, bad = "is built alike each time", "is built differently each time"
    same = same_genomes(*draws) and names[0] == names[1]
    if not found.expect(same, good, bad, "its search spaces or objectives differ"):
        return
    what = "judging with another build"
    far = found.attempt(what, lambda: _differences(both, genomes, context))
    if far is not None:
        good, bad = "judges alike when built again", "judges differently when built again"
        found.expect(not far, good, bad, f"{', '.join(far)}; draw from a named stream of a seed")


def _differences(both: Sequence[Any], genomes: Genomes, context: Context) -> list[str]:
    """Objectives and fingerprints in which two problems differ."""
    batches = [p.batch(genomes, context) for p in both]
    far = [
        first.name
        for first, second in zip(both[0].objectives, both[1].objectives, strict=True)
        if not near(first(batches[0]), second(batches[1]), first.resolution)
    ]
    marks = [dict(p.fingerprint()) if hasattr(p, "fingerprint") else {} for p in both]
    return far + [f"fingerprint {k}" for k in marks[0] if marks[0][k] != marks[1].get(k)]


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
