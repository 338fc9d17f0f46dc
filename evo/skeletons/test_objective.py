"""The objective keeps its promises, and agrees with a case worked by hand."""

from types import SimpleNamespace

import numpy as np

from evo.check import check_objective, failed
from evo.config import Ref
from evo.registry import build
from evo.skeletons.objective import new_objective


def test_it_keeps_its_promises():
    layers = build("problem", Ref("synthetic/layers"))

    assert failed(check_objective(new_objective, layers)) == []


def test_the_largest_site_counts():
    batch = SimpleNamespace(params=np.array([[5, 1, 2], [0, 3, 3], [0, 0, 0]]))

    np.testing.assert_array_equal(new_objective.fn(batch), [5, 3, 0])
    assert new_objective.goal == "min"
