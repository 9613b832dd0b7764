"""Sound as a film: a spectrogram whose frames are single columns of frequencies, and back by Griffin–Lim."""

import io
import logging
import warnings
from math import gcd
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from scipy.io import wavfile
from torch import Tensor

from rgm.errors import RGMError

log = logging.getLogger("rgm")

RATE = 8000
"""Sounds are resampled to this rate, in Hz."""
RATES = (1_000, 1_000_000)
"""The least and the most rate of a sound that is read, in Hz."""
WINDOW, HOP, BANDS = 256, 128, 128
"""Samples of a window, between windows, and frequencies of a frame: 0 … 4,000 Hz in steps of 31 Hz."""
QUIETEST_DB = 80.0
"""A pixel of 0 is so many decibels below one of 255."""
ROUNDS = 60
"""Iterations of Griffin and Lim."""


def read_sound(path: Path) -> tuple[UInt8[Tensor, "1 frames bands 1"], int]:
    """Return a WAV file's spectrogram as a film, and its rate in Hz; a frame is a column of 128 bands, every 16 ms.

    A pixel is the level in decibels, 255 at the loudest. Stereo is averaged and other rates are resampled, with a
    warning. Raises RGMError for a file that is missing, damaged, or too short for two frames.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=wavfile.WavFileWarning)  # chunks that are not of sound
            warnings.filterwarnings("error", "Reached EOF", category=wavfile.WavFileWarning)
            rate, samples = wavfile.read(path)
    except OSError as error:
        raise RGMError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # SciPy raises many kinds for a damaged file
        raise RGMError(f"{path} is not a whole WAV file: {' '.join(str(error).split())}") from error
    if not RATES[0] <= rate <= RATES[1]:
        raise RGMError(f"{path} claims {rate:,} samples a second: {RATES[0]:,} to {RATES[1]:,} are read")
    sound = samples.astype(np.float64)
    if sound.ndim == 2:
        log.warning("%s has %d channels: their mean is taken", path, sound.shape[1])
        sound = sound.mean(axis=1)
    if rate != RATE:
        log.warning("%s is resampled from %s to %s Hz", path, f"{rate:,}", f"{RATE:,}")
        shared = gcd(int(rate), RATE)
        from scipy.signal import resample_poly  # slow to import

        sound = resample_poly(sound, RATE // shared, int(rate) // shared)
    if len(sound) < WINDOW + HOP:
        raise RGMError(f"{path} is {len(sound) / RATE:.3f} s long: a film of sound needs two frames, 0.048 s")
    if not np.isfinite(sound).all():
        raise RGMError(f"{path} holds samples that are no numbers: write it again")
    loud = np.abs(sound).max()
    if loud == 0:
        raise RGMError(f"{path} is silent throughout: there is nothing to learn")
    level = 20 * np.log10(np.maximum(np.abs(_spectrum(sound / loud))[:, :BANDS], 1e-12))
    pixels = np.clip(1 + (level - level.max()) / QUIETEST_DB, 0, 1) * 255
    return torch.from_numpy(pixels.round().astype(np.uint8))[None, :, :, None], RATE


def to_sound(frames: Float[Tensor, "frames bands 1"], *, seed: int = 0) -> bytes:
    """Return a film of sound, in [0, 1], as a WAV file of 16 bits: phases by Griffin–Lim, from random ones.

    Source: Griffin and Lim 1984, "Signal estimation from modified short-time Fourier transform".
    """
    level = frames[..., 0].double().numpy()
    magnitude = np.where(level > 0, 10 ** ((level - 1) * QUIETEST_DB / 20), 0.0)
    magnitude = np.concatenate([magnitude, np.zeros((len(level), 1))], axis=1)
    rng = np.random.default_rng(seed)
    spectrum = magnitude * np.exp(2j * np.pi * rng.random(magnitude.shape))
    for _ in range(ROUNDS):
        phases = _spectrum(_sound(spectrum))
        spectrum = magnitude * np.exp(1j * np.angle(phases))
    sound = _sound(spectrum)
    loud = np.abs(sound).max()
    content = io.BytesIO()
    wavfile.write(content, RATE, (sound / (loud or 1.0) * 32000).astype(np.int16))
    return content.getvalue()


def _spectrum(sound: np.ndarray) -> np.ndarray:
    """Return the short-time Fourier transform, (windows, frequencies)."""
    windows = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[::HOP]
    return np.fft.rfft(windows * np.hanning(WINDOW + 1)[:-1], axis=1)


def _sound(spectrum: np.ndarray) -> np.ndarray:
    """Return the sound whose transform is nearest, by overlapping and adding."""
    window = np.hanning(WINDOW + 1)[:-1]
    pieces = np.fft.irfft(spectrum, WINDOW, axis=1) * window
    sound, weight = (np.zeros(HOP * (len(spectrum) - 1) + WINDOW) for _ in range(2))
    for number, piece in enumerate(pieces):
        sound[number * HOP : number * HOP + WINDOW] += piece
        weight[number * HOP : number * HOP + WINDOW] += window**2
    return sound / np.maximum(weight, 1e-8)
