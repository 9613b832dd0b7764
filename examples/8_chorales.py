"""Sequences of symbols: chorales predicted note by note, by back-off over levels of contexts.

    python examples/8_chorales.py
    python examples/8_chorales.py --corpus music21/corpus/bach

Without a corpus, it makes a tune in four voices whose entropy is known, and reaches it. With a folder of compressed
MusicXML files (`.mxl`) in four voices, it learns from eight of ten, weights its models on one and measures on one.
"""

import argparse
import math
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from rgm.temporal.backoff import BackOff, mixed

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--corpus", type=Path, metavar="FOLDER")
parser.add_argument("--past", action="store_true", help="Predict each voice from earlier beats alone.")
options = parser.parse_args()

VOICES = ("Soprano", "Alto", "Tenor", "Bass")
ORDER = (0, 3, 1, 2)  # a beat's notes are predicted in this order: the melody, the bass, and what lies between
NOTES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
START, REST = -2, -1


def read(path: Path) -> np.ndarray | None:
    """Return the pitches that sound at every quarter, (quarters, 4), moved to no sharps or flats; None for other parts.

    Pitches are in semitones; a rest is −1.
    """
    with zipfile.ZipFile(path) as archive:
        name = next(one for one in archive.namelist() if one.endswith("xml") and "META" not in one)
        root = ElementTree.fromstring(archive.read(name))
    titles = {part.get("id"): part.findtext("part-name") or "" for part in root.iter("score-part")}
    parts = [part for voice in VOICES for part in root.findall("part") if titles[part.get("id")].startswith(voice)]
    if len(parts) != len(VOICES):
        return None
    fifths = int(root.findtext(".//key/fifths") or 0)
    move = 6 - (7 * fifths + 6) % 12
    rows = [sounding(part) for part in parts]
    end = min(map(len, rows))
    return np.array([[note if note == REST else note + move for note in row[:end]] for row in rows]).T


def sounding(part: ElementTree.Element) -> list[int]:
    """Return the pitch of one part at every quarter."""
    divisions, now, found = 1, 0.0, dict[int, int]()
    for element in part.iterfind("measure/*"):
        divisions = int(element.findtext("divisions") or divisions)
        length = int(element.findtext("duration") or 0) / divisions
        if element.tag == "backup":
            now -= length
        elif element.tag == "forward" or (element.tag == "note" and element.find("chord") is None):
            pitch = element.find("pitch")
            if pitch is not None:
                step = NOTES[pitch.findtext("step", "C")] + int(pitch.findtext("alter") or 0)
                for quarter in range(math.ceil(now), math.ceil(now + length)):
                    found[quarter] = step + 12 * int(pitch.findtext("octave", "4"))
            now += length
    return [found.get(quarter, REST) for quarter in range(max(found, default=0) + 1)]


def made(count: int = 60, quarters: int = 64) -> list[np.ndarray]:
    """Return tunes that step by one of three intervals, each as probable, with voices in fixed distances below."""
    rng, scale = np.random.default_rng(0), np.array([0, 2, 4, 5, 7, 9, 11])
    tunes = []
    for _ in range(count):
        steps = rng.choice([-1, 1, 2], quarters).cumsum() % 7
        tunes.append(np.stack([60 + scale[(steps - third) % 7] - 6 * third for third in (0, 2, 4, 6)], axis=1))
    return tunes


def contexts(tune: np.ndarray, beat: int, voice: int) -> list[list[tuple]]:
    """Return what is known before a note, in several orders of importance, each from little to much."""
    place = ORDER.index(voice)
    before = [tuple(tune[beat - back]) if beat >= back else (START,) * 4 for back in (1, 2, 3, 4)]
    own, chord, bass, tune_note = [one[voice] for one in before], before[0], before[0][3], before[0][0]
    last, two = (voice, own[0]), (voice, own[0], own[1])
    chains = [
        [(voice,), last, two, (voice, *own[:3]), (voice, *own)],
        [(voice,), last, (voice, chord), (voice, chord, own[1]), (voice, chord, before[1])],
        [(voice,), last, (*last, bass), (*last, bass, tune_note)],
        [(voice,), last, (*last, beat % 8), (*two, beat % 8)],
    ]
    if not options.past:
        now = tuple(tune[beat][other] for other in ORDER[:place])
        chains += [
            [(voice,), last, (*last, now), (*last, now, chord), (*two, now, chord)],
            [(voice,), (voice, now[:1]), (voice, now), (voice, now, own[0]), (voice, now, own[0], own[1])],
            [(voice,), last, (*last, now[-1:]), (*last, now[:2], now[-1:]), (*last, now, bass, tune_note)],
        ]
    return chains


found = made() if options.corpus is None else [read(path) for path in sorted(options.corpus.glob("*.mxl"))]
tunes = list({one.tobytes(): one for one in found if one is not None}.values())  # each once
number = {pitch: place for place, pitch in enumerate(sorted(set(np.concatenate(tunes).flatten().tolist())))}
places = [(tune, beat, voice) for tune in range(len(tunes)) for beat in range(len(tunes[tune])) for voice in ORDER]
models: list[BackOff] = []
held: dict[tuple[int, int], list[tuple[np.ndarray, int]]] = {}
for tune, beat, voice in sorted(places, key=lambda one: one[0] % 10):  # tunes that end in 0 … 7 are learned first
    chains, symbol = contexts(tunes[tune], beat, voice), number[int(tunes[tune][beat, voice])]
    models = models or [BackOff(len(number)) for _ in chains]
    if tune % 10 < 8:
        for model, chain in zip(models, chains, strict=True):
            model.learn(chain, symbol)
    else:
        probs = np.stack([model.probs(chain) for model, chain in zip(models, chains, strict=True)])
        held.setdefault((tune % 10, voice), []).append((probs, symbol))

nats, right, events = 0.0, 0, 0
for voice, name in enumerate(VOICES):
    weights = mixed(np.array([probs[:, symbol] for probs, symbol in held[8, voice]]))
    whole = np.stack([weights @ probs for probs, _ in held[9, voice]])  # (events, pitches)
    symbols = np.array([symbol for _, symbol in held[9, voice]])
    surprise = -np.log(whole[np.arange(len(symbols)), symbols])
    print(f"{name.lower()}: {surprise.mean():.3f} nats an event")
    nats, right = nats + surprise.sum(), right + int((whole.argmax(axis=1) == symbols).sum())
    events += len(symbols)
print(f"{len(tunes)} tunes, {events:,} events held out: {nats / events:.3f} nats an event, {right / events:.0%} right")
if options.corpus is None:
    print(f"the tune's own entropy is {math.log(3) / 4:.3f} nats an event: three steps for one voice of four")
