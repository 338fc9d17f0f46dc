"""Whole populations of seed sets propagated through a world at once, one bit per seed set.

A node holds ⌈P/64⌉ words, whose bits tell which of the P seed sets have activated it. A step
gathers the words of the last step's nodes over live arcs and joins them by target, so that an arc
is looked at once for 64 seed sets. Thresholds need counts, which a sparse product gives.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evo.errors import ConfigError

from .worlds import LiveArcs, Model, Threshold, Thresholds, World

Words = NDArray[np.uint64]
WORD = 64
BACKENDS = ("auto", "numba", "numpy", "torch")


@dataclass(frozen=True, eq=False)
class SeedSets:
    """P seed sets.

    Args:
        rows: Seeds of each set, padded with -1, (P, most).
        n: Nodes of the graph.
    """

    rows: NDArray[np.int32]
    n: int

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def members(self) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
        """Set and node of every seed, each (seeds,)."""
        where = np.nonzero(self.rows >= 0)
        return where[0], self.rows[where]

    @cached_property
    def words(self) -> Words:
        """Bit p % 64 of word p // 64 of a node tells whether set p holds it, (K, n)."""
        which, node = self.members
        found = np.zeros((-(-len(self) // WORD), self.n), dtype=np.uint64)
        bit = np.uint64(1) << (which % WORD).astype(np.uint64)
        np.bitwise_or.at(found, (which // WORD, node), bit)
        return found

    def counts(self, groups: Groups) -> NDArray[np.int64]:
        """Seeds per group, (P, g)."""
        which, node = self.members
        found = np.zeros((len(self), groups.count), dtype=np.int64)
        np.add.at(found, (which, groups.of[node]), 1)
        return found


@dataclass(frozen=True, eq=False)
class Groups:
    """Communities, and what belongs to none as the last one.

    Args:
        community: Of each node from 0, -1 for none, (n,).
    """

    community: NDArray[np.int32]

    @cached_property
    def count(self) -> int:
        """Communities and one more."""
        return int(self.community.max(initial=-1)) + 2

    @cached_property
    def of(self) -> NDArray[np.int64]:
        """Group of each node, (n,)."""
        return np.where(self.community < 0, self.count - 1, self.community).astype(np.int64)

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Nodes of each group, (g,)."""
        return np.bincount(self.of, minlength=self.count)

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Nodes group by group, (n,)."""
        return np.argsort(self.of, kind="stable")

    @cached_property
    def place(self) -> NDArray[np.uint32]:
        """Where each node stands in that order, (n,)."""
        found = np.empty(len(self.order), np.uint32)
        found[self.order] = np.arange(len(self.order), dtype=np.uint32)
        return found

    def summed(self, bits: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Sums of rows per group, (n, p) to (p, g)."""
        sums = np.zeros((self.count, bits.shape[1]), dtype=np.int64)
        filled = self.sizes > 0
        starts = (np.cumsum(self.sizes) - self.sizes)[filled]
        sums[filled] = np.add.reduceat(bits[self.order], starts, axis=0, dtype=np.int64)
        return sums.T


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """What P seed sets did in W worlds.

    Args:
        active: Nodes active in the end, seeds among them, per group, (P, W, g).
        steps: Steps that activated something, (P, W), where they were wanted.
    """

    active: NDArray[np.int32]
    steps: NDArray[np.int32] | None


def propagated(
    sets: SeedSets, model: Model, worlds: Iterable[World], groups: Groups, limit: int | None,
    *, steps: bool = True, backend: str = "auto", device: str = "cpu",
) -> Outcomes:  # fmt: skip
    """All sets in all worlds.

    Args:
        sets: P seed sets.
        model: Whose worlds they are.
        worlds: W of them.
        groups: Whom to count together.
        limit: Most steps, None for no limit.
        steps: Whether steps are wanted; without them and without a limit it is faster.
        backend: One of :data:`BACKENDS`; all count the same. ``auto`` takes ``torch`` on other
            devices than the CPU, there ``numba`` where it is installed.
        device: Where ``torch`` propagates.

    Raises:
        ConfigError: The backend is not installed.
    """
    if backend == "torch" or (backend == "auto" and device != "cpu"):
        from . import on_device

        return on_device.propagated(sets, model, worlds, groups, limit, steps, device)
    code = compiled(backend)
    if code is not None:
        return code.propagated(sets, model, worlds, groups, limit, steps)
    active, took = [], []
    for world in worlds:
        if isinstance(world, LiveArcs):
            words, lasted = _reached(sets, world, limit)
            parts = [groups.summed(_bits(word)) for word in words]
            active.append(np.concatenate(parts)[: len(sets)])
        else:
            assert isinstance(model, Threshold)
            found, lasted = _persuaded(sets, model, world, limit)
            active.append(groups.summed(found))
        took.append(lasted)
    counts = np.stack(active, axis=1).astype(np.int32)
    return Outcomes(counts, np.stack(took, axis=1).astype(np.int32) if steps else None)


def compiled(backend: str) -> Any:
    """The module of compiled code; None where it is not wanted, or may be missing and is.

    Raises:
        ConfigError: Numba is asked for, and cannot be loaded.
    """
    if backend not in ("auto", "numba"):
        return None
    try:
        return import_module(".compiled", __package__)
    except ImportError as error:
        if backend == "auto":
            return None
        raise ConfigError(
            f"backend 'numba' cannot be loaded: {error}",
            hint="pip install 'evoprune[influence]', or leave problem.backend out",
        ) from error


def _reached(sets: SeedSets, world: LiveArcs, limit: int | None) -> tuple[Words, NDArray[np.int64]]:
    """Active nodes as words (K, n), and steps of each set, (P,)."""
    active = sets.words.copy()
    fresh = active
    heads = world.targets[world.starts]
    steps = np.zeros(len(active) * WORD, dtype=np.int64)
    while len(heads) and (limit is None or steps.max() < limit):
        found = np.zeros_like(active)
        for k, words in enumerate(fresh):
            carried = np.bitwise_or.reduceat(words[world.sources], world.starts)
            found[k, heads] = carried & ~active[k, heads]
        alive = np.bitwise_or.reduce(found, axis=1)  # (K,)
        if not alive.any():
            break
        steps += _flat(alive)
        active |= found
        fresh = found
    return active, steps[: len(sets)]


def _persuaded(
    sets: SeedSets, model: Threshold, world: Thresholds, limit: int | None
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Active nodes (n, P), and steps of each set, (P,)."""
    which, node = sets.members
    active = np.zeros((sets.n, len(sets)), dtype=bool)
    active[node, which] = True
    need = model.needs(world)[:, None].astype(np.float32)
    near = np.zeros(active.shape, dtype=np.float32)
    fresh, steps = active.copy(), np.zeros(len(sets), dtype=np.int64)
    while limit is None or steps.max(initial=0) < limit:
        near += model.neighbours @ fresh.astype(np.float32)
        fresh = (near >= need) & ~active
        alive = fresh.any(axis=0)
        if not alive.any():
            break
        steps += alive
        active |= fresh
    return active.astype(np.uint8), steps


def _bits(words: Words) -> NDArray[np.uint8]:
    """Bits of one word per node, (n,) to (n, 64)."""
    little = np.ascontiguousarray(words).astype("<u8", copy=False).view(np.uint8)
    return np.unpackbits(little.reshape(-1, 8), axis=1, bitorder="little")


def _flat(words: Words) -> NDArray[np.int64]:
    """Bits of words in order, (K,) to (64 K,)."""
    return _bits(words).reshape(-1).astype(np.int64)
