"""MOEIM's six objectives, in sound units or exactly as published.

How evenly communities are served is the Jensen-Shannon distance between the shares of communities
and equal shares, over its largest value (Endres and Schindelin 2003 for the distance). ``clean``
uses one logarithm for both; ``paper`` repeats what the released code computes: natural logarithms
above and binary ones below, time cut to whole steps, all values to be maximised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evo.problem import Array, Objective

from .cascades import compiled

if TYPE_CHECKING:
    from .batch import SeedBatch

MODES = ("clean", "paper")
LN2 = float(np.log(2))
NOTHING = 1e-14  # divergence that rounding may leave


def offered(paper: bool) -> tuple[Objective, ...]:
    """All six, and the standard errors of those that are simulated."""
    if paper:
        return (
            Objective("spread", "max", lambda b: b.spread.mean(1) / b.n, "share of nodes"),
            Objective("size", "max", lambda b: (b.most + 1 - b.size) / b.most),
            Objective("communities", "max", lambda b: 1 - b.unevenness(natural=True).mean(1)),
            Objective("fairness", "max", lambda b: 1 - b.seed_unevenness(natural=True)),
            Objective("budget", "max", lambda b: 1 - b.cost / b.largest_cost),
            Objective("time", "max", _time_left),
        )
    return (
        Objective("spread", "max", lambda b: b.spread.mean(1), "nodes", 1e-6),
        Objective("size", "min", lambda b: b.size, "nodes"),
        Objective("communities", "min", lambda b: b.unevenness().mean(1)),
        Objective("fairness", "min", lambda b: b.seed_unevenness()),
        Objective("budget", "min", lambda b: b.cost, "arcs"),
        Objective("time", "min", lambda b: b.steps.mean(1), "steps", 1e-6),
        Objective("spread_error", "min", lambda b: error(b.spread), "nodes", 1e-6),
        Objective("communities_error", "min", lambda b: error(b.unevenness())),
        Objective("time_error", "min", lambda b: error(b.steps), "steps", 1e-6),
    )


def _time_left(batch: SeedBatch) -> Array:
    if batch.limit is None:
        return np.ones(len(batch))
    return 1 - np.floor(batch.steps.mean(1)) / batch.limit


def error(samples: NDArray[Any]) -> Array:
    """Standard error of the mean over worlds, (P, W) to (P,); NaN for a single world."""
    count = samples.shape[1]
    if count < 2:
        return np.full(len(samples), np.nan)
    return samples.std(axis=1, ddof=1) / np.sqrt(count)


def uneven(counts: NDArray[Any], sizes: NDArray[Any], *, natural: bool = False) -> Array:
    """How unevenly communities are served, 0 (all alike) to 1 (one alone, or nobody at all).

    Args:
        counts: Nodes served in each community, (…, c).
        sizes: Nodes of each community, (c,).
        natural: Natural logarithms in the distance, binary ones in its largest value, as MOEIM; it
            then ends at √ln 2, but for nobody, which is 1.
    """
    rates = counts * (1.0 / sizes)
    total = rates.sum(axis=-1, keepdims=True)
    rates /= np.where(total > 0, total, 1.0)
    found = np.where(total[..., 0] > 0, _divergence(rates), -1.0)
    return _scaled(found, len(sizes), natural=natural)


def uneven_beyond(
    active: NDArray[np.int32], own: NDArray[np.int64], sizes: NDArray[np.int64], *,
    natural: bool = False, backend: str = "auto",
) -> Array:  # fmt: skip
    """How unevenly communities were reached beyond the seeds, (P, W).

    Args:
        active: Active nodes of each community, (P, W, c).
        own: Seeds of each community, (P, c).
        sizes: Nodes of each community, (c,).
        natural: As for :func:`uneven`.
        backend: As for :func:`.cascades.propagated`; the last digits may differ.
    """
    code = compiled(backend)
    if code is None:
        return uneven(active - own[:, None], sizes, natural=natural)
    return _scaled(code.divergences(active, own, sizes), len(sizes), natural=natural)


def _scaled(divergence: Array, communities: int, *, natural: bool) -> Array:
    """Distance over its largest value from a divergence in nats; 1 where that is negative."""
    most = np.sqrt(_divergence(np.eye(1, communities)[0]) / LN2)
    found = np.sqrt(np.maximum(divergence, 0.0) / (1.0 if natural else LN2))
    return np.where(divergence < 0, 1.0, found / most if most > 0 else 0.0)


def _divergence(shares: Array) -> Array:
    """Jensen-Shannon divergence between shares and equal ones along the last axis, in nats.

    That is H((x + u) / 2) - (H(x) + H(u)) / 2; what rounding leaves of nothing is nothing.
    """
    equal = 1.0 / shares.shape[-1]
    middle = 0.5 * shares + 0.5 * equal
    mixed = np.log(middle)
    mixed *= middle
    own = np.maximum(shares, 1e-300)
    np.log(own, out=own)
    own *= shares
    found = 0.5 * own.sum(axis=-1) - mixed.sum(axis=-1) + 0.5 * np.log(equal)
    return np.where(found > NOTHING, found, 0.0)
