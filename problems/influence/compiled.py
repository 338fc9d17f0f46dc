"""Whole populations of seed sets propagated by compiled code, on several threads."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import kernels
from .cascades import WORD, Groups, Outcomes, SeedSets
from .condensation import between, by_source, components
from .graphs import Graph
from .objectives import NOTHING
from .worlds import LiveArcs, Model, Threshold, Thresholds, World, form

_AT_ONCE = 1 << 26  # bytes of worlds handed to the threads together


def propagated(
    sets: SeedSets, model: Model, worlds: Iterable[World], groups: Groups, limit: int | None,
    steps: bool,
) -> Outcomes:  # fmt: skip
    """As :func:`.cascades.propagated`, on OMP_NUM_THREADS threads, or one per core."""
    threads = _threads()
    judge = _Judge(sets, model, groups, limit, steps)
    parts = []
    with ThreadPoolExecutor(threads) as pool:
        for block in _blocks(worlds, model, threads):
            shares = [block[i::threads] for i in range(min(threads, len(block)))]
            active = np.zeros((len(block), groups.count, judge.wide), np.int32)
            took = np.zeros((len(block), judge.wide), np.int32)
            outs = [(active[i::threads], took[i::threads]) for i in range(len(shares))]
            list(pool.map(judge, shares, outs))
            parts.append((active[..., : len(sets)], took[:, : len(sets)]))
    active = np.concatenate([a for a, _ in parts]).transpose(2, 0, 1)  # (P, W, g)
    return Outcomes(active, np.concatenate([t for _, t in parts]).T if steps else None)


def divergences(
    active: NDArray[np.int32], own: NDArray[np.int64], sizes: NDArray[np.int64]
) -> NDArray[np.float64]:
    """As ``kernels.divergences``, from (P, W, c), (P, c) and (c,) to (P, W)."""
    threads = _threads()
    worlds, seeds = active.transpose(1, 2, 0), np.ascontiguousarray(own.T)
    found = np.empty((len(worlds), len(own)))
    with ThreadPoolExecutor(threads) as pool:
        shares = [slice(i, None, threads) for i in range(threads)]
        list(pool.map(lambda s: kernels.divergences(worlds[s], seeds, sizes, found[s]), shares))
    return np.where(np.abs(found) > NOTHING, found, 0.0).T


def _threads() -> int:
    return int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))


class _Judge:
    """Propagates all sets through some worlds; threads share it, each with buffers of its own."""

    def __init__(
        self, sets: SeedSets, model: Model, groups: Groups, limit: int | None, steps: bool
    ) -> None:
        self._model, self._groups = model, groups
        self._limit = np.iinfo(np.int64).max if limit is None else limit
        self._closed = limit is None and not steps
        bits = sets.words[:, groups.order]  # (K, n)
        self._nodes = np.flatnonzero(bits.any(axis=0)).astype(np.uint32)
        self._words = np.ascontiguousarray(bits[:, self._nodes])  # (K, s)
        self.wide = len(bits) * WORD
        self._bounds = np.append(0, np.cumsum(groups.sizes))
        self._group_of = groups.of[groups.order]
        self._n = sets.n

    def __call__(
        self, worlds: list[World], out: tuple[NDArray[np.int32], NDArray[np.int32]]
    ) -> None:
        room = kernels.scratch(self._n, self._groups.count)
        for world, active, steps in zip(worlds, *out, strict=True):
            if isinstance(world, Thresholds):
                self._persuade(world, room, active, steps)
            else:
                self._reach(world, room, active, steps)

    def _reach(self, world: LiveArcs, room: Any, active: Any, steps: Any) -> None:
        again = ("rows", self._groups) in world.forms
        rows = form(world.forms, ("rows", self._groups), lambda: self._rows(world))
        if self._closed and again:  # worth finding components for
            arcs = form(world.forms, ("components", self._groups), lambda: _condensed(*rows))
            for k, words in enumerate(self._words):
                kernels.reached(*arcs, self._nodes, words, self._bounds, room, active, k * WORD)
            return
        where = self._limit, self._bounds, self._group_of
        for k, words in enumerate(self._words):
            kernels.levels(*rows, self._nodes, words, *where, room, active, steps, k * WORD)

    def _persuade(self, world: Thresholds, room: Any, active: Any, steps: Any) -> None:
        model = self._model
        assert isinstance(model, Threshold)
        starts, _, heads = form(
            model.forms, ("rows", self._groups), lambda: self._rows(model.graph)
        )
        need = model.needs(world)[self._groups.order]
        bits = np.ceil(np.log2(need)).astype(np.int64)
        offset = np.append(0, np.cumsum(bits))
        counters = np.zeros(offset[-1], np.uint64)
        arcs = starts, heads, need, offset, counters, self._nodes
        for k, words in enumerate(self._words):
            kernels.persuaded(
                *arcs, words, self._limit, self._bounds, room, active, steps, k * WORD
            )

    def _rows(self, arcs: Graph | LiveArcs) -> tuple[NDArray[np.uint32], ...]:
        return by_source(arcs.sources, arcs.targets, self._groups.place, self._n)


def _condensed(
    starts: NDArray[np.uint32], tails: NDArray[np.uint32], heads: NDArray[np.uint32]
) -> tuple[NDArray[np.uint32], ...]:
    """Component of every node and the arcs between components."""
    component, count = components(starts, heads)
    return component, *between(tails, heads, component, count)


def _blocks(worlds: Iterable[World], model: Model, threads: int) -> Iterator[list[World]]:
    """Worlds, as many at a time as keep all threads busy within :data:`_AT_ONCE` bytes."""
    size = max(threads, min(1024, _AT_ONCE // model.size))
    rest = iter(worlds)
    while block := list(islice(rest, size)):
        yield block
