"""EvoPress: evolutionary search for what to remove where (Sieberling et al., arXiv 2410.14649).

A (1+λ) search under an exact amount, with the published schedules, moves and fitness:
:mod:`.evopress_depth` removes attentions and feed-forwards, :mod:`.evopress_sparsity` gives every
linear layer its own share of zeros. This is what both share. Where the published code has defects,
it is mended unless ``strict_upstream`` is set: then the parent joins every stage with as many
survivors as the last one, a sequence cut to one token turns ``ppl`` into NaN, and one stream draws
moves and text alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evo.errors import ConfigError
from evo.suggest import did_you_mean
from operators import RNG

from ..searches import Mixed
from . import Outcome
from .minibatches import Fitness
from .staged import PRESETS, Rows, Schedule, Selection, distinct

Mutate = Callable[[Rows, RNG], Rows | None]


@dataclass(frozen=True, kw_only=True)
class EvoPress:
    """What both searches can be told.

    Args:
        preset: Published schedule: ``depth``, ``sparsity`` or ``super-fast``. Settings below
            replace parts of it.
        generations: How many.
        offspring: Mutants per generation.
        survivors: How many survive each stage, a single one the last.
        tokens: On how many tokens each stage judges.
        scale: Share of the schedule's generations and tokens, in (0, 1]; offspring and survivors
            stay, so the stages keep their proportions. The whole costs about its square.
        fitness: ``kl`` (default) or ``ppl`` for language models, ``drift`` for encoders.
        strict_upstream: Repeat the published code's defects named above.
        start: File with a result to start from, in the published format.
        result: File to write the result to, in the same format.
    """

    preset: str
    generations: int | None = None
    offspring: int | None = None
    survivors: Sequence[int] | None = None
    tokens: Sequence[int] | None = None
    scale: float = 1.0
    fitness: str | None = None
    strict_upstream: bool = False
    start: str | None = None
    result: str | None = None

    def schedule(self, generations: int | None = None) -> Schedule:
        """What is judged in all, scaled.

        Args:
            generations: What a preset without a number of its own means.

        Raises:
            ConfigError: No such preset, or settings that do not fit together.
        """
        if self.preset not in PRESETS:
            raise ConfigError(
                f"no preset {self.preset!r}{did_you_mean(self.preset, PRESETS)}",
                hint=f"presets: {', '.join(PRESETS)}",
            )
        if not 0 < self.scale <= 1:
            raise ConfigError(f"scale must lie in (0, 1], got {self.scale!r}")
        told: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name in ("generations", "offspring", "survivors", "tokens")
            if (value := getattr(self, name)) is not None
        }
        made = replace(PRESETS[self.preset], **told)
        if made.generations is None:
            made = replace(made, generations=generations)
        return made.scaled(self.scale)

    def streams(self, rng: RNG) -> tuple[RNG, RNG]:
        """Generators for moves and for text."""
        if self.strict_upstream:
            return rng, rng
        moves, text = rng.spawn(2)
        return moves, text


@dataclass
class Search:
    """One search: its selection, its stream for moves, and what the user should know of it."""

    selection: Selection
    rng: RNG
    available: int
    notes: list[str]

    @classmethod
    def of(
        cls, method: EvoPress, problem: Mixed, schedule: Schedule, rng: RNG, origin: Any = 0
    ) -> Search:
        """A search on a problem, its stages no larger than the text.

        Args:
            method: The settings.
            problem: The problem with the variants wanted.
            schedule: The stages.
            rng: Draws everything.
            origin: Added to genomes, it makes them choices.
        """
        moves, text = method.streams(rng)
        fitness = Fitness(problem, method.fitness, text, upstream=method.strict_upstream)

        def judge(genomes: Rows, tokens: int) -> Any:
            return fitness(genomes + origin, tokens)

        selection = Selection(judge, schedule, method.strict_upstream)
        search = cls(selection, moves, fitness.available, [])
        search.selection.schedule = schedule.within(search.clamped(max(schedule.tokens)))
        return search

    def clamped(self, tokens: int) -> int:
        """So many tokens, or all there are; then a note says so, once."""
        if tokens > self.available:
            note = (
                f"the search text has {self.available:,} tokens, so stages that ask for more, up "
                f"to {tokens:,}, are judged on all of it; raise sizes.search for the full schedule"
            )
            self.notes += [] if self.notes else [note]
        return min(tokens, self.available)

    def run(self, parent: Rows, mutate: Mutate, *, banned: bool) -> Rows:
        """The last parent, from the first; ``banned`` keeps offspring from being their parent."""
        wanted, fewest = self.selection.schedule.offspring, self.selection.schedule.offspring
        for _ in range(self.selection.schedule.generations or 0):
            taken, mother = parent[None][: int(banned)], parent
            offspring = distinct(lambda mother=mother: mutate(mother, self.rng), wanted, taken)
            fewest = min(fewest, len(offspring))
            parent = self.selection(parent, offspring)
        if fewest < wanted:
            self.notes.append(
                f"some generations had only {fewest} distinct offspring of the {wanted} asked for"
            )
        return parent

    def outcome(self, problem: Mixed, choices: Rows) -> Outcome:
        """What was chosen and what it took."""
        return Outcome(problem, choices, self.selection.tokens, tuple(self.notes))
