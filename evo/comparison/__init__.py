"""Comparisons of many runs: indicators on one box, rank tests, tables and a page."""

from __future__ import annotations

from .measure import INDICATORS, Compared, Comparison, Indicator, Score, compare_runs, compare_study

__all__ = [
    "INDICATORS", "Compared", "Comparison", "Indicator", "Score", "compare_runs", "compare_study",
]  # fmt: skip
