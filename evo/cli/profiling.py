"""The command that tells where the time of a run went: profile."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ..errors import DeviceError, StoreError
from ..live import aligned, duration
from ..profiling import DTYPES, Peak, Spent, measured_peak, predictions, spent
from ..view import RunView, read_run
from .output import Flag, run_folder, say, say_json, tell


def profile(run: str, /, *, peak: bool = True, json: Flag = False) -> None:
    """Show where the time of a run went, what was computed, and what sharing spared.

    The rates are compared with a large matrix product and a large copy, measured here and now on
    the device of the run; --no-peak leaves that out.

    Args:
        run: Folder of the run, or its name in the folder of runs.
        peak: Measure this machine, too.
        json: Write JSON.
    """
    view = read_run(run_folder(run))
    phases = spent(view)
    if not phases:
        raise StoreError(
            f"run {str(view.folder)!r} has no account of its work",
            hint="runs of older versions have none; resume it with +N generations, or run it again",
        )
    best = _peak(view) if peak and any(p.counts.get("macs") for p in phases) else None
    if json:
        say_json(
            {
                "run": str(view.folder), "device": view.meta["device"],
                "phases": [
                    asdict(p) | {"flops": p.products, "moved": p.moved, "spared": p.spared}
                    for p in phases
                ],
                "predictions": predictions(view),
                "peak": asdict(best) if best else None,
            }
        )  # fmt: skip
    else:
        say(_lines(view, phases, best))


def _peak(view: RunView) -> Peak | None:
    """Of this machine, in the type the run asked for; float32 where it left that to its model."""
    settings: Mapping[str, Any] = view.meta["config"].get("problem") or {}
    dtype = settings.get("dtype")
    try:
        return measured_peak(str(view.meta["device"]), dtype if dtype in DTYPES else DTYPES[0])
    except DeviceError as error:
        tell(f"evo: no peak to compare with: {error.message}")
        return None


def _lines(view: RunView, phases: list[Spent], best: Peak | None) -> list[str]:
    names = list(dict.fromkeys(name for p in phases for name in p.parts if name != "rest"))
    names.sort(key=lambda name: -sum(p.parts.get(name, 0.0) for p in phases))
    head = ["", "total", *names, "rest"]
    rows = [
        [p.origin, duration(p.total), *(_share(p, name) for name in [*names, "rest"])]
        for p in phases
    ]
    lines = [f"{view.folder} · {view.meta['device']}", "", *aligned([head, *rows], left=1)]
    lines += _counted(phases)
    for p in phases[:1]:
        lines += _rates(p, best)
    return lines + _predicted(predictions(view))


def _share(phase: Spent, name: str) -> str:
    part = phase.parts.get(name, 0.0)
    return f"{100 * part / phase.total:.1f} %" if part and phase.total else "·"


def _counted(phases: list[Spent]) -> list[str]:
    """Work of models in its usual columns, that of other problems by the names they gave."""
    if any("macs" in p.counts for p in phases):
        titles = ["tokens", "MACs", "moved", "blocks run", "shared", "recalled", "spared"]
        work = [w for p in phases if (w := _work(p))]
    else:
        titles = list(dict.fromkeys(name for p in phases for name in p.counts))
        work = [[p.origin, *(_big(p.counts.get(name, 0.0)) for name in titles)] for p in phases]
    return ["", *aligned([["", *titles], *work], left=1)] if titles and work else []


def _work(phase: Spent) -> list[str]:
    c = phase.counts
    if not c:
        return []
    spared = f"{phase.spared:.2f}x" if phase.spared else "·"
    sizes = [_big(c.get("tokens", 0.0)), _big(c.get("macs", 0.0)), _big(c.get("bytes", 0.0)) + "B"]
    blocks = [f"{c.get(name, 0.0):.0f}" for name in ("blocks", "shared", "recalled")]
    return [phase.origin, *sizes, *blocks, spared]


def _rates(phase: Spent, best: Peak | None) -> list[str]:
    if phase.products is None or phase.moved is None:
        return []
    products, moved = f"{_big(phase.products)}FLOP/s", f"{_big(phase.moved)}B/s"
    if best:
        where = f"measured here, {best.device}, {best.dtype}, {best.threads} threads"
        products += f", {100 * phase.products / best.products:.0f} % of a matrix product's "
        products += f"{_big(best.products)}FLOP/s"
        moved += (
            f", {100 * phase.moved / best.copy:.0f} % of a copy's {_big(best.copy)}B/s ({where})"
        )
    return ["", f"while judging, the {phase.origin} did {products}", f"and moved {moved}"]


def _predicted(said: Mapping[str, list[float]]) -> list[str]:
    agreed, regrets = said.get("agreement", []), said.get("regret", [])
    if not agreed:
        return []
    followed = f"followed in {len(regrets)} of {len(agreed)} generations"
    lost = f"; hypervolume they promised too much: {_middle(regrets, 100)} %" if regrets else ""
    return ["", f"predictions: rank agreement {_middle(agreed)}, {followed}{lost}"]


def _middle(values: list[float], factor: float = 1.0) -> str:
    """Median, and the range of several values."""
    scaled = sorted(factor * v for v in values)
    middle = f"{statistics.median(scaled):.2f}"
    return middle if len(scaled) == 1 else f"{middle} ({scaled[0]:.2f} to {scaled[-1]:.2f})"


def _big(value: float) -> str:
    """A number with a prefix: 1.23 G."""
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g} {prefix}"
    return f"{value:.3g} "
