"""Gymnasium's MuJoCo bodies (version 5), many at once: one ``MjData`` per lane, stepped by threads.

Models, observations, rewards and ends are those of ``gymnasium.envs.mujoco``; the Ant without
contact forces among its observations. Stepping every body with its own data, not by
``mujoco.rollout``, keeps the solver's warm starts and with them Gymnasium's course to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evo.problem import Array

from ..threads import Threads
from .models import TASKS, built, model_file, simulator, unheard


class Bodies:
    """Walk as far as possible; rewarded with ``distance`` in metres and Gymnasium's ``reward``.

    Bodies: ``leg@K`` (all motors of leg K dead), ``joint@K`` (one motor dead), ``short@K`` (the
    last segment of leg K at a quarter of its length), ``friction@F`` (a factor).

    Args:
        bodies: Names.
        name: Key of :data:`~.models.TASKS`.
        steps: Of a whole life.
        friction: Factor of the friction of all bodies.
        threads: That step; 0 for as many as this process may use.

    Raises:
        ConfigError: A simulator is missing, or a body has no such leg or joint.
    """

    parts = ("distance", "reward")

    def __init__(
        self, bodies: Sequence[str], name: str, steps: int = 1000, friction: float = 1.0,
        threads: int = 0,
    ) -> None:  # fmt: skip
        self._mujoco = simulator(name)
        self.task, self.steps = TASKS[name], steps
        file = model_file(name)
        self.source = file.read_bytes()
        with unheard(self._mujoco):
            self._models = [built(self._mujoco, self.task, file, body, friction) for body in bodies]
        model = self._models[0]
        self.inputs, self.outputs = model.nq + model.nv - self.task.skipped, model.nu
        self.hidden = (128, 64) if self.task.contact else (32,)
        self.gymnasium = (None if self.task.quick else self.task.id, dict(self.task.settings))
        self._seconds = model.opt.timestep * self.task.frames
        self.threads = Threads(threads)
        self._spare: list[list[Any]] = [[] for _ in bodies]
        self._lanes: list[tuple[int, Any]] = []  # body and data
        self._at: Array = np.zeros(0)  # last x

    @property
    def bytes_per_lane(self) -> int:
        """What a lane's data takes."""
        data = self._mujoco.MjData(self._models[0])
        return int(data.nbuffer + data.narena // 8) if hasattr(data, "nbuffer") else 2**20

    def reset(self, seeds: Sequence[int], bodies: NDArray[np.intp]) -> Array:
        """See :class:`~problems.hebbian.worlds.World`."""
        self._release(range(len(self._lanes)))
        self._lanes = [(int(b), self._taken(int(b))) for b in bodies]
        model = self._models[0]
        begun = {seed: self._beginning(seed) for seed in dict.fromkeys(seeds)}

        def begin(lane: int) -> None:
            body, data = self._lanes[lane]
            self._mujoco.mj_resetData(self._models[body], data)
            data.qpos[:], data.qvel[:] = begun[seeds[lane]]
            self._mujoco.mj_forward(self._models[body], data)

        self._each(begin)
        state = np.empty((len(seeds), model.nq + model.nv))
        self._at = np.empty(len(seeds))
        for lane, (_, data) in enumerate(self._lanes):
            self._read(lane, data, state, self._at)
        return self._observed(state)

    def step(self, actions: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
        """See :class:`~problems.hebbian.worlds.World`."""
        task, model = self.task, self._models[0]
        state = np.empty((len(actions), model.nq + model.nv))
        at, forces = np.empty(len(actions)), np.zeros(len(actions))
        act, after = self._mujoco.mj_step, self._mujoco.mj_rnePostConstraint

        def move(lane: int) -> None:
            body, data = self._lanes[lane]
            data.ctrl[:] = actions[lane]
            act(self._models[body], data, nstep=task.frames)
            if task.contact:
                after(self._models[body], data)
                forces[lane] = np.square(np.clip(data.cfrc_ext, -1.0, 1.0)).sum()
            self._read(lane, data, state, at)

        self._each(move)
        way = at - self._at
        self._at = at
        healthy = self._healthy(state)
        reward = way / self._seconds + task.alive * healthy
        reward -= task.control * np.square(actions).sum(axis=1) + task.contact * forces
        ended = ~healthy if task.height is not None else np.zeros(len(actions), dtype=bool)
        return self._observed(state), np.stack([way, reward], axis=1), ended

    def keep(self, rows: NDArray[Any]) -> None:
        """See :class:`~problems.hebbian.worlds.World`."""
        kept = np.arange(len(self._lanes))[rows]
        self._release(sorted(set(range(len(self._lanes))) - set(kept.tolist())))
        self._lanes = [self._lanes[lane] for lane in kept]
        self._at = self._at[kept]

    def close(self) -> None:
        """End the threads; may be called twice."""
        self.threads.close()

    def data(self, lane: int) -> tuple[Any, Any]:
        """MuJoCo's model and data of a lane, to be looked at."""
        body, data = self._lanes[lane]
        return self._models[body], data

    def _read(self, lane: int, data: Any, state: Array, at: Array) -> None:
        nq = self._models[0].nq
        state[lane, :nq], state[lane, nq:] = data.qpos, data.qvel
        # Gymnasium measures the Ant's way by the torso's frame, which is one physics step behind.
        at[lane] = data.xpos[1, 0] if self.task.contact else data.qpos[0]

    def _observed(self, state: Array) -> Array:
        nq, task = self._models[0].nq, self.task
        speeds = np.clip(state[:, nq:], -task.clipped, task.clipped)
        return np.concatenate([state[:, task.skipped : nq], speeds], axis=1)

    def _healthy(self, state: Array) -> NDArray[np.bool_]:
        task = self.task
        if task.height is None:
            return np.ones(len(state), dtype=bool)
        low, high = task.heights
        height = state[:, task.height]
        if task.contact:
            return np.isfinite(state).all(axis=1) & (low <= height) & (height <= high)
        tilt = np.abs(state[:, task.height + 1]) < task.tilt
        others = (np.abs(state[:, 2:]) < task.reach).all(axis=1)
        return (low < height) & (height < high) & tilt & others

    def _beginning(self, seed: int) -> tuple[Array, Array]:
        """Positions and velocities that Gymnasium draws from a seed."""
        model, size = self._models[0], self.task.noise
        rng = np.random.default_rng(seed)
        positions = model.qpos0 + rng.uniform(-size, size, model.nq)
        if self.task.normal:
            return positions, size * rng.standard_normal(model.nv)
        return positions, rng.uniform(-size, size, model.nv)

    def _each(self, act: Callable[[int], None]) -> None:
        """Do something to every lane, a slice of them per thread; what it raises is raised."""
        count = len(self._lanes)
        cuts = np.linspace(0, count, min(self.threads.count, count) + 1).astype(int).tolist()
        self.threads.each(partial(_run, act), (range(a, b) for a, b in pairwise(cuts)))

    def _taken(self, body: int) -> Any:
        spare = self._spare[body]
        return spare.pop() if spare else self._mujoco.MjData(self._models[body])

    def _release(self, lanes: Sequence[int] | range) -> None:
        for lane in lanes:
            body, data = self._lanes[lane]
            self._spare[body].append(data)


def _run(act: Callable[[int], None], lanes: range) -> None:
    for lane in lanes:
        act(lane)
