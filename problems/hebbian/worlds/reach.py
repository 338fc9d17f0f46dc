"""A point that is to reach a place in the plane: a toy of which everything is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evo.problem import Array

from ..threads import Threads
from . import parse_body, refuse_friction

SPEED = 0.05
"""Distance of a step at full output."""


class Reach:
    """Outputs are a velocity; the reward is how much nearer the target came, at most 1 in a life.

    The target lies at distance 1 in a direction drawn per life; the way to it is all that is
    observed. Bodies: ``turn@`` degrees by which velocities are turned, and ``gain@`` a factor.

    Args:
        bodies: Names.
        steps: Of a whole life.
        friction: Must be 1; the point has none.
        threads: Of the networks; 0 for as many as this process may use.
    """

    inputs, outputs, hidden, parts = 2, 2, (6,), ("reward",)

    def __init__(
        self, bodies: Sequence[str], steps: int = 40, friction: float = 1.0, threads: int = 0
    ) -> None:
        refuse_friction("reach", friction)
        self.steps, self.threads = steps, Threads(threads)
        motors = []
        for body in bodies:
            kind, number = parse_body(body, {"turn": -360.0, "gain": 0.0})
            angle = np.deg2rad(number) if kind == "turn" else 0.0
            gain = number if kind == "gain" else 1.0
            sin, cos = np.sin(angle), np.cos(angle)
            motors.append(gain * SPEED * np.array([[cos, -sin], [sin, cos]]))
        self._motors = np.array(motors)
        self._own = self._motors[:0]
        self._way: Array = np.zeros((0, 2))

    def reset(self, seeds: Sequence[int], bodies: NDArray[np.intp]) -> Array:
        """See :class:`~problems.hebbian.worlds.World`."""
        angles = np.array([np.random.default_rng(s).uniform(-np.pi, np.pi) for s in seeds])
        self._way = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        self._own = self._motors[bodies]
        return self._way

    def step(self, actions: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
        """See :class:`~problems.hebbian.worlds.World`."""
        far = np.sqrt((self._way**2).sum(axis=1))
        self._way = self._way - np.matmul(self._own, actions[:, :, None])[:, :, 0]
        nearer = far - np.sqrt((self._way**2).sum(axis=1))
        return self._way, nearer[:, None], np.zeros(len(far), dtype=bool)

    def keep(self, rows: NDArray[Any]) -> None:
        """See :class:`~problems.hebbian.worlds.World`."""
        self._way, self._own = self._way[rows], self._own[rows]

    def close(self) -> None:
        """Nothing is held."""
