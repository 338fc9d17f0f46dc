"""Evolution strategies on one objective: a distribution over genomes that moves and changes shape.

A strategy works on the genes side by side, each scaled to its range: -1 and 1 are the ends. What is
drawn beyond an end is folded back, and levels and switches are rounded, for the judgement alone:
the strategy learns from what it drew. The first warm start, or else the middle of all ranges, is
where it begins; switches begin a quarter of the way to the end they are at, so that some turn.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from scipy.stats import rankdata

from ..errors import ConfigError
from ..genomes import Genomes
from ..problem import Array
from ..streams import stream
from . import Population, Settings, read_extra
from .baselines import Kept
from .nursery import Nursery


class Distribution(Protocol):
    """What is drawn from, in scaled genes."""

    def draw(self, n: int) -> Array:
        """New points, (n, d)."""
        ...

    def learn(self, points: Array, cost: Array) -> None:
        """Move towards points of low cost, all of them drawn since the last call.

        Args:
            points: (k, d); the first ever begins with the mean.
            cost: (k,), finite; only its order counts.
        """
        ...


class Strategy:
    """A distribution behind the face of all algorithms.

    Args:
        nursery: Keeps genomes legal and new.
        name: For error messages.
        settings: Population size.
        n_objectives: Must be 1.
        least: Smallest population.

    Raises:
        ConfigError: Several objectives, a population too small, or genes without an order.
    """

    def __init__(
        self, nursery: Nursery, name: str, settings: Settings, n_objectives: int, least: int
    ) -> None:
        if n_objectives != 1:
            raise ConfigError(
                f"algorithm {name!r} searches one objective, got {n_objectives}",
                hint="name one with --objective, or take nsga2",
            )
        if settings.population < least:
            raise ConfigError(
                f"algorithm {name!r} needs a population of at least {least}, got "
                f"{settings.population}"
            )
        for part in nursery.space.parts:
            span = np.asarray(part.bounds.high, float) - np.asarray(part.bounds.low, float)
            if part.kind == "subset" or (~part.bounds.ordered & (span > 1)).any():
                raise ConfigError(
                    f"algorithm {name!r} needs ordered genes, and part {part.name!r} has others",
                    hint="take nsga2 or evopress",
                )
        self._nursery, self._size = nursery, settings.population
        bounds = [part.bounds for part in nursery.space.parts]
        low = np.concatenate([np.asarray(b.low, dtype=np.float64) for b in bounds])
        high = np.concatenate([np.asarray(b.high, dtype=np.float64) for b in bounds])
        self._middle, self._half = (low + high) / 2, np.maximum((high - low) / 2, 1e-300)
        self._kept = Kept(nursery, 1, settings.population)
        self._drawn: dict[bytes, Array] = {}
        self._begun = False
        self._worst = -np.inf
        self.distribution: Distribution

    @property
    def length(self) -> int:
        """Genes d."""
        return len(self._middle)

    @property
    def mean(self) -> Array:
        """Where the search begins, scaled, (d,)."""
        starts = self._nursery.starts
        if starts is None or not len(starts):
            return np.zeros(self.length)
        space = self._nursery.space
        scaled = (space.flat(self._first(starts))[0] - self._middle) / self._half
        switches = np.concatenate([np.full(p.shape, p.kind == "mask") for p in space.parts])
        return np.where(switches, scaled / 4, scaled)

    @property
    def population(self) -> Population:
        """The best candidates so far."""
        return self._kept.population

    def ask(self) -> Genomes:
        """The first warm start once, and what the distribution gives."""
        self._drawn.clear()
        first = self._nursery.nothing()
        if not self._begun and self._nursery.starts is not None:
            first = self._nursery.fresh(self._first(self._nursery.starts))
            self._drawn.update(zip(first.keys(), [self.mean], strict=False))
        self._begun = True
        drawn = self._nursery.offspring(
            self._size - len(first), lambda missing: self._legal(self.distribution.draw(missing))
        )
        return Genomes.concat(first, drawn)

    def tell(self, genomes: Genomes, fitness: Array, violation: Array) -> None:
        """Learn from what the distribution gave; others that filled a population are only kept."""
        self._kept.add(genomes, fitness, violation)
        feasible = violation <= 0
        if feasible.any():
            self._worst = max(self._worst, float(fitness[feasible].max()))
        worst = self._worst if np.isfinite(self._worst) else 0.0
        cost = np.where(feasible, fitness[:, 0], worst + violation)
        keys = genomes.keys()
        mine = [i for i, key in enumerate(keys) if key in self._drawn]
        if mine:
            self.distribution.learn(np.array([self._drawn[keys[i]] for i in mine]), cost[mine])

    def _first(self, starts: Genomes) -> Genomes:
        return self._nursery.space.repair(starts.take(slice(0, 1)))

    def _legal(self, points: Array) -> Genomes:
        """Genomes for points, which are remembered."""
        turned = points + 3.0
        beyond = (turned < 0.0) | (turned >= 4.0)
        turned[beyond] %= 4.0
        folded = np.abs(turned - 2.0) - 1.0
        space = self._nursery.space
        matrix = self._middle + self._half * folded
        cuts = np.cumsum([part.shape[0] for part in space.parts])[:-1]
        parts = zip(space.parts, np.split(matrix, cuts, axis=1), strict=True)
        genomes = space.repair(Genomes({part.name: values for part, values in parts}))
        self._drawn.update(zip(genomes.keys(), points, strict=True))
        return genomes


def openai_es(
    nursery: Nursery, *, n_objectives: int, constrained: bool, settings: Settings
) -> Strategy:
    """The evolution strategy of Salimans et al. (2017, arXiv 1703.03864), pairs around the mean.

    Settings of its own, in units of half a gene's range: ``sigma`` and ``rate``, multiplied by
    ``sigma_decay`` and ``rate_decay`` after each generation, down to ``least_sigma`` and
    ``least_rate``. With genes in ±3 the published settings of evolved plasticity (0.1 and 0.2 in
    the genes' own units) are 0.0333 and 0.0222.
    """
    defaults = {
        "sigma": 0.0333, "rate": 0.0222, "sigma_decay": 0.999, "rate_decay": 0.995,
        "least_sigma": 0.00333, "least_rate": 0.000111,
    }  # fmt: skip
    extra = _positive("openai-es", read_extra(settings, "openai-es", defaults))
    strategy = Strategy(nursery, "openai-es", settings, n_objectives, 2)
    strategy.distribution = Isotropic(strategy.mean, stream(settings.seed, "openai-es"), **extra)
    return strategy


class Isotropic:
    """A round normal distribution of a size that follows a schedule; gradient steps of the mean."""

    def __init__(
        self, mean: Array, rng: np.random.Generator, sigma: float, rate: float,
        sigma_decay: float, rate_decay: float, least_sigma: float, least_rate: float,
    ) -> None:  # fmt: skip
        self.mean, self._rng = mean, rng
        self._sigma, self._rate = sigma, rate
        self._decays = sigma_decay, rate_decay
        self._least = least_sigma, least_rate

    def draw(self, n: int) -> Array:
        """Points and their mirror images, one of them alone where n is odd."""
        half = self._rng.standard_normal(((n + 1) // 2, len(self.mean)))
        return (
            self.mean + self._sigma * np.stack([half, -half], axis=1).reshape(-1, half.shape[1])[:n]
        )

    def learn(self, points: Array, cost: Array) -> None:
        """A step along the estimated gradient of the standardised ranks."""
        ranks = -rankdata(cost)  # equal costs share their rank
        deviation = ranks.std()
        if deviation > 0:
            shaped = (ranks - ranks.mean()) / deviation
            noise = (points - self.mean) / self._sigma
            self.mean = self.mean + self._rate / (len(points) * self._sigma) * (shaped @ noise)
        self._sigma = max(self._sigma * self._decays[0], self._least[0])
        self._rate = max(self._rate * self._decays[1], self._least[1])


def snes(nursery: Nursery, *, n_objectives: int, constrained: bool, settings: Settings) -> Strategy:
    """Separable natural evolution strategy (Schaul, Glasmachers and Schmidhuber 2011).

    Setting of its own: ``sigma``, first deviation in units of half a gene's range.
    """
    extra = _positive("snes", read_extra(settings, "snes", {"sigma": 0.1}))
    strategy = Strategy(nursery, "snes", settings, n_objectives, 4)
    strategy.distribution = Separable(strategy.mean, stream(settings.seed, "snes"), extra["sigma"])
    return strategy


class Separable:
    """A normal distribution with a deviation per gene, changed along the natural gradient."""

    def __init__(self, mean: Array, rng: np.random.Generator, sigma: float) -> None:
        self.mean, self._rng = mean, rng
        self._sigma = np.full(len(mean), sigma)
        self._rate = (3 + np.log(len(mean))) / (5 * np.sqrt(len(mean)))

    def draw(self, n: int) -> Array:
        """Points, (n, d)."""
        return self.mean + self._sigma * self._rng.standard_normal((n, len(self.mean)))

    def learn(self, points: Array, cost: Array) -> None:
        """A step of mean and deviations; utilities of ranks as in the paper."""
        n = len(points)
        utility = np.maximum(0.0, np.log(n / 2 + 1) - np.log(rankdata(cost)))
        utility = utility / max(utility.sum(), 1e-300) - 1 / n
        noise = (points - self.mean) / self._sigma
        self.mean = self.mean + self._sigma * (utility @ noise)
        growth = self._rate / 2 * (utility @ (noise**2 - 1))
        self._sigma = np.clip(self._sigma * np.exp(growth), 1e-12, 1e6)


def _positive(name: str, extra: dict[str, Any]) -> dict[str, Any]:
    for key, value in extra.items():
        if not (np.isfinite(value) and value > 0):
            raise ConfigError(f"setting {key!r} of algorithm {name!r} must be above 0, got {value}")
    return extra
