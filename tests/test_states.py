"""Which hidden states are kept for the next generation."""

from __future__ import annotations

import pytest
import torch

from problems.pruning.states import States

COUNTS = [2, 3, 5]  # distinct states after each of the first three of four blocks
SIZES = {1: 10, 2: 20, 3: 30}  # bytes of one of them, by micro-batch


@pytest.mark.parametrize(
    ("budget", "rungs", "kept"),
    [
        (1200, (1, 2, 3), (1, 2, 3)),  # two generations of 2 + 3 + 5 states of 60 bytes
        (1199, (2,), (1, 2, 3)),  # two of 3 states
        (360, (2,), (1, 2, 3)),
        (359, (2,), (1, 2)),  # the last micro-batch takes 180 of 360
        (60, (2,), (1,)),
        (59, (), ()),
        (0, (), ()),
    ],
)
def test_rungs_and_micro_batches_are_those_of_which_two_generations_fit(
    budget: int, rungs: tuple[int, ...], kept: tuple[int, ...]
) -> None:
    states = States(budget)
    states.plan(COUNTS, SIZES)

    for batch in SIZES:
        found = {states.rung_after(depth, 4, batch) for depth in range(4)} - {None}
        assert found == (set(rungs) if batch in kept else set())


def test_states_fall_out_once_the_budget_is_used_up() -> None:
    states = States(100)
    for name in "abc":
        states.put(name, torch.zeros(10))  # 40 bytes
        states.get("a")

    assert [name for name in "abc" if states.get(name) is not None] == ["a", "c"]
    assert states.used == 80
