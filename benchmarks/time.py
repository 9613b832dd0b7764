"""Models of films measured: what is remembered, what is learned from noise, and how unseen films are predicted.

    python benchmarks/time.py [SECTION ...] [--clip FILE ...]

Writes docs/time.json and the tables of docs/time.md. What is measured already is kept unless its section is named.
Twenty minutes on two cores. With `--clip`, a clip of the world is measured too, and nothing else unless named.
"""

import argparse
import json
import math
import os
import platform
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from rgm.data import made_films
from rgm.data.films import load_films, read_films
from rgm.data.made_films import bouncing_balls
from rgm.evaluation.films import evaluate_films
from rgm.storage.files import write_json, write_text
from rgm.temporal.config import LatentConfig, MemoryConfig, TemporalConfig
from rgm.temporal.fitting import MemoryRecipe
from rgm.temporal.flow_learning import clip_recipe
from rgm.temporal.model import TemporalRGM
from rgm.training.fit import fit

DOCS = Path(__file__).parents[1] / "docs"
FOUND, PAGE = DOCS / "time.json", DOCS / "time.md"
MARK = "<!-- tables of benchmarks/time.py -->"
NEAR = 9
"""Side of a neighbourhood, chosen on validation films of two digits."""
CUE = 8
"""Frames of a clip that are seen before the one that is predicted."""


def rotating_digit() -> torch.Tensor:
    """Return a digit that turns once round in 36 frames, a closed film."""
    picture, _ = made_films.digits("train", None, 1, made_films.np.random.default_rng(7))
    turns = [made_films.ndimage.rotate(picture[0].numpy(), 10.0 * step, reshape=False, order=1) for step in range(36)]
    return (torch.tensor(made_films.np.array(turns)) > 0.5).to(torch.uint8) * 255


def closed_films() -> dict[str, torch.Tensor]:
    """Return the closed films by name."""
    return {
        "ball, 128 frames": bouncing_balls(128, ((2, 3),)),
        "two balls, 1,024 frames": bouncing_balls(1024, ((16, 23), (19, 29))),
        "rotating digit, 36 frames": rotating_digit(),
    }


def memory() -> dict[str, Any]:
    """Closed films remembered: recall, a third missing, flips, continuation over ten times the film; wrong pixels."""
    found = {}
    for name, film in closed_films().items():
        model = TemporalRGM(TemporalConfig(image=(1, *film.shape[1:]), dynamics=MemoryConfig()))
        result = fit(model, film, recipe=MemoryRecipe(closed=True), device="cpu")
        lit, generator = film > 0, torch.Generator().manual_seed(0)
        visible = torch.rand(lit.shape, generator=generator) > 1 / 3
        flipped = (lit ^ (torch.rand(lit.shape, generator=generator) < 0.05)).to(torch.uint8) * 255
        steps, cue = 10 * len(film), film[5:13]
        after = model.predict(cue, steps).frames[0, 8:] > 0.5
        found[name] = {
            "learn_s": result.elapsed_s,
            "events": model.num_classes,
            "recall": int(((model.infer(film).frames[0] > 0.5) != lit).sum()),
            "third_missing": int(((model.complete(film, visible).frames[0] > 0.5) != lit).sum()),
            "flips": int(((model.infer(flipped).frames[0] > 0.5) != lit).sum()),
            "continuation": int((after != lit.roll(-13, 0).repeat(10, 1, 1)).sum()),
            "repeat_wrong": float((lit[1:] != lit[:-1]).float().mean()),
        }
    return found


def speed() -> dict[str, Any]:
    """1,000 frames of 12 × 9 pixels learned: the best of three."""
    film = bouncing_balls(1000, ((7, 11),), height=12, width=9, radius=1.0)
    times = []
    for _ in range(3):
        model = TemporalRGM(TemporalConfig(image=(1, 12, 9), dynamics=MemoryConfig()))
        times.append(fit(model, film, device="cpu").elapsed_s)
    return {"learn_s": min(times), "events": model.num_classes}


def noise() -> dict[str, Any]:
    """Films learned from noisy showings: wrong pixels of the clean film, by latent events and by memory."""
    found = {}
    film = bouncing_balls(128, ((2, 3),))
    lit = film > 0
    for flips in (0.001, 0.01, 0.03):
        shown = lit.repeat(10, 1, 1)
        generator = torch.Generator().manual_seed(1)
        noisy = (shown ^ (torch.rand(shown.shape, generator=generator) < flips)).to(torch.uint8) * 255
        row = {}
        for name, dynamics in (("latent", LatentConfig()), ("memory", MemoryConfig())):
            model = TemporalRGM(TemporalConfig(image=(1, 24, 24), dynamics=dynamics))
            result = fit(model, noisy, device="cpu")
            after = model.predict(noisy[5:13], 1280).frames[0, 8:] > 0.5
            row[name] = {
                "learn_s": result.elapsed_s,
                "events": model.num_classes,
                "recall": int(((model.infer(film).frames[0] > 0.5) != lit).sum()),
                "continuation": int((after != lit.roll(-13, 0).repeat(10, 1, 1)).sum()),
            }
        found[f"{flips:g}"] = row
    return found


def unseen(name: str) -> dict[str, Any]:
    """Films of test digits predicted after learning from films of training digits."""
    train, validation, test = (load_films(name, split) for split in ("train", "validation", "test"))
    model = TemporalRGM.from_preset("film-flow", image=train.image)
    result = fit(model, train.frames, validation=validation.frames, device="cpu", seed=1)
    return {"learn_s": result.elapsed_s, **evaluate_films(model, train.frames, test.frames).measures()}


def remembered(name: str) -> dict[str, Any]:
    """The same films predicted by a memory of the training films."""
    train, test = (load_films(name, split) for split in ("train", "test"))
    model = TemporalRGM.from_preset("film-memory", image=train.image)
    result = fit(model, train.frames, device="cpu")
    nats = model.next_frames(test.frames[:20])
    assert nats.joint_nats is not None
    return {
        "learn_s": result.elapsed_s,
        "next_frame_nats_per_pixel": float(nats.marginal_nats.mean()),
        "next_frame_joint_nats_per_pixel": float(nats.joint_nats.mean()),
        "films": 20,
    }


def two() -> dict[str, Any]:
    """Films of two digits, learned on films of one in frames of the same size."""
    one = partial(made_films._moving, data_dir=None, number=1, canvas=made_films.TWO_CANVAS)
    train, validation = (one(split).frames for split in ("train", "validation"))
    test = load_films("two-moving-mnist", "test")
    model = TemporalRGM.from_preset("film-flow", image=test.image)
    result = fit(model, train, validation=validation, device="cpu", seed=1)
    near = model.by_neighbourhoods(NEAR)
    measures = evaluate_films(near, train, test.frames).measures()
    whole = model.next_frames(test.frames).marginal_nats
    return {"learn_s": result.elapsed_s, "whole_frame_nats_per_pixel": float(whole.mean()), **measures}


def clip(file: Path) -> dict[str, Any]:
    """A clip's second half predicted after learning from its first, grey, in 48 × 64 pixels, beside repeating."""
    frames = read_films(file)[0][0].float()
    grey = frames if frames.ndim == 3 else frames @ torch.tensor([0.299, 0.587, 0.114])
    small = torch.nn.functional.interpolate(grey[:, None], size=(48, 64), mode="area")[:, 0].round().byte()
    half = len(small) // 2
    model = TemporalRGM.from_preset("film-clip", image=(1, 48, 64))
    result = fit(model, small[:half], recipe=clip_recipe(), device="cpu")
    found: dict[str, Any] = {"frames": len(small), "learn_s": result.elapsed_s}
    cues = small.unfold(0, CUE + 1, 1).permute(0, 3, 1, 2)  # each with the frame that follows it
    after = torch.cat([model.predict(part[:, :CUE], 1).frames[:, -1] for part in cues.split(32)])
    last, true = (cues[:, place].float() / 255 for place in (CUE - 1, CUE))
    for name, part in (("learned", slice(0, half - CUE)), ("unseen", slice(half - CUE, None))):
        errors = {"ours": after[part] - true[part], "repeat": last[part] - true[part]}
        found[name] = {one: -10 * math.log10(float(error.square().mean())) for one, error in errors.items()}
    return found


SECTIONS = {
    "memory": memory,
    "speed": speed,
    "noise": noise,
    "moving": partial(unseen, "moving-mnist"),
    "rotating": partial(unseen, "rotating-mnist"),
    "two": two,
    "remembered": partial(remembered, "moving-mnist"),
}


def tables(found: dict[str, Any]) -> str:
    """Return the tables of the page."""
    lines = [f"Measured by `python benchmarks/time.py` ({found['machine']}).", ""]
    if "memory" in found:
        lines += [
            "| closed film | learned in | events | wrong pixels: recall | a third missing | 5 % flipped | "
            "continued over 10 × its length |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        for name, row in found["memory"].items():
            lines.append(
                f"| {name} | {1000 * row['learn_s']:.0f} ms | {row['events']:,} | {row['recall']} | "
                f"{row['third_missing']} | {row['flips']} | {row['continuation']} |"
            )
        lines.append("")
    if "speed" in found:
        lines += [f"1,000 frames of 12 × 9 pixels are learned in {found['speed']['learn_s']:.2f} s.", ""]
    if "noise" in found:
        lines += [
            "| pixels flipped in each of 10 showings | | learned in | events | wrong pixels: recall | "
            "continued over 10 × |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        for flips, row in found["noise"].items():
            for name, one in row.items():
                lines.append(
                    f"| {100 * float(flips):g} % | `film-{name}` | {one['learn_s']:.1f} s | {one['events']:,} | "
                    f"{one['recall']} | {one['continuation']:,} |"
                )
        lines.append("")
    names = [name for name in ("moving", "rotating", "two") if name in found]
    if names:
        titles = {"moving": "moving digits", "rotating": "rotating digits", "two": "two digits, learned on one"}
        lines += [
            "| unseen films, next frame, nats a pixel | " + " | ".join(titles[name] for name in names) + " |",
            "| --- |" + " --- |" * len(names),
        ]
        rows = {
            "`film-flow`, marginal": "next_frame_nats_per_pixel",
            "`film-flow`, joint": "next_frame_joint_nats_per_pixel",
            "repeat the last frame": "repeat_nats_per_pixel",
            "nearest training frame's successor": "nearest_nats_per_pixel",
            "soft memory of all training frames": "soft_memory_nats_per_pixel",
            "one path a frame, marginal": "whole_frame_nats_per_pixel",
        }
        for title, key in rows.items():
            cells = [f"{found[name][key]:.4f}" if key in found[name] else "–" for name in names]
            lines.append(f"| {title} | " + " | ".join(cells) + " |")
        lines.append("| learned in | " + " | ".join(f"{found[name]['learn_s']:.0f} s" for name in names) + " |")
        lines += [
            "",
            "| squared error over that of repeating the cue's last frame, step | "
            + " | ".join(str(step) for step in range(1, 9))
            + " |",
            "| --- |" + " --- |" * 8,
        ]
        for name in names:
            pairs = zip(found[name]["rollout_error"], found[name]["repeat_error"], strict=True)
            lines.append(f"| {titles[name]} | " + " | ".join(f"{a / b:.2f}" for a, b in pairs) + " |")
        lines.append("")
    if "clips" in found:
        lines += [
            "| `film-clip`, next frame, dB | frames | learned in | first half: ours | repeating | "
            "second half, unseen: ours | repeating |",
            "| --- |" + " --- |" * 6,
        ]
        for name, row in found["clips"].items():
            cells = (f"{row[half][one]:.2f}" for half in ("learned", "unseen") for one in ("ours", "repeat"))
            lines.append(f"| {name} | {row['frames']} | {row['learn_s']:.0f} s | " + " | ".join(cells) + " |")
        lines.append("")
    if "remembered" in found:
        row = found["remembered"]
        lines += [
            f"`film-memory` predicts unseen moving digits with {row['next_frame_nats_per_pixel']:.3f} nats a pixel "
            f"(the first {row['films']} test films): it remembers, and does not generalise.",
            "",
        ]
    return "\n".join(lines)


def main() -> None:
    """Measure what is not measured yet, or the sections named, and write."""
    found = json.loads(FOUND.read_text()) if FOUND.is_file() else {}
    threads = f"{torch.get_num_threads()} of {os.cpu_count()} threads"
    found["machine"] = f"{platform.system()} {platform.machine()}, {threads}"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--clip", type=Path, nargs="+", default=[], metavar="FILE", help="Films to predict.")
    asked = parser.parse_args()
    for file in asked.clip:
        found.setdefault("clips", {})[file.stem] = clip(file)
        print(file.stem, found["clips"][file.stem], flush=True)
        write_json(FOUND, found)
    for name, measure in SECTIONS.items():
        if name not in asked.sections and (name in found or asked.sections or asked.clip):
            continue
        start = time.perf_counter()
        found[name] = measure()
        print(name, f"{time.perf_counter() - start:.0f} s", found[name], flush=True)
        write_json(FOUND, found)
    if PAGE.is_file():
        before, _, rest = PAGE.read_text().partition(MARK)
        after = rest.partition(MARK)[2]
        write_text(PAGE, f"{before}{MARK}\n\n{tables(found)}\n{MARK}{after}")


if __name__ == "__main__":
    main()
