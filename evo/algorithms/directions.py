"""Reference directions: evenly spread weights on the simplex, without chance."""

from __future__ import annotations

from math import comb

import numpy as np

from ..problem import Array


def lattice(m: int, partitions: int) -> Array:
    """All simplex points with coordinates in steps of 1/partitions (Das and Dennis 1998).

    Args:
        m: Number of objectives.
        partitions: Steps per axis; 0 gives the centre.

    Returns:
        Shape (comb(partitions + m - 1, m - 1), m), rows sum to 1, in lexicographic order.
    """
    if partitions == 0:
        return np.full((1, m), 1.0 / m)
    rows = np.zeros((1, 0), dtype=np.int64)
    for _ in range(m - 1):
        left = partitions - rows.sum(axis=1)
        head = np.repeat(rows, left + 1, axis=0)
        tail = np.concatenate([np.arange(k + 1) for k in left])
        rows = np.column_stack([head, tail])
    return np.column_stack([rows, partitions - rows.sum(axis=1)]) / partitions


def directions(m: int, most: int) -> Array:
    """At most ``most`` evenly spread directions, shape (k, m), 1 <= k <= most.

    The finest lattice that fits. Where it has no inner points (fewer steps than objectives), a
    second lattice, shrunk to half around the centre, takes what room is left (Deb and Jain 2014).
    With less room than objectives: the centre, then as many axes as fit.
    """
    if m == 1:
        return np.ones((1, 1))
    if most < m:
        return np.concatenate([lattice(m, 0), np.eye(m)])[:most]
    outer = _finest(m, most)
    rows = lattice(m, outer)
    room = most - len(rows)
    if outer < m and room > 0:
        inner = lattice(m, min(_finest(m, room), outer - 1) if room >= m else 0)
        rows = np.concatenate([rows, (inner + 1.0 / m) / 2.0])
    return rows


def exactly(m: int, n: int) -> Array:
    """As :func:`directions`, filled up with a low-discrepancy sequence to shape (n, m).

    The filling follows Roberts' additive recurrence, folded onto the simplex by sorting, so that n
    slots get n different directions whatever n is. With one objective all rows are 1.
    """
    if m == 1:
        return np.ones((n, 1))
    rows = directions(m, n)
    missing = n - len(rows)
    if missing == 0:
        return rows
    root = 2.0
    for _ in range(64):  # the positive root of x**m = x + 1
        root = (1.0 + root) ** (1.0 / m)
    steps = root ** -np.arange(1.0, m)  # (m - 1,)
    points = np.sort((0.5 + np.arange(1, missing + 1)[:, None] * steps) % 1.0, axis=1)
    edges = np.column_stack([np.zeros(missing), points, np.ones(missing)])
    return np.concatenate([rows, np.diff(edges, axis=1)])


def _finest(m: int, most: int) -> int:
    partitions = 0
    while comb(partitions + m, m - 1) <= most:
        partitions += 1
    return partitions
