"""Networks that store their weights, by torch on a device, where they stay from step to step.

Only observations go there, and only actions come back. The same terms as in :mod:`.rules` in
another order: results agree with those to rounding, and a lane's with its own beside others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .genes import Kept, Rule, Values
from .rules import EVERY, Rows


def mover(device: str) -> Any:
    """A function that copies arrays to a device."""
    return lambda values: torch.from_numpy(np.ascontiguousarray(values)).to(device)


class OnDevice:
    """The networks of many lives; see :class:`~.rules.Lanes`.

    Args:
        rule: How they learn; not ``wnchl``.
        coefficients: Of n candidates.
        kept: What pruning leaves of them.
        of: Candidate of each lane.
        beginnings: Weights of each lane, (lanes, outputs, inputs) per layer.
        device: As torch calls it.
    """

    def __init__(
        self, rule: Rule, coefficients: Mapping[str, Values], kept: Kept, of: NDArray[np.intp],
        beginnings: Sequence[Values], device: str,
    ) -> None:  # fmt: skip
        self._rule, self._moved, self._step = rule, mover(device), 0
        n = len(next(iter(coefficients.values())))
        masks = [self._moved(mask[of]) for mask in kept.matrices(rule, n)]
        own = {name: rule.by_layer(values[of]) for name, values in coefficients.items()}
        cuts = [
            {name: self._moved(cut[i]) for name, cut in own.items()}
            for i in range(len(next(iter(own.values()))))
        ]
        begin = (
            [cut["w"] for cut in cuts] if rule.name == "static" else map(self._moved, beginnings)
        )
        self._weights = [w * mask for w, mask in zip(begin, masks, strict=True)]
        self._updates: list[Synapses] | list[Neurons] = []
        if rule.name == "hl":
            self._updates = [Synapses(cut, mask) for cut, mask in zip(cuts, masks, strict=True)]
        elif rule.name == "nchl":
            pairs = zip(pairwise(cuts), masks, strict=True)
            self._updates = [Neurons(before, after, mask) for (before, after), mask in pairs]

    @torch.inference_mode()
    def step(self, x: Values) -> tuple[Values, NDArray[np.bool_]]:
        """See :class:`~.rules.Lanes`."""
        activations = [self._moved(x)]
        finite = torch.ones(len(x), dtype=torch.bool, device=activations[0].device)
        for w in self._weights:
            sums = torch.bmm(w, activations[-1][:, :, None])[:, :, 0]
            finite &= torch.isfinite(sums).all(dim=1)
            activations.append(torch.tanh(sums))
        self._step += 1
        if self._step % self._rule.every == 0:
            for i, update in enumerate(self._updates):
                update(activations[i], activations[i + 1], self._weights[i])
                self._normalise(self._weights[i])
        return activations[-1].cpu().numpy(), finite.cpu().numpy()

    def weights(self, rows: Rows | slice = EVERY) -> list[Values]:
        """See :class:`~.rules.Lanes`."""
        return [w.numpy(force=True)[rows] for w in self._weights]

    def keep(self, rows: Rows) -> None:
        """See :class:`~.rules.Lanes`."""
        index = self._moved(np.flatnonzero(rows))
        self._weights = [w[index] for w in self._weights]
        for update in self._updates:
            update.keep(index)

    def _normalise(self, w: Tensor) -> None:
        if self._rule.norm == "clip":
            w.clamp_(-self._rule.limit, self._rule.limit)
        elif self._rule.norm == "max":
            largest = w.abs().amax(dim=(1, 2), keepdim=True)
            w /= torch.where(largest > 0, largest, 1.0)


class Synapses:
    """As :class:`.rules.Synapses`."""

    def __init__(self, own: Mapping[str, Tensor], mask: Tensor) -> None:
        eta = torch.where(mask, own["eta"], 0.0)
        self._abcd = [eta * own[name] for name in "abcd"]

    def __call__(self, before: Tensor, after: Tensor, weights: Tensor) -> None:
        """Add to the weights what these activations teach."""
        a, b, c, d = self._abcd
        x, y = before[:, None, :], after[:, :, None]
        weights.addcmul_(torch.addcmul(a, c, y), x).addcmul_(b, y).add_(d)

    def keep(self, index: Tensor) -> None:
        """Go on with these lanes only."""
        self._abcd = [values[index] for values in self._abcd]


class Neurons:
    """As :class:`.rules.Neurons`, as the product of an (outputs, 8) and an (8, inputs) matrix."""

    def __init__(
        self, before: Mapping[str, Tensor], after: Mapping[str, Tensor], mask: Tensor
    ) -> None:
        i, j = before, after
        half = torch.full_like(j["eta"], 0.5)
        left = [one * rate for one in (half, j["b"] / 2, j["c"] / 2, j["d"] / 2)
                for rate in (torch.ones_like(half), j["eta"])]  # fmt: skip
        right = [one * rate for one in (i["a"], torch.ones_like(i["eta"]), i["c"], i["d"])
                 for rate in (i["eta"], torch.ones_like(i["eta"]))]  # fmt: skip
        self._left, self._right = torch.stack(left, dim=2), torch.stack(right, dim=1)
        self._mask = None if bool(mask.all()) else mask

    def __call__(self, before: Tensor, after: Tensor, weights: Tensor) -> None:
        """Add to the weights what these activations teach."""
        left, right = self._left.clone(), self._right.clone()
        left[:, :, 2:6] *= after[:, :, None]
        right[:, 0:2] *= before[:, None, :]
        right[:, 4:6] *= before[:, None, :]
        if self._mask is None:
            weights.baddbmm_(left, right)
        else:
            weights += torch.where(self._mask, torch.bmm(left, right), 0.0)

    def keep(self, index: Tensor) -> None:
        """Go on with these lanes only."""
        self._left, self._right = self._left[index], self._right[index]
        if self._mask is not None:
            self._mask = self._mask[index]
