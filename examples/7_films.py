"""Films: a loop continued, hidden parts filled in, a ball on a Lorenz attractor, a tune continued and accompanied.

    python examples/7_films.py --out runs/films

Needs no data. Writes GIFs of each, and the tune as a film of notes.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

import rgm
from rgm.data.animations import gif
from rgm.data.made_films import bouncing_balls, lorenz_ball
from rgm.temporal.config import MemoryConfig, TemporalConfig
from rgm.temporal.fitting import MemoryRecipe
from rgm.temporal.flow_learning import FlowRecipe

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--out", type=Path, default=Path("runs/films"))
out = parser.parse_args().out
out.mkdir(parents=True, exist_ok=True)


def write(name: str, frames: torch.Tensor) -> None:
    """Write a film in [0, 1], (time, height, width), as a GIF."""
    (out / f"{name}.gif").write_bytes(gif((frames * 255).round().byte(), enlarge=8))


# A closed film: two balls, seen once. `closed` says that its last frame is followed by its first.
loop = bouncing_balls(256, ((3, 5), (4, 7)))  # uint8 (256, 24, 24)
memory = rgm.fit(rgm.TemporalRGM.from_preset("film-memory"), loop, recipe=MemoryRecipe(closed=True)).model
after = memory.predict(loop[40:48], 512).frames[0]  # (520, 24, 24): the cue, and two rounds more
wrong = ((after[8:] > 0.5) != (loop > 0).roll(-48, 0).repeat(2, 1, 1)).sum()
print(f"loop: {int(wrong)} of {after[8:].numel():,} pixels of the continuation are wrong")
write("loop", after[:128])

# The same film with its left half hidden, and a tenth of all pixels besides.
visible = torch.rand(loop.shape, generator=torch.Generator().manual_seed(0)) > 0.1
visible[:, :, :12] = False
filled = memory.complete(loop, visible).frames[0]
print(f"hidden parts: {int(((filled > 0.5) != (loop > 0)).sum())} pixels filled in wrongly")
write("hidden", torch.where(visible, loop / 255, 0.5))
write("filled", filled)

# A ball on a Lorenz attractor is never twice at the same place: paths as local rules predict it.
ball = lorenz_ball(400)  # (400, 24, 24)
recipe = FlowRecipe(starts=1, trial=10, passes=12, own_paths=0)
flow = rgm.fit(rgm.TemporalRGM.from_preset("film-flow"), ball[:300], recipe=recipe).model
nats = flow.next_frames(ball[300:]).marginal_nats.mean()
print(f"Lorenz attractor: {float(nats):.4f} nats a pixel of the next frame, unseen")
write("lorenz", flow.predict(ball[300:308], 24).frames[0])

# A tune as a film of notes, one row a pitch: it is continued from its first bar.
pitches = [0, 2, 4, 0, 0, 2, 4, 0, 4, 5, 7, 7, 4, 5, 7, 7, 9, 7, 5, 4, 0, 0, 9, 7, 5, 4, 0, 0]
tune = torch.from_numpy(np.eye(12, dtype=np.uint8)[pitches])[:, :, None] * 255  # (28, 12, 1)
config = TemporalConfig(image=(1, 12, 1), dynamics=MemoryConfig(doublings=3))  # an event is a phrase of 8 notes
notes = rgm.fit(rgm.TemporalRGM(config), tune, recipe=MemoryRecipe(closed=True)).model
sung = notes.predict(tune[:8], 20).frames[0, 8:, :, 0].argmax(dim=1).tolist()
print(f"tune: {sum(one == other for one, other in zip(sung, pitches[8:], strict=True))} of 20 notes continued")

# The same tune with a bass, one row a pitch below it: where the bass is hidden, it is added to the tune.
bass = [0, 0, 0, 0, 0, 0, 0, 0, 4, 4, 7, 7, 4, 4, 7, 7, 5, 5, 4, 4, 0, 0, 5, 5, 4, 4, 0, 0]
both = torch.cat([tune, tune.new_tensor(np.eye(12, dtype=np.uint8)[bass])[:, :, None] * 255], dim=1)  # (28, 24, 1)
config = TemporalConfig(image=(1, 24, 1), dynamics=MemoryConfig(doublings=3))
duet = rgm.fit(rgm.TemporalRGM(config), both, recipe=MemoryRecipe(closed=True)).model
heard = torch.zeros(both.shape, dtype=torch.bool)
heard[:, :12] = True
played = duet.complete(both, heard).frames[0, :, 12:, 0].argmax(dim=1).tolist()
print(f"accompaniment: {sum(one == other for one, other in zip(played, bass, strict=True))} of 28 bass notes added")
