from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from evo import doctor, registry
from evo.cli import main
from evo.doctor import examine, file_system


@pytest.fixture(autouse=True)
def one_checkout(monkeypatch):
    """Only the packages under test are on the path, wherever else a copy is installed."""
    home = Path(doctor.__file__).resolve().parent.parent
    others = [p for p in sys.path if not (Path(p) / "evo" / "__init__.py").is_file()]
    monkeypatch.setattr(sys, "path", [str(home), *others])


def found(items, name):
    return next(item for item in items if item.name == name)


def fake_evo(folder, *, distribution=True):
    """Another tool called evo, as the package index has one."""
    (folder / "evo").mkdir(parents=True)
    (folder / "evo" / "__init__.py").touch()
    if distribution:
        info = folder / "evo-1.31.1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: evo\nVersion: 1.31.1\n")
        (info / "entry_points.txt").write_text("[console_scripts]\nevo = evo.main_evo:main\n")
    return folder


def test_a_clean_machine_has_no_foreign_evo():
    items = examine(devices=False)

    assert found(items, "distribution evo").status == "ok"
    assert found(items, "evo").value == str(Path(doctor.__file__).resolve().parent)


def test_a_command_beside_the_interpreter_is_no_package(tmp_path, monkeypatch):
    (tmp_path / "evo").write_text("#!/usr/bin/env python\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    assert found(examine(devices=False), "evo").status == "ok"


def test_foreign_evo_that_hides_ours_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(fake_evo(tmp_path)), *sys.path])

    items = examine(devices=False)

    package = found(items, "evo")
    assert (package.status, package.value) == ("bad", f"{tmp_path / 'evo'} hides ours")
    assert str(Path(doctor.__file__).parent) in package.hint
    distribution = found(items, "distribution evo")
    assert distribution.value == "a foreign evo 1.31.1 is installed"
    assert "pip uninstall evo" in distribution.hint


def test_foreign_package_behind_ours_is_a_warning(tmp_path, monkeypatch):
    folder = fake_evo(tmp_path, distribution=False)
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])

    items = examine(devices=False)

    assert found(items, "evo").status == "warning"
    assert str(folder / "evo") in found(items, "evo").value
    assert found(items, "distribution evo").status == "ok"


@pytest.mark.parametrize("shape", ["package", "module"])
def test_a_users_problems_that_hide_ours_are_found(shape, tmp_path, monkeypatch):
    place = tmp_path / ("problems" if shape == "package" else "problems.py")
    if shape == "package":
        place.mkdir()
        (place / "__init__.py").touch()
    else:
        place.touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    item = found(examine(devices=False), "problems")

    assert (item.status, item.value) == ("bad", f"{place} hides ours")


def test_a_folder_without_a_package_hides_nothing(tmp_path, monkeypatch):
    (tmp_path / "problems").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    assert found(examine(devices=False), "problems").status == "ok"


def test_command_of_another_tool_or_python(tmp_path, monkeypatch):
    script = tmp_path / "evo"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    other_python = found(examine(devices=False), "command evo")
    assert (other_python.status, other_python.value) == ("warning", str(script))
    assert "python -m evo" in other_python.hint

    monkeypatch.setattr(sys, "path", [str(fake_evo(tmp_path / "site")), *sys.path])
    foreign = found(examine(devices=False), "command evo")
    assert (foreign.status, foreign.value) == ("bad", f"{script} starts evo.main_evo:main")

    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert found(examine(devices=False), "command evo").value == "not on the PATH"


MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
tmpfs /home/ann/fast tmpfs rw 0 0
/dev/sdb1 /home ext4 rw 0 0
server:/home /home nfs4 rw 0 0
server:/x /with\\040space nfs rw 0 0
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/ann/runs", "nfs4"), ("/home/ann/fast/runs", "tmpfs"), ("/homes", "ext4"),
        ("/with space/runs", "nfs"), ("/", "ext4"),
    ],
)  # fmt: skip
def test_file_system_is_that_of_the_nearest_mount(folder, kind, tmp_path):
    (tmp_path / "mounts").write_text(MOUNTS)

    assert file_system(Path(folder), str(tmp_path / "mounts")) == kind


def test_file_system_is_unknown_without_a_table(tmp_path):
    assert file_system(tmp_path, str(tmp_path / "nothing")) is None


def test_runs_on_a_network_file_system_are_a_warning(monkeypatch):
    monkeypatch.setattr(doctor, "file_system", lambda folder: "nfs4")

    item = found(examine(devices=False), "file system")

    assert item.status == "warning"
    assert "EVO_RUNS" in item.hint


def test_runs_go_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("EVO_RUNS", str(tmp_path / "there"))
    assert found(examine(devices=False), "folder").value == f"{tmp_path / 'there'} (EVO_RUNS)"

    (tmp_path / "file").touch()
    monkeypatch.setenv("EVO_RUNS", str(tmp_path / "file" / "runs"))
    assert found(examine(devices=False), "folder").status == "bad"


def test_missing_embedded_model_tells_what_to_install(monkeypatch):
    spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if "minilm" in name else spec(name)
    )

    item = found(examine(devices=False), "embedded model")

    assert item.status == "warning"
    assert "quickstart" in item.hint


def fake_torch(monkeypatch, **done):
    monkeypatch.setattr(
        subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, 0, **done)
    )


def test_devices_come_from_torch(monkeypatch):
    told = json.dumps({"devices": ["cpu", "cuda:0 Some Card"], "threads": 4})
    fake_torch(monkeypatch, stdout=f"noise\n{told}\n", stderr="")

    items = [i for i in examine() if i.topic == "devices"]

    assert [(i.name, i.value) for i in items] == [
        ("cpu", "cpu"), ("cuda:0", "cuda:0 Some Card"), ("threads", "4"),
    ]  # fmt: skip


def test_torch_that_does_not_load_is_told_with_its_reason(monkeypatch):
    def broken(*words, **settings):
        raise subprocess.CalledProcessError(1, "python", stderr="Traceback\nOSError: no libcudart")

    monkeypatch.setattr(subprocess, "run", broken)

    (item,) = [i for i in examine() if i.topic == "devices"]
    assert (item.status, item.value) == ("bad", "does not load: OSError: no libcudart")


def test_torch_that_says_nothing_is_a_warning(monkeypatch):
    fake_torch(monkeypatch, stdout="", stderr="")

    (item,) = [i for i in examine() if i.topic == "devices"]
    assert item.status == "warning"


def test_missing_library_is_told_with_its_install_line(monkeypatch):
    monkeypatch.setattr(doctor, "LIBRARIES", ("numpy", "no-such-library"))

    item = found(examine(devices=False), "no-such-library")

    assert (item.status, item.hint) == ("bad", "pip install no-such-library")


def test_command_line_tells_items_hints_and_code(monkeypatch, capsys):
    items = [
        doctor.Item("versions", "numpy", "2.4"),
        doctor.Item("packages", "evo", "elsewhere", "bad", "remove it"),
    ]
    monkeypatch.setattr(doctor, "examine", lambda: items)

    assert main(["doctor"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "  versions  numpy       2.4",
        "  packages  evo    bad  elsewhere",
        "      hint: remove it",
    ]
    assert main(["doctor", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is False
    assert told["items"][1]["hint"] == "remove it"
    monkeypatch.setattr(doctor, "examine", lambda: items[:1])
    assert main(["doctor"]) == 0


@pytest.fixture
def plugins(monkeypatch):
    """Catalogues in place of what is installed, by the name of their package."""

    def use(**catalogues):
        points = [
            SimpleNamespace(
                name=name, value=f"{name}:CATALOGUE", module=name, load=lambda told=told: told,
                dist=SimpleNamespace(name=name),
            )
            for name, told in catalogues.items()
        ]  # fmt: skip
        monkeypatch.setattr(registry, "entry_points", lambda group: points)
        registry._table.cache_clear()

    yield use
    registry._table.cache_clear()


def test_plugins_are_told_with_what_they_bring(plugins):
    plugins(mine={"problem": {"mine/a": "a:A", "mine/b": "a:B"}, "operator": {"step": "a:C"}})

    items = [i for i in examine(devices=False) if i.topic == "plug-ins"]

    assert [(i.name, i.value, i.status) for i in items] == [
        ("mine (mine:CATALOGUE)", "2 problems, 1 operator", "ok")
    ]


def test_plugins_that_stop_every_command_are_told(plugins):
    plugins(one={"problem": {"x": "a:B"}}, two={"problem": {"x": "c:D"}})

    (item,) = [i for i in examine(devices=False) if i.topic == "plug-ins"]

    assert item.status == "bad"
    assert "offered by both 'one (one:CATALOGUE)' and 'two (two:CATALOGUE)'" in item.value
    assert "pip uninstall" in item.hint
