from pathlib import Path

import torch

from rgm.claims.claim import Claim, Finding, Measure
from rgm.claims.comparison import Comparison, compare
from rgm.claims.threshold import above
from rgm.evaluation.statistics import Estimate, PerImage
from rgm.report.page import write_comparison


def made(*shares: float, undecided: str = "") -> Comparison:
    models = {}
    for number, share in enumerate(shares):
        right = torch.arange(1000) < 1000 * share
        accuracy = Finding.of("concept_accuracy", PerImage.mean(right, "share"))
        drawn = Estimate(estimate=0.9 * share, low=0.8 * share, high=share, unit="ratio")
        models[f"runs/<{number}>"] = [
            Claim(
                claim="abstraction",
                subject="model",
                measures=(
                    Measure(name=accuracy.name, found=accuracy.found, images=accuracy.images, threshold=above(0.9)),
                ),
                context=(Finding.of("frechet_ratio", drawn),),
            ),
            Claim(claim="locality", subject="model", measures=(), undecided=undecided or "too few"),
        ]
    return compare("mnist", models)


def test_the_page_shows_each_model_and_marks_what_differs_clearly(tmp_path: Path) -> None:
    path = write_comparison(tmp_path / "c.html", made(0.95, 0.85, 0.95), command="rgm compare <a> b c")
    text = path.read_text(encoding="utf-8")
    assert "<0>" not in text
    assert "runs/&lt;0&gt;" in text
    assert "rgm compare &lt;a&gt; b c" in text
    assert "http" not in text
    assert "95.0 %" in text
    assert "−10.0 % (−" in text
    assert text.count('class="difference clear"') == 1  # the second model's accuracy alone
    assert text.count(" ~</span>") == 2  # two Fréchet ratios, which are of other draws
    assert "not supported" in text
    assert "too few" in text


def test_a_long_or_hostile_name_stays_text(tmp_path: Path) -> None:
    page = write_comparison(tmp_path / "c.html", made(0.95, 0.95, undecided="<script>alert(1)</script>"), command="rgm")
    assert "<script>alert" not in page.read_text(encoding="utf-8")
