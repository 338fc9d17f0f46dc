"""Where to open depots: customers want one nearby, and every depot costs rent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

import evo
from evo.streams import stream

FAR = 2.0  # the way of customers without a depot: longer than any in the unit square


@dataclass(frozen=True, eq=False)
class NewProblemBatch:
    """n decoded candidates; what several objectives need is computed once.

    Args:
        open: Which sites have a depot, shape (n, sites).
        ways: From every customer to every site, shape (customers, sites).
        rents: Of every site, shape (sites,).
    """

    open: NDArray[np.bool_]
    ways: NDArray[np.float64]
    rents: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.open)

    @cached_property
    def nearest(self) -> NDArray[np.float64]:
        """Way of every customer to the nearest depot, shape (n, customers)."""
        return np.where(self.open[:, None, :], self.ways, FAR).min(axis=2)


def way(batch: NewProblemBatch) -> NDArray[np.float64]:
    """Mean way of the customers, shape (n,)."""
    return batch.nearest.mean(axis=1)


def rent(batch: NewProblemBatch) -> NDArray[np.int64]:
    """Rent of all depots, shape (n,)."""
    return batch.open @ batch.rents


def longest(batch: NewProblemBatch) -> NDArray[np.float64]:
    """Way of the customer who is worst off, shape (n,)."""
    return batch.nearest.max(axis=1)


class NewProblem:
    """Sites and customers at random places of a unit square; rents from 1 to 9.

    Args:
        sites: How many depots may open.
        customers: How many want to be served.
        reach: The longest way that a customer accepts.
        instance: Which random places.
    """

    def __init__(
        self, sites: int = 20, customers: int = 100, reach: float = 0.6, instance: int = 0
    ) -> None:
        draw = stream(instance, "places", sites, customers)
        places, homes = draw.random((sites, 2)), draw.random((customers, 2))
        self.ways = np.linalg.norm(homes[:, None] - places, axis=2)
        self.rents = draw.integers(1, 10, sites)
        self.space = evo.SearchSpace((evo.Mask("open", sites),))
        self.objectives = (
            evo.Objective("way", "min", way, resolution=1e-6),
            evo.Objective("rent", "min", rent, resolution=1.0),
        )
        self.constraints = (evo.Constraint("longest", longest, limit=reach),)

    def batch(self, genomes: evo.Genomes, context: evo.Context) -> NewProblemBatch:
        """Decode n genomes."""
        self.space.check(genomes)
        return NewProblemBatch(genomes["open"], self.ways, self.rents)

    def describe(self) -> Mapping[str, str]:
        """Title for people; evo.Problem says what else a problem may offer."""
        return {"title": f"depots at {len(self.rents)} sites for {len(self.ways)} customers"}
