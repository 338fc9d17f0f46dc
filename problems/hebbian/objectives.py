"""What plastic networks are judged by.

``robustness`` and ``worst`` are the mean and the lowest return over damaged bodies, ``plasticity``
the mean absolute change of a weight in a control step, ``energy`` the mean squared action.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from evo.problem import Array, Objective

from .lives import Lives

if TYPE_CHECKING:
    from .problem import PlasticBatch

UNITS = {"reward": "", "distance": "m"}


def offered(parts: Sequence[str], damage: bool, unseen: bool) -> tuple[Objective, ...]:
    """All that can be judged here.

    Args:
        parts: What the world rewards with.
        damage: Whether there are damaged bodies to search by.
        unseen: Whether there are others to report.
    """
    found = [_return(part, i) for i, part in enumerate(parts)]
    if damage:
        found += [
            Objective("robustness", "max", lambda b: _means(b, b.damaged).mean(1), "", 1e-6),
            Objective("worst", "max", lambda b: _means(b, b.damaged).min(1), "", 1e-6),
        ]
    if unseen:
        found.append(Objective("unseen", "max", lambda b: _means(b, b.unseen).mean(1), "", 1e-6))
    return (
        *found,
        Objective("params", "min", lambda b: b.sizes["params"], "evolved numbers", free=True),
        Objective("memory", "min", lambda b: b.sizes["memory"], "stored numbers", free=True),
        Objective("plasticity", "min", _plasticity),
        Objective("energy", "min", lambda b: b.intact.energy.mean((1, 2))),
        Objective("largest", "min", lambda b: b.intact.largest.max((1, 2)), "weight", 1e-6),
        Objective("lived", "max", lambda b: b.intact.steps.mean((1, 2)), "control steps", 1e-6),
        Objective(f"{parts[0]}_error", "min", _error, UNITS.get(parts[0], ""), 1e-6),
    )


def _return(part: str, i: int) -> Objective:
    def fn(batch: PlasticBatch) -> Array:
        return batch.intact.rewards[..., i].mean((1, 2))

    return Objective(part, "max", fn, UNITS.get(part, ""), 1e-6)


def _means(batch: PlasticBatch, lives: Lives) -> Array:
    """Mean return in each body, (n, bodies)."""
    return lives.rewards[..., batch.scored].mean(axis=2)


def _plasticity(batch: PlasticBatch) -> Array:
    return batch.intact.change.mean((1, 2)) / np.maximum(batch.synapses, 1.0)


def _error(batch: PlasticBatch) -> Array:
    """Standard error of the first return over episodes; NaN for a single one."""
    samples = batch.intact.rewards[:, 0, :, 0]
    if samples.shape[1] < 2:
        return np.full(len(samples), np.nan)
    return samples.std(axis=1, ddof=1) / np.sqrt(samples.shape[1])
