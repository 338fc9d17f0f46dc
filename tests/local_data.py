"""The optional folder of trained models, texts and tasks that ``EVO_DATA`` names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def data(*parts: str) -> Path:
    """A file or folder below it; the test is skipped where it is absent."""
    root = os.environ.get("EVO_DATA")
    if not root:
        pytest.skip("EVO_DATA is not set to a folder with models/, text/ and sts/")
    path = Path(root, *parts)
    if not path.exists():
        pytest.skip(f"{path} does not exist")
    return path
