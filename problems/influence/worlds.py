"""What chance decides before anyone is seeded: live arcs, or thresholds; common to all candidates.

Under independent cascades (IC) and weighted cascades (WC) each arc is live or not, independently,
and what seeds activate is what they reach over live arcs (Kempe, Kleinberg and Tardos 2003). Under
linear thresholds (LT) of MOEIM a node has a threshold between two bounds, under those of the
literature between 0 and 1, which live arcs stand for too. A world is one outcome;
all candidates are judged on the same ones, so that differences between them are not chance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import import_module
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from evo.errors import ConfigError
from evo.streams import stream
from operators import RNG

from .graphs import Graph

T = TypeVar("T")
KEPT = 1 << 31  # bytes of worlds kept from one call to the next; larger pools are drawn anew


@dataclass(frozen=True, eq=False)
class LiveArcs:
    """The arcs of one world.

    Args:
        sources: Where they come from, (live,).
        targets: Where they lead, ascending, (live,).
        forms: What kernels made of them.
    """

    sources: NDArray[np.int32]
    targets: NDArray[np.int32]
    forms: dict[Any, Any] = field(default_factory=dict, repr=False)

    @cached_property
    def starts(self) -> NDArray[np.intp]:
        """Index of the first arc of each target, (r,)."""
        return np.flatnonzero(np.diff(self.targets, prepend=-1))


@dataclass(frozen=True, slots=True, eq=False)
class Thresholds:
    """Share of a node's neighbours that must be exceeded to activate it, (n,)."""

    least: NDArray[np.float64]


World = LiveArcs | Thresholds


def form(forms: dict[Any, T], key: Any, make: Callable[[], T]) -> T:
    """What was made under that key, made now if it was not."""
    if key not in forms:
        forms[key] = make()
    return forms[key]


@dataclass(frozen=True)
class Cascade:
    """Arcs are live with a probability of their own (IC, WC and anything between)."""

    graph: Graph
    probability: NDArray[np.float64]  # (m,)

    @cached_property
    def _even(self) -> float | None:
        """The probability that all arcs share, if they do."""
        first = float(self.probability[0])
        return first if (self.probability == first).all() else None

    @cached_property
    def _certain(self) -> NDArray[np.bool_]:
        """Which arcs are always live, (m,)."""
        return self.probability >= 1

    @cached_property
    def _hazard(self) -> NDArray[np.float64]:
        """Sums of -ln(1 - p) up to each arc, those that are always live left out, (m,)."""
        return np.cumsum(-np.log1p(-np.where(self._certain, 0.0, self.probability)))

    def draw(self, rng: RNG) -> LiveArcs:
        """One world."""
        if self._even is not None and self._even < 0.3:
            live = distinct(self.graph.m, self._even, rng)
        else:
            live = _struck(self._hazard, self._certain, rng)
        return LiveArcs(self.graph.sources[live], self.graph.targets[live])

    @cached_property
    def size(self) -> int:
        """Bytes of a world and of what kernels make of it, about."""
        return int(24 * self.probability.sum()) + 8 * self.graph.n + 64


@dataclass(frozen=True)
class Threshold:
    """A node activates when more than its threshold of its in-neighbours are active (LT)."""

    graph: Graph
    low: float
    high: float
    forms: dict[Any, Any] = field(default_factory=dict, repr=False)

    def needs(self, world: Thresholds) -> NDArray[np.int64]:
        """Least number of active in-neighbours that activates each node, at least 1, (n,)."""
        return np.floor(world.least * self.graph.counted_in + 1e-9).astype(np.int64) + 1

    @cached_property
    def neighbours(self) -> csr_array:
        """Rows of targets, 1 for each in-neighbour, (n, n)."""
        graph = self.graph
        each = np.ones(graph.m, np.float32)
        return csr_array((each, (graph.targets, graph.sources)), shape=(graph.n, graph.n))

    def draw(self, rng: RNG) -> Thresholds:
        """One world."""
        return Thresholds(rng.uniform(self.low, self.high, self.graph.n))

    @property
    def size(self) -> int:
        """Bytes of a world."""
        return 8 * self.graph.n


@dataclass(frozen=True)
class Triggering:
    """LT with thresholds anywhere in [0, 1]: each node heeds one neighbour that it draws.

    What is reached over these arcs is activated in the same step, and as often, as by thresholds
    (Kempe, Kleinberg and Tardos 2003, theorem 2.5). A loop is heeded in vain.
    """

    graph: Graph

    @cached_property
    def _first(self) -> NDArray[np.int64]:
        """First arc into each node, (n,)."""
        return np.cumsum(self.graph.in_degree) - self.graph.in_degree

    def draw(self, rng: RNG) -> LiveArcs:
        """One world."""
        graph = self.graph
        drawn = np.floor(rng.random(graph.n) * graph.counted_in).astype(np.int64)
        live = (self._first + drawn)[drawn < graph.in_degree]
        return LiveArcs(graph.sources[live], graph.targets[live])

    @property
    def size(self) -> int:
        """Bytes of a world and of what kernels make of it, about."""
        return 32 * self.graph.n


Model = Cascade | Threshold | Triggering


def independent(graph: Graph, probability: float) -> Cascade:
    """IC: every arc with the same probability, or with that of the graph file.

    Raises:
        ConfigError: It is no probability.
    """
    if graph.weights is not None:
        return Cascade(graph, graph.weights)
    if isinstance(probability, bool) or not 0 < probability <= 1:
        raise ConfigError(f"problem.probability must lie in (0, 1], got {probability!r}")
    return Cascade(graph, np.full(graph.m, float(probability)))


def weighted(graph: Graph) -> Cascade:
    """WC: an arc into v is live with probability 1 / in-degree of v."""
    return Cascade(graph, 1.0 / graph.counted_in[graph.targets])


def thresholds(graph: Graph, low: float, high: float) -> Threshold | Triggering:
    """LT with thresholds uniform between two shares.

    Raises:
        ConfigError: They are no shares, or in the wrong order.
    """
    if not 0 <= low <= high <= 1:
        raise ConfigError(f"problem.thresholds must be two rising shares, got {low!r}, {high!r}")
    return Triggering(graph) if (low, high) == (0, 1) else Threshold(graph, low, high)


def over_arcs(model: Model, what: str, hint: str | None = None) -> Cascade | Triggering:
    """The model itself, for what is right over live arcs only.

    Raises:
        ConfigError: It has thresholds that no live arcs stand for.
    """
    if isinstance(model, Threshold):
        raise ConfigError(
            f"{what} needs live arcs, which stand for thresholds from 0 to 1 only; these lie "
            f"between {model.low:g} and {model.high:g}",
            hint=hint,
        )
    return model


class Pool:
    """A fixed sequence of worlds, each of a stream of its own.

    Args:
        model: Whose.
        seed: Root of the streams.
        split: Worlds of another split are independent of these.
        count: How many, at least 1.
    """

    def __init__(self, model: Model, seed: int, split: str, count: int) -> None:
        self.model, self.count = model, count
        self._seed, self._split = seed, split
        self._kept: list[World] = []

    def __iter__(self) -> Iterator[World]:
        if self._kept:
            yield from self._kept
            return
        kept, fits = [], self.model.size * self.count <= KEPT
        for i in range(self.count):
            world = self.model.draw(stream(self._seed, "world", self._split, str(i)))
            if fits:
                kept.append(world)
            yield world
        self._kept = kept

    def __len__(self) -> int:
        return self.count


def distinct(m: int, p: float, rng: RNG) -> NDArray[np.int64]:
    """Indices below m, each taken with probability p, by their gaps (Devroye 1986, X.2)."""
    found, last = [], -1
    while last < m - 1:
        room = int(1.1 * p * (m - 1 - last)) + 16
        places = last + np.cumsum(rng.geometric(p, room))
        found.append(places[places < m])
        last = int(places[-1])
    return np.concatenate(found)


def _struck(hazard: NDArray[np.float64], certain: NDArray[np.bool_], rng: RNG) -> NDArray[np.int64]:
    """Arcs that a Poisson process of unit rate hits, and certain ones: arc i has its own stretch.

    A stretch as long as -ln(1 - p) is hit with probability p; so few more numbers are drawn than
    arcs are live.
    """
    total, times, last = float(hazard[-1]), [np.zeros(0)], 0.0
    while last < total:
        room = int(total - last + 4 * np.sqrt(total - last)) + 16
        times.append(last + np.cumsum(rng.standard_exponential(room)))
        last = float(times[-1][-1])
    hits = np.concatenate(times)
    return _stretches()(hazard, certain, hits[: np.searchsorted(hits, total)])


@cache
def _stretches() -> Callable[..., NDArray[np.int64]]:
    """Finds the stretches that hold one of the times, and certain ones, ascending."""
    try:
        return import_module(".condensation", __package__).stretches
    except ImportError:
        return stretches


def stretches(
    hazard: NDArray[np.float64], certain: NDArray[np.bool_], hits: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Stretches that hold a hit, and certain ones, ascending; compiled code finds the same."""
    live = certain.copy()
    live[np.searchsorted(hazard, hits, side="right")] = True
    return np.flatnonzero(live)
