import pytest
import torch

from rgm.model.estimator import AutoregressiveHead
from rgm.model.receptive import Box
from rgm.model.spatial import SpatialRGM
from rgm.presets import NETWORKS


def changed_box(change: torch.Tensor) -> Box:
    rows = change.amax(1).nonzero().flatten()
    columns = change.amax(0).nonzero().flatten()
    return Box(top=int(rows[0]), bottom=int(rows[-1]) + 1, left=int(columns[0]), right=int(columns[-1]) + 1)


def positive(model: SpatialRGM) -> SpatialRGM:
    """Make every weight positive, so that no path through the network cancels or is cut by a ReLU."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_().clamp_min_(1e-3)
    return model.double()


@pytest.mark.parametrize("cell", [(0, 0), (3, 3), (6, 2)])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_decoder_field_is_exact(name: str, cell: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model = positive(SpatialRGM.from_preset(name, image=(1, 32, 32)))
    z = torch.rand(1, *model.recognition(1).readout, dtype=torch.float64)
    moved = z.clone()
    moved[0, :, cell[0], cell[1]] += 1.0
    change = (model.likelihood.net(moved) - model.likelihood.net(z)).abs()[0, 0].detach()
    assert changed_box(change) == model.decoder_field(*cell)


@pytest.mark.parametrize("cell", [(0, 0), (3, 3), (6, 2)])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_encoder_field_is_exact(name: str, cell: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model = positive(SpatialRGM.from_preset(name, image=(1, 32, 32)))
    image = torch.rand(1, 1, 32, 32, dtype=torch.float64, requires_grad=True)
    recognition = model.recognition(1)
    found = recognition.features(image)
    if isinstance(recognition.head, AutoregressiveHead):
        found, _ = recognition.head.walk(found, torch.relu)
    (gradient,) = torch.autograd.grad(found[0, :, cell[0], cell[1]].sum(), image)
    assert changed_box(gradient[0, 0]) == model.encoder_field(*cell)


@pytest.mark.parametrize("cell", [(0, 0), (3, 3), (6, 2)])
@pytest.mark.parametrize("name", NETWORKS)
def test_decoding_a_field_needs_only_the_cells_that_reach_it(name: str, cell: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model = SpatialRGM.from_preset(name, image=(1, 32, 32)).double()
    field = model.decoder_field(*cell)
    cells = model.cells_that_reach(field)
    z = torch.rand(1, *model.recognition(1).readout, dtype=torch.float64)
    full = model.likelihood.net(z)[..., *field.slices]
    corner = model.patch(cells.top, cells.left)
    alone = model.likelihood.net(z[..., *cells.slices])
    rows, columns = field.bottom - field.top, field.right - field.left
    top, left = field.top - corner.top, field.left - corner.left
    torch.testing.assert_close(alone[..., top : top + rows, left : left + columns], full)


def test_the_part_of_a_box_in_another() -> None:
    outer = Box(top=2, bottom=10, left=3, right=9)
    assert Box(top=4, bottom=6, left=0, right=5).inside(outer) == Box(top=2, bottom=4, left=0, right=2)
    assert Box(top=20, bottom=22, left=4, right=5).inside(outer).area == 0
    assert outer.area == 48


def test_the_notebooks_field_is_ten_pixels_wide() -> None:
    assert SpatialRGM().decoder_field(3, 3) == Box(top=9, bottom=19, left=9, right=19)


def test_patches_tile_the_image_and_grow_within_it() -> None:
    model = SpatialRGM()
    assert model.patch(3, 3) == Box(top=12, bottom=16, left=12, right=16)
    assert model.patch(0, 6).grown(2, (28, 28)) == Box(top=0, bottom=6, left=22, right=28)
