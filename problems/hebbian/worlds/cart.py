"""A pole balanced on a cart (Barto, Sutton and Anderson 1983), as Gymnasium's CartPole-v1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evo.problem import Array

from ..threads import Threads
from . import parse_body, refuse_friction

GRAVITY, CART, SECONDS = 9.8, 1.0, 0.02
POLE, HALF_LENGTH, FORCE = 0.1, 0.5, 10.0
FARTHEST, STEEPEST = 2.4, 12 * 2 * np.pi / 360


class Cart:
    """Push left or right, whichever output is larger; 1 for every step the pole stays up.

    Bodies: ``length@``, ``mass@`` (of the pole) and ``force@`` with a factor.

    Args:
        bodies: Names.
        steps: Of a whole life.
        friction: Must be 1; the cart has none.
        threads: Of the networks; 0 for as many as this process may use.
    """

    inputs, outputs, hidden, parts = 4, 2, (10,), ("reward",)
    gymnasium: tuple[str, dict[str, object]] = ("CartPole-v1", {})

    def __init__(
        self, bodies: Sequence[str], steps: int = 500, friction: float = 1.0, threads: int = 0
    ) -> None:
        refuse_friction("cart", friction)
        self.steps, self.threads = steps, Threads(threads)
        table = np.ones((len(bodies), 3))  # factors of length, mass and force
        for row, body in zip(table, bodies, strict=True):
            kind, number = parse_body(body, {"length": 1e-3, "mass": 1e-3, "force": 1e-3})
            if number:
                row[("length", "mass", "force").index(kind)] = number
        self._table = table * [HALF_LENGTH, POLE, FORCE]
        self._own = self._table[:0]  # per lane
        self._state: Array = np.zeros((0, 4))

    def reset(self, seeds: Sequence[int], bodies: NDArray[np.intp]) -> Array:
        """See :class:`~problems.hebbian.worlds.World`."""
        drawn = {s: np.random.default_rng(s).uniform(-0.05, 0.05, 4) for s in dict.fromkeys(seeds)}
        self._state = np.array([drawn[s] for s in seeds]).reshape(-1, 4)
        self._own = self._table[bodies]
        return self._seen()

    def step(self, actions: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
        """See :class:`~problems.hebbian.worlds.World`."""
        length, pole, strength = self._own.T
        x, speed, angle, turn = self._state.T
        force = np.where(actions[:, 1] > actions[:, 0], strength, -strength)
        total = CART + pole
        sin, cos = np.sin(angle), np.cos(angle)
        push = (force + pole * length * turn**2 * sin) / total
        spin = (GRAVITY * sin - cos * push) / (length * (4 / 3 - pole * cos**2 / total))
        pull = push - pole * length * spin * cos / total
        self._state = np.stack(
            [x + SECONDS * speed, speed + SECONDS * pull, angle + SECONDS * turn,
             turn + SECONDS * spin], axis=1,
        )  # fmt: skip
        fallen = (np.abs(self._state[:, 0]) > FARTHEST) | (np.abs(self._state[:, 2]) > STEEPEST)
        return self._seen(), np.ones((len(force), 1)), fallen

    def _seen(self) -> Array:
        """The state in single precision, which is what Gymnasium shows of it."""
        return self._state.astype(np.float32).astype(np.float64)

    def keep(self, rows: NDArray[Any]) -> None:
        """See :class:`~problems.hebbian.worlds.World`."""
        self._state, self._own = self._state[rows], self._own[rows]

    def close(self) -> None:
        """Nothing is held."""
