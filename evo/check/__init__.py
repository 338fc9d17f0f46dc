"""Conformance anyone can run: problems, objectives, operators and algorithms, tried."""

from __future__ import annotations

from .algorithms import check_algorithm
from .elsewhere import check_elsewhere
from .findings import Finding, failed
from .objectives import check_objective
from .operators import check_operator
from .problems import check_problem

__all__ = [
    "Finding", "check_algorithm", "check_elsewhere", "check_objective", "check_operator",
    "check_problem", "failed",
]  # fmt: skip
