"""The look around before a search: exact on additive problems, and never a genome twice."""

from __future__ import annotations

import itertools

import numpy as np

from evo import Choice, Genomes, SearchSpace
from evo.algorithms import Settings, create
from evo.indicators import nondominated, unit_hypervolume

SPACE = SearchSpace((Choice("choices", [5, 5, 5, 5]),))
LOSS = np.array([[0, 1, 3, 6, 10], [0, 2, 5, 9, 14], [0, 1, 2, 3, 9], [0, 4, 8, 15, 16]]) / 10
COST = np.array([[9, 7, 5, 2, 0], [8, 5, 3, 1, 0], [6, 5, 3, 2, 0], [9, 8, 4, 3, 0]]) / 1.0


def judged(genomes: Genomes) -> np.ndarray:
    """Two additive objectives, (n, 2)."""
    rows, genes = genomes["choices"].astype(int), np.arange(4)
    return np.stack([LOSS[genes, rows].sum(1), COST[genes, rows].sum(1)], axis=1)


def search(scout: bool, asks: int, fail: bool = False) -> tuple[list[np.ndarray], np.ndarray]:
    dense = Genomes({"choices": np.zeros((1, 4), dtype=np.int16)})
    settings = Settings(population=12, seed=1, scout=scout)
    algorithm = create(
        "nsga2", SPACE, n_objectives=2, constrained=False, settings=settings, starts=dense
    )
    asked, values = [], []
    for _ in range(asks):
        genomes = algorithm.ask()
        fitness = judged(genomes)
        if fail:
            fitness[genomes["choices"][:, 0] == 4] = np.nan
        algorithm.tell(genomes, fitness, np.zeros(len(genomes)))
        asked.append(genomes["choices"])
        values.append(fitness)
    return asked, np.concatenate(values)


def hull() -> set[tuple[int, ...]]:
    """Minimisers of loss + λ cost over all 625 genomes, by brute force over a fine λ."""
    every = np.array(list(itertools.product(range(5), repeat=4)), dtype=np.int16)
    values = judged(Genomes({"choices": every}))
    values = values / np.ptp(values, axis=0)
    best = {int(np.argmin(values[:, 0] + by * values[:, 1])) for by in np.geomspace(0.1, 10, 400)}
    return {tuple(map(int, every[i])) for i in best}


def test_first_come_the_start_and_single_changes() -> None:
    asked, _ = search(scout=True, asks=2)

    first = np.concatenate(asked)[:17]
    changed = (first != 0).sum(1)
    assert changed[0] == 0
    assert (changed[1:] == 1).all()
    assert len({tuple(row) for row in first}) == 17  # four quarters of four genes


def test_predictions_are_the_hull_where_effects_add_up() -> None:
    asked, _ = search(scout=True, asks=3)

    seen = {tuple(map(int, row)) for row in np.concatenate(asked)}
    wanted = hull()
    assert len(wanted) > 5
    assert len(wanted & seen) >= 0.9 * len(wanted)


def test_nothing_is_asked_twice_and_the_search_goes_on_from_the_best() -> None:
    asked, values = search(scout=True, asks=8)

    rows = np.concatenate(asked)
    assert len({tuple(row) for row in rows}) == len(rows)
    assert len(rows) > 60
    front = rows[nondominated(values)]
    assert (front == 0).all(axis=1).any()


def test_looking_around_pays_on_a_larger_space() -> None:
    rng = np.random.default_rng(5)
    loss = np.cumsum(rng.exponential(1, (14, 9)), axis=1)
    cost = np.cumsum(rng.exponential(1, (14, 9))[:, ::-1], axis=1)[:, ::-1]
    space = SearchSpace((Choice("choices", [9] * 14),))
    start = Genomes({"choices": np.zeros((1, 14), dtype=np.int16)})
    volumes = []
    for scout in (True, False):
        settings = Settings(population=30, seed=0, scout=scout)
        algorithm = create(
            "nsga2", space, n_objectives=2, constrained=False, settings=settings, starts=start
        )
        seen: list[np.ndarray] = []
        while sum(map(len, seen)) < 240:
            asked = algorithm.ask()
            rows = asked["choices"].astype(int)
            values = np.stack([t[np.arange(14), rows].sum(1) for t in (loss, cost)], axis=1)
            algorithm.tell(asked, values, np.zeros(len(asked)))
            seen.append(values)
        box = (
            [t.min(axis=1).sum() for t in (loss, cost)],
            [t.max(axis=1).sum() for t in (loss, cost)],
        )
        volumes.append(unit_hypervolume(np.concatenate(seen)[:240], *map(np.array, box)))
    assert volumes[0] > volumes[1] + 0.02


def test_failed_changes_are_stepped_around() -> None:
    asked, values = search(scout=True, asks=6, fail=True)

    later = np.concatenate(asked[2:])
    assert np.isfinite(values).any(axis=1).sum() > 30
    assert (later[:, 0] == 4).mean() < 0.5


def test_the_same_seed_asks_the_same() -> None:
    first, _ = search(scout=True, asks=7)
    second, _ = search(scout=True, asks=7)

    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
