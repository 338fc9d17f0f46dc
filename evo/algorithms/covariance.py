"""CMA-ES (Hansen and Ostermeier 2001) as pycma has it, whole or with a diagonal covariance."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ConfigError
from ..problem import Array
from ..streams import stream
from . import Settings, read_extra
from .nursery import Nursery
from .strategies import Strategy

MOST = 4000
"""Genes up to which a whole covariance is kept: its decompositions grow with the cube of this."""


def cma_es(
    nursery: Nursery, *, n_objectives: int, constrained: bool, settings: Settings
) -> Strategy:
    """CMA-ES with active updates.

    Setting of its own: ``sigma``, first deviation in units of half a gene's range.

    Raises:
        ConfigError: More than :data:`MOST` genes.
    """
    return _strategy("cma-es", nursery, n_objectives, settings, diagonal=False)


def sep_cma_es(
    nursery: Nursery, *, n_objectives: int, constrained: bool, settings: Settings
) -> Strategy:
    """CMA-ES that keeps a deviation per gene (Ros and Hansen 2008), for any number of genes."""
    return _strategy("sep-cma-es", nursery, n_objectives, settings, diagonal=True)


def _strategy(
    name: str, nursery: Nursery, n_objectives: int, settings: Settings, *, diagonal: bool
) -> Strategy:
    sigma = read_extra(settings, name, {"sigma": 0.2})["sigma"]
    if not (np.isfinite(sigma) and sigma > 0):
        raise ConfigError(f"setting 'sigma' of algorithm {name!r} must be above 0, got {sigma}")
    strategy = Strategy(nursery, name, settings, n_objectives, 4)
    if not diagonal and strategy.length > MOST:
        raise ConfigError(
            f"algorithm {name!r} keeps the covariance of all genes, at most {MOST} of them, got "
            f"{strategy.length}",
            hint="take sep-cma-es, snes or openai-es",
        )
    strategy.distribution = Pycma(
        strategy.mean, sigma, settings.population, stream(settings.seed, name), diagonal
    )
    return strategy


class Pycma:
    """pycma's distribution, kept from global generators, files and the terminal."""

    def __init__(
        self, mean: Array, sigma: float, population: int, rng: np.random.Generator, diagonal: bool
    ) -> None:
        import cma

        options: dict[str, Any] = {
            "popsize": population, "CMA_diagonal": diagonal, "CMA_mirrors": 0,
            "randn": lambda *shape: rng.standard_normal(shape), "seed": np.nan,
            "verbose": -9, "verb_log": 0, "verb_disp": 0, "signals_filename": "",
        }  # fmt: skip
        alone = len(mean) == 1  # pycma wants two genes; the other one does nothing
        self._extra, self._population = int(alone), population
        self._engine: Any = cma.CMAEvolutionStrategy(np.append(mean, [0.0] * alone), sigma, options)
        self._drawn: dict[bytes, Array] = {}

    def draw(self, n: int) -> Array:
        """Points, (n, d)."""
        whole = np.array(self._engine.ask(n))
        points = whole[:, : whole.shape[1] - self._extra]
        self._drawn.update((p.tobytes(), w) for p, w in zip(points, whole, strict=True))
        return points

    def learn(self, points: Array, cost: Array) -> None:
        """Tell whole populations only; near the end of small spaces others come up."""
        if len(points) == self._population:
            beyond = np.zeros(self._extra)
            told = [self._drawn.get(p.tobytes(), np.append(p, beyond)) for p in points]
            self._engine.tell(told, cost.tolist())
        self._drawn.clear()
