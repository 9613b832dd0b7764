"""The requests of the page about an agent that plays: one game at a time, step by step."""

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Int
from numpy import ndarray
from pydantic import Field
from scipy.special import entr

from rgm.errors import RGMError
from rgm.explorer.base import SHARED, Answer, Number, Request, as_hidden, bytes_as_text
from rgm.planning.agent import Agent
from rgm.planning.course import Course
from rgm.planning.environments import Environment, Frame, action_names, make
from rgm.planning.graph import END
from rgm.planning.playing import LIMIT
from rgm.planning.stored import SavedAgent
from rgm.report.play import painted

STATES = 3
"""Most states of a belief that are named."""
Cells = Int[ndarray, "*some"]
Hidden = Bool[ndarray, "rows columns"]


class GameRequest(Request):
    """The seed of a game's episodes."""

    seed: Number = 0


class StepRequest(Request):
    """The game and the step that the page is at, the action to take (the agent's without one), and hidden cells.

    `hidden` are bits, one a cell, row by row, as base64; none are hidden if it is empty.
    """

    game: Number
    step: Number
    action: Number | None = None
    hidden: Annotated[str, Field(max_length=10_000)] = ""


@dataclass
class Game:
    """A game in progress: its number, steps and score, the frame that is seen, and what the agent would do next."""

    number: int
    frame: Frame
    steps: int = 0
    episodes: int = 1
    hits: int = 0
    misses: int = 0
    reward: float = 0.0
    action: int = 0
    ended: bool = False
    inside: int = 0


@dataclass
class PlayExplorer:
    """An agent with a plan, its game, and what a run of play measured of it."""

    agent: Agent
    game: Environment
    env: str
    name: str
    frames: int
    measured: Mapping[str, Any] = field(default_factory=dict)
    files: ClassVar[Mapping[str, str]] = {
        "": "play.html",
        **{name: name for name in (*SHARED, "http.js", "paint.js", "play.js", "play-words.js")},
    }
    largest: ClassVar[int] = 100_000

    def __post_init__(self) -> None:
        """Find the way to the goals; raise RGMError where the agent has no plan."""
        self.course = Course.of(self.agent)
        self._lock = threading.Lock()
        self._game: Game | None = None
        self._games = 0

    def requests(self) -> Mapping[str, Callable[[Any], Answer]]:
        """Return the methods that answer requests, by name."""
        return {"begin": self.begin, "step": self.step}

    def about(self) -> Answer:
        """Return a description of the game and of what the agent knows of it."""
        graph = self.agent.planned
        return {
            "name": self.name,
            "env": self.env,
            "image": [3, *(self.agent.experience.shape or (1, 1))],
            "actions": list(action_names(self.game)),
            "frames": self.frames,
            "states": len(graph),
            "edges": len(graph.source),
            "goals": graph.goals,
            "symbols": {"present": list(graph.view.present), "before": list(graph.view.before)},
            "measured": dict(self.measured),
        }

    def begin(self, request: GameRequest) -> Answer:
        """Begin a game; the one before, in this or another window, is over."""
        with self._lock:
            self._games += 1
            frame, _ = self.game.reset(seed=request.seed)
            self._game = Game(number=self._games, frame=frame)
            self._start(self._game, None)
            return self._answer(self._game, None, None, 0.0)

    def step(self, request: StepRequest) -> Answer:
        """Take an action, the agent's if none is named; after the end of an episode, begin the next one."""
        with self._lock:
            game = self._game
            if game is None or (game.number, game.steps) != (request.game, request.step):
                raise RGMError("the game went on elsewhere, perhaps in another window: begin a new one")
            action = game.action if request.action is None else request.action
            if action >= self.game.actions:
                raise RGMError(f"actions are 0 … {self.game.actions - 1}, but {action} was asked for")
            hidden = self._hidden(request.hidden)
            game.steps += 1
            if game.ended:
                game.frame, _ = self.game.reset()
                game.episodes, game.ended, game.inside = game.episodes + 1, False, 0
                self._start(game, hidden)
                return self._answer(game, None, None, 0.0)
            self.agent.took(action)
            expected = self.agent.foreseen()
            game.frame, reward, ended, cut, _ = self.game.step(action)
            game.inside += 1
            game.hits, game.misses = game.hits + (reward > 0), game.misses + (reward < 0 or (ended and reward == 0))
            game.reward += reward
            game.ended = ended or cut or game.inside >= LIMIT
            if not game.ended:
                game.action = self.agent.act(_seen(game.frame, hidden))
            return self._answer(game, action, expected, reward)

    def _start(self, game: Game, hidden: Hidden | None) -> None:
        seen = _seen(game.frame, hidden)
        self.agent.begin(seen)
        game.action = self.agent.act(seen)

    def _answer(self, game: Game, taken: int | None, expected: Cells | None, reward: float) -> Answer:
        """Return the frame, what was expected in its place, and, in an episode, the belief and the plan."""
        found: Answer = {
            "game": game.number,
            "step": game.steps,
            "episode": game.episodes,
            "frame": self._picture(game.frame),
            "expected": None if expected is None else self._picture(expected),
            "taken": taken,
            "reward": reward,
            "total": game.reward,
            "hits": game.hits,
            "misses": game.misses,
            "ended": game.ended,
            "belief": None,
        }
        if game.ended:
            return found
        belief, graph = self.agent.belief, self.agent.planned
        order = np.argsort(-belief, kind="stable")[:STATES]
        alive = np.arange(len(graph)) != END
        shares = np.bincount(graph.present[alive], belief[alive], minlength=len(graph.frames))
        shown = np.flatnonzero(shares > 1e-6)
        mixed = np.tensordot(shares[shown], painted(graph.frames[shown], graph.view.background), axes=1)
        worth = belief @ np.where(np.isfinite(self.agent.values), self.agent.values, 0.0)
        known = np.isfinite(self.agent.values[belief > 0]).any(axis=0)
        return found | {
            "belief": bytes_as_text(torch.from_numpy((mixed / shares[shown].sum()).round().astype(np.uint8))),
            "states": [[int(state), round(float(belief[state]), 4)] for state in order if belief[state] > 1e-4],
            "entropy_bits": float(entr(belief).sum()) / math.log(2),
            "filtered": self.agent.filtered,
            "action": game.action,
            "worth": [round(float(one), 3) if tried else None for one, tried in zip(worth, known, strict=True)],
            "plan": [self._event(state) for state in self.course.way(self.agent.state)],
        }

    def _event(self, state: int) -> Answer:
        graph = self.agent.planned
        return {
            "state": state,
            "frame": self._picture(graph.frames[graph.present[state]]),
            "action": int(self.course.action[state]),
            "goal": bool(self.course.reward[state] > 0),
        }

    def _picture(self, cells: Cells) -> str:
        """Return a frame of symbols as coloured pixels."""
        return bytes_as_text(torch.from_numpy(painted(cells, self.agent.planned.view.background)))

    def _hidden(self, text: str) -> Hidden | None:
        """Return which cells are hidden; raise RGMError where these are not as many as a frame's."""
        return as_hidden(text, self.agent.experience.shape or (1, 1), "cells") if text else None


def _seen(frame: Frame, hidden: Hidden | None) -> Frame:
    return frame if hidden is None else np.where(hidden, -1, frame)


def play_explorer(saved: SavedAgent, name: str, measured: Mapping[str, Any]) -> PlayExplorer:
    """Return the service of a saved agent, whose plan is made anew; raise RGMError where its game is not here."""
    game = make(saved.env)
    saved.agent.plan()
    return PlayExplorer(saved.agent, game, saved.env, name, len(saved.agent.experience), measured)
