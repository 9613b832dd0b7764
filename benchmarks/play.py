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


ENOUGH = {"hits": 44, "misses": 1}


def enough(score: dict[str, float]) -> bool:
    """Return whether play is as good as is asked."""
    return score["hits_per_1000"] >= ENOUGH["hits"] and score["misses_per_1000"] <= ENOUGH["misses"]


def frames_needed(most: int = 10_000, every: int = 500) -> dict[str, Any]:
    """Frames of random play that the agent needs for 44 hits and at most one miss."""
    found: dict[str, Any] = {}
    for name, make in list(GAMES.items())[:2]:
        rows = []
        for seed in SEEDS:
            for frames in range(every, most + 1, every):
                agent, _ = watched(make(), frames, seed)
                agent.plan()
                score = scored(make(), agent, seed)
                if enough(score):
                    break
            rows.append({"frames": float(frames), "reached": float(enough(score)), **score})
        found[name] = mean(rows)
    return found


def q_learning(most: int = 400_000, every: int = 2_000) -> dict[str, Any]:
    """Frames of its own play that tabular Q-learning needs for the same, on the agent's states."""
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
                if enough(score):
                    needed = every * (number + 1)
                    break
            rows.append({"frames": float(needed), "reached": float(enough(score)), **score})
        found[name] = mean(rows)
    return found


DQN_SEEDS, DQN_FRAMES = SEEDS[:2], (10_000, 20_000, 30_000)


def dqn() -> dict[str, Any]:
    """A small DQN of Stable-Baselines3 on frames of its own play: the present and the one before, as 0 or 1 a symbol.

    Only where stable-baselines3 and gymnasium are installed.
    """
    try:
        import gymnasium
        from stable_baselines3 import DQN
    except ImportError:
        return {}

    class Frames(gymnasium.Env[Any, Any]):
        """A game as an environment of gymnasium that shows two frames."""

        def __init__(self, make: Callable[[], Environment]) -> None:
            self.game = make()
            self.action_space = gymnasium.spaces.Discrete(self.game.actions)
            size = 2 * (PONG_SYMBOLS - 1) * self.game.reset(seed=0)[0].size
            self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (size,), np.float32)

        def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
            super().reset(seed=seed, options=options)
            self.last = self.one(self.game.reset(seed=seed)[0])
            self.steps = 0
            return np.concatenate([np.zeros_like(self.last), self.last]), {}

        def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
            frame, reward, ended, _, _ = self.game.step(int(action))
            seen, self.last = self.last, self.one(frame)
            self.steps += 1
            return np.concatenate([seen, self.last]), reward, ended, self.steps >= LEARNING_LIMIT, {}

        @staticmethod
        def one(frame: Frame) -> np.ndarray:
            return (frame.reshape(-1) == np.arange(1, PONG_SYMBOLS)[:, None]).astype(np.float32).reshape(-1)

    class Greedy:
        """A player that takes the best actions of a network."""

        def __init__(self, model: Any) -> None:
            self.model = model

        def begin(self, frame: Frame) -> None:
            self.last = np.zeros_like(Frames.one(frame))

        def act(self, frame: Frame) -> int:
            seen, self.last = self.last, Frames.one(frame)
            return int(self.model.predict(np.concatenate([seen, self.last]), deterministic=True)[0])

    found: dict[str, Any] = {}
    for name, make in list(GAMES.items())[:2]:
        rows: dict[str, list[dict[str, float]]] = {}
        for seed in DQN_SEEDS:
            model = DQN(
                "MlpPolicy",
                Frames(make),
                learning_rate=1e-3,
                learning_starts=500,
                buffer_size=DQN_FRAMES[-1],
                target_update_interval=500,
                gamma=0.98,
                exploration_fraction=0.3,
                seed=seed,
                device="cpu",
            )
            start, done = time.process_time(), 0
            for frames in DQN_FRAMES:
                model.learn(frames - done, reset_num_timesteps=not done, progress_bar=False)
                done = frames
                took = time.process_time() - start
                rows.setdefault(str(frames), []).append(scored(make(), Greedy(model), seed) | {"learn_s": took})
        found[name] = {frames: mean(some) for frames, some in rows.items()}
    return found


def breakout(frames: int = 200_000) -> dict[str, Any]:
    """Breakout with sticky actions, learned on-line."""
    found: dict[str, Any] = {}
    rows, curves = [], []
    for seed in SEEDS:
        rounds: list[tuple[int, float]] = []
        agent, start = Agent(Breakout.actions, seed=seed, infers=False), time.process_time()
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
    "frames_needed": frames_needed,
    "q_learning": q_learning,
    "dqn": dqn,
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
    if "q_learning" in found and "frames_needed" in found:
        lines += [
            "| frames to 44 hits and 1 miss at most | random play watched | tabular Q-learning on the same states | "
            "ratio |",
            "| --- | --- | --- | --- |",
        ]
        for game, one in found["q_learning"].items():
            ours = found["frames_needed"][game]
            lines.append(
                f"| {game} | {ours['frames']:,.0f} | {one['frames']:,.0f} | {one['frames'] / ours['frames']:.0f} |"
            )
        some = [*found["q_learning"].values(), *found["frames_needed"].values()]
        lines += ["", f"Runs that got there: {100 * np.mean([one['reached'] for one in some]):.0f} %.", ""]
    if found.get("dqn"):
        lines += [
            f"| DQN of Stable-Baselines3, mean of {len(DQN_SEEDS)} seeds | frames of its own play | hits | misses | "
            "learned in |",
            "| --- | --- | --- | --- | --- |",
        ]
        for game, row in found["dqn"].items():
            for frames, one in row.items():
                lines.append(
                    f"| {game} | {int(frames):,} | {one['hits_per_1000']:.1f} | {one['misses_per_1000']:.1f} | "
                    f"{one['learn_s']:.0f} s |"
                )
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
