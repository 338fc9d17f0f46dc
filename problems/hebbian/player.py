"""Lives by the rule in rule.json beside this file; needs NumPy alone.

As a module: ``network = Network(read())``, then ``network.act(observation)`` at every control step.
As a program it plays the task in Gymnasium and prints the return of each episode; with ``--gif`` it
also draws the first one, where Gymnasium can draw (MuJoCo needs OpenGL, the cart pygame):

    python player.py [--episodes 3] [--seed 0] [--gif life.gif]
"""

import argparse
import json
import os
import sys
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import numpy as np

FRAMES = 4  # control steps between two drawings


def read(file=None):
    """The rule as a dictionary."""
    file = Path(__file__).with_name("rule.json") if file is None else Path(file)
    return json.loads(file.read_text(encoding="utf-8"))


class Network:
    """One plastic network at the beginning of a life.

    Args:
        told: What ``rule.json`` holds.
        weights: Weights at the beginning, one (outputs, inputs) per layer; drawn when not given.
        seed: Of the weights that are drawn.
    """

    def __init__(self, told, weights=None, seed=0):
        self.told, self.layers = told, told["layers"]
        own = {name: np.array(values) for name, values in told["genes"].items()}
        self.pairs = list(pairwise(self.layers))
        stays = np.split(np.array(told["neurons"], dtype=float), np.cumsum(self.layers)[:-1])
        self.stays = [np.outer(b, a) for a, b in pairwise(stays)]
        if told["synapses"] is not None:
            cut = self._matrices(np.array(told["synapses"], dtype=float))
            self.stays = [s * m for s, m in zip(self.stays, cut, strict=True)]
        if told["rule"] in ("nchl", "wnchl"):
            cuts = np.cumsum(self.layers)[:-1]
            self.own = {name: np.split(values, cuts) for name, values in own.items()}
        else:
            self.own = {name: self._matrices(values) for name, values in own.items()}
        if told["rule"] == "static":
            weights = self.own["w"]
        elif weights is None:
            weights = self._drawn(np.random.default_rng(seed))
        self.weights = [np.array(w) * s for w, s in zip(weights, self.stays, strict=True)]
        self.record, self.step = [], 0

    def _matrices(self, values):
        cuts = np.cumsum([a * b for a, b in self.pairs])[:-1]
        return [v.reshape(b, a) for v, (a, b) in zip(np.split(values, cuts), self.pairs)]  # noqa: B905

    def _drawn(self, rng):
        init, scale = self.told["init"], self.told["scale"]
        if init == "zero" or self.told["rule"] == "wnchl":
            return [np.zeros((b, a)) for a, b in self.pairs]
        if init == "normal":
            return [rng.normal(0, scale, (b, a)) for a, b in self.pairs]
        sizes = [scale / a**0.5 if init == "linear" else scale for a, _ in self.pairs]
        return [rng.uniform(-s, s, (b, a)) for s, (a, b) in zip(sizes, self.pairs)]  # noqa: B905

    def act(self, observation):
        """Outputs in [-1, 1] for one observation; learns from them."""
        passed = [np.asarray(observation, dtype=float)]
        if passed[0].shape != (self.layers[0],):
            raise ValueError(
                f"the network has {self.layers[0]} inputs, got an observation of shape "
                f"{passed[0].shape}"
            )
        for w in self.weights:
            passed.append(np.tanh(w @ passed[-1]))
        self.step += 1
        if self.step % self.told["every"] == 0:
            self._learn(passed)
        return passed[-1]

    def _learn(self, passed):
        if self.told["rule"] == "static":
            return
        if self.told["rule"] == "wnchl":
            self.record = [*self.record, passed][-self.told["window"] :]
            self.weights = [
                sum(self._change(layer, p) for p in self.record) for layer in range(len(self.pairs))
            ]
            return
        for layer in range(len(self.pairs)):
            w = self.weights[layer] + self._change(layer, passed)
            if self.told["norm"] == "clip":
                w = np.clip(w, -self.told["limit"], self.told["limit"])
            elif self.told["norm"] == "max" and np.abs(w).max() > 0:
                w = w / np.abs(w).max()
            self.weights[layer] = w

    def _change(self, layer, passed):
        """What one pass adds to the weights of a layer."""
        x, y = passed[layer][None, :], passed[layer + 1][:, None]
        if self.told["rule"] == "hl":
            eta, a, b, c, d = (self.own[name][layer] for name in ("eta", "a", "b", "c", "d"))
            return self.stays[layer] * eta * (a * x + b * y + c * x * y + d)
        i = {name: own[layer][None, :] for name, own in self.own.items()}
        j = {name: own[layer + 1][:, None] for name, own in self.own.items()}
        taught = i["a"] * x + j["b"] * y + i["c"] * j["c"] * x * y + i["d"] * j["d"]
        return self.stays[layer] * (i["eta"] + j["eta"]) / 2 * taught


def play(told, episodes=3, seed=0, gif=None):
    """Return of each episode in Gymnasium, which must be installed."""
    drawn = {"render_mode": "rgb_array"} if gif else {}
    world = import_module("gymnasium").make(
        told["gymnasium"], **told["gymnasium_settings"], **drawn
    )
    returns, frames = [], []
    for episode in range(episodes):
        network, over, total = Network(told, seed=seed + episode), False, 0.0
        seen, _ = world.reset(seed=seed + episode)
        while not over:
            out = network.act(seen)
            discrete = hasattr(world.action_space, "n")
            seen, reward, ended, cut, _ = world.step(int(out.argmax()) if discrete else out)
            total, over = total + float(reward), ended or cut
            if gif and episode == 0 and network.step % FRAMES == 0:
                frames.append(world.render()[::2, ::2])
        returns.append(total)
    if gif:
        seconds = FRAMES / world.metadata["render_fps"]
        import_module("imageio").mimsave(gif, frames, duration=1000 * seconds, loop=0)
    return returns


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Play the task of rule.json.")
    parser.add_argument("--episodes", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gif", help="draw the first episode into this file")
    given = parser.parse_args()
    if given.gif and sys.platform == "linux" and "DISPLAY" not in os.environ:
        os.environ.setdefault("MUJOCO_GL", "egl")  # draws without a screen
    rule = read()
    if rule["gymnasium"] is None:
        parser.error(f"task {rule['task']!r} is none of Gymnasium's")
    for number, value in enumerate(play(rule, given.episodes, given.seed, given.gif)):
        print(f"episode {number}: {value:.6g}")
