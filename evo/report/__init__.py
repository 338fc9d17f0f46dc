"""One self-contained HTML file that tells what a run found and how to repeat it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import ConfigError
from ..folders import replace_file

__all__ = ["write_report"]


def write_report(folders: Sequence[str | Path], out: str | Path | None = None) -> Path:
    """Write the report of one or several runs as one HTML file that needs no network.

    Only run files are read: neither the libraries nor the data of the problem are needed, and a
    run that is still going on can be reported. Several runs must search the same objectives; runs
    of equal configuration but for their seeds are summarised by median and quartiles.

    Args:
        folders: Run folders, at least one; a folder named twice counts once.
        out: The file to write. By default ``report.html`` in the folder of a single run, and
            ``compare.html`` beside the first of several run folders. An existing file is replaced
            only when the new one is whole.

    Returns:
        The file written.

    Raises:
        ConfigError: No folder, runs with different objectives, or ``out`` is a folder.
        StoreError: A folder holds no readable run, or the file cannot be written.
    """
    from ..store import read_run
    from .facts import gather
    from .page import render

    places = list({Path(folder).resolve(): Path(folder) for folder in folders}.values())
    if not places:
        raise ConfigError("a report needs at least one run folder, got none")
    target = Path(out) if out is not None else _default(places)
    if target.is_dir():
        raise ConfigError(
            f"the report needs a file name, got the folder {str(target)!r}",
            hint=f"for example {target / 'report.html'}",
        )
    replace_file(target, render(gather([read_run(place) for place in places])), "the report")
    return target


def _default(places: Sequence[Path]) -> Path:
    return places[0] / "report.html" if len(places) == 1 else places[0].parent / "compare.html"
