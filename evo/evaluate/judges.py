"""What a run judges by: searched objectives, recorded metrics, constraints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..config import Ref, RunConfig
from ..errors import ConfigError, RegistryError
from ..limits import Limit, parse_limit
from ..problem import Array, Batch, Constraint, Objective, Problem
from ..registry import build, resolve
from ..store import Column, check_columns
from ..suggest import did_you_mean


@dataclass(frozen=True, slots=True)
class Judges:
    """Everything that turns a batch into numbers.

    Args:
        objectives: Searched ones first, then recorded metrics.
        n_searched: How many of them are searched, m.
        constraints: Those of the problem.
        limits: Those of the configuration, over names among ``objectives``.
    """

    objectives: tuple[Objective, ...]
    n_searched: int
    constraints: tuple[Constraint, ...] = ()
    limits: tuple[Limit, ...] = ()

    @staticmethod
    def of(problem: Problem, config: RunConfig) -> Judges:
        """Find what the configuration names among what the problem and the plug-ins offer.

        Raises:
            ConfigError: A name leads nowhere, or is given twice.
            StoreError: A name cannot be a column of the run file.
        """
        offered = {o.name: o for o in problem.objectives}
        defaults = getattr(problem, "default_objectives", None) or list(offered)
        refs = config.objectives or tuple(Ref(name) for name in defaults)
        searched = [find_objective(problem, offered, ref) for ref in refs]
        if not searched:
            raise ConfigError("the problem offers no objectives, and none was named")
        metrics = [find_objective(problem, offered, ref) for ref in config.metrics]
        limits = tuple(parse_limit(text) for text in config.constraints)
        known = {o.name for o in searched + metrics}
        for name in dict.fromkeys(limit.name for limit in limits):
            if name not in known:  # a limit needs its values, so they are recorded as well
                metrics.append(find_objective(problem, offered, Ref(name)))
        every = (*searched, *metrics)
        names = [o.name for o in every]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ConfigError(f"objective {twice[0]!r} is named twice")
        check_columns(names)
        return Judges(every, len(searched), tuple(problem.constraints), limits)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of the run file."""
        return tuple(
            Column(o.name, o.goal, o.unit, o.resolution, j < self.n_searched)
            for j, o in enumerate(self.objectives)
        )

    @property
    def n_constraints(self) -> int:
        """How many violations each candidate has, c."""
        return len(self.constraints) + len(self.limits)

    def __call__(self, batch: Batch) -> tuple[Array, Array]:
        """Values (n, columns) in raw units, and violations (n, c), 0 when feasible.

        Raises:
            ObjectiveError: An objective or constraint raised, or returned something unusable.
        """
        values = np.stack([o(batch) for o in self.objectives], axis=1)
        return values, self.violations(batch, values)

    @property
    def any_free(self) -> bool:
        """Whether some objective or constraint is free."""
        return any(x.free for x in (*self.objectives, *self.constraints))

    def free(self, batch: Batch) -> tuple[Array, Array]:
        """As when called, but NaN where the batch has to be judged to tell.

        Raises:
            ObjectiveError: An objective or constraint raised, or returned something unusable.
        """
        nothing = np.full(len(batch), np.nan)
        values = np.stack([o(batch) if o.free else nothing for o in self.objectives], axis=1)
        own = [c(batch) if c.free else nothing for c in self.constraints]
        return values, self._limited(own, values)

    def violations(self, batch: Batch, values: Array) -> Array:
        """Violations (n, c) of a batch with known values (n, columns).

        Raises:
            ObjectiveError: A constraint raised, or returned something unusable.
        """
        return self._limited([c(batch) for c in self.constraints], values)

    def _limited(self, own: list[Array], values: Array) -> Array:
        """Violations of the problem's own constraints, then of limits on values, (n, c)."""
        place = {o.name: j for j, o in enumerate(self.objectives)}
        asked = [
            _excess(values[:, place[x.name]], x, self.objectives[place[x.name]].resolution)
            for x in self.limits
        ]
        return np.array([*own, *asked]).reshape(-1, len(values)).T.copy()

    def fitness(self, values: Array) -> Array:
        """Searched values with signs flipped so that less is better, shape (n, m)."""
        signs = [1.0 if o.goal == "min" else -1.0 for o in self.objectives[: self.n_searched]]
        return values[:, : self.n_searched] * np.array(signs)

    def scales(self, violations: Array) -> Array:
        """What each violation is divided by before summing, shape (c,).

        The size of the limit; where that is 0, the largest finite violation given; else 1.

        Args:
            violations: Those of the first generation, shape (n, c).
        """
        limits = [c.limit for c in self.constraints] + [x.value for x in self.limits]
        finite = np.where(np.isfinite(violations), violations, 0.0)
        largest = finite.max(axis=0, initial=0.0)
        size = np.where(np.array(limits, dtype=np.float64) != 0, np.abs(limits), largest)
        return np.where(np.isfinite(size) & (size > 0), size, 1.0)


def find_objective(problem: Problem, offered: dict[str, Objective], ref: Ref) -> Objective:
    """An offered objective, a registered one, or ``module:attr``; settings are passed on.

    Raises:
        ConfigError: The name leads nowhere, or takes no settings.
        RegistryError: A reference leads nowhere, or to something that is no objective.
    """
    if ref.id in offered:
        return _configured(problem, offered[ref.id], ref)
    if ":" not in ref.id:
        try:
            resolve("objective", ref.id)
        except RegistryError as error:
            raise ConfigError(
                f"the problem offers no objective called {ref.id!r}{did_you_mean(ref.id, offered)}",
                hint=f"offered: {', '.join(offered)}; module:attr names your own",
            ) from error
    found: Any = build("objective", ref)
    if not isinstance(found, Objective):
        raise RegistryError(
            f"{ref.id!r} is no objective but {type(found).__name__}",
            hint="decorate the function with @evo.objective(name, goal=...)",
        )
    return found


def _configured(problem: Problem, plain: Objective, ref: Ref) -> Objective:
    if not ref.settings:
        return plain
    configure: Callable[..., Objective] | None = getattr(problem, "configure", None)
    if configure is None:
        raise ConfigError(f"objective {ref.id!r} takes no settings, got {', '.join(ref.settings)}")
    try:
        return configure(ref.id, **ref.settings)
    except TypeError as error:
        raise ConfigError(f"objective {ref.id!r} does not take these settings: {error}") from error


def _excess(values: Array, limit: Limit, resolution: float) -> Array:
    """How far values lie beyond a limit, shape (n,); equality misses a strict limit by one step."""
    beyond = values - limit.value if limit.sign[0] == "<" else limit.value - values
    if "=" in limit.sign:
        return np.maximum(beyond, 0.0)
    return np.where(beyond < 0, 0.0, np.maximum(beyond, resolution))
