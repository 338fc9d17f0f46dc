"""Graphs as arcs in compressed rows: from edge lists, GraphML or networkx, cleaned and checked."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from evo.errors import DataError

COMMENTS = ("#", "%")  # SNAP, KONECT
COMPONENTS = ("all", "largest")


@dataclass(frozen=True, eq=False)
class Graph:
    """Arcs u → v, "u may activate v", sorted by target; an undirected edge is two of them.

    Args:
        sources: Node that each arc leaves, (m,).
        targets: Node that it enters, ascending, (m,).
        names: What a node is called outside.
        directed: Whether arcs came as such.
        loops: Loops of each node, which are no arcs, (n,).
        weights: Probability of each arc where the file has one, (m,).
        notes: What cleaning did, one sentence each.
    """

    sources: NDArray[np.int32]
    targets: NDArray[np.int32]
    names: Sequence[str]
    directed: bool
    loops: NDArray[np.int32]
    weights: NDArray[np.float64] | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def n(self) -> int:
        """Nodes."""
        return len(self.names)

    @property
    def m(self) -> int:
        """Arcs."""
        return len(self.sources)

    @cached_property
    def in_degree(self) -> NDArray[np.int64]:
        """Arcs that enter, loops left out, (n,)."""
        return np.bincount(self.targets, minlength=self.n)

    @cached_property
    def out_degree(self) -> NDArray[np.int64]:
        """Arcs that leave, loops left out, (n,)."""
        return np.bincount(self.sources, minlength=self.n)

    @cached_property
    def counted_in(self) -> NDArray[np.int64]:
        """In-degree as networkx counts it: a loop adds 1 where arcs are directed, else 2, (n,)."""
        return self.in_degree + self.loops * (1 if self.directed else 2)

    @cached_property
    def counted_out(self) -> NDArray[np.int64]:
        """Out-degree as networkx counts it, (n,)."""
        return self.out_degree + self.loops * (1 if self.directed else 2)

    @cached_property
    def successors(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Arcs by source: those of u end at ``heads[starts[u] : starts[u + 1]]``.

        Returns:
            starts (n + 1,), and heads (m,), ascending within each source.
        """
        order = np.argsort(self.sources, kind="stable")
        return np.append(0, np.cumsum(self.out_degree)), self.targets[order]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of arcs, loops, weights and names, 32 hex digits."""
        digest = hashlib.blake2b(digest_size=16)
        weights = np.zeros(0) if self.weights is None else self.weights
        for part in (self.sources, self.targets, self.loops, weights):
            digest.update(np.ascontiguousarray(part).tobytes() + b"\0")
        digest.update("\n".join(self.names).encode())
        return digest.hexdigest()

    def numbers(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Numbers of nodes by name, in that order.

        Raises:
            DataError: The graph has no such node.
        """
        known = {name: i for i, name in enumerate(self.names)}
        missing = next((name for name in names if name not in known), None)
        if missing is not None:
            raise DataError(f"the graph has no node {missing!r}")
        return np.array([known[name] for name in names], dtype=np.int64)


def made(
    tails: NDArray[np.int64], heads: NDArray[np.int64], names: Sequence[str], directed: bool,
    weights: NDArray[np.float64] | None = None, component: str = "all",
) -> Graph:  # fmt: skip
    """A graph from pairs of node numbers, cleaned: no loops, no pair twice.

    Args:
        tails: First node of each pair, (k,).
        heads: Second node, (k,).
        names: Of all nodes.
        directed: Whether a pair is one arc; else it is two.
        weights: Probability of each pair, (k,).
        component: ``"largest"`` keeps the largest (weakly) connected component only.

    Raises:
        DataError: A weight is no probability, or nothing is left.
    """
    if component not in COMPONENTS:
        raise DataError(f"component must be one of {', '.join(COMPONENTS)}, got {component!r}")
    n, notes = len(names), []
    if weights is not None and not ((weights >= 0) & (weights <= 1)).all():
        bad = weights[~((weights >= 0) & (weights <= 1))][0]
        raise DataError(f"probabilities of arcs must lie between 0 and 1, got {bad:g}")
    looped = tails == heads
    pairs = np.stack([tails, heads])
    if not directed:
        pairs = np.sort(pairs, axis=0)
    loop_nodes = np.unique(tails[looped])
    loops = np.zeros(n, dtype=np.int32)
    loops[loop_nodes] = 1
    pairs = pairs[:, ~looped]
    kept = np.unique(pairs[0] * n + pairs[1], return_index=True)[1]
    again = pairs.shape[1] - len(kept)
    if len(loop_nodes):
        notes.append(f"{len(loop_nodes):,} loops left out of the arcs; they count in degrees")
    if again:
        notes.append(f"{again:,} repeated {'arcs' if directed else 'edges'} left out")
    one, two = pairs[:, kept]
    value = None if weights is None else weights[~looped][kept]
    if not directed:
        one, two = np.concatenate([one, two]), np.concatenate([two, one])
        value = None if value is None else np.concatenate([value, value])
    if component == "largest" and n:
        inside = _largest(one, two, n)
        if not inside.all():
            notes.append(f"{int((~inside).sum()):,} nodes outside the largest component left out")
            new = np.cumsum(inside) - 1
            arcs = inside[one]
            one, two = new[one[arcs]], new[two[arcs]]
            value = None if value is None else value[arcs]
            names = [name for name, keep in zip(names, inside, strict=True) if keep]
            loops, n = loops[inside], int(inside.sum())
    if not n or not len(one):
        raise DataError("the graph has no arcs between different nodes")
    order = np.lexsort((one, two))
    alone = n - len(np.unique(np.concatenate([one, two])))
    if alone:
        notes.append(f"{alone:,} nodes have no neighbour; nothing but seeding activates them")
    return Graph(
        one[order].astype(np.int32), two[order].astype(np.int32), tuple(names), directed, loops,
        None if value is None else value[order], tuple(notes),
    )  # fmt: skip


def read_graph(path: str | Path, directed: bool | None = None, component: str = "all") -> Graph:
    """A graph from a file: an edge list (also gzipped), or GraphML by its ending.

    A line of an edge list is ``u v``, with a probability as an optional third column; separators
    are blanks, tabs or commas, and lines that begin with ``#`` or ``%`` are comments. A KONECT
    header or the word *undirected* or *directed* in a comment tells what the pairs are.

    Args:
        path: The file.
        directed: What pairs are; None asks the file, and edges are undirected when it is silent.
        component: ``"largest"`` keeps the largest (weakly) connected component.

    Raises:
        DataError: The file is missing, unreadable or malformed, or says something else about
            direction than asked for.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(
            f"there is no graph file {str(path)!r}", hint="expected an edge list, .gz or .graphml"
        )
    if file.name.endswith((".graphml", ".graphml.gz")):
        return _graphml(file, directed, component)
    text = _text(file)
    first, second, third, said = [], [], [], None
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith(COMMENTS):
            said = _direction(line) if said is None else said
            continue
        fields = line.replace(",", " ").split()
        if len(fields) == 1 and "://" in line and number == 1:
            continue  # where the list came from
        if len(fields) < 2:
            raise DataError(f"line {number} of {file.name} is no pair of nodes: {line[:60]!r}")
        first.append(fields[0])
        second.append(fields[1])
        third.append(fields[2] if len(fields) > 2 else "")
    if not first:
        raise DataError(f"{file.name} holds no pair of nodes")
    if directed is not None and said is not None and said != directed:
        raise DataError(
            f"{file.name} says that it is {_word(said)}, but problem.directed makes it "
            f"{_word(directed)}",
            hint="leave problem.directed out, or correct the header",
        )
    names, index = _numbered(first + second)
    k = len(first)
    weights = _weights(third, file.name)
    arrows = bool(said) if directed is None else directed
    return made(index[:k], index[k:], names, arrows, weights, component)


def from_networkx(graph: Any, component: str = "all") -> Graph:
    """A graph from networkx; an edge attribute ``probability`` becomes that of its arcs.

    Raises:
        DataError: Some edges have a probability and others none, or nothing is left.
    """
    nodes = list(graph.nodes)
    number = {node: i for i, node in enumerate(nodes)}
    edges = list(graph.edges(data="probability"))
    pairs = np.array([(number[u], number[v]) for u, v, _ in edges], dtype=np.int64).reshape(-1, 2)
    given = [p for *_, p in edges if p is not None]
    if given and len(given) < len(edges):
        raise DataError(f"{len(given)} of {len(edges)} edges have a probability, all or none must")
    weights = np.array(given, dtype=np.float64) if given else None
    names = [str(node) for node in nodes]
    return made(pairs[:, 0], pairs[:, 1], names, graph.is_directed(), weights, component)


def _graphml(file: Path, directed: bool | None, component: str) -> Graph:
    import networkx

    try:
        graph = networkx.read_graphml(file)
    except Exception as error:
        raise DataError(f"{file.name} is not valid GraphML: {error}") from error
    if directed is not None and directed != graph.is_directed():
        raise DataError(
            f"{file.name} says that it is {_word(graph.is_directed())}, but problem.directed makes "
            f"it {_word(directed)}"
        )
    return from_networkx(graph, component)


def _text(file: Path) -> str:
    try:
        if file.suffix == ".gz":
            with gzip.open(file, "rt", encoding="utf-8") as handle:
                return handle.read()
        return file.read_text(encoding="utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"graph file {file.name} cannot be read: {error}") from error


def _direction(line: str) -> bool | None:
    """What a comment says of all pairs, if anything."""
    words = line.lower().replace(":", " ").split()
    if words[:2] in (["%", "sym"], ["%", "asym"]):  # KONECT
        return words[1] == "asym"
    if "undirected" in words:
        return False
    return True if "directed" in words else None


def _word(directed: bool) -> str:
    return "directed" if directed else "undirected"


def _numbered(names: list[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Distinct names, whole numbers in their order, others as they come; each one's place."""
    distinct = dict.fromkeys(names)
    if all(name.isdigit() for name in distinct):
        ordered = sorted(distinct, key=int)
    else:
        ordered = list(distinct)
    place = {name: i for i, name in enumerate(ordered)}
    return ordered, np.array([place[name] for name in names], dtype=np.int64)


def _weights(texts: list[str], name: str) -> NDArray[np.float64] | None:
    """The third column where every line has one that is a number."""
    filled = [text for text in texts if text not in ("", "{}")]
    if not filled:
        return None
    if len(filled) < len(texts):
        raise DataError(f"{len(filled)} of {len(texts)} lines of {name} have a third column")
    try:
        return np.array([float(text) for text in texts])
    except ValueError:
        raise DataError(f"the third column of {name} must hold probabilities") from None


def _largest(one: NDArray[Any], two: NDArray[Any], n: int) -> NDArray[np.bool_]:
    matrix = csr_array((np.ones(len(one), dtype=np.int8), (one, two)), shape=(n, n))
    _, label = connected_components(matrix, directed=True, connection="weak")
    return label == np.bincount(label).argmax()
