"""``python -m evo`` does what the command ``evo`` does."""

from __future__ import annotations

import sys

from .cli import main

sys.exit(main())
