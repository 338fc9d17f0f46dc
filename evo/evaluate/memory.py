"""The largest chunk that fits: a first guess from free memory, halved whenever memory runs out."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..config import EvaluatorConfig
from ..errors import ConfigError, DeviceError
from ..problem import Problem

SHARE = 0.5
"""Share of the free memory that the first guess may fill."""

_TORCH_SAYS = (
    "DefaultCPUAllocator: can't allocate memory",
    "CUDA error: out of memory",
    "CUDA out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)

KEPT = 0.5
"""Share of the free memory that may be filled with what makes later generations faster."""

LARGEST = 4096
"""Chunk of a problem that says nothing about its memory."""


class Planner:
    """How many candidates are judged at once.

    Args:
        chunk: First size, at least 1.
        on_change: Called with the new size after each halving, before anything is retried.
    """

    def __init__(self, chunk: int, on_change: Callable[[int], None] | None = None) -> None:
        self.chunk = max(1, int(chunk))
        self._on_change = on_change

    def halve(self, tried: int) -> bool:
        """Use half of the size that failed from now on; False when it was a single candidate."""
        if tried <= 1:
            return False
        self.chunk = max(1, min(self.chunk, tried) // 2)
        if self._on_change:
            self._on_change(self.chunk)
        return True


def first_chunk(
    setting: int | str, bytes_per_candidate: int | None, device: str, processes: int = 1
) -> int:
    """The configured chunk, or for ``"auto"`` what half of the free memory holds; at least 1.

    Processes that judge at the same time share the memory.
    """
    if isinstance(setting, int):
        return setting
    free = free_bytes(device)
    if not bytes_per_candidate or bytes_per_candidate < 0 or free is None:
        return LARGEST
    return max(1, min(LARGEST, int(free * SHARE / processes / bytes_per_candidate)))


def chunking(
    problem: Problem, settings: EvaluatorConfig, population: int, device: str
) -> dict[str, Any]:
    """How many candidates are judged at once, and the plan behind it where memory is limited.

    Raises:
        ConfigError: The limit cannot be kept; see :func:`planned`.
    """
    each = getattr(problem, "bytes_per_candidate", None)
    if not settings.memory:
        processes = settings.workers if device == "cpu" else 1  # a GPU has memory of its own
        return {"chunk": first_chunk(settings.chunk, each, device, max(1, processes))}
    most = population if settings.chunk == "auto" else int(settings.chunk)
    plan = planned(settings.memory, each, int(getattr(problem, "bytes_beside", 0)), most)
    return {"chunk": plan.chunk, "memory": asdict(plan) | {"peak": plan.peak}}


def offer(problem: Problem, settings: EvaluatorConfig, device: str) -> None:
    """Tell a problem how much it may keep for later generations, where no limit leaves less.

    A process that may use a part of the cores (``OMP_NUM_THREADS``, which studies and workers set)
    has others beside it, and takes that part of the memory.
    """
    tell, free = getattr(problem, "spare", None), free_bytes(device)
    if tell and free and not settings.memory:
        cores = os.cpu_count() or 1
        threads = os.environ.get("OMP_NUM_THREADS", "")
        part = int(threads) / cores if threads.isdecimal() else 1.0
        tell(int(free * KEPT * min(part, 1 / max(1, settings.workers))))


@dataclass(frozen=True, slots=True)
class Plan:
    """How a limit on memory is used.

    Args:
        limit: Bytes the process may fill, files mapped into memory left out.
        held: Bytes it had filled when the plan was made.
        beside: Bytes that judging takes whatever the chunk.
        each: Bytes per candidate.
        chunk: Candidates at once.
    """

    limit: int
    held: int
    beside: int
    each: int
    chunk: int

    @property
    def peak(self) -> int:
        """The most bytes the process will fill."""
        return self.held + self.beside + self.chunk * self.each


def planned(gigabytes: float, each: int | None, beside: int, most: int) -> Plan:
    """The largest chunk within a limit, at most ``most`` candidates.

    Raises:
        ConfigError: The problem does not say what a candidate takes, this system does not say what
            the process holds, or not even one candidate fits.
    """
    held = held_bytes()
    if not each or each < 0 or held is None:
        raise ConfigError(
            "evaluator.memory can be kept only on Linux, by problems that say what a candidate "
            "takes (bytes_per_candidate)",
            hint="set evaluator.chunk instead",
        )
    limit = int(gigabytes * 1e9)
    room = limit - held - beside
    if room < each:
        least = (held + beside + each) / 1e9
        raise ConfigError(
            f"evaluator.memory is {gigabytes:g} GB, but one candidate at a time needs "
            f"{least:.2f} GB: the process holds {held / 1e9:.2f}, judging takes "
            f"{beside / 1e9:.2f}, a candidate {each / 1e9:.3f}",
            hint="allow more, or judge on less text (problem.sizes)",
        )
    return Plan(limit, held, beside, each, min(most, room // each))


def held_bytes() -> int | None:
    """Bytes this process has filled, files mapped into memory left out; None where not told."""
    return _line(Path("/proc/self/status"), "RssAnon")


def free_bytes(device: str) -> int | None:
    """Free memory of a device in bytes, or None when nobody tells."""
    if device.startswith("cuda"):
        torch = sys.modules.get("torch")
        return int(torch.cuda.mem_get_info(device)[0]) if torch is not None else None
    found = [n for n in (_available(), _group_left()) if n is not None]
    return min(found) if found else None


def pick_device(wanted: str) -> str:
    """The device asked for; ``"auto"`` is the first GPU if the problem uses torch, else the CPU.

    Raises:
        DeviceError: The device asked for is not there.
    """
    torch = sys.modules.get("torch")
    n_gpus = torch.cuda.device_count() if torch is not None and torch.cuda.is_available() else 0
    if wanted == "auto":
        return "cuda:0" if n_gpus else "cpu"
    if wanted == "cuda":
        wanted = "cuda:0"
    name, _, index = wanted.partition(":")
    if name == "cpu" or (name == "cuda" and index.isdigit() and int(index) < n_gpus):
        return wanted
    if name == "mps" and torch is not None and torch.backends.mps.is_available():
        return wanted
    raise DeviceError(
        f"there is no device {wanted!r}; found {n_gpus} GPUs", hint="use evaluator.device=cpu"
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the host or a device ran out of memory, at first hand or as the cause of the error.

    torch says so in several ways and is never imported here.
    """
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, MemoryError) or type(link).__name__ == "OutOfMemoryError":
            return True
        if any(words in str(link) for words in _TORCH_SAYS):
            return True
        link = link.__cause__
    return False


def release() -> None:
    """Give back what a failed attempt still holds, on the host and on GPUs in use."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _available() -> int | None:
    found = _line(Path("/proc/meminfo"), "MemAvailable")
    if found is not None:
        return found
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _line(file: Path, name: str) -> int | None:
    """Bytes in the line ``name: … kB`` of a file of the kernel; None where there is none."""
    try:
        for line in file.read_text(encoding="ascii").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def _group_left() -> int | None:
    """What the control group of this process still allows, on Linux."""
    root = Path("/sys/fs/cgroup")
    try:
        limit = int((root / "memory.max").read_text(encoding="ascii"))
        return max(0, limit - int((root / "memory.current").read_text(encoding="ascii")))
    except (OSError, ValueError):  # no such file, or "max"
        return None
