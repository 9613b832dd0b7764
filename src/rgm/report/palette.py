"""Colours that mean the same in every figure."""

import colorsys

import numpy as np
from numpy.typing import NDArray

from rgm.experiments.abstraction import CodeAtlas

INK, QUIET, ACCENT, SECOND = "#1f2933", "#8a94a0", "#0b6e99", "#d9822b"
"""Text, secondary text, and two accents that every kind of colour vision tells apart."""

_BLANK = 0.02
"""A code that paints less than this, on average, is drawn in grey."""


def code_colours(atlas: CodeAtlas) -> NDArray[np.float64]:
    """Return a colour for each code, (states, 3) in [0, 1].

    Codes that paint next to nothing are light greys; the others step around the hues in the order of how much they
    paint, with three alternating lightnesses, so that neighbours in that order differ in both.
    """
    ink = atlas.painted.flatten(1).mean(dim=1).numpy()
    order = np.argsort(ink, kind="stable")
    blank = [code for code in order if ink[code] < _BLANK]
    full = [code for code in order if ink[code] >= _BLANK]
    colours = np.empty((len(ink), 3))
    for position, code in enumerate(blank):
        colours[code] = 0.95 - 0.18 * position / max(1, len(blank))
    for position, code in enumerate(full):
        hue = (0.58 + position * 0.618034) % 1.0
        colours[code] = colorsys.hls_to_rgb(hue, (0.42, 0.58, 0.72)[position % 3], 0.55)
    return colours


def legible_on(colour: NDArray[np.float64]) -> str:
    """Return black or white, whichever stands out on a colour."""
    luminance = float(np.dot(colour, (0.2126, 0.7152, 0.0722)))
    return "white" if luminance < 0.45 else INK
