"""The verdicts in both directions: a model that has learned, and controls that must fail."""

from dataclasses import replace

import pytest
import torch

from rgm.claims.claim import Claim, decide
from rgm.claims.decisions import control_decisions, decisions
from rgm.claims.threshold import DIGITS
from rgm.data.images import ImageSet, to_unit
from rgm.evaluation import controls
from rgm.evaluation.controls import Memoriser, Shuffled, flat, untrained
from rgm.evaluation.judge import Judge
from rgm.evaluation.measurements import measure
from rgm.model.receptive import Box
from rgm.model.spatial import SpatialRGM


def failed(claim: Claim) -> set[str]:
    return {measure.name for measure in claim.measures if measure.verdict == "not supported"}


@pytest.mark.slow
def test_all_three_claims_hold_for_a_model_that_has_learned(
    learned: SpatialRGM, digits_judge: Judge, digits: ImageSet, test_digits: ImageSet
) -> None:
    claims = [*decisions(measure(learned, digits, test_digits, digits_judge))]
    assert [claim.claim for claim in claims] == ["abstraction", "instantiation", "locality"]
    for claim in claims:
        assert claim.verdict == "supported", (claim.reason, claim.measures)


@pytest.mark.slow
def test_every_control_fails_by_what_it_lacks(
    learned: SpatialRGM, digits_judge: Judge, digits: ImageSet, test_digits: ImageSet
) -> None:
    found = {
        (claim.subject, claim.claim): claim
        for claim in control_decisions(measure(learned, digits, test_digits, digits_judge, seed=1), digits)
    }
    assert {key: claim.verdict for key, claim in found.items()} == dict.fromkeys(
        [
            ("untrained", "abstraction"),
            ("untrained", "instantiation"),
            ("untrained", "locality"),
            ("flat", "locality"),
            ("factorised", "instantiation"),
            ("shuffled", "instantiation"),
            ("memoriser", "instantiation"),
        ],
        "not supported",
    )
    assert {"own_patch_concentration", "patch_plus_2_share", "rank_correlation"} <= failed(found["flat", "locality"])
    concentration = next(m for m in found["flat", "locality"].measures if m.name == "own_patch_concentration")
    assert concentration.found.estimate == pytest.approx(1, abs=1)  # near the patch's share of the area
    assert failed(found["factorised", "instantiation"]) == {"samples_recognised"}
    assert "samples_recognised" in failed(found["shuffled", "instantiation"])
    assert failed(found["memoriser", "instantiation"]) == {"nearest_ratio"}


def test_a_flat_model_paints_everywhere(digits: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it has learned, so that it is not trained here."""
    monkeypatch.setattr(controls, "_trained", lambda model, *_: model.eval())
    some = replace(digits, images=digits.images[:64], labels=None if digits.labels is None else digits.labels[:64])
    model = flat(SpatialRGM.from_preset("standard"), some, seed=0)
    assert model.decoder_field(2, 5) == Box(top=0, bottom=28, left=0, right=28)
    assert model.config.levels[0].grid == (7, 7)
    assert model.latent_dim == 64


def test_an_untrained_control_is_seeded_and_leaves_the_seed_alone(shipped: SpatialRGM) -> None:
    before = torch.get_rng_state()
    one, two = (untrained(shipped, seed=3) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert one.config == shipped.config
    for first, second in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(first, second)


def test_a_memoriser_replays_and_a_shuffler_renames(
    shipped: SpatialRGM, digits: ImageSet, generator: torch.Generator
) -> None:
    known = shipped.infer(to_unit(digits.images)).reconstruction
    replayed = Memoriser(shipped, digits).sample(torch.tensor([3, 7]), 5, generator=generator)
    assert replayed.concept.tolist() == [3] * 5 + [7] * 5
    apart = torch.cdist(replayed.images.flatten(1), known.flatten(1), compute_mode="donot_use_mm_for_euclid_dist")
    assert float(apart.amin(dim=1).max()) < 1e-5
    renamed = Shuffled(shipped).sample(torch.tensor([9, 2]), generator=torch.Generator().manual_seed(5))
    plain = shipped.sample(torch.tensor([0, 3]), generator=torch.Generator().manual_seed(5))
    assert torch.equal(renamed.images, plain.images)
    assert renamed.concept.tolist() == [9, 2]


def test_what_does_not_allow_a_verdict_is_undecided_with_the_reason(
    shipped: SpatialRGM, digits_judge: Judge, digits: ImageSet, test_digits: ImageSet
) -> None:
    assert test_digits.labels is not None
    few = replace(test_digits, images=test_digits.images[:20], labels=test_digits.labels[:20])
    without = test_digits.labels != 3
    missing = replace(test_digits, images=test_digits.images[without], labels=test_digits.labels[without])
    unlabelled = replace(test_digits, labels=None, classes=())
    for data, reason in (
        (few, "at least 50 test images, but there are 20"),
        (missing, "no test image shows 3"),
        (unlabelled, "the claims are about classes"),
    ):
        claims = [*decisions(measure(shipped, digits, data, digits_judge))]
        assert len(claims) == 3
        for claim in claims:
            assert claim.verdict == "undecided"
            assert reason in claim.reason
            assert claim.measures == ()


def test_a_decoder_that_paints_nothing_leaves_locality_undecided_and_no_nan_in_the_record(
    digits_judge: Judge, test_digits: ImageSet
) -> None:
    model = SpatialRGM.from_preset("standard").eval()
    for weights in model.likelihood.parameters():
        torch.nn.init.zeros_(weights)
    some = replace(test_digits, images=test_digits.images[:64], labels=None)
    some = replace(some, labels=torch.arange(64) % 10)
    claim = decide("locality", measure(model, some, some, digits_judge).locality.findings(), DIGITS)
    assert claim.verdict == "not supported"  # no order of distances, no concept to recognise
    undecided = {measure.name for measure in claim.measures if measure.verdict == "undecided"}
    assert undecided >= {"receptive_field_share", "patch_plus_2_share", "own_patch_concentration"}
