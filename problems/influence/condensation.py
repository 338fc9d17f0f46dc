"""Compiled passes over arcs: which are live, by source, by strong component."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

jit: Any = nb.njit(nogil=True, cache=True, boundscheck=False, error_model="numpy")


@jit
def stretches(hazard, certain, hits):
    """As :func:`.worlds.stretches`, both sides read once."""
    found = np.empty(len(hits) + np.count_nonzero(certain), np.int64)
    count, hit = 0, 0
    for arc in range(len(hazard)):
        live = certain[arc]
        while hit < len(hits) and hits[hit] < hazard[arc]:
            live = True
            hit += 1
        if live:
            found[count] = arc
            count += 1
    return found[:count]


@jit
def by_source(sources, targets, rank, n):
    """Arcs sorted by source, under new numbers: row starts (n + 1,), sources and targets (m,)."""
    starts = np.zeros(n + 1, np.uint32)
    for arc in range(len(sources)):
        starts[nb.uintp(rank[sources[arc]]) + nb.uintp(1)] += np.uint32(1)
    for node in range(n):
        starts[node + 1] += starts[node]
    place = starts[:-1].copy()
    tails = np.empty(len(sources), np.uint32)
    heads = np.empty(len(sources), np.uint32)
    for arc in range(len(sources)):
        tail = rank[sources[arc]]
        where = nb.uintp(place[tail])
        tails[where] = tail
        heads[where] = rank[targets[arc]]
        place[tail] += np.uint32(1)
    return starts, tails, heads


@jit
def components(starts, heads):
    """Strong component of every node, numbered so that arcs lead to smaller ones (Tarjan 1972)."""
    n = len(starts) - 1
    found = np.zeros(n, np.uint32)
    order = np.zeros(n, np.uint32)  # when first seen, from 1; 0 never
    low = np.zeros(n, np.uint32)
    at = starts[:-1].copy()
    stack = np.empty(n, np.uint32)
    path = np.empty(n, np.uint32)
    inside = np.zeros(n, np.bool_)
    held, clock, count = 0, np.uint32(0), 0
    for root in range(n):
        if order[root]:
            continue
        path[0] = root
        depth = 1
        while depth:
            node = nb.uintp(path[depth - 1])
            if not order[node]:
                clock += np.uint32(1)
                order[node] = low[node] = clock
                stack[held] = node
                held += 1
                inside[node] = True
            if at[node] < starts[node + 1]:
                head = nb.uintp(heads[at[node]])
                at[node] += np.uint32(1)
                if not order[head]:
                    path[depth] = head
                    depth += 1
                elif inside[head]:
                    low[node] = min(low[node], order[head])
                continue
            depth -= 1
            if depth:
                above = nb.uintp(path[depth - 1])
                low[above] = min(low[above], low[node])
            if low[node] == order[node]:
                while True:
                    held -= 1
                    member = nb.uintp(stack[held])
                    inside[member] = False
                    found[member] = count
                    if member == node:
                        break
                count += 1
    return found, count


@jit
def between(tails, heads, component, count):
    """Arcs between different components, sources in topological order, (a,) and (a,)."""
    starts = np.zeros(count + 1, np.uint32)
    for arc in range(len(tails)):
        one, two = component[tails[arc]], component[heads[arc]]
        if one != two:
            starts[nb.uintp(count) - nb.uintp(one)] += np.uint32(1)
    for i in range(count):
        starts[i + 1] += starts[i]
    sources = np.empty(starts[count], np.uint32)
    targets = np.empty(starts[count], np.uint32)
    for arc in range(len(tails)):
        one, two = component[tails[arc]], component[heads[arc]]
        if one != two:
            row = nb.uintp(count - 1) - nb.uintp(one)
            where = nb.uintp(starts[row])
            sources[where], targets[where] = one, two
            starts[row] += np.uint32(1)
    return sources, targets
