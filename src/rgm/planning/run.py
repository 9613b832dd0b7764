"""A run of play with its folder: random play, learning, planning, evaluation on fresh seeds."""

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from rgm.errors import RGMError
from rgm.planning.agent import Agent
from rgm.planning.environments import Disturbed, Environment, Frame, make
from rgm.planning.film import EventMap, Film, film
from rgm.planning.learning import Round, learn
from rgm.planning.playing import EVALUATE, RANDOM, RandomPlayer, Score, play
from rgm.planning.stored import FILE, load_agent, save_agent
from rgm.planning.values import planner_named
from rgm.runtime.progress import Say
from rgm.runtime.seeds import as_seed, whole
from rgm.storage.files import folder_lock, own_folder, write_json, write_text

WHAT = "a game"
RESULT = "play.json"
WRITTEN = (FILE, RESULT, "config.json", "metrics.jsonl", "timing.jsonl", "report.html", "play.gif")
"""What a run of play writes."""
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class PlayConfig:
    """Options of a run of play.

    `flip` and `hide` are shares of cells that are flipped and hidden in play, `learn_flip` while learning; `memory` is
    how many steps the agent holds at most.
    """

    env: str
    frames: int = 10_000
    seed: int = 0
    online: bool = False
    planner: str = "rewards"
    flip: float = 0.0
    hide: float = 0.0
    learn_flip: float = 0.0
    steps: int = 5_000
    memory: int = 1_000_000

    def __post_init__(self) -> None:
        """Raise RGMError for numbers out of range, or a planner that there is not."""
        whole(self.frames, "--frames", 100)
        whole(self.steps, "--steps", 1)
        whole(self.memory, "--memory", 100)
        as_seed(self.seed)
        planner_named(self.planner)
        for name in ("flip", "hide", "learn_flip"):
            share = getattr(self, name)
            if not 0 <= share < 1:
                option = name.replace("_", "-")
                raise RGMError(f"--{option} is the share of cells, from 0 to less than 1, but is {share}")


def given_options(config: Mapping[str, Any]) -> list[str]:
    """Return the options of a stored configuration that are not the defaults, as they are typed."""
    usual = {one.name: one.default for one in fields(PlayConfig) if one.name != "env"}
    given = {name.replace("_", "-"): value for name, value in config.items() if name in usual and value != usual[name]}
    return [f"--{name}" if value is True else f"--{name} {value}" for name, value in given.items()]


@dataclass(frozen=True, kw_only=True)
class PlayResult:
    """A finished run: its agent, the rounds of learning, and what the agent and random play score on fresh seeds."""

    config: PlayConfig
    agent: Agent
    rounds: tuple[Round, ...]
    learn_s: float
    plan_s: float
    evaluation: Score
    random: Score
    film: Film
    events: EventMap
    rewarded: bool

    def record(self) -> dict[str, Any]:
        """Return what `play.json` holds."""
        graph = self.agent.planned
        config = self.config
        return {
            "version": VERSION,
            "env": config.env,
            "frames": config.frames,
            "seed": config.seed,
            "online": config.online,
            "planner": config.planner,
            "flip": config.flip,
            "hide": config.hide,
            "learn_flip": config.learn_flip,
            "learn_s": self.learn_s,
            "plan_s": self.plan_s,
            "play_frames_per_s": self.evaluation.steps / self.evaluation.elapsed_s,
            "states": len(graph),
            "edges": len(graph.source),
            "goals": graph.goals,
            "symbols": {"present": list(graph.view.present), "before": list(graph.view.before)},
            "reward_seen": self.rewarded,
            "evaluation": self.evaluation.measures(),
            "random": self.random.measures(),
        }


def finished(folder: Path) -> dict[str, Any]:
    """Return what the `play.json` of a run's folder holds, nothing where the run is not finished."""
    try:
        found: dict[str, Any] = json.loads((folder / RESULT).read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise RGMError(f"{folder / RESULT} cannot be read ({error}): rgm play --resume writes it again") from error
    return found


def symbols_of(game: Environment, seed: int) -> int:
    """Return how many symbols a game shows in a little random play."""
    most = [1]

    def watch(frame: Frame, _action: int, after: Frame, _reward: float, _ended: bool) -> None:
        most.append(max(int(frame.max()), int(after.max())))

    play(game, RandomPlayer(game.actions, (seed, RANDOM)), 100, (seed, RANDOM), whole=False, seen=watch)
    return max(most) + 1


def games(config: PlayConfig) -> tuple[Environment, Environment]:
    """Return the game to learn from, and the game to play, as they are seen."""
    learned, played = make(config.env), make(config.env)
    if config.learn_flip:
        learned = Disturbed(learned, flip=config.learn_flip, symbols=symbols_of(make(config.env), 0), seed=config.seed)
    if config.flip or config.hide:
        symbols = symbols_of(make(config.env), 0)
        played = Disturbed(played, flip=config.flip, hide=config.hide, symbols=symbols, seed=config.seed + 1)
    return learned, played


def run_play(
    config: PlayConfig, out: Path, *, resume: bool = False, overwrite: bool = False, say: Say = lambda _: None
) -> PlayResult:
    """Learn to play a game, and write the run's folder, without its report.

    After each round the folder holds all that is needed to continue. Raises RGMError for a folder with another run in
    it, or with files that are none of ours.
    """
    learned, played = games(config)
    own_folder(out, WRITTEN, lambda folder: (folder / FILE).is_file(), WHAT)
    with folder_lock(out):
        agent, rounds = _begun(config, out, learned, resume=resume, overwrite=overwrite)
        for stale in WRITTEN[1:]:
            (out / stale).unlink(missing_ok=True)
        write_json(out / "config.json", _configuration(config))

        def after(one: Round) -> None:
            rounds.append(one)
            numbers = {"config": asdict(config), "rounds": [done.numbers() for done in rounds]}
            save_agent(out / FILE, agent, config.env, config.planner, numbers)
            score = one.score.measures()
            say(
                f"{one.frames:,} of {config.frames:,} frames, {one.states:,} states: "
                f"{score['hits_per_1000']:.0f} hits and {score['misses_per_1000']:.0f} misses in 1,000 steps, "
                f"reward {score['reward_per_episode']:,.2f} an episode"
            )

        first = len(rounds)
        learn(agent, learned, played, config.frames, online=config.online, seed=config.seed, first=first, after=after)
        if agent.graph is None:  # all rounds were done before
            agent.plan()
        say("evaluating on fresh seeds")
        evaluation = play(played, agent, config.steps, (config.seed, EVALUATE, 0))
        chance = RandomPlayer(played.actions, (config.seed, RANDOM))
        random = play(played, chance, config.steps, (config.seed, EVALUATE, 0))
        made, events = film(agent, played, config.seed)
        result = PlayResult(
            config=config,
            agent=agent,
            rounds=tuple(rounds),
            learn_s=sum(one.learn_s for one in rounds),
            plan_s=rounds[-1].plan_s,
            evaluation=evaluation,
            random=random,
            film=made,
            events=events,
            rewarded=bool(np.any(agent.planned.reward != 0)),
        )
        write_text(out / "metrics.jsonl", "".join(json.dumps(one.measures()) + "\n" for one in rounds))
        times = ({"frames": one.frames, "learn_s": one.learn_s, "plan_s": one.plan_s} for one in rounds)
        write_text(out / "timing.jsonl", "".join(json.dumps(one) + "\n" for one in times))
        write_json(out / RESULT, result.record())
    return result


def _begun(
    config: PlayConfig, out: Path, game: Environment, *, resume: bool, overwrite: bool
) -> tuple[Agent, list[Round]]:
    """Return the agent to go on with and its rounds: those of the folder, or none."""
    if not (out / FILE).is_file() or overwrite:
        planner = planner_named(config.planner)
        infers = not config.online
        agent = Agent(game.actions, seed=config.seed, planner=planner, memory=config.memory, infers=infers)
        return agent, []
    if not resume:
        raise RGMError(
            f"{out} holds a run of play: --resume continues it, --overwrite replaces it, or name another --out"
        )
    saved = load_agent(out / FILE, config.env)
    then, now = dict(saved.numbers["config"]), asdict(config)
    differing = [
        f"{name.replace('_', '-')} {then.get(name)} then, {now[name]} now"
        for name in now
        if then.get(name) != now[name]
    ]
    if differing:
        raise RGMError(
            f"{out} holds a run with other options ({', '.join(differing)}): give the same options to resume it, or "
            "another --out"
        )
    saved.agent.memory = config.memory
    return saved.agent, [Round.of(one) for one in saved.numbers["rounds"]]


def _configuration(config: PlayConfig) -> dict[str, Any]:
    versions = {"rgm": version("rgm"), "numpy": np.__version__, "python": platform.python_version()}
    return {"version": VERSION, "play": asdict(config), "versions": versions}
