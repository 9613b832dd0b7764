"""Rendered letters: out-of-distribution images that resemble digits."""

from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

LETTERS = "ACDEFGHJKLMNPQRTUVWXYacdefhjkmnprtuvwxy"
"""Letters that cannot be mistaken for a digit."""
FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSerif", "DejaVuSansMono", "STIXGeneralItalic")
"""Fonts shipped with matplotlib."""
LARGE, BOX = 120, 20
"""Pixels of a rendered letter, and of the box that it is shrunk into, on an image of 28 × 28."""


def letters(count: int, image: tuple[int, int, int], *, seed: int = 0) -> UInt8[Tensor, "n channels rows columns"]:
    """Return letters in several fonts, light on dark, preprocessed as MNIST's digits: shrunk into a box of 20 / 28 of
    the image, centred by their centre of mass, and sheared by up to a fifth."""
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    channels, rows, columns = image
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    fonts = [ImageFont.truetype(str(folder / f"{name}.ttf"), LARGE) for name in FONTS]
    generator = torch.Generator().manual_seed(seed)
    which = torch.randint(len(LETTERS) * len(fonts), (count,), generator=generator).tolist()
    lean = (torch.rand(count, generator=generator) * 0.4 - 0.2).tolist()
    drawn = torch.empty(count, 1, 28, 28)
    for number, (place, slant) in enumerate(zip(which, lean, strict=True)):
        canvas = Image.new("L", (2 * LARGE, 2 * LARGE))
        text, font = LETTERS[place % len(LETTERS)], fonts[place // len(LETTERS)]
        ImageDraw.Draw(canvas).text((LARGE // 2, LARGE // 4), text, fill=255, font=font)
        canvas = canvas.transform(canvas.size, Image.Transform.AFFINE, (1, slant, -slant * LARGE, 0, 1, 0))
        letter = canvas.crop(canvas.getbbox())
        scale = BOX / max(letter.size)
        size = [max(1, round(side * scale)) for side in letter.size]
        small = letter.resize(size, Image.Resampling.LANCZOS)
        pixels = torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8).reshape(size[1], size[0]).float()
        down, across = (
            round(13.5 - float((pixels.sum(dim=1 - axis) * torch.arange(pixels.shape[axis])).sum() / pixels.sum()))
            for axis in (0, 1)
        )
        whole = torch.zeros(28, 28)
        top, left = (min(max(at, 0), 28 - side) for at, side in zip((down, across), pixels.shape, strict=True))
        whole[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
        drawn[number, 0] = whole
    if (rows, columns) != (28, 28):
        shrinks = rows < 28 or columns < 28
        drawn = F.interpolate(drawn, (rows, columns), mode="bicubic", antialias=shrinks, align_corners=False)
    return drawn.clamp(0, 255).round().to(torch.uint8).expand(-1, channels, -1, -1).contiguous()
