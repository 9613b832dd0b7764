"""Ranked pixels and patches, against brute force on small and embedded images."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rgm.counting import ranked as module
from rgm.counting.ranked import RankedPatches, rank
from rgm.data.images import ImageSet
from rgm.errors import RGMError


@pytest.fixture(scope="module")
def images(digits: ImageSet) -> Tensor:
    return digits.images[:400].float() / 255


@pytest.fixture(scope="module")
def patches(images: Tensor) -> RankedPatches:
    return RankedPatches(tuple(images.shape[1:])).fit(images)


def expected_values(patches: RankedPatches, symbols: Tensor) -> Tensor:
    values = patches.values.expand(len(symbols), -1, -1, -1, -1)
    return values.gather(4, symbols[..., None])[..., 0]


def curve(i: int) -> float:
    return 255 * math.exp(-((i - 1024) ** 2) / (24 * 1024))


def test_ranks_of_a_ramp() -> None:
    ramp = torch.linspace(0, 1, 1024).view(1, 1, 32, 32)
    ranked = rank(ramp)[0]
    for row, column in ((0, 0), (10, 10), (20, 7), (31, 31)):
        assert ranked[row, column] == pytest.approx(curve(32 * row + column + 1), rel=1e-5)
    flipped = rank(ramp.flip(2, 3))[0]
    assert torch.equal(flipped, ranked.flip(0, 1))


@pytest.mark.parametrize("grey", [0.0, 77 / 255, 0.5, 1.0])
@pytest.mark.parametrize("size", [(28, 28), (32, 32), (40, 20)])
def test_ties_are_broken_by_pixel_order(grey: float, size: tuple[int, int]) -> None:
    ranked = rank(torch.full((2, 3, *size), grey)).flatten(1)
    assert ranked[0].tolist() == pytest.approx([curve(i) for i in range(1, 1025)], rel=1e-5)
    assert torch.equal(ranked[0], ranked[1])


def test_a_dot_is_brightest_where_it_is() -> None:
    image = torch.zeros(1, 1, 32, 32)
    image[0, 0, 9, 20] = 1
    ranked = rank(image)[0]
    assert ranked[9, 20] == 255
    second = ranked[9, 21], ranked[9, 19], ranked[8, 20], ranked[10, 20]
    assert sorted(map(float, second)) == pytest.approx([curve(i) for i in range(1020, 1024)])
    blurred = [ranked[9 + down, 20 + across] for down in range(-2, 3) for across in range(-2, 3)]
    assert min(blurred) > ranked[:, :16].max()  # black ranks below all blurred pixels


def test_the_histogram_is_fixed_and_batches_do_not_matter(images: Tensor) -> None:
    ranked = rank(images)
    fixed = ranked.flatten(1).sort(dim=1).values
    assert torch.equal(fixed, fixed[:1].expand_as(fixed))
    assert torch.equal(ranked[300:302], rank(images[300:302]))


def test_weights_sum_to_one() -> None:
    patches = RankedPatches((1, 28, 28))
    side = 32 + 2 * module.MARGIN
    total = F.fold(patches.weights.T[None], (side, side), module.WINDOW, stride=module.STRIDE)[0, 0]
    assert total.sum() == pytest.approx(1024, rel=1e-6)
    inside = total[module.MARGIN :, module.MARGIN :][:32, :32]
    torch.testing.assert_close(inside, torch.ones(32, 32))


def test_weights_fall_with_the_distance_from_the_tile() -> None:
    weights = RankedPatches((1, 28, 28)).weights.view(8, 8, 16, 16)
    centres = [4 * tile + 2 for tile in range(8)]

    def bump(pixel: tuple[int, int], row: int, column: int) -> float:
        squared = (pixel[0] + 0.5 - centres[row]) ** 2 + (pixel[1] + 0.5 - centres[column]) ** 2
        return math.exp(-squared / 8) if squared <= 64 else 0.0

    for pixel, tile in (((8, 8), (1, 2)), ((0, 0), (0, 0)), ((0, 9), (1, 2)), ((31, 20), (6, 4))):
        total = sum(bump(pixel, row, column) for row in range(8) for column in range(8))
        down, across = (pixel[axis] - centres[tile[axis]] + 8 for axis in (0, 1))
        assert float(weights[(*tile, down, across)]) == pytest.approx(bump(pixel, *tile) / total, rel=1e-5)
    assert weights[4, 4, 0, 0] == 0
    assert not weights[0, :, :6].any()


def test_vectors_are_orthonormal_and_their_sign_is_definite(patches: RankedPatches) -> None:
    for basis, exists in zip(patches.basis.flatten(0, 1), patches.exists.flatten(0, 1), strict=True):
        kept = int(exists.sum())
        assert torch.equal(exists, torch.arange(16) < kept)
        torch.testing.assert_close(basis[:kept] @ basis[:kept].T, torch.eye(kept), atol=2e-6, rtol=0)
        assert not basis[kept:].any()
        assert bool((basis[:kept].amax(dim=1) == basis[:kept].abs().amax(dim=1)).all())
    assert 16 <= patches.exists.sum() <= 1024


def test_vectors_are_the_singular_vectors_of_weighted_pixels(patches: RankedPatches, images: Tensor) -> None:
    tile = (3, 5)
    weights = patches.weights[8 * tile[0] + tile[1]].double()
    padded = F.pad(rank(images), (6, 6, 6, 6))
    windows = padded[:, 4 * tile[0] :, 4 * tile[1] :][:, :16, :16].flatten(1).double() * weights
    _, singular, vectors = torch.linalg.svd(windows, full_matrices=False)
    spectrum = singular.square()
    kept = min(16, int((spectrum * int((weights > 0).sum()) / spectrum.sum() > 1 / 24).sum()))
    assert kept == int(patches.exists[tile].sum())
    overlap = (vectors[:kept].float() * patches.basis[tile][:kept]).sum(dim=1).abs()
    torch.testing.assert_close(overlap, torch.ones(kept), atol=1e-4, rtol=0)
    variates = patches.project(rank(images))[(slice(None), *tile)]
    torch.testing.assert_close(variates, windows.float() @ patches.basis[tile].T, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(patches.largest[tile], variates.abs().amax(dim=0))


def test_symbols_are_the_nearest_levels(patches: RankedPatches, images: Tensor) -> None:
    batch = images[-20:].flip(3)  # new images: some variates lie beyond the outermost levels
    symbols = patches(batch)
    assert symbols.shape == (20, 8, 8, 16)
    assert 0 <= int(symbols.min()) < int(symbols.max()) <= 6
    distance = (patches.project(rank(batch))[..., None] - patches.values).abs()
    chosen = distance.gather(4, symbols[..., None])[..., 0]
    slack = 1e-5 * patches.largest
    assert bool((chosen <= distance.amin(dim=4) + slack).all())
    assert bool((symbols[:, ~patches.exists] == 3).all())


def test_levels_span_the_fitting_images(patches: RankedPatches) -> None:
    torch.testing.assert_close(patches.values[..., 6], patches.largest)
    torch.testing.assert_close(patches.values, -patches.values.flip(3))


def test_exact_variates_reconstruct_the_ranked_image(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = torch.rand(5, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(module, "THRESHOLD", 1e-9)
    patches = RankedPatches((1, 32, 32)).fit(pictures)  # five modes per tile span five images
    whole = rank(pictures)
    torch.testing.assert_close(patches.assemble(patches.project(whole)), whole, atol=1e-2, rtol=0)


def test_modes_are_selected_by_the_spectrum(patches: RankedPatches, images: Tensor) -> None:
    ranked = rank(images)
    exact = (patches.assemble(patches.project(ranked)) - ranked).square().mean().sqrt()
    cut = (patches.assemble(expected_values(patches, patches(images))) - ranked).square().mean().sqrt()
    assert exact < cut < 0.25 * ranked.square().mean().sqrt()


def test_decoded_images_resemble_the_images(patches: RankedPatches, images: Tensor) -> None:
    decoded = patches.decode(expected_values(patches, patches(images)))
    assert decoded.shape == images.shape
    assert 0 <= float(decoded.min()) <= float(decoded.max()) <= 1
    spread = (images - images.mean(dim=0)).square().mean()
    assert (decoded - images).square().mean() < 0.5 * spread


def test_a_monotone_table_inverts_the_ranks(patches: RankedPatches) -> None:
    assert bool((patches.greys.diff() >= 0).all())
    ranked = torch.tensor([curve(i) for i in range(1, 1025)]).view(1, 32, 32)
    exact = RankedPatches((3, 32, 32))
    exact.greys.copy_(torch.linspace(0, 1, 1024))
    exact.assemble = lambda _: ranked  # type: ignore[method-assign]
    decoded = exact.decode(torch.zeros(1, 8, 8, 16))
    torch.testing.assert_close(decoded[0, 1].flatten(), exact.greys, atol=1e-4, rtol=0)
    assert torch.equal(decoded[:, 0], decoded[:, 2])


@pytest.mark.parametrize("grey", [0.0, 0.3, 1.0])
def test_constant_images_are_sane(grey: float) -> None:
    pictures = torch.full((3, 1, 28, 28), grey)
    patches = RankedPatches((1, 28, 28)).fit(pictures)
    symbols = patches(pictures)
    decoded = patches.decode(expected_values(patches, symbols))
    assert all(buffer.isfinite().all() for buffer in patches.buffers())
    torch.testing.assert_close(decoded, pictures, atol=1e-4, rtol=0)
    assert patches(torch.rand(2, 1, 28, 28)).max() <= 6


def test_unfitted_patches_have_no_variates(images: Tensor) -> None:
    patches = RankedPatches(tuple(images.shape[1:]))
    assert not patches.exists.any()
    assert not any(buffer.any() for buffer in patches.state_dict().values())
    assert bool((patches(images[:2]) == 3).all())
    assert not patches.decode(torch.zeros(2, 8, 8, 16)).any()


def test_state_dict_round_trip(patches: RankedPatches, images: Tensor) -> None:
    other = RankedPatches(patches.image)
    other.load_state_dict(patches.state_dict())
    assert set(patches.state_dict()) == {"basis", "largest", "greys"}
    assert {buffer.dtype for buffer in patches.state_dict().values()} == {torch.float32}
    symbols = patches(images[:50])
    assert torch.equal(other(images[:50]), symbols)
    expected = expected_values(patches, symbols)
    assert torch.equal(other.decode(expected), patches.decode(expected))


@pytest.mark.parametrize("size", [(28, 28), (32, 32), (20, 48), (64, 40)])
def test_a_field_contains_all_pixels_of_a_tile(size: tuple[int, int]) -> None:
    patches = RankedPatches((1, *size))
    window = torch.ones(8, 8, 1, 256) * (patches.weights.view(8, 8, 1, 256) > 0)
    patches.basis[:, :, :1] = window
    patches.greys.copy_(torch.linspace(0, 1, 1024))
    noise = torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(0))
    for row, column in ((0, 0), (3, 4), (7, 2)):
        box = patches.field(row, column)
        top, bottom, left, right = box.top, box.bottom, box.left, box.right
        assert 0 <= top < bottom <= size[0]
        assert 0 <= left < right <= size[1]
        expected = torch.zeros(1, 8, 8, 16)
        expected[0, row, column, 0] = 200
        decoded = patches.decode(expected)[0, 0]
        assert decoded[top:bottom, left:right].any()
        decoded[top:bottom, left:right] = 0
        assert not decoded.any()

        held = noise.clone().requires_grad_()
        grey = module._blur(module._grey(held))
        window = F.unfold(F.pad(grey[:, None], (6, 6, 6, 6)), 16, stride=4)[0, :, 8 * row + column]
        window.dot(patches.weights[8 * row + column]).backward()
        gradient = held.grad[0, 0]
        gradient[top:bottom, left:right] = 0
        assert not gradient.any()


def test_errors() -> None:
    patches = RankedPatches((1, 28, 28))
    with pytest.raises(RGMError, match="1 × 28 × 28, but got 3 × 28 × 28"):
        patches(torch.zeros(2, 3, 28, 28))
    with pytest.raises(RGMError, match="at least one image"):
        patches.fit(torch.zeros(0, 1, 28, 28))
