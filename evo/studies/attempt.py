"""One cell of a study run where it is: in a process of this machine, or wherever Ray put it."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import RunConfig
from ..errors import EvoError, StoreError
from ..folders import LOCK, take_lock
from ..live import Lines, heading_of
from ..run import Run
from ..schema import FILE
from .plan import Cell

LOG = "log.txt"
_OFTEN = 0.2  # seconds between two words about one run
_ORPHANS = 10.0  # seconds that a process of a killed study may take to notice


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to a cell.

    Args:
        kind: ``"begun"``, ``"step"``, ``"done"`` or ``"failed"``.
        cell: The cell.
        evaluations: Candidates judged so far.
        seconds: Active time so far.
        eta: Estimated seconds to go; None when nothing tells.
        hypervolume: In the box of the run.
        why: Why it failed, as a sentence.
    """

    kind: str
    cell: Cell
    evaluations: int = 0
    seconds: float = 0.0
    eta: float | None = None
    hypervolume: float = 0.0
    why: str = ""


def attempt(
    folder: Path, config: Any, command: list[str], tell: Callable[[Any], None]
) -> tuple[str, dict[str, Any]]:
    """Run one cell, or go on with it, and say what became of it.

    Args:
        folder: Of its run.
        config: As a mapping.
        command: What the study was started by, for the record.
        tell: Hears of it now and then: ``"step"``, and the fields of an :class:`Event`.

    Returns:
        ``"done"`` or ``"failed"``, and the fields of an :class:`Event`.
    """
    try:
        return "done", _run(folder, RunConfig.from_mapping(config), command, tell)
    except EvoError as error:
        hint = f" ({error.hint})" if error.hint else ""
        return "failed", {"why": f"{error.message}{hint}"}
    except Exception as error:  # the edge that turns a broken run into a record
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            with open(folder / LOG, "a", encoding="utf-8") as log:
                log.write("".join(traceback.format_exception(error)))
        told = " ".join(str(error).split())
        why = f"unexpected {type(error).__name__}: {told}; the traceback is in {folder / LOG}"
        return "failed", {"why": why}


def _run(
    folder: Path, config: RunConfig, command: list[str], tell: Callable[[Any], None]
) -> dict[str, Any]:
    _wait_for_orphan(folder)
    begun = (folder / FILE).is_file()
    run = Run.resume(folder) if begun else Run.create(config, folder, command=command)
    with run, open(folder / LOG, "a", encoding="utf-8") as log:
        lines, last = Lines(heading_of(run), log), 0.0
        spent = 0.0
        for generation in run:
            lines.hear(generation)
            spent += generation.seconds
            if time.monotonic() - last > _OFTEN:
                last = time.monotonic()
                tell(("step", {
                    "evaluations": generation.evaluations, "seconds": spent,
                    "eta": generation.eta_seconds, "hypervolume": generation.hypervolume,
                }))  # fmt: skip
        lines.close()
        result = run.finish()
    return {
        "evaluations": result.evaluations, "seconds": result.seconds,
        "hypervolume": result.hypervolume,
    }  # fmt: skip


def _wait_for_orphan(folder: Path) -> None:
    """Wait until a process that outlived its killed study has let go of the run."""
    patience = time.monotonic() + _ORPHANS
    while (folder / LOCK).exists():
        try:
            take_lock(folder).close()
            return
        except StoreError:
            if time.monotonic() > patience:
                raise
            time.sleep(0.05)
