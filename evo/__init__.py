"""Pareto searches over pruned neural networks, graphs and learning rules.

Importing this package loads NumPy and the standard library only; everything heavy loads when it is
needed.
"""

from __future__ import annotations

from .errors import EvoError
from .genomes import Genomes
from .notebook import Found, search
from .problem import Batch, Constraint, Context, Evaluation, Objective, Problem, objective
from .space import Choice, Integer, Mask, Real, SearchSpace, Subset

__version__ = "0.1.0"

__all__ = [
    "Batch", "Choice", "Constraint", "Context", "Evaluation", "EvoError", "Found", "Genomes",
    "Integer", "Mask", "Objective", "Problem", "Real", "SearchSpace", "Subset", "objective",
    "search",
]  # fmt: skip
