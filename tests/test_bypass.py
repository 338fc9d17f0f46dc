"""Bypasses in every family: what they are taught, what they cost, what an export makes of them."""

from __future__ import annotations

import copy
import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exporting import opened, outputs, same, write
from families import ENCODERS, EVERY, checkpoint

from evo import Context, Genomes
from evo.errors import ConfigError, ModelError
from problems.pruning import bypass, models
from problems.pruning.calibration import Calibration
from problems.pruning.cost import pruned_model
from problems.pruning.fitting.flow import walk
from problems.pruning.fitting.linear import by_rank
from problems.pruning.fitting.moments import Moments
from problems.pruning.layouts import twin
from problems.pruning.searches import Mixed
from problems.pruning.variants import parse
from problems.pruning.variants.subfit import KINDS, SubFit

SIZES = {"calibration": 4, "search": 10, "validation": 2}
VARIANTS = ["removal", "subfit@0.25,0.6"]
REFUSED = r"ignore_mismatched_sizes|is a per-layer attribute"
KNOWN: dict[Any, Any] = {}


@pytest.fixture(scope="module", autouse=True)
def _place(tmp_path_factory: Any) -> Any:
    """Keep loaders that transformers copies, and shared folders, out of the home folder."""
    KNOWN["folder"] = tmp_path_factory.mktemp("bypass")
    yield
    KNOWN.clear()


def folder_of(family: str) -> Path:
    folder = KNOWN["folder"] / family
    return folder if folder.is_dir() else checkpoint(family, folder)


def problem_of(family: str, **settings: Any) -> Mixed:
    key = family, str(settings)
    if key not in KNOWN:
        made = {"variants": VARIANTS, "length": 24, "sizes": SIZES, "cache": "off"} | settings
        KNOWN[key] = Mixed(model=str(folder_of(family)), **made)
    return KNOWN[key]


def genome(problem: Mixed, **wanted: str) -> np.ndarray:
    """The dense genome but for sites like ``attention0``, whose variant is as given."""
    row = np.zeros(len(problem.table), dtype=np.int16)
    for column, site in enumerate(problem.table.sites):
        name = wanted.pop(f"{site.kind}{site.depth}", None)
        if name is not None:
            row[column] = [v.name for v in site.variants].index(name)
    assert not wanted
    return row


MIXED = {
    "attention0": "subfit-0.25", "feed_forward0": "removed",
    "attention1": "subfit-0.6", "feed_forward1": "subfit-0.25",
    "attention2": "removed", "feed_forward2": "subfit-0.6",
}  # fmt: skip
SOME = {"attention0": "subfit-0.25", "feed_forward1": "subfit-0.25"}


def judged(problem: Mixed, row: np.ndarray, *names: str) -> dict[str, float]:
    batch = problem.batch(Genomes({"choices": row[None]}), Context())
    return {o.name: float(o(batch)[0]) for o in problem.objectives if o.name in names}


# ---- what a bypass is taught


class Oracle(torch.nn.Module):
    """Stands where a bypass would, and gives what the fit was told to predict."""

    def __init__(self, answer: torch.Tensor, kept: torch.Tensor, attention: bool) -> None:
        super().__init__()
        self.answer, self.kept, self.attention = answer, kept, attention

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        self.seen = hidden_states.reshape(-1, hidden_states.shape[-1])[self.kept]
        given = torch.zeros_like(hidden_states).reshape(-1, hidden_states.shape[-1])
        given[self.kept] = self.answer.to(given)
        given = given.reshape(hidden_states.shape)
        return (given, None) if self.attention else given


@pytest.mark.parametrize("regressor", ["residual", "norm"])
@pytest.mark.parametrize("family", EVERY)
def test_what_a_bypass_is_taught_makes_the_block_whole(family: str, regressor: str) -> None:
    problem, kind = problem_of(family), SubFit(regressor=regressor, skip=1)
    batches = problem.data.batches("calibration")
    calibration = Calibration(problem.pretrained, batches, "")

    for block, flows in walk(calibration, skip=1):
        for flow in flows:
            for place in KINDS:
                x, u = kind.streams(block, place, flow)
                oracle = Oracle(u, flow._kept, place == "attention")
                made = bypass.replacements(block, place, oracle, normalised=regressor == "norm")
                args, kwargs = flow._call
                with torch.inference_mode():
                    out = twin(flow._module, made)(flow._hidden, *args, **kwargs)
                rows = out.reshape(-1, out.shape[-1])[flow._kept].double()
                torch.testing.assert_close(rows, flow.after, atol=1e-4, rtol=1e-4)
                torch.testing.assert_close(oracle.seen.double(), x)


def test_padding_and_leading_tokens_are_left_out() -> None:
    problem = problem_of("bert")
    batches = problem.data.batches("calibration")
    calibration = Calibration(problem.pretrained, batches, "")
    real = sum(int(b.ids.numel() if b.mask is None else b.mask.sum()) for b in batches)
    sequences = sum(len(b.ids) for b in batches)
    assert real < sum(b.ids.numel() for b in batches)

    for skip in (0, 2):
        seen = [sum(len(f.before) for f in flows) for _, flows in walk(calibration, skip)]
        assert seen == [real - skip * sequences] * 3


def test_blocks_are_seen_as_an_ordinary_pass_shows_them() -> None:
    problem = problem_of("llama")
    batches = problem.data.batches("calibration")

    for block, flows in walk(Calibration(problem.pretrained, batches, "")):
        for batch, flow in zip(batches, flows, strict=True):
            with torch.inference_mode():
                states = problem.pretrained.model(
                    batch.ids, output_hidden_states=True
                ).hidden_states
            wanted = states[block.index].reshape(-1, 32).double()
            torch.testing.assert_close(flow.before, wanted, atol=1e-5, rtol=1e-5)


def test_a_feed_forward_that_is_linear_is_recovered(tmp_path: Path) -> None:
    pretrained = models.load(str(folder_of("llama")))
    pretrained.model.double()
    truth = torch.randn(32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    block: Any = pretrained.blocks[1].module
    block.post_attention_layernorm.forward = lambda x: x
    block.mlp.forward = lambda x: x @ truth
    batches = problem_of("llama").data.batches("calibration")
    kind, sums = SubFit(ridge=0.0, intercept=False), Moments.zero(32, 32)

    for seen, flows in walk(Calibration(pretrained, batches, "", (pretrained.blocks[1],))):
        assert seen.index == 1
        for flow in flows:
            sums.add(*kind.streams(seen, "feed_forward", flow))
    first, second = by_rank(sums, 0.0)

    assert (first.t() @ second - truth).abs().max() < 1e-8


def test_effects_are_means_over_tokens() -> None:
    problem = problem_of("gemma2")
    fitted = problem.library.fitted(SubFit())
    batches = problem.data.batches("calibration")
    before, after = [], []
    for block, flows in walk(Calibration(problem.pretrained, batches, "")):
        for flow in flows:
            if block.index == 2:
                before.append(flow.attention.residual)
                after.append(flow.feed_forward.residual)
    x, y = torch.cat(before).numpy(), torch.cat(after).numpy()

    sizes = np.linalg.norm(x, axis=1), np.linalg.norm(y, axis=1)
    rotation = np.mean(1 - (x * y).sum(1) / (sizes[0] * sizes[1]))
    magnitude = np.mean(np.linalg.norm(y - x, axis=1) / sizes[0])

    assert float(fitted["attention.2.rotation"]) == pytest.approx(rotation, rel=1e-4)
    assert float(fitted["attention.2.magnitude"]) == pytest.approx(magnitude, rel=1e-4)


# ---- in a search


@pytest.mark.parametrize("sites", ["submodule", "block"])
@pytest.mark.parametrize("family", EVERY)
def test_searches_judge_bypassed_models_as_they_are(family: str, sites: str) -> None:
    problem = problem_of(family, sites=sites)
    rng = np.random.default_rng(5)
    rows = np.stack([rng.integers(0, problem.table.sizes) for _ in range(5)]).astype(np.int16)
    rows[0], rows[1] = 0, np.array(problem.table.sizes) - 2
    batch = problem.batch(Genomes({"choices": rows}), Context())
    counted = batch.params.sum(1) + batch.base.params
    reader = problem.reader("search")

    swept = problem.sweep()(rows, problem.data.batches("search"), reader)

    same(outputs(problem, pruned_model(problem.pretrained, problem.table, rows[0])),
         outputs(problem, problem.pretrained.model), atol=0)  # fmt: skip
    for row, got, params in zip(rows, swept, counted, strict=True):
        model = pruned_model(problem.pretrained, problem.table, row)
        assert sum(p.numel() for p in model.parameters()) == params
        pairs = zip(problem.data.batches("search"), outputs(problem, model), strict=True)
        alone = torch.cat([reader(i, b, out) for i, (b, out) in enumerate(pairs)])
        np.testing.assert_allclose(got, alone.numpy(), atol=1e-6)


@pytest.mark.parametrize("family", ["llama", "bert", "gemma3", "gpt_neox"])
def test_bypasses_are_nearer_to_the_dense_model_than_removal(family: str) -> None:
    problem = problem_of(family)
    quality = "kl" if problem.kind == "lm" else "drift"

    def mean(name: str) -> float:
        rows = [genome(problem, **{f"{s.kind}{s.depth}": name}) for s in problem.table.sites]
        return float(np.mean([judged(problem, row, quality)[quality] for row in rows]))

    assert mean("subfit-0.6") < mean("removed")
    assert mean("subfit-0.25") < mean("removed")


def test_costs_of_a_bypass() -> None:
    problem = problem_of("llama")
    sites = {f"{s.kind}{s.depth}": s for s in problem.table.sites}
    attention = {v.name: v.cost for v in sites["attention1"].variants}
    feed_forward = {v.name: v.cost for v in sites["feed_forward1"].variants}

    thin, whole = attention["subfit-0.25"], feed_forward["subfit-0.6"]

    assert (thin.params, thin.macs) == (2 * 2 * 32 + 32, 2 * 2 * 32)  # rank 32 / 4 / 4
    assert (thin.weight_bytes, thin.kv_bytes) == (4 * thin.params, 0)
    assert feed_forward["subfit-0.25"].params == 2 * 8 * 32 + 32
    assert (whole.params, whole.macs) == (32 * 32 + 32, 32 * 32)
    row = genome(problem, attention0="subfit-0.25", attention1="removed")
    dense = genome(problem)
    kv = [judged(problem, r, "kv_bytes")["kv_bytes"] for r in (row, dense)]
    assert kv[0] == pytest.approx(kv[1] / 3)


def test_norms_that_stay_are_paid_for() -> None:
    problem = problem_of("gemma2", variants=["subfit(regressor=norm)@0.25"])
    for site in problem.table.sites:
        rank = 2 if site.kind == "attention" else 8
        assert site.variants[1].cost.params == 2 * rank * 32 + 32 + 32


def test_ranks_share_what_the_library_holds(tmp_path: Path) -> None:
    problem = problem_of("llama", variants=["subfit@0.1,0.2,0.3,0.6,0.8"], cache=str(tmp_path))
    names = [v.name for v in problem.table.sites[1].variants]
    assert sorted(names) == ["dense", "subfit-0.1", "subfit-0.2", "subfit-0.3", "subfit-0.6"]

    made = [v.build()["mlp"] for v in problem.table.sites[1].variants[2:]]  # not the whole map
    held = problem.library.fitted(SubFit())["feed_forward.0.first"]

    assert {m.first.data_ptr() for m in made} == {held.data_ptr()}
    again = problem_of("llama", variants=["subfit@0.5"], cache=str(tmp_path))
    assert torch.equal(again.library.fitted(SubFit())["feed_forward.0.first"], held)


def test_polishing_fits_bypasses_to_the_pruned_prefix() -> None:
    problem = problem_of("llama")
    row = genome(problem, **MIXED)

    other, genomes = problem.polished(Genomes({"choices": row[None]}))
    counts = [judged(p, r, "params") for p, r in ((problem, row), (other, genomes["choices"][0]))]

    assert counts[0] == counts[1]
    quality = [
        judged(p, r, "kl")["kl"] for p, r in ((problem, row), (other, genomes["choices"][0]))
    ]
    assert quality[0] != quality[1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("subfit(regressor=state)", "regressor must be 'residual' or 'norm', got 'state'"),
        ("subfit(ridge=-1)", "ridge >= 0"),
        ("subfit(attention=0)", "0 < attention <= 1"),
        ("subfit(attentions=1)", "no setting 'attentions'.*attention"),
    ],
)
def test_settings_that_make_no_sense_are_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse(text)


def test_an_activation_in_the_block_s_own_code_is_refused() -> None:
    problem = problem_of("bert")
    block = problem.pretrained.blocks[0]
    bare = type(block)(0, twin(block.module, {}), block.layout, block.heads)
    inner: Any = bare.module
    inner._modules["intermediate"] = torch.nn.ModuleDict({"dense": torch.nn.Linear(32, 64)})

    with pytest.raises(ConfigError, match="block 0 has its feed-forward's activation"):
        bypass.replacements(bare, "feed_forward", torch.nn.Identity())


# ---- a basis in common


COMMON = ["removal", "subfit(basis=shared)@0.25,0.6"]
NAMES = ("subfit(basis=shared)-0.25", "subfit(basis=shared)-0.6")


def with_basis(problem: Mixed, *ranks: int | None) -> np.ndarray:
    """Feed-forwards by block: dense, thin (0) or wide (1)."""
    wanted = {f"feed_forward{i}": NAMES[r] for i, r in enumerate(ranks) if r is not None}
    return genome(problem, **wanted)


def test_a_common_basis_is_paid_by_its_first_user() -> None:
    problem = problem_of("llama", variants=COMMON)
    columns = [i for i, s in enumerate(problem.table.sites) if s.kind == "feed_forward"]
    own = {0: 8 * 32 + 32, 1: 19 * 32 + 32}  # D and b of rank 8 and 19
    basis = {0: 8 * 32, 1: 19 * 32}
    rows = {
        (0, None, 0): [own[0] + basis[0], None, own[0]],
        (0, 1, 0): [own[0] + basis[0], own[1] + basis[1] - basis[0], own[0]],
        (1, 0, 1): [own[1] + basis[1], own[0], own[1]],
        (None, None, 1): [None, None, own[1] + basis[1]],
    }
    table = np.stack([with_basis(problem, *row) for row in rows])

    found = problem.batch(Genomes({"choices": table}), Context())

    dense = problem.table.params[columns[0], 0]
    wanted = [[dense if v is None else v for v in row] for row in rows.values()]
    np.testing.assert_array_equal(found.params[:, columns], wanted)
    np.testing.assert_array_equal(found.weight_bytes[:, columns], 4 * np.array(wanted))
    macs = found.macs[0, columns]
    assert list(macs[[0, 2]]) == [2 * 8 * 32] * 2  # everyone computes


@pytest.mark.parametrize("family", EVERY)
def test_models_hold_a_common_basis_once(family: str, tmp_path: Path) -> None:
    problem = problem_of(family, variants=COMMON)
    row = with_basis(problem, 0, None, 1)
    row[0] = problem.table.sizes[0] - 1
    dense = outputs(problem, problem.pretrained.model)

    write(problem, row, tmp_path / "small")

    model = pruned_model(problem.pretrained, problem.table, row)
    again = opened(tmp_path / "small", problem.kind, trust_remote_code=True)
    same(outputs(problem, again), outputs(problem, model))
    counts = {sum(p.numel() for p in m.parameters()) for m in (model, again)}
    assert counts == {judged(problem, row, "params")["params"]}
    held = [name for name in again.state_dict() if name.endswith(".basis")]
    assert len(held) == 1
    assert again.state_dict()[held[0]].shape == (19, 32)
    same(outputs(problem, copy.deepcopy(again)), outputs(problem, again))
    reader = problem.reader("search")
    swept = problem.sweep()(row[None], problem.data.batches("search"), reader)[0]
    pairs = zip(problem.data.batches("search"), outputs(problem, model), strict=True)
    alone = torch.cat([reader(i, b, out) for i, (b, out) in enumerate(pairs)])
    np.testing.assert_allclose(swept, alone.numpy(), atol=1e-6)
    assert any(
        (a - b).abs().max() > 0.01 for a, b in zip(outputs(problem, model), dense, strict=True)
    )


def test_a_wide_common_basis_agrees_with_an_own_one() -> None:
    shared = problem_of("qwen2", variants=["subfit(basis=shared)@0.99"])
    own = problem_of("qwen2", variants=["subfit@0.99"])
    rows = [np.array([s.kind == "feed_forward" for s in p.table.sites]) for p in (shared, own)]

    found = [
        judged(p, row.astype(np.int16), "kl")["kl"]
        for p, row in zip((shared, own), rows, strict=True)
    ]

    assert found[0] == pytest.approx(found[1], rel=1e-3)  # the penalty's share is of other sums


def test_polishing_keeps_a_common_basis() -> None:
    problem = problem_of("llama", variants=COMMON)
    row = with_basis(problem, 0, 0, 1)

    other, genomes = problem.polished(Genomes({"choices": row[None]}))

    now = genomes["choices"][0]
    assert judged(other, now, "params") == judged(problem, row, "params")
    for _ in range(2):  # putting a model together changes no module that is kept
        model = pruned_model(other.pretrained, other.table, now)
        assert sum(p.numel() for p in model.parameters()) == judged(other, now, "params")["params"]
    now = now.copy()
    now[1] = 0  # the first user is dense again
    model = pruned_model(other.pretrained, other.table, now)
    assert sum(p.numel() for p in model.parameters()) == judged(other, now, "params")["params"]


# ---- exports


def continues(model: Any, ids: torch.Tensor) -> None:
    """Text in two pieces through the cache, against all of it at once."""
    names = inspect.signature(model.forward).parameters
    name = "cache" if "cache" in names else "past_key_values"
    with torch.inference_mode():
        whole = model(ids, use_cache=False).logits
        first = model(ids[:, :9], use_cache=True)
        assert first[name].get_seq_length() == 9
        rest = model(ids[:, 9:], use_cache=True, **{name: first[name]}).logits
    torch.testing.assert_close(rest, whole[:, 9:], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", EVERY)
def test_exports_open_again_and_say_the_same(family: str, tmp_path: Path) -> None:
    problem = problem_of(family)
    for name, wanted in {"most": MIXED, "some": SOME}.items():
        row = genome(problem, **wanted)

        facts = write(problem, row, tmp_path / name)

        assert facts["params"] == judged(problem, row, "params")["params"]
        model = opened(tmp_path / name, problem.kind, trust_remote_code=True)
        pruned = pruned_model(problem.pretrained, problem.table, row)
        same(outputs(problem, model), outputs(problem, pruned))
        if problem.kind == "lm":  # also where no attention is left
            continues(model, problem.data.batches("search")[0].ids[:2])
        with pytest.raises(RuntimeError, match=REFUSED):
            opened(tmp_path / name, problem.kind)
    card = (tmp_path / "some" / "README.md").read_text()
    assert "| 0 | 0 | linear bypass of rank 2 | all neurons |" in card
    assert "| 1 | 1 | 4 of 4 heads | linear bypass of rank 8 |" in card


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_bypassed_blocks_are_exported_too(family: str, tmp_path: Path) -> None:
    problem = problem_of(family, sites="block")
    row = genome(problem, block0="subfit-0.25", block2="subfit-0.6")

    write(problem, row, tmp_path / "small")

    model = opened(tmp_path / "small", problem.kind, trust_remote_code=True)
    same(
        outputs(problem, model),
        outputs(problem, pruned_model(problem.pretrained, problem.table, row)),
    )


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "bert", "gemma2"])
def test_the_command_line_exports_bypasses(family: str, tmp_path: Path, capsys: Any) -> None:
    from evo.cli import main
    from evo.view import read_run

    run, quality = tmp_path / "run", "drift" if family in ENCODERS else "kl"
    settings = (
        f"model={folder_of(family)}", "cache=off", "length=24", "sites=submodule",
        "sizes={calibration = 2, search = 4, validation = 2}",
        'variants=["removal", "subfit(regressor=norm)@0.25,0.6"]',
    )  # fmt: skip
    said = [word for text in settings for word in ("--set", f"problem.{text}")]
    line = ["run", "prune/mixed", *said, "--objective", quality, "--objective", "params",
            "--population", "8", "--generations", "2", "--out", str(run)]  # fmt: skip
    assert main(line) == 0
    rows = read_run(run).candidates.genomes["choices"]
    bypassed = [i for i, row in enumerate(rows) if len(set(row.tolist())) > 2]

    assert main(["export", str(run), str(bypassed[0]), "--to", str(tmp_path / "small")]) == 0

    said_there = json.loads((tmp_path / "small" / "config.json").read_text())
    assert "bypass" in json.dumps(said_there["evo_pruning"]["modules"])
    assert "linear bypass of rank" in (tmp_path / "small" / "README.md").read_text()


def test_types_that_exports_do_not_know_are_refused(tmp_path: Path) -> None:
    problem = problem_of("llama")
    row = genome(problem, feed_forward0="subfit-0.25")
    modules: Any = problem.table.sites[1].variants[row[1]].shape["modules"]["mlp"]
    patch = pytest.MonkeyPatch()
    patch.setitem(modules, "type", "detour")

    with patch.context(), pytest.raises(ModelError, match="type that exports do not know: detour"):
        write(problem, row, tmp_path / "small")
    patch.undo()
