"""Run files and pages for tests: runs made by hand, HTML read back as a browser would."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import numpy as np

from evo.genomes import Genomes
from evo.problem import Evaluation
from evo.space import Choice, SearchSpace
from evo.store import Column, RunFile


class Page(HTMLParser):
    """What the tests ask about: sections, tables by id, figures, texts, and all that loads."""

    def __init__(self, path):
        super().__init__(convert_charrefs=True)
        self.sections, self.tables, self.figures, self.loads, self.tags = [], {}, {}, [], []
        self.choice = None
        self.front, self.best, self.texts, self.meta = [], [], [], []
        self._table = self._cell = self._figure = None
        self._silent = self._choice = False
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append(tag)
        self.loads += [v for k, v in attrs if k in ("src", "srcset", "data", "poster", "action")]
        if tag in ("a", "link") and given.get("href"):
            self.loads.append(given["href"])
        if tag == "meta":
            self.meta.append(given)
        if tag == "section":
            self.sections.append(given["id"])
        if tag == "table":
            self._table = self.tables.setdefault(given.get("id"), [])
        if tag == "tr" and self._table is not None:
            self._table.append([])
            if "data-name" in given:
                self.front.append((given["data-name"], given["data-command"], []))
        if tag in ("td", "th") and self._table is not None:
            self._cell = ""
            if tag == "td" and "data-value" in given:
                self.front[-1][2].append(float(given["data-value"]))
            if given.get("class") == "best":
                self.best.append((self.front[-1][0], float(given["data-value"])))
        if tag == "script":
            self._figure, self._silent = given.get("data-figure"), "data-figure" not in given
            self._choice = "data-choice" in given
        if tag == "style":
            self._silent = True

    def handle_endtag(self, tag):
        if tag in ("td", "th") and self._cell is not None:
            self._table[-1].append(self._cell)
            self._cell = None
        if tag == "table":
            self._table = None
        if tag in ("script", "style"):
            self._figure, self._silent, self._choice = None, False, False

    def handle_data(self, data):
        if self._choice:
            self.choice = json.loads(data)
        elif self._figure is not None:
            self.figures[self._figure] = json.loads(data)
        elif not self._silent:
            self.texts.append(data)
            if self._cell is not None:
                self._cell += data

    @property
    def text(self):
        return " ".join(self.texts).replace("\u00a0", " ")


def naive_front(fitness):
    """Rows that no row dominates, one row at a time."""
    worse = [((fitness <= row).all(axis=1) & (fitness < row).any(axis=1)).any() for row in fitness]
    return np.flatnonzero(~np.array(worse, dtype=bool))


def written(folder, values, *, goals=None, names=None, ok=None, reasons=None, **more):
    """A run file with one complete generation of the given values, shape (n, m)."""
    values = np.asarray(values, dtype=float)
    n, m = values.shape
    goals = goals or ["min"] * m
    ok = np.ones(n, dtype=bool) if ok is None else np.asarray(ok)
    names = names or [f"f{j}" for j in range(m)]
    columns = [Column(names[j], goals[j], more.get("unit", ""), 1e-9, True) for j in range(m)]
    config = {"problem": {"id": "toy/one"}, "seed": more.get("seed", 0)} | more.get("config", {})
    meta = {"config": config, "describe": more.get("describe", {"title": "Toy"})}
    space = SearchSpace((Choice("choices", [2] * 12),))
    genomes = Genomes({"choices": (np.arange(n)[:, None] >> np.arange(12) & 1).astype(np.int16)})
    file = RunFile.create(folder, meta, space, columns)
    file.begin("search", 0, genomes, "all")
    result = Evaluation(
        np.where(ok[:, None], values, np.nan),
        np.zeros((n, 0)),
        ok,
        np.full(n, 0.1),
        tuple(reasons or [""] * n),
        np.ones(n),
    )
    ids = np.array(file.append("search", 0, np.arange(n), genomes, result))
    sign = np.array([1.0 if goal == "min" else -1.0 for goal in goals])
    good = np.flatnonzero(ok & more.get("feasible", np.ones(n, dtype=bool)))
    front = good[naive_front(values[good] * sign)] if len(good) else good
    if more.get("complete", True):
        violation = {int(i): 0.0 if k in good else 1.0 for k, i in enumerate(ids)}
        file.complete(
            "search", 0, asked=n, hypervolume=0.0, seconds=60.0, violation=violation,
            entered=ids[front].tolist(),
        )  # fmt: skip
        file.set_meta(status="finished")
    file.close()
    return folder
