import numpy as np
import pytest
import torch

from rgm.evaluation.abstraction import CodeAtlas
from rgm.report.palette import code_colours, legible_on, ramp


def atlas(levels: list[float], background: int = 0) -> CodeAtlas:
    """Return an atlas whose codes decode to uniform patches; code `background` is the most common one."""
    painted = torch.tensor(levels)[:, None, None, None].expand(-1, 1, 4, 4).contiguous()
    counts = torch.ones(len(levels), dtype=torch.int64)
    counts[background] = 100
    return CodeAtlas(encoded=painted, decoded=painted, counts=counts)


def lightness(colours: np.ndarray) -> np.ndarray:
    return colours @ (0.2126, 0.7152, 0.0722)


@pytest.mark.parametrize("states", [1, 2, 32, 64, 512])
def test_every_code_has_a_colour_of_its_own(states: int) -> None:
    colours = code_colours(atlas(torch.linspace(0, 1, states).tolist()))
    assert colours.shape == (states, 3)
    assert colours.min() >= 0
    assert colours.max() <= 1
    assert len({tuple(colour) for colour in colours.round(6)}) == states


def test_colours_of_32_codes_are_far_apart() -> None:
    colours = 255 * ramp(32)
    distances = np.linalg.norm(colours[:, None] - colours[None], axis=2) + 1e9 * np.eye(32)
    assert distances.min() > 15


def test_codes_with_more_ink_are_darker_and_empty_codes_are_light_grey() -> None:
    colours = code_colours(atlas([0.0, 0.01, *np.linspace(0.1, 1.0, 12)]))
    assert (np.ptp(colours[:2], axis=1) < 1e-9).all()
    assert (colours[:2] > 0.85).all()
    light = lightness(colours)
    assert light[2] > light[7] > light[13]
    assert light[:2].min() > light[2:].max()


def test_the_most_common_code_defines_empty_on_black_and_on_white() -> None:
    on_white = code_colours(atlas([1.0, 0.5, 0.0]))
    assert np.ptp(on_white[0]) < 1e-9
    assert lightness(on_white)[2] < lightness(on_white)[1] < lightness(on_white)[0]


def test_numbers_stand_out_on_every_colour() -> None:
    def luminance(colour: np.ndarray) -> float:
        linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    for colour in [*ramp(64), *code_colours(atlas([0.0, 0.01, 0.3]))]:
        text = np.full(3, float(legible_on(colour) == "white"))
        low, high = sorted([luminance(text), luminance(colour)])
        assert (high + 0.05) / (low + 0.05) > 4.5
