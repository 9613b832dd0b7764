"""Agents in files: what an agent has seen, from which its plan follows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rgm.errors import RGMError
from rgm.planning.agent import Agent
from rgm.planning.experience import Experience, Record
from rgm.planning.values import planner_named
from rgm.storage.files import as_path
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
        "infers": agent.infers,
        "numbers": numbers,
    }
    write_tensors(path, _KIND, header, tensors)


@dataclass(frozen=True, kw_only=True)
class SavedAgent:
    """An agent that has seen what a file holds, without a plan, its game's name, and numbers that were kept with it."""

    agent: Agent
    env: str
    numbers: dict[str, Any]


def find_agent(place: str) -> Path | None:
    """Return the file of the agent in the folder of a run of play, or None for any other place."""
    file = as_path(place, "a model") / FILE
    return file if file.is_file() else None


def read_agent(path: Path) -> SavedAgent:
    """Return a saved agent; raise RGMError for a file that is damaged, or no agent's."""
    header, tensors = read_tensors(path, _KIND)
    try:
        columns = {name: tensors[name].numpy() for name in _COLUMNS}
        record = Record(frames=tensors["frames"].numpy().astype(np.int64), **columns)
        planner = planner_named(header["planner"])
        agent = Agent(header["actions"], seed=header["seed"], planner=planner, infers=header.get("infers", True))
        agent.experience = Experience.of(record, tuple(header["shape"]))
        return SavedAgent(agent=agent, env=str(header["env"]), numbers=dict(header["numbers"]))
    except (KeyError, TypeError, IndexError) as error:
        raise RGMError(f"{path} is no agent that this rgm can read ({error}): learn it again") from error


def load_agent(path: Path, env: str) -> SavedAgent:
    """Return the saved agent of a game as `read_agent` does; raise RGMError also for one of another game."""
    found = read_agent(path)
    if found.env != env:
        raise RGMError(f"{path} is an agent of {found.env}, not of {env}: name its game, or another --out")
    return found
