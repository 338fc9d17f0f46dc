"""Essential sparsity: up to which sparsity a model hardly changes, and after which it falls fast.

Jaiswal et al., arXiv 2306.03805, prune once by magnitude at ever higher sparsity and look for the
sharp drop. They read it off the curve; two straight lines that meet, fitted by least squares, and
an interval from resampled text are choices of ours. Weights go per linear layer, not from all
layers in one ranking, so that the knee is one of uniform sparsity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evo.errors import ConfigError
from evo.genomes import Genomes
from evo.problem import Context
from operators import RNG

from ..variants import Asked, parse

if TYPE_CHECKING:
    from ..searches import Mixed

GRID = tuple(round(0.05 * i, 2) for i in range(1, 20))
RESAMPLES = 200
FEWEST = 4  # points; two lines that meet have four parameters


@dataclass(frozen=True, eq=False)
class Knee:
    """Where a curve of quality over sparsity bends.

    Args:
        sparsities: The grid, 0 first, (g,).
        losses: How far the model is from the dense one at each: KL or drift, (g,).
        at: The knee, one of the grid.
        low: It lies here or higher in 95 % of resamples of the text.
        high: It lies here or lower in 95 % of them.
    """

    sparsities: NDArray[np.float64]
    losses: NDArray[np.float64]
    at: float
    low: float
    high: float


def bend(xs: NDArray[np.float64], ys: NDArray[np.float64]) -> NDArray[np.intp]:
    """Index of the grid point at which two fitted lines meet, for each curve, (k,).

    Only bends towards larger values count; a curve without any has its last point.

    Args:
        xs: The grid, ascending, (g,), at least four points.
        ys: Curves, smaller is better, (k, g).
    """
    best = np.full(len(ys), np.inf)
    found = np.full(len(ys), len(xs) - 1, dtype=np.intp)
    for i in range(1, len(xs) - 1):
        basis = np.stack([np.ones_like(xs), xs, np.maximum(0, xs - xs[i])], axis=1)
        fitted, *_ = np.linalg.lstsq(basis, ys.T, rcond=None)
        errors = ((ys.T - basis @ fitted) ** 2).sum(0)
        worse = fitted[2] > 1e-9 * (np.ptp(ys, axis=1) + 1e-300) / np.ptp(xs)
        better = worse & (errors < best)
        best[better], found[better] = errors[better], i
    return found


def find_knee(problem: Mixed, kind: Any, grid: Sequence[float], rng: RNG) -> Knee:
    """Judge uniform sparsities with the sweep on the search text, and find the knee.

    Args:
        problem: Any pruning problem on the model and text wanted.
        kind: A kind of variants whose levels are sparsities, or its name, e.g. ``magnitude``.
        grid: Sparsities to judge, in (0, 1); the dense model is judged as well.
        rng: Resamples the text.

    Raises:
        ConfigError: The grid has too few points for two lines.
    """
    levels = tuple(sorted({float(level) for level in grid}))
    if len(levels) + 1 < FEWEST or not all(0 < level < 1 for level in levels):
        raise ConfigError(
            f"a knee needs at least {FEWEST - 1} sparsities between 0 and 1, got {list(grid)}"
        )
    named = Asked(parse(kind).kind, levels)
    other = problem.again([named], "submodule")
    rungs = np.arange(len(levels) + 1, dtype=np.int16)[:, None]
    choices = np.repeat(rungs, len(other.table), axis=1)
    context = Context(device=str(problem.pretrained.device))
    read = other.batch(Genomes({"choices": choices}), context).readings[:, :, -1]  # (g, B)
    other.close()
    return _knee(np.array([0.0, *levels]), read, rng)


def bounded(
    problem: Mixed, asked: Sequence[Asked], margin: float, rng: RNG
) -> tuple[list[Asked], dict[str, str]]:
    """What was asked for without sparsities beyond each kind's knee, and a sentence for each.

    A kind keeps its lowest level whatever its knee. Kinds that have a set of weights for every
    level are judged at their own levels, the others on a fine grid.

    Args:
        problem: The problem that is being made.
        asked: Kinds with levels.
        margin: How far beyond the upper end of the knee's interval a level may lie.
        rng: Resamples the text.

    Raises:
        ConfigError: The margin is not in [0, 1), or no kind has sparsities to bound.
    """
    if not 0 <= margin < 1:
        raise ConfigError(f"knee is how far to search beyond it, from 0 to below 1, got {margin!r}")
    kept, notes = [], {}
    for one in asked:
        updated = hasattr(one.kind, "updates")
        grid = one.levels if updated else GRID
        sparse = one.kind.scorer or updated or hasattr(one.kind, "by")
        if sparse and one.levels and len(grid) + 1 >= FEWEST:
            found = find_knee(problem, one.kind, grid, rng)
            limit = found.high + margin + 1e-9
            levels = tuple(x for x in one.levels if x <= limit or x == min(one.levels))
            notes[f"knee of {one.kind.name}"] = _note(found, set(one.levels) - set(levels))
            one = Asked(one.kind, levels)
        kept.append(one)
    if not notes:
        raise ConfigError(
            "knee bounds sparsities, but no kind of variant has any",
            hint="add one, e.g. wanda, or leave knee out",
        )
    return kept, notes


def _note(knee: Knee, dropped: set[float]) -> str:
    gone = ", ".join(f"{level:g}" for level in sorted(dropped))
    return (
        f"sparsity {knee.at:g} ({knee.low:g} to {knee.high:g} over resampled text)"
        f"; left out: {gone or 'nothing'}"
    )


def _knee(xs: NDArray[np.float64], read: NDArray[np.float64], rng: RNG) -> Knee:
    """The knee of the mean curve, and the middle 90 % of those of resampled sequences."""
    losses = read.mean(1)
    drawn = rng.integers(read.shape[1], size=(RESAMPLES, read.shape[1]))
    curves = read[:, drawn].mean(2).T  # (resamples, g)
    at = float(xs[bend(xs, losses[None])[0]])
    low, high = np.quantile(xs[bend(xs, curves)], [0.05, 0.95], method="nearest")
    return Knee(xs, losses, at, float(min(low, at)), float(max(high, at)))
