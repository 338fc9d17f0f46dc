"""How the page looks and moves: its style sheet and its script, read from the files beside."""

from __future__ import annotations

import functools
import json
from pathlib import Path

from . import plot

# Light colour → dark colour; the script swaps them in every figure when the reader prefers dark.
TWINS = {
    plot.INK: "#e6e9ee", plot.SOFT: "#9aa5b4", plot.GRID: "#2b323d", plot.PAPER: "#14181f",
    plot.CLOUD: "#566072", plot.BLUE: "#6db3f2", plot.RUST: "#ff9a5c", plot.GREEN: "#55c79a",
    plot.ROSE: "#e08cc0", plot.AMBER: "#f0b64a", plot.SKY: "#9bd0f5",
    "#f1f3f6": "#1d232c", "#c3d4e6": "#2c4866", "#8db2d6": "#3c6d9c", "#4f8bc0": "#5895cc",
    "#1f639f": "#85bbe8", "#0a2f5c": "#cfe6fb",
}  # fmt: skip

_FOLDER = Path(__file__).parent


@functools.cache
def style() -> str:
    """The style sheet."""
    return _file("page.css")


@functools.cache
def script(more: str = "") -> str:
    """The script of a page, ``more`` behind its own, in one scope that nothing else sees."""
    files = "".join(map(_file, ("page.js", "choice.js", "parallel.js")))
    known = f"const TWINS = {json.dumps(TWINS)}, RING = {json.dumps(plot.RUST)};\n"
    return f'(function () {{\n"use strict";\n{known}{files}{more}mount();\n}})();\n'


@functools.cache
def library() -> str:
    """Plotly's script, about 5 MB."""
    from plotly.offline import get_plotlyjs

    return get_plotlyjs().replace("</script", "<\\/script")


def _file(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
