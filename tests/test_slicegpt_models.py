"""SliceGPT as a method, and what is sliced written as model folders and opened again."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exporting import opened, outputs, same, write
from families import checkpoint
from safetensors.torch import load_file

from evo import Context, Genomes
from evo.config import Ref
from evo.errors import ConfigError
from evo.registry import build
from problems.pruning import export as exports
from problems.pruning.cost import pruned_model
from problems.pruning.searches import Mixed

SIZES = {"calibration": 6, "search": 4, "validation": 2}
RNG = np.random.default_rng(0)
KNOWN: dict[Any, Any] = {}


@pytest.fixture(scope="module", autouse=True)
def _place(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder for what several tests share."""
    KNOWN["folder"] = tmp_path_factory.mktemp("models")
    yield
    KNOWN.clear()


def problem_of(family: str, **settings: Any) -> Mixed:
    key = family, str(settings)
    if key not in KNOWN:
        folder = KNOWN["folder"] / family
        if not folder.is_dir():
            checkpoint(family, folder)
        plain: dict[str, Any] = {"variants": ["slicegpt@0.5,0.75", "removal"], "length": 24}
        made = plain | {"sizes": SIZES, "cache": "off"} | settings
        KNOWN[key] = Mixed(model=str(folder), **made)
    return KNOWN[key]


def value(problem: Mixed, objective: str, row: np.ndarray) -> float:
    batch = problem.batch(Genomes({"choices": row[None]}), Context())
    return float({o.name: o for o in problem.objectives}[objective](batch)[0])


def chosen(problem: Mixed, names: list[str]) -> np.ndarray:
    """A name per site as a genome."""
    offered = [[v.name for v in s.variants] for s in problem.table.sites]
    found = [own.index(name) for own, name in zip(offered, names, strict=True)]
    return np.array(found, dtype=np.int16)


# ---- exports

HALF, QUARTER = "slicegpt-0.5", "slicegpt-0.75"


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "family", ["llama", "gemma2", "phi3", "opt", "gpt2", "gpt_neox", "bert", "distilbert"]
)
def test_exports_open_again_and_are_as_small_as_they_should_be(
    family: str, dtype: str, tmp_path: Path
) -> None:
    problem = problem_of(family, dtype=dtype)
    row = chosen(problem, [HALF, QUARTER, QUARTER, "dense", "dense", HALF])

    facts = write(problem, row, tmp_path / "small")

    model = opened(tmp_path / "small", problem.kind, trust_remote_code=True)
    mine = pruned_model(problem.pretrained, problem.table, row)
    same(outputs(problem, model), outputs(problem, mine))
    stored = load_file(tmp_path / "small" / "model.safetensors")
    assert sum(t.nbytes for t in stored.values()) == value(problem, "weight_bytes", row)
    assert facts["params"] == value(problem, "params", row)
    card = (tmp_path / "small" / "README.md").read_text()
    assert card.count("in 16 of 32 rotated channels") == card.count("in 8 of 32 rotated") == 2
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        opened(tmp_path / "small", problem.kind)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "opt", "gpt_neox"])
def test_exports_with_attentions_gone_decode_with_a_cache(family: str, tmp_path: Path) -> None:
    problem = problem_of(family)
    row = chosen(problem, ["removed", "dense", HALF, HALF, QUARTER, "removed"])
    write(problem, row, tmp_path / "small")
    model = opened(tmp_path / "small", problem.kind, trust_remote_code=True)
    ids = problem.data.batches("search")[0].ids[:2, :20]

    names = inspect.signature(model.forward).parameters
    name = "cache" if "cache" in names else "past_key_values"  # up to transformers 5.23

    with torch.inference_mode():
        whole = model(input_ids=ids, use_cache=False).logits
        first = model(input_ids=ids[:, :12], use_cache=True)
        rest = model(input_ids=ids[:, 12:], use_cache=True, **{name: first[name]}).logits

    assert first[name].get_seq_length() == 20
    torch.testing.assert_close(torch.cat([first.logits, rest], 1), whole, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "bert", "gpt2", "opt"])
def test_a_new_process_reproduces_what_the_method_chose(family: str, tmp_path: Path) -> None:
    outcome = build("method", Ref("slicegpt", {}))(problem_of(family), 0.4, RNG)
    problem, row = outcome.problem, outcome.choices
    names = ("params", "kl", "loss") if problem.kind == "lm" else ("params", "drift")
    expected = {name: value(problem, name, row) for name in names}

    facts = exports.export(problem, row, tmp_path / "small", expected=expected)

    assert facts["values"].keys() == expected.keys()


# ---- the method


@pytest.mark.parametrize(
    ("family", "multiple", "sparsity", "width", "note"),
    [
        # of 3072 + 6144 weights, 160 + 256 stay per channel
        ("llama", 8, 0.25, 16, "16 of 32 channels"),  # 0.278 go
        ("llama", 8, 0.3, 8, "8 of 32 channels"),
        ("llama", 1, 0.3, 15, "15 of 32 channels"),  # 0.323 go, of 16 not enough
        ("llama", 1, 0.02, 23, "23 of 32 channels of each feed-forward alone"),  # 256 of 9216
        # of 4096 + 4096 weights, 192 + 192 stay per channel
        ("opt", 1, 0.5, 10, "10 of 32 channels"),  # 0.531
    ],
)
def test_the_method_takes_the_largest_width_that_reaches_the_target(
    family: str, multiple: int, sparsity: float, width: int, note: str
) -> None:
    method = build("method", Ref("slicegpt", {"multiple": multiple}))

    outcome = method(problem_of(family), sparsity, RNG)

    problem = outcome.problem
    assert outcome.notes == (note,)
    assert outcome.tokens == 0
    assert len(outcome.choices) == len(problem.table) == (3 if "alone" in note else 6)
    for site, choice in zip(problem.table.sites, outcome.choices, strict=True):
        widths = {said["width"] for said in site.variants[choice].shape["modules"].values()}
        assert widths == {width}
    before = value(problem_of(family), "params", np.zeros(6, dtype=np.int16))
    weights = 3 * (9216 if family == "llama" else 8192)
    biases = 0 if family == "llama" else 6 * (32 - width)  # rotated biases are shorter
    gone = before - biases - value(problem, "params", outcome.choices)
    assert outcome.sparsity == pytest.approx(gone / weights)
    assert sparsity <= outcome.sparsity
    assert value(problem, "kl", outcome.choices) > 0


@pytest.mark.parametrize(
    ("sparsity", "multiple", "said"),
    [
        (1.0, 8, "above 0 and below 1, got 1"),
        (0.8, 8, r"0\.8 cannot be reached: with 8 channels .* 0\.6389 of their weights go"),
        (0.2, 64, "with 64 channels in every attention and feed-forward, 0 of"),
    ],
)
def test_targets_that_cannot_be_reached(sparsity: float, multiple: int, said: str) -> None:
    method = build("method", Ref("slicegpt", {"multiple": multiple}))
    with pytest.raises(ConfigError, match=said):
        method(problem_of("llama"), sparsity, RNG)


def test_the_method_has_a_multiple_of_at_least_one() -> None:
    with pytest.raises(ConfigError, match="multiple of method 'slicegpt' must be at least 1"):
        build("method", Ref("slicegpt", {"multiple": 0}))
