"""A code that another can replace at no cost is relocated to badly quantised embeddings."""

from dataclasses import replace

import pytest
import torch

from rgm.data.images import ImageSet, to_unit
from rgm.errors import RGMError
from rgm.measures import hardly_needed
from rgm.model.config import preset
from rgm.model.estimator import CodebookHead
from rgm.model.spatial import SpatialRGM
from rgm.training.loop import NeuralTrainer, relocate
from rgm.training.recipe import Recipe, Relocation, Stage, Weights


def _model(estimator: str = "vector-quantised") -> SpatialRGM:
    torch.manual_seed(0)
    return SpatialRGM(config=preset("seed", (1, 28, 28), 10, estimator=estimator))


def test_hardly_needed_codes_are_the_cheapest_to_replace_by_their_nearest() -> None:
    grey = torch.tensor([0.0, 0.4, 0.5, 1.0])
    z1 = torch.tensor([0, 0, 1, 1, 1, 2, 2, 2, 3]).reshape(1, 3, 3)

    def decode(codes: torch.Tensor) -> torch.Tensor:
        return grey[codes][:, None]

    def found(below: float, most: int) -> list[int]:
        return hardly_needed(decode, z1, decode(z1) + 0.2, 4, below, most)

    cost = 3 * 0.1**2 / (9 * 0.2**2)  # of code 1, three cells at 0.1 from code 2; the first of equals
    assert found(0.99 * cost, 4) == []
    assert found(1.01 * cost, 4) == [1]
    # Code 2 takes the place of code 1; that of code 3, one cell at 0.5, is code 2; that of code 0 is gone.
    assert found(10.0, 4) == [1, 3]
    assert found(10.0, 1) == [1]


def test_a_duplicate_is_relocated_by_the_next_step(digits: ImageSet) -> None:
    model = _model()
    head = model.recognition(1).head
    assert isinstance(head, CodebookHead)
    with torch.no_grad():
        head.codebook[5] = head.codebook[4]
    images = to_unit(digits.images[:64])
    [given_up] = relocate(model.eval(), images, need=1.0)
    assert head.usage[given_up] == 0
    before = head.codebook.detach().clone()
    model.train().relax(images, torch.Generator().manual_seed(0))
    moved = (head.codebook.detach() != before).any(dim=1)
    assert moved.nonzero().flatten().tolist() == [given_up]
    embeddings = head.project(model.recognition(1).features(images)).movedim(1, -1).flatten(0, 2)
    apart = torch.cdist(head.codebook[given_up][None], embeddings)
    assert float(apart.detach().min()) < 1e-3
    assert head.usage[given_up] == 1


def test_needed_codes_are_not_relocated(digits: ImageSet) -> None:
    model = _model().eval()
    assert relocate(model, to_unit(digits.images[:64]), need=0.0) == []
    head = model.recognition(1).head
    assert isinstance(head, CodebookHead)
    assert bool((head.usage == 1).all())


def test_codes_are_relocated_between_two_shares_of_the_stage(digits: ImageSet) -> None:
    relocation = Relocation(start=0.25, stop=0.75, every=2)
    assert [step for step in range(1, 17) if relocation.due(step, 16)] == [4, 6, 8, 10]
    stage = Stage(name="codes", epochs=1, batch_size=8, relocation=relocation, weights=Weights(usage=0.5, codebook=1.0))
    subset = replace(digits, images=digits.images[:64], labels=None, classes=())
    counted: list[bool] = []
    for estimator in ("vector-quantised", "gumbel"):  # the latter has no codebook
        training = NeuralTrainer(_model(estimator), subset, None, Recipe(stages=(stage,)), seed=0)
        training.run(lambda record: counted.append("usage" in record.terms), lambda *_: None)
    assert counted == [True] * 2 + [False] * 6 + [True] * 8


def test_codes_revived_are_drawn_by_squared_distance() -> None:
    """χ² of sampled embeddings, against their squared distances from the nearest entry."""
    head = _model().recognition(1).head
    assert isinstance(head, CodebookHead)
    with torch.no_grad():
        head.codebook.zero_()
    lengths = torch.tensor([0.0, 1.0, 2.0, 3.0])
    e = torch.zeros(1, head.codebook.shape[1], 2, 2)
    e[0, 0] = lengths.reshape(2, 2)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.cat([head._picked(e, generator)[:, 0] for _ in range(100)]).round().long()
    counts = torch.bincount(drawn, minlength=4).double()
    expected = len(drawn) * lengths.double() ** 2 / float((lengths**2).sum())
    assert counts[0] == 0
    assert float(((counts - expected)[1:] ** 2 / expected[1:]).sum()) < 13.8  # 0.1 % at two degrees of freedom


def test_invalid_shares_are_refused() -> None:
    with pytest.raises(RGMError, match="between two shares"):
        Relocation(start=0.5, stop=0.4)
