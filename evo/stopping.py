"""When a search ends: limits checked against the log only, so that a resumed run decides alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from .config import StopConfig
from .store import LOW, SEARCH, GenerationRow, RunFile

STALL = 1e-9
"""An increase of the hypervolume below this is none."""

_RECENT = 5  # generations that the estimate of the remaining time looks at


def stop_reason(stop: StopConfig, file: RunFile, stall_from: int = 0) -> str | None:
    """Which limit the recorded generations have reached, as a clause; None to go on.

    Args:
        stop: The limits.
        file: The log; all recorded generations are complete.
        stall_from: Generation from which a stalled hypervolume counts.
    """
    rows = file.generations(SEARCH)
    evaluations, minutes = sum(r.evaluated for r in rows), active_minutes(file)
    if stop.generations is not None and len(rows) >= stop.generations:
        return f"after {len(rows)} generations"
    if stop.evaluations is not None and evaluations >= stop.evaluations:
        return f"after {evaluations} evaluations"
    if rows and stop.minutes is not None and minutes >= stop.minutes:
        return f"after {minutes:.1f} active minutes"
    if stop.stall is not None and stalled(rows, stop.stall, stall_from):
        return f"the hypervolume has not grown for {stop.stall} generations"
    return None


def active_minutes(file: RunFile) -> float:
    """What the search took so far, on a part of the data and on all of it."""
    return sum(r.seconds for r in (*file.generations(LOW), *file.generations(SEARCH))) / 60


def stalled(rows: Sequence[GenerationRow], n: int, since: int = 0) -> bool:
    """Whether the last n generations, all after ``since``, left the hypervolume as it was."""
    if len(rows) - since <= n:
        return False
    before = rows[-n - 1].hypervolume or 0.0
    return all((r.hypervolume or 0.0) <= before + STALL for r in rows[-n:])


def extended(stop: StopConfig, file: RunFile, more: int) -> tuple[dict[str, Any], int]:
    """Limits after an extension, and the generation from which stalling counts anew.

    An unfinished run gets ``more`` generations on top of its plan. A stopped one gets ``more`` from
    where it stopped, and the other limits it has reached are lifted.
    """
    rows = file.generations(SEARCH)
    limits = asdict(stop)
    stopped = stop_reason(stop, file, int(file.meta().get("stall_from", 0))) is not None
    plan = len(rows) if stopped or stop.generations is None else stop.generations
    if stop.evaluations is not None and sum(r.evaluated for r in rows) >= stop.evaluations:
        limits["evaluations"] = None
    if stop.minutes is not None and active_minutes(file) >= stop.minutes:
        limits["minutes"] = None
    return {**limits, "generations": plan + more}, len(rows) if stopped else 0


def eta(
    stop: StopConfig, rows: Sequence[GenerationRow], low: Sequence[GenerationRow] = ()
) -> float | None:
    """Estimated active seconds until the first limit, from the last few generations; or None.

    Args:
        stop: The limits.
        rows: Generations of the search.
        low: Those of the search on a part of the data, whose minutes count as well.
    """
    if not rows:
        return None
    recent = rows[-_RECENT:]
    seconds = sum(r.seconds for r in recent) / len(recent)
    evaluated = sum(r.evaluated for r in recent) / len(recent)
    left: list[float] = []
    if stop.generations is not None:
        left.append((stop.generations - len(rows)) * seconds)
    if stop.evaluations is not None and evaluated:
        left.append((stop.evaluations - sum(r.evaluated for r in rows)) / evaluated * seconds)
    if stop.minutes is not None:
        left.append(stop.minutes * 60 - sum(r.seconds for r in (*low, *rows)))
    return max(0.0, min(left)) if left else None
