"""What exact evidence is worth: against scikit-learn, by hand, and on a model that cannot know."""

import math
from dataclasses import replace

import pytest
import torch
from sklearn.metrics import roc_auc_score

from rgm.counting.learning import EMRecipe
from rgm.counting.model import CountingRGM
from rgm.data.images import to_unit
from rgm.data.letters import LETTERS, letters
from rgm.data.load import load_data
from rgm.errors import RGMError
from rgm.evaluation.exactness import auroc, exactness
from rgm.report.figures import experiment_figures
from rgm.training.fit import fit


@pytest.fixture(scope="module")
def counted():
    train = load_data("digits", "train")
    model = CountingRGM.from_preset("counting", images=len(train))
    found = fit(
        model, train.images, train.labels, recipe=EMRecipe(state_passes=4, passes=0), seed=0, device="cpu"
    ).model
    assert isinstance(found, CountingRGM)
    return found


@pytest.fixture(scope="module")
def found(counted):
    test = load_data("digits", "test")
    return exactness(counted, None, test, {"letters": letters(200, test.shape)}, seed=0)


def test_auroc_is_that_of_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    usual, strange = (torch.randint(0, 9, (count,), generator=generator).double() for count in (300, 200))
    strange += 1
    mine = auroc(usual, strange)
    said = roc_auc_score([0] * 300 + [1] * 200, torch.cat([usual, strange]).numpy())
    assert mine.estimate == pytest.approx(said, abs=1e-12)
    assert mine.low < mine.estimate < mine.high


def test_aurocs_interval_covers_the_truth():
    covered = 0
    for seed in range(200):
        generator = torch.Generator().manual_seed(seed)
        usual, strange = (torch.randn(count, generator=generator).double() for count in (60, 40))
        one = auroc(usual, strange + 1)
        truth = 0.5 * (1 + math.erf(0.5))  # Φ(1/√2)
        covered += one.low <= truth <= one.high
    assert 180 <= covered <= 199


def test_the_numbers_are_those_of_the_model(counted, found):
    test = load_data("digits", "test")
    evidence = counted.log_evidence(to_unit(test.images), likelihood=False)
    right = evidence.argmax(dim=1) == test.labels
    numbers = found.measures()
    assert numbers["answered_right"] == pytest.approx(float(right.double().mean()))
    assert numbers["answered_right"] > 0.95
    assert numbers["selective_accuracy_50"] >= numbers["answered_right"]
    assert "bits_per_dimension" not in numbers  # the model observes black and white, not the file's grey values
    assert 0.5 < numbers["letters_separated"] < 1
    assert numbers["planted_cell_found"] > 3 / 49
    for one in found.estimates().values():
        assert one.low <= one.estimate <= one.high


def test_completions_keep_what_is_seen(found):
    quadrants = found.completion
    seen = quadrants.visible[:, None, None].expand_as(quadrants.completed)
    assert torch.equal(quadrants.completed[seen], quadrants.images[:, None].expand_as(quadrants.completed)[seen])
    assert (~quadrants.visible).flatten(1).sum(dim=1).tolist() == [196] * len(quadrants.images)


def test_replaced_cells_are_where_they_are_said_to_be(found):
    test = load_data("digits", "test")
    originals = {image.numpy().tobytes() for image in to_unit(test.images)}
    for image, (row, column) in zip(found.surprise.images, found.surprise.replaced, strict=True):
        assert image.numpy().tobytes() not in originals
        assert 0 <= row < 7
        assert 0 <= column < 7


def test_a_model_that_learned_nothing_finds_no_foreign_cell():
    test = load_data("digits", "test")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        blank = CountingRGM.from_preset("counting", images=1000)
    nothing = exactness(blank, None, test, {}, seed=0).measures()
    assert nothing["planted_cell_found"] < 0.2
    assert nothing["answered_right"] < 0.3


def test_every_figure_is_drawn(found):
    assert set(experiment_figures(found)) == {
        "exactness",
        "exactness-surprise",
        "exactness-selective",
        "exactness-completion",
    }


def test_few_images_and_many_other_kinds_are_drawn_too(counted):
    test = load_data("digits", "test")
    few = replace(test, images=test.images[:7], labels=test.labels[:7])
    others = {name: letters(5, test.shape) for name in ("letters", "mnist", "fashion-mnist", "kmnist")}
    found = exactness(counted, None, few, others, seed=0)
    figure = experiment_figures(found)["exactness"]
    assert len(figure.axes[0].get_legend().get_texts()) == 5
    assert len(experiment_figures(found)) == 4


def test_it_needs_labels(counted):
    test = replace(load_data("digits", "test"), labels=None, classes=())
    with pytest.raises(RGMError, match="labels"):
        exactness(counted, None, test, {})


def test_letters_are_prepared_as_digits_are():
    images = to_unit(letters(60, (1, 28, 28), seed=1))
    assert images.shape == (60, 1, 28, 28)
    assert torch.equal(to_unit(letters(60, (1, 28, 28), seed=1)), images)
    mass = images.sum(dim=(1, 2, 3))
    places = torch.arange(28.0)
    for axis in (2, 3):
        centre = (images.sum(dim=5 - axis)[:, 0] * places).sum(dim=1) / mass
        assert (centre - 13.5).abs().max() < 2.5
    assert not set(LETTERS) & set("OoIlSsZzBbgq")
    assert letters(3, (3, 32, 32)).shape == (3, 3, 32, 32)
