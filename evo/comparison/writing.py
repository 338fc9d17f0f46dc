"""A comparison on disk: tables in every form, the data of the figures, and the page."""

from __future__ import annotations

from pathlib import Path

from ..errors import StoreError
from ..folders import replace_file
from . import tables
from .measure import INDICATORS, Comparison, setting
from .page import render


def write(comparison: Comparison, folder: Path) -> list[Path]:
    """Write all files of a comparison; those of an earlier one are replaced.

    Returns:
        The files: ``compare.html``, ``tables.txt``, ``tables.md``, ``tables.tex``, and as CSV
        ``medians``, ``runs``, ``tests``, ``ranks``, ``curves`` and ``attainment``.

    Raises:
        StoreError: The folder cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"the comparison needs a folder, but {str(folder)!r} is a file")
    texts = {
        "compare.html": render(comparison),
        "tables.txt": _plain(comparison),
        "tables.md": tables.markdown(comparison),
        "tables.tex": tables.latex(comparison),
        "medians.csv": tables.medians_csv(comparison),
        "runs.csv": tables.runs_csv(comparison),
        "tests.csv": tables.tests_csv(comparison),
        "ranks.csv": tables.ranks_csv(comparison),
        "curves.csv": tables.curves_csv(comparison),
        "attainment.csv": tables.attainment_csv(comparison),
    }
    for name, text in texts.items():
        replace_file(folder / name, text, "the comparison")
    return [folder / name for name in texts]


def _plain(comparison: Comparison) -> str:
    lines: list[str] = []
    for name, row in INDICATORS.items():
        told = tables.starred(comparison, row)
        lines += [row.title, *tables.text(comparison, name), f"  {told}", ""]
    return "\n".join([*lines, *(f"{p.name}: {setting(p)}" for p in comparison.problems)]) + "\n"
