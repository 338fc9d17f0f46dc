"""The problem keeps its promises, and judges as a loop over customers does."""

import numpy as np

import evo
from evo.check import check_problem, failed
from evo.skeletons.problem import FAR, NewProblem
from evo.streams import stream


def judged(problem, genomes):
    batch = problem.batch(genomes, evo.Context())
    return [judge(batch) for judge in (*problem.objectives, *problem.constraints)]


def test_it_keeps_its_promises():
    assert failed(check_problem(NewProblem())) == []


def test_values_are_those_of_a_loop():
    problem = NewProblem(sites=5, customers=7, reach=0.3)
    genomes = problem.space.sample(6, stream(0, "test"))

    way, rent, excess = judged(problem, genomes)

    for i, row in enumerate(genomes["open"]):
        sites = [s for s in range(5) if row[s]]
        ways = [min((problem.ways[c, s] for s in sites), default=FAR) for c in range(7)]
        assert np.isclose(way[i], sum(ways) / 7, atol=1e-6)
        assert rent[i] == sum(problem.rents[s] for s in sites)
        assert np.isclose(excess[i], max(0.0, max(ways) - 0.3))


def test_another_depot_costs_rent_and_never_makes_a_way_longer():
    problem = NewProblem(sites=8)
    rungs = evo.Genomes({"open": np.tri(9, 8, -1, dtype=bool)})  # none, the first, the first two …

    way, rent, _ = judged(problem, rungs)

    assert (np.diff(way) <= 0).all()
    assert (np.diff(rent) == problem.rents).all()
