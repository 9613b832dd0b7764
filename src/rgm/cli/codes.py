"""Commands that turn images into codes and codes into images: `encode`, `decode`, `sample` and `complete`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from rgm.cli import options
from rgm.cli.films import Mask, complete_film, is_film, sample_films

if TYPE_CHECKING:
    from rgm.export.arrays import Arrays


def encode(
    model: options.Model,
    *,
    out: options.ArraysFile,
    data: options.Data = None,
    split: options.SplitName = "test",
    data_dir: options.DataDir = None,
    device: options.Device = "auto",
    quiet: options.Quiet = False,
) -> None:
    """Write the codes, concept probabilities and reconstructions of a split, in the data set's own order.

    Example: `rgm encode runs/first --data mnist --split test --out codes.npz`

    Arrays: `z1` int64 (N, H, W), `concept` float32 (N, classes), `reconstruction` float32 (N, C, H, W) in [0, 1],
    `labels` int64 (N,) where the data have them; `z2` … for the grids between z1 and the concept.
    """
    from rgm.export import arrays

    checkpoint = options.load(model, device, file=out)
    _write(out, arrays.encoded(checkpoint.model, options.read(checkpoint, data, split, data_dir)), quiet)


def decode(
    model: options.Model,
    codes: Annotated[Path, Parameter(help="An .npz file with `z1`.")],
    *,
    out: options.ArraysFile,
    device: options.Device = "auto",
    quiet: options.Quiet = False,
) -> None:
    """Write the images that codes decode to.

    Example: `rgm decode runs/first codes.npz --out images.npz`

    Reads `z1` (N, H, W), integers; writes `images` float32 (N, C, H, W) in [0, 1].
    """
    from rgm.export import arrays

    checkpoint = options.load(model, device, file=out, read=(codes,))
    _write(out, arrays.decoded(checkpoint.model, arrays.read_codes(codes)), quiet)


def sample(
    model: options.Model,
    *,
    out: Annotated[Path, Parameter(help="The .npz file to write, or a .png.")],
    concept: Annotated[str, Parameter(help="A class by name or number, or all.")] = "all",
    count: Annotated[int, Parameter(help="Samples of each concept.")] = 10,
    steps: Annotated[int, Parameter(help="Frames of each film, for a model of films.")] = 20,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    quiet: options.Quiet = False,
) -> None:
    """Sample images of a concept: ancestral sampling at temperature 1, no sample rejected.

    Example: `rgm sample runs/first --concept 3 --count 100 --seed 0 --out threes.npz`

    Arrays: `images` float32 (·, C, H, W) in [0, 1], `concept` int64 (·,), `z1` int64 (·, H, W); with the suffix .png, a
    picture with a row of samples for each concept. Of a model of films: `frames` float32 (N, steps, H, W) in [0, 1],
    `path` int64, or a GIF or WAV by the suffix.
    """
    if is_film(model):
        sample_films(model, out, count, steps, seed, device, quiet)
        return
    from rgm.export import arrays

    picture = out.suffix.lower() == ".png"
    checkpoint = options.load(model, device, file=out, kind="a picture by rgm" if picture else "arrays")
    concepts = arrays.concepts_named(concept, checkpoint.origin.classes)
    found = arrays.sampled(checkpoint.model, concepts, count, seed)
    if not picture:
        _write(out, found, quiet)
        return
    import torch

    from rgm.report.mosaic import sheet_png
    from rgm.storage.files import write_bytes

    write_bytes(out, sheet_png(torch.from_numpy(found["images"]), count))
    if not quiet:
        rows = len(found["images"]) // count
        print(f"{out}: {rows} {'row' if rows == 1 else 'rows'} of {count} samples")


def complete(
    model: options.Model,
    codes: Annotated[Path, Parameter(help="An .npz file with `z1` and `keep`; or films, for a model of films.")],
    *,
    out: options.ArraysFile,
    concept: Annotated[str | None, Parameter(help="A class by name or number; else the file's own.")] = None,
    mask: Mask = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    quiet: options.Quiet = False,
) -> None:
    """Sample the missing cells of a grid of codes, conditioned on the cells that are kept and on a concept.

    Example: `rgm complete runs/first half.npz --concept 3 --out completed.npz`

    Reads `z1` (N, H, W), `keep` true where a cell is kept, (N, H, W) or (H, W), and, without --concept, `concept` as
    `rgm encode` or `rgm sample` write it; writes `images`, `concept` and `z1`, as `rgm sample` does. A model of films
    takes films and a --mask of visible pixels, and writes `frames`, their hidden pixels drawn given the visible ones.
    """
    if is_film(model):
        complete_film(model, codes, mask, out, seed, device, quiet)
        return
    from rgm.export import arrays

    checkpoint = options.load(model, device, file=out, read=(codes,))
    wanted = None if concept is None else arrays.concepts_named(concept, checkpoint.origin.classes)
    _write(out, arrays.completed(checkpoint.model, codes, wanted, seed), quiet)


def _write(out: Path, content: "Arrays", quiet: bool) -> None:
    """Write arrays, and say what was written."""
    from rgm.export import arrays

    arrays.write(out, content)
    if not quiet:
        shapes = ", ".join(f"{name} {' × '.join(map(str, array.shape))}" for name, array in content.items())
        print(f"{out}: {shapes}")
