"""The server of the live page: what it answers and refuses, and that runs do not notice."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from handmade import written

from evo.cli import main
from evo.config import RunConfig
from evo.errors import StoreError
from evo.folders import being_written, take_lock
from evo.report.page import Parts
from evo.run import Run
from evo.studies.folder import record
from evo.studies.plan import study_from
from evo.view import read_standing
from evo.watch import Server, run_page, study_pages
from evo.watch.server import Page

CONFIG = {
    "problem": {"id": "synthetic/layers"}, "algorithm": {"id": "nsga2", "population": 8},
    "stop": {"generations": 3},
}  # fmt: skip


@contextmanager
def served(pages, **more):
    server = Server(pages, **more)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server.url
    finally:
        server.stop()
        thread.join()
        server.close()


def ask(url, path="/", method="GET", host=None):
    address = url.removeprefix("http://").rstrip("/")
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.putrequest(method, path, skip_host=host is not None)
    if host:
        connection.putheader("Host", host)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer, body


@pytest.fixture
def site(tmp_path):
    folder = written(tmp_path / "run", [[1.0, 2.0], [2.0, 1.0]])
    (folder / "log.txt").write_text("<b>line one\nline two\n")
    with served({"": run_page(folder)}) as url:
        yield folder, url


def parts(url, path="/parts.json"):
    answer, body = ask(url, path)
    assert answer.status == 200
    return json.loads(body)


def test_the_parts_hold_the_report_the_state_and_the_log(site):
    _, url = site

    told = parts(url)

    html = {section["id"]: section["html"] for section in told["sections"]}
    assert {"asked", "answer", "journey", "sure", "repeat", "watch-log"} <= set(html)
    assert "&lt;b&gt;line one\nline two</pre>" in html["watch-log"]
    assert '<p id="state">finished</p>' in told["head"]
    assert told["title"] == "Toy · evo watch"
    assert 'href="#watch-log"' in told["nav"]


def test_who_has_the_newest_parts_gets_none(site):
    folder, url = site
    stamp = parts(url)["stamp"]

    assert ask(url, f"/parts.json?since={stamp}")[0].status == 204
    (folder / "log.txt").write_text("another line\n")
    end = time.monotonic() + 60
    while ask(url, f"/parts.json?since={stamp}")[0].status == 204:  # not made anew all the time
        assert time.monotonic() < end
        time.sleep(0.05)
    again = parts(url, "/parts.json?since=")
    assert again["stamp"] != stamp
    assert "another line" in again["sections"][-1]["html"]


def test_only_the_own_address_is_answered(site):
    _, url = site
    port = url.rstrip("/").rsplit(":", 1)[1]

    assert ask(url, host=f"127.0.0.1:{port}")[0].status == 200
    assert ask(url, host=f"localhost:{port}")[0].status == 200
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1.evil:{port}"):
        answer, body = ask(url, "/parts.json", host=host)
        assert answer.status == 403
        assert "sections" not in body
    with socket.create_connection(("127.0.0.1", int(port))) as raw:  # no host at all
        raw.sendall(b"GET /parts.json HTTP/1.1\r\n\r\n")
        assert raw.recv(64).startswith(b"HTTP/1.0 403")


def test_only_get_and_head_are_answered(site):
    _, url = site
    (_, body), (head, none) = ask(url), ask(url, method="HEAD")

    assert none == ""
    assert head.headers["Content-Length"] == str(len(body.encode()))
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        answer, _ = ask(url, method=method)
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


def test_no_path_leads_to_a_file(site):
    folder, url = site
    (folder / "secret.txt").write_text("secret")

    for path in (
        "/secret.txt", "/../secret.txt", "/%2e%2e/secret.txt", "/run/../../etc/passwd",
        f"/{folder}/secret.txt", "/run/run/secret.txt", "//etc/passwd", "/run/%2e%2e/parts.json",
        "/plotly.js/../secret.txt", "/run/", "/run", "/parts.json/", "/run.sqlite", "/log.txt",
    ):  # fmt: skip
        answer, body = ask(url, path)
        assert answer.status == 404, path
        assert "secret" not in body


def test_headers_forbid_everything_but_the_own_scripts(site):
    _, url = site

    for path in ("/", "/parts.json", "/script.js", "/nowhere"):
        found = ask(url, path)[0].headers
        policy = dict(rule.split(" ", 1) for rule in found["Content-Security-Policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
        assert found["X-Content-Type-Options"] == "nosniff"
        assert found["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "Access-Control-Allow-Origin" not in found
        assert "Python" not in found["Server"]
    page = ask(url)[1]
    assert re.findall(r'<script src="([^"]+)">', page) == ["/plotly.js", "/script.js"]
    assert "<script>" not in page


def test_the_address_is_of_this_machine_only_and_a_taken_port_is_told(tmp_path):
    page = run_page(written(tmp_path / "run", [[1.0, 2.0]]))
    with served({"": page}) as url:
        host, port = url.removeprefix("http://").rstrip("/").split(":")

        assert host == "127.0.0.1"
        with pytest.raises(StoreError, match=f"port {port} cannot be listened on"):
            Server({"": page}, port=int(port))
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.2", int(port)), timeout=5)


def test_a_run_under_way_is_shown_and_not_disturbed(tmp_path):
    folder = tmp_path / "run"
    run = Run.create(RunConfig.from_mapping(CONFIG), folder)
    steps = iter(run)
    next(steps)
    page = run_page(folder)
    before = {f.name: f.stat().st_mtime_ns for f in folder.iterdir() if f.suffix != ".sqlite-shm"}

    first = page.parts()

    after = {f.name: f.stat().st_mtime_ns for f in folder.iterdir() if f.suffix != ".sqlite-shm"}
    assert {k: v for k, v in after.items() if k in before} == before
    assert "running · generation 1 of 3" in first.head
    stamp = page.stamp()
    for _ in steps:
        page.parts()
    assert page.stamp() != stamp
    run.finish()
    run.close()
    assert '<p id="state">finished' in page.parts().head
    assert sorted(f.name for f in folder.iterdir()) == ["config.toml", "run.lock", "run.sqlite"]
    assert len(read_standing(folder).generations) == 3


def test_who_writes_a_folder_is_seen_without_taking_its_lock(tmp_path):
    assert not being_written(tmp_path)
    lock = take_lock(tmp_path)
    assert being_written(tmp_path)
    lock.close()
    assert not being_written(tmp_path)
    take_lock(tmp_path).close()


def test_an_unreadable_run_is_told_and_the_page_comes_back(tmp_path):
    folder = written(tmp_path / "run", [[1.0, 2.0]])
    with served({"": run_page(folder)}) as url:
        whole = (folder / "run.sqlite").read_bytes()
        (folder / "run.sqlite").write_bytes(b"no database " * 100)
        answer, body = ask(url, "/parts.json")
        assert answer.status == 503
        assert "is damaged" in body
        (folder / "run.sqlite").write_bytes(whole)
        assert parts(url)["sections"]


def test_making_a_page_takes_a_tenth_of_the_time_at_most(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("evo.watch.server.time", SimpleNamespace(monotonic=lambda: clock[0]))
    made = []

    class Slow:
        def stamp(self):
            return str(clock[0])

        def parts(self):
            made.append(clock[0])
            clock[0] += 1.0
            return Parts("t", "<header></header>", (), "f")

    page = Page(Slow())
    for _ in range(250):
        page.text("")
        clock[0] += 0.1

    assert made == pytest.approx([100.0, 110.0, 120.0], abs=0.2)


@pytest.fixture
def begun_study(tmp_path):
    """A study of which one run is finished, one goes on and two have not begun."""
    plan = study_from(
        {
            "problems": ["synthetic/layers"], "algorithms": ["nsga2", "random"], "seeds": 2,
            "stop": {"generations": 3}, "algorithm": {"population": 8},
        },
        "mine",
    )  # fmt: skip
    folder = tmp_path / "study"
    folder.mkdir()
    record(plan, folder)
    done, going = (Run.create(c.config, folder / c.name) for c in plan.cells[:2])
    for _ in done:
        pass
    done.finish()
    done.close()
    steps = iter(going)
    next(steps)
    yield folder, going, steps
    going.close()


def test_a_study_shows_its_runs_and_compares_what_is_finished(begun_study):
    folder, going, steps = begun_study
    with served(study_pages(folder)) as url:
        told = parts(url)
        table = told["sections"][0]["html"]
        states = re.findall(r'<td class="w">(finished|running|waiting|not running)</td>', table)

        assert states == ["finished", "running", "waiting", "waiting"]
        assert "1 of 4 runs finished · 1 running · " in told["head"]
        assert " to go" in told["head"]
        assert re.findall(r'href="(run/[^"]+)"', table) == [
            "run/layers-nsga2-s0/", "run/layers-random-s0/",
        ]  # fmt: skip
        assert [s["id"] for s in told["sections"]] == ["runs", "tables", "problem-layers"]
        one = parts(url, "/run/layers-random-s0/parts.json")
        assert "running · generation 1 of 3" in one["head"]
        assert 'href="../../"' in one["head"]
        assert ask(url, "/run/layers-nsga2-s1/parts.json")[0].status == 503  # not begun

        for _ in steps:
            pass
        going.finish()
        going.close()
    again = study_pages(folder)[""].parts()
    assert "2 of 4 runs finished." in again.head
    assert "random" in again.sections[1].html()


def test_runs_that_failed_are_shown_with_their_reason_until_they_are_tried_again(begun_study):
    folder, going, _ = begun_study
    page = study_pages(folder)[""]
    before, names = page.stamp(), ("layers-nsga2-s0", "layers-random-s0", "layers-nsga2-s1")
    told = dict.fromkeys(names, "its <text> is gone")
    (folder / "failures.json").write_text(json.dumps(told))

    seen = page.parts()

    assert page.stamp() != before
    # the first is finished and the second goes on by now
    assert "1 of 4 runs finished · 1 running · 1 failed" in seen.head
    states = re.findall(r'<tr class="([a-z-]+)">.*?</tr>', seen.sections[0].html())
    assert states == ["finished", "running", "failed", "waiting"]
    assert seen.sections[0].html().count("failed: its &lt;text&gt; is gone<") == 1
    going.close()
    assert page.parts().sections[0].html().count("failed: its &lt;text&gt; is gone<") == 2


def test_a_comparison_is_made_once_per_finished_run(begun_study, monkeypatch):
    folder, _, steps = begun_study
    page, calls = study_pages(folder)[""], []
    monkeypatch.setattr(type(page), "_compared", lambda self: calls.append(1) or ())

    page.parts()
    next(steps)
    page.parts()

    assert calls == [1]


def test_the_command_prints_its_address_and_ends_by_interruption(tmp_path):
    folder = written(tmp_path / "run", [[1.0, 2.0]])
    ignored = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "evo", "watch", str(folder), "--json"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ),
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, ignored)
    with process:
        url = json.loads(process.stdout.readline())["url"]
        assert ask(url)[0].status == 200
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=20)

    assert process.returncode == 0
    assert "Traceback" not in told
    with pytest.raises(OSError, match="refused"):
        ask(url)


@pytest.mark.parametrize(
    ("words", "told"),
    [(["--port", "70000"], "--port must lie in 0 to 65535, got 70000"),
     (["--every", "0"], "--every must lie in 0.2 to 3600 seconds, got 0")],
)  # fmt: skip
def test_flags_out_of_range_are_refused(tmp_path, capsys, words, told):
    folder = written(tmp_path / "run", [[1.0, 2.0]])

    assert main(["watch", str(folder), *words]) == 2
    assert told in capsys.readouterr().err


def test_what_is_no_run_is_refused(tmp_path, capsys):
    assert main(["watch", str(tmp_path)]) == 2
    assert "no run called" in capsys.readouterr().err
