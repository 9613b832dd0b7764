"""Recognition: embeddings that start as patches, a concept read from them, and cells that depend on one another."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rgm.errors import RGMError
from rgm.model.config import preset
from rgm.model.estimator import AutoregressiveHead, CodebookHead, Gumbel, VectorQuantised
from rgm.model.recognition import ConvRecognition, DenseRecognition, PooledRecognition, Recognition


def _recognition(dimension: int = 48) -> Recognition:
    torch.manual_seed(0)
    estimator = VectorQuantised(dimension=dimension)
    config = ConvRecognition(widths=(4, 6), residual=1, patches=True, estimator=estimator)
    return Recognition(config, (3, 8, 12), (5, 2, 3))


def test_embeddings_start_as_the_pixels_of_each_patch() -> None:
    recognition = _recognition()
    assert isinstance(recognition.head, CodebookHead)
    images = torch.rand(2, 3, 8, 12)
    embeddings = recognition.head.project(recognition.features(images))
    patch = images[1, :, 4:8, 8:12]
    torch.testing.assert_close(embeddings[1, :, 1, 2], 2 * (patch.flatten() - 0.5))


def test_the_nearest_entry_is_at_first_that_of_the_least_squared_error() -> None:
    recognition = _recognition()
    assert isinstance(recognition.head, CodebookHead)
    images, patches = torch.rand(4, 3, 8, 12), torch.rand(5, 3, 4, 4)
    with torch.no_grad():
        recognition.head.codebook.copy_(2 * (patches.flatten(1) - 0.5))
    cells = images.unflatten(2, (2, 4)).unflatten(4, (3, 4)).permute(0, 2, 4, 1, 3, 5)[:, :, :, None]
    error = (cells - patches).square().flatten(4).sum(dim=4)
    assert torch.equal(recognition.field(images).logits.argmax(dim=1), error.argmin(dim=3))


def test_the_features_come_to_matter() -> None:
    recognition = _recognition()
    assert isinstance(recognition.head, CodebookHead)
    recognition.head.project(recognition.features(torch.rand(2, 3, 8, 12))).square().sum().backward()
    gradient = recognition.head.project.weight.grad
    assert gradient is not None
    assert bool((gradient[:, :6] != 0).any())


def test_a_code_depends_on_the_pixels_that_the_convolutions_reach() -> None:
    recognition = _recognition()
    images = torch.rand(1, 3, 8, 12, requires_grad=True)
    gradient = torch.autograd.grad(recognition.features(images)[0, :, 0, 0].sum(), images)[0]
    for pixel in gradient[0].abs().sum(dim=0).nonzero().tolist():
        marked = torch.zeros(1, 8, 12, dtype=torch.bool)
        marked[0, *pixel] = True
        assert bool(recognition.unsure(marked)[0, 0, 0])


def test_another_number_of_dimensions_than_of_pixels_is_refused() -> None:
    with pytest.raises(RGMError, match="as many dimensions as a patch has values, 48, but the estimator has 16"):
        _recognition(16)


def _of_a_concept(dimensions: int = 48, patch: int = 4) -> Recognition:
    torch.manual_seed(0)
    config = PooledRecognition(width=6, convolutions=1, halvings=1, patch=patch, estimator=Gumbel())
    return Recognition(config, (dimensions, 3, 5), (7, 1, 1))


def _layers() -> nn.Sequential:
    features = _of_a_concept().features
    assert isinstance(features, nn.Sequential)
    return features


def test_embeddings_are_laid_out_as_the_image_that_they_started_as() -> None:
    image = torch.rand(2, 3, 12, 20)
    laid_out = _layers()[:2](F.pixel_unshuffle(image, 4))
    torch.testing.assert_close(laid_out, F.pixel_unshuffle(image, 2), rtol=0, atol=0)


def test_a_shift_by_half_a_cell_shifts_the_features_at_twice_the_resolution() -> None:
    first = _layers()[:4]
    image = torch.rand(1, 3, 12, 20)
    here, there = (first(F.pixel_unshuffle(part, 4)) for part in (image, image.roll(2, 3)))
    torch.testing.assert_close(there[..., 2:-1], here[..., 1:-2])


def test_a_concept_read_from_patches_depends_on_every_cell() -> None:
    assert bool(_of_a_concept().unsure(torch.eye(3, 5)[None] > 0).all())


@pytest.mark.parametrize(("dimensions", "patch"), [(24, 4), (48, 3)])
def test_embeddings_that_are_no_patches_cannot_be_laid_out(dimensions: int, patch: int) -> None:
    with pytest.raises(RGMError, match=f"embeddings of {dimensions} dimensions .* {patch} × {patch} pixels"):
        _of_a_concept(dimensions, patch)


def _dependent(*, changed: bool = True) -> tuple[Recognition, AutoregressiveHead]:
    torch.manual_seed(0)
    config = ConvRecognition(widths=(32,), autoregressive=True, estimator=Gumbel())
    recognition = Recognition(config, (1, 8, 12), (3, 4, 6))
    assert isinstance(recognition.head, AutoregressiveHead)
    if changed:
        nn.init.normal_(recognition.head.change.weight)
    return recognition, recognition.head


def test_autoregressive_cells_are_independent_at_first() -> None:
    recognition, head = _dependent(changed=False)
    images = torch.rand(2, 1, 8, 12)
    field, _ = recognition.draw(images, torch.Generator().manual_seed(0))
    torch.testing.assert_close(field.logits, head.project(recognition.features(images)))


@torch.no_grad()
def test_a_code_changes_the_logits_of_later_cells_within_two_rows_and_columns() -> None:
    recognition, head = _dependent()
    features = recognition.features(torch.rand(1, 1, 8, 12))
    z = F.one_hot(torch.randint(3, (24,)), 3).float()

    def logits(codes: torch.Tensor) -> torch.Tensor:
        known = iter(codes[:, None])
        return head.walk(features, lambda _: next(known))[0]

    changed = z.clone()
    changed[6 + 2] = z[6 + 2].roll(1)
    moved = (logits(changed) != logits(z))[0].any(dim=0)
    expected = torch.zeros(4, 6, dtype=torch.bool)
    expected[1, 3:5] = True
    expected[2:4, 0:5] = True
    assert torch.equal(moved, expected)


def test_the_codes_of_an_autoregressive_field_are_taken_greedily() -> None:
    recognition, head = _dependent()
    images = torch.rand(2, 1, 8, 12)
    codes = recognition.field(images).mode()
    known = iter(F.one_hot(codes.flatten(1), 3).float().unbind(1))
    logits, _ = head.walk(recognition.features(images), lambda _: next(known))
    assert torch.equal(logits.argmax(dim=1), codes)


def test_a_marked_pixel_makes_all_later_cells_unsure() -> None:
    marked = torch.zeros(1, 8, 12, dtype=torch.bool)
    marked[0, 4, 6] = True
    assert _dependent()[0].unsure(marked)[0].flatten().tolist() == [False] * 8 + [True] * 16


def test_a_codebook_is_of_independent_cells() -> None:
    config = ConvRecognition(widths=(6,), autoregressive=True, estimator=VectorQuantised())
    with pytest.raises(RGMError, match="leave autoregressive out"):
        Recognition(config, (1, 8, 12), (3, 4, 6))
    chosen = preset("likelihood", (1, 28, 28), 10, estimator="vector-quantised").levels[0].recognition
    assert isinstance(chosen, ConvRecognition)
    assert not chosen.autoregressive


def test_gradients_in_bfloat16_do_not_depend_on_what_memory_held_before() -> None:
    config = PooledRecognition(width=64, convolutions=3, halvings=3, estimator=Gumbel())
    recognition = Recognition(config, (8, 3, 2), (5, 1, 1))
    for _ in range(8):
        # What is freed here is what a gradient is written into.
        old = [torch.full((size,), float("nan"), dtype=torch.float) for size in (32, 2048, 64, 4096, 65536, 262144)]
        del old
        with torch.autocast("cpu", torch.bfloat16):
            loss = recognition.field(torch.rand(4, 8, 3, 2)).logits.float().square().sum()
        found = torch.autograd.grad(loss, list(recognition.parameters()))
        assert all(bool(part.isfinite().all()) for part in found)


def test_a_dense_concept_reads_every_cell_through_its_convolutions() -> None:
    config = DenseRecognition(width=5, convolutions=(2, 3), estimator=Gumbel())
    recognition = Recognition(config, (4, 5, 6), (7, 1, 1))
    hidden = recognition.features[5]
    assert isinstance(hidden, nn.Linear)
    assert hidden.in_features == 3 * (5 - 4) * (6 - 4)
    assert recognition.field(torch.rand(2, 4, 5, 6)).logits.shape == (2, 7, 1, 1)
    for row, column in ((0, 0), (4, 5)):
        marked = torch.zeros(1, 5, 6, dtype=torch.bool)
        marked[0, row, column] = True
        assert bool(recognition.unsure(marked))


def test_convolutions_that_leave_no_cell_are_refused() -> None:
    config = DenseRecognition(width=5, convolutions=(2, 3), estimator=Gumbel())
    with pytest.raises(RGMError, match="more than 4 cells a side, but there are 4 × 6"):
        Recognition(config, (4, 4, 6), (7, 1, 1))
