"""Seed sets of a graph, judged by what they activate under a model of propagation."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evo.errors import ConfigError
from evo.genomes import Genomes
from evo.problem import Array, Constraint, Context, Objective
from evo.space import SearchSpace, Subset
from operators import RNG

from .cascades import BACKENDS, Groups, Outcomes, SeedSets, propagated
from .communities import find_communities, read_communities
from .drawing import drawn
from .graphs import Graph, from_networkx, read_graph
from .objectives import MODES, offered, uneven
from .worlds import Model, Pool, independent, thresholds, weighted

MODELS = ("ic", "wc", "lt")


@dataclass(frozen=True, eq=False)
class SeedBatch:
    """P seed sets; what is simulated is simulated once, when it is first asked for."""

    problem: Influence
    seeds: NDArray[np.int32]  # (P, most), padded with -1
    context: Context

    def __len__(self) -> int:
        return len(self.seeds)

    @property
    def n(self) -> int:
        """Nodes of the graph."""
        return self.problem.graph.n

    @property
    def most(self) -> int:
        """Largest seed set allowed."""
        return self.problem.most

    @property
    def limit(self) -> int | None:
        """Most steps."""
        return self.problem.limit

    @cached_property
    def size(self) -> Array:
        """Seeds of each set, (P,)."""
        return (self.seeds >= 0).sum(axis=1).astype(np.float64)

    @cached_property
    def cost(self) -> Array:
        """Sum of the seeds' degrees, (P,)."""
        degrees = np.append(self.problem.degrees, 0)  # -1 costs nothing
        return degrees[self.seeds].sum(axis=1).astype(np.float64)

    @property
    def largest_cost(self) -> float:
        """Sum of the largest out-degrees that a full set can have."""
        largest = np.sort(self.problem.graph.counted_out)[-self.most :]
        return float(largest.sum())

    @cached_property
    def sets(self) -> SeedSets:
        """The sets as bits."""
        return SeedSets(self.seeds, self.n)

    @cached_property
    def outcomes(self) -> Outcomes:
        """What they do in all worlds of the split; without steps where no limit asks for them."""
        return self._propagated(steps=self.limit is not None)

    @cached_property
    def spread(self) -> NDArray[np.int64]:
        """Active nodes, seeds among them, (P, W)."""
        return self.outcomes.active.sum(axis=2, dtype=np.int64)

    @cached_property
    def steps(self) -> NDArray[np.int32]:
        """Steps that activated something, (P, W)."""
        known = self.outcomes.steps
        found = self._propagated(steps=True).steps if known is None else known
        assert found is not None
        return found

    def _propagated(self, *, steps: bool) -> Outcomes:
        problem = self.problem
        return propagated(
            self.sets, problem.model, problem.pool(self.context), problem.groups, problem.limit,
            steps=steps, backend=problem.backend, device=self.context.device,
        )  # fmt: skip

    def unevenness(self, *, natural: bool = False) -> Array:
        """How unevenly communities were reached beyond the seeds, (P, W)."""
        own = self.sets.counts(self.problem.groups)[:, None, :-1]
        sizes = self.problem.groups.sizes[:-1]
        return uneven(self.outcomes.active[:, :, :-1] - own, sizes, natural=natural)

    def seed_unevenness(self, *, natural: bool = False) -> Array:
        """How unevenly seeds lie over communities, (P,)."""
        own = self.sets.counts(self.problem.groups)[:, :-1]
        return uneven(own, self.problem.groups.sizes[:-1], natural=natural)


class Influence:
    """Choose whom to seed.

    Args:
        graph: File with an edge list or GraphML (see :func:`.graphs.read_graph`), a
            ``networkx.Graph``, or nothing for Zachary's karate club.
        model: ``ic``, ``wc`` or ``lt``.
        probability: Of an arc under ``ic``, where the graph has none of its own.
        thresholds: Lowest and highest threshold under ``lt``.
        most: Largest seed set; by default 100, or a fifth of the nodes where these are few.
        limit: Most steps; 0 for no limit.
        worlds: On how many common worlds the search judges, and on how many others the front is
            judged again.
        communities: File with the columns ``node`` and ``comm``, or the community of each node
            (-1 for none); by default Louvain communities.
        directed: What pairs in the file are; by default what the file says, else undirected.
        component: ``largest`` keeps the largest (weakly) connected component only.
        mode: ``clean`` objectives, or as published (``paper``).
        budget: Which degrees seeds cost: ``out``, or ``total`` as in the published archives.
        backend: What propagates: ``numba`` (compiled), ``numpy``, ``torch`` (also on a GPU), or the
            fastest that is there (``auto``). All count the same.
        seed: Of worlds and communities.

    Raises:
        ConfigError: A setting is out of range.
        DataError: A file is missing, malformed, or does not fit.
    """

    constraints: Sequence[Constraint] = ()
    default_objectives = ("spread", "size")
    validation = True

    def __init__(
        self,
        graph: Any = None,
        model: str = "ic",
        probability: float = 0.05,
        thresholds: Sequence[float] = (0.3, 0.6),
        most: int | None = None,
        limit: int = 0,
        worlds: Sequence[int] = (128, 4096),
        communities: Any = None,
        directed: bool | None = None,
        component: str = "all",
        mode: str = "clean",
        budget: str = "out",
        backend: str = "auto",
        seed: int = 0,
    ) -> None:
        _one_of("model", model, MODELS)
        _one_of("mode", mode, MODES)
        _one_of("budget", budget, ("out", "total"))
        _one_of("backend", backend, BACKENDS)
        _whole("limit", limit, 0)
        if len(worlds) != 2:
            raise ConfigError(
                f"problem.worlds must be two numbers, for search and validation, got {worlds!r}"
            )
        for count in worlds:
            _whole("worlds", count, 1)
        self.graph = _graph(graph, directed, component)
        self.most = _most(most, self.graph)
        self.limit = limit or None
        self.name, self.mode, self.backend, self._seed = model, mode, backend, seed
        self._worlds = {"search": worlds[0], "validation": worlds[1]}
        self.model = self._model(probability, thresholds)
        self.groups = Groups(_communities(communities, self.graph, seed))
        total = budget == "total" and self.graph.directed
        self.degrees = self.graph.counted_out + (self.graph.counted_in if total else 0)
        self.objectives: Sequence[Objective] = offered(mode == "paper")
        self.space = SearchSpace((Subset("seeds", self.graph.n, self.most),))
        self._pools: dict[str, Pool] = {}

    def _model(self, probability: float, bounds: Sequence[float]) -> Model:
        if self.name == "ic":
            return independent(self.graph, probability)
        if self.name == "wc":
            return weighted(self.graph)
        if len(bounds) != 2:
            raise ConfigError(f"problem.thresholds must be two rising shares, got {bounds!r}")
        return thresholds(self.graph, *map(float, bounds))

    def batch(self, genomes: Genomes, context: Context) -> SeedBatch:
        """Decode n candidates; nothing is simulated before an objective asks."""
        self.space.check(genomes)
        return SeedBatch(self, genomes["seeds"], context)

    def pool(self, context: Context) -> Pool:
        """The worlds of a split, the same for all batches."""
        if context.split not in self._pools:
            count = self._worlds[context.split]
            self._pools[context.split] = Pool(self.model, self._seed, context.split, count)
        return self._pools[context.split]

    def starts(self, n: int, rng: RNG) -> Genomes:
        """Nodes of high degree: small sets hold the highest, the others are drawn by degree."""
        degree = self.graph.counted_out + 1e-9
        order = np.argsort(-degree, kind="stable")
        rows = np.full((n, self.most), -1, dtype=np.int32)
        sizes = np.unique(np.geomspace(1, self.most, n).astype(int))
        for row, size in zip(rows, np.resize(sizes, n), strict=True):
            top = order[: max(size * 3, 10)]
            weights = degree[top] / degree[top].sum()
            row[:size] = np.sort(rng.choice(top, size, replace=False, p=weights))
        first = min(n, len(sizes)) // 2
        for row, size in zip(rows[:first], sizes[:first], strict=False):
            row[:] = -1
            row[:size] = np.sort(order[:size])
        return Genomes({"seeds": rows})

    def fingerprint(self) -> Mapping[str, str]:
        """Hashes of what the values stand on."""
        return {
            "graph": self.graph.fingerprint,
            "communities": hashlib.blake2b(
                self.groups.community.tobytes(), digest_size=16
            ).hexdigest(),
        }

    def describe(self) -> Mapping[str, Any]:
        """Facts for reports."""
        graph, communities = self.graph, self.groups.count - 1
        pairs = f"{graph.m:,} arcs" if graph.directed else f"{graph.m // 2:,} edges"
        groups = f"{communities} {'community' if communities == 1 else 'communities'}"
        return {
            "nodes": graph.n, "arcs": graph.m, "directed": graph.directed,
            "communities": communities, "model": self.name, "notes": list(graph.notes),
            "facts": {"size": f"{graph.n:,} nodes, {pairs}, {groups}"},
        }  # fmt: skip

    def drawing(self, genomes: Genomes) -> Mapping[str, Any]:
        """The graph with the seeds of n candidates."""
        return drawn(self.graph, self.groups, genomes["seeds"], self._seed)

    def export(
        self, genomes: Genomes, folder: Path, *, expected: Mapping[str, float]
    ) -> Mapping[str, Any]:
        """Write the names of a candidate's seeds (n = 1) as CSV, and as JSON with its values."""
        row = genomes["seeds"][0]
        names = [self.graph.names[node] for node in row[row >= 0]]
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "seeds.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerows([["node"], *([name] for name in names)])
        told = {"seeds": names, "model": self.name, **expected}
        (folder / "seeds.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        return {"seeds": len(names), **expected}

    @property
    def bytes_per_candidate(self) -> int:
        """Bits, their sums, and what is kept per world."""
        per_world = 4 * (self.groups.count + 2)
        unpacked = 40 if self.name == "lt" else 4
        return unpacked * self.graph.n + per_world * max(self._worlds.values())


def _graph(graph: Any, directed: bool | None, component: str) -> Graph:
    if graph is None:
        import networkx

        club = networkx.karate_club_graph()
        for *_, facts in club.edges(data=True):
            facts.clear()
        return from_networkx(club, component)
    if isinstance(graph, Graph):
        return graph
    if hasattr(graph, "is_directed"):
        return from_networkx(graph, component)
    return read_graph(str(graph), directed, component)


def _communities(given: Any, graph: Graph, seed: int) -> NDArray[np.int32]:
    if given is None:
        return find_communities(graph, seed)
    return given if isinstance(given, np.ndarray) else read_communities(given, graph)


def _most(most: int | None, graph: Graph) -> int:
    if most is None:
        return max(1, min(100, graph.n // 5))
    _whole("most", most, 1)
    if most > graph.n:
        raise ConfigError(f"problem.most is {most}, but the graph has {graph.n} nodes")
    return most


def _one_of(name: str, value: Any, known: Sequence[str]) -> None:
    if value not in known:
        raise ConfigError(f"problem.{name} must be one of {', '.join(known)}, got {value!r}")


def _whole(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(
            f"problem.{name} must be a whole number of at least {least}, got {value!r}"
        )
