"""The one table of measures: everything that is measured is in it, in the unit that it is measured in."""

import pytest
import torch

from rgm.claims.threshold import DIGITS, MNIST
from rgm.data.images import ImageSet
from rgm.evaluation.controls import few_of
from rgm.evaluation.judge import Judge
from rgm.evaluation.locality import images_of_cells
from rgm.evaluation.measurements import SampleSizes, measure
from rgm.evaluation.quantities import QUANTITIES, interval_of, name_of, percent, quantity, value_of
from rgm.evaluation.statistics import Findings, PerImage
from rgm.model.spatial import SpatialRGM


@pytest.fixture(scope="module")
def findings(digits: ImageSet, test_digits: ImageSet, digits_judge: Judge) -> Findings:
    torch.manual_seed(0)
    model, few = SpatialRGM.from_preset("quick").eval(), few_of(test_digits, 150, seed=0)
    found = measure(model, digits, few, digits_judge, sizes=SampleSizes(samples=80, cells=2, concepts=4))
    return found.abstraction.findings() | found.levels.findings() | found.quality.findings() | found.locality.findings()


def test_every_finding_is_in_the_table_with_its_unit(findings: Findings) -> None:
    for name, found in findings.items():
        known = quantity(name)
        assert known is not None, name
        unit = found.unit
        assert known.unit == unit, name
        value = found.value if isinstance(found, PerImage) else found.estimate
        assert value_of(name, value)
        assert name_of(name)


def test_cells_are_changed_in_fewer_images_where_there_are_many_codes() -> None:
    assert [images_of_cells(states) for states in (2, 32, 64, 256, 512)] == [256, 256, 128, 32, 32]
    assert images_of_cells(65_536, 4) == 4


def test_thresholds_are_of_measures_that_are_found(findings: Findings) -> None:
    assert MNIST.keys() == DIGITS.keys() <= findings.keys() & QUANTITIES.keys()


def test_names_carry_level_and_number_of_images() -> None:
    assert name_of("z2_codes_in_use") == "codes in use, z₂"
    assert name_of("frechet_ratio_2000") == "Fréchet distance relative to real images, 2,000 samples"
    assert name_of("something_new") == "something new"
    assert value_of("frechet_ratio_2000", 1.234) == "1.23"
    assert value_of("something_new", 1.23456) == "1.235"
    assert value_of("squared_error", float("nan")) == "–"
    assert interval_of("needed_codes", 31.0, 31.0) == ""
    assert interval_of("concept_accuracy", 0.981, 0.99) == "98.1 % to 99.0 %"


def test_labels_and_meanings_are_sentences_of_their_own() -> None:
    labels = [one.label for one in QUANTITIES.values()]
    assert len(set(labels)) == len(labels)
    for one in QUANTITIES.values():
        assert one.meaning.endswith((".", "guessing."))
        assert one.meaning[0].isupper() or one.meaning[0].isdigit() or one.meaning.startswith("−log")


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "100.0 %"), (0.99996, "99.996 %"), (0.5, "50.0 %"), (0.0, "0.0 %"), (0.0004, "0.04 %")]
)
def test_a_share_that_is_not_quite_all_or_nothing_does_not_read_so(value: float, text: str) -> None:
    assert percent(value) == text
