"""Workers as actors of Ray, on this machine or on many (extra ``ray``)."""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import Any

from ..errors import WorkerError
from .worker import Answer, Job, Order, Worker

LOCAL = "local"  # a Ray of its own, that ends with the run


def require_ray(asked: str, instead: str) -> None:
    """Make sure that Ray is installed.

    Args:
        asked: What needs it.
        instead: What to do without it.

    Raises:
        WorkerError: It is not.
    """
    if importlib.util.find_spec("ray") is None:
        raise WorkerError(
            f"{asked} needs Ray, which is not installed",
            hint=f"pip install 'evoprune[ray]', or {instead}",
        )


def connect(ray: Any, address: str, count: int | None, local: str) -> None:
    """Find the cluster, or start one.

    Args:
        ray: The module.
        address: ``local``, or a cluster's as in ``ray.init``.
        count: Cores that a local one offers; None for all there are.
        local: How a user asks for a local one.

    Raises:
        WorkerError: There is no Ray at the address.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    own: dict[str, Any] = {"num_cpus": count} if address == LOCAL else {}
    try:
        ray.init(
            address=address, include_dashboard=False, log_to_driver=False,
            configure_logging=False, **own,
        )  # fmt: skip
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise WorkerError(
            f"there is no Ray at {address!r}: {error}", hint=f"{local} starts one on this machine"
        ) from error


class RayWorkers:
    """Actors, each with the problem.

    Args:
        order: What they are set up with.
        count: How many.
        device: Where they judge; on GPUs each actor is given one.
        address: ``local``, or a cluster's as in ``ray.init``.

    Raises:
        WorkerError: There is no Ray at the address.
    """

    def __init__(self, order: Order, count: int, device: str, address: str) -> None:
        ray: Any = importlib.import_module("ray")
        self.count, self._ray, self._order = count, ray, order
        self._own = not ray.is_initialized()
        if self._own:
            connect(ray, address, count, "evaluator.ray=local")
        gpus = 1 if device.startswith("cuda") else 0
        self._device = "cuda:0" if gpus else device
        options: dict[str, Any] = {"num_cpus": 1, "num_gpus": gpus, "max_restarts": 0}
        self._made: Any = ray.remote(**options)(Worker)
        self._actors: list[Any] = [None] * count
        self._asked: dict[Any, int] = {}

    def send(self, worker: int, job: Job) -> None:
        """Give an idle actor a chunk; it is made where there is none."""
        if self._actors[worker] is None:
            self._actors[worker] = self._made.remote(self._order, self._device)
        self._asked[self._actors[worker].__call__.remote(job)] = worker

    def receive(self) -> tuple[int, Answer | None]:
        """Wait for an actor that has answered or died."""
        (ready,), _ = self._ray.wait(list(self._asked), num_returns=1)
        worker = self._asked.pop(ready)
        try:
            return worker, self._ray.get(ready)
        except self._ray.exceptions.RayActorError:
            self._actors[worker] = None
            return worker, None

    def close(self) -> None:
        """Kill all actors, and Ray where it was started for them."""
        self._asked.clear()
        if self._own:
            self._ray.shutdown()
        else:
            for actor in self._actors:
                if actor is not None:
                    self._ray.kill(actor)
        self._actors = [None] * self.count
