"""Agents in files: what an agent has seen, from which its plan follows."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from rgm.errors import RGMError
from rgm.planning.agent import Agent
from rgm.planning.experience import Experience, Record
from rgm.planning.values import planner_named
from rgm.storage.tensors import read_tensors, write_tensors

FILE = "agent.safetensors"
_KIND = "rgm-agent"
_COLUMNS = ("before", "action", "after", "reward", "ended", "follows")


def save_agent(path: Path, agent: Agent, env: str, planner: str, numbers: dict[str, Any]) -> None:
    """Write an agent's experience of a game, with numbers for JSON; equal ones give bit-identical files."""
    record = agent.experience.record()
    tensors = {name: torch.from_numpy(np.ascontiguousarray(getattr(record, name))) for name in _COLUMNS}
    tensors["frames"] = torch.from_numpy(record.frames.astype(np.int16))
    shape = list(agent.experience.shape or ())
    header = {
        "env": env,
        "actions": agent.actions,
        "shape": shape,
        "planner": planner,
        "seed": agent.seed,
        "numbers": numbers,
    }
    write_tensors(path, _KIND, header, tensors)


def load_agent(path: Path, env: str) -> tuple[Agent, dict[str, Any]]:
    """Return an agent that has seen what a file holds, without a plan, and its numbers.

    Raises RGMError for a file that is damaged, no agent's, or of another game.
    """
    header, tensors = read_tensors(path, _KIND)
    try:
        if header["env"] != env:
            raise RGMError(f"{path} is an agent of {header['env']}, not of {env}: name its game, or another --out")
        columns = {name: tensors[name].numpy() for name in _COLUMNS}
        record = Record(frames=tensors["frames"].numpy().astype(np.int64), **columns)
        agent = Agent(header["actions"], seed=header["seed"], planner=planner_named(header["planner"]))
        agent.experience = Experience.of(record, tuple(header["shape"]))
        return agent, dict(header["numbers"])
    except (KeyError, TypeError, IndexError) as error:
        raise RGMError(f"{path} is no agent that this rgm can read ({error}): learn it again") from error
