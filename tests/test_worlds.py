"""Worlds of plastic networks against Gymnasium and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from problems.hebbian.worlds import make, models


def test_carts_are_those_of_gymnasium() -> None:
    gymnasium = pytest.importorskip("gymnasium", reason="Gymnasium is not installed")
    seeds = [3, 4, 5, 6]
    world = make("cart", ["intact"])
    alone = [gymnasium.make("CartPole-v1") for _ in seeds]
    seen = world.reset(seeds, np.zeros(4, dtype=np.intp))
    first = [one.reset(seed=s)[0] for one, s in zip(alone, seeds, strict=True)]
    assert np.array_equal(seen.astype(np.float32), np.array(first))
    alive, rng = np.ones(4, dtype=bool), np.random.default_rng(0)

    for _ in range(200):
        # a hand that keeps the pole up for a while, and slips now and then
        push = (seen[:, 2] + 0.4 * seen[:, 3] + rng.normal(0, 0.05, 4) > 0).astype(int)
        seen, reward, ended = world.step(np.stack([1 - push, push], axis=1).astype(float))
        assert np.array_equal(seen, seen.astype(np.float32))  # no more than Gymnasium shows
        for i in np.flatnonzero(alive):
            theirs, value, over, _, _ = alone[i].step(int(push[i]))
            np.testing.assert_allclose(seen[i], theirs, rtol=1e-6, atol=1e-7)
            assert reward[i, 0] == value
            assert ended[i] == over
        alive &= ~ended
    assert world.steps == alone[0].spec.max_episode_steps == 500


@pytest.mark.parametrize("task", [k for k, t in models.TASKS.items() if not t.quick])
def test_bodies_are_those_of_gymnasium_to_the_last_bit(task: str) -> None:
    gymnasium = pytest.importorskip("gymnasium", reason="Gymnasium is not installed")
    pytest.importorskip("mujoco", reason="MuJoCo is not installed")
    pytest.importorskip("imageio", reason="gymnasium[mujoco] is not installed")
    seeds, bodies = [3, 4, 5], np.zeros(3, dtype=np.intp)
    world = make(task, ["intact"], threads=2)
    name, settings = world.gymnasium  # type: ignore[attr-defined]
    with models.unheard(models.simulator(task)):
        alone = [gymnasium.make(name, **settings) for _ in seeds]
    world.reset([1, 2], bodies[:2])  # what was simulated before leaves nothing behind
    world.step(np.ones((2, world.outputs)))
    seen = world.reset(seeds, bodies)
    first = [one.reset(seed=s)[0] for one, s in zip(alone, seeds, strict=True)]
    assert np.array_equal(seen, np.array(first))
    alive, rng = np.ones(3, dtype=bool), np.random.default_rng(0)

    for _ in range(60):
        actions = rng.uniform(-1, 1, (3, world.outputs))
        seen, rewards, ended = world.step(actions)
        for i in np.flatnonzero(alive):
            theirs, value, over, _, told = alone[i].step(actions[i])
            assert np.array_equal(seen[i], theirs)
            assert rewards[i, 1] == pytest.approx(value, abs=1e-12)
            assert rewards[i, 0] == pytest.approx(told["x_velocity"] * alone[i].unwrapped.dt)
            assert ended[i] == over
        alive &= ~ended
    assert world.steps == alone[0].spec.max_episode_steps
    world.close()


def test_neither_threads_nor_neighbours_change_what_a_body_does() -> None:
    pytest.importorskip("mujoco", reason="MuJoCo is not installed")
    actions = np.random.default_rng(0).uniform(-1, 1, (20, 5, 6))
    bodies = np.array([0, 1, 2, 1, 0])

    def course(threads: int, lanes_: list[int]) -> np.ndarray:
        world = make("cheetah", ["intact", "leg@1", "friction@0.2"], threads=threads)
        world.reset([7 + k for k in lanes_], bodies[lanes_])
        found = [world.step(a[lanes_])[0] for a in actions]
        world.close()
        return np.array(found)

    whole = course(1, [0, 1, 2, 3, 4])

    assert np.array_equal(course(3, [0, 1, 2, 3, 4]), whole)
    assert np.array_equal(course(2, [3, 1]), whole[:, [3, 1]])
    assert len({row.tobytes() for row in whole[-1]}) == 5


def test_damage_is_where_it_should_be() -> None:
    pytest.importorskip("mujoco", reason="MuJoCo is not installed")
    world: Any = make("ant", ["intact", "leg@1", "joint@3", "short@2", "friction@0.5"])
    whole, leg, joint, short, slick = world._models

    def motors(model: Any) -> list[str]:
        return [model.joint(int(model.actuator_trnid[k, 0])).name
                for k in range(model.nu) if model.actuator_gear[k, 0] == 0]  # fmt: skip

    assert motors(whole) == motors(short) == []
    assert sorted(motors(leg)) == ["ankle_2", "hip_2"]
    assert motors(joint) == [whole.joint(int(whole.actuator_trnid[3, 0])).name]
    np.testing.assert_allclose(slick.geom_friction, 0.5 * whole.geom_friction)
    half = [g for g in range(whole.ngeom) if short.geom_size[g, 1] != whole.geom_size[g, 1]]
    assert [whole.geom(g).name for g in half] == ["third_ankle_geom"]
    assert short.geom_size[half[0], 1] == pytest.approx(whole.geom_size[half[0], 1] / 4)
    assert make("cheetah", ["intact"], friction=0.3)._models[0].geom_friction[0, 0] == (  # type: ignore[attr-defined]
        pytest.approx(0.3 * 0.4)
    )


def test_bodies_of_the_toys_by_hand() -> None:
    world = make("reach", ["intact", "turn@90", "gain@0.5"])
    way = world.reset([1, 1, 1], np.arange(3))
    after, reward, ended = world.step(way.copy())  # full speed ahead

    np.testing.assert_allclose(reward[:, 0], [0.05, 1 - np.hypot(1, 0.05), 0.025], atol=1e-12)
    np.testing.assert_allclose(after[0], 0.95 * way[0])
    assert not ended.any()
    cart: Any = make("cart", ["intact", "length@2", "force@0.5", "mass@3"])
    np.testing.assert_allclose(
        cart._table, [[0.5, 0.1, 10], [1, 0.1, 10], [0.5, 0.1, 5], [0.5, 0.3, 10]]
    )
