"""Drives a run in front of a user: progress, the ending, interruption and crashes."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import EvoError
from ..live import Heading, Lines, choose, duration, heading_of, number
from .output import Crashed, Interrupted, say, say_json, tell

if TYPE_CHECKING:
    from ..run import Result, Run

LOG = "log.txt"


def watch(run: Run, *, page: bool, as_json: bool) -> None:
    """Search, finish, and tell how it went and what to type next.

    Args:
        run: Freshly created or resumed; it is closed in the end.
        page: Whether to write the report.
        as_json: Whether standard output gets JSON lines instead of sentences.

    Raises:
        Interrupted: Ctrl-C; everything judged is recorded.
        Crashed: Something unexpected; the traceback is in the log of the run.
    """
    folder = run.folder
    with _edge(folder), run, open(folder / LOG, "a", encoding="utf-8") as log:
        log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {' '.join(sys.argv[1:])}\n")
        for note in (run.file.meta().get("describe") or {}).get("notes") or ():
            tell(f"note: {note}")
        result = _search(run, heading_of(run), log, as_json)
        exports = callable(getattr(run.problem, "export", None))
    written = _write_page(folder) if page else None
    if as_json:
        report = str(written) if written else None
        say_json({"type": "result", **_summary(result), "report": report}, compact=True)
    else:
        say(ending(result, sorting=run.judges.objectives[0].name, page=written, exports=exports))


def ending(
    result: Result, *, sorting: str, page: Path | None = None, exports: bool = False
) -> list[str]:
    """The last lines of a run: what was found, then what to type next.

    Args:
        result: How the run ended.
        sorting: Objective for the suggested order of the front.
        page: The report, when it is written already.
        exports: Whether candidates can be built.
    """
    folder = result.folder
    count = f"{result.front_size} candidate{'' if result.front_size == 1 else 's'} on the front"
    facts = [count, f"hypervolume {number(result.hypervolume)}", duration(result.seconds)]
    lines = ["", " · ".join([*facts, result.reason] if result.reason else facts)]
    if result.failed:
        lines.append(f"{result.failed} of {result.evaluations} candidates failed")
    if result.share < 1:
        lines.append(f"races were over after {result.share:.0%} of the data")
    if len(result.comparison) > 1:
        told = " · ".join(f"{k} {number(v)}" for k, v in result.comparison.items())
        lines.append(f"hypervolume on one common box: {told}")
    lines += [f"report {page}"] if page else []
    lines.append(f"  evo front  {folder} --sort {sorting}")
    lines += [] if page else [f"  evo report {folder}"]
    return lines + ([f"  evo export {folder} knee --to DIR"] if exports else [])


def _search(run: Run, heading: Heading, log: Any, as_json: bool) -> Result:
    run.on_low = _Progress("before the search")
    listener = choose(heading, out=sys.stdout, commentary=sys.stderr, as_json=as_json)
    record = Lines(heading, log)
    try:
        for generation in run:
            listener.hear(generation)
            record.hear(generation)
    finally:
        listener.close()
        record.close()
    return run.finish(_Progress("after the search"))


class _Progress:
    """Tells each thing that is done before or after the search once, as it begins."""

    def __init__(self, when: str) -> None:
        self._when, self._what = when, ""

    def __call__(self, what: str, done: int, total: int) -> None:
        if what != self._what:
            self._what = what
            tell(f"{self._when}: {what}, {total} candidates")


@contextmanager
def _edge(folder: Path) -> Iterator[None]:
    """Turn what breaks a run off into what the user is told."""
    try:
        yield
    except KeyboardInterrupt:
        hint = f"everything judged is recorded; go on with: evo resume {folder}"
        raise Interrupted(hint) from None
    except (EvoError, BrokenPipeError):
        raise
    except Exception as error:  # the edge that records a crash with its traceback
        with open(folder / LOG, "a", encoding="utf-8") as log:
            log.write("".join(traceback.format_exception(error)))
        raise Crashed(folder / LOG) from error


def _write_page(folder: Path) -> Path | None:
    """The report; a run is not failed by a page that cannot be written."""
    from ..report import write_report

    try:
        return write_report([folder], None)
    except EvoError as error:
        tell(f"evo: warning: no report: {error.message}")
        return None


def _summary(result: Result) -> dict[str, Any]:
    return {"run": str(result.folder), **{k: v for k, v in asdict(result).items() if k != "folder"}}
