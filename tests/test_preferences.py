"""Pseudo-weights against pymoo's, and what the command line makes of them."""

import json

import numpy as np
import pytest
from handmade import naive_front, written

from evo.cli import main
from evo.cli.choosing import pick
from evo.errors import ConfigError, ShapeError
from evo.preferences import nearest, parse_weights, pseudo_weights
from evo.store import read_run


def front_of(m, n=300, seed=0):
    values = np.random.default_rng(seed).random((n, m)) ** 2
    return values[naive_front(values)]


@pytest.mark.filterwarnings("ignore:Please import `cKDTree`")  # of pymoo's own import
@pytest.mark.parametrize("m", [2, 3, 8, 15])
def test_pseudo_weights_and_the_nearest_row_are_those_of_pymoo(m):
    from pymoo.mcdm.pseudo_weights import PseudoWeights

    rng, front = np.random.default_rng(m), front_of(m)

    for _ in range(20):
        weights = rng.random(m) + 0.01
        index, expected = PseudoWeights(weights / weights.sum()).do(
            front, return_pseudo_weights=True
        )
        assert np.allclose(pseudo_weights(front), expected, rtol=0, atol=1e-15)
        assert nearest(front, 3 * weights) == index


def test_pseudo_weights_by_hand():
    front = [[0.0, 4.0], [1.0, 1.0], [2.0, 0.0]]  # ranges 2 and 4

    found = pseudo_weights(front)

    assert np.allclose(found, [[1.0, 0.0], [0.5 / 1.25, 0.75 / 1.25], [0.0, 1.0]])
    assert nearest(front, [1, 1]) == 1
    assert nearest(front, [5, 0]) == 0
    assert nearest(front, [5, 0], np.array([False, True, True])) == 1


def test_edges_of_pseudo_weights():
    flat = np.array([[1.0, 7.0], [3.0, 7.0], [2.0, 7.0]])

    assert pseudo_weights(flat).tolist() == [[1, 0], [0, 0], [1, 0]]
    assert pseudo_weights(np.empty((0, 2))).shape == (0, 2)
    assert nearest(np.empty((0, 2)), [1, 1]) is None
    assert nearest(flat, [1, 1], np.zeros(3, dtype=bool)) is None
    assert nearest([[0.0, 1.0], [0.0, 1.0]], [1, 1]) == 0
    with pytest.raises(ShapeError, match=r"shape \(n, m\), got \(2,\)"):
        pseudo_weights([1.0, 2.0])


@pytest.mark.parametrize(
    ("text", "why"),
    [("f0", "cannot be read at 'f0'"), ("f0=-1", "cannot be read"), ("f0=1,f0=2", "twice"),
     ("f9=1", "no objective called 'f9' to weigh"), ("f0=0,f1=0", "are all 0")],
)  # fmt: skip
def test_weights_that_make_no_sense_are_refused(text, why):
    with pytest.raises(ConfigError, match=why):
        parse_weights(text, ["f0", "f1"])


def test_goals_turn_the_weights_and_limits_leave_the_front_as_it_is(tmp_path, capsys):
    values = [[0.0, 0.0], [6.0, 1.0], [8.0, 4.0], [10.0, 10.0]]
    run = str(written(tmp_path / "run", values, goals=["max", "min"]))

    assert main(["front", run, "--weights", "f0=1,f1=1", "--json"]) == 0
    # Shares: (0, 1), (.6, .9), (.8, .6), (1, 0), so candidates 2 and 3 lie at (.4, .6), (.57, .43).
    assert json.loads(capsys.readouterr().out)["nearest"] == 3
    assert main(["front", run, "--weights", "f0=1,f1=1", "--where", "f1 < 4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["nearest"] == 2
    assert main(["front", run, "--weights", "f1=1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["1", "0", "0", "nearest"]
    assert main(["front", run, "--weights", "f7=1"]) == 2
    assert "no objective called 'f7' to weigh" in capsys.readouterr().err


def test_a_candidate_is_picked_by_weights_and_ties_go_to_the_lowest_id(tmp_path):
    view = read_run(written(tmp_path / "run", [[2.0, 0.0], [0.0, 2.0], [1.0, 1.0]]))

    assert view.candidates.id[pick(view, "weights:f0=1,f1=1")] == 3
    assert view.candidates.id[pick(view, "weights:f0=3,f1=1", ["f0 > 0"])] == 3
    # (.75, .25) is as far from (1, 0) as from (.5, .5)
    assert view.candidates.id[pick(view, "weights:f0=3,f1=1")] == 2
