"""One search by ask and tell: everything judged, and what ever was in the population."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from cases import SIX, Array, judged
from numpy.typing import NDArray

from evo.algorithms import Settings, create
from evo.genomes import Genomes
from evo.indicators import nondominated
from evo.streams import stream
from problems.influence.problem import Influence


@dataclass(frozen=True)
class Search:
    """What a search did.

    Args:
        seeds: Seed sets in the order in which they were judged, (N, most).
        values: Their six objectives, (N, 6).
        stayed: Who survived a generation at least, (N,).
        columns: Objectives that were optimised.
    """

    seeds: NDArray[np.int32]
    values: Array
    stayed: NDArray[np.bool_]
    columns: list[int]

    @property
    def front(self) -> NDArray[np.intp]:
        """Rows that nothing judged dominates in the optimised objectives."""
        return self._best(np.arange(len(self.seeds)))

    @property
    def archive(self) -> NDArray[np.intp]:
        """The same among those that survived a generation, which is what MOEIM archives."""
        return self._best(np.flatnonzero(self.stayed))

    def _best(self, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        return rows[nondominated(-self.values[np.ix_(rows, self.columns)])]


def search(
    problem: Influence, objectives: tuple[str, ...], *, algorithm: str = "moeim", seed: int = 0,
    population: int = 100, evaluations: int = 10_100, **settings: Any,
) -> Search:  # fmt: skip
    """Search as `evo run` does, without a run file, in whole generations; judges all six."""
    columns = [SIX.index(name) for name in objectives]
    chosen = Settings(population, seed, **problem.variation, **settings)
    searcher = create(
        algorithm, problem.space, n_objectives=len(columns), constrained=False, settings=chosen,
        starts=problem.starts(population, stream(seed, "starts")),
    )  # fmt: skip
    known: dict[bytes, int] = {}
    seeds, values, stayed = [], [], set[int]()
    for _ in range(evaluations // population):
        genomes: Genomes = searcher.ask()
        known |= {row: len(known) + i for i, row in enumerate(genomes.rows())}
        found = judged(problem, genomes["seeds"])
        searcher.tell(genomes, -found[:, columns], np.zeros(len(genomes)))
        stayed |= {known[row] for row in searcher.population.genomes.rows()}
        seeds.append(genomes["seeds"])
        values.append(found)
    kept = np.isin(np.arange(len(known)), sorted(stayed))
    return Search(np.concatenate(seeds), np.concatenate(values), kept, columns)
