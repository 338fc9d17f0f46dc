"""Allocators of sparsity, one file each: from one target to a sparsity for every linear layer.

An allocator is called with a problem, a target and a generator, and returns the share of weights
that each linear layer loses, or each of its rows. It meets the target by its own paper's rule:
some weigh layers by their weights, some take the plain mean over blocks. The built-in ones are
named; a frozen dataclass of your own may stand where their names may.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from evo.errors import ConfigError
from evo.suggest import did_you_mean
from operators import RNG

from .. import brackets
from ..layouts import get
from ..listening import layers_of
from ..sites import shape_of

if TYPE_CHECKING:
    from ..searches import Mixed

Layer = tuple[int, str]
"""Index of the block, and the path of a linear layer inside it."""

Share = float | NDArray[np.float64]
"""Share removed of a layer, or of each of its rows, (d_out,)."""

Allocation = dict[Layer, Share]

ALLOCATORS = {
    "alphapruning": "alphapruning:AlphaPruning",
    "ecoflap": "ecoflap:ECoFLaP",
    "erk": "erk:ERK",
    "neuroal": "neuroal:NeuroAL",
    "owl": "owl:OWL",
    "uniform": "uniform:Uniform",
}
"""Name → module of this package and class."""


class Allocator(Protocol):
    """From a target to a sparsity per linear layer."""

    def __call__(self, problem: Mixed, sparsity: float, rng: RNG) -> Allocation:
        """Share removed of every linear layer of every block.

        Args:
            problem: For its model, library and calibration text; not modified.
            sparsity: The target, in (0, 1).
            rng: For allocators that draw.

        Raises:
            ConfigError: The target is out of range, or the model does not fit.
        """
        ...


def find(text: Any) -> Allocator:
    """An allocator by name, with settings in brackets where wanted: ``owl(spread=0.1)``.

    Args:
        text: A name, or an allocator, which is returned as it is.

    Raises:
        ConfigError: No such allocator or setting.
    """
    if not isinstance(text, str):
        return text
    name, settings = brackets.split(text)
    if name not in ALLOCATORS:
        raise ConfigError(
            f"no allocator called {name!r}{did_you_mean(name, ALLOCATORS)}",
            hint=f"known: {', '.join(ALLOCATORS)}",
        )
    module, _, attribute = ALLOCATORS[name].partition(":")
    made = getattr(importlib.import_module(f".{module}", __name__), attribute)()
    if settings is None:
        return made
    return replace(made, **brackets.read(f"allocator {name!r}", made, settings))


def require_target(sparsity: float) -> None:
    """Check that a target lies between 0 and 1.

    Raises:
        ConfigError: It does not.
    """
    if not 0 < sparsity < 1:
        raise ConfigError(
            f"sparsity is the share of weights to remove, above 0 and below 1, got {sparsity!r}"
        )


def require_reachable(what: str, sparsity: float, allocation: Mapping[Layer, Share]) -> None:
    """Check that no layer is asked for more than it has.

    Raises:
        ConfigError: A layer's share is not in [0, 1).
    """
    for (block, path), share in allocation.items():
        own = float(np.mean(share))
        if not (np.all(np.asarray(share) >= 0) and np.all(np.asarray(share) < 1)):
            raise ConfigError(
                f"{what} at sparsity {sparsity:g} asks {path} of block {block} for {own:.4g}, "
                "which is not a share from 0 to below 1",
                hint="ask for another sparsity, or let the allocator's setting spread layers less",
            )


def shapes(problem: Mixed) -> dict[Layer, tuple[int, int]]:
    """(d_out, d_in) of every linear layer of every block, in order."""
    return {
        (block.index, path): shape_of(get(block.module, path))
        for block, path in layers_of(problem.pretrained.blocks)
    }


def weight_counts(problem: Mixed) -> dict[Layer, int]:
    """Number of weights of every linear layer, biases left out."""
    return {layer: out * into for layer, (out, into) in shapes(problem).items()}


def block_counts(problem: Mixed) -> NDArray[np.int64]:
    """Number of weights of each block's linear layers, (L,)."""
    totals = np.zeros(len(problem.pretrained.blocks), dtype=np.int64)
    for (block, _), count in weight_counts(problem).items():
        totals[block] += count
    return totals


def by_block(problem: Mixed, values: Sequence[float] | NDArray[np.float64]) -> Allocation:
    """The allocation in which all linear layers of a block have the block's share."""
    return {layer: float(values[layer[0]]) for layer in shapes(problem)}


def realised(allocation: Mapping[Layer, Share], counts: Mapping[Layer, int]) -> float:
    """Share of all weights that an allocation removes."""
    removed = sum(float(np.mean(share)) * counts[layer] for layer, share in allocation.items())
    return removed / sum(counts[layer] for layer in allocation)
