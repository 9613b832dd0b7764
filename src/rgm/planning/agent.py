"""An agent that learns a game's transitions by counting, and plans over them."""

from typing import SupportsIndex

import numpy as np

from rgm.errors import RGMError
from rgm.planning.belief import Belief, Filter
from rgm.planning.environments import Frame
from rgm.planning.experience import Experience
from rgm.planning.graph import Graph, graph_of
from rgm.planning.latent import denoised
from rgm.planning.values import Planner, expected_rewards
from rgm.runtime.seeds import as_seed

START, UNKNOWN = -1, -2
"""In place of a frame: none, as an episode begins; one that was never seen while learning."""


class Agent:
    """Learns from frames, actions and rewards, without knowing the game, and plays for reward.

        agent = Agent(actions=3)
        agent.begin(frame)                                    # an episode begins
        agent.observe(frame, action, after, reward, ended)    # … for every step of it
        agent.plan()
        action = agent.act(frame)

    A state is a pair of successive frames, transitions are counted (`Graph`), and a plan is the best action of every
    state by `planner`. In play, a frame that was seen before costs a look-up; for others, with cells that are hidden
    (below 0) or show another symbol, states are filtered: p(s_t | o_1 … o_t), exact on the graph.
    """

    def __init__(self, actions: SupportsIndex, *, seed: SupportsIndex = 0, planner: Planner = expected_rewards) -> None:
        """Raise RGMError for fewer than two actions."""
        self.actions = int(actions.__index__())
        if self.actions < 2:
            raise RGMError(f"an agent chooses among at least 2 actions, but there are {self.actions}")
        self.planner = planner
        self.experience = Experience()
        self.graph: Graph | None = None
        self._random = np.random.default_rng(as_seed(seed))
        self._before, self._state, self._action = START, UNKNOWN, 0
        self._belief: Belief | None = None

    # Learning

    def begin(self, frame: Frame) -> None:
        """Begin an episode with its first frame."""
        self.experience.key(frame)
        self.experience.begin()
        self._restart()

    def observe(self, frame: Frame, action: int, next_frame: Frame, reward: float, terminated: bool) -> None:
        """Learn from a step: the frame before, the action taken, the frame after, the reward, and whether it ended.

        Raises RGMError for an action that there is not, a reward that is not finite, or a frame with hidden cells.
        """
        if not 0 <= action < self.actions:
            raise RGMError(f"actions are 0 … {self.actions - 1}, but {action} was observed")
        if not np.isfinite(reward):
            raise RGMError(f"a reward must be finite, but is {reward}")
        self.experience.add(frame, int(action), next_frame, float(reward), bool(terminated))

    def plan(self) -> Graph:
        """Count all transitions seen so far, find the best action of every state, and return the graph.

        Raises RGMError where nothing was observed.
        """
        if not len(self.experience):
            raise RGMError("nothing was observed yet: call observe for every step of some episodes, then plan")
        found = denoised(self.experience.record())
        self.graph = graph_of(found.record, self.actions, least=2 if found.noise else 1)
        self.values = self.planner(self.graph)
        self.filter = Filter(self.graph, len(found.record.symbols))
        self._known = dict(self.experience.numbers)
        self._best = self.values.argmax(axis=1).tolist()
        worst = float(self.values[np.isfinite(self.values)].min())
        self._finite = np.where(np.isfinite(self.values), self.values, worst)
        self._restart()
        return self.graph

    # Play

    def act(self, frame: Frame) -> int:
        """Return the action to take at a frame, having seen the frames before it since `begin`.

        Raises RGMError before `plan`.
        """
        if self.graph is None:
            raise RGMError("there is no plan yet: observe some episodes, then call plan")
        key = self.experience.key(frame)
        number = self._known.get(key, UNKNOWN)
        state = self.graph.number.get((self._before, number), UNKNOWN)
        if state >= 0:
            self._state, self._belief, action = state, None, self._best[state]
        else:
            belief = self._belief
            if belief is None and self._state >= 0:
                belief = np.zeros(len(self.graph))
                belief[self._state] = 1.0
            belief = self.filter.start if belief is None else self.filter.predicted(belief, self._action)
            self._belief = self.filter.updated(belief, self.experience.cells(key))
            action = int((self._belief @ self._finite).argmax())
        self._before, self._action = number, action
        return action

    def _restart(self) -> None:
        """Forget the frames before."""
        self._before, self._state, self._action = START, UNKNOWN, 0
        self._belief = None
