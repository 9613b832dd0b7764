import io

import numpy as np
import torch
from made_results import Results
from PIL import Image

from rgm.report.figures import experiment_motions
from rgm.report.motion import cell_gif, concepts_gif


def frames(content: bytes) -> list[np.ndarray]:
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.format == "GIF"
        assert picture.info["loop"] == 0
        found = []
        for number in range(getattr(picture, "n_frames", 1)):
            picture.seek(number)
            found.append(np.asarray(picture.convert("RGB")).astype(int))
        return found


def test_animations_are_small(results: Results) -> None:
    found = {name: content for result in results.all() for name, content in experiment_motions(result).items()}
    assert found.keys() == {"instantiation-concepts", "locality-cell"}
    for content in found.values():
        assert len(content) < 800_000
        assert 40 < frames(content)[0].shape[1] < 800


def test_a_cell_takes_all_codes_and_changes_nothing_outside_its_field(grey: Results) -> None:
    example = grey.locality.example
    shown = frames(cell_gif(grey.locality))
    assert torch.equal(example.sweep[example.before], example.original)
    assert torch.equal(example.sweep[example.after], example.local)
    distinct = {image.numpy().tobytes() for image in example.sweep}
    assert len(shown) <= len(example.sweep)  # equal frames are merged into a longer one
    assert len(shown) >= min(2, len(distinct))
    scale = shown[0].shape[0] // 28
    field = example.field
    changed = np.abs(shown[0] - shown[-1])[:, : 28 * scale].max(axis=2)
    changed[field.top * scale : field.bottom * scale, field.left * scale : field.right * scale] = 0
    assert changed.max() <= 8  # the palette's rounding


def test_every_frame_has_new_samples_of_the_concepts(grey: Results) -> None:
    shown = frames(concepts_gif(grey.instantiation))
    assert len(shown) == grey.instantiation.sheet.shape[1]
    assert len({frame.tobytes() for frame in shown}) == len(shown)
