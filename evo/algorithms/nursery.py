"""Where new genomes come from: sampling, crossover, mutation, repair, and no repeats."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators import RNG, Crossover, Mutation, Sampling
from operators.discrete import DISCRETE, LevelStep, Reset, UniformCrossover
from operators.real import SBX, Polynomial
from operators.sample import LevelSpread, Uniform
from operators.subset import SubsetMove, SubsetUnion

from ..errors import ConfigError
from ..genomes import Genomes
from ..space import Part, SearchSpace
from ..streams import stream
from . import Settings

CROSSOVER = {
    "choice": UniformCrossover(),
    "integer": UniformCrossover(),
    "mask": UniformCrossover(),
    "real": SBX(),
    "subset": SubsetUnion(),
}
MUTATION = {
    "choice": LevelStep(),
    "integer": LevelStep(reach=0.1),
    "mask": Reset(),
    "real": Polynomial(),
}
SAMPLING = {"choice": LevelSpread(), "mask": LevelSpread(), "integer": Uniform(), "real": Uniform()}

TRIES = 20  # rounds of breeding, then of sampling, before the space is counted out
COUNTABLE = 2**14  # spaces up to this size are searched to the last genome


@dataclass(frozen=True, slots=True, eq=False)
class Variation:
    """Parts of a space mapped to operators.

    Args:
        space: What can be varied.
        crossover: Part name → operator.
        mutation: Part name → operator.
        sampling: Part name → operator; parts without one sample themselves.
        rate: Share of pairs that are crossed; the others go on to mutation as they are.
        mutated: Share of crossed children that are mutated, too; those that equal a parent are.
    """

    space: SearchSpace
    crossover: Mapping[str, Crossover]
    mutation: Mapping[str, Mutation]
    sampling: Mapping[str, Sampling]
    rate: float
    mutated: float = 1.0

    @staticmethod
    def of(space: SearchSpace, settings: Settings) -> Variation:
        """Default operators by part kind, replaced where the settings say so.

        Raises:
            ConfigError: An override fits no part, or names a part that is not there.
        """
        parts = space.parts
        mutation = MUTATION | {
            p.name: SubsetMove(least=getattr(p, "least", 1)) for p in parts if p.kind == "subset"
        }
        return Variation(
            space,
            _assign("crossover", parts, CROSSOVER, settings.crossover),
            _assign("mutation", parts, mutation, settings.mutation),
            _assign("sampling", parts, SAMPLING, settings.sampling),
            0.9 if settings.crossover_rate is None else settings.crossover_rate,
            settings.mutation_rate,
        )

    def sample(self, n: int, rng: RNG) -> Genomes:
        """Legal genomes from nothing, n of them; repeats are possible."""
        return self._legal({p.name: self._sample(p, n, rng) for p in self.space.parts})

    def children(self, first: Genomes, second: Genomes, rng: RNG) -> Genomes:
        """Two legal children per pair of parents, those of a pair next to each other."""
        n = len(first)
        crossed = rng.random(n) < self.rate
        mixed: dict[str, NDArray[Any]] = {}
        for part in self.space.parts:
            a, b = first[part.name], second[part.name]
            one, two = self.crossover[part.name](a, b, part.bounds, rng)
            pair = np.stack([one, two], axis=1)  # (n, 2, d)
            pair[~crossed, 0], pair[~crossed, 1] = a[~crossed], b[~crossed]
            mixed[part.name] = pair.reshape(2 * n, *part.shape)
        children = self._legal(mixed)
        if self.mutated == 1:
            return self.mutate(children, rng)
        chosen = rng.random(2 * n) < self.mutated
        for parents in (first, second):
            chosen |= _same(children, parents.take(np.repeat(np.arange(n), 2)))
        rows = np.flatnonzero(chosen)
        out = {name: values.copy() for name, values in children.parts.items()}
        for name, values in self.mutate(children.take(rows), rng).parts.items():
            out[name][rows] = values
        return Genomes(out)

    def mutate(self, genomes: Genomes, rng: RNG) -> Genomes:
        """Legal mutants, one per row; each of k parts changes with chance 1/k, at least one."""
        n, k = len(genomes), len(self.space.parts)
        chosen = rng.random((n, k)) < 1.0 / k
        forced = rng.integers(0, k, n)
        empty = np.flatnonzero(~chosen.any(axis=1))
        chosen[empty, forced[empty]] = True
        out: dict[str, NDArray[Any]] = {}
        for j, part in enumerate(self.space.parts):
            old = genomes[part.name]
            new = self.mutation[part.name](old, part.bounds, rng)
            out[part.name] = new if k == 1 else np.where(chosen[:, j, None], new, old)
        return self._legal(out)

    def _sample(self, part: Part, n: int, rng: RNG) -> NDArray[Any]:
        draw = self.sampling.get(part.name)
        return part.sample(n, rng) if draw is None else draw(n, part.bounds, rng)

    def _legal(self, parts: Mapping[str, NDArray[Any]]) -> Genomes:
        return self.space.repair(Genomes(parts))


class Nursery:
    """The only source of genomes of one run; it never hands out the same genome twice.

    Args:
        space: What can be varied.
        settings: Seed and operators.
        starts: Warm-start genomes, best first.
    """

    def __init__(self, space: SearchSpace, settings: Settings, starts: Genomes | None) -> None:
        self.space = space
        self.variation = Variation.of(space, settings)
        self.rng = stream(settings.seed, "variation")
        self.starts = starts
        self._seen: set[bytes] = set()

    def initial(self, n: int, otherwise: Genomes | None = None) -> Genomes:
        """Warm starts first, then ``otherwise``, then samples; at most n rows, all different."""
        found: list[Genomes] = []
        for given in (self.starts, otherwise):
            if given is not None and len(given):
                room = n - sum(map(len, found))
                found.append(self.fresh(self.space.repair(given), room))
        return self._complete(found, n)

    def offspring(self, n: int, breed: Callable[[int], Genomes]) -> Genomes:
        """Up to n new genomes: bred ones first, samples when breeding only repeats itself.

        In small discrete spaces whatever is left follows, so that fewer than n rows come back only
        when the space is used up. Elsewhere a short batch means that sampling found nothing new.

        Args:
            n: Rows wanted.
            breed: Called with the number of rows still missing; returns legal candidates.
        """
        found: list[Genomes] = []
        self._fill(found, n, breed)
        return self._complete(found, n)

    def pairs(self, first: Genomes, second: Genomes) -> Genomes:
        """Mutated children of the given pairs, two per pair; repeats are possible."""
        return self.variation.children(first, second, self.rng)

    def mutants(self, genomes: Genomes) -> Genomes:
        """One mutant per row; repeats are possible."""
        return self.variation.mutate(genomes, self.rng)

    def sample(self, n: int) -> Genomes:
        """Legal genomes from nothing, n of them; repeats are possible."""
        return self.variation.sample(n, self.rng)

    def fresh(self, genomes: Genomes, limit: int | None = None) -> Genomes:
        """The first ``limit`` rows never handed out before, which now count as handed out."""
        kept: list[int] = []
        for i, key in enumerate(genomes.keys()):
            if limit is not None and len(kept) == limit:
                break
            if key not in self._seen:
                self._seen.add(key)
                kept.append(i)
        return genomes if len(kept) == len(genomes) else genomes.take(kept)

    def nothing(self) -> Genomes:
        """A batch of no genomes."""
        return Genomes({p.name: np.empty((0, *p.shape), p.dtype) for p in self.space.parts})

    def _fill(self, found: list[Genomes], n: int, source: Callable[[int], Genomes]) -> None:
        for _ in range(TRIES):
            missing = n - sum(map(len, found))
            if missing <= 0:
                return
            found.append(self.fresh(source(missing), missing))

    def _complete(self, found: list[Genomes], n: int) -> Genomes:
        """What was found and, up to n rows, samples and whatever a small space has left."""
        self._fill(found, n, self.sample)
        if (missing := n - sum(map(len, found))) > 0:
            found.append(self.fresh(self._everything(), missing))
        return Genomes.concat(*[some for some in found if len(some)] or [self.nothing()])

    def _everything(self) -> Genomes:
        """All genomes of a small discrete space in random order; nothing for other spaces."""
        parts = self.space.parts
        if any(p.kind not in DISCRETE for p in parts):
            return self.nothing()
        spans = [p.bounds.high.astype(int) - p.bounds.low.astype(int) + 1 for p in parts]
        sizes = np.concatenate(spans)
        if np.log2(sizes).sum() > np.log2(COUNTABLE):
            return self.nothing()
        order = self.rng.permutation(int(np.prod(sizes)))
        digits = np.stack(np.unravel_index(order, tuple(sizes)), axis=1)  # (n, d)
        cut = np.split(digits, np.cumsum([len(s) for s in spans])[:-1], axis=1)
        whole = {p.name: c + p.bounds.low for p, c in zip(parts, cut, strict=True)}
        return self.space.repair(Genomes(whole))


def _same(one: Genomes, two: Genomes) -> NDArray[np.bool_]:
    """Which rows of two batches are the same genome, (n,)."""
    pairs = [(values, two[name]) for name, values in one.parts.items()]
    return np.all([(a == b).reshape(len(one), -1).all(axis=1) for a, b in pairs], axis=0)


def _assign(
    role: str, parts: tuple[Part, ...], defaults: Mapping[str, Any], override: Any
) -> dict[str, Any]:
    """Part name → operator: an override by name, then by kind, then the default."""
    chosen = {p.name: defaults.get(p.name, defaults.get(p.kind)) for p in parts}
    if override is None:
        return {name: op for name, op in chosen.items() if op is not None}
    if isinstance(override, Mapping):
        known = {p.name for p in parts} | {p.kind for p in parts}
        if unknown := sorted(set(override) - known):
            raise ConfigError(
                f"{role} is set for {unknown[0]!r}, which is neither a part nor a kind of this "
                f"space; there are {sorted(known)}"
            )
        wanted = {p.name: override.get(p.name, override.get(p.kind)) for p in parts}
    else:
        wanted = {p.name: override if _fits(override, p) else None for p in parts}
        if not any(op is not None for op in wanted.values()):
            kinds = sorted({p.kind for p in parts})
            raise ConfigError(f"{role} {override!r} fits no part of this space, which has {kinds}")
    merged = {name: wanted[name] if wanted[name] is not None else chosen[name] for name in chosen}
    return {name: op for name, op in merged.items() if op is not None}


def _fits(operator: Any, part: Part) -> bool:
    """Whether an operator declares the part's kind; undeclared ones fit every boxed part."""
    kinds = getattr(operator, "kinds", None)
    return part.kind in kinds if kinds is not None else part.kind != "subset"
