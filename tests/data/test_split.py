import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rgm.data.split import content_hash, held_out, stratified


def random_images(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, 1, 6, 6), dtype=torch.uint8, generator=generator)


def test_the_validation_split_follows_the_images_and_not_their_order(generator: torch.Generator) -> None:
    images = random_images(1200)
    order = torch.randperm(1200, generator=generator)
    chosen = held_out(images)
    assert int(chosen.sum()) == 100
    assert torch.equal(held_out(images[order]), chosen[order])


def test_hashes_are_distinct_and_uniform() -> None:
    hashes = content_hash(random_images(5000))
    assert len(hashes.unique()) == 5000
    assert int(hashes.min()) >= 0
    quarters = torch.bincount((hashes // 2**61).clamp(0, 3), minlength=4)
    assert int(quarters.min()) > 1100


def test_one_pixel_makes_another_hash() -> None:
    images = torch.zeros(2, 1, 6, 6, dtype=torch.uint8)
    images[1, 0, 5, 5] = 1
    assert len(content_hash(images).unique()) == 2


@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.integers(0, 100))
@settings(max_examples=50, deadline=None)
def test_parts_divide_every_class(sizes: list[int], seed: int) -> None:
    labels = torch.cat([torch.full((size,), label) for label, size in enumerate(sizes)])
    parts = stratified(labels, (0.7, 0.1, 0.2), seed)
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(len(labels)))
    assert all(torch.equal(part, part.sort().values) for part in parts)
    assert set(labels[parts[0]].tolist()) == set(range(len(sizes)))
    for share, part in ((0.1, parts[1]), (0.2, parts[2])):
        assert abs(len(part) - share * len(labels)) <= max(2, len(labels) / 20)
        for label, size in enumerate(sizes):  # a remainder may be carried over from smaller classes
            assert abs(int((labels[part] == label).sum()) - share * size) <= 1.5 + (size == 1)


@given(st.integers(2, 6), st.integers(30, 200), st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_many_small_classes_are_divided_as_a_whole(size: int, classes: int, seed: int) -> None:
    labels = torch.arange(classes).repeat_interleave(size)
    parts = stratified(labels, (0.7, 0.1, 0.2), seed)
    for part, share in zip(parts, (0.7, 0.1, 0.2), strict=True):
        assert abs(len(part) - share * len(labels)) <= max(2.0, len(labels) / 20)
    assert len(labels[parts[0]].unique()) == classes
