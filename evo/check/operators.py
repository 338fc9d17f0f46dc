"""Tries what an operator promises, on every kind of genes it is for."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from operators import RNG

from ..errors import ConfigError
from ..space import Choice, Integer, Mask, Part, Real, Subset
from ..streams import stream
from .findings import Finding, Findings, watching_chance

Role = Literal["sampling", "crossover", "mutation"]

_BOXED = ("choice", "integer", "mask", "real")
_DRAWS = 5  # what seldom happens shows in one of several
_COPY = "a later change of one would change the other"


def check_operator(
    operator: Any, *, role: Role | None = None, n: int = 16, seed: int = 0
) -> list[Finding]:
    """Try one operator on genes of each kind it declares in ``kinds``; all boxed kinds without it.

    Args:
        operator: A sampling, crossover or mutation.
        role: What it is; told by its arguments when None: four make a crossover, a first one called
            ``n`` makes a sampling.
        n: Rows to move.
        seed: For rows and moves.

    Raises:
        ConfigError: It cannot be called like an operator.
    """
    role = role or role_of(operator)
    found = Findings()
    parts = {part.kind: part for part in _parts()}
    with watching_chance(found):
        for kind in _check_kinds(operator, tuple(parts), found):
            _check_kind(operator, role, parts[kind], n, seed, found)
    return found


def role_of(operator: Any) -> Role:
    """Sampling, crossover or mutation, told by the arguments of its call.

    Raises:
        ConfigError: It is not callable with three or four arguments.
    """
    names = list(inspect.signature(operator).parameters) if callable(operator) else []
    if len(names) == 4:
        return "crossover"
    if len(names) == 3:
        return "sampling" if names[0] in ("n", "count") else "mutation"
    raise ConfigError(
        "an operator takes (n, bounds, rng), (genomes, bounds, rng) or "
        f"(first, second, bounds, rng); {operator!r} takes ({', '.join(names)})"
    )


def _parts() -> list[Part]:
    return [
        Real("real", low=[-1.0, 0.0, 2.0, -5.0, 0.0], high=[1.0, 1.0, 2.5, 5.0, 100.0]),
        Integer("integer", low=[0, -3, 10, 0, 0], high=[1, 3, 99, 1000, 7]),
        Choice("choice", sizes=[2, 5, 1, 9, 3], ordered=[True, True, True, False, False]),
        Mask("mask", 5),
        Subset("subset", universe=12, most=5, least=2),
    ]


def _check_kinds(operator: Any, known: tuple[str, ...], found: Findings) -> tuple[str, ...]:
    """The kinds to try it on."""
    kinds = getattr(operator, "kinds", _BOXED)
    named = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    strange = sorted(set(named) - set(known))
    detail = f"got {kinds!r}; there are {', '.join(known)}"
    found.expect(
        named and not strange and not isinstance(kinds, str),
        "declares known kinds of genes",
        "kinds must be a set of kinds of genes",
        detail,
    )
    return tuple(k for k in known if k in named)


def _rows(part: Part, k: int, rng: RNG) -> NDArray[Any]:
    """Legal rows; where there are several, some of boxed genes lie on the bounds."""
    rows = part.sample(k, rng)
    if part.kind in _BOXED and k > 1:
        rows[: k // 4], rows[k // 4 : k // 2] = part.bounds.low, part.bounds.high
        rows = rng.permutation(rows)
    return rows


def _check_kind(operator: Any, role: Role, part: Part, n: int, seed: int, found: Findings) -> None:
    what = f"{part.kind} genes"
    given = {
        k: [_rows(part, k, stream(seed, part.kind, side, k)) for side in ("first", "second")]
        for k in (n, 1, 0)
    }
    kept = [a.copy() for a in (*given[n], part.bounds.low, part.bounds.high)]

    def move(k: int, draw: int = 0) -> list[NDArray[Any]]:
        rng = stream(seed, "move", draw)
        if role == "sampling":
            return [np.asarray(operator(k, part.bounds, rng))]
        if role == "mutation":
            return [np.asarray(operator(given[k][0], part.bounds, rng))]
        return [np.asarray(c) for c in operator(*given[k], part.bounds, rng)]

    children = 2 if role == "crossover" else 1
    for k in given:
        _check_results(move, k, part, children, what, found)
    same = [*given[n], part.bounds.low, part.bounds.high]
    untouched = all(np.array_equal(a, b) for a, b in zip(kept, same, strict=True))
    found.expect(untouched, f"leaves {what} alone", f"changes the {what} it is given")
    twice = found.attempt(f"moving {what} again", lambda: (move(n), move(n)))
    if twice is None:
        return
    first, again = twice
    shared = any(np.shares_memory(out, a) for out in first for a in given[n])
    found.expect(not shared, f"returns new {what}", f"returns the {what} it is given", _COPY)
    repeated = len(first) == len(again) and all(map(np.array_equal, first, again))
    found.expect(repeated, f"repeats on {what}", f"differs on {what} for the same stream")


def _check_results(
    move: Callable[..., list[NDArray[Any]]],
    k: int,
    part: Part,
    children: int,
    what: str,
    found: Findings,
) -> None:
    """Number, shape, dtype and bounds of what comes of k rows."""
    name = f"{what}, n = {k}"
    draws = found.attempt(
        f"moving {k} rows of {what}", lambda: [move(k, draw) for draw in range(_DRAWS)]
    )
    if draws is None:
        return
    wanted = [((k, *part.shape), part.dtype)] * children
    got = [[(out.shape, out.dtype) for out in outs] for outs in draws]
    wrong = next((layout for layout in got if layout != wanted), None)
    told = f"got {_told(wrong or [])}, expected {_told(wanted)}"
    good, bad = f"shape and dtype hold: {name}", f"wrong shape or dtype: {name}"
    if found.expect(wrong is None, good, bad, told):
        low, high = part.bounds.low, part.bounds.high
        inside = all(((out >= low) & (out <= high)).all() for outs in draws for out in outs)
        found.expect(inside, f"stays in the bounds: {name}", f"leaves the bounds: {name}")


def _told(layouts: list[tuple[Any, Any]]) -> str:
    return " and ".join(f"{shape} {dtype}" for shape, dtype in layouts) or "nothing"
