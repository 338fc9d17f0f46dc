"""Memory for one site at a time, for problems whose batches have ``params``, shape (n, sites)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import evo


@evo.objective("new_objective", goal="min", unit="parameters", resolution=1.0, free=True)
def new_objective(batch: Any) -> NDArray[np.int64]:
    """Parameters of the largest site: what must fit into memory at once, shape (n,).

    It is ``free``: it follows from the choices, without judging; leave that out of others.
    """
    return batch.params.max(axis=1)
