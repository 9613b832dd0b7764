"""The command that prepares data: `cache`."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from rgm.cli import options
from rgm.cli.terminal import progress


def cache(
    data: Annotated[str, Parameter(help="A folder of images, or of tar shards (webdataset).")],
    *,
    out: Annotated[Path, Parameter(help="Folder to write; every --data then takes it.")],
    size: Annotated[int | None, Parameter(help="Resize images to this many pixels a side.")] = None,
    channels: Annotated[Literal[1, 3] | None, Parameter(help="1 for greyscale, 3 for colour.")] = None,
    skip_damaged: Annotated[bool, Parameter(help="Skip damaged images with a warning.", negative="")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Decode images once into files that are read as they are needed, for sets larger than memory.

    Example: `rgm cache shards --out cached --size 64`, then `rgm train --data cached --preset colour64`

    After an interruption, the same command continues where it stopped.
    """
    from rgm.data.load import cache_images

    with progress(quiet) as watch:
        cache_images(Path(data), out, size=size, channels=channels, skip_damaged=skip_damaged, watch=watch)
    if not quiet:
        print(f"Cache: {out}")
