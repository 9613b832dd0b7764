"""Commands of the lossless coder: `compress` and `decompress`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from rgm.cli import options
from rgm.errors import RGMError


def compress(
    model: options.Model,
    *,
    out: Annotated[Path, Parameter(help="The file to write.")],
    data: options.Data = None,
    split: options.SplitName = "test",
    data_dir: options.DataDir = None,
    images: Annotated[Path | None, Parameter(help="An .npz file with `images`, uint8 (N, C, H, W), instead.")] = None,
    device: options.Device = "auto",
    quiet: options.Quiet = False,
) -> None:
    """Compress images without loss, to about −log₂ p bits. For counting models of pixel values (preset exact).

    Example: `rgm compress runs/exact --data mnist --split test --out test.rgmz`

    Needs the extra `compress`. `rgm decompress` with the same model restores the images bit for bit, in the
    size and the channels of the model.
    """
    from rgm.counting.coder import compress as compressed
    from rgm.export.arrays import read_images
    from rgm.storage.files import write_bytes

    if images is not None and data is not None:
        raise RGMError("--data and --images both name images to compress: give one of them")
    checkpoint = options.load(model, device, file=out, kind="compressed images", read=(images,))
    tree = options.counted(model, checkpoint, "compress images with one that --preset exact trains")
    read = read_images(images) if images is not None else options.read(checkpoint, data, split, data_dir).images
    content = compressed(tree, read)
    write_bytes(out, content)
    if not quiet:
        rate = f"{8 * len(content) / read.numel():.4f} bits per dimension"
        print(f"{len(read):,} images, {len(content):,} bytes, {rate}: {out}")


def decompress(
    model: options.Model,
    file: Annotated[Path, Parameter(help="A file that `rgm compress` wrote.")],
    *,
    out: options.ArraysFile,
    device: options.Device = "auto",
    quiet: options.Quiet = False,
) -> None:
    """Restore the images of a compressed file, bit for bit.

    Example: `rgm decompress runs/exact test.rgmz --out images.npz`

    Arrays: `images` uint8 (N, C, H, W). The model is the one that the file was compressed with.
    """
    from rgm.counting.coder import decompress as decompressed
    from rgm.export.arrays import write

    checkpoint = options.load(model, device, file=out)
    tree = options.counted(model, checkpoint, "its files are compressed by one that --preset exact trains")
    if not file.is_file():
        raise RGMError(f"no compressed images at {file}: `rgm compress` writes such a file")
    images = decompressed(tree, file.read_bytes(), name=str(file)).numpy()
    write(out, {"images": images})
    if not quiet:
        print(f"{out}: images {' × '.join(map(str, images.shape))}")
