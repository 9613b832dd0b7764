"""An agent that learns a game's transitions by counting, and plans over them."""

from typing import NamedTuple, SupportsIndex

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from rgm.errors import RGMError
from rgm.planning.belief import Belief, Filter
from rgm.planning.environments import Frame
from rgm.planning.experience import Experience
from rgm.planning.factors import inferred
from rgm.planning.forgetting import forgotten
from rgm.planning.graph import Graph, graph_of
from rgm.planning.latent import Denoised, denoised
from rgm.planning.streams import Parents, View, parents
from rgm.planning.values import PLANNERS, Planner
from rgm.runtime.seeds import as_seed, whole

START, UNKNOWN = -1, -2
"""In place of a frame: none, as an episode begins; one that was never seen while learning."""

WANDERING = 0.1
"""Share of steps at which an agent that explores does anything."""

NOISY_STATES, NOISY_STEPS = 2, 3
"""How often a state, and an action in it, must have been seen where frames are noisy, to be taken for what they are."""


class _Past(NamedTuple):
    """What an agent keeps of the step before: the frame, the action, the state where it is known, else the belief."""

    frame: int = START
    action: int = 0
    state: int = UNKNOWN
    belief: Belief | None = None


class Agent:
    """Learns from frames, actions and rewards, without knowing the game, and plays for reward.

        agent = Agent(actions=3)
        agent.begin(frame)                                    # an episode begins
        agent.observe(frame, action, after, reward, ended)    # … for every step of it
        agent.plan()
        action = agent.act(frame)

    A state is what matters of two successive frames (`View`, found by mutual information where it is not given),
    transitions are counted (`Graph`), and a plan is the best action of every state by `planner`. In play, a state that
    was seen before costs a look-up; for others, with cells that are hidden (below 0) or show another symbol, states are
    filtered: p(s_t | o_1 … o_t), exact on the graph.

    `memory` is how many steps are held at most after a plan: beyond it, events from which no goal can be reached are
    forgotten, then the oldest episodes (`rgm.planning.forgetting`). `infers`: where a state and an action never came
    together, what follows is told by how streams move (`rgm.planning.factors`). An agent that plays while it learns
    tries it instead, and does better without, where chance acts.
    """

    def __init__(
        self,
        actions: SupportsIndex,
        *,
        seed: SupportsIndex = 0,
        planner: Planner = PLANNERS["rewards"],
        view: View | None = None,
        memory: SupportsIndex | None = None,
        infers: bool = True,
    ) -> None:
        """Raise RGMError for fewer than two actions, or a memory of no step."""
        self.actions = whole(actions, "the number of actions", 2)
        self.memory = None if memory is None else whole(memory, "the memory in steps")
        self.planner, self.view, self.infers = planner, view, infers
        self.experience = Experience()
        self.graph: Graph | None = None
        self.seed = as_seed(seed)
        self._random: np.random.Generator | None = None
        self._past = _Past()

    # Learning

    def begin(self, frame: Frame) -> None:
        """Begin an episode with its first frame."""
        self.experience.key(frame)
        self.experience.begin()
        self._past = _Past()

    def observe(self, frame: Frame, action: int, next_frame: Frame, reward: float, terminated: bool) -> None:
        """Learn from a step: the frame before, the action taken, the frame after, the reward, and whether it ended.

        Raises RGMError for an action that there is not, a reward that is not finite, or a frame with hidden cells.
        """
        if not 0 <= action < self.actions:
            raise RGMError(f"actions are 0 … {self.actions - 1}, but {action} was observed")
        if not np.isfinite(reward):
            raise RGMError(f"a reward must be finite, but is {reward}")
        self.experience.add(frame, int(action), next_frame, float(reward), bool(terminated))

    def plan(self, planner: Planner | None = None, *, explore: bool = False) -> Graph:
        """Count all transitions seen so far, find the best action of every state, and return the graph.

        With `explore`, until the next plan, actions are drawn at random in states that are new, and at every
        `1 / WANDERING`-th step, so that a plan that is not yet revised is not followed in circles. Raises RGMError
        where nothing was observed.
        """
        if not len(self.experience):
            raise RGMError("nothing was observed yet: call observe for every step of some episodes, then plan")
        found, known, graph = self._counted()
        if self.infers:
            graph = inferred(graph, found.record, known, least=NOISY_STEPS if found.noise else 1)
        self.graph = graph
        self.follow(self.planner if planner is None else planner)
        self.filter = Filter(self.graph, len(found.record.symbols))
        self._random = np.random.default_rng((self.seed, len(self.experience))) if explore else None
        self._known: dict[bytes, tuple[int, int]] = {}
        self._past = _Past()
        return graph

    def _counted(self) -> tuple[Denoised, Parents, Graph]:
        """Return the steps that are held, without noise, on what streams depend in them, and their counted graph."""
        raw = self.experience.record()
        found = denoised(raw)
        known = parents(found.record, self.view)
        graph = graph_of(found.record, self.actions, view=known.view, least=NOISY_STATES if found.noise else 1)
        if self.memory is None or len(raw) <= self.memory:
            return found, known, graph
        self.experience.hold(forgotten(raw, found.record, graph, self.memory))
        return self._counted()

    def follow(self, planner: Planner) -> None:
        """Take the best actions by another planner, on the graph that there is; raise RGMError before `plan`."""
        graph = self.planned
        self.values = planner(graph)
        finite = np.isfinite(self.values)
        self._finite = np.where(finite, self.values, self.values[finite].min() if finite.any() else 0.0)
        self._best = self._finite.argmax(axis=1).tolist()

    # Play

    def act(self, frame: Frame) -> int:
        """Return the action to take at a frame, having seen the frames before it since `begin`.

        Raises RGMError before `plan`.
        """
        graph = self.planned
        key = self.experience.key(frame)
        present, before = self._known.get(key) or self._numbers(key)
        state = graph.number.get((self._past.frame, present), UNKNOWN)
        if state >= 0:
            belief, action = None, self._best[state]
        elif self._random is not None:
            belief, action = None, 0
        else:
            belief = self.filter.updated(self._expected(), self.experience.cells(key))
            action = int((belief @ self._finite).argmax())
        if self._random is not None and (state < 0 or self._random.random() < WANDERING):
            action = int(self._random.integers(self.actions))
        self._past = _Past(before, action, state, belief)
        return action

    def took(self, action: int) -> None:
        """Note that another action was taken than the one that `act` returned; raise RGMError if there is none such."""
        self._past = self._past._replace(action=whole(action, "an action", 0, self.actions - 1))

    @property
    def belief(self) -> Belief:
        """p(state) after the last `act`: 1 for a state that was seen before, else what filtering says."""
        if self._past.belief is not None:
            return self._past.belief
        return self._only(self._past.state) if self._past.state >= 0 else self.filter.start

    @property
    def filtered(self) -> bool:
        """Whether the last frame was none that was seen before, so that the belief is a sum over paths."""
        return self._past.belief is not None

    @property
    def state(self) -> int:
        """The state after the last `act`, or the most probable one."""
        return self._past.state if self._past.belief is None else int(self._past.belief.argmax())

    def foreseen(self) -> Int[ndarray, " cells"] | None:
        """Return the frame that is most probable after the last action, as the view shows it; None for an end."""
        graph = self.planned
        belief = self._expected()
        if belief.sum() < 1 / 2:  # what is lacking leads to the end
            return None
        found: ndarray = graph.frames[graph.present[int(belief.argmax())]]
        return found

    def _expected(self) -> Belief:
        """Return the belief about the present state before its frame is seen."""
        past = self._past
        if past.belief is not None:
            return self.filter.predicted(past.belief, past.action)
        if past.state < 0:
            return self.filter.start
        return self.filter.predicted(self._only(past.state), past.action)

    def _only(self, state: int) -> Belief:
        """Return the belief that is sure of a state."""
        here = np.zeros(len(self.planned))
        here[state] = 1.0
        return here

    def _numbers(self, key: bytes) -> tuple[int, int]:
        """Return what the present and the next state hold of a frame, by their rows in the graph's frames."""
        graph, cells = self.planned, self.experience.cells(key)
        shown = (graph.view.shown(cells, symbols) for symbols in (graph.view.present, graph.view.before))
        present, before = (graph.frame_number.get(one.astype(np.int16).tobytes(), UNKNOWN) for one in shown)
        if not graph.view.before:
            before = START
        if min(present, before) > UNKNOWN:
            self._known[key] = present, before
        return present, before

    @property
    def planned(self) -> Graph:
        """The graph; raises RGMError before `plan`."""
        if self.graph is None:
            raise RGMError("there is no plan yet: observe some episodes, then call plan")
        return self.graph
