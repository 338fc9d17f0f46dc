"""Graphs from files: edge lists, also gzipped, and GraphML."""

from __future__ import annotations

import gzip
from itertools import takewhile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evo.errors import DataError

from .graphs import Graph, from_networkx, made

COMMENTS = ("#", "%")  # SNAP, KONECT


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
    said, plain = _numbers(text)
    if plain is not None:
        _heed(directed, said, file.name)
        return _of_numbers(plain, bool(said) if directed is None else directed, component)
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
    _heed(directed, said, file.name)
    names, index = _numbered(first + second)
    k = len(first)
    weights = _weights(third, file.name)
    arrows = bool(said) if directed is None else directed
    return made(index[:k], index[k:], names, arrows, weights, component)


def _numbers(text: str) -> tuple[bool | None, NDArray[np.int64] | None]:
    """What the comments at the top say, and pairs (k, 2) where all else is pairs of whole numbers.

    None for everything that is not as plain: a file is then read line by line, which tells what is
    wrong with it.
    """
    head = list(takewhile(lambda line: line.startswith(COMMENTS), _lines(text)))
    said = next((s for line in head if (s := _direction(line.strip())) is not None), None)
    body = np.frombuffer(text[sum(len(line) for line in head) :].encode(), dtype=np.uint8)
    blank = (body == 32) | (body == 9)
    end = body == 10
    if not len(body) or not (blank | end | ((body >= 48) & (body <= 57))).all():
        return said, None
    rests = blank | end
    begins = ~rests & np.concatenate([[True], rests[:-1]])
    starts = np.concatenate([[0], np.flatnonzero(end)[: -1 if end[-1] else None] + 1])
    if (np.add.reduceat(begins, starts, dtype=np.int32) != 2).any():
        return said, None
    return said, np.fromstring(body.tobytes(), dtype=np.int64, sep=" ").reshape(-1, 2)


def _lines(text: str):
    """Lines with their ends, one after another."""
    begin = 0
    while begin < len(text):
        end = text.find("\n", begin) + 1 or len(text)
        yield text[begin:end]
        begin = end


def _renumbered(pairs: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The numbers there are, ascending, and which of them each end is, (k, 2)."""
    if pairs.size and pairs.min() >= 0 and pairs.max() < 4 * pairs.size:  # no need to sort
        met = np.zeros(int(pairs.max()) + 1, dtype=bool)
        met[pairs] = True
        return np.flatnonzero(met), (np.cumsum(met) - 1)[pairs]
    known, index = np.unique(pairs, return_inverse=True)
    return known, index.reshape(-1, 2)


def _of_numbers(pairs: NDArray[np.int64], directed: bool, component: str) -> Graph:
    known, index = _renumbered(pairs)
    return made(index[:, 0], index[:, 1], list(map(str, known.tolist())), directed, None, component)


def _heed(directed: bool | None, said: bool | None, name: str) -> None:
    """Refuse a file that says something else than the setting."""
    if directed is not None and said is not None and said != directed:
        raise DataError(
            f"{name} says that it is {_word(said)}, but problem.directed makes it "
            f"{_word(directed)}",
            hint="leave problem.directed out, or correct the header",
        )


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
