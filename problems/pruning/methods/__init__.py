"""Pruning methods of the field, each usable alone: from a model and a target to one candidate.

A method is a frozen dataclass whose fields are its settings; it is called with a problem, a target
and a generator. The built-in ones are rows of the registry, and anyone's ``module:attr`` may stand
where their names may.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from operators import RNG

from ..layouts import get
from ..listening import layers_of
from ..searches import Mixed
from ..sites import shape_of


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a method chose.

    Args:
        problem: The problem whose sites have the variants that the method needs.
        choices: Variant index per site, (S,).
        tokens: Tokens that passed through whole models while choosing, calibration left out.
        notes: What the user should know about the choosing, one sentence each.
    """

    problem: Mixed
    choices: NDArray[np.int16]
    tokens: int = 0
    notes: tuple[str, ...] = ()

    @property
    def sparsity(self) -> float:
        """Share of the weights of the blocks' linear layers that is gone, in [0, 1]."""
        table = self.problem.table
        left = table.costs("weights", self.choices[None]).sum()
        return float(table.weights[:, 0].sum() - left) / weight_count(self.problem)


class Method(Protocol):
    """From a target to one candidate."""

    def __call__(self, problem: Mixed, sparsity: float, rng: RNG) -> Outcome:
        """Choose.

        Args:
            problem: Any pruning problem on the model and text wanted; ``problem.again(...)`` gives
                one with the variants that the method needs.
            sparsity: Share to remove, of the weights of the blocks' linear layers unless the
                method's paper counts otherwise.
            rng: For methods that draw.

        Raises:
            ConfigError: The target cannot be reached.
        """
        ...


def weight_count(problem: Mixed) -> int:
    """Weights of all linear layers of the blocks of the dense model, biases left out."""
    layers = layers_of(problem.pretrained.blocks)
    shapes = [shape_of(get(block.module, path)) for block, path in layers]
    return sum(out * into for out, into in shapes)
