"""Seed sets of a graph, judged by what they activate under a model of propagation."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from evo.errors import ConfigError
from evo.genomes import Genomes
from evo.problem import Baseline, Constraint, Context, Objective, Tell
from evo.space import SearchSpace, Subset
from operators import RNG

from .baselines import methods, named
from .batch import SeedBatch
from .cascades import BACKENDS, Groups
from .communities import METHODS, find_communities, read_communities
from .drawing import NODES, drawn
from .graphs import Graph, from_networkx
from .objectives import MODES, offered
from .pools import promising, read_pool
from .reading import read_graph
from .shares import BLOCK
from .starts import INITIAL, by_degree, ranked, smart
from .variation import OPERATORS, variation
from .worlds import Model, Pool, independent, thresholds, weighted

MODELS = ("ic", "wc", "lt")


class Influence:
    """Choose whom to seed.

    Args:
        graph: File with an edge list or GraphML (see :func:`.reading.read_graph`), a
            ``networkx.Graph``, or nothing for Zachary's karate club.
        model: ``ic``, ``wc`` or ``lt``.
        probability: Of an arc under ``ic``, where the graph has none of its own.
        thresholds: Lowest and highest threshold under ``lt``.
        most: Largest seed set; by default 100, or a fifth of the nodes where these are few.
        limit: Most steps; 0 for no limit.
        worlds: On how many common worlds the search judges, and on how many others the front is
            judged again.
        stock: Above 1, there are so many times more worlds, and each candidate of the search is
            judged on some of its own: nearly independent simulations instead of common ones.
        communities: File with the columns ``node`` and ``comm``, the community of each node (-1 for
            none), or how to find them: ``louvain`` or ``leiden``.
        directed: What pairs in the file are; by default what the file says, else undirected.
        component: ``largest`` keeps the largest (weakly) connected component only.
        mode: ``clean`` objectives, or as published (``paper``).
        budget: Which degrees seeds cost: ``out``, or ``total`` as in the published archives.
        operators: Moves on sets: ``plain``, MOEIM's along arcs (``graph``), or those of the
            baseline it is compared with (``base``).
        initial: What the first generation holds: first parts of a ranking for half of it
            (``ranked``), sets of high ``degree``, MOEIM's ``smart`` ones for a third, or
            ``random`` ones alone.
        pool: File with the nodes that smart sets are drawn from (see :func:`.pools.read_pool`); by
            default those that pass MOEIM's filters.
        backend: What propagates: ``numba`` (compiled), ``numpy``, ``torch`` (also on a GPU), or the
            fastest that is there (``auto``). All count the same.
        seed: Of worlds and communities.
        baselines: Methods that a run with baselines compares with: ``degree``,
            ``single-discount``, ``gdd``, ``pagerank``, ``celf``, ``opim-c``; by default the first
            four, and CELF where it applies and nodes times worlds are at most two million.

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
        stock: int = 1,
        operators: str = "plain",
        initial: str = "ranked",
        pool: str | None = None,
        backend: str = "auto",
        seed: int = 0,
        baselines: Sequence[str] | None = None,
    ) -> None:
        _one_of("model", model, MODELS)
        _one_of("mode", mode, MODES)
        _one_of("budget", budget, ("out", "total"))
        _one_of("operators", operators, OPERATORS)
        _one_of("initial", initial, INITIAL)
        _one_of("backend", backend, BACKENDS)
        _whole("limit", limit, 0)
        _whole("stock", stock, 1)
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
        self.worlds = {"search": worlds[0], "validation": worlds[1]}
        self._stock, self._initial = stock, initial
        self.model = self._model(probability, thresholds)
        self._method = _method(communities)
        if self._method is None:
            given = isinstance(communities, np.ndarray)
            self.groups = Groups(
                communities if given else read_communities(communities, self.graph)
            )
        self.together = Groups(np.zeros(self.graph.n, dtype=np.int32))
        total = budget == "total" and self.graph.directed
        self.degrees = self.graph.counted_out + (self.graph.counted_in if total else 0)
        self.objectives: Sequence[Objective] = offered(mode == "paper")
        self._baselines = named(baselines, self.model, stock * worlds[0])
        self.space = SearchSpace((Subset("seeds", self.graph.n, self.most),))
        self.variation = variation(operators, self.graph)
        row = f"{Path(str(graph)).name.partition('.')[0]}-{model.upper()}"
        self._given = None if pool is None else read_pool(pool, self.graph, row)
        self._pools: dict[str, Pool] = {}

    def _model(self, probability: float, bounds: Sequence[float]) -> Model:
        if self.name == "ic":
            return independent(self.graph, probability)
        if self.name == "wc":
            return weighted(self.graph)
        if len(bounds) != 2:
            raise ConfigError(f"problem.thresholds must be two rising shares, got {bounds!r}")
        return thresholds(self.graph, *map(float, bounds))

    @cached_property
    def groups(self) -> Groups:
        """Communities; found when an objective first asks for them."""
        return Groups(find_communities(self.graph, self._seed, self._method or METHODS[0]))

    def batch(self, genomes: Genomes, context: Context) -> SeedBatch:
        """Decode n candidates; nothing is simulated before an objective asks."""
        self.space.check(genomes)
        return SeedBatch(self, genomes["seeds"], context)

    def pool(self, context: Context) -> Pool:
        """The worlds of a split, the same for all batches; a stock where it is larger."""
        if context.split not in self._pools:
            count = self.worlds[context.split]
            if self._stock > 1 and context.split == "search":
                count = -(-self._stock * count // BLOCK) * BLOCK
            self._pools[context.split] = Pool(self.model, self._seed, context.split, count)
        return self._pools[context.split]

    def starts(self, n: int, rng: RNG) -> Genomes:
        """Sets of the first generation, at most n; what is missing is drawn at random."""
        if self._initial == "ranked":
            rows = ranked(self.model, self.name, self.most, self.limit, n, rng)
        elif self._initial == "degree":
            rows = by_degree(self.graph, self.most, n, rng)
        elif self._initial == "smart":
            if self._given is None:
                self._given = promising(self.graph, self.model, self.most, self._seed)
            rows = smart(self.graph, self.most, self._given, n, rng)
        else:
            rows = np.empty((0, self.most), dtype=np.int32)
        return Genomes({"seeds": rows})

    def baselines(self) -> Mapping[str, Callable[[Tell], Baseline]]:
        """Methods of the field to compare with."""
        return methods(self, self._baselines, self._seed)

    def fingerprint(self) -> Mapping[str, str]:
        """Hashes of what the values stand on."""
        return {
            "graph": self.graph.fingerprint,
            "communities": self._method
            or hashlib.blake2b(self.groups.community.tobytes(), digest_size=16).hexdigest(),
        }

    def describe(self) -> Mapping[str, Any]:
        """Facts for reports."""
        graph = self.graph
        pairs = f"{graph.m:,} arcs" if graph.directed else f"{graph.m // 2:,} edges"
        found = self._method or self.groups.count - 1
        told = f"communities by {found}" if self._method else f"{found} communities"
        return {
            "nodes": graph.n, "arcs": graph.m, "directed": graph.directed, "communities": found,
            "model": self.name, "notes": list(graph.notes),
            "facts": {"size": f"{graph.n:,} nodes, {pairs}, {told}"},
        }  # fmt: skip

    def drawing(self, genomes: Genomes) -> Mapping[str, Any]:
        """The graph with the seeds of n candidates."""
        groups = self.groups if self.graph.n <= NODES else self.together
        return drawn(self.graph, groups, genomes["seeds"], self._seed)

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
        known = vars(self).get("groups")
        per_world = 4 * (known.count + 2 if known else 64)
        unpacked = 40 if self.name == "lt" else 4
        return unpacked * self.graph.n + per_world * max(self.worlds.values())


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


def _method(communities: Any) -> str | None:
    """How communities are found, None where they are given."""
    if communities is None:
        return METHODS[0]
    return communities if isinstance(communities, str) and communities in METHODS else None


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
