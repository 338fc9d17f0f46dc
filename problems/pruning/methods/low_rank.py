"""Low rank at one density everywhere: SVD-LLM's truncation, stored as factors or as PIFA does.

SVD-LLM (arXiv 2403.07378) and PIFA (arXiv 2501.19090), without refits. The target is the share of
the weights of the blocks' linear layers, whose ranks are the largest that reach it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evo.errors import ConfigError
from operators import RNG

from ..searches import Mixed
from . import Outcome


@dataclass(frozen=True)
class SVD:
    """Every linear layer as two factors.

    Args:
        whiten: Weigh by the inputs; else it is the plain singular value decomposition.
    """

    whiten: bool = True

    def __call__(self, problem: Mixed, sparsity: float, rng: RNG) -> Outcome:
        """Truncate all layers; draws nothing.

        Raises:
            ConfigError: The target is not between 0 and 1, or rank 1 takes more.
        """
        return everywhere(problem, named("svd", whiten=self.whiten), sparsity)


@dataclass(frozen=True)
class PIFA:
    """Every linear layer in pivot form.

    Args:
        whiten: Weigh by the inputs; else it is the plain singular value decomposition.
        multiple: Ranks are rounded up to multiples of it, and a little less than the target goes.
    """

    whiten: bool = True
    multiple: int = 1

    def __call__(self, problem: Mixed, sparsity: float, rng: RNG) -> Outcome:
        """Truncate all layers; draws nothing.

        Raises:
            ConfigError: The target is not between 0 and 1, or rank 1 takes more.
        """
        name = named("pifa", whiten=self.whiten, multiple=self.multiple)
        return everywhere(problem, name, sparsity, exact=self.multiple == 1)


def everywhere(problem: Mixed, kind: str, sparsity: float, *, exact: bool = True) -> Outcome:
    """The one choice of a kind at every linear layer.

    Args:
        problem: Gives the model and the text.
        kind: Name of a kind whose levels are densities.
        sparsity: Share of the linear layers' weights to remove.
        exact: Whether less than that is an error.

    Raises:
        ConfigError: The target cannot be reached.
    """
    problem = problem.again([f"{kind}@{density(sparsity)}"], sites="linear")
    return smallest(problem, sparsity, exact=exact)


def density(sparsity: float) -> float:
    """Share that stays.

    Raises:
        ConfigError: The target is not between 0 and 1.
    """
    if not 0 < sparsity < 1:
        raise ConfigError(f"sparsity must be above 0 and below 1, got {sparsity}")
    return round(1 - sparsity, 12)


def smallest(problem: Mixed, sparsity: float, *, exact: bool) -> Outcome:
    """The only variant of every site, if that removes enough.

    Args:
        problem: Its sites have one variant besides dense.
        sparsity: Share of the linear layers' weights to remove.
        exact: Whether less than that is an error.

    Raises:
        ConfigError: It is less, and ``exact`` asks for it.
    """
    outcome = Outcome(problem, np.ones(len(problem.table), dtype=np.int16))
    if exact and outcome.sparsity < sparsity:
        raise ConfigError(
            f"a sparsity of {sparsity:g} cannot be reached: with the lowest rank in every linear "
            f"layer, {outcome.sparsity:.4g} of their weights go",
            hint="ask for less, or take a method that removes whole parts",
        )
    return outcome


def named(kind: str, **settings: object) -> str:
    """A kind's name with settings in brackets, as a user would write it."""
    said = ",".join(f"{key}={str(value).lower()}" for key, value in settings.items())
    return f"{kind}({said})"
