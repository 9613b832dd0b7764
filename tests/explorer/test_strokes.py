import io

import numpy as np
import pytest
from PIL import Image

from rgm.errors import RGMError
from rgm.explorer.drawing import as_digit, decoded


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("top", "left", "tall", "wide"), [(5, 90, 60, 10), (70, 8, 16, 60), (0, 0, 100, 100)]
)
def test_a_drawing_is_scaled_into_mnists_box_and_centred_by_its_mass(
    top: int, left: int, tall: int, wide: int
) -> None:
    grey = np.zeros((100, 100), dtype=np.float32)
    grey[top : top + tall, left : left + wide] = 1
    digit = as_digit(grey, (28, 28))
    assert digit.shape == (1, 28, 28)
    rows, columns = (digit[0].amax(axis) > 0.5 for axis in (1, 0))
    assert max(int(rows.sum()), int(columns.sum())) == 20
    mass = digit[0] / digit.sum()
    for axis in (0, 1):
        centre = float((mass.sum(1 - axis).numpy() * (np.arange(28) + 0.5)).sum())
        assert centre == pytest.approx(14, abs=0.6)


def test_a_drawing_without_ink_is_empty() -> None:
    assert float(as_digit(np.zeros((70, 70), dtype=np.float32), (28, 28)).max()) == 0
    assert as_digit(np.full((8, 8), 0.1, dtype=np.float32), (28, 28)).sum() == 0


def test_dark_on_bright_is_turned_into_bright_on_dark() -> None:
    paper = np.full((40, 60), 250)
    paper[10:30, 25:30] = 5
    grey = decoded(png(paper))
    assert grey.shape == (40, 60)
    assert grey[0, 0] < 0.05 < 0.9 < grey[20, 27]


def test_what_is_no_picture_is_refused_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for content in (b"", b"not a picture", png(np.zeros((9, 9)))[:40]):
        with pytest.raises(RGMError, match="no picture that can be read"):
            decoded(content)
    with pytest.raises(RGMError, match="5 MB at most, but this has 6"):
        decoded(b"\0" * 6_000_000)
    monkeypatch.setattr("rgm.explorer.drawing.LARGEST_SIDE", 30)
    with pytest.raises(RGMError, match="30 pixels a side at most, but this has 40"):
        decoded(png(np.zeros((40, 20))))
