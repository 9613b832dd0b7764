from dataclasses import replace

import pytest
import torch
from scipy.stats import spearmanr

from rgm.data.images import ImageSet, to_unit
from rgm.evaluation.judge import Judge
from rgm.evaluation.locality import locality
from rgm.model.config import seed
from rgm.model.spatial import SpatialRGM


def test_shares_are_those_of_a_plain_loop(model: SpatialRGM, few: ImageSet, judge: Judge) -> None:
    two = replace(few, images=few.images[:2], labels=few.labels[:2] if few.labels is not None else None)
    result = locality(model, two, judge)
    z1 = model.infer(to_unit(two.images)).z1
    own = near = total = 0.0
    atlas = torch.zeros(7, 7, 28, 28)
    moved, centres = [], []
    for row in range(7):
        for column in range(7):
            codes = z1.repeat(31, 1, 1)
            new = torch.arange(1, 32).repeat_interleave(2)
            codes[:, row, column] = (codes[:, row, column] + new) % 32
            change = model.decode(codes) - model.decode(z1).repeat(31, 1, 1, 1)
            squared = change.square()[:, 0]
            box, grown = model.patch(row, column), model.patch(row, column).grown(2, (28, 28))
            own += float(squared[:, box.top : box.bottom, box.left : box.right].double().sum())
            near += float(squared[:, grown.top : grown.bottom, grown.left : grown.right].double().sum())
            total += float(squared.double().sum())
            atlas[row, column] = squared.mean(0)
            moved.append(float((change.abs() > 0.05).float().mean()))
            summed = squared.double().unflatten(0, (31, 2)).sum(0)
            y, x = torch.meshgrid(torch.arange(28.0) + 0.5, torch.arange(28.0) + 0.5, indexing="ij")
            mass = summed.sum((1, 2))
            centres.append(torch.stack([(summed * y).sum((1, 2)) / mass, (summed * x).sum((1, 2)) / mass], 1))
    measures = result.measures()
    torch.testing.assert_close(measures["own_patch_share"], own / total, atol=1e-5, rtol=0)
    torch.testing.assert_close(measures["patch_plus_2_share"], near / total, atol=1e-5, rtol=0)
    torch.testing.assert_close(measures["local_extent"], sum(moved) / 49, atol=1e-5, rtol=0)
    torch.testing.assert_close(result.atlas, atlas, atol=1e-6, rtol=1e-4)
    cells = torch.tensor([[4 * row + 2.0, 4 * column + 2.0] for row in range(7) for column in range(7)])
    found = torch.stack(centres, 1)  # (2, 49, 2)
    away = (found - cells).norm(dim=2).mean(1)
    torch.testing.assert_close(result.displacement_px, away, atol=1e-4, rtol=0)
    for image in range(2):
        expected = spearmanr(torch.pdist(cells.double()), torch.pdist(found[image])).statistic
        assert float(result.rank_correlation[image]) == pytest.approx(expected, abs=1e-3)


def test_nothing_leaves_the_receptive_field(model: SpatialRGM, few: ImageSet) -> None:
    result = locality(model, few, None, count=8)
    assert float(result.field_change.sum()) == float(result.total_change.sum())
    for row in range(7):
        for column in range(7):
            outside = result.atlas[row, column].clone()
            box = model.decoder_field(row, column)
            outside[box.top : box.bottom, box.left : box.right] = 0
            assert float(outside.abs().max()) == 0


def test_what_leaks_is_seen(model: SpatialRGM, few: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fields that are claimed to be smaller than they are: what lies outside must show, above and below."""

    honest = locality(model, few, None, count=16)
    assert honest.encoded_locally.tolist() == [1.0] * 16
    monkeypatch.setattr(SpatialRGM, "decoder_field", SpatialRGM.patch)
    monkeypatch.setattr(SpatialRGM, "encoder_field", SpatialRGM.patch)
    result = locality(model, few, None, count=16)
    assert result.measures()["recognition_field_share"] < 0.99
    assert result.decoder_area == result.encoder_area == pytest.approx(1 / 49)
    torch.testing.assert_close(result.field_change, honest.own_change)
    # One code in 31 is looked at in full: what leaks is estimated from it.
    expected = float(honest.own_change.sum() / honest.total_change.sum())
    assert result.measures()["receptive_field_share"] == pytest.approx(expected, abs=0.1)
    assert result.measures()["receptive_field_share"] < 0.95


def test_more_images_may_have_their_concept_changed_than_their_cells(
    model: SpatialRGM, few: ImageSet, judge: Judge
) -> None:
    result = locality(model, few, judge, count=2, concepts=20)
    assert result.recognised_as_new is not None
    assert (len(result.global_extent), len(result.recognised_as_new)) == (2, 20)


def test_the_aligned_map_moves_every_patch_to_one_place(model: SpatialRGM, few: ImageSet) -> None:
    result = locality(model, few, None, count=4)
    top, left = result.origin
    assert result.aligned.shape == (28 + 6 * 4, 28 + 6 * 4)
    peak = result.aligned.flatten().argmax()
    row, column = int(peak) // 52, int(peak) % 52
    assert top - 4 <= row < top + 8
    assert left - 4 <= column < left + 8
    # A map that every cell contributes to: the patch itself.
    patches = [result.atlas[r, c, 4 * r : 4 * r + 4, 4 * c : 4 * c + 4] for r in range(7) for c in range(7)]
    expected = torch.stack(patches).mean(0)
    torch.testing.assert_close(result.aligned[top : top + 4, left : left + 4], expected, atol=1e-6, rtol=1e-4)


def test_the_example_changes_the_cell_and_code_that_show_most_and_the_concept(
    model: SpatialRGM, few: ImageSet, judge: Judge
) -> None:
    result = locality(model, few, judge, count=4, seed=2)
    example = result.example
    cells = [(row, column) for row in range(7) for column in range(7)]
    patches = [example.original[0, 4 * r : 4 * r + 4, 4 * c : 4 * c + 4] for r, c in cells]
    assert example.cell == cells[int(torch.stack(patches).var(dim=(1, 2)).argmax())]
    row, column = example.cell
    codes = model.infer(to_unit(few.images[:1])).z1.repeat(32, 1, 1)
    assert int(codes[0, row, column]) == example.before
    codes[:, row, column] = torch.arange(32)
    change = (model.decode(codes) - example.original)[:, 0, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
    assert example.after == int(change.square().sum(dim=(1, 2)).argmax()) != example.before
    assert example.new_concept == (example.old_concept + 1) % 10
    # The two images were decoded in batches of different sizes, whose sums round differently.
    changed = (example.local - example.original).abs()[0] > 1e-5
    rows, columns = changed.nonzero(as_tuple=True)
    field = example.field
    assert field.top <= int(rows.min()) <= int(rows.max()) < field.bottom
    assert field.left <= int(columns.min()) <= int(columns.max()) < field.right
    assert set(result.measures()) >= {"global_extent", "changed_concept_recognised"}


@pytest.mark.parametrize("states", [2, 5])
def test_the_example_has_another_code_even_where_none_shows(few: ImageSet, states: int) -> None:
    model = SpatialRGM(config=seed((1, 28, 28), 10, states=states)).eval()
    for weights in model.likelihood.parameters():
        torch.nn.init.zeros_(weights)
    example = locality(model, few, None, count=2).example
    assert example.cell == (0, 0)
    assert example.after == (0 if example.before else 1)


def test_changes_that_all_lie_in_one_place_have_no_order(few: ImageSet) -> None:
    model = SpatialRGM.from_preset("standard").eval()
    for weights in model.likelihood.parameters():
        torch.nn.init.zeros_(weights)
    result = locality(model, few, None, count=2)
    assert result.rank_correlation.tolist() == [0.0, 0.0]
    assert torch.isfinite(result.displacement_px).all()
