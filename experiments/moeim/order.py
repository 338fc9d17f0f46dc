"""Does it matter that our seed sets have no order? MOEIM and MOEA with lists that are cut.

    EVO_DATA=FOLDER python experiments/moeim/order.py [--seeds 10] [--jobs 2]

MOEIM's released program cuts lists whose order is inherited: what both parents share keeps its
place, and what one mutation exchanges takes the place of what leaves. MOEA's makes sets of them
first and cuts these in the order in which Python iterates over a set. Here the orders are kept
beside the sets, or Python's is taken, and nothing else differs from ``run.py``. The rows tried are
those of Table 1 of which a cell lies more than two published standard deviations off. Appends to
``results/order.csv``, skips what is there, and prints published, our and these hypervolumes.
"""

from __future__ import annotations

import argparse
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import numpy as np
from cases import OPTIMISED, SPACES, Array, completed, hypervolumes, problem_of, rows_of
from numpy.typing import NDArray
from run import KEYS, METHODS, RESULTS, STOCK, Task
from search import search
from table import published

from operators import RNG, Bounds
from operators.subset import SUBSET
from problems.influence.graphs import Graph
from problems.influence.variation import GraphMove, UnsharedCut

ROWS = (
    ("MOEIM", "facebook_combined_un", "ic", "is"), ("MOEIM", "lastfm_un", "wc", "is"),
    ("MOEIM", "wiki-vote_di", "ic", "is"), ("MOEIM", "wiki-vote_di", "wc", "is"),
    ("MOEIM", "gnutella_di", "ic", "all"), ("MOEIM", "CA-HepTh_un", "ic", "all"),
    ("MOEIM", "lastfm_un", "ic", "isc"), ("MOEIM", "wiki-vote_di", "ic", "isb"),
    ("MOEIM", "wiki-vote_di", "wc", "ist"), ("MOEIM", "wiki-vote_di", "wc", "isf"),
    ("MOEIM", "CA-HepTh_un", "ic", "ist"),
    ("MOEA", "gnutella_di", "ic", "is"), ("MOEA", "CA-HepTh_un", "wc", "is"),
)  # fmt: skip
Rows = NDArray[Any]


class Orders:
    """The order of the genes of every set that was bred; at random for the others."""

    def __init__(self, seed: int) -> None:
        self._known: dict[bytes, list[int]] = {}
        self._rng = np.random.default_rng(seed)

    def of(self, row: Rows) -> list[int]:
        """Of a sorted row, padded with -1."""
        genes = row[row >= 0].astype(np.int64)
        return self._known.setdefault(genes.tobytes(), self._rng.permutation(genes).tolist())

    def row(self, genes: list[int], like: Rows) -> Rows:
        """The row of genes in this order."""
        self._known[np.sort(np.array(genes, dtype=np.int64)).tobytes()] = genes
        return row_of(genes, like)


class Cut(ABC):
    """A crossover of lists, pair by pair."""

    kinds = SUBSET

    def __call__(self, first: Rows, second: Rows, bounds: Bounds, rng: RNG) -> tuple[Rows, Rows]:
        """Two children per pair, each shape (n, d), sorted and padded with -1."""
        pairs = [self._crossed(*rows, bounds, rng) for rows in zip(first, second, strict=True)]
        one, two = zip(*pairs, strict=True)
        return np.stack(one), np.stack(two)

    @abstractmethod
    def _crossed(self, a: Rows, b: Rows, bounds: Bounds, rng: RNG) -> tuple[Rows, Rows]: ...


class ListCut(Cut):
    """As :class:`UnsharedCut`, with the cut through the lists of the parents."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders

    def _crossed(self, a: Rows, b: Rows, bounds: Bounds, rng: RNG) -> tuple[Rows, Rows]:
        lists = self._orders.of(a), self._orders.of(b)
        shared = set(lists[0]) & set(lists[1])
        mine, others = ([gene for gene in genes if gene not in shared] for genes in lists)
        if len(mine) < 2:  # replaced as there
            one, two = UnsharedCut()(a[None], b[None], bounds, rng)
            return one[0], two[0]
        cut = int(rng.integers(1, len(mine)))
        tails = mine[:cut] + others[cut:], others[:cut] + mine[cut:]
        one, two = (
            self._orders.row(filled(genes, shared, new), a)
            for genes, new in zip(lists, tails, strict=True)
        )
        return one, two


class SetCut(Cut):
    """As :class:`SubsetCut`, with the cuts through Python's sets as they are iterated over."""

    def _crossed(self, a: Rows, b: Rows, bounds: Bounds, rng: RNG) -> tuple[Rows, Rows]:
        lists = [list(set(row[row >= 0].tolist())) for row in (a, b)]
        cuts = [int(rng.integers(len(genes))) for genes in lists]
        one, two = (set(lists[i][: cuts[i]] + lists[1 - i][cuts[i] :]) for i in (0, 1))
        return row_of(one, a), row_of(two, b)


def row_of(genes: Iterable[int], like: Rows) -> Rows:
    """The row of a set."""
    found = np.sort(np.array(list(genes), dtype=np.int64))
    return np.pad(found, (0, len(like) - len(found)), constant_values=-1).astype(like.dtype)


def filled(genes: list[int], shared: set[int], new: list[int]) -> list[int]:
    """Shared genes where they are, new ones in the places of the others, and what is left."""
    rest = iter(new)
    taken = [gene if gene in shared else next(rest, None) for gene in genes]
    return [gene for gene in taken if gene is not None] + list(rest)


class ListMove:
    """As :class:`GraphMove`; who comes in takes the place of who leaves, or the last one."""

    kinds = SUBSET

    def __init__(self, graph: Graph, orders: Orders) -> None:
        self._move, self._orders = GraphMove(graph), orders

    def __call__(self, genomes: Rows, bounds: Bounds, rng: RNG) -> Rows:
        """Changed rows, shape (n, d), sorted and padded with -1."""
        moved = self._move(genomes, bounds, rng)
        return np.stack([self._ordered(*rows) for rows in zip(genomes, moved, strict=True)])

    def _ordered(self, old: Rows, new: Rows) -> Rows:
        genes = self._orders.of(old)
        stay = set(new[new >= 0].tolist())
        came = sorted(stay - set(genes))
        return self._orders.row(filled(genes, stay, came), new)


def one(task: Task) -> dict[str, Any]:
    """A line of the results."""
    method, graph, model, objectives, seed = task
    problem = problem_of(graph, model, stock=STOCK, seed=seed, **METHODS[method])
    if method == "MOEIM":
        orders = Orders(seed)
        move = ListMove(problem.graph, orders)
        problem.variation = {"crossover": ListCut(orders), "mutation": move}
    else:
        problem.variation |= {"crossover": SetCut()}
    found = search(problem, OPTIMISED[objectives], seed=seed)
    volumes = hypervolumes(found.values[found.archive])
    return {
        **dict(zip(KEYS, task, strict=True)),
        **{k: f"{v:.8g}" for k, v in volumes.items()},
    }  # fmt: skip


def told(file: str, row: tuple[str, ...], space: str) -> Array:
    """Hypervolumes of the runs of a row in a file of results."""
    found = [r for r in rows_of(RESULTS / file) if tuple(r[key] for key in KEYS[:-1]) == row]
    return np.array([float(r[space]) for r in found])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    tasks = [(*row, seed) for seed in range(given.seeds) for row in ROWS]
    completed(RESULTS / "order.csv", KEYS, tasks, one, given.jobs)
    for row in ROWS:
        for space in SPACES:
            mean, sd, *_ = published(*row[1:], space, row[0])
            sets, lists = told("runs.csv", row, space), told("order.csv", row, space)
            if sd and abs(sets.mean() - mean) > 2 * sd:
                print(
                    f"{' '.join(row)} {space}: published {mean:.4g} ± {sd:.2g}, sets "
                    f"{sets.mean():.4g} ({(sets.mean() - mean) / sd:+.2f}), lists "
                    f"{lists.mean():.4g} ({(lists.mean() - mean) / sd:+.2f}, {len(lists)} runs)"
                )


if __name__ == "__main__":
    main()
