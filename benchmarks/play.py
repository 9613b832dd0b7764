"""Games learned and played: hits and misses by frames seen, play through noise, Q-learning on the same frames.

    python benchmarks/play.py [SECTION ...]

Writes docs/play.json and the tables of docs/play.md. What is measured already is kept unless its section is named.
Every figure is the mean of 5 seeds, evaluated on episodes that learning has not seen. Half an hour on two cores.
"""

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rgm.planning.agent import Agent
from rgm.planning.environments import Breakout, Catch, Disturbed, Environment, Frame, Pong
from rgm.planning.learning import learn
from rgm.planning.playing import EVALUATE, LEARN, LEARNING_LIMIT, RANDOM, Player, RandomPlayer, Score, play
from rgm.planning.values import PLANNERS
from rgm.storage.files import write_json, write_text

DOCS = Path(__file__).parents[1] / "docs"
FOUND, PAGE = DOCS / "play.json", DOCS / "play.md"
MARK = "<!-- tables of benchmarks/play.py -->"
SEEDS = tuple(range(100, 105))
STEPS = 1000
PONG_SYMBOLS = 3
GAMES: dict[str, Callable[[], Environment]] = {
    "Pong, a miss ends the episode": Pong,
    "Pong, the ball bounces off the floor": partial(Pong, restart=False),
    "Catch": Catch,
}


def watched(game: Environment, frames: int, seed: int) -> tuple[Agent, float]:
    """Return an agent that has seen random play, and the seconds that took."""
    agent, start = Agent(game.actions, seed=seed), time.process_time()

    class Beginning(RandomPlayer):
        def begin(self, frame: Frame) -> None:
            agent.begin(frame)

    player = Beginning(game.actions, (seed, LEARN))
    play(game, player, frames, (seed, LEARN), limit=LEARNING_LIMIT, whole=False, seen=agent.observe)
    return agent, time.process_time() - start


def scored(game: Environment, player: Player, seed: int) -> dict[str, float]:
    """Return hits and misses in 1,000 steps of fresh episodes, and frames a second of processor time."""
    start = time.process_time()
    score: Score = play(game, player, STEPS, (seed, EVALUATE), whole=False)
    return score.measures() | {"frames_per_s": score.steps / (time.process_time() - start)}


def mean(rows: list[dict[str, float]]) -> dict[str, float]:
    """Return the mean of every measure."""
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def curve() -> dict[str, Any]:
    """Hits and misses by frames of random play, and the seconds of processor time to play, learn and plan."""
    found: dict[str, Any] = {}
    for name, make in GAMES.items():
        for frames in (2_000, 5_000, 10_000):
            rows = []
            for seed in SEEDS:
                agent, learn_s = watched(make(), frames, seed)
                start = time.process_time()
                graph = agent.plan()
                plan_s = time.process_time() - start
                size = {"states": len(graph), "learn_s": learn_s, "plan_s": plan_s}
                rows.append(scored(make(), agent, seed) | size)
            found.setdefault(name, {})[str(frames)] = mean(rows)
    return found


def disturbed() -> dict[str, Any]:
    """Pong after 10,000 clean frames, with cells flipped or hidden in play."""
    found: dict[str, Any] = {}
    for name, make in list(GAMES.items())[:2]:
        for title, share in (("clean", {}), ("30 % flipped", {"flip": 0.3}), ("67 % hidden", {"hide": 0.67})):
            rows = []
            for seed in SEEDS:
                agent, _ = watched(make(), 10_000, seed)
                agent.plan()
                seen = Disturbed(make(), symbols=PONG_SYMBOLS, seed=seed, **share) if share else make()
                rows.append(scored(seen, agent, seed))
            found.setdefault(name, {})[title] = mean(rows)
    return found


def noise() -> dict[str, Any]:
    """Pong learned from 20,000 frames with flipped cells, played clean."""
    found: dict[str, Any] = {}
    for name, make in list(GAMES.items())[:2]:
        for flip in (0.001, 0.01, 0.03):
            rows = []
            for seed in SEEDS:
                agent, _ = watched(Disturbed(make(), flip=flip, symbols=PONG_SYMBOLS, seed=seed), 20_000, seed)
                start = time.process_time()
                agent.plan()
                rows.append(scored(make(), agent, seed) | {"plan_s": time.process_time() - start})
            found.setdefault(name, {})[f"{flip:g}"] = mean(rows)
    return found


def planners() -> dict[str, Any]:
    """Pong and Catch after 10,000 frames, by each planner on the same model."""
    found: dict[str, Any] = {}
    for name, make in GAMES.items():
        rows: dict[str, list[dict[str, float]]] = {}
        for seed in SEEDS:
            agent, _ = watched(make(), 10_000, seed)
            agent.plan()
            for title, planner in PLANNERS.items():
                start = time.process_time()
                agent.follow(planner)
                plan_s = time.process_time() - start
                rows.setdefault(title, []).append(scored(make(), agent, seed) | {"plan_s": plan_s})
        found[name] = {title: mean(some) for title, some in rows.items()}
    return found


class QLearning:
    """Tabular Q-learning on the pairs of successive frames that an agent's view shows, ε-greedy."""

    def __init__(
        self, agent: Agent, seed: int, *, rate: float = 0.3, discount: float = 0.98, epsilon: float = 0.1
    ) -> None:
        self.agent, self.rate, self.discount, self.epsilon = agent, rate, discount, epsilon
        self.view = agent.planned.view
        self.random = np.random.default_rng(seed)
        self.values: dict[tuple[bytes, bytes], np.ndarray] = {}
        self.learning = True

    def begin(self, frame: Frame) -> None:
        """Begin an episode."""
        self.before, self.state = b"", self._row(b"", frame)

    def act(self, frame: Frame) -> int:
        """Return an action."""
        if not self.learning:
            self.state = self._row(self.before, frame)
            self.before = self._shown(frame, self.view.before)
        if self.learning and self.random.random() < self.epsilon:
            return int(self.random.integers(self.agent.actions))
        return int(self.state.argmax())

    def seen(self, frame: Frame, action: int, after: Frame, reward: float, ended: bool) -> None:
        """Learn from a step."""
        self.before = self._shown(frame, self.view.before)
        then = self._row(self.before, after)
        target = reward + (0.0 if ended else self.discount * float(then.max()))
        self.state[action] += self.rate * (target - self.state[action])
        self.state = then

    def _row(self, before: bytes, frame: Frame) -> np.ndarray:
        key = (before, self._shown(frame, self.view.present))
        return self.values.setdefault(key, np.zeros(self.agent.actions))

    def _shown(self, frame: Frame, symbols: tuple[int, ...]) -> bytes:
        return self.view.shown(frame, symbols).tobytes() if symbols else b""


def q_learning(most: int = 400_000, every: int = 10_000) -> dict[str, Any]:
    """Frames of its own play that tabular Q-learning needs for 44 hits and at most one miss, on the agent's states."""
    found: dict[str, Any] = {}
    for name, make in list(GAMES.items())[:2]:
        rows = []
        for seed in SEEDS:
            agent, _ = watched(make(), 10_000, seed)
            agent.plan()
            learner, needed = QLearning(agent, seed), most
            for number in range(most // every):
                learner.learning = True
                play(make(), learner, every, (seed, LEARN, number), limit=LEARNING_LIMIT, seen=learner.seen)
                learner.learning = False
                score = scored(make(), learner, seed)
                if score["hits_per_1000"] >= 44 and score["misses_per_1000"] <= 1:
                    needed = every * (number + 1)
                    break
            rows.append({"frames": float(needed), "reached": float(needed < most), **score})
        found[name] = mean(rows)
    return found


def breakout(frames: int = 200_000) -> dict[str, Any]:
    """Breakout with sticky actions, learned on-line."""
    found: dict[str, Any] = {}
    rows, curves = [], []
    for seed in SEEDS:
        rounds: list[tuple[int, float]] = []
        agent, start = Agent(Breakout.actions, seed=seed), time.process_time()
        learn(
            agent,
            Breakout(),
            Breakout(),
            frames,
            online=True,
            seed=seed,
            after=lambda one, rounds=rounds: rounds.append((one.frames, one.score.measures()["reward_per_episode"])),
        )
        elapsed = time.process_time() - start
        ours = play(Breakout(), agent, 10_000, (seed, EVALUATE)).measures()
        chance = play(Breakout(), RandomPlayer(Breakout.actions, (seed,)), 10_000, (seed, RANDOM)).measures()
        rows.append(
            {
                "agent": ours["reward_per_episode"],
                "random": chance["reward_per_episode"],
                "learn_s": elapsed,
                "states": float(len(agent.planned)),
            }
        )
        curves.append(dict(rounds))
        print("breakout", seed, rows[-1], flush=True)
        found = {
            "seeds": len(rows),
            "frames": frames,
            **mean(rows),
            "ratio": float(np.mean([row["agent"] for row in rows]) / np.mean([row["random"] for row in rows])),
            "curve": {str(at): float(np.mean([one[at] for one in curves])) for at in curves[0]},
        }
    return found


SECTIONS = {
    "curve": curve,
    "disturbed": disturbed,
    "noise": noise,
    "planners": planners,
    "q_learning": q_learning,
    "breakout": breakout,
}


def tables(found: dict[str, Any]) -> str:
    """Return the tables of the page."""
    lines = [
        f"Measured by `python benchmarks/play.py` ({found['machine']}). Means of {len(SEEDS)} seeds; hits and misses "
        "in 1,000 steps of fresh episodes, of which at most 45 can be hits in Pong and 100 in Catch; seconds of "
        "processor time.",
        "",
    ]
    if "curve" in found:
        lines += [
            "| game | frames of random play | hits | misses | states | played and learned in | planned in | "
            "frames a second in play |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        for game, row in found["curve"].items():
            for frames, one in row.items():
                lines.append(
                    f"| {game} | {int(frames):,} | {one['hits_per_1000']:.1f} | {one['misses_per_1000']:.1f} | "
                    f"{one['states']:,.0f} | {one['learn_s']:.2f} s | {one['plan_s']:.2f} s | "
                    f"{one['frames_per_s']:,.0f} |"
                )
        lines.append("")
    if "disturbed" in found:
        lines += [
            "| learned from 10,000 clean frames, played | seen | hits | misses | frames a second |",
            "| --- | --- | --- | --- | --- |",
        ]
        for game, row in found["disturbed"].items():
            for title, one in row.items():
                lines.append(
                    f"| {game} | {title} | {one['hits_per_1000']:.1f} | {one['misses_per_1000']:.1f} | "
                    f"{one['frames_per_s']:,.0f} |"
                )
        lines.append("")
    if "noise" in found:
        lines += [
            "| learned from 20,000 frames, played clean | cells flipped while learning | hits | misses | planned in |",
            "| --- | --- | --- | --- | --- |",
        ]
        for game, row in found["noise"].items():
            for flip, one in row.items():
                lines.append(
                    f"| {game} | {100 * float(flip):g} % | {one['hits_per_1000']:.1f} | {one['misses_per_1000']:.1f} | "
                    f"{one['plan_s']:.1f} s |"
                )
        lines.append("")
    if "planners" in found:
        lines += ["| 10,000 frames | planner | hits | misses | values found in |", "| --- | --- | --- | --- | --- |"]
        for game, row in found["planners"].items():
            for title, one in row.items():
                lines.append(
                    f"| {game} | `{title}` | {one['hits_per_1000']:.1f} | {one['misses_per_1000']:.1f} | "
                    f"{1000 * one['plan_s']:.0f} ms |"
                )
        lines.append("")
    if "q_learning" in found:
        lines += [
            "| tabular Q-learning on the same states | frames to 44 hits and 1 miss at most | runs that got there |",
            "| --- | --- | --- |",
        ]
        for game, one in found["q_learning"].items():
            lines.append(f"| {game} | {one['frames']:,.0f} | {100 * one['reached']:.0f} % |")
        lines.append("")
    if "breakout" in found:
        one = found["breakout"]
        lines += [
            f"Breakout with sticky actions, {one['frames']:,} frames on-line ({one['seeds']} seeds, "
            f"{one['learn_s']:.0f} s each): {one['agent']:.1f} bricks a game, random play {one['random']:.2f}, "
            f"a ratio of {one['ratio']:.0f}.",
            "",
            "| frames | " + " | ".join(f"{int(at):,}" for at in list(one["curve"])[1::2]) + " |",
            "| --- |" + " --- |" * len(list(one["curve"])[1::2]),
            "| bricks a game | " + " | ".join(f"{one['curve'][at]:.1f}" for at in list(one["curve"])[1::2]) + " |",
            "",
        ]
    return "\n".join(lines)


def main() -> None:
    """Measure what is not measured yet, or the sections named, and write."""
    found = json.loads(FOUND.read_text()) if FOUND.is_file() else {}
    found["machine"] = f"{platform.system()} {platform.machine()}, one of {os.cpu_count()} cores"
    for name, measure in SECTIONS.items():
        if (name in found and name not in sys.argv[1:]) or (len(sys.argv) > 1 and name not in sys.argv[1:]):
            continue
        start = time.perf_counter()
        found[name] = measure()
        print(name, f"{time.perf_counter() - start:.0f} s", found[name], flush=True)
        write_json(FOUND, found)
    if PAGE.is_file():
        before, _, rest = PAGE.read_text().partition(MARK)
        after = rest.partition(MARK)[2]
        write_text(PAGE, f"{before}{MARK}\n\n{tables(found)}\n{MARK}{after}")


if __name__ == "__main__":
    main()
