import torch

from rgm.data.jitter import affine, jitter, random_affine


def test_no_pose_is_the_image_itself(generator: torch.Generator) -> None:
    images = torch.rand(3, 1, 28, 28, generator=generator)
    torch.testing.assert_close(affine(images, torch.zeros(3, 4)), images)


def test_a_shift_of_one_is_eight_percent_of_the_side(generator: torch.Generator) -> None:
    images = torch.rand(2, 1, 25, 25, generator=generator)  # 8 % of 25 pixels is 2
    moved = affine(images, torch.tensor([[0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]))
    torch.testing.assert_close(moved[0, 0, :, :-2], images[0, 0, :, 2:])
    torch.testing.assert_close(moved[1, 0, :-2], images[1, 0, 2:])


def test_a_pose_and_its_opposite_turn_about_as_far(generator: torch.Generator) -> None:
    column = torch.zeros(1, 1, 29, 29)
    column[..., 14] = 1.0
    for sign in (1.0, -1.0):
        turned = affine(column, torch.tensor([[sign, 0.0, 0.0, 0.0]]))[0, 0]
        top, bottom = (float((row * torch.arange(29.0)).sum() / row.sum()) for row in (turned[4], turned[24]))
        slope = (bottom - top) / 20
        assert abs(slope - sign * torch.tan(torch.deg2rad(torch.tensor(12.0)))) < 0.02
    poses = random_affine(1000, generator, torch.device("cpu"))
    assert poses.shape == (1000, 4)
    assert poses.abs().max() <= 1
    assert poses.mean(dim=0).abs().max() < 0.1


def test_jitter_is_a_random_pose(generator: torch.Generator) -> None:
    images = torch.rand(4, 1, 28, 28, generator=generator)
    once = jitter(images, torch.Generator().manual_seed(3), strength=0.5)
    again = affine(images, 0.5 * random_affine(4, torch.Generator().manual_seed(3), torch.device("cpu")))
    assert torch.equal(once, again)


def test_what_comes_into_view_is_black_in_grey_images_and_the_edge_in_colour() -> None:
    to_the_right = torch.tensor([[0.0, 0.0, 1.0, 0.0]])
    assert affine(torch.ones(1, 1, 25, 25), to_the_right)[0, 0, 12].min() == 0.0
    torch.testing.assert_close(affine(torch.ones(1, 3, 25, 25), to_the_right), torch.ones(1, 3, 25, 25))
