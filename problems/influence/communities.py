"""Which nodes belong together: read from a file, or found by networkx."""

from __future__ import annotations

import csv
import random
from collections.abc import Collection, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evo.errors import ConfigError, DataError

from .graphs import Graph

METHODS = ("louvain", "leiden")
LEAST = 10  # members of a community that counts


def read_communities(path: str | Path, graph: Graph) -> NDArray[np.int32]:
    """Community of every node, from 0; -1 for nodes that the file leaves out, (n,).

    Args:
        path: CSV with the columns ``node`` and ``comm``, nodes by name.
        graph: Its graph.

    Raises:
        DataError: The file is missing or malformed, or does not fit the graph.
    """
    file = Path(path)
    try:
        with file.open(encoding="utf-8", newline="") as handle:
            rows = list(csv.DictReader(handle))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"communities {str(path)!r} cannot be read: {error}") from error
    if not rows or not {"node", "comm"} <= set(rows[0]):
        raise DataError(f"{file.name} needs the columns node and comm")
    nodes, names = [row["node"] for row in rows], [row["comm"] for row in rows]
    if len(set(nodes)) < len(nodes):
        again = next(node for i, node in enumerate(nodes) if node in nodes[:i])
        raise DataError(f"{file.name} names node {again!r} twice")
    try:
        places = graph.numbers(nodes)
    except DataError as error:
        raise DataError(
            f"{file.name} does not fit the graph: {error.message}",
            hint="communities name nodes as the graph file does",
        ) from error
    number = {name: i for i, name in enumerate(dict.fromkeys(names))}
    found = np.full(graph.n, -1, dtype=np.int32)
    found[places] = [number[name] for name in names]
    return found


def find_communities(graph: Graph, seed: int, method: str = "louvain") -> NDArray[np.int32]:
    """Communities of high modularity of the graph taken as undirected, (n,).

    Those of fewer than :data:`LEAST` nodes are left out (-1), unless all are.

    Args:
        graph: Its nodes.
        seed: Of the method's chance.
        method: ``louvain`` (Blondel et al. 2008, networkx), or ``leiden`` (Traag et al. 2019,
            igraph), which is faster on large graphs.

    Raises:
        ConfigError: ``leiden`` is asked for, and igraph is not installed.
    """
    parts = _leiden(graph, seed) if method == "leiden" else _louvain(graph, seed)
    large = [part for part in parts if len(part) >= LEAST] or parts
    found = np.full(graph.n, -1, dtype=np.int32)
    for i, part in enumerate(sorted(large, key=min)):
        found[list(part)] = i
    return found


def _louvain(graph: Graph, seed: int) -> Sequence[Collection[int]]:
    import networkx

    plain = networkx.Graph()
    plain.add_nodes_from(range(graph.n))
    plain.add_edges_from(zip(graph.sources.tolist(), graph.targets.tolist(), strict=True))
    return networkx.community.louvain_communities(plain, seed=seed)


def _leiden(graph: Graph, seed: int) -> Sequence[Collection[int]]:
    try:
        igraph: Any = import_module("igraph")
    except ImportError as error:
        raise ConfigError(
            "problem.communities 'leiden' needs igraph, which is not installed",
            hint="pip install igraph, or take 'louvain'",
        ) from error
    once = graph.sources < graph.targets if not graph.directed else np.ones(graph.m, dtype=bool)
    arcs = np.column_stack([graph.sources[once], graph.targets[once]])
    plain = igraph.Graph(n=graph.n, edges=arcs, directed=False).simplify()
    before = random.getstate()
    random.seed(seed)  # igraph draws from here
    try:
        return list(plain.community_leiden("modularity", n_iterations=-1))
    finally:
        random.setstate(before)
