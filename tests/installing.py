"""What installing a package of plug-ins leaves behind, without pip and without a network."""

from __future__ import annotations

import tomllib
from pathlib import Path


def leave_metadata(folder: Path) -> None:
    """Write the name, version and entry points of a project beside its packages.

    A folder with these on the path of Python is as good as installed.
    """
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    name, version = project["name"], project["version"]
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n")
    lines = []
    for group, rows in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{key} = {target}" for key, target in rows.items())]
    (info / "entry_points.txt").write_text("\n".join(lines))
