"""Films that are made in the run, seeded: bouncing balls, a ball on a Lorenz attractor, moving and rotating digits.

All are black and white, bytes of 0 and 255.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from scipy import ndimage
from torch import Tensor

from rgm.data.images import Split
from rgm.data.load import load_data

FRAMES = 20
"""Frames of a film of digits."""
DIGIT, CANVAS, TWO_CANVAS = 14, 24, 40
"""Side of a moving digit, of its frame, and of the frame of two digits, in pixels."""
FASTEST = 2
"""Largest step of a moving digit along an axis, in pixels a frame."""
TURN = (5.0, 20.0)
"""Least and largest angle by which a digit turns, in degrees a frame."""
COUNTS: dict[Split, int] = {"train": 300, "validation": 100, "test": 100}
"""Films of a split."""
SEEDS: dict[Split, int] = {"train": 0, "validation": 1, "test": 2}

Film = UInt8[Tensor, "frames height width"]
Films = UInt8[Tensor, "n frames height width"]


@dataclass(frozen=True, kw_only=True)
class MadeFilms:
    """Films with their origin; `held_out` is false where every split is the same film."""

    frames: Films
    source: str
    held_out: bool


def ball(
    centres: Float[np.ndarray, "frames balls 2"], *, height: int = 24, width: int = 24, radius: float = 2.0
) -> Film:
    """Return a film of discs with these centres, in pixels (row, column): a pixel is lit within `radius` of one."""
    rows, columns = np.mgrid[:height, :width]
    offset = np.stack([rows, columns], axis=-1)[None, None] - centres[:, :, None, None]
    lit = (np.square(offset).sum(axis=-1) <= radius**2).any(axis=1)
    return torch.from_numpy(lit).to(torch.uint8) * 255


def bouncing_balls(
    frames: int, cycles: tuple[tuple[int, int], ...], *, height: int = 24, width: int = 24, radius: float = 2.0
) -> Film:
    """Return a closed film: each ball bounces so many times there and back, (down, across), within `frames` frames."""
    time = np.arange(frames)[:, None, None] / frames
    turns = time * np.asarray(cycles)[None] + np.arange(len(cycles))[None, :, None] * 0.37
    back_and_forth = np.abs(2 * (turns % 1) - 1)
    span = np.array([height, width]) - 1 - 2 * radius
    return ball(radius + span * back_and_forth, height=height, width=width, radius=radius)


def lorenz_ball(frames: int = 1024, *, side: int = 24, radius: float = 2.0) -> Film:
    """Return a ball that follows the Lorenz attractor (σ = 10, ρ = 28, β = 8/3), x across and z down.

    Integrated by Runge–Kutta's fourth order, 0.02 time units a frame in four steps; the first 500 are left out.
    """

    def slope(state: np.ndarray) -> np.ndarray:
        x, y, z = state
        return np.array([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])

    state, step, path = np.array([1.0, 1.0, 25.0]), 0.005, []
    for number in range(4 * frames + 500):
        one = slope(state)
        two = slope(state + step / 2 * one)
        three = slope(state + step / 2 * two)
        four = slope(state + step * three)
        state = state + step / 6 * (one + 2 * two + 2 * three + four)
        if number >= 500 and (number - 500) % 4 == 0:
            path.append((state[2], state[0]))
    places = np.asarray(path)
    low, high = np.array([0.0, -21.0]), np.array([50.0, 21.0])
    span = side - 1 - 2 * radius
    return ball((radius + span * (places - low) / (high - low))[:, None], height=side, width=side, radius=radius)


def digits(split: Split, data_dir: Path | None, count: int, rng: np.random.Generator) -> tuple[Tensor, str]:
    """Return `count` digits of a split, (count, 28, 28) in [0, 1], and their source; MNIST where it is at hand."""
    found = load_data("auto" if data_dir is None else "mnist", split, data_dir=data_dir)
    places = torch.from_numpy(rng.integers(len(found), size=count))
    return found.images[places, 0].float() / 255, found.source


def moving_digits(
    small: Float[Tensor, "n digits side side"],
    rng: np.random.Generator,
    *,
    frames: int = FRAMES,
    canvas: int = CANVAS,
    fastest: int = FASTEST,
) -> Films:
    """Return films of digits that move by whole pixels and bounce off the frame's edges; a pixel of any is lit.

    The steps along both axes are uniform in −`fastest` … `fastest`, not both 0, and the places uniform.
    """
    count, number, side = small.shape[0], small.shape[1], small.shape[-1]
    room = canvas - side
    films = np.zeros((count, frames, canvas, canvas), dtype=bool)
    time = np.arange(frames)[:, None]
    pictures = (small > 0.5).numpy()
    for film in range(count):
        for digit in range(number):
            step = np.zeros(2, dtype=int)
            while not step.any():
                step = rng.integers(-fastest, fastest + 1, size=2)
            places = rng.integers(0, room + 1, size=2) + time * step
            places = room - np.abs(room - places % (2 * room))
            for frame, (row, column) in enumerate(places):
                films[film, frame, row : row + side, column : column + side] |= pictures[film, digit]
    return torch.from_numpy(films).to(torch.uint8) * 255


def rotating_digits(
    large: Float[Tensor, "n 28 28"], rng: np.random.Generator, *, frames: int = FRAMES, turn: tuple[float, float] = TURN
) -> Films:
    """Return films of digits that turn about their centre, either way, by a constant angle a frame."""
    films = []
    for picture in large.numpy():
        step = rng.uniform(*turn) * rng.choice([-1, 1])
        start = rng.uniform(0, 360)
        angles = start + step * np.arange(frames)
        films.append([ndimage.rotate(picture, angle, reshape=False, order=1) > 0.5 for angle in angles])
    return torch.from_numpy(np.asarray(films)).to(torch.uint8) * 255


def _moving(split: Split, data_dir: Path | None, *, number: int, canvas: int) -> MadeFilms:
    rng, count = np.random.default_rng(SEEDS[split]), COUNTS[split]
    found, source = digits(split, data_dir, count * number, rng)
    small = F.interpolate(found[:, None], size=(DIGIT, DIGIT), mode="area").unflatten(0, (count, number))[:, :, 0]
    films = moving_digits(small, rng, canvas=canvas)
    return MadeFilms(frames=films, source=f"{number} moving digits of {source}", held_out=True)


def _rotating(split: Split, data_dir: Path | None) -> MadeFilms:
    rng, count = np.random.default_rng(SEEDS[split]), COUNTS[split]
    found, source = digits(split, data_dir, count, rng)
    return MadeFilms(frames=rotating_digits(found, rng), source=f"rotating digits of {source}", held_out=True)


def _fixed(film: Callable[[], Film], source: str, _split: Split, _data_dir: Path | None) -> MadeFilms:
    return MadeFilms(frames=film()[None], source=source, held_out=False)


MADE: dict[str, Callable[[Split, Path | None], MadeFilms]] = {
    "balls": partial(_fixed, lambda: bouncing_balls(1024, ((16, 23), (19, 29))), "two bouncing balls, a closed film"),
    "lorenz": partial(_fixed, lorenz_ball, "a ball on a Lorenz attractor"),
    "moving-mnist": partial(_moving, number=1, canvas=CANVAS),
    "two-moving-mnist": partial(_moving, number=2, canvas=TWO_CANVAS),
    "rotating-mnist": _rotating,
}
"""Films by name: each returns a split, given the folder that holds MNIST."""
