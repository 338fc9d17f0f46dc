"""Studies: grids of runs over problems, algorithms, settings and seeds."""

from __future__ import annotations

from .folder import read_study
from .plan import Cell, Study, load_study, study_from

__all__ = ["Cell", "Study", "load_study", "read_study", "study_from"]
