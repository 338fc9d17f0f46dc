"""For all tests: loaders stay out of the home folder, and idle workers take over tests."""

from __future__ import annotations

import os
import tempfile

import pytest

LOADERS = tempfile.TemporaryDirectory(prefix="loaders-")
os.environ["HF_MODULES_CACHE"] = LOADERS.name  # read once, when transformers is first imported


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Tests move to the worker that has none left; a few are long."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)
