"""Reverse-reachable sets, and seeds whose spread they bound (OPIM-C).

A sketch holds who activates one random node: those with a path of live arcs to it, no longer than
the limit of steps. A seed set meets a sketch as often as it activates a random node, so that n
times the share it meets estimates its spread (Borgs et al. 2014). OPIM-C (Tang, Tang, Xiao and Yuan
2018) chooses on one half of the sketches, bounds on the other, and doubles both until the bounds
are near enough. Models must have live arcs: independent ones of any probability, or those that
stand for thresholds from 0 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, e, lgamma, log, log2, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from evo.errors import ConfigError
from evo.problem import Array
from evo.streams import stream
from operators import RNG

from .neighbours import Rows, ends_of, entering
from .worlds import Cascade, Model, distinct, over_arcs

CELLS = 1 << 24  # bytes that tell which nodes the sketches under way hold; more outgrow caches
LEAST, ROOM = 512, 1 << 27  # sketches under way at least, where that takes no more bytes
MOST = 1 << 29  # nodes that are held in all
SPARSE = 0.3  # below this, gaps between live arcs are drawn instead of arcs


class Sampler:
    """Draws sketches, each of a node drawn uniformly.

    Args:
        model: What spreads over which graph.
        limit: Most steps, None for no limit.
        rng: Where chance comes from.

    Raises:
        ConfigError: Nodes have thresholds that live arcs do not stand for.
    """

    def __init__(self, model: Model, limit: int | None, rng: RNG) -> None:
        over_arcs(model, "reverse reachability")
        self.n = model.graph.n
        self._into, self._limit, self._rng = entering(model.graph), limit, rng
        self._heeding = model.graph.counted_in
        self._chance = model.probability if isinstance(model, Cascade) else None
        self._even = 1.0
        if self._chance is not None and np.ptp(self._chance) == 0:
            self._even = float(self._chance[0])
        self._most = max(CELLS // self.n, min(LEAST, ROOM // self.n), 1)
        self._seen = np.zeros(0, dtype=bool)

    def draw(self, count: int) -> Rows:
        """So many sketches: the nodes of each in ascending order.

        Raises:
            ConfigError: They hold more nodes than fit.
        """
        parts, held = [], 0
        for i in range(0, count, self._most):
            parts.append(self._some(min(self._most, count - i)))
            held += len(parts[-1][1])
            if held > MOST:
                raise ConfigError(
                    f"{count:,} sketches of about {held / (i + self._most):,.0f} nodes each "
                    f"hold more than the {MOST:,} nodes that fit",
                    hint="leave out opim-c, or set a limit of steps",
                )
        counts, members = (np.concatenate(side) for side in zip(*parts, strict=True))
        return Rows(ends_of(counts), members)

    def _some(self, count: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Sizes of sketches, (count,), and their members, one sketch after the other."""
        n = self.n
        if len(self._seen) < count * n:
            self._seen = np.zeros(count * n, dtype=bool)
        fresh = np.arange(count) * n + self._rng.integers(n, size=count)  # sketch and node in one
        self._seen[fresh] = True
        found, steps = [fresh], 0
        while len(fresh) and (self._limit is None or steps < self._limit):
            which, node = np.divmod(fresh, n)
            owner, arcs = self._live(node)
            keys = which[owner] * n + self._into.near[arcs]
            fresh = np.unique(keys[~self._seen[keys]])
            self._seen[fresh] = True
            found.append(fresh)
            steps += 1
        keys = np.sort(np.concatenate(found))
        self._seen[keys] = False
        which, node = np.divmod(keys, n)
        return np.bincount(which, minlength=count), node.astype(np.int32)

    def _live(self, nodes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Live arcs into nodes: index of the node, and of the arc."""
        counts = self._into.counts(nodes)
        if self._chance is None:  # each node heeds one neighbour, or itself
            drawn = (self._rng.random(len(nodes)) * self._heeding[nodes]).astype(np.int64)
            owner = np.flatnonzero(drawn < counts)
            return owner, (self._into.ends[nodes] + drawn)[owner]
        ends = np.cumsum(counts)
        total = int(ends[-1])
        if self._even < SPARSE and total:
            places = distinct(total, self._even, self._rng)
            owner = np.searchsorted(ends, places, side="right")
            return owner, self._into.ends[nodes[owner]] + places - (ends - counts)[owner]
        arcs = self._into.places(nodes)
        live = self._rng.random(total) < self._chance[arcs]
        return np.repeat(np.arange(len(nodes)), counts)[live], arcs[live]


def estimated(sketches: Rows, n: int, rows: NDArray[np.integer]) -> tuple[Array, Array]:
    """Spread of seed sets, and its standard error.

    Args:
        sketches: R of them.
        n: Nodes of the graph.
        rows: Seeds of each set, padded with -1, (P, most).

    Returns:
        Nodes, (P,), and the same.
    """
    count = len(sketches.ends) - 1
    which, place = np.nonzero(rows >= 0)
    ones = np.ones(len(which), dtype=np.int32)
    sets = csr_array((ones, (rows[which, place], which)), shape=(n, len(rows)))
    ones = np.ones(len(sketches.near), dtype=np.int32)
    members = csr_array((ones, sketches.near, sketches.ends), shape=(count, n))
    met = np.asarray(((members @ sets) > 0).sum(axis=0)).reshape(-1) / count
    return n * met, n * np.sqrt(met * (1 - met) / count)


@dataclass(frozen=True, slots=True, eq=False)
class Bounded:
    """Seeds with bounds that hold together with probability 1 - delta.

    Args:
        nodes: In the order of choice, (k,).
        lower: The spread of all of them is at least this.
        upper: The spread of any k nodes is at most this.
        promised: Share of the largest spread that was asked for, 1 - 1/e - epsilon.
        delta: Chance of failure.
        sketches: How many were drawn.
    """

    nodes: NDArray[np.int32]
    lower: float
    upper: float
    promised: float
    delta: float
    sketches: int

    @property
    def share(self) -> float:
        """Of the largest spread of k nodes, what these reach at least."""
        return max(self.promised, self.lower / self.upper)


def opim_c(
    model: Model, k: int, limit: int | None = None, epsilon: float = 0.1,
    delta: float | None = None, seed: int = 0,
) -> Bounded:  # fmt: skip
    """Seeds whose spread is at least 1 - 1/e - epsilon of the largest of k nodes.

    Tang et al. 2018, algorithm 2 with the upper bound of OPIM+; the last of its rounds has at least
    as many sketches as the guarantee without bounds needs.

    Args:
        model: What spreads over which graph.
        k: How many, at most the nodes of the graph.
        limit: Most steps, None for no limit.
        epsilon: What may be missing to 1 - 1/e, above 0 and below that.
        delta: Chance of failure, in (0, 1); one in n by default.
        seed: Root of the random streams.

    Raises:
        ConfigError: Nodes have thresholds, or sketches hold more nodes than fit.
    """
    n, best = model.graph.n, 1 - 1 / e
    chance = 1 / n if delta is None else delta
    ways = lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)  # of choosing, logarithm
    a = log(6 / chance)
    most = 2 * n * (best * sqrt(a) + sqrt(best * (ways + a))) ** 2 / (epsilon**2 * k)
    count = ceil(most * epsilon**2 * k / n)
    rounds = 1 + max(0, ceil(log2(most / count)))
    one, other = (
        Sampler(model, limit, stream(seed, "sketches", name)) for name in ("choose", "bound")
    )
    mine, theirs = one.draw(count), other.draw(count)
    a = log(3 * rounds / chance)
    for i in range(rounds):
        nodes, most_met = covering(mine, n, k)
        met = _met(theirs, n, nodes)
        size = len(mine.ends) - 1
        lower = ((sqrt(met + 2 * a / 9) - sqrt(a / 2)) ** 2 - a / 18) * n / size
        upper = (sqrt(most_met + a / 2) + sqrt(a / 2)) ** 2 * n / size
        found = Bounded(nodes, max(lower, k), min(upper, n), best - epsilon, chance, 2 * size)
        if found.lower >= found.promised * found.upper or i == rounds - 1:
            return found
        mine, theirs = _joined(mine, one.draw(size)), _joined(theirs, other.draw(size))
    raise AssertionError("the last round returns")


def covering(sketches: Rows, n: int, k: int) -> tuple[NDArray[np.int32], float]:
    """The k nodes that greedily meet most sketches, and how many any k nodes meet at most.

    The bound is the least over the greedy sets of what one meets and the k largest gains beside it.
    """
    count = len(sketches.ends) - 1
    gains = np.bincount(sketches.near, minlength=n)
    owners = np.repeat(np.arange(count, dtype=np.int32), np.diff(sketches.ends))
    held = Rows(ends_of(gains), owners[np.argsort(sketches.near, kind="stable")])
    missed, left = np.ones(count, dtype=bool), np.ones(n, dtype=bool)
    nodes, met, bound = np.empty(k, dtype=np.int32), 0, np.inf
    for i in range(k):
        bound = min(bound, met + _largest(gains, k))
        nodes[i] = node = int(np.where(left, gains, -1).argmax())
        new = held.of(node)
        new = new[missed[new]]
        missed[new] = left[node] = False
        met += len(new)
        np.subtract.at(gains, sketches.of_all(new), 1)
    return nodes, float(min(bound, met + _largest(gains, k)))


def _largest(gains: NDArray[np.int64], k: int) -> int:
    """Sum of the k largest."""
    return int(np.partition(gains, len(gains) - k)[len(gains) - k :].sum())


def _met(sketches: Rows, n: int, nodes: NDArray[np.int32]) -> int:
    """Sketches that hold one of the nodes."""
    chosen = np.zeros(n, dtype=bool)
    chosen[nodes] = True
    inside = ends_of(chosen[sketches.near])
    return int((np.diff(inside[sketches.ends]) > 0).sum())


def _joined(one: Rows, other: Rows) -> Rows:
    ends = np.concatenate([one.ends, one.ends[-1] + other.ends[1:]])
    return Rows(ends, np.concatenate([one.near, other.near]))
