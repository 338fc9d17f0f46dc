"""SliceGPT's rotation per site: widths and costs by hand, projections, bases, and whole models."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from families import EVERY, checkpoint
from torch import nn

from evo import Context, Genomes
from evo.errors import ConfigError, ModelError
from problems.pruning import bases, grams
from problems.pruning.bases import PrincipalBases, names, principal
from problems.pruning.calibration import Calibration
from problems.pruning.cost import pruned_model
from problems.pruning.layouts import count_heads, find_layout, get, twin
from problems.pruning.library import Library
from problems.pruning.models import Block
from problems.pruning.searches import Mixed
from problems.pruning.sites import Place, places
from problems.pruning.sliced import Sliced, sliced
from problems.pruning.sweep import Sweep
from problems.pruning.variants import slicegpt
from problems.pruning.variants.slicegpt import SLICEGPT, kept, wrappers

SIZES = {"calibration": 6, "search": 4, "validation": 2}
PARTS = ("attention", "feed_forward")
RNG = np.random.default_rng(0)
KNOWN: dict[Any, Any] = {}


@pytest.fixture(scope="module", autouse=True)
def _place(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder for what several tests share."""
    KNOWN["folder"] = tmp_path_factory.mktemp("models")
    yield
    KNOWN.clear()


def fresh(family: str, **settings: Any) -> Mixed:
    folder = KNOWN["folder"] / family
    if not folder.is_dir():
        checkpoint(family, folder)
    plain: dict[str, Any] = {"variants": ["slicegpt@0.5,0.75"], "length": 24, "cache": "off"}
    return Mixed(model=str(folder), **(plain | {"sizes": SIZES} | settings))


def problem_of(family: str, **settings: Any) -> Mixed:
    key = family, str(settings)
    if key not in KNOWN:
        KNOWN[key] = fresh(family, **settings)
    return KNOWN[key]


def calibration_of(problem: Mixed) -> Calibration:
    return Calibration(problem.pretrained, problem.data.batches("calibration"), "text")


def exact(family: str) -> tuple[Mixed, dict[str, torch.Tensor]]:
    """A problem whose model is float64, and the bases that it gives."""
    if ("exact", family) not in KNOWN:
        problem = fresh(family)
        problem.pretrained.model.double()
        fitted = {k: t for p in PrincipalBases().fit(calibration_of(problem)) for k, t in p.items()}
        KNOWN["exact", family] = problem, fitted
    return KNOWN["exact", family]


def column(problem: Mixed, name: str) -> np.ndarray:
    """The genome that makes one choice everywhere."""
    found = [[v.name for v in s.variants].index(name) for s in problem.table.sites]
    return np.array(found, dtype=np.int16)


def value(problem: Mixed, objective: str, row: np.ndarray) -> float:
    batch = problem.batch(Genomes({"choices": row[None]}), Context())
    return float({o.name: o for o in problem.objectives}[objective](batch)[0])


def outputs(problem: Mixed, model: Any) -> torch.Tensor:
    """What a model gives on the real tokens of the search text."""
    found = []
    with torch.inference_mode():
        for batch in problem.data.batches("search"):
            made = model(**problem.sweep()._inputs(batch))[0]
            mask = torch.ones_like(batch.ids) if batch.mask is None else batch.mask
            found.append(made[mask.bool()])
    return torch.cat(found)


def with_bases(problem: Mixed, basis: Callable[[Block, str], Any]) -> Any:
    """The model with every submodule between the bases that are given for it."""
    blocks = []
    for block in problem.pretrained.blocks:
        made = {
            path: sliced(get(block.module, path), *basis(block, part), *inside)
            for part in PARTS
            for path, inside in wrappers(block.layout, part).items()
        }
        blocks.append(twin(block.module, made))
    listed = {problem.pretrained.blocks_path: nn.ModuleList(blocks)}
    return twin(problem.pretrained.model, listed)


def ends_of(block: Block, part: str) -> tuple[tuple[str, ...], str]:
    """Layers that read, and the one that gives, by their places in the layout."""
    layout = block.layout
    if part == "attention":
        return layout.queries, layout.output
    return layout.ups, layout.down


# ---- the rotation


@pytest.mark.parametrize("family", EVERY)
def test_all_channels_of_the_learnt_bases_change_nothing(family: str) -> None:
    problem, fitted = exact(family)

    whole = with_bases(problem, lambda block, part: [fitted[n] for n in names(block, part)])

    want = outputs(problem, problem.pretrained.model)
    torch.testing.assert_close(outputs(problem, whole), want, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "bert", "gpt_neox"])
def test_any_orthogonal_matrices_change_nothing(family: str) -> None:
    problem, _ = exact(family)
    generator = torch.Generator().manual_seed(3)

    def orthogonal(block: Block, part: str) -> list[torch.Tensor]:
        noise = torch.randn(2, 32, 32, generator=generator, dtype=torch.float64)
        return list(torch.linalg.qr(noise).Q)

    turned = with_bases(problem, orthogonal)

    want = outputs(problem, problem.pretrained.model)
    torch.testing.assert_close(outputs(problem, turned), want, atol=1e-9, rtol=1e-9)
    assert any(isinstance(m, Sliced) for m in turned.modules())


@pytest.mark.parametrize("family", EVERY)
def test_fewer_channels_are_projections_of_what_is_read_and_given(family: str) -> None:
    problem, fitted = exact(family)
    handles = []
    for block in problem.pretrained.blocks:
        for part in PARTS:
            first, last = ends_of(block, part)
            read, given = (fitted[n][:16] for n in names(block, part))
            before, after = read.t() @ read, given.t() @ given
            for path in first:
                handles.append(
                    get(block.module, path).register_forward_pre_hook(
                        lambda m, x, p=before: (x[0] @ p, *x[1:])
                    )
                )
            handles.append(
                get(block.module, last).register_forward_hook(lambda m, x, y, p=after: y @ p)
            )
    projected = outputs(problem, problem.pretrained.model)
    for handle in handles:
        handle.remove()

    narrow = with_bases(problem, lambda b, part: [fitted[n][:16] for n in names(b, part)])

    got = outputs(problem, narrow)
    torch.testing.assert_close(got, projected, atol=1e-9, rtol=1e-9)
    dense = outputs(problem, problem.pretrained.model)
    assert float((got - dense).abs().max()) > 1e-2


@pytest.mark.parametrize("family", ["llama", "gemma2", "opt", "gpt2", "bert", "distilbert"])
def test_projections_lose_the_dropped_eigenvalues_on_the_calibration_text(family: str) -> None:
    problem, fitted = exact(family)
    for block in problem.pretrained.blocks[:2]:
        for part in PARTS:
            first, last = ends_of(block, part)
            seen = [
                real(problem, problem.pretrained.model, block, first[0], before=True),
                real(problem, problem.pretrained.model, block, last, before=False),
            ]
            for x, name in zip(seen, names(block, part), strict=True):
                rows = fitted[name]
                torch.testing.assert_close(rows @ rows.t(), torch.eye(32).double())
                values = torch.linalg.eigvalsh(x.t() @ x).flip(0)
                for width in (1, 8, 24, 31):
                    left = x - x @ rows[:width].t() @ rows[:width]
                    assert float(left.square().sum()) == pytest.approx(
                        float(values[width:].sum()), rel=1e-7, abs=1e-9 * float(values.sum())
                    )


def real(problem: Mixed, model: Any, block: Block, path: str, *, before: bool) -> torch.Tensor:
    """What a layer of a whole model reads or gives on the calibration text without padding."""
    layer = model.get_submodule(f"{problem.pretrained.blocks_path}.{block.index}.{path}")
    found = []
    for batch in problem.data.batches("calibration"):
        seen: list[torch.Tensor] = []
        handle = layer.register_forward_hook(
            lambda m, x, y, seen=seen: seen.append(x[0] if before else y)
        )
        with torch.inference_mode():
            model(**problem.sweep()._inputs(batch))
        handle.remove()
        flat = seen[0].reshape(-1, seen[0].shape[-1])
        found.append(flat if batch.mask is None else flat[batch.mask.reshape(-1).bool()])
    return torch.cat(found).double().clone()


def test_directions_that_the_text_never_shows_come_last() -> None:
    gram = torch.diag(torch.tensor([0.0, 3.0, 0.0, 5.0])).double()

    rows = principal(gram)

    assert rows[:2].abs().tolist() == [[0, 0, 0, 1], [0, 1, 0, 0]]
    torch.testing.assert_close(rows @ rows.t(), torch.eye(4).double())


def test_sums_are_held_for_as_many_blocks_as_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of("gpt2")
    whole = [found for _, found in bases.products(calibration_of(problem))]
    monkeypatch.setattr(grams, "GRAM_BYTES", 2 * 8 * 4 * 32**2)
    passes: list[int] = []
    plain = Calibration.listen
    monkeypatch.setattr(
        Calibration, "listen", lambda self, see: (passes.append(len(self.blocks)), plain(self, see))
    )

    parts = [found for _, found in bases.products(calibration_of(problem))]

    assert passes == [2, 1]
    for one, other in zip(whole, parts, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            torch.testing.assert_close(one[name], other[name])


def test_inputs_that_overflow_are_named() -> None:
    problem = fresh("llama")
    norm: Any = get(problem.pretrained.blocks[1].module, "post_attention_layernorm")
    norm.weight.fill_(1e38)

    with pytest.raises(ModelError, match=r"inputs of mlp\.down_proj of block 1 are not finite"):
        list(PrincipalBases().fit(calibration_of(problem)))


# ---- widths and costs


@pytest.mark.parametrize(
    ("level", "hidden", "multiple", "width"),
    [
        (0.1, 4096, 8, 3680),  # 3686.4
        (0.2, 4096, 8, 3272),  # 3276.8
        (0.25, 4096, 8, 3072),
        (0.3, 4096, 8, 2864),  # 2867.2
        (0.2, 768, 8, 608),  # 614.4
        (0.25, 2560, 8, 1920),
        (0.3, 4096, 1, 2867),
        (0.3, 4096, 128, 2816),
        (0.9, 80, 8, 8),  # 7.999999999999998 in floats
        (0.5, 32, 8, 16),
        (0.5, 30, 8, 8),  # 15
        (0.8, 32, 8, 0),  # 6.4
    ],
)
def test_widths_by_hand(level: float, hidden: int, multiple: int, width: int) -> None:
    assert kept(level, hidden, multiple) == width


@pytest.mark.parametrize(("dtype", "itemsize"), [("float32", 4), ("bfloat16", 2)])
def test_costs_by_hand(dtype: str, itemsize: int) -> None:
    problem = problem_of("opt", dtype=dtype)
    dense, half = problem.table.sites[0].variants[:2]
    assert half.name == "slicegpt-0.5"
    # queries, keys and values 32 x 16, the output 16 x 32, an entry and an exit of 16 x 32
    weights = 6 * 32 * 16
    biases, norm = 3 * 32 + 16, 64
    attended = dense.cost.macs - 4 * 32 * 32
    assert half.cost.weights == weights
    assert half.cost.params == weights + biases + norm
    assert half.cost.macs == weights + attended
    assert half.cost.weight_bytes == (weights + biases + norm) * itemsize
    assert half.cost.kv_bytes == dense.cost.kv_bytes > 0
    dense, half = problem.table.sites[1].variants[:2]
    assert half.cost.weights == half.cost.macs == 2 * 64 * 16 + 2 * 32 * 16
    assert half.cost.params == half.cost.weights + 64 + 16 + norm


@pytest.mark.parametrize("family", EVERY)
@pytest.mark.parametrize("sites", ["submodule", "block"])
def test_costs_are_those_of_the_modules_that_are_built(family: str, sites: str) -> None:
    problem = problem_of(family, sites=sites)
    row = column(problem, "slicegpt-0.5")
    assert len(problem.table) == (6 if sites == "submodule" else 3)

    model = pruned_model(problem.pretrained, problem.table, row)

    params = {id(p): p.numel() for p in model.parameters()}
    assert value(problem, "params", row) == sum(params.values())
    matrices = {
        id(p): p.numel()
        for name, p in get(model, problem.pretrained.blocks_path).named_parameters()
        if p.dim() == 2
    }
    assert problem.table.costs("weights", row[None]).sum() == sum(matrices.values())
    spared = problem.table.costs("macs", np.stack([0 * row, row])).sum(1)
    saved = problem.table.costs("weights", np.stack([0 * row, row])).sum(1)
    assert spared[0] - spared[1] == saved[0] - saved[1] > 0


def test_widths_that_save_nothing_are_no_choice_and_equal_ones_are_one() -> None:
    problem = problem_of("llama", variants=["slicegpt@0.25,0.4,0.5,0.51,0.75"])
    attention, feed_forward = problem.table.sites[:2]

    # of the attention's 3072 weights 160 stay per channel, of 6144 of the feed-forward 256
    assert [v.name for v in attention.variants] == ["dense", "slicegpt-0.4", "slicegpt-0.51"]
    assert [v.cost.weights for v in attention.variants] == [3072, 160 * 16, 160 * 8]
    assert [v.name for v in feed_forward.variants] == ["dense", "slicegpt-0.4", "slicegpt-0.51"]
    fine = problem.again(["slicegpt(multiple=1)@0.25,0.4"])
    assert [v.cost.weights for v in fine.table.sites[0].variants] == [3072, 160 * 19]
    assert [v.cost.weights for v in fine.table.sites[1].variants] == [6144, 256 * 19]
    with pytest.raises(ConfigError, match="applies to no site of kind 'linear'"):
        problem.again(["slicegpt"], sites="linear")


def llama_7b() -> dict[str, Place]:
    """The sites of one block of LLaMA-2-7B, without weights."""
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaDecoderLayer

    config = LlamaConfig()  # its defaults are those of the 7B model
    assert (config.hidden_size, config.intermediate_size) == (4096, 11008)
    with torch.device("meta"):
        module = LlamaDecoderLayer(config, 0)
    layout = find_layout(module)
    assert layout is not None
    block = Block(0, module, layout, count_heads(module, layout, config))
    found = [
        place
        for sites in ("submodule", "block")
        for place in places([block], sites, itemsize=2, tokens=1024.5, caches=True)
    ]
    return {place.kind: place for place in found}


def test_figures_of_a_large_model_are_those_of_the_docstring_and_of_the_paper() -> None:
    assert slicegpt.__doc__ is not None
    rows = re.findall(r"^\| (\d+) % \|(.*)\|$", slicegpt.__doc__, re.M)
    d, h = 4096, 11008
    dense = {"attention": 4 * d * d, "feed_forward": 3 * d * h, "block": 4 * d * d + 3 * d * h}
    found = llama_7b()
    assert len(rows) == 6

    for percent, said in rows:
        level = int(percent) / 100
        k = int((1 - level) * d) // 8 * 8
        paper = k * (4 * d + 3 * h) + 2 * k * k  # narrow layers and two matrices on the shortcut
        here = {"attention": 6 * d * k, "feed_forward": (3 * h + 2 * d) * k}
        here["block"] = sum(here.values())
        changes = [paper / dense["block"] - 1, *(here[p] / dense[p] - 1 for p in dense)]
        assert said.split("|") == [f" {100 * change:+.1f} % " for change in changes]
        for kind, place in found.items():
            offered = SLICEGPT.variants(place, Library({}), [level])
            weights = [v.cost.weights for v in offered]
            assert weights == ([here[kind]] if here[kind] < dense[kind] else [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("slicegpt@0.8", r"level 0\.8 keeps 6 of 32 channels, .* none in multiples of 8"),
        ("slicegpt(multiple=64)@0.25", "keeps 24 of 32 channels"),
        ("slicegpt(multiple=0)", r"multiple of variant 'slicegpt.*' must be at least 1, got 0"),
        ("slicegpt@1", "levels must be numbers between 0 and 1"),
    ],
)
def test_what_cannot_be_sliced(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        problem_of("llama").again([text])


# ---- in searches


@pytest.mark.parametrize("family", EVERY)
def test_sweeps_agree_with_one_model_at_a_time(family: str) -> None:
    problem = problem_of(family, variants=["slicegpt@0.5,0.75", "removal", "width@0.5"])
    rng, batches = np.random.default_rng(3), problem.data.batches("search")
    rows = np.stack([rng.integers(0, problem.table.sizes) for _ in range(6)]).astype(np.int16)
    rows[0] = column(problem, "slicegpt-0.5")
    rows[1, :4] = rows[2, :4]
    reader = problem.reader("search")

    swept = problem.sweep()(rows, batches, reader)

    wide = Sweep(problem.pretrained, problem.table, order="breadth")(rows, batches, reader)
    np.testing.assert_allclose(wide, swept, atol=5e-6)
    with torch.inference_mode():
        for row, got in zip(rows, swept, strict=True):
            model = pruned_model(problem.pretrained, problem.table, row)
            found = []
            for i, batch in enumerate(batches):
                found.append(reader(i, batch, model(**problem.sweep()._inputs(batch))[0]))
            np.testing.assert_allclose(got, torch.cat(found).numpy(), atol=5e-6)
    assert swept[0, :, -1].mean() > 1e-3  # being sliced matters


@pytest.mark.parametrize("family", ["llama", "bert", "opt"])
def test_a_block_is_both_its_submodules(family: str) -> None:
    whole, halves = problem_of(family, sites="block"), problem_of(family)
    quality = "kl" if whole.kind == "lm" else "drift"

    for objective in ("params", "macs", quality):
        one = value(whole, objective, column(whole, "slicegpt-0.5"))
        both = value(halves, objective, column(halves, "slicegpt-0.5"))
        assert one == pytest.approx(both, rel=1e-5)


def test_one_fit_serves_every_width_and_multiple(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    fits: list[int] = []
    plain = PrincipalBases.fit
    monkeypatch.setattr(PrincipalBases, "fit", lambda self, c: (fits.append(1), plain(self, c))[1])

    first = fresh("llama", variants=["slicegpt@0.5"], cache=str(tmp_path))
    other = first.again(["slicegpt(multiple=4)@0.6,0.75"])

    assert fits == [1]
    built = other.table.sites[0].variants[1].build()["self_attn"]
    wider = first.table.sites[0].variants[1].build()["self_attn"]
    assert built.entry.shape == (12, 32)
    assert torch.equal(built.entry, wider.entry[:12])
    assert torch.equal(built.exit, wider.exit[:, :12])
    for matrix in (built.entry, built.exit):  # the whole basis is not held by them
        assert matrix.untyped_storage().nbytes() == 12 * 32 * 4


def test_chosen_slices_are_made_again_on_their_prefix() -> None:
    problem = problem_of("gpt2", variants=["slicegpt@0.5"])
    row = column(problem, "slicegpt-0.5")

    other, genomes = problem.polished(Genomes({"choices": row[None]}))

    taken = genomes["choices"][0]
    assert value(other, "params", taken) == value(problem, "params", row)
    prefix = taken.copy()
    prefix[-2:] = 0  # the last block is dense while its inputs are looked at
    behind = pruned_model(problem.pretrained, other.table, prefix)
    block = problem.pretrained.blocks[2]
    for site, part in zip((-2, -1), PARTS, strict=True):
        first, last = ends_of(block, part)
        (path,) = wrappers(block.layout, part)
        again: Any = other.table.sites[site].variants[1].build()[path]
        before: Any = problem.table.sites[site].variants[1].build()[path]
        for layer, rows, old in (
            (first[0], again.entry, before.entry),
            (last, again.exit.t(), before.exit.t()),
        ):
            x = real(problem, behind, block, layer, before=layer == first[0])
            tail = float(torch.linalg.eigvalsh(x.t() @ x)[:16].sum())
            assert lost(x, rows) == pytest.approx(tail, rel=1e-4)
            assert lost(x, old) > 1.001 * tail


def lost(x: torch.Tensor, rows: torch.Tensor) -> float:
    rows = rows.double()
    return float((x - x @ rows.t() @ rows).square().sum())
