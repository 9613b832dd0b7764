"""Small results of untrained models, of every kind that a report must handle."""

import functools
from dataclasses import dataclass

import torch

from rgm.data.images import ImageSet
from rgm.evaluation.abstraction import Abstraction, abstraction
from rgm.evaluation.instantiation import Instantiation, instantiation
from rgm.evaluation.judge import Judge, JudgeConfig
from rgm.evaluation.locality import Locality, locality
from rgm.evaluation.sample_quality import Quality, SampleMetrics
from rgm.evaluation.split import infer_split
from rgm.evaluation.statistics import exactly
from rgm.model.config import seed, standard
from rgm.model.spatial import SpatialRGM
from rgm.report.figures import experiment_figures, png

HOSTILE = ("<script>alert(1)</script>", 'costs $5 or $6, & "more" of it\'s kind', "고양이 고양이")

KINDS = ("grey", "colour, hostile names, not square", "unlabelled", "many classes and codes", "a fine grid")


@dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    abstraction: Abstraction
    instantiation: Instantiation
    locality: Locality
    judged: bool

    def all(self) -> tuple[Abstraction, Instantiation, Locality]:
        return self.abstraction, self.instantiation, self.locality


def made_quality(classes: int) -> Quality:
    """What might have been measured of samples: every concept is recognised less often than the one before."""
    shares = tuple(exactly(1 - number / (2 * classes), "share") for number in range(classes))
    ratio = exactly(0.9, "ratio")
    metrics = SampleMetrics(
        recognised=exactly(0.75, "share"),
        recognised_by_concept=shares,
        frechet_distance=ratio,
        frechet_ratio=ratio,
        precision=ratio,
        recall=ratio,
        recall_ratio=ratio,
        diversity_ratio=ratio,
        nearest_ratio=ratio,
    )
    return Quality(images=4 * classes, per_concept=(4,) * classes, draws=3, samples=metrics, real=metrics)


@functools.cache
def results_of(name: str) -> Results:
    torch.manual_seed(0)
    classes: tuple[str, ...] = tuple("0123456789")
    labelled = True
    match name:
        case "grey":
            config = standard()
        case "colour, hostile names, not square":
            config, classes = seed((3, 24, 16), 3, states=12), HOSTILE
        case "unlabelled":
            config, classes, labelled = seed((1, 16, 16), 4, states=40), (), False
        case "many classes and codes":
            config = seed((1, 8, 8), 40, states=300)
            classes = tuple(f"class number {index}" for index in range(40))
        case _:
            config = seed((1, 48, 48), 2, states=3)
            classes = ("yes", "no")
    model = SpatialRGM(config=config).eval()
    count = len(classes) or 6
    images = ImageSet(
        name="noise",
        split="test",
        images=torch.randint(256, (count, *config.image), dtype=torch.uint8),
        labels=torch.arange(count) if labelled else None,
        classes=classes,
        source="noise",
        sha256="0" * 64,
    )
    judge = Judge(JudgeConfig(channels=config.image[0], classes=count, width=4)).eval() if labelled else None
    return Results(
        abstraction=abstraction(infer_split(model, images, judge)),
        instantiation=instantiation(model, images, judge, made_quality(count) if labelled else None, columns=4),
        locality=locality(model, images, judge, count=2),
        judged=labelled,
    )


@functools.cache
def pictures(results: Results) -> dict[str, bytes]:
    """Return the figures of some results by file stem, as PNG; cached, since drawing takes seconds."""
    figures = {stem: figure for result in results.all() for stem, figure in experiment_figures(result).items()}
    return {stem: png(figure) for stem, figure in figures.items()}
