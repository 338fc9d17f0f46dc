"""Worlds in which many lives go on side by side: one interface, and how to get one.

A body is a variant of the simulated machine, ``intact`` or ``kind@number`` such as ``leg@0``. Every
lane of a world has a body and a seed; what happens in a lane depends on those and on its actions
alone, never on the other lanes.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from evo.errors import ConfigError
from evo.problem import Array
from evo.suggest import did_you_mean

from ..threads import Threads

INTACT = "intact"

TASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "cart": ("cart:Cart", {}),
    "reach": ("reach:Reach", {}),
    **{
        name: ("bodies:Bodies", {"name": name})
        for name in ("ant", "ant-fast", "cheetah", "hopper", "swimmer", "walker")
    },
}
"""Task → ``module:class`` below this package, and fixed settings."""


class World(Protocol):
    """Many lives side by side.

    Attributes:
        inputs: Length of an observation.
        outputs: Length of an action.
        steps: Control steps of a whole life.
        parts: Names of what a life is rewarded with; the first is searched by default.
        hidden: Layers between inputs and outputs that suit the task.
        threads: That move bodies and networks.
    """

    threads: Threads
    inputs: int
    outputs: int
    steps: int
    parts: tuple[str, ...]
    hidden: tuple[int, ...]

    def reset(self, seeds: Sequence[int], bodies: NDArray[np.intp]) -> Array:
        """Begin as many lives as there are seeds.

        Args:
            seeds: Where a life begins, as Gymnasium's ``reset(seed=)``.
            bodies: Number of the body of each lane, in the order given to the world.

        Returns:
            Observations, (lanes, inputs).
        """
        ...

    def step(self, actions: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Observations (lanes, inputs), rewards (lanes, parts), and which lives have ended.

        Args:
            actions: Outputs of the networks, (lanes, outputs), in [-1, 1].
        """
        ...

    def keep(self, rows: NDArray[Any]) -> None:
        """Go on with these lanes only."""
        ...

    def close(self) -> None:
        """Release what is held; may be called twice."""
        ...


def make(task: str, bodies: Sequence[str], **settings: Any) -> World:
    """A world with these bodies, the first of them ``intact``.

    Raises:
        ConfigError: There is no such task, body or setting, or its simulator is not installed.
    """
    if task not in TASKS:
        raise ConfigError(
            f"there is no task called {task!r}{did_you_mean(task, TASKS)}",
            hint=f"tasks: {', '.join(TASKS)}",
        )
    target, fixed = TASKS[task]
    module, name = target.split(":")
    return getattr(import_module(f".{module}", __name__), name)(bodies, **fixed, **settings)


def parse_body(body: str, kinds: dict[str, float]) -> tuple[str, float]:
    """Kind and number of a body, ``intact`` with 0.

    Args:
        body: Such as ``length@2``.
        kinds: Known kinds, with the least number of each.

    Raises:
        ConfigError: The kind is unknown, or the number is none or too small.
    """
    kind, at, text = body.partition("@")
    if body == INTACT:
        return INTACT, 0.0
    known = ", ".join(f"{k}@NUMBER" for k in kinds)
    if kind not in kinds or not at:
        raise ConfigError(f"there is no body {body!r} here; there are {INTACT}, {known}")
    try:
        number = float(text)
    except ValueError:
        number = np.nan
    if not (np.isfinite(number) and number >= kinds[kind]):
        raise ConfigError(
            f"body {body!r} needs a number of at least {kinds[kind]:g} after the @, got {text!r}"
        )
    return kind, number


def refuse_friction(task: str, friction: float) -> None:
    """Raise ConfigError where a task without friction is asked for other friction."""
    if friction != 1.0:
        raise ConfigError(f"task {task!r} knows no friction; leave problem.friction at 1")
