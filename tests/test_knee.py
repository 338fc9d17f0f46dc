"""The knee of a curve of quality over sparsity, and what it leaves out of a search."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from families import checkpoint

from evo import Context, Genomes
from evo.errors import ConfigError
from evo.streams import stream
from problems.pruning.allocate import knee
from problems.pruning.searches import Mixed

GRID = np.round(np.arange(0, 0.95, 0.05), 2)
SIZES = {"calibration": 2, "search": 6, "validation": 2}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: Any) -> Any:
    home = tmp_path_factory.mktemp("models")
    return {name: str(checkpoint(name, home / name)) for name in ("llama", "bert")}


def problem_of(folder: str, kinds: Any, **more: Any) -> Mixed:
    return Mixed(model=folder, variants=kinds, length=24, sizes=SIZES, cache="off", **more)


# ---- two lines


def test_the_knee_of_two_straight_lines() -> None:
    quality = 0.9 - 0.02 * GRID - 1.5 * np.maximum(0, GRID - 0.5)

    (at,) = knee.bend(GRID, -quality[None])

    assert GRID[at] == 0.5


def test_the_knee_by_trying_every_pair_of_lines() -> None:
    curves = stream(0, "curves").random((20, 12)).cumsum(1) ** 2
    xs = np.arange(12.0)

    def error(curve: Any, i: int) -> float:
        """Least squares over the heights at both ends and at the bend, by the normal equations."""
        left, right = np.clip(xs / xs[i], 0, 1), np.clip((xs - xs[i]) / (xs[-1] - xs[i]), 0, 1)
        hats = np.stack([1 - left, left - right, right], axis=1)
        heights = np.linalg.solve(hats.T @ hats, hats.T @ curve)
        rises = heights[2] - heights[1], heights[1] - heights[0]
        bent = rises[0] / (xs[-1] - xs[i]) - rises[1] / xs[i]
        return float(((hats @ heights - curve) ** 2).sum()) if bent > 0 else np.inf

    expected = [int(np.argmin([error(c, i) for i in range(1, 11)])) + 1 for c in curves]
    assert knee.bend(xs, curves).tolist() == expected


def test_straight_and_flattening_curves_have_no_knee() -> None:
    curves = np.stack([0 * GRID, 3 * GRID, np.sqrt(GRID), -GRID])

    assert (knee.bend(GRID, curves) == len(GRID) - 1).all()


def test_a_curve_that_saturates_bends_where_it_starts_to_rise() -> None:
    rising = 1 / (1 + np.exp(-30 * (GRID - 0.6)))

    (at,) = knee.bend(GRID, rising[None])

    assert 0.4 <= GRID[at] <= 0.6


# ---- on a model


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_the_knee_is_judged_by_the_sweep(family: str, folders: Any) -> None:
    problem = problem_of(folders[family], ["removal"])

    found = knee.find_knee(problem, "magnitude", [0.2, 0.4, 0.6, 0.8], stream(0, "knee"))

    assert found.sparsities.tolist() == [0, 0.2, 0.4, 0.6, 0.8]
    assert found.losses[0] == pytest.approx(0, abs=1e-6)
    alone = problem.again(["magnitude@0.6"])
    ones = Genomes({"choices": np.ones((1, len(alone.table)), dtype=np.int16)})
    expected = alone.batch(ones, Context()).readings[0, :, -1].mean()
    assert found.losses[3] == pytest.approx(expected, rel=1e-6)
    (at,) = knee.bend(found.sparsities, found.losses[None])
    assert found.at == found.sparsities[at]
    assert found.low <= found.at <= found.high


def test_the_interval_is_of_resampled_text_and_repeats() -> None:
    kinks = stream(1, "kinks").choice([0.3, 0.4, 0.5], size=40)
    read = np.maximum(0, GRID[:, None] - kinks[None])

    first, again = (knee._knee(GRID, read, stream(2, "knee")) for _ in range(2))

    assert (first.at, first.low, first.high) == (again.at, again.low, again.high)
    assert 0.3 <= first.low <= first.at <= first.high <= 0.5
    same = knee._knee(GRID, np.maximum(0, GRID[:, None] - np.full(40, 0.4)), stream(2, "knee"))
    assert (same.low, same.at, same.high) == (0.4, 0.4, 0.4)


def test_levels_beyond_the_knee_are_left_out(folders: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def fake(problem: Any, kind: Any, grid: Any, rng: Any) -> knee.Knee:
        asked.append((kind.name, tuple(grid)))
        return knee.Knee(GRID, GRID, 0.4, 0.35, 0.45)

    monkeypatch.setattr(knee, "find_knee", fake)
    kinds = ["removal", "width@0.5,0.75", "wanda@0.3,0.5,0.55,0.7", "2:4", "sparsegpt@0.5,0.6,0.9"]
    problem = problem_of(folders["llama"], kinds, knee=0.1)

    names = {v.name for s in problem.table.sites for v in s.variants}
    assert names == {"dense", "removed", "width-0.5", "width-0.75", "2:4",
                     "wanda-0.3", "wanda-0.5", "wanda-0.55", "sparsegpt-0.5"}  # fmt: skip
    assert asked == [("wanda", knee.GRID), ("sparsegpt", (0.5, 0.6, 0.9))]
    facts = problem.describe()["facts"]
    line = "sparsity 0.4 (0.35 to 0.45 over resampled text); left out: "
    assert facts["knee of wanda"] == line + "0.7"
    assert facts["knee of sparsegpt"] == line + "0.6, 0.9"
    free = problem_of(folders["llama"], kinds)
    assert "knee of wanda" not in free.describe()["facts"]
    assert problem.fingerprint()["variants"] != free.fingerprint()["variants"]
    assert "knee of wanda" not in problem.again(["wanda"]).describe()["facts"]


def test_a_bounded_problem_is_the_one_asked_for_with_fewer_levels(
    folders: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(knee, "GRID", (0.2, 0.4, 0.6, 0.8))
    first, again = (problem_of(folders["bert"], ["wanda"], knee=0.0) for _ in range(2))

    assert first.fingerprint() == again.fingerprint()
    kept = [v.name for v in first.table.sites[0].variants]
    assert kept == ["dense", "wanda-0.3", "wanda-0.4", "wanda-0.5", "wanda-0.6",
                    "wanda-0.7"][: len(kept)]  # fmt: skip
    assert len(kept) >= 2


@pytest.mark.parametrize(
    ("kinds", "margin", "message"),
    [
        (["removal", "2:4"], 0.1, "knee bounds sparsities, but no kind of variant has any"),
        (["wanda"], -0.1, "from 0 to below 1, got -0.1"),
        (["wanda"], 1.0, "from 0 to below 1, got 1.0"),
    ],
)
def test_what_knee_cannot_do_is_told(kinds: Any, margin: float, message: str, folders: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        problem_of(folders["llama"], kinds, knee=margin)

    assert message in str(caught.value)


def test_too_few_sparsities_have_no_knee(folders: Any) -> None:
    problem = problem_of(folders["llama"], ["removal"])

    with pytest.raises(ConfigError, match=r"at least 3 sparsities between 0 and 1, got \[0.5\]"):
        knee.find_knee(problem, "wanda", [0.5], stream(0, "knee"))
