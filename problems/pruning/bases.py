"""Principal bases of what submodules read and give on calibration text.

As in SliceGPT (arXiv 2401.15024, section 3.3): the eigenvectors of Σ x xᵀ over the tokens. Of all
projections to k channels, that to the first k changes the x least, by the sum of the other
eigenvalues.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from .calibration import Calibration
from .grams import fitting, require_finite
from .layouts import Layout, get, matrix
from .models import Block

DAMPING = 0.01
"""Share of the mean diagonal added to the diagonal, as published; it moves no eigenvector, but
keeps directions that the text never shows apart from rounding below zero."""

PARTS = ("attention", "feed_forward")
Sums = dict[tuple[int, str], torch.Tensor]


@dataclass(frozen=True)
class PrincipalBases:
    """Learns whole bases, so that one fit serves every width."""

    version: int = 1

    def fit(self, calibration: Calibration) -> Iterator[dict[str, torch.Tensor]]:
        """Two bases per submodule, block by block.

        Yields:
            Under :func:`names`, (d, d) in float32, or float64 for such a model: orthonormal rows,
            the strongest direction first.

        Raises:
            ModelError: Inputs are not finite.
        """
        dtype = torch.promote_types(calibration.dense.dtype, torch.float32)
        for _, found in products(calibration):
            yield {name: principal(gram).to(dtype) for name, gram in found.items()}


def names(block: Block, part: str) -> tuple[str, str]:
    """Under which names the bases of what a submodule reads and gives are kept."""
    return f"{block.index}.{part}.read", f"{block.index}.{part}.given"


def principal(gram: torch.Tensor) -> torch.Tensor:
    """Eigenvectors as rows, the largest eigenvalue first.

    Args:
        gram: Σ x xᵀ, (d, d), float64; not modified.

    Returns:
        Shape (d, d).
    """
    eye = torch.eye(len(gram)).to(gram)
    damped = gram + DAMPING * gram.diagonal().mean() * eye
    return torch.linalg.eigh(damped).eigenvectors.flip(1).t().contiguous()


def ends(layout: Layout, part: str) -> tuple[str, str]:
    """A linear layer that reads what a submodule reads, and the one that gives what it gives."""
    if part == "attention":
        return layout.queries[0], layout.output
    return layout.ups[0], layout.down


def products(calibration: Calibration) -> Iterator[tuple[Block, dict[str, torch.Tensor]]]:
    """Each block with the Σ x xᵀ of what its submodules read and give, padding left out.

    What is given is the output of the last linear layer; a norm behind it (Gemma) comes later.

    Args:
        calibration: Model, text and the blocks to look at.

    Yields:
        Block, and (d, d) in float64 under :func:`names`.

    Raises:
        ModelError: An input is not finite.
    """
    tokens = _tokens(calibration)
    for blocks in fitting(calibration.blocks, _bytes):
        sums = _summed(calibration, blocks)
        for block in blocks:
            found = {}
            for part in PARTS:
                (first, last), (read, given) = ends(block.layout, part), names(block, part)
                for path, name in ((first, read), (last, given)):
                    found[name] = sums[block.index, path]
                    require_finite(found[name], block, path)
                total = sums[block.index, f"{last}.sum"]
                found[given] = _with_bias(found[given], total, block, last, tokens)
            yield block, found


def _tokens(calibration: Calibration) -> int:
    """Tokens of the text, padding left out."""
    return sum(b.ids.numel() if b.mask is None else int(b.mask.sum()) for b in calibration.batches)


def _bytes(block: Block) -> int:
    """What the sums of a block take."""
    return sum(
        8 * matrix(get(block.module, ends(block.layout, part)[1])).shape[0] ** 2 * 2
        for part in PARTS
    )


def _summed(calibration: Calibration, blocks: Sequence[Block]) -> Sums:
    """Σ x xᵀ by block and path; for last layers Σ y yᵀ of outputs without bias, and Σ y."""
    sums: Sums = {}
    first = {b.index: {ends(b.layout, part)[0] for part in PARTS} for b in blocks}
    last = {b.index: {ends(b.layout, part)[1] for part in PARTS} for b in blocks}

    def add(key: tuple[int, str], more: torch.Tensor) -> None:
        sums[key] = sums[key].add_(more) if key in sums else more

    def see(block: Block, path: str, x: torch.Tensor, sequences: int) -> None:
        if path in last[block.index]:
            x = x @ matrix(get(block.module, path)).double().t()
            add((block.index, f"{path}.sum"), x.sum(0))
        elif path not in first[block.index]:
            return
        add((block.index, path), x.t() @ x)

    replace(calibration, blocks=tuple(blocks)).listen(see)
    return sums


def _with_bias(
    gram: torch.Tensor, total: torch.Tensor, block: Block, path: str, tokens: int
) -> torch.Tensor:
    """Σ (y + b)(y + b)ᵀ from Σ y yᵀ and Σ y."""
    bias = get(block.module, path).bias
    if bias is None:
        return gram
    b = bias.detach().double()  # type: ignore[operator]
    cross = torch.outer(total, b)
    return gram + cross + cross.t() + tokens * torch.outer(b, b)
