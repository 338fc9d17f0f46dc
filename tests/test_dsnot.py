"""DSnoT against exchanges row by row, its statistics against numpy, and its masks in models."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exporting import opened, outputs, same, write
from families import EACH, checkpoint

from evo import Genomes
from evo.cli import main
from evo.config import Ref
from evo.errors import ConfigError, ModelError
from evo.registry import build
from evo.streams import stream
from problems.pruning import models, variants
from problems.pruning.allocate import knee
from problems.pruning.calibration import Calibration
from problems.pruning.cost import pruned_model
from problems.pruning.data import Batch
from problems.pruning.importance import gone_from, n_of_m
from problems.pruning.importance.dsnot import Rule, refined
from problems.pruning.layouts import get, matrix
from problems.pruning.listening import layers_of
from problems.pruning.methods.dsnot import DSnoT as Method
from problems.pruning.searches import Mixed
from problems.pruning.variants.dsnot import DSnoT, InputStatistics, name_of

SIZES = {"calibration": 2, "search": 4, "validation": 2}


# ---- one row, by hand

WEIGHT = torch.tensor([[4.0, -3.0, 2.0, 1.0, -1.0, 5.0]])
GONE = torch.tensor([[True, True, True, False, False, False]])  # an error of 4 - 3 + 2 = 3
VARIANCE = torch.tensor([4.0, 1.0, 1.0, 1.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("rule", "gone", "error"),
    [
        # the 2 has the larger share of its variance; -1 is the only survivor that mends
        (Rule(), {0, 1, 4}, 0.0),
        # 4 for -1 leaves -2; then -3 for 1 leaves 2; then no survivor is below 0
        (Rule(power=0), {2, 3, 4}, 2.0),
        (Rule(power=0, cycles=2), {2, 3, 4}, 2.0),
        (Rule(power=0, cycles=1), {1, 2, 4}, -2.0),
        (Rule(power=0, threshold=2), {1, 2, 4}, -2.0),
        (Rule(power=0, same_sign=True), {0, 1, 2}, 3.0),
        (Rule(same_sign=True), {0, 1, 4}, 0.0),
        (Rule(threshold=3), {0, 1, 2}, 3.0),
        (Rule(cycles=0), {0, 1, 2}, 3.0),
    ],
)
def test_exchanges_by_hand(rule: Rule, gone: set[int], error: float) -> None:
    found, left = refined(WEIGHT, GONE, torch.ones(6), VARIANCE, WEIGHT.abs(), rule)

    assert set(found[0].nonzero()[:, 0].tolist()) == gone
    assert left.tolist() == [error]
    assert GONE.sum() == 3
    assert GONE[0, :3].all()


def test_exchanges_in_groups_by_hand() -> None:
    weight = torch.tensor([[3.0, 2.0, 1.0, -1.0, 9.0, 8.0, -7.0, 0.5]])
    gone = torch.tensor([[True, True, False, False, False, False, True, True]])  # -1.5 in all
    mean, scores = torch.ones(8), torch.tensor([[9.0, 9.0, 2.0, 1.0, 5.0, 4.0, 9.0, 9.0]])

    # -7 would come back for 8, which changes the sign
    found, error = refined(weight, gone, mean, mean, scores, Rule(), 4)
    assert torch.equal(found, gone)
    assert error.tolist() == [-1.5]

    # without it, 3 comes back for -1 and 2 for 1: 5.5, 1.5, 0.5
    weight[0, 6] = 0
    found, error = refined(weight, gone, mean, mean, scores, Rule(threshold=0.5), 4)
    assert found[0].nonzero()[:, 0].tolist() == [2, 3, 6, 7]
    assert error.tolist() == [0.5]


# ---- many rows


def slow(
    weight: Sequence[float], gone: Sequence[bool], mean: Sequence[float],
    variance: Sequence[float], scores: Sequence[float], rule: Rule, group: int | None,
) -> tuple[list[bool], float]:  # fmt: skip
    """One row, its candidates looked up anew in each cycle."""
    width = range(len(weight))
    added = [w * m for w, m in zip(weight, mean, strict=True)]
    now, touched = list(gone), set()
    error = math.fsum(a for a, g in zip(added, gone, strict=True) if g)

    def worth(j: int) -> float:
        scale = variance[j] ** rule.power
        return added[j] / scale if scale else math.copysign(math.inf, added[j])

    for _ in range(rule.cycles):
        if abs(error) <= rule.threshold:
            break
        sign = 1 if error > 0 else -1
        back = [j for j in width if now[j] and j not in touched and sign * added[j] > 0]
        if not back:
            break
        comes = min(back, key=lambda j: (-sign * worth(j), j))
        fitting = [j for j in width if not now[j] and j not in touched]
        if group is None:
            fitting = [j for j in fitting if sign * added[j] < 0]
        else:
            fitting = [j for j in fitting if j // group == comes // group]
        if not fitting:
            break
        goes = min(fitting, key=lambda j: (scores[j], j))
        after = error + added[goes] - added[comes]
        if (rule.same_sign or group) and after * error < 0:
            break
        now[comes], now[goes], error = False, True, after
        touched |= {comes, goes}
    return now, error


def case(rows: int, width: int, share: float, seed: int, group: int | None = None) -> Any:
    """Weight, first mask, mean, variance and scores; rows and inputs of every odd kind."""
    rng = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, width, generator=rng)
    mean = torch.randn(width, generator=rng, dtype=torch.float64) * 5
    variance = torch.rand(width, generator=rng, dtype=torch.float64)
    variance[1::7], mean[2::9] = 0, 0
    mean[1], variance[5] = 0, 0  # an input that is never there
    weight[0, :] = weight[0].abs() * mean.sign()  # everything adds, nothing mends
    weight[1, 3:] = weight[1, 3:].abs() * mean[3:].sign()
    weight[2] = 0
    weight[3] = weight[3].round()  # with ties
    scores = (weight.double() * (mean.square() + 1).sqrt()).abs().float().round(decimals=1)
    gone = (
        gone_from(scores, "row", [share]).eq(0) if group is None
        else n_of_m(scores, round(share * group), group)
    )  # fmt: skip
    return weight, gone, mean, variance, scores


RULES = [
    Rule(), Rule(same_sign=True), Rule(power=0), Rule(power=2, threshold=3), Rule(cycles=3),
    Rule(threshold=0, cycles=500), Rule(cycles=0),
]  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize(
    ("width", "share", "group"),
    [(48, 0.5, None), (160, 0.6, None), (40, 0.95, None), (40, 0.05, None), (8, 0.01, None),
     (48, 0.5, 4), (48, 0.75, 4), (64, 0.25, 8)],
)  # fmt: skip
def test_it_agrees_with_the_slow_form(
    rule: Rule, width: int, share: float, group: int | None
) -> None:
    given = case(24, width, share, seed=width, group=group)
    before = [t.clone() for t in given]

    found, error = refined(*given, rule, group)

    weight, gone, mean, variance, scores = (t.tolist() for t in given)
    for i in range(24):
        wanted, left = slow(weight[i], gone[i], mean, variance, scores[i], rule, group)
        assert found[i].tolist() == wanted
        assert float(error[i]) == pytest.approx(left, abs=1e-9)
    assert all(torch.equal(t, b) for t, b in zip(given, before, strict=True))
    if rule == Rule() and width > 8:
        assert not torch.equal(found, given[1])


@pytest.mark.parametrize("group", [None, 4])
@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_counts_do_not_change_and_the_error_is_the_true_one(share: float, group: Any) -> None:
    weight, gone, mean, variance, scores = case(64, 160, share, seed=3, group=group)

    found, error = refined(weight, gone, mean, variance, scores, Rule(threshold=0), group)

    assert torch.equal(found.sum(1), gone.sum(1))
    if group:
        groups = found.reshape(64, -1, group).sum(2)
        assert groups.eq(round(share * group)).all()
    added = weight.numpy().astype(np.float64) * mean.numpy()
    np.testing.assert_allclose(error.numpy(), (added * found.numpy()).sum(1), atol=1e-6)


def test_expected_errors_shrink() -> None:
    rng = torch.Generator().manual_seed(0)
    common = torch.randn(1024, generator=rng)  # means that the tokens of all texts share
    weight = torch.randn(64, 1024, generator=rng) / 32 + 0.01 * common
    x = common + torch.randn(8, 50, 1024, generator=rng)
    mean, variance = x.double().sum(1).mean(0), x.double().var(1, correction=0).mean(0)
    scores = weight.abs() * x.square().sum((0, 1)).sqrt()
    gone = gone_from(scores, "row", [0.6]).eq(0)

    found, error = refined(weight, gone, mean, variance, scores, Rule())

    before, after = (
        (x.double().sum(1).mean(0) * weight * mask).sum(1).abs().mean() for mask in (gone, found)
    )
    assert after < before / 5
    assert float(error.abs().mean()) == pytest.approx(float(after), abs=1e-6)


# ---- what is learnt from text


def batch(rows: int, length: int, kept: Sequence[int] | None, seed: int) -> Batch:
    rng = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, 200, (rows, length), generator=rng)
    mask = None if kept is None else torch.arange(length) < torch.tensor(kept)[:, None]
    return Batch(ids, mask)


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_statistics_are_those_of_each_sequence_alone(family: str, tmp_path: Path) -> None:
    pretrained = models.load(str(checkpoint(family, tmp_path / family)))
    batches = [batch(3, 20, (20, 7, 1), 0), batch(2, 12, None, 1)]

    found = InputStatistics().fit(Calibration(pretrained, batches, ""))

    texts = [
        ids[: 10**6 if b.mask is None else int(b.mask[i].sum())]
        for b in batches
        for i, ids in enumerate(b.ids)
    ]
    assert [len(t) for t in texts] == [20, 7, 1, 12, 12]
    for block, path in layers_of(pretrained.blocks):
        seen: list[np.ndarray] = []
        handle = get(block.module, path).register_forward_pre_hook(
            lambda _, given, seen=seen: seen.append(
                given[0].reshape(-1, given[0].shape[-1]).numpy()
            )
        )
        with torch.inference_mode():
            for text in texts:
                pretrained.model(input_ids=text[None])
        handle.remove()
        name = name_of(block, path)
        mean = sum(x.astype(np.float64).sum(0) for x in seen) / 5
        lengths = np.array([len(x) for x in seen])
        within = np.stack([x.astype(np.float64).var(0) for x in seen])
        variance = (lengths[:, None] * within).sum(0) / lengths.sum()
        np.testing.assert_allclose(found[f"{name}.mean"], mean, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(found[f"{name}.variance"], variance, rtol=1e-4, atol=1e-5)


def test_inputs_that_are_not_finite_are_named(tmp_path: Path) -> None:
    pretrained = models.load(str(checkpoint("llama", tmp_path / "llama")))
    get(pretrained.blocks[1].module, "input_layernorm").weight.fill_(torch.inf)  # type: ignore[operator, union-attr]

    with pytest.raises(ModelError, match=r"inputs of self_attn\.q_proj of block 1 are not finite"):
        InputStatistics().fit(Calibration(pretrained, [batch(2, 9, None, 0)], ""))


# ---- in models


@pytest.fixture(scope="module")
def folder(tmp_path_factory: Any) -> str:
    return str(checkpoint("llama", tmp_path_factory.mktemp("models") / "llama"))


def problem_of(folder: str, kinds: Any, **more: Any) -> Mixed:
    more = {"cache": "off", "length": 24, "sizes": SIZES} | more
    return Mixed(model=folder, variants=kinds, **more)


def built(problem: Mixed, site: int, name: str) -> dict[str, torch.Tensor]:
    """Weights of a site under one of its variants, (d_out, d_in) by path."""
    (variant,) = [v for v in problem.table.sites[site].variants if v.name == name]
    return {path: matrix(layer) for path, layer in variant.build().items()}


def test_masks_in_a_model_are_those_of_the_slow_form(folder: str) -> None:
    problem = problem_of(folder, ["wanda@0.4,0.6", "dsnot@0.4,0.6", "dsnot(skip=none)@0.6"])
    changed = 0

    for site, place in enumerate(s.place for s in problem.table.sites):
        for name in ("dsnot-0.4", "dsnot-0.6", "dsnot(skip=none)-0.6"):
            firsts = built(problem, site, f"wanda-{name[-3:]}")
            for path, made in built(problem, site, name).items():
                weight = matrix(get(place.block.module, path))
                first, learnt = firsts[path], problem.library.fitted(DSnoT())
                assert (made == 0).sum(1).eq((first == 0).sum(1)).all()
                assert torch.equal(made[made != 0], weight[made != 0])
                if place.kind == "feed_forward" and "none" not in name:
                    assert torch.equal(made, first)
                    continue
                scores = weight.abs() * problem.library.norms(place.block, path)
                mean, variance = (
                    learnt[f"{name_of(place.block, path)}.{part}"].tolist()
                    for part in ("mean", "variance")
                )
                for i, row in enumerate(made):
                    wanted, _ = slow(
                        weight[i].tolist(), (first[i] == 0).tolist(), mean, variance,
                        scores[i].tolist(), Rule(), None,
                    )  # fmt: skip
                    assert row.eq(0).tolist() == wanted
                changed += int((made != first).sum())
    assert changed > 100


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("power=0", Rule(power=0)),
        ("same_sign=true", Rule(same_sign=True)),
        ("threshold=20", Rule(threshold=20)),
        ("cycles=2", Rule(cycles=2)),
    ],
)
def test_settings_reach_the_rule(text: str, rule: Rule, folder: str) -> None:
    problem = problem_of(folder, ["wanda@0.5", "dsnot@0.5", f"dsnot({text})@0.5"])
    place, path = problem.table.sites[0].place, "self_attn.q_proj"
    weight, name = matrix(get(place.block.module, path)), name_of(place.block, path)
    first, plain, found = (
        built(problem, 0, f"{kind}-0.5")[path] == 0 for kind in ("wanda", "dsnot", f"dsnot({text})")
    )

    learnt = problem.library.fitted(DSnoT())
    scores = weight.abs() * problem.library.norms(place.block, path)
    given = first, learnt[f"{name}.mean"], learnt[f"{name}.variance"], scores
    assert torch.equal(found, refined(weight, *given, rule)[0])
    assert not torch.equal(found, plain)


def test_attentions_can_be_skipped_instead(folder: str) -> None:
    problem = problem_of(folder, ["wanda@0.5", "dsnot(skip=attention)@0.5"])

    attention, feeds = (
        [torch.equal(made, built(problem, site, "wanda-0.5")[path])
         for path, made in built(problem, site, "dsnot(skip=attention)-0.5").items()]
        for site in (0, 1)
    )  # fmt: skip

    assert all(attention)
    assert not any(feeds)


def test_the_first_mask_is_of_any_scorer_that_goes_row_by_row(folder: str) -> None:
    firsts = ("magnitude-row", "ria-row", "gblm")
    kinds = [f"dsnot(initial={s},cycles={c})@0.5" for s in firsts for c in (0, 50)]
    problem = problem_of(folder, [*kinds, *(f"{s}@0.5" for s in firsts)])

    for scorer in firsts:
        first = built(problem, 0, f"{scorer}-0.5")
        for cycles in (0, 50):
            found = built(problem, 0, f"dsnot(initial={scorer},cycles={cycles})-0.5")
            equal = [torch.equal(found[path], weight) for path, weight in first.items()]
            assert all(equal) if cycles == 0 else not any(equal)


def test_counts_follow_the_scorer(folder: str) -> None:
    kind = DSnoT(name="nearest", initial="wanda(counts=nearest)")
    problem = problem_of(folder, [variants.Asked(kind, (0.36,))])  # of 32: 11.52, of 64: 23.04

    (site, *_) = problem.table.sites
    (made, *_) = built(problem, 0, "nearest-0.36").values()
    assert (made == 0).sum(1).eq(12).all()
    assert site.variants[1].sparsity == 12 / 32


def test_groups_keep_their_pattern(folder: str) -> None:
    kinds = ["2:4", "2:4@dsnot", "2:4@dsnot(skip=none,initial=ria)", "2:4@ria", "1:4@dsnot"]
    problem = problem_of(folder, kinds)

    for site, name, first in ((0, "2:4@dsnot", "2:4"),
                              (1, "2:4@dsnot(skip=none,initial=ria)", "2:4@ria")):  # fmt: skip
        changed = 0
        for path, made in built(problem, site, name).items():
            assert (made.reshape(len(made), -1, 4) == 0).sum(2).eq(2).all()
            changed += int((made != built(problem, site, first)[path]).sum())
        assert changed > 0
    assert torch.equal(
        built(problem, 1, "2:4@dsnot")["mlp.up_proj"], built(problem, 1, "2:4")["mlp.up_proj"]
    )
    quarter = built(problem, 0, "1:4@dsnot")["self_attn.q_proj"]
    assert (quarter.reshape(len(quarter), -1, 4) == 0).sum(2).eq(1).all()
    assert {v.kind for v in problem.table.sites[0].variants} == {"dense", "n:m"}


def test_all_settings_share_what_is_learnt(folder: str, tmp_path: Path, monkeypatch: Any) -> None:
    calls, real = [], InputStatistics.fit
    monkeypatch.setattr(InputStatistics, "fit", lambda *a: calls.append(1) or real(*a))
    cache = str(tmp_path / "cache")

    first = problem_of(folder, ["dsnot@0.5,0.6", "dsnot(power=0)@0.5", "2:4@dsnot"], cache=cache)
    again = problem_of(folder, ["dsnot@0.5", "dsnot(same_sign=true)@0.7"], cache=cache)

    assert len(calls) == 1
    for path, weight in built(first, 0, "dsnot-0.5").items():
        assert torch.equal(weight, built(again, 0, "dsnot-0.5")[path])


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_sweep_equals_one_model_at_a_time(family: str, tmp_path: Path) -> None:
    folder = str(checkpoint(family, tmp_path / family))
    problem = problem_of(folder, ["dsnot@0.4,0.7", "2:4@dsnot", "removal"])
    rng = np.random.default_rng(3)
    rows = np.stack([rng.integers(0, problem.table.sizes) for _ in range(6)]).astype(np.int16)
    batches, reader = problem.data.batches("search"), problem.reader("search")

    swept = problem.sweep()(rows, batches, reader)

    for row, got in zip(rows, swept, strict=True):
        model = pruned_model(problem.pretrained, problem.table, row)
        read = []
        for i, b in enumerate(batches):
            with torch.inference_mode():
                said = model(**problem.sweep()._inputs(b))
            out = said.logits if problem.kind == "lm" else said.last_hidden_state
            read.append(reader(i, b, out))
        np.testing.assert_allclose(got, torch.cat(read).numpy(), atol=1e-5)


def test_an_export_is_opened_with_its_zeros(folder: str, tmp_path: Path) -> None:
    problem = problem_of(folder, ["dsnot(skip=none)@0.6", "2:4@dsnot(skip=none)"])
    row = np.zeros(len(problem.table), dtype=np.int16)
    for column, site in enumerate(problem.table.sites):
        name = ("dsnot(skip=none)-0.6", "2:4@dsnot(skip=none)")[column % 2]
        row[column] = [v.name for v in site.variants].index(name)

    write(problem, row, tmp_path / "out")
    model = opened(tmp_path / "out", "lm", trust_remote_code=True)

    same(outputs(problem, model), outputs(problem, pruned_model(
        problem.pretrained, problem.table, row)))  # fmt: skip
    query, down = (get(model.model.layers[1], p) for p in ("self_attn.q_proj", "mlp.down_proj"))
    assert (query.weight == 0).sum(1).eq(19).all()  # type: ignore[operator, union-attr]
    fours = down.weight.reshape(-1, 4)  # type: ignore[operator, union-attr]
    assert (fours == 0).sum(1).eq(2).all()


def test_polish_refines_on_the_pruned_prefix(folder: str) -> None:
    problem = problem_of(folder, ["dsnot@0.6"])
    genome = Genomes({"choices": np.ones((1, len(problem.table)), dtype=np.int16)})

    again, _ = problem.polished(genome)

    before, after = (built(p, 4, "dsnot-0.6")["self_attn.q_proj"] for p in (problem, again))
    assert (after == 0).sum(1).eq(19).all()
    assert not torch.equal(before, after)
    assert torch.equal(*(built(p, 0, "dsnot-0.6")["self_attn.q_proj"] for p in (problem, again)))


@pytest.mark.parametrize("family", EACH)
def test_every_family_takes_it_in_half_precision(family: str, tmp_path: Path) -> None:
    folder = str(checkpoint(family, tmp_path / family))

    problem = problem_of(folder, ["dsnot(skip=none)@0.5"], sites="linear", dtype="bfloat16")

    for site in problem.table.sites[:8]:
        (weight,) = (matrix(layer) for layer in site.variants[1].build().values())
        assert (weight == 0).sum(1).eq(weight.shape[1] // 2).all()
        assert weight.dtype == torch.bfloat16


# ---- through the doors


def test_the_method_takes_its_share_of_each_row(folder: str) -> None:
    problem = problem_of(folder, ["removal"])
    method = build("method", Ref("dsnot", {"skip": "none", "cycles": 20}))

    outcome = method(problem, 0.5, stream(0, "method"))

    assert method == Method(skip="none", cycles=20)
    assert outcome.sparsity == pytest.approx(0.5)
    kind = DSnoT(skip="none", cycles=20)
    wanted = problem_of(folder, [variants.Asked(kind, (0.5,))])
    for site in range(len(wanted.table)):
        found = built(outcome.problem, site, "dsnot-0.5")
        assert all(torch.equal(found[p], w) for p, w in built(wanted, site, "dsnot-0.5").items())


def test_what_is_told_can_be_set(capsys: Any) -> None:
    assert main(["show", "dsnot", "--kind", "variant", "--json"]) == 0

    told = [one["name"] for one in json.loads(capsys.readouterr().out)["settings"]]
    assert told == ["initial", "cycles", "threshold", "power", "same_sign", "skip"]


def test_a_target_that_leaves_no_whole_weight_is_refused(folder: str) -> None:
    with pytest.raises(ConfigError, match="'wanda' removes whole weights of each row"):
        Method()(problem_of(folder, ["removal"]), 0.01, stream(0, "method"))


def test_a_knee_bounds_its_levels(folder: str) -> None:
    problem = problem_of(folder, ["dsnot@0.5,0.95"])

    kept, notes = knee.bounded(problem, problem._asked, 0.0, stream(0, "knee"))

    assert list(notes) == ["knee of dsnot"]
    assert kept[0].levels[0] == 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "dsnot(initial=wnda)",
            "initial of variant 'dsnot(initial=wnda)': no scorer called 'wnda'",
        ),
        ("dsnot(initial=ria)@0.5", "is 'ria', which compares whole matrices; expected a scorer"),
        ("dsnot(initial=sparsegpt)", "no scorer called 'sparsegpt'"),
        ("dsnot(cycles=-1)", "cycles of variant 'dsnot(cycles=-1)' must be at least 0, got -1"),
        ("dsnot(cycles=x)", "cycles of variant 'dsnot' must be a whole number, got 'x'"),
        ("dsnot(threshold=-0.1)", "must be at least 0, got -0.1"),
        ("dsnot(power=nan)", "must be at least 0, got nan"),
        ("dsnot(power=inf)", "must be at least 0, got inf"),
        ("dsnot(same_sign=1)", "same_sign of variant 'dsnot' must be true or false, got '1'"),
        ("dsnot(skip=mlp)", "must be one of feed_forward, attention, none, got 'mlp'"),
        ("dsnot(pattern=2)", "variant 'dsnot' has no setting 'pattern'"),
        ("dsnot(cycle=2)", "has no setting 'cycle'; did you mean 'cycles'?"),
        ("dsnot@1.0", "'dsnot@1.0': levels must be numbers between 0 and 1"),
        ("2:4@dsnot(same_sign=true)", "variant '2:4@dsnot(same_sign=true)' has no setting"),
        ("2:4@dsnot(initial=wnda)", "no scorer called 'wnda'"),
        ("4:4@dsnot", "4:4 is not a sparsity pattern"),
        ("2:4@dsnt", "2:4@dsnt: no scorer called 'dsnt'; known: wanda"),
    ],
)
def test_settings_that_mean_nothing(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        variants.parse(text)

    assert message in caught.value.message


def test_groups_that_do_not_fit_and_methods_with_bad_settings(folder: str) -> None:
    with pytest.raises(ConfigError, match="1:5@dsnot needs rows that 5 divides"):
        problem_of(folder, ["1:5@dsnot"])
    with pytest.raises(ConfigError, match="cycles of variant 'dsnot' must be at least 0, got -3"):
        Method(cycles=-3)
