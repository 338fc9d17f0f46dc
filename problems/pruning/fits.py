"""What kinds of variants have learnt from calibration text, kept on disk piece by piece."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from . import tensor_files
from .calibration import Calibration

Fitted = Mapping[str, torch.Tensor]


def build(
    calibration: Calibration, kinds: Iterable[Any], cache: Path | None
) -> dict[Any, dict[str, torch.Tensor]]:
    """Tensors by kind, of every kind that has ``fit``; memory-mapped where they are kept.

    A kind is kept under its class, ``settings`` and ``version``. One that is not of this package
    and states no version is fitted anew each time: its code may have changed under its name. A kind
    may leave ``fit`` to a ``learner``; kinds with equal learners share what it has learnt.
    """
    found, learnt = {}, {}
    for kind in dict.fromkeys(kinds):
        learner = getattr(kind, "learner", kind)
        if hasattr(learner, "fit"):
            if learner not in learnt:
                ours = type(learner).__module__.startswith(__package__ or "")
                keeps = cache if ours or hasattr(learner, "version") else None
                learnt[learner] = _one(calibration, learner, keeps)
            found[kind] = learnt[learner]
    return found


def _one(calibration: Calibration, kind: Any, cache: Path | None) -> dict[str, torch.Tensor]:
    if cache is None:
        return _merged(list(_pieces(kind.fit(calibration))))
    key = {
        "model": calibration.dense.fingerprint, "dtype": str(calibration.dense.dtype),
        "calibration": calibration.fingerprint, "version": getattr(kind, "version", 1),
        "kind": f"{type(kind).__module__}.{type(kind).__qualname__}",
        "settings": dict(getattr(kind, "settings", {})),
    }  # fmt: skip
    kept = _kept(cache, key)
    if kept is not None:
        return kept
    pieces: list[dict[str, torch.Tensor]] = []
    for piece in _pieces(kind.fit(calibration)):
        own = {**key, "piece": len(pieces)}
        file = tensor_files.file_of(cache, "fit", own)
        tensors = {name: t.cpu().contiguous() for name, t in piece.items()}
        tensor_files.write(file, tensors, own)
        pieces.append(tensor_files.read(file, own) or tensors)
    count = {"count": torch.tensor(len(pieces))}
    tensor_files.write(tensor_files.file_of(cache, "fit", key), count, key)
    return _merged(pieces)


def _kept(cache: Path, key: dict[str, Any]) -> dict[str, torch.Tensor] | None:
    index = tensor_files.read(tensor_files.file_of(cache, "fit", key), key)
    if index is None:
        return None
    pieces = []
    for number in range(int(index["count"])):
        own = {**key, "piece": number}
        piece = tensor_files.read(tensor_files.file_of(cache, "fit", own), own)
        if piece is None:
            return None
        pieces.append(piece)
    return _merged(pieces)


def _pieces(fitted: Any) -> Iterable[dict[str, torch.Tensor]]:
    return [dict(fitted)] if isinstance(fitted, Mapping) else fitted


def _merged(pieces: Sequence[Fitted]) -> dict[str, torch.Tensor]:
    return {name: tensor for piece in pieces for name, tensor in piece.items()}
