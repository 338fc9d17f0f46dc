"""Gymnasium's MuJoCo machines: what their tasks are, and models of them, whole or damaged."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from evo.errors import ConfigError

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


def built(mujoco: Any, task: Task, file: Path, body: str, friction: float) -> Any:
    """MuJoCo's model of a body.

    Raises:
        ConfigError: There is no such body.
    """
    kind, number = parse_body(body, KINDS)
    model = mujoco.MjModel.from_xml_path(str(file))
    legs = _legs(model)
    if kind in ("leg", "short", "joint"):
        count = model.nu if kind == "joint" else len(legs)
        if number != int(number) or number >= count:
            raise ConfigError(
                f"body {body!r} does not exist: {task.id} has {count} "
                f"{'joints' if kind == 'joint' else 'legs'}, counted from 0"
            )
    which = int(number)
    if kind == "short":
        model = _shortened(mujoco, file, legs[which][0])
    if kind == "leg":
        joints = [j for j in range(model.njnt) if model.jnt_bodyid[j] in legs[which]]
        model.actuator_gear[np.isin(model.actuator_trnid[:, 0], joints)] = 0.0
    if kind == "joint":
        model.actuator_gear[which] = 0.0
    if task.quick:
        model.opt.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    model.geom_friction[:] *= friction * (number if kind == "friction" else 1.0)
    return model


@contextlib.contextmanager
def unheard(mujoco: Any) -> Iterator[None]:
    """Without what MuJoCo says of old attributes in Gymnasium's models, here and in a log file."""
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda _: None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        mujoco.set_mju_user_warning(before)


def simulator(task: str) -> Any:
    """MuJoCo.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        return importlib.import_module("mujoco")
    except ModuleNotFoundError as error:
        raise _missing(task, "mujoco") from error


def model_file(task: str) -> Path:
    """Gymnasium's model; Gymnasium itself is not imported.

    Raises:
        ConfigError: It is not installed.
    """
    spec = importlib.util.find_spec("gymnasium")
    if spec is None or spec.origin is None:
        raise _missing(task, "gymnasium")
    return Path(spec.origin).parent / "envs" / "mujoco" / "assets" / TASKS[task].file


def _shortened(mujoco: Any, file: Path, body: int) -> Any:
    """The model with the geometry of one body at :data:`SHORTER` of its length.

    A model that states its total mass, as the cheetah's, keeps it.
    """
    spec = mujoco.MjSpec.from_file(str(file))
    spec.compile()  # numbers the bodies, not all of which have names
    for geom in next(one for one in spec.bodies if one.id == body).geoms:
        ends = np.array(geom.fromto)
        if np.isfinite(ends).all():
            geom.fromto = np.concatenate([ends[:3], ends[:3] + SHORTER * (ends[3:] - ends[:3])])
        else:
            geom.size = np.array(geom.size) * [1.0, SHORTER, 1.0]
            geom.pos = np.array(geom.pos) * SHORTER
    return spec.compile()


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


def _missing(task: str, package: str) -> ConfigError:
    return ConfigError(
        f"task {task!r} needs the package {package!r}, which is not installed",
        hint="pip install 'evoprune[hebbian]', or take hebbian/cart, which needs nothing",
    )
