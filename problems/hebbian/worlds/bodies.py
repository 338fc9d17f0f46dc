"""Gymnasium's MuJoCo bodies (version 5), many at once: one ``MjData`` per lane, stepped by threads.

Models, observations, rewards and ends are those of ``gymnasium.envs.mujoco``; the Ant without
contact forces among its observations. Stepping every body with its own data, not by
``mujoco.rollout``, keeps the solver's warm starts and with them Gymnasium's course to the last bit.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evo.errors import ConfigError
from evo.problem import Array

from . import parse_body

KINDS = {"leg": 0.0, "joint": 0.0, "short": 0.0, "friction": 0.0}
SHORTER = 0.25
"""What is left of the last segment of a short leg (Najarro and Risi: 0.1 of 0.4)."""


@dataclass(frozen=True, slots=True)
class Task:
    """One of Gymnasium's bodies.

    Args:
        id: Of Gymnasium.
        file: Of the model.
        frames: Physics steps in a control step.
        skipped: Positions that are not observed.
        control: Weight of the squared actions.
        noise: Of positions and velocities at the beginning.
        normal: Whether that of velocities is normal rather than uniform.
        alive: Reward of a healthy step.
        height: Which position must lie within ``heights``; None where nothing ends a life.
        heights: Exclusive for walkers, inclusive for the Ant.
        tilt: Largest angle, of the position after the height.
        reach: Largest absolute value of all other positions and velocities.
        contact: Weight of the squared contact forces.
        clipped: Largest velocity that is observed.
        settings: Of ``gymnasium.make`` for the same observations.
        quick: Whether ``implicitfast`` integrates instead: cheaper, and not Gymnasium's task.
    """

    id: str
    file: str
    frames: int
    skipped: int
    control: float
    noise: float
    normal: bool = False
    alive: float = 0.0
    height: int | None = None
    heights: tuple[float, float] = (-np.inf, np.inf)
    tilt: float = np.inf
    reach: float = np.inf
    contact: float = 0.0
    clipped: float = np.inf
    settings: tuple[tuple[str, Any], ...] = ()
    quick: bool = False


TASKS = {
    "ant": Task(
        "Ant-v5", "ant.xml", 5, 2, 0.5, 0.1, True, 1.0, 2, (0.2, 1.0), contact=5e-4,
        settings=(("include_cfrc_ext_in_observation", False),),
    ),
    "cheetah": Task("HalfCheetah-v5", "half_cheetah.xml", 5, 1, 0.1, 0.1, True),
    "hopper": Task(
        "Hopper-v5", "hopper.xml", 4, 1, 1e-3, 5e-3, False, 1.0, 1, (0.7, np.inf), 0.2, 100.0,
        clipped=10.0,
    ),
    "swimmer": Task("Swimmer-v5", "swimmer.xml", 4, 2, 1e-4, 0.1),
    "walker": Task(
        "Walker2d-v5", "walker2d_v5.xml", 4, 1, 1e-3, 5e-3, False, 1.0, 1, (0.8, 2.0), 1.0,
        clipped=10.0,
    ),
}  # fmt: skip
TASKS["ant-fast"] = replace(TASKS["ant"], quick=True)


class Bodies:
    """Walk as far as possible; rewarded with ``distance`` in metres and Gymnasium's ``reward``.

    Bodies: ``leg@K`` (all motors of leg K dead), ``joint@K`` (one motor dead), ``short@K`` (the
    last segment of leg K at a quarter of its length), ``friction@F`` (a factor).

    Args:
        bodies: Names.
        name: Key of :data:`TASKS`.
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
        self._mujoco = _mujoco(name)
        self.task, self.steps = TASKS[name], steps
        file = _assets(name) / self.task.file
        self.source = file.read_bytes()
        with _unheard(self._mujoco):
            self._models = [self._made(file, body, friction) for body in bodies]
        model = self._models[0]
        self.inputs, self.outputs = model.nq + model.nv - self.task.skipped, model.nu
        self.hidden = (128, 64) if self.task.contact else (32,)
        self.gymnasium = (None if self.task.quick else self.task.id, dict(self.task.settings))
        self._seconds = model.opt.timestep * self.task.frames
        self._threads = threads or _cores()
        self._pool: ThreadPoolExecutor | None = None
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
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

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
        if self._threads < 2 or count < 2:
            _run(act, range(count))
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads)
        cuts = np.linspace(0, count, min(self._threads, count) + 1).astype(int).tolist()
        slices = [range(a, b) for a, b in pairwise(cuts)]
        list(self._pool.map(partial(_run, act), slices))

    def _taken(self, body: int) -> Any:
        spare = self._spare[body]
        return spare.pop() if spare else self._mujoco.MjData(self._models[body])

    def _release(self, lanes: Sequence[int] | range) -> None:
        for lane in lanes:
            body, data = self._lanes[lane]
            self._spare[body].append(data)

    def _made(self, file: Path, body: str, friction: float) -> Any:
        kind, number = parse_body(body, KINDS)
        model = self._mujoco.MjModel.from_xml_path(str(file))
        legs = _legs(model)
        if kind in ("leg", "short", "joint"):
            count = model.nu if kind == "joint" else len(legs)
            if number != int(number) or number >= count:
                raise ConfigError(
                    f"body {body!r} does not exist: {self.task.id} has {count} "
                    f"{'joints' if kind == 'joint' else 'legs'}, counted from 0"
                )
        which = int(number)
        if kind == "short":
            model = self._shortened(file, legs[which][0])
        if kind == "leg":
            joints = [j for j in range(model.njnt) if model.jnt_bodyid[j] in legs[which]]
            model.actuator_gear[np.isin(model.actuator_trnid[:, 0], joints)] = 0.0
        if kind == "joint":
            model.actuator_gear[which] = 0.0
        if self.task.quick:
            model.opt.integrator = self._mujoco.mjtIntegrator.mjINT_IMPLICITFAST
        model.geom_friction[:] *= friction * (number if kind == "friction" else 1.0)
        return model

    def _shortened(self, file: Path, body: int) -> Any:
        """The model with the geometry of one body at :data:`SHORTER` of its length.

        A model that states its total mass, as the cheetah's, keeps it.
        """
        spec = self._mujoco.MjSpec.from_file(str(file))
        spec.compile()  # numbers the bodies, not all of which have names
        for geom in next(one for one in spec.bodies if one.id == body).geoms:
            ends = np.array(geom.fromto)
            if np.isfinite(ends).all():
                geom.fromto = np.concatenate([ends[:3], ends[:3] + SHORTER * (ends[3:] - ends[:3])])
            else:
                geom.size = np.array(geom.size) * [1.0, SHORTER, 1.0]
                geom.pos = np.array(geom.pos) * SHORTER
        return spec.compile()


def _cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _run(act: Callable[[int], None], lanes: range) -> None:
    for lane in lanes:
        act(lane)


def _legs(model: Any) -> list[list[int]]:
    """Bodies of each limb, from its end up to the torso, which is left out."""
    parents = model.body_parentid.tolist()
    ends = [b for b in range(1, model.nbody) if b not in parents[1:]]
    found = []
    for end in ends:
        chain = [end]
        while parents[chain[-1]] > 1:
            chain.append(parents[chain[-1]])
        found.append(chain)
    return found


@contextlib.contextmanager
def _unheard(mujoco: Any) -> Iterator[None]:
    """Without what MuJoCo says of old attributes in Gymnasium's models, here and in a log file."""
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda _: None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        mujoco.set_mju_user_warning(before)


def _mujoco(task: str) -> Any:
    try:
        return importlib.import_module("mujoco")
    except ModuleNotFoundError as error:
        raise _missing(task, "mujoco") from error


def _assets(task: str) -> Path:
    """Where Gymnasium keeps its models; Gymnasium itself is not imported."""
    spec = importlib.util.find_spec("gymnasium")
    if spec is None or spec.origin is None:
        raise _missing(task, "gymnasium")
    return Path(spec.origin).parent / "envs" / "mujoco" / "assets"


def _missing(task: str, package: str) -> ConfigError:
    return ConfigError(
        f"task {task!r} needs the package {package!r}, which is not installed",
        hint="pip install 'evoprune[hebbian]', or take hebbian/cart, which needs nothing",
    )
