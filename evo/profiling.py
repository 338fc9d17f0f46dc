"""Where the time of a run went, and how near its work came to what the machine can do."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .errors import DeviceError
from .view import LOW, SEARCH, RunView

SIDE = 2048  # of the square matrices that are multiplied
COPIED = 1 << 28  # bytes
ROUNDS = 5
DTYPES = ("float32", "bfloat16", "float16")  # of matrices
_SECONDS, _ALGORITHM = "seconds.", "algorithm."


@dataclass(frozen=True, slots=True)
class Spent:
    """What one phase of a run took.

    Args:
        origin: ``search``, ``low fidelity``, ``baseline:…``, ``validation`` or ``confirm``.
        total: Seconds.
        parts: Seconds by part, in any order; what belongs to no part is ``rest``.
        counts: Work by name, as the problem counts it.
    """

    origin: str
    total: float
    parts: dict[str, float]
    counts: dict[str, float]

    @property
    def busy(self) -> float:
        """Seconds in which candidates' own products ran."""
        return self.parts.get("blocks", 0.0) + self.parts.get("heads", 0.0)

    @property
    def products(self) -> float | None:
        """Floating-point operations per second while busy; a multiply-accumulate is two."""
        macs = self.counts.get("macs", 0.0)
        return 2 * macs / self.busy if macs and self.busy else None

    @property
    def moved(self) -> float | None:
        """Bytes per second while busy, counting the least that had to be moved."""
        return self.counts["bytes"] / self.busy if self.counts.get("bytes") and self.busy else None

    @property
    def spared(self) -> float | None:
        """How many times more block evaluations one candidate at a time would have run."""
        run = self.counts.get("blocks", 0.0)
        avoided = self.counts.get("shared", 0.0) + self.counts.get("recalled", 0.0)
        return (run + avoided) / run if run else None


@dataclass(frozen=True, slots=True)
class Peak:
    """What a machine does at best.

    Args:
        device: Where it was measured.
        dtype: Of the matrices.
        products: Floating-point operations per second of a large matrix product.
        copy: Bytes per second read and written by a large copy.
        threads: Of the processor that took part.
    """

    device: str
    dtype: str
    products: float
    copy: float
    threads: int


def spent(view: RunView) -> list[Spent]:
    """Every phase of a run that counted its work, the search first; empty for older run files."""
    found: dict[str, list[dict[str, float]]] = {}
    for (origin, _), counts in sorted(view.work.items()):
        found.setdefault(origin, []).append(dict(counts))
    order = [SEARCH, LOW, *view.baselines, "validation", "confirm"]
    rows = {SEARCH: view.generations, LOW: view.low, **view.baselines}
    return [
        _summed(origin, found[origin], sum(row.seconds for row in rows.get(origin, ())))
        for origin in order
        if origin in found
    ]


def _summed(origin: str, many: list[dict[str, float]], recorded: float) -> Spent:
    """One phase of its generations; ``recorded`` are seconds that the generations know of."""
    sums: dict[str, float] = {}
    for counts in many:
        for name, value in counts.items():
            if name.startswith(_ALGORITHM):
                continue
            sums[name] = sums.get(name, 0.0) + value
    seconds = {k.removeprefix(_SECONDS): v for k, v in sums.items() if k.startswith(_SECONDS)}
    tell = seconds.pop("tell", 0.0)  # comes after a generation was closed
    total = seconds.pop("total", recorded + tell)
    thinking = seconds.pop("ask", 0.0) + tell
    parts = ({"algorithm": thinking} if thinking else {}) | seconds
    parts["rest"] = max(0.0, total - sum(parts.values()))
    return Spent(
        origin, total, parts, {k: v for k, v in sums.items() if not k.startswith(_SECONDS)}
    )


def predictions(view: RunView) -> dict[str, list[float]]:
    """What the search said of its predictions, by name, generation by generation."""
    found: dict[str, list[float]] = {}
    for (origin, _), counts in sorted(view.work.items()):
        for name, value in counts.items():
            if origin == SEARCH and name.startswith(_ALGORITHM):
                found.setdefault(name.removeprefix(_ALGORITHM), []).append(value)
    return found


def measured_peak(device: str = "cpu", dtype: str = "float32") -> Peak:
    """Measure this machine: medians over a few rounds of a matrix product and of a copy.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:K``.
        dtype: Of the matrices, one of :data:`DTYPES`.

    Raises:
        DeviceError: torch is not installed, or has no such device.
    """
    try:
        import torch
    except ImportError as error:
        raise DeviceError("the machine's peak is measured with torch, which is missing") from error
    kind = getattr(torch, dtype)
    try:
        left = torch.randn(SIDE, SIDE, device=device).to(kind)
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(f"device {device!r} cannot be used: {error}") from error
    wait: Callable[[], Any] = torch.cuda.synchronize if "cuda" in device else lambda: None
    out = torch.empty_like(left)
    product = _median(lambda: torch.mm(left, left, out=out), wait)
    source = torch.zeros(COPIED // 4, device=device)
    target = torch.empty_like(source)
    copied = _median(lambda: target.copy_(source), wait)
    threads = torch.get_num_threads()
    return Peak(device, dtype, 2 * SIDE**3 / product, 2 * COPIED / copied, threads)


def _median(fn: Callable[[], Any], wait: Callable[[], Any]) -> float:
    """Seconds of a call after one that warms up."""
    times = []
    for _ in range(1 + ROUNDS):
        wait()
        start = time.perf_counter()
        fn()
        wait()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])
