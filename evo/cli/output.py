"""How commands speak: results to standard output, commentary and errors to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from ..errors import StoreError
from ..folders import runs_home
from ..live import plain
from ..schema import FILE
from ..suggest import did_you_mean

Flag = Annotated[bool, Parameter(negative=(), show_default=False)]
"""A switch that is off unless named."""

Words = Annotated[tuple[str, ...], Parameter(negative=(), show_default=False)]
"""A flag that may be repeated."""


class Interrupted(Exception):
    """Ctrl-C while a run was going on; its file is complete.

    Args:
        hint: How to go on.
    """

    def __init__(self, hint: str) -> None:
        super().__init__(hint)
        self.hint = hint


class Crashed(Exception):
    """An unexpected error inside a run; its cause is the error, ``log`` holds the traceback."""

    def __init__(self, log: Path) -> None:
        super().__init__(str(log))
        self.log = log


def say(lines: str | Iterable[str]) -> None:
    """Write a result to standard output."""
    text = lines if isinstance(lines, str) else "\n".join(lines)
    sys.stdout.write(text + "\n")


def say_json(value: Any, *, compact: bool = False) -> None:
    """Write a result as JSON to standard output, on one line when ``compact``."""
    say(json.dumps(plain(value), indent=None if compact else 2, ensure_ascii=False))


def tell(line: str) -> None:
    """Write commentary to standard error."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def tell_error(sentence: str, hint: str | None = None) -> None:
    """Write an error: one sentence that starts with ``evo:``, the hint below it."""
    sys.stdout.flush()
    tell(f"evo: {sentence}")
    if hint:
        tell(f"     hint: {hint}")


def run_folder(run: str) -> Path:
    """The folder of a run, given as a path or as its name in the folder of runs.

    Raises:
        StoreError: Neither leads to a run; runs that exist are suggested.
    """
    home = runs_home()
    for folder in (Path(run), home / run):
        if (folder / FILE).is_file():
            return folder
    known = [path.parent.name for path in home.glob(f"*/{FILE}")]
    near = did_you_mean(Path(run).name, known)
    hint = "evo list runs shows what there is" if known else f"there is no run in {home} yet"
    raise StoreError(f"no run called {run!r}{near}", hint)
