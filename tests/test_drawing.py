"""What a report draws of a graph and of correlations: against networkx, NumPy and the run file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from test_report import HOSTILE, Page, searched, written

from evo.cli import main
from evo.report import write_report
from evo.report.correlation import pearson
from evo.store import RunFile, read_run
from problems.influence import drawing
from problems.influence.cascades import Groups
from problems.influence.downscaled import Downscaled
from problems.influence.drawing import drawn
from problems.influence.graphs import Graph, from_networkx
from problems.influence.layout import placed
from problems.influence.problem import Influence

OBJECTIVES = ["spread", "size", "fairness"]


@pytest.fixture(scope="module")
def club(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Page]:
    """A run on the karate club, and its page."""
    problem = {"id": "influence/wc", "most": 4, "worlds": [16, 16]}
    folder = searched(tmp_path_factory.mktemp("club") / "run", problem, objectives=OBJECTIVES)
    return read_run(folder), Page(write_report([folder]))


def places(spec: Any) -> dict[tuple[int, int], int]:
    """Node at each position of a drawing."""
    nodes = spec["data"][1]
    return {place: i for i, place in enumerate(zip(nodes["x"], nodes["y"], strict=True))}


def edges_of(spec: Any) -> Iterator[tuple[int, int]]:
    """Pairs of nodes that a drawing joins."""
    node, lines = places(spec), spec["data"][0]
    points = list(zip(lines["x"], lines["y"], strict=True))
    assert points[2::3] == [(None, None)] * (len(points) // 3)
    yield from ((node[a], node[b]) for a, b in zip(points[::3], points[1::3], strict=True))


# -- the graph -------------------------------------------------------------------------------------


def test_the_graph_is_drawn_with_its_edges_and_the_seeds_of_the_knee(club: Any) -> None:
    view, page = club
    spec = page.figures["drawing"]
    graph = nx.karate_club_graph()

    assert page.sections == ["asked", "answer", "journey", "drawing", "sure", "repeat"]
    assert spec["data"][1]["text"] == [str(node) for node in graph]
    found = sorted(tuple(sorted(pair)) for pair in edges_of(spec))
    assert found == sorted(tuple(sorted(pair)) for pair in graph.edges)
    assert "34 nodes, 78 edges. " in page.text

    c = view.candidates
    seeds = {
        str(c.id[row]): [node for node in c.genomes["seeds"][row].tolist() if node >= 0]
        for row in view.front_rows()
    }
    assert spec["layout"]["meta"] == seeds
    (knee,) = (
        row[0].removesuffix("knee") for row in page.tables["front-table"] if "knee" in row[0]
    )
    marked = spec["data"][2]
    node = places(spec)
    at = [node[place] for place in zip(marked["x"], marked["y"], strict=True)]
    assert at == seeds[knee.split("best")[0]]
    assert marked["text"] == [str(node) for node in at]
    groups = Influence(model="wc").groups
    among = {int(groups.community[node]) for node in at} - {-1}
    told = f"has {len(at)} seeds in {len(among)} of {groups.count - 1} communities"
    assert f"The knee {told}" in page.text


def test_the_knee_and_the_bests_come_first_among_those_to_pick(club: Any) -> None:
    view, page = club
    given = page.source.split('<select id="drawing-pick">')[1].split("</select>")[0]
    options = [
        (line.split('"')[1], line.split(">")[1].removesuffix("</option"))
        for line in given.split("<option ")[1:]
    ]

    assert options[0][1].startswith("knee")
    for name in OBJECTIVES:
        assert sum(f"best {name}" in text for _, text in options[:4]) == 1
    assert len(options) == len(dict(options)) <= 16
    c = view.candidates
    for id, text in options:
        (row,) = np.flatnonzero(c.id == int(id))
        assert f"size ↓ {c.values[row, 1]:g} " in text
        assert id in page.figures["drawing"]["layout"]["meta"]


def toy(tmp_path: Path, worse: float = 0.0, **more: Any) -> Path:
    """A run of three front members that drew five nodes."""
    values = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]]) + worse
    folder = written(tmp_path / "run", values)
    told = {
        "nodes": "stops", "groups": "towns", "marked": "depots", "names": [*"abcd", HOSTILE],
        "x": [0, 1, 2, 3, 4], "y": [5, 5, 5, 5, 5], "group": [1, 1, 0, 1, -1],
        "edges": [[0, 1], [1, 2]], "edges_in_all": 9, "ids": [1, 2, 3],
        "marks": [[0], [1, 2, 4], [3]],
    }  # fmt: skip
    file = RunFile.open(folder)
    file.set_meta(drawing=more or told)
    file.close()
    return folder


def test_a_recorded_drawing_is_shown_whatever_the_problem_is(tmp_path: Path) -> None:
    page = Page(write_report([toy(tmp_path)]))
    lines, nodes, marks = page.figures["drawing"]["data"]

    assert "The knee has 3 depots in 2 of 2 towns" in page.text
    assert "5 stops, 2 of 9 edges, drawn by lot" in page.text
    assert lines["x"] == [0, 1, None, 1, 2, None]
    assert nodes["marker"]["color"] == [0, 0, 1, 0, 6]  # the larger town first, then the other
    assert len(nodes["marker"]["colorscale"]) == 7
    assert marks["x"] == [1, 2, 4]
    assert page.figures["drawing"]["layout"]["meta"] == {"1": [0], "2": [1, 2, 4], "3": [3]}
    assert "<" not in nodes["text"][4]
    assert not any(row[0] == "drawing" for row in page.tables[None])  # as a fact of the run
    assert "evil.example" not in " ".join(filter(None, page.loads))


def test_what_is_left_out_is_said_and_several_runs_have_no_drawing(tmp_path: Path) -> None:
    small = toy(tmp_path / "a")
    large = toy(tmp_path / "b", left_out="Too large to draw.")

    assert "Too large to draw." in Page(write_report([large])).text
    two = [small, toy(tmp_path / "c", worse=9.0)]  # the front is that of the first
    both = Page(write_report(two, tmp_path / "both.html"))
    assert "drawing" not in both.sections
    assert "drawing" not in both.figures


def test_a_longer_run_is_drawn_again(tmp_path: Path) -> None:
    problem = {"id": "influence/wc", "most": 4, "worlds": [8, 8]}
    folder = searched(tmp_path / "run", problem, generations=1, objectives=["spread", "size"])

    assert main(["resume", str(folder), "--generations", "+3"]) == 0

    view = read_run(folder)
    assert view.meta["drawing"]["ids"] == view.candidates.id[view.candidates.on_front].tolist()


def test_the_drawing_stays_out_of_what_is_printed(club: Any, capsys: Any) -> None:
    view, _ = club

    assert main(["show", str(view.folder), "--json"]) == 0

    assert "drawing" not in json.loads(capsys.readouterr().out)["meta"]


def grid(n: int) -> tuple[Graph, Groups]:
    graph = from_networkx(nx.grid_2d_graph(n, n))
    return graph, Groups(np.zeros(graph.n, dtype=np.int32))


def test_some_edges_of_many_are_drawn_and_too_many_nodes_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph, groups = grid(6)
    monkeypatch.setattr(drawing, "EDGES", 20)
    seeds = np.array([[3, 5, -1]], dtype=np.int32)

    found = drawn(graph, groups, seeds, 0)
    monkeypatch.setattr(drawing, "NODES", 35)

    pairs = set(zip(*found["edges"], strict=True))
    assert len(pairs) == 20 < found["edges_in_all"] == 60
    assert pairs <= set(zip(graph.sources.tolist(), graph.targets.tolist(), strict=True))
    assert found["marks"] == [[3, 5]]
    assert found == drawn_again(graph, groups, seeds, monkeypatch)
    assert drawn(graph, groups, seeds, 0) == {
        "left_out": "Graphs of more than 35 nodes are not drawn; this has 36."
    }


def drawn_again(graph: Graph, groups: Groups, seeds: Any, monkeypatch: Any) -> Any:
    with monkeypatch.context() as at:
        at.setattr(drawing, "NODES", 36)
        return drawn(graph, groups, seeds, 0)


def test_downscaled_searches_draw_the_graph_itself() -> None:
    given = nx.planted_partition_graph(4, 20, 0.3, 0.02, seed=1)
    known = np.repeat(np.arange(4, dtype=np.int32), 20)
    problem = Downscaled(graph=given, communities=known, downscale=4, most=20)
    genomes = problem.space.sample(3, np.random.default_rng(0))

    found = problem.drawing(genomes)

    rows = problem.upscaled(genomes)["seeds"]
    assert len(found["names"]) == 80
    assert found["marks"] == [row[row >= 0].tolist() for row in rows]


# -- the layout ------------------------------------------------------------------------------------


def distances(given: Any, of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of all pairs of nodes in the drawing, and the number of edges between them."""
    ends = np.array(list(given.edges)).T
    where = placed(ends[0], ends[1], of, 0)
    assert np.array_equal(where, placed(ends[0], ends[1], of, 0))
    gaps = np.linalg.norm(where[:, None] - where[None], axis=2)
    steps = dict(nx.all_pairs_shortest_path_length(given))
    n = len(given)
    return gaps, np.array([[steps[i].get(j, np.nan) for j in range(n)] for i in range(n)])


def test_joined_nodes_lie_together_on_a_lattice() -> None:
    given = nx.convert_node_labels_to_integers(nx.grid_2d_graph(9, 9))

    gaps, steps = distances(given, np.arange(81) // 27)

    upper = np.triu_indices(81, 1)
    assert np.corrcoef(gaps[upper], steps[upper])[0, 1] > 0.6


def test_communities_lie_apart() -> None:
    given = nx.planted_partition_graph(12, 40, 0.1, 0.002, seed=1)
    of = np.repeat(np.arange(12), 40)

    gaps, _ = distances(given, of)

    same = of[:, None] == of
    assert gaps[~same].mean() > 3.5 * gaps[same].mean()
    nearest = np.where(np.eye(480, dtype=bool), np.inf, gaps).argmin(axis=1)
    assert (of[nearest] == of).mean() > 0.9


def test_pieces_and_lone_nodes_stay_in_sight() -> None:
    given = nx.disjoint_union_all([nx.cycle_graph(40), nx.path_graph(4), nx.empty_graph(6)])

    gaps, _ = distances(given, np.zeros(50, dtype=int))

    assert np.isfinite(gaps).all()
    assert gaps[44:].max() < 8 * gaps[:40, :40].max()
    assert np.where(np.eye(50, dtype=bool), np.inf, gaps).min() > 0


# -- correlations ----------------------------------------------------------------------------------


def test_correlation_is_pearsons_and_constants_have_none() -> None:
    values = np.random.default_rng(0).normal(size=(40, 4)) + 1e6
    values[:, 2] = 1e6 + 0.1
    found = pearson(values)
    others = [0, 1, 3]

    np.testing.assert_allclose(
        found[np.ix_(others, others)], np.corrcoef(values[:, others].T), atol=1e-8
    )
    assert np.isnan(found[2]).all()
    assert np.isnan(found[:, 2]).all()


def test_correlations_are_of_the_front_below_and_of_all_above_the_diagonal(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    values = rng.random((60, 3))
    values[:, 2] = values[:, 0] + 0.3 * rng.random(60)  # to be maximised: costs the first
    folder = written(tmp_path / "run", values, goals=["min", "min", "max"])

    page = Page(write_report([folder]))

    trace = page.figures["correlation"]["data"][0]
    fitness = values * [1, 1, -1]
    front = read_run(folder).candidates.on_front
    below, above = np.corrcoef(fitness[front].T), np.corrcoef(fitness.T)
    for i, j in np.ndindex(3, 3):
        expected = None if i == j else (below if i > j else above)[i, j]
        assert trace["z"][i][j] == (None if expected is None else pytest.approx(expected, abs=6e-4))
    assert trace["z"][0][2] < -0.8
    assert trace["x"] == trace["y"] == ["f0 ↓", "f1 ↓", "f2 ↑"]
    assert f"over the {front.sum()} front members, above it over all 60 feasible" in page.text


def test_two_objectives_need_no_correlation_figure(tmp_path: Path) -> None:
    page = Page(write_report([written(tmp_path / "run", [[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]])]))

    assert "correlation" not in page.figures


# -- notes -----------------------------------------------------------------------------------------


def test_what_cleaning_did_is_told_as_the_run_begins_and_in_the_report(
    tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "graph.txt").write_text("1 1\n1 2\n2 1\n2 3\n")
    flags = [f"--set=problem.graph={json.dumps(str(tmp_path / 'graph.txt'))}", "--generations=1"]
    run = ["run", "influence/ic", *flags, "--population=4", "--out", str(tmp_path / "run")]

    assert main([*run, "--report"]) == 0

    told = capsys.readouterr().err
    notes = ["1 loops left out of the arcs; they count in degrees", "1 repeated edges left out"]
    assert [line for line in told.splitlines() if line.startswith("note: ")] == [
        f"note: {note}" for note in notes
    ]
    page = Page(tmp_path / "run" / "report.html")
    assert ["notes", "; ".join(notes)] in page.tables[None]
    assert ["size", "3 nodes, 2 edges, communities by louvain"] in page.tables[None]
