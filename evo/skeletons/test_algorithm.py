"""The algorithm keeps its promises, and finds more than chance at equal evaluations."""

import numpy as np

import evo
from evo.algorithms import Settings, create
from evo.check import check_algorithm, failed
from evo.config import Ref
from evo.indicators import hypervolume
from evo.registry import build
from evo.skeletons.algorithm import NewAlgorithm

LAYERS = build("problem", Ref("synthetic/layers"))  # its true front is known exactly
WORST = LAYERS.front().max(axis=0)


def found(algorithm, seed):
    """Hypervolume of loss and size after 20 generations of 20."""
    settings = Settings(population=20, seed=seed)
    search = create(algorithm, LAYERS.space, n_objectives=2, constrained=False, settings=settings)
    for _ in range(20):
        asked = search.ask()
        batch = LAYERS.batch(asked, evo.Context())
        values = np.stack([judge(batch) for judge in LAYERS.objectives[:2]], axis=1)
        search.tell(asked, values, np.zeros(len(asked)))
    return hypervolume(search.population.fitness / WORST, [1.0, 1.0])


def test_it_keeps_its_promises():
    assert failed(check_algorithm(NewAlgorithm)) == []


def test_it_finds_more_than_chance_and_no_more_than_there_is():
    most = hypervolume(LAYERS.front() / WORST, [1.0, 1.0])

    for seed in range(3):
        assert found("random", seed) + 0.02 < found(NewAlgorithm, seed) <= most
