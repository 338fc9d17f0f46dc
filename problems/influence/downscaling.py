"""Small graphs with the communities of a large one, and seed sets of theirs brought back to it.

Source: Cunegatti et al., *Large-scale multi-objective influence maximisation with network
downscaling* (PPSN 2022, arXiv 2204.06250). A degree-corrected stochastic block model (Karrer and
Newman 2011) keeps communities, edges within and between them, and how degrees are distributed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, repeat

import numpy as np
from numpy.typing import NDArray

from evo.errors import ConfigError
from evo.problem import Array
from operators import RNG

from .graphs import Graph, made

RESAMPLINGS = 100


@dataclass(frozen=True, slots=True, eq=False)
class Shrunk:
    """A small graph whose nodes lie community by community.

    Args:
        graph: Its notes tell what had to be left out.
        community: Community in the large graph of each of its nodes, ascending, (n,).
    """

    graph: Graph
    community: NDArray[np.int32]


def shrunk(
    graph: Graph, community: NDArray[np.int32], factor: int, rng: RNG, *, paper: bool = False
) -> Shrunk:
    """A graph with 1 / factor of the nodes and edges of each community.

    A community of N nodes gets ⌊N / factor⌋: those below the factor are lost, and so are nodes of
    none. E edges within a community become ⌊E / factor⌋, and between two of them at least one where
    there was one. These counts are exact, unless a block has fewer pairs of nodes: then all of its
    pairs are joined. Degrees are those of randomly drawn nodes of the community, the likest of 100
    draws; edges follow them in expectation, less closely in dense blocks. The cost is that of all
    pairs of small nodes in linked communities.

    Args:
        graph: The large graph; probabilities of its arcs are not carried over.
        community: Of each of its nodes from 0, -1 for none, (n,).
        factor: How many times smaller, at least 1.
        rng: Draws degrees and edges.
        paper: As released: arcs become edges, and the least like of the 100 draws is kept.

    Raises:
        ConfigError: No community is large enough, or no edge is left.
    """
    directed = graph.directed and not paper
    one, two = _pairs(graph, directed)
    count = int(community.max(initial=-1)) + 1
    sizes = np.bincount(community[community >= 0], minlength=count) // factor
    degrees = np.stack([np.bincount(one, minlength=graph.n), np.bincount(two, minlength=graph.n)])
    if not directed:
        degrees[:] = degrees.sum(axis=0)
    targets = [_drawn(degrees[:, community == i], k, rng, paper) for i, k in enumerate(sizes)]
    edges = _budget(community[one], community[two], sizes, factor, directed)
    first = np.cumsum(sizes) - sizes
    found, missing = [np.zeros((2, 0), dtype=np.int64)], 0
    for i, j in zip(*np.nonzero(edges), strict=True):
        pairs = _joined(targets[i][0], targets[j][1], int(edges[i, j]), i == j, directed, rng)
        missing += int(edges[i, j]) - pairs.shape[1]
        found.append(pairs + first[[i, j]][:, None])
    tails, heads = np.concatenate(found, axis=1)
    if not len(tails):
        raise ConfigError(
            f"a graph of {graph.n} nodes has no edges left when it is {factor} times smaller",
            hint="its communities need more nodes than problem.downscale",
        )
    lost = graph.n - int(np.isin(community, np.flatnonzero(sizes)).sum())
    notes = [f"{lost:,} nodes lie in no community of {factor} nodes or more"] if lost else []
    notes += [f"{missing:,} edges do not fit between as few nodes"] if missing else []
    small = made(tails, heads, [str(node) for node in range(sizes.sum())], directed)
    of = np.repeat(np.arange(count, dtype=np.int32), sizes)
    return Shrunk(replace(small, notes=tuple(notes)), of)


def _pairs(graph: Graph, directed: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Both ends of each arc, or of each edge once."""
    one, two = graph.sources.astype(np.int64), graph.targets.astype(np.int64)
    if directed:
        return one, two
    pairs = np.unique(np.minimum(one, two) * graph.n + np.maximum(one, two))
    return np.divmod(pairs, graph.n)


def _drawn(degrees: NDArray[np.int64], count: int, rng: RNG, paper: bool) -> NDArray[np.int64]:
    """Out- and in-degrees of nodes drawn from a community, (2, N) to (2, count)."""
    if not count:
        return degrees[:, :0]
    draws = degrees[:, rng.integers(degrees.shape[1], size=(RESAMPLINGS, count))]  # (2, 100, count)
    wanted = np.stack([degrees.mean(axis=1), degrees.std(axis=1)])  # (2, 2)
    got = np.stack([draws.mean(axis=2), draws.std(axis=2)])  # (2, 2, 100)
    off = np.linalg.norm((got - wanted[:, :, None]).reshape(4, -1), axis=0)
    return draws[:, off.argmax() if paper else off.argmin()]


def _budget(
    one: NDArray[np.int32], two: NDArray[np.int32], sizes: NDArray[np.int64],
    factor: int, directed: bool,
) -> NDArray[np.int64]:  # fmt: skip
    """Edges between every two communities, (c, c); without direction on and above the diagonal."""
    inside, count = (one >= 0) & (two >= 0), len(sizes)
    blocks = np.stack([one[inside], two[inside]]).astype(np.int64)
    if not directed:
        blocks.sort(axis=0)
    found = np.bincount(blocks[0] * count + blocks[1], minlength=count**2).reshape(count, count)
    between = (found > 0) & ~np.eye(count, dtype=bool)
    return np.maximum(found // factor, between) * ((sizes > 0) & (sizes > 0)[:, None])


def _joined(
    tails: NDArray[np.int64], heads: NDArray[np.int64], count: int, same: bool, directed: bool,
    rng: RNG,
) -> NDArray[np.int64]:  # fmt: skip
    """Distinct pairs drawn one after the other by the product of their degrees, (2, count).

    The smallest of exponential waiting times are such a draw (Efraimidis and Spirakis 2006).
    """
    allowed = np.ones((len(tails), len(heads)), dtype=bool)
    if same:
        allowed = ~np.eye(len(tails), dtype=bool) if directed else np.triu(allowed, 1)
    pairs = np.stack(np.nonzero(allowed))
    if count >= pairs.shape[1]:
        return pairs
    weight = np.maximum(tails, 1e-6)[pairs[0]] * np.maximum(heads, 1e-6)[pairs[1]]
    waiting = rng.standard_exponential(len(weight)) / weight
    return pairs[:, np.argpartition(waiting, count - 1)[:count]]


@dataclass(frozen=True, eq=False)
class Ranked:
    """Nodes ranked by a measure, the largest first; ties by number.

    Args:
        value: The measure of each node, (n,).
        community: Of each node, -1 for none, (n,).
    """

    value: Array
    community: NDArray[np.int32]

    @cached_property
    def order(self) -> NDArray[np.intp]:
        """All nodes in order of rank, (n,)."""
        return np.argsort(-self.value, kind="stable")

    @cached_property
    def members(self) -> dict[int, NDArray[np.intp]]:
        """Nodes of each community in order of rank."""
        mine = self.community[self.order]
        return {int(i): self.order[mine == i] for i in np.unique(mine)}

    @cached_property
    def rank(self) -> NDArray[np.int64]:
        """Rank of each node in its community, from 0, (n,)."""
        found = np.zeros(len(self.value), dtype=np.int64)
        for nodes in self.members.values():
            found[nodes] = np.arange(len(nodes))
        return found


def upscaled(
    rows: NDArray[np.int32], small: Ranked, large: Ranked, *, paper: bool = False
) -> NDArray[np.int32]:
    """Seed sets of the large graph for those of the small one.

    With r large nodes per small one, S seeds become ⌊S r⌋. Each seed, those of high rank in the
    whole graph first, takes ⌊r⌋ nodes of its community: those not taken yet whose rank there is
    nearest to its own, the higher one of two. Then each takes one more, until they are enough.
    Should a community have too few nodes, the highest ranks of the whole graph fill in.

    Args:
        rows: Seeds of each set, padded with -1, (P, most).
        small: The small graph, ranked.
        large: The large graph, ranked by the same measure.
        paper: As released: the rank of the seed from 1 is compared with the measure of large nodes,
            which is below 1 for most measures, so that the highest rank that is left is nearest.

    Returns:
        Seeds in the large graph, ascending, padded with -1, (P, largest possible set).
    """
    ratio = len(large.value) / len(small.value)
    place = np.argsort(small.order)  # rank in the whole graph
    seeds = np.unique(rows[rows >= 0]).tolist()
    near = {seed: _nearest(seed, small, large, paper) for seed in seeds}
    found = np.full((len(rows), int(rows.shape[1] * ratio)), -1, dtype=np.int32)
    for row, some in zip(found, rows, strict=True):  # what is taken already depends on the set
        ordered = sorted(some[some >= 0].tolist(), key=place.__getitem__)
        chosen = _taken([near[seed] for seed in ordered], int(len(ordered) * ratio), large)
        row[: len(chosen)] = sorted(chosen)
    return found


def _nearest(seed: int, small: Ranked, large: Ranked, paper: bool) -> list[int]:
    """Large nodes of the community of a small one, the nearest first."""
    nodes, rank = large.members[int(small.community[seed])], int(small.rank[seed])
    off = np.abs(large.value[nodes] - (rank + 1) if paper else np.arange(len(nodes)) - rank)
    return nodes[np.argsort(off, kind="stable")].tolist()


def _taken(near: list[list[int]], total: int, large: Ranked) -> set[int]:
    """So many distinct nodes: of each list as many, then one more of each, then of all nodes."""
    chosen: set[int] = set()
    lists = [iter(nodes) for nodes in near]
    turns = [nodes for nodes in lists for _ in range(total // len(lists))] + lists
    for nodes in chain(turns, repeat(iter(large.order.tolist()))):
        if len(chosen) == total:
            break
        chosen.add(next((node for node in nodes if node not in chosen), -1))
        chosen.discard(-1)
    return chosen
