"""For all tests of a process: loaders that transformers copies stay out of the home folder."""

from __future__ import annotations

import os
import tempfile

LOADERS = tempfile.TemporaryDirectory(prefix="loaders-")
os.environ["HF_MODULES_CACHE"] = LOADERS.name  # read once, when transformers is first imported
