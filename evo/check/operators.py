"""Tries what an operator promises, on every kind of genes it is for."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..space import Choice, Integer, Mask, Part, Real, Subset
from ..streams import stream
from .findings import Finding, Findings, watching_chance

Role = Literal["sampling", "crossover", "mutation"]

_BOXED = ("choice", "integer", "mask", "real")


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
    kinds = getattr(operator, "kinds", _BOXED)
    with watching_chance(found):
        for part in _parts():
            if part.kind in kinds:
                _check_kind(operator, role, part, n, seed, found)
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


def _check_kind(operator: Any, role: Role, part: Part, n: int, seed: int, found: Findings) -> None:
    what = f"{part.kind} genes"
    rows = {k: part.sample(k, stream(seed, part.kind, k)) for k in (n, 1, 0)}
    other = {k: part.sample(k, stream(seed, part.kind, "other", k)) for k in rows}

    def move(k: int, name: str = "move") -> list[NDArray[Any]]:
        rng = stream(seed, name)
        if role == "sampling":
            return [np.asarray(operator(k, part.bounds, rng))]
        if role == "mutation":
            return [np.asarray(operator(rows[k], part.bounds, rng))]
        return [np.asarray(c) for c in operator(rows[k], other[k], part.bounds, rng)]

    _check_results(move, rows, part, what, found)
    kept = [rows[n].copy(), other[n].copy(), part.bounds.low.copy(), part.bounds.high.copy()]
    first = found.attempt(f"moving {what} again", lambda: move(n))
    if first is None:
        return
    same = [rows[n], other[n], part.bounds.low, part.bounds.high]
    untouched = all(np.array_equal(a, b) for a, b in zip(kept, same, strict=True))
    found.expect(untouched, f"leaves {what} alone", f"changes the {what} it is given")
    repeated = all(np.array_equal(a, b) for a, b in zip(first, move(n), strict=True))
    found.expect(repeated, f"repeats on {what}", f"differs on {what} for the same stream")


def _check_results(
    move: Callable[[int], list[NDArray[Any]]],
    rows: dict[int, NDArray[Any]],
    part: Part,
    what: str,
    found: Findings,
) -> None:
    """Shape, dtype and bounds for many rows, one row and none."""
    for k, given in rows.items():
        out = found.attempt(f"moving {k} rows of {what}", lambda k=k: move(k))
        if out is None:
            continue
        shapes = [(o.shape, o.dtype) for o in out]
        good = all(s == ((k, *part.shape), given.dtype) for s in shapes)
        told = f"got {shapes[0][0]} {shapes[0][1]}, expected {(k, *part.shape)} {given.dtype}"
        name = f"{what}, n = {k}"
        if found.expect(
            good, f"shape and dtype hold: {name}", f"wrong shape or dtype: {name}", told
        ):
            inside = all(((o >= part.bounds.low) & (o <= part.bounds.high)).all() for o in out)
            found.expect(inside, f"stays in the bounds: {name}", f"leaves the bounds: {name}")
