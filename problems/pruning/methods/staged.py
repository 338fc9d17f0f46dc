"""EvoPress's (1+λ) search with stages (Sieberling et al., arXiv 2410.14649, algorithm 1).

Each generation makes λ mutants of one parent. Stage by stage the survivors of the last are judged
on more tokens, drawn anew, and fewer go on; the parent joins the last stage, and the one that
survives it is the next parent. Everything here is counted in candidate tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evo.errors import ConfigError

Rows = NDArray[np.int16]  # genomes, (n, S)
Judge = Callable[[Rows, int], NDArray[np.float64]]
"""Fitness (n,), smaller is better, of genomes (n, S) on that many tokens drawn anew."""
Draw = Callable[[], Rows | None]
"""Draws one genome, (S,), or nothing where the draw was in vain."""

PATIENCE = 1000  # draws in vain, one after the other, after which no new genome is expected


@dataclass(frozen=True)
class Schedule:
    """How much is judged.

    Args:
        generations: At least 0; None leaves the number to the search.
        offspring: Mutants per generation, λ.
        survivors: How many survive each stage; a single one the last.
        tokens: On how many tokens each stage judges, at least 2.

    Raises:
        ConfigError: A number is out of range, or the stages do not fit together.
    """

    generations: int | None
    offspring: int
    survivors: tuple[int, ...]
    tokens: tuple[int, ...]

    def __post_init__(self) -> None:
        _whole("generations", [self.generations or 0], least=0)
        _whole("offspring", [self.offspring], least=1)
        _whole("survivors", self.survivors, least=1)
        _whole("tokens", self.tokens, least=2)
        if len(self.survivors) != len(self.tokens) or self.survivors[-1:] != (1,):
            raise ConfigError(
                f"every stage needs survivors and tokens, and the last one survivor; got survivors "
                f"{list(self.survivors)} and tokens {list(self.tokens)}"
            )

    def scaled(self, scale: float) -> Schedule:
        """That share of the generations and of every stage's tokens; λ and survivors stay."""
        generations = self.generations
        return replace(
            self,
            generations=None if generations is None else scaled(generations, scale, 1),
            tokens=tuple(scaled(count, scale, 2) for count in self.tokens),
        )

    def within(self, available: int) -> Schedule:
        """No stage asks for more tokens than there are."""
        return replace(self, tokens=tuple(min(count, available) for count in self.tokens))


def _whole(name: str, values: Any, least: int) -> None:
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise ConfigError(f"{name} must be a list of whole numbers, got {values!r}")
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ConfigError(f"{name} must be whole numbers from {least} on, got {value!r}")


def scaled(count: int, scale: float, least: int) -> int:
    """A share of a number, rounded, and at least ``least`` unless the number is smaller."""
    return max(min(least, count), round(count * scale))


PRESETS: dict[str, Schedule] = {
    "depth": Schedule(None, 32, (2, 1), (2048, 32768)),
    "sparsity": Schedule(400, 64, (8, 2, 1), (2048, 16384, 65536)),
    "super-fast": Schedule(400, 16, (1, 1), (512, 8192)),
}
"""Published schedules; depth has as many generations as its neighbourhood asks for."""


@dataclass
class Selection:
    """Judges genomes in stages and counts what that takes.

    Args:
        judge: Judges the genomes of one stage.
        schedule: The stages.
        upstream: The parent joins every stage that has as many survivors as the last one, as in
            the published code; else only the last one, as in the paper.
    """

    judge: Judge
    schedule: Schedule
    upstream: bool = False
    evaluations: int = field(default=0, init=False)
    tokens: int = field(default=0, init=False)

    def best(self, genomes: Rows, tokens: int, survivors: int) -> Rows:
        """One stage: the survivors, best first; of equals the first come first."""
        fitness = self.judge(genomes, tokens)
        self.evaluations += len(genomes)
        self.tokens += len(genomes) * tokens
        return genomes[np.argsort(fitness, kind="stable")[:survivors]]

    def __call__(self, parent: Rows, offspring: Rows) -> Rows:
        """The next parent (S,) from a parent (S,) and its offspring (n, S)."""
        if not len(offspring):
            return parent
        survivors, genomes = self.schedule.survivors, offspring
        for stage, (kept, tokens) in enumerate(zip(survivors, self.schedule.tokens, strict=True)):
            last = stage == len(survivors) - 1
            joins = last or (self.upstream and kept == survivors[-1])
            if joins and not (genomes == parent).all(1).any():
                genomes = np.concatenate([genomes, parent[None]])
            genomes = self.best(genomes, tokens, kept)
        return genomes[0]


def distinct(draw: Draw, wanted: int, taken: Rows) -> Rows:
    """Drawn genomes without repeats, (≤ wanted, S); fewer where no new one turns up.

    Args:
        draw: Draws one.
        wanted: How many.
        taken: Genomes that count as repeats, (n, S).
    """
    seen = {row.tobytes() for row in taken}
    found: list[Rows] = []
    in_vain = 0
    while len(found) < wanted and in_vain < PATIENCE:
        row = draw()
        in_vain += 1
        if row is not None and row.tobytes() not in seen:
            seen.add(row.tobytes())
            found.append(row)
            in_vain = 0
    return np.array(found, dtype=np.int16).reshape(-1, taken.shape[1])
