"""The door that a user's own kind of variant comes in by: fitted, searched, exported."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import checkpoint

from evo import Context, Genomes
from evo.errors import ConfigError
from problems.pruning import fits, variants
from problems.pruning.calibration import Calibration
from problems.pruning.cost import pruned_model
from problems.pruning.layouts import get, matrix
from problems.pruning.searches import Mixed

README = Path(__file__).parent.parent / "README.md"
SIZES = {"calibration": 4, "search": 4, "validation": 2}


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint("llama", tmp_path_factory.mktemp("llama"))


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The kind of README in a file of the current folder."""
    (source,) = [
        block for block in re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
        if block.startswith("# my_kind.py")
    ]  # fmt: skip
    (tmp_path / "my_kind.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("my_kind", None)


def problem_of(folder: Path, kinds: list[str], cache: str = "off") -> Mixed:
    return Mixed(model=str(folder), variants=kinds, length=32, sizes=SIZES, cache=cache)


def test_the_kind_of_the_readme_keeps_the_directions_it_says(llama: Path, plugin: Path) -> None:
    problem = problem_of(llama, ["my_kind:OutputPCA@0.5", "removal"])

    site = problem.table.sites[1]
    offered = {v.name: v for v in site.variants}
    built = offered["output-pca-0.5"].build()[site.place.block.layout.down]
    dense = matrix(get(site.place.block.module, site.place.block.layout.down))
    rank = min(dense.shape) // 2
    assert built.second.shape == (dense.shape[0], rank)
    made = built.second @ built.first
    projected = built.second @ built.second.T @ dense
    assert torch.allclose(made, projected, atol=1e-5)
    full = sum(p.numel() for p in get(site.place.block.module, "mlp").parameters())
    saved = dense.numel() - rank * sum(dense.shape)
    norm = dense.shape[0]  # that serves the feed-forward
    assert offered["output-pca-0.5"].cost.params == full + norm - saved


@pytest.mark.slow
def test_factors_are_exported_and_open_as_they_were_judged(llama: Path, plugin: Path) -> None:
    from transformers import AutoModelForCausalLM

    problem = problem_of(llama, ["my_kind:OutputPCA@0.5", "removal"])
    row = np.array([[1, 1, 0, 1, 1, 0]], dtype=np.int16)  # a removal, two factorised, one dense
    batch = problem.batch(Genomes({"choices": row}), Context())
    kl = {o.name: o for o in problem.objectives}["kl"](batch)[0]

    facts = problem.export(Genomes({"choices": row}), plugin / "out", expected={"kl": float(kl)})

    assert facts["params"] == batch.params.sum() + batch.base.params
    opened = AutoModelForCausalLM.from_pretrained(plugin / "out", trust_remote_code=True)
    ids = problem.data.batches("search")[0].ids
    with torch.no_grad():
        wanted = pruned_model(problem.pretrained, problem.table, row[0])(input_ids=ids).logits
        assert torch.allclose(opened(input_ids=ids).logits, wanted, atol=1e-5)
    with pytest.raises(Exception, match=r"mismatch|size|shape"):
        AutoModelForCausalLM.from_pretrained(plugin / "out", trust_remote_code=False)


class Counting:
    """A kind that learns one number per block, in pieces, and counts how often."""

    name, levels, scorer = "counting", (), None

    def __init__(self) -> None:
        self.fitted = 0

    def fit(self, calibration: Calibration) -> Any:
        self.fitted += 1
        for block in calibration.blocks:
            yield {f"seen.{block.index}": torch.tensor([float(block.index + 10)])}

    def variants(self, place: Any, library: Any, levels: Any) -> list[Any]:
        return []


class Kept(Counting):
    version = 1


@pytest.mark.parametrize(("kind", "times"), [(Counting(), 2), (Kept(), 1)])
def test_fits_are_kept_where_a_version_says_what_they_are(
    llama: Path, tmp_path: Path, kind: Any, times: int
) -> None:
    problem = problem_of(llama, ["removal"])
    calibration = Calibration(problem.pretrained, problem.data.batches("calibration"), "some text")

    found = [fits.build(calibration, [kind], tmp_path)[kind] for _ in range(2)]

    assert kind.fitted == times
    for tensors in found:
        assert {k: v.item() for k, v in tensors.items()} == {
            "seen.0": 10.0, "seen.1": 11.0, "seen.2": 12.0
        }  # fmt: skip


def test_a_lost_piece_is_fitted_again(llama: Path, tmp_path: Path) -> None:
    problem = problem_of(llama, ["removal"])
    calibration = Calibration(problem.pretrained, problem.data.batches("calibration"), "text")
    kind = Kept()
    fits.build(calibration, [kind], tmp_path)
    big = sorted(tmp_path.glob("fit-*.safetensors"))[0]
    big.unlink()

    again = fits.build(calibration, [kind], tmp_path)[kind]

    assert kind.fitted == 2
    assert len(again) == 3


def test_settings_in_brackets_reach_the_kind(plugin: Path) -> None:
    asked = variants.parse("my_kind:OutputPCA(skip_first=2)@0.25")

    assert asked.kind.skip_first == 2
    assert asked.levels == (0.25,)
    for text, said in [
        ("my_kind:OutputPCA(skip_frist=2)", "did you mean 'skip_first'?"),
        ("my_kind:OutputPCA(skip_first=two)", "must be a whole number, got 'two'"),
        ("my_kind:OutputPCA(2)", "settings of variant 'my_kind:OutputPCA' are name=value"),
        ("removal(x=1)", "variant 'removal' has no setting 'x'"),
    ]:
        with pytest.raises(ConfigError) as caught:
            variants.parse(text)
        assert said in caught.value.message


@pytest.mark.slow
def test_blocks_without_any_site_stay_as_they_are(llama: Path, plugin: Path) -> None:
    from transformers import AutoModelForCausalLM

    problem = problem_of(llama, ["my_kind:OutputPCA(skip_first=1)@0.5"])
    assert problem.table.depth.tolist() == [1, 2]
    row = np.ones((1, 2), dtype=np.int16)
    genomes = Genomes({"choices": row})
    batch = problem.batch(genomes, Context())
    kl = float({o.name: o for o in problem.objectives}["kl"](batch)[0])
    whole = pruned_model(problem.pretrained, problem.table, row[0])
    assert len(whole.model.layers) == len(problem.pretrained.blocks)

    facts = problem.export(genomes, plugin / "out", expected={"kl": kl})

    assert facts["values"]["kl"]["found"] == pytest.approx(kl, abs=2e-5)
    opened = AutoModelForCausalLM.from_pretrained(plugin / "out", trust_remote_code=True)
    assert len(opened.model.layers) == len(problem.pretrained.blocks)
    assert problem.confirm(genomes, {"latency": None})["latency"][0] > 0
    again, taken = problem.polished(genomes)
    assert again.batch(taken, Context()).params.sum() == batch.params.sum()
