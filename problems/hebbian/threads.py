"""Threads that bodies and networks are moved by."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class Threads:
    """A few threads, started when they are first needed.

    Args:
        count: How many; 0 for as many as this process may use.
    """

    def __init__(self, count: int = 1) -> None:
        self.count = count or _cores()
        self._pool: ThreadPoolExecutor | None = None

    def each(self, act: Callable[..., T], *items: Iterable[Any]) -> list[T]:
        """As ``list(map(act, *items))``, side by side; what ``act`` raises is raised."""
        calls = list(zip(*items, strict=True))
        if self.count < 2 or len(calls) < 2:
            return [act(*given) for given in calls]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.count)
        return list(self._pool.map(lambda given: act(*given), calls))

    def close(self) -> None:
        """End the threads; may be called twice."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


def _cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
