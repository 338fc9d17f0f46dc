"""A candidate in which a window of blocks goes and one variant makes up for it."""

from __future__ import annotations

import numpy as np

from ..searches import Mixed
from ..variants import parse
from . import Outcome


def without_window(problem: Mixed, text: str) -> Outcome:
    """All blocks of a window removed, but for the one that takes the kind's own variant.

    Args:
        problem: A pruning problem on the model and text wanted.
        text: A kind that has ``window(library)`` and offers its variant at one block.
    """
    found = problem.again(variants=[text, "removal"], sites="block")
    window = parse(text).kind.window(found.library)
    choices = np.zeros(len(found.table), dtype=np.int16)
    for column, site in enumerate(found.table.sites):
        kinds = [variant.kind for variant in site.variants]
        own = [i for i, kind in enumerate(kinds) if kind not in ("dense", "removal")]
        if own:
            choices[column] = own[0]
        elif site.depth in window:
            choices[column] = kinds.index("removal")
    return Outcome(found, choices)
