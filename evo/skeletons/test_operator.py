"""The operator keeps its promises, and its steps are as long and as frequent as it says."""

import numpy as np

from evo import Real
from evo.check import check_operator, failed
from evo.skeletons.operator import NewOperator
from evo.streams import stream

BOUNDS = Real("x", [0.0, -10.0], [1.0, 10.0]).bounds
MIDDLE = np.tile([0.5, 0.0], (20_000, 1))


def steps(operator):
    """As shares of the range, shape (n, 2)."""
    moved = operator(MIDDLE, BOUNDS, stream(0, "test"))
    return (moved - MIDDLE) / (BOUNDS.high - BOUNDS.low)


def test_it_keeps_its_promises():
    assert failed(check_operator(NewOperator())) == []


def test_half_of_the_steps_are_longer_than_its_size():
    longer = np.abs(steps(NewOperator(size=0.1, rate=1.0))) > 0.1

    assert np.allclose(longer.mean(axis=0), 0.5, atol=0.02)  # five standard errors


def test_one_gene_of_a_row_is_moved_on_average():
    assert np.isclose((steps(NewOperator()) != 0).sum(axis=1).mean(), 1.0, atol=0.03)
