"""Forgetting events from which no goal can be reached, so that an agent that learns on-line holds so many steps."""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from rgm.planning.experience import Record
from rgm.planning.graph import END, Graph, states_of
from rgm.planning.values import ExpectedRewards


def barren(graph: Graph) -> Bool[ndarray, " states"]:
    """Return the states from which no goal can be reached: the largest set B that nothing leads out of,

        s ∈ B  ⇔  every action was tried in s, none was rewarded, and all lead into B or to the end.

    A state in which something was never tried may yet lead to a goal.
    """
    tried = np.bincount(graph.pair, minlength=len(graph) * graph.actions).reshape(len(graph), graph.actions) > 0
    hopeful = np.asarray(~tried.all(axis=1))
    hopeful[END] = False
    hopeful[graph.source[graph.reward > 0]] = True
    while True:
        more = hopeful.copy()
        more[graph.source[hopeful[graph.target]]] = True
        if (more == hopeful).all():
            break
        hopeful = more
    found: Bool[ndarray, " states"] = ~hopeful
    found[END] = False
    return found


def forgotten(raw: Record, record: Record, graph: Graph, most: int) -> Record:
    """Return at most `most` steps of a record, `raw`, whose graph was made of `record`, the same steps without noise.

    Steps from barren states are forgotten. One that leads into such a state ends its episode, and its reward has what
    follows at best added,

        r + γ max_a Q(s', a),

    so that expected rewards elsewhere stay as they are. If more are left, the oldest episodes are forgotten, and then
    all frames that no step shows.
    """
    dead = barren(graph)
    source, target = states_of(record, graph)
    planner = ExpectedRewards()
    worth = planner(graph).max(axis=1)
    kept = (source < 0) | ~dead[source]
    enters = kept & (target >= 0) & dead[target]
    reward = raw.reward.copy()
    reward[enters] += planner.discount * worth[target[enters]]
    follows = raw.follows & np.roll(kept, 1)
    place = np.flatnonzero(kept)
    if len(place) > most:
        place = place[-most:]
        begins = np.flatnonzero(~follows[place])
        if len(begins):
            place = place[begins[0] :]
        else:  # one episode longer than the memory
            follows[place[0]] = False
    shown, numbers = np.unique(np.stack([raw.before[place], raw.after[place]]), return_inverse=True)
    before, after = numbers.reshape(2, -1)
    return replace(
        raw,
        frames=raw.frames[shown],
        before=before,
        action=raw.action[place],
        after=after,
        reward=reward[place],
        ended=(raw.ended | enters)[place],
        follows=follows[place],
    )
