"""Whole lives of many networks in a world, counted: rewards, energy, change of weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from evo.errors import ShapeError
from evo.problem import Array
from evo.streams import derive, stream

from .crowd import Crowd
from .genes import Kept, Rule, Values
from .worlds import World

T = TypeVar("T")

LOOK = 10
"""Control steps between two updates whose weights are compared with those before, at least."""

GRACE = 200
"""First control step, from 0, at which a life may end for want of progress, as published."""


@dataclass(frozen=True, slots=True, eq=False)
class Episodes:
    """What is common to all candidates: where lives begin, with which weights, under which noise.

    Args:
        seed: Root seed.
        split: Other splits have other episodes.
        count: e.
    """

    seed: int
    split: str
    count: int

    def seeds(self) -> list[int]:
        """One seed of the world per episode."""
        return [derive(self.seed, "episode", self.split, e) % 2**32 for e in range(self.count)]

    def streams(self, name: str) -> list[np.random.Generator]:
        """One generator per episode for something."""
        return [stream(self.seed, name, self.split, e) for e in range(self.count)]


@dataclass(slots=True, eq=False)
class Lives:
    """Counts of lives, each (n, bodies, episodes, …); NaN where a network came apart.

    Args:
        rewards: Summed over the life, (n, bodies, episodes, parts).
        steps: Control steps lived.
        energy: Mean squared action.
        change: Absolute change of weights per control step, summed over the synapses; after the
            first tenth of the life, or before it where the life was shorter.
        largest: Largest absolute weight at the end.
        reasons: Why a candidate cannot be judged, by candidate.
    """

    rewards: Array
    steps: Array
    energy: Array
    change: Array
    largest: Array
    reasons: dict[int, str] = field(default_factory=dict)


@dataclass(slots=True)
class Clock:
    """Control steps and seconds spent so far."""

    steps: float = 0.0
    world: float = 0.0
    network: float = 0.0


@np.errstate(all="ignore")  # what overflows is found and told
def live(
    rule: Rule,
    coefficients: Mapping[str, Values],
    kept: Kept,
    world: World,
    bodies: Sequence[int],
    episodes: Episodes,
    *,
    noise: float = 0.0,
    patience: int | None = None,
    clock: Clock | None = None,
    device: str | None = None,
) -> Lives:
    """Let n candidates live in every body through every episode.

    Lives that have ended leave the world at once, and the networks once they are half of them.

    Args:
        rule: How networks learn.
        coefficients: Of n candidates.
        kept: What pruning leaves of them.
        world: Where.
        bodies: Numbers of the bodies of the world.
        episodes: Common to all.
        noise: Deviation of what is added to each observation, the same for all candidates.
        patience: End a life after more than so many steps in a row with a first reward below 0,
            from step :data:`GRACE` on; None lets it go on.
        clock: Adds up work.
        device: Where torch computes networks; None for NumPy.

    Raises:
        ShapeError: The observations of the world do not fit the networks.
    """
    n = len(next(iter(coefficients.values())))
    shape = (n, len(bodies), episodes.count)
    of, body, episode = (np.ravel(v) for v in np.indices(shape))
    beginnings = [w[episode] for w in rule.beginnings(episodes.streams("weights"))]
    networks = Crowd(rule, coefficients, kept, of, beginnings, device, world.threads)
    seeds = episodes.seeds()
    course = _Course(shape, len(world.parts), clock or Clock(), patience, rule)
    whispers = episodes.streams("noise")
    seen = course.simulated(
        lambda: world.reset([seeds[e] for e in episode], np.asarray(bodies)[body])
    )
    if seen.shape != (len(of), rule.layers[0]):
        raise ShapeError(
            f"the world gave observations of shape {seen.shape}, but {len(of)} networks have "
            f"{rule.layers[0]} inputs each"
        )
    rows = np.arange(len(of))  # lanes of the networks
    for step in range(world.steps):
        if noise:
            drawn = np.array([rng.normal(0.0, noise, world.inputs) for rng in whispers])
            seen = seen + drawn[episode[rows]]
        actions, sound = course.thought(networks, seen.astype(rule.dtype), step, rows, world)
        living = course.alive[rows]
        given = np.where(np.isfinite(actions), actions, 0.0)[living]
        found = course.simulated(lambda given=given: world.step(given))
        seen, rewards, ended = (spread(values, living) for values in found)
        course.lose(rows[~sound], f"its weights left the range of {rule.dtype} at step {step}")
        course.lose(
            rows[~np.isfinite(seen).all(axis=1)], f"the world lost its state at step {step}"
        )
        course.count(rows, actions, rewards, ended, networks, step)
        alive = course.alive[rows]
        if not alive.any():
            break
        if (alive != living).any():
            world.keep(alive[living])
        if 2 * alive.sum() <= len(rows):
            rows, seen = rows[alive], seen[alive]
            networks.keep(alive)
    course.end(rows, networks)
    return course.lives()


def spread(values: Values, living: NDArray[np.bool_]) -> Values:
    """Rows of those that live in their places among all; zeros elsewhere."""
    if living.all():
        return values
    whole = np.zeros((len(living), *values.shape[1:]), dtype=values.dtype)
    whole[living] = values
    return whole


class _Course:
    """Counts per lane while lives go on."""

    def __init__(
        self, shape: tuple[int, int, int], parts: int, clock: Clock, patience: int | None,
        rule: Rule,
    ) -> None:  # fmt: skip
        count = int(np.prod(shape))
        self._shape, self._clock, self._patience, self._rule = shape, clock, patience, rule
        self._back = np.zeros(count, dtype=np.intp)  # steps in a row that led back
        self.alive = np.ones(count, dtype=bool)
        self._rewards = np.zeros((count, parts))
        self._steps, self._energy = np.zeros(count), np.zeros(count)
        self._change, self._looks = np.zeros((2, count)), np.zeros((2, count))  # early, late
        self._largest = np.zeros(count)
        self._lost: dict[int, str] = {}  # lane → what happened

    def simulated(self, act: Callable[[], T]) -> T:
        """What a call of the world gives, on the clock."""
        begun = time.perf_counter()
        found = act()
        self._clock.world += time.perf_counter() - begun
        return found

    def thought(
        self, networks: Crowd, seen: Values, step: int, rows: NDArray[np.intp], world: World
    ) -> tuple[Array, NDArray[np.bool_]]:
        """One step of the networks, with a look at how weights change now and then."""
        begun = time.perf_counter()
        every = self._rule.every
        update, follows = divmod(step + 1, every)
        look = follows == 0 and (update - 1) % -(-LOOK // every) == 0
        if look:
            actions, sound, moved = networks.watched(seen)
            mine, late = self.alive[rows], int(step >= world.steps // 10)
            self._change[late, rows[mine]] += moved[mine] / every
            self._looks[late, rows[mine]] += 1
        else:
            actions, sound = networks.step(seen)
        self._clock.network += time.perf_counter() - begun
        self._clock.steps += int(self.alive[rows].sum())
        return actions.astype(np.float64), sound

    def lose(self, rows: NDArray[np.intp], what: str) -> None:
        """End those of these lives that still go on, which cannot be judged."""
        for lane in rows[self.alive[rows]].tolist():
            self._lost[lane] = what
            self.alive[lane] = False

    def count(
        self, rows: NDArray[np.intp], actions: Array, rewards: Array,
        ended: NDArray[np.bool_], networks: Crowd, step: int,
    ) -> None:  # fmt: skip
        """Add a step to the counts of the lanes that are alive after it."""
        good = self.alive[rows]
        self._rewards[rows[good]] += rewards[good]
        self._energy[rows[good]] += (actions[good] ** 2).mean(axis=1)
        self._steps[rows[good]] += 1
        over = good & ended
        if self._patience is not None and step >= GRACE:
            self._back[rows] = np.where(rewards[:, 0] < 0, self._back[rows] + 1, 0)
            over |= good & (self._back[rows] > self._patience)
        self._note(rows, over, networks)
        self.alive[rows[over]] = False

    def end(self, rows: NDArray[np.intp], networks: Crowd) -> None:
        """Look at the weights of those that lived to the last step."""
        self._note(rows, self.alive[rows], networks)

    def _note(self, rows: NDArray[np.intp], which: NDArray[np.bool_], networks: Crowd) -> None:
        if which.any():
            self._largest[rows[which]] = networks.largest(which)

    def lives(self) -> Lives:
        """The counts, and who came apart where."""
        for lane in np.flatnonzero(~np.isfinite(self._largest)).tolist():
            what = f"its weights left the range of {self._rule.dtype} in its last step"
            self._lost.setdefault(lane, what)
        lost = list(self._lost)
        steps = np.maximum(self._steps, 1)
        energy, means = self._energy / steps, self._change / np.maximum(self._looks, 1)
        change = np.where(self._looks[1] > 0, means[1], means[0])
        for values in (self._rewards, energy, change, self._largest):
            values[lost] = np.nan
        reasons: dict[int, str] = {}
        for lane in sorted(lost):
            candidate, body, episode = (int(i) for i in np.unravel_index(lane, self._shape))
            told = f"{self._lost[lane]} of episode {episode} in body {body}"
            reasons.setdefault(candidate, told)
        whole = self._shape
        return Lives(
            self._rewards.reshape(*whole, -1), self._steps.reshape(whole), energy.reshape(whole),
            change.reshape(whole), self._largest.reshape(whole), reasons,
        )  # fmt: skip
