"""The command that learns to play a game: `play`."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from rgm.cli import options
from rgm.cli.terminal import progress, show

if TYPE_CHECKING:
    from rgm.planning.run import PlayResult

FRAMES_PER_S = 12


def play(
    env: Annotated[str, Parameter(help="pong, breakout, catch, or the id of an environment of gymnasium.")],
    *,
    frames: Annotated[int, Parameter(help="Frames to learn from.")] = 10_000,
    out: options.RunFolder = Path("runs/play"),
    seed: options.Seed = 0,
    online: Annotated[bool, Parameter(negative="", help="Learn while playing, not from random play alone.")] = False,
    planner: Annotated[str, Parameter(help="rewards, free-energy or induction.")] = "rewards",
    flip: Annotated[float, Parameter(help="Share of cells that show another symbol in play.")] = 0.0,
    hide: Annotated[float, Parameter(help="Share of cells that are hidden in play.")] = 0.0,
    learn_flip: Annotated[float, Parameter(help="Share of cells that show another symbol while learning.")] = 0.0,
    steps: Annotated[int, Parameter(help="Steps of evaluation.")] = 5_000,
    memory: Annotated[int, Parameter(help="Steps that the agent holds at most.")] = 1_000_000,
    watch: Annotated[bool, Parameter(negative="", help="Show the agent at play in the terminal afterwards.")] = False,
    resume: options.Resume = False,
    overwrite: Annotated[bool, Parameter(negative="", help="Replace the run of play in --out.")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Learn a game from its frames and rewards alone, plan, and play it on fresh seeds beside random play.

    Example: `rgm play pong --frames 10000 --out runs/pong`

    Writes `play.json`, `report.html`, `play.gif`, `agent.safetensors`. A hit is a step with a reward above zero; a miss
    is one with a reward below zero, or the end of an episode without a reward.
    """
    from rgm.planning.run import PlayConfig, run_play
    from rgm.report.play import write_play

    options.either(resume, overwrite)
    config = PlayConfig(
        env=env,
        frames=frames,
        seed=seed,
        online=online,
        planner=planner,
        flip=flip,
        hide=hide,
        learn_flip=learn_flip,
        steps=steps,
        memory=memory,
    )
    with progress(quiet, goes_on="--resume continues after the last round") as watcher:
        result = run_play(config, out, resume=resume, overwrite=overwrite, say=watcher.say)
        page = write_play(out, result, command=options.command_line())
    if watch:
        _watch(result)
    if not quiet:
        if not result.rewarded:
            way = "try more --frames" if online else "--online goes on by what is to be learned"
            print(f"No reward was seen in {frames:,} frames, so there is no goal to plan for: {way}")
        show(_table(result))
        print(f"Report: {page}")


def play_info(file: Path, model: str) -> Any:
    """Return a table about a run of play: its game, what its agent has seen, and what it scores."""
    from rgm.cli.tables import plain_table
    from rgm.planning.run import finished, given_options
    from rgm.planning.stored import read_agent

    saved, result = read_agent(file), finished(file.parent)
    rounds = saved.numbers.get("rounds", [])
    rows = {
        "game": saved.env,
        "planner": str(saved.numbers.get("config", {}).get("planner", "")),
        "frames seen": f"{rounds[-1]['frames']:,}" if rounds else f"{len(saved.agent.experience):,}",
        "distinct frames": f"{len(saved.agent.experience.numbers):,}",
    }
    if result:
        rows |= {
            "events": f"{result['states']:,}, {result['edges']:,} transitions",
            "goals": f"{result['goals']:,} events with a reward",
        }
        for who in ("evaluation", "random"):
            score = result[who]
            rows["agent" if who == "evaluation" else "random play"] = (
                f"{score['hits_per_1000']:.1f} hits, {score['misses_per_1000']:.1f} misses in 1,000 steps; "
                f"reward {score['reward_per_episode']:.2f} an episode"
            )
    else:
        done = "1 round" if len(rounds) == 1 else f"{len(rounds)} rounds"
        given = "".join(f" {option}" for option in given_options(saved.numbers.get("config", {})))
        rows["state"] = f"not finished, {done} done: rgm play {saved.env}{given} --resume --out {model}"
    return plain_table(model, rows)


def _table(result: "PlayResult") -> Any:
    """Return the scores of the agent and of random play."""
    from rich.table import Table

    record = result.record()
    table = Table(title=f"{result.config.env}, {result.config.frames:,} frames", title_justify="left")
    table.add_column("on fresh seeds")
    table.add_column("agent", justify="right")
    table.add_column("random", justify="right")
    for name in ("hits_per_1000", "misses_per_1000", "reward_per_1000", "reward_per_episode"):
        ours, chance = record["evaluation"][name], record["random"][name]
        table.add_row(name.replace("_", " ").replace("1000", "1,000 steps"), f"{ours:,.2f}", f"{chance:,.2f}")
    return table


def _watch(result: "PlayResult", pause: Callable[[float], None] = time.sleep) -> None:
    """Show the film in the terminal: what comes, beside what was expected."""
    from rich.console import Console
    from rich.live import Live

    from rgm.report.play import screen

    film, background = result.film, result.agent.planned.view.background
    with Live(console=Console(), auto_refresh=False) as live:
        for step in range(len(film.seen)):
            live.update(screen(film, step, background), refresh=True)
            pause(1 / FRAMES_PER_S)
