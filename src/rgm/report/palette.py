"""Colours with one meaning in all figures."""

import math

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import NDArray

from rgm.evaluation.abstraction import Abstraction, CodeAtlas

INK, QUIET, RULE = "#1f2933", "#5d6975", "#c9d1d8"
"""Text, secondary text, thin lines."""
ACCENT, SECOND, TRACK = "#0b6e99", "#cf6a15", "#eef1f3"
"""Two colours that are distinguishable with every kind of colour vision; the background of a bar."""
CHANGE = LinearSegmentedColormap.from_list("change", ["#ffffff", "#cfe6f1", "#5fa9cb", ACCENT, "#06283a"])
"""From no change, the colour of the page, to the greatest change."""

_BLANK = 0.02
"""Codes whose decoded patch differs from an empty one by less than this, on average, are grey."""
_GOLDEN = 0.618034
"""The golden ratio: hues at steps of this share of a circle are spread evenly."""


def ink(atlas: CodeAtlas) -> NDArray[np.float64]:
    """Return the mean absolute difference of each code's decoded patch from the commonest code's colour, (states,)."""
    patches = atlas.decoded.double()
    empty = patches[int(atlas.counts.argmax())].mean(dim=(1, 2))
    return (patches - empty[:, None, None]).abs().mean(dim=(1, 2, 3)).numpy()


def code_colours(atlas: CodeAtlas) -> NDArray[np.float64]:
    """Return a colour for each code, (states, 3) in [0, 1].

    The more ink a code decodes to, the darker its colour, so that maps are readable without hue. Codes that decode to
    an empty patch are light greys; codes of similar lightness differ in hue.
    """
    amount = ink(atlas)
    order = np.argsort(amount, kind="stable")
    blank = int((amount < _BLANK).sum())
    colours = np.empty((len(amount), 3))
    colours[order[:blank]] = np.linspace(0.965, 0.86, blank)[:, None]
    colours[order[blank:]] = ramp(len(amount) - blank)
    return colours


def grid_colours(result: Abstraction) -> list[NDArray[np.float64]]:
    """Return the colours of every grid's codes, the finest grid first."""
    above = [ramp(int(codes.max()) + 1) for codes in result.inference.codes[1:]]
    return [code_colours(result.atlas), *above]


def ramp(count: int) -> NDArray[np.float64]:
    """Return colours of falling lightness, each of another hue: (count, 3) in [0, 1]."""
    lightness = np.linspace(0.86, 0.40, count)
    return np.array([_oklch(light, 0.115, 0.62 + k * _GOLDEN) for k, light in enumerate(lightness)]).reshape(-1, 3)


def _oklch(lightness: float, chroma: float, turn: float) -> NDArray[np.float64]:
    """Return an OKLCH colour (Ottosson 2020) in sRGB, with its chroma lowered until it lies in the gamut."""
    angle = 2 * math.pi * turn
    while True:
        a, b = chroma * math.cos(angle), chroma * math.sin(angle)
        roots = np.array(
            [
                lightness + 0.3963377774 * a + 0.2158037573 * b,
                lightness - 0.1055613458 * a - 0.0638541728 * b,
                lightness - 0.0894841775 * a - 1.2914855480 * b,
            ]
        )
        linear = _FROM_LMS @ roots**3
        if chroma < 1e-3 or (linear.min() >= 0 and linear.max() <= 1):
            linear = linear.clip(0, 1)
            return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
        chroma *= 0.95


_FROM_LMS = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def legible_on(colour: NDArray[np.float64]) -> str:
    """Return black or white, whichever has the greater contrast (WCAG 2) with a colour: at least 4.5."""
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ (0.2126, 0.7152, 0.0722))
    return "white" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "black"
