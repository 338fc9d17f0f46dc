"""The report and the live page in a headless Chromium, moved by mouse and keys."""

import json
import re
import shlex
import threading

import numpy as np
import pytest
from browsing import Tab, launched
from handmade import naive_front, written

from evo.cli import main
from evo.config import RunConfig
from evo.report import write_report
from evo.run import Run
from evo.store import read_run
from evo.watch import Server, run_page

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser():
    with launched() as found:
        yield found


@pytest.fixture
def tab(browser):
    """A tab that must neither complain nor ask for anything but its own page."""
    found = Tab(browser)
    yield found
    origin = re.match(r"file:///[^?#]*|http://[^/]*/", found.page.url)[0]
    assert [url for url in found.asked if not url.startswith((origin, "data:", "blob:"))] == []
    assert found.complaints == []
    found.page.close()


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A front of 60 members in 15 objectives, some to be maximised, and its page."""
    goals = ["min", "max", "min"] * 5
    values = np.random.default_rng(15).random((60, 15))
    values /= np.linalg.norm(values, axis=1, keepdims=True)  # on a sphere none dominates another
    values = np.where(np.array(goals) == "max", 1 - values, values) * 10.0 ** np.arange(-2, 13)
    return reported(written(tmp_path_factory.mktemp("wide") / "run", values, goals=goals))


@pytest.fixture(scope="module")
def narrow(tmp_path_factory):
    """A front of 12 members in two objectives among 40 candidates, and its page."""
    x = np.linspace(0, 1, 12)
    front = np.stack([x, (1 - x) ** 2], axis=1)
    others = np.random.default_rng(2).random((28, 2)) + np.array([0.3, 0.8])
    return reported(written(tmp_path_factory.mktemp("narrow") / "run", [*front, *others]))


@pytest.fixture(scope="module")
def layers(tmp_path_factory):
    """A real run with a genome map, baselines and validation, and its page."""
    folder = tmp_path_factory.mktemp("layers") / "run"
    run = Run.create(
        RunConfig.from_mapping({
            "problem": {"id": "synthetic/layers"}, "stop": {"generations": 4}, "baseline": True,
            "algorithm": {"id": "nsga2", "population": 12}, "metrics": ["removed"],
        }), folder,
    )  # fmt: skip
    for _ in run:
        pass
    run.finish()
    run.close()
    return reported(folder)


def reported(folder):
    return read_run(folder), write_report([folder]).as_uri()


def by_command(tab, capsys):
    """What the command that the page shows prints: ids of the rows, what it marks."""
    words = shlex.split(tab.text("#front-command"))
    assert words[0] == "evo"
    assert main([*words[1:], "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    return [row["id"] for row in told["front"]], told


def kept(tab):
    return sorted(int(mark["name"]) for mark in tab.marks("front") if not mark["out"])


def lonely(marks):
    """Those that no other mark is near to."""
    places = np.array([[m["x"], m["y"]] for m in marks])
    far = np.linalg.norm(places[:, None] - places, axis=2) + 99 * np.eye(len(marks))
    return [m for m, least in zip(marks, far.min(axis=1), strict=True) if least > 12]


def chosen(tab):
    """The candidate that table, command and line agree on."""
    name = tab.page.locator("#front-table tr.chosen").get_attribute("data-name")
    assert f" {name} --to candidate-{name}" in tab.text("#export-command")
    assert f"Candidate {name}" in tab.text("#choice-told")
    return int(name)


@pytest.mark.slow
def test_figures_have_a_mark_for_every_candidate(tab, narrow):
    view, url = narrow
    tab.open(url).see_all()

    rows = view.front_rows()
    marks = tab.marks("front")
    assert [int(m["name"]) for m in marks] == view.candidates.id[rows].tolist()
    points = ".scatterlayer .trace path.point"
    assert tab.count(f"#plot-front {points}") == len(view.candidates) + len(rows) + 1  # the knee
    assert tab.count("#front-table tbody tr") == len(rows)
    x, y = ([m[k] for m in marks] for k in "xy")
    assert x == sorted(x)  # sorted by f0, so f1 falls, and the window counts from the top
    assert y == sorted(y)
    assert len({round(v) for v in x}) == len(rows)


@pytest.mark.slow
def test_every_figure_of_a_whole_run_is_drawn(tab, layers):
    _, url = layers
    tab.open(url).see_all()

    assert tab.count(".plot") == 6
    for name in ("front", "growth", "best", "baselines", "validation"):
        assert tab.count(f"#plot-{name} .scatterlayer path") >= 2
    assert tab.count("#plot-map .heatmaplayer image") == 1
    assert tab.count("#parallel path.line") == tab.count("#front-table tbody tr")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.slow
def test_a_narrow_window_shows_everything_without_moving_sideways(browser, layers, wide, scheme):
    for _, url in (layers, wide):
        tab = Tab(browser, width=400, scheme=scheme)
        tab.open(url).see_all()
        assert tab.page.evaluate("document.documentElement.scrollWidth") == 400
        paper = tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
        drawn = tab.page.locator("#plot-front .main-svg").first.evaluate(
            "s => getComputedStyle(s).backgroundColor"
        )
        assert paper == drawn == ("rgb(20, 24, 31)" if scheme == "dark" else "rgb(255, 255, 255)")
        assert tab.complaints == []
        tab.page.close()


@pytest.mark.slow
def test_a_point_a_row_and_a_line_are_chosen_everywhere_at_once(tab, layers):
    view, url = layers
    tab.open(url).see("#plot-front")
    tab.page.wait_for_selector("#plot-front .evo-chosen")
    knee = chosen(tab)
    mark = next(m for m in lonely(tab.marks("front")) if int(m["name"]) != knee)

    tab.page.mouse.click(mark["x"], mark["y"])

    assert chosen(tab) == int(mark["name"])
    assert "chosen by hand" in tab.text("#choice-told")
    own = next(m for m in tab.marks("front") if int(m["name"]) == knee)
    tab.page.wait_for_timeout(500)  # not a double click
    tab.page.mouse.click(own["x"], own["y"])  # the ring of the knee lies upon its point
    assert chosen(tab) == knee
    tab.page.wait_for_timeout(500)
    tab.page.mouse.click(mark["x"], mark["y"])
    first = tab.page.locator("#parallel .chosen-line").get_attribute("d")
    lines = tab.page.locator("#parallel .line").evaluate_all("p => p.map(x => x.getAttribute('d'))")
    assert first in lines

    row = tab.page.locator("#front-table tbody tr").nth(3)
    row.click()
    name = row.get_attribute("data-name")
    assert chosen(tab) == int(name)
    rings = tab.page.locator("#plot-front .evo-chosen")
    assert rings.count() == 1
    box, there = rings.bounding_box(), next(m for m in tab.marks("front") if m["name"] == name)
    assert abs(box["x"] + box["width"] / 2 - there["x"]) < 1
    assert tab.page.locator("#parallel .chosen-line").get_attribute("d") != first

    tab.see("#parallel")
    place = tab.page.locator("#parallel svg").bounding_box()
    path = next(d for d in lines if d != tab.page.locator(".chosen-line").get_attribute("d"))
    (x0, y0), (x1, y1) = (tuple(map(float, p.split(","))) for p in path[1:].split("L")[:2])
    tab.page.mouse.click(place["x"] + (x0 + x1) / 2, place["y"] + (y0 + y1) / 2)
    after = tab.page.locator("#parallel .chosen-line").get_attribute("d").replace("L", "M")
    (a0, b0), (a1, b1) = (tuple(map(float, p.split(","))) for p in after[1:].split("M")[:2])
    assert abs((b0 + b1) / 2 - (y0 + y1) / 2) < 1
    assert (a0, a1) == (x0, x1)
    assert chosen(tab) in view.candidates.id


def test_brushed_axes_keep_what_the_command_keeps(tab, wide, capsys):
    view, url = wide
    tab.open(url).see("#plot-front")
    tab.page.wait_for_selector("#plot-front .evo-chosen")
    assert tab.count("#parallel .line") == tab.count("#parallel .axis") * 4 == 60
    assert kept(tab) == sorted(view.candidates.id.tolist())
    tab.see("#parallel")
    grips = [tab.page.locator("#parallel .grip").nth(k).bounding_box() for k in (2, 4)]

    for grip, (top, bottom) in zip(grips, ((0.1, 0.7), (0.3, 0.99)), strict=True):
        x, y, height = grip["x"] + grip["width"] / 2, grip["y"], grip["height"]
        tab.drag(x, y + bottom * height, y + top * height)
    for k, grip, (top, bottom) in zip((2, 4), grips, ((0.1, 0.7), (0.3, 1)), strict=True):
        kept_part = tab.page.locator("#parallel .brush").nth(k).bounding_box()
        y, height = grip["y"], grip["height"]
        assert kept_part["y"] == pytest.approx(y + top * height, abs=2)
        assert kept_part["height"] == pytest.approx((bottom - top) * height, abs=10)

    ids, told = by_command(tab, capsys)
    assert tab.text("#front-command").count("--where") == 3  # the last reaches to the best end
    assert 3 < len(ids) < 40
    tab.see("#plot-front")
    assert kept(tab) == sorted(ids)
    assert chosen(tab) == told["knee"]
    assert f"{len(ids)} of 60 members keep the limits" in tab.text("#choice-told")
    assert tab.count("#parallel .line:not(.out)") == len(ids)
    assert tab.count("#front-table tbody tr:not(.out)") == len(ids)
    tab.page.check("#only-inside")
    assert tab.count("#front-table tbody tr:visible") == len(ids)

    # A kept part moves with the mouse, and a click lets go of it.
    tab.see("#parallel")
    grip = tab.page.locator("#parallel .grip").nth(2).bounding_box()
    x, y = grip["x"] + grip["width"] / 2, grip["y"] + 0.4 * grip["height"]
    before = tab.text("#front-command")
    tab.drag(x, y, y + 30)
    assert tab.text("#front-command") != before
    assert by_command(tab, capsys)[0] != ids
    tab.page.mouse.click(x, y)
    assert tab.text("#front-command").count("--where") == 1
    tab.page.click("#lift-limits")
    assert "60 members, no limits" in tab.text("#choice-told")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.slow
def test_weights_and_limits_lead_to_the_candidate_of_the_command(tab, wide, capsys, seed):
    _, url = wide
    rng = np.random.default_rng(seed)
    tab.open(url).see("#choice")

    for j in rng.permutation(15)[:9]:
        tab.slide(f'#choice tr[data-column="f{j}"] input.weight', round(rng.random() * 10, 1))
    _, told = by_command(tab, capsys)
    assert chosen(tab) == told["nearest"]
    assert "nearest by pseudo-weights" in tab.text("#choice-told")
    for j in rng.permutation(15)[:4]:
        tab.slide(f'#choice tr[data-column="f{j}"] input.limit', 750 + 200 * rng.random())
    ids, told = by_command(tab, capsys)
    assert chosen(tab) == told["nearest"]
    assert f"{len(ids)} of 60 members" in tab.text("#choice-told")
    tab.page.click("#to-knee")
    assert chosen(tab) == by_command(tab, capsys)[1]["knee"]


@pytest.mark.slow
def test_sliders_obey_the_keyboard_and_shares_are_those_of_the_candidate(tab, narrow, capsys):
    view, url = narrow
    tab.open(url).see("#choice")
    slider = tab.page.locator('#choice tr[data-column="f0"] input.weight')

    slider.focus()
    for _ in range(20):
        tab.page.keyboard.press("ArrowRight")

    assert "--weights f0=3,f1=1" in tab.text("#front-command")
    assert chosen(tab) == by_command(tab, capsys)[1]["nearest"]
    k = np.flatnonzero(view.candidates.id == chosen(tab))[0]
    share = 1 - view.candidates.values[k]  # both reach from 0 to 1
    told = [float(text) for text in tab.page.locator("#choice .share").all_inner_texts()]
    assert told == pytest.approx(share / share.sum(), abs=0.0051)


@pytest.mark.slow
def test_the_axes_of_many_objectives_are_picked(tab, wide):
    view, url = wide
    tab.open(url).see("#plot-front")
    tab.page.wait_for_selector("#plot-front .evo-chosen")

    tab.page.select_option("#pair-x", "1")
    tab.page.select_option("#pair-y", "2")

    found = {int(m["name"]): m for m in tab.marks("front")}
    ids, values = view.candidates.id, view.candidates.values
    across = sorted(found, key=lambda i: found[i]["x"])
    assert across == ids[np.argsort(values[:, 1])].tolist()
    assert "f1" in tab.page.locator("#plot-front .xtitle").text_content()
    assert tab.count("#plot-front .evo-chosen") == 1


@pytest.mark.slow
def test_limits_veil_rows_of_the_genome_map(tab, layers):
    view, url = layers
    tab.open(url).see("#plot-map")
    tab.page.wait_for_selector("#plot-map .shapelayer path")
    assert tab.count("#plot-map .shapelayer path") == 1  # the frame of the chosen one

    tab.slide('#choice tr[data-column="loss"] input.limit', 600)

    out = tab.count("#front-table tr.out")
    assert 0 < out < len(view.front_rows())
    assert tab.count("#plot-map .shapelayer path") == 2
    heights = tab.page.locator("#plot-map .shapelayer path").evaluate_all(
        "p => p.map(x => x.getBoundingClientRect().height)"
    )
    # Sorted by loss, all that are out lie together below the rest; the frame is one row high.
    assert max(heights) == pytest.approx(out * min(heights), rel=0.05)
    places = tab.page.locator("#plot-map .shapelayer path").evaluate_all(
        "p => p.map(x => [x.getBoundingClientRect().height, x.getBoundingClientRect().top])"
    )
    (_, frame), (_, veil) = sorted(places)
    assert veil > frame


def test_the_live_page_follows_a_run_and_leaves_the_reader_alone(tab, tmp_path):
    folder = tmp_path / "run"
    run = Run.create(
        RunConfig.from_mapping({
            "problem": {"id": "synthetic/layers"}, "stop": {"generations": 12},
            "algorithm": {"id": "nsga2", "population": 16},
        }), folder,
    )  # fmt: skip
    steps = iter(run)
    next(steps)
    server = Server({"": run_page(folder)}, every=0.2)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        tab.open(server.url).see("#plot-front")
        tab.page.wait_for_selector("#plot-front .evo-chosen")
        assert "running · generation 1 of 12" in tab.text("#state")
        front = read_run(folder).front_rows()
        assert len(tab.marks("front")) == len(front)
        tab.page.locator("#front-table tbody tr").first.click()
        first = chosen(tab)  # best in the first objective; the dense model stays so
        tab.slide('#choice tr[data-column="params"] input.limit', 700)
        limit = tab.text("#front-command")
        tab.page.locator('#choice tr[data-column="params"] input.limit').focus()
        tab.see("#choice")
        place = tab.page.locator("#choice").bounding_box()["y"]

        for _ in steps:
            pass
        run.finish()
        run.close()
        tab.until("document.querySelector('#state').textContent.startsWith('finished')")

        view = read_run(folder)
        assert sorted(int(m["name"]) for m in tab.marks("front")) == sorted(
            view.candidates.id[view.front_rows()].tolist()
        )
        assert tab.count("#front-table tbody tr") == len(view.front_rows()) > len(front)
        assert tab.count("#plot-front .evo-chosen") == (first in view.candidates.id)
        assert tab.text("#front-command") == limit
        assert abs(tab.page.locator("#choice").bounding_box()["y"] - place) < 2
        focused = "document.activeElement.closest('tr').dataset.column"
        assert tab.page.evaluate(focused) == "params"
        assert not tab.page.locator("#unfinished").count()
        assert tab.complaints == []
    finally:
        server.stop()
        thread.join()
        server.close()
    tab.until("document.querySelector('#live').textContent.startsWith('No answer')")
    tab.page.close()  # it asks on, and any of the network's errors may answer
    tab.complaints[:] = [text for text in tab.complaints if "resource: net::ERR_" not in text]


@pytest.mark.slow
def test_a_hostile_name_runs_nothing(tab, tmp_path):
    evil = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"
    values = np.random.default_rng(1).random((8, 3))
    assert len(naive_front(values)) > 1
    folder = written(
        tmp_path / "run", values, names=["a", evil, "b"], describe={"title": evil}, unit=evil
    )
    tab.open(write_report([folder]).as_uri()).see_all()

    assert tab.page.title().endswith("evo report")
    assert tab.count("img, main script:not([type])") == 0
    assert "<img" in tab.text("#choice")
