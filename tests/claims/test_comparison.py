import json

import pytest
import torch

from rgm.claims.claim import Claim, Finding, Measure
from rgm.claims.comparison import compare
from rgm.claims.threshold import above
from rgm.evaluation.statistics import Estimate, PerImage


def claims(right: torch.Tensor, recall: float, *, extra: bool = False) -> list[Claim]:
    share = Finding.of("concept_accuracy", PerImage.mean(right, "share"))
    measure = Measure(name=share.name, found=share.found, images=share.images, threshold=above(0.5))
    drawn = Estimate(estimate=recall, low=recall - 0.03, high=recall + 0.03, unit="ratio")
    context = (Finding.of("perplexity", drawn),) if extra else ()
    return [
        Claim(claim="abstraction", subject="model", measures=(measure,), context=context),
        Claim(
            claim="instantiation",
            subject="model",
            measures=(Measure(name="recall_ratio", found=drawn, threshold=above(0.6)),),
        ),
    ]


def test_models_pair_on_images_and_not_on_draws(generator: torch.Generator) -> None:
    first = torch.rand(500, generator=generator) < 0.8
    second = first.clone()
    second[:10] = ~first[:10]
    found = compare("mnist", {"a": claims(first, 0.8), "b": claims(second, 0.9, extra=True)})
    assert found.models == ("a", "b")
    accuracy, perplexity, recall = found.lines
    assert (accuracy.name, accuracy.claim, accuracy.decides) == ("concept_accuracy", "abstraction", True)
    assert accuracy.differences[0] is None
    paired = accuracy.differences[1]
    assert paired is not None
    assert paired.paired
    assert paired.found.estimate == pytest.approx(float(second.double().mean() - first.double().mean()))
    assert paired.found.high - paired.found.low < 0.03  # ten images differ; unpaired it would be 0.1
    assert not perplexity.decides
    assert (perplexity.found[0], perplexity.differences[1]) == (None, None)
    drawn = recall.differences[1]
    assert drawn is not None
    assert not drawn.paired
    assert drawn.clear
    assert drawn.found.estimate == pytest.approx(0.1)


def test_the_record_holds_every_model_and_difference(generator: torch.Generator) -> None:
    right = torch.rand(100, generator=generator) < 0.9
    kept = json.loads(json.dumps(compare("mnist", {"a": claims(right, 0.8), "b": claims(right, 0.81)}).record()))
    assert kept["models"] == ["a", "b"]
    assert kept["verdicts"][0] == {"abstraction": "supported", "instantiation": "supported"}
    first, second = kept["measures"]
    assert first["differences"][0] is None
    assert (first["differences"][1]["estimate"], first["differences"][1]["paired"]) == (0.0, True)
    assert second["differences"][1]["clear"] is False
