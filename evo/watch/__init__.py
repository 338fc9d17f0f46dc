"""A run or a study in the browser while it grows: a page that only this machine can open."""

from __future__ import annotations

from .pages import Source, run_page, study_pages
from .server import Server

__all__ = ["Server", "Source", "run_page", "study_pages"]
