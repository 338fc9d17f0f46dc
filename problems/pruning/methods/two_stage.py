"""2SSP: neurons go from every feed-forward at once, then attentions go one by one.

Sandri, Cunegatti and Iacca, *2SSP: a two-stage framework for structured pruning of LLMs*
(arXiv 2501.17771). A closed form splits the target between the stages. Neurons are ranked by the
mean over sequences of the norm of their activation in the dense model; attentions are removed
greedily from the model that the first stage has left.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from evo.errors import ConfigError
from operators import RNG

from ..layouts import get, matrix
from ..models import Block
from ..searches import Mixed
from . import Outcome
from .removals import Judge, Losses, Row, removed, require_samples, without_best

NAME = "2ssp"


@dataclass(frozen=True)
class TwoStage:
    """Narrows all feed-forwards alike and removes some attentions; their share follows from alpha.

    The target counts all parameters of the blocks, norms and biases included, as the paper does.
    The norm that served a removed attention goes with it, which the count leaves out.

    Args:
        alpha: Larger values remove more attentions and fewer neurons.
        samples: Calibration sequences that the second stage judges on; none means all.
        multiple: Round the number of neurons to a multiple of this, for speed; the sparsity that
            is reached then misses the target by up to half a multiple of neurons per block.
    """

    alpha: float = 1.5
    samples: int | None = 1
    multiple: int = 1

    def __post_init__(self) -> None:
        require_samples(NAME, self.samples)
        require_multiple(NAME, self.multiple)
        if not self.alpha > 0:
            raise ConfigError(f"alpha of method {NAME!r} must be above 0, got {self.alpha:g}")

    def __call__(self, problem: Mixed, sparsity: float, rng: RNG) -> Outcome:
        """Neurons and attentions are gone as the split asks; nothing is drawn.

        Raises:
            ConfigError: The closed form leads beyond what feed-forwards or attentions hold.
        """
        counts = count(problem.pretrained.blocks)
        attentions, neurons = split(counts, sparsity, self.alpha)
        other, row = narrowed(problem, rounded(neurons, counts.neurons, self.multiple))
        if not attentions and not row.any():
            raise nothing_goes(NAME, sparsity)
        if not attentions:
            return Outcome(other, row)
        judge = Losses(other, self.samples)
        return Outcome(other, without_attentions(other, judge, row, attentions), judge.tokens)


@dataclass(frozen=True)
class Counts:
    """Parameters of a model's blocks, for the closed form.

    Args:
        blocks: Number of blocks, L.
        attention: Parameters of one attention, A.
        feed_forward: Parameters of one feed-forward, F.
        neurons: Its hidden neurons, h.
        total: Parameters of all blocks, norms included, P.
    """

    blocks: int
    attention: int
    feed_forward: int
    neurons: int
    total: int


def count(blocks: Sequence[Block]) -> Counts:
    """Parameters of the blocks; one attention and one feed-forward are those of the first block."""
    module, layout = blocks[0].module, blocks[0].layout
    ffn = [layout.feed_forward] if layout.feed_forward else [*layout.ups, layout.down]
    return Counts(
        blocks=len(blocks),
        attention=_size(get(module, path) for path in (layout.attention, layout.output)),
        feed_forward=_size(get(module, path) for path in ffn),
        neurons=matrix(get(module, layout.down)).shape[1],
        total=sum(_size([block.module]) for block in blocks),
    )


def _size(modules: Iterable[nn.Module]) -> int:
    """Parameters of some modules, which may lie inside one another."""
    unique = {id(p): p.numel() for module in modules for p in module.parameters()}
    return sum(unique.values())


def split(counts: Counts, sparsity: float, alpha: float) -> tuple[int, int]:
    """How many attentions to remove, and how many neurons every feed-forward keeps.

    Numbers are rounded half to even, as in the published code.

    Raises:
        ConfigError: The attentions alone hold more than the target, or even all feed-forwards
            would not do.
    """
    exponent = counts.feed_forward / counts.attention / alpha
    attentions = round(counts.blocks * sparsity**exponent)
    return attentions, neurons_left(counts, sparsity, attentions, f"alpha {alpha:g}")


def neurons_left(counts: Counts, sparsity: float, attentions: int, why: str) -> int:
    """Neurons that every feed-forward keeps when so many attentions go, for a share of all.

    Args:
        counts: Of the model.
        sparsity: Share of all parameters of the blocks.
        attentions: How many go.
        why: What asks for that many, for the messages.

    Raises:
        ConfigError: The attentions alone hold more than the target, or even all feed-forwards
            would not do, or no neuron would be left.
    """
    gone, held = attentions * counts.attention, counts.blocks * counts.feed_forward
    share = f"a sparsity of {sparsity:g} with {why} removes {attentions} of {counts.blocks} "
    if gone / counts.total > sparsity:
        raise ConfigError(
            f"{share}attentions, which alone are {gone / counts.total:.4g} of the blocks",
            hint="a smaller alpha removes fewer attentions",
        )
    target = round(sparsity * counts.total)
    per_block = round((target - gone) / counts.blocks)
    neurons = round(counts.neurons * (1 - per_block / counts.feed_forward))
    if (gone + held) / counts.total < sparsity or neurons < 1:
        raise ConfigError(
            f"{share}attentions; with all feed-forwards that is {(gone + held) / counts.total:.4g} "
            "of the blocks, and a neuron must be left in each",
            hint="a larger alpha removes more attentions, or ask for less",
        )
    return neurons


def rounded(neurons: int, full: int, multiple: int) -> int:
    """The nearest multiple, at least one and at most what there is."""
    return min(full, max(multiple, multiple * int(neurons / multiple + 0.5)))


def narrowed(problem: Mixed, neurons: int) -> tuple[Mixed, Row]:
    """A problem whose attentions and feed-forwards may go, and the candidate of that width.

    Its feed-forwards keep the neurons of the largest mean norm; where blocks differ, each keeps the
    same share as the first.
    """
    level = neurons / count(problem.pretrained.blocks).neurons
    names = ["removal"] + ([f"width(multiple=1)@{level!r}"] if level < 1 else [])
    other = problem.again(names, order="activation")
    kinds = [[v.kind for v in site.variants] for site in other.table.sites]
    row = [k.index("width") if "width" in k else 0 for k in kinds]
    return other, np.array(row, dtype=np.int16)


def without_attentions(problem: Mixed, judge: Judge, row: Row, attentions: int) -> Row:
    """The candidate after so many rounds that each remove the attention that costs least."""
    gone, kinds = removed(problem), np.array(problem.table.kind)
    for _ in range(attentions):
        left = np.flatnonzero((kinds == "attention") & (row != gone))
        row = without_best(judge, row, left.tolist(), gone)
    return row


def nothing_goes(name: str, sparsity: float) -> ConfigError:
    """The error for a target that is less than half of the smallest part."""
    return ConfigError(
        f"a sparsity of {sparsity:g} is nearest to removing nothing with method {name!r}",
        hint="ask for more, or take a smaller multiple",
    )


def require_multiple(name: str, multiple: int) -> None:
    """Check a method's setting ``multiple``.

    Raises:
        ConfigError: It is below 1.
    """
    if multiple < 1:
        raise ConfigError(f"multiple of method {name!r} must be at least 1, got {multiple}")
