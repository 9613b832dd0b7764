"""The judge: an independent classifier that says what an image shows, and whose features compare sets of images."""

from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from rgm.data.images import ImageSet, in_colour, to_unit
from rgm.data.jitter import jitter
from rgm.distributions.noise import seeded, uniform
from rgm.errors import RGMError
from rgm.measures import accuracy
from rgm.model.bounds import Size
from rgm.runtime.device import multiplies_bfloat16
from rgm.runtime.progress import StepRecord, Watch
from rgm.runtime.seeds import as_seed
from rgm.storage.tensors import misfits, read_tensors, write_tensors
from rgm.training.adam import Adam, Optimiser
from rgm.training.batches import shifted
from rgm.training.muon import Muon

Images = Float[Tensor, "n channels height width"]
CPU = torch.device("cpu")
PACKAGED = ("judge-mnist.safetensors", "judge-digits.safetensors", "judge-fashion-mnist.safetensors")


@dataclass(frozen=True, kw_only=True)
class JudgeConfig:
    """The judge's inputs and outputs, its networks, and the checksum of what it learned from.

    `kind`: `pooled` (see `_pooled`), or `strided`, the network of MNIST's packaged judge. `width`: that of the first
    layers. `shrink`: the side in pixels of the squares that are averaged first, for large images. `mirrored`: whether
    images and their mirror images show the same class; predictions are then the mean over both.
    """

    channels: Size
    classes: Size
    width: Size = 24
    trained_on: str = ""
    kind: Literal["strided", "pooled"] = "strided"
    shrink: Size = 1
    mirrored: bool = False
    __pydantic_config__ = ConfigDict(extra="forbid")


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The judge's prediction of images: probabilities of each class, and the features behind them."""

    probabilities: Float[Tensor, "n classes"]
    features: Float[Tensor, "n features"]

    @property
    def label(self) -> Int64[Tensor, " n"]:
        """The most probable class."""
        return self.probabilities.argmax(dim=1)


@runtime_checkable
class Classifier(Protocol):
    """Whatever can be the judge: it predicts classes and features of images."""

    def predict(self, images: Images, *, batch_size: int = 100) -> Prediction:
        """Return the predictions of images in [0, 1], a batch at a time."""
        ...


class Judge(nn.Module):
    """Six 3 × 3 convolutions with batch normalisation, a summary over places, one linear layer."""

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__()
        self.config = config
        layers, features = (_pooled if config.kind == "pooled" else _strided)(config)
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.head = nn.Linear(features, config.classes)

    def forward(self, images: Images) -> Float[Tensor, "n classes"]:
        """Return logits."""
        return self.head(self.body(images))

    @torch.no_grad()
    def predict(self, images: Images, *, batch_size: int = 100) -> Prediction:
        """Return the predictions of images in [0, 1], a batch at a time."""
        body = _fused(self.body)
        parts = images.split(batch_size)
        features = torch.cat([body(batch.contiguous(memory_format=torch.channels_last)) for batch in parts])
        if self.config.mirrored:
            mirrored = [body(batch.flip(3).contiguous(memory_format=torch.channels_last)) for batch in parts]
            features = (features + torch.cat(mirrored)) / 2
        return Prediction(probabilities=F.softmax(self.head(features), dim=1), features=features)


def _fused(layers: nn.Sequential) -> nn.Sequential:
    """Return layers with every batch normalisation, by its running statistics, part of the convolution before it."""
    fused: list[nn.Module] = []
    for layer in layers:
        if isinstance(layer, nn.BatchNorm2d) and fused and isinstance(fused[-1], nn.Conv2d):
            fused[-1] = fuse_conv_bn_eval(fused[-1], layer)
        else:
            fused.append(layer)
    return nn.Sequential(*fused).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _strided(config: JudgeConfig) -> tuple[list[nn.Module], int]:
    """Return the layers of strided convolutions and a mean over places, and their number of features."""
    layers: list[nn.Module] = []
    channels, width = config.channels, config.width
    for factor, stride in ((1, 1), (1, 2), (2, 1), (2, 2), (4, 1), (4, 1)):
        layers += [
            nn.Conv2d(channels, factor * width, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(factor * width),
            nn.ReLU(),
        ]
        channels = factor * width
    return [*layers, nn.AdaptiveAvgPool2d(1)], channels


FILTERS = 8
"""The leading directions of 3 × 3 patches that the first layer of a judge separates."""


def _pooled(config: JudgeConfig) -> tuple[list[nn.Module], int]:
    """Return a first layer that whitens patches, and three pairs of convolutions with a maximum over 2 × 2 places.

    A narrow version of Jordan's network (2024, 94 % on CIFAR-10 in 3.29 seconds on a single GPU). Also returns the
    number of features.
    """
    channels, width = 2 * FILTERS, config.width
    layers: list[nn.Module] = [nn.AvgPool2d(config.shrink, ceil_mode=True)] if config.shrink > 1 else []
    layers += [nn.Conv2d(config.channels, channels, 3, padding=1).requires_grad_(False), nn.ReLU()]
    for wide in (width, 8 * width // 3, 16 * width // 3):
        layers += [
            *(nn.Conv2d(channels, wide, 3, padding=1, bias=False), nn.MaxPool2d(2, ceil_mode=True)),
            *(nn.BatchNorm2d(wide), nn.ReLU()),
            *(nn.Conv2d(wide, wide, 3, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()),
        ]
        channels = wide
    return [*layers, nn.AdaptiveMaxPool2d(1)], channels


@torch.no_grad()
def _whiten(judge: Judge, images: Images) -> None:
    """Set the first layer of a pooled judge: the leading principal components of 3 × 3 patches, of equal variance.

    Each comes with both signs, since a ReLU follows.
    """
    pooled, first = judge.body[0], next(layer for layer in judge.body if isinstance(layer, nn.Conv2d))
    if isinstance(pooled, nn.AvgPool2d):
        images = pooled(images)
    patches = F.unfold(images, 3, padding=1, stride=2).movedim(1, 2).flatten(0, 1)
    mean = patches.mean(dim=0)
    variance, directions = torch.linalg.eigh((patches - mean).T.cov())
    scale = (variance + 1e-4 * variance[-1] + 1e-8).rsqrt()
    filters = (directions * scale).T.flip(0)[:FILTERS]
    weight = torch.cat([filters, -filters])
    first.weight.copy_(weight.unflatten(1, first.weight.shape[1:]))
    assert first.bias is not None
    first.bias.copy_(-weight @ mean)


SIDE = 32
"""Images of at least twice as many pixels a side are averaged over squares to about so many before they are judged."""
WIDTH, NARROW = 48, 24
"""Channels of a judge's first pair of layers, and those on a device that has no instructions for bfloat16."""
SEEN, EPOCHS = 300_000, 10
"""Images that a judge is shown, counting repetitions, and its epochs: at most so many."""
SMALL, LEAST_SIDE = 0.6, 24
"""The share of the steps with images of three quarters of their side, and the least side for which there are any."""
KERNEL_RATE, RATE, WARM = 0.03, 2e-3, 0.25
"""Learning rates of Muon for kernels and of Adam for all else; they rise over a share of the steps, then fall to 0."""


def train_judge(
    train: ImageSet,
    *,
    epochs: int | None = None,
    seed: int = 0,
    device: torch.device = CPU,
    watch: Watch = lambda _: None,
) -> Judge:
    """Return a judge trained on a labelled split; by default for 10 epochs, or fewer that are 300,000 images.

    Images in colour are shifted at random, and mirrored in every other epoch. Grey ones are rotated, scaled and shifted
    a little, and never mirrored: a mirrored letter is another one. In the first steps images are smaller. It is trained
    on `device`, in bfloat16 where that is faster, and returned on the CPU. Raises RGMError for images without labels.
    """
    seed = as_seed(seed)
    if train.labels is None:
        raise RGMError(f"a judge learns from labels, but {train.source} has none")
    count, (channels, *sides) = len(train), train.shape
    fast = multiplies_bfloat16(device)
    batch_size = min(128 if count > 5_000 else 32, count)
    generator = torch.Generator().manual_seed(seed)
    config = JudgeConfig(
        channels=channels,
        classes=len(train.classes),
        trained_on=train.sha256,
        width=WIDTH if fast else NARROW,
        kind="pooled",
        shrink=max(1, min(sides) // SIDE),
        mirrored=in_colour(train),
    )
    with seeded(seed):
        judge = Judge(config)
    _whiten(judge, to_unit(train.images[torch.randperm(count, generator=generator)[:2000].sort().values]))
    judge = judge.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    trained = [weight for weight in judge.parameters() if weight.requires_grad]
    optimisers: list[Optimiser] = [
        Muon((weight for weight in trained if weight.ndim == 4), lr=KERNEL_RATE),
        Adam([weight for weight in trained if weight.ndim < 4], lr=RATE, fused=True),
    ]
    epochs = epochs or min(EPOCHS, -(-SEEN // count))
    step, steps = 0, epochs * (count // batch_size)
    small = SMALL * steps if min(sides) >= LEAST_SIDE else 0
    turned = uniform((count,), generator, CPU) < 0.5
    for _ in range(epochs):
        order = torch.randperm(count, generator=generator)
        for index in order[: count // batch_size * batch_size].split(batch_size):
            images = _augmented(to_unit(train.images[index]), generator, turned[index] if config.mirrored else None)
            if step < small:
                images = F.interpolate(images, size=[3 * side // 4 for side in sides], mode="bilinear", antialias=True)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=fast):
                logits = judge(images.to(device, memory_format=torch.channels_last))
            cost = F.cross_entropy(logits.float(), train.labels[index].to(device), label_smoothing=0.1)
            share = min((step + 1) / (WARM * steps), (steps - step) / ((1 - WARM) * steps))
            for optimiser, rate in zip(optimisers, (KERNEL_RATE, RATE), strict=True):
                optimiser.zero_grad(set_to_none=True)
                optimiser.param_groups[0]["lr"] = rate * share
            cost.backward()
            for optimiser in optimisers:
                optimiser.step()
            step += 1
            watch(StepRecord(stage="judge", step=step, steps=steps, images=batch_size, loss=cost.item(), terms={}))
        turned = ~turned
    judge = judge.to(CPU, memory_format=torch.contiguous_format).eval()
    judge.load_state_dict(_halved(judge))  # as it is read from a file
    return judge


def _augmented(images: Images, generator: torch.Generator, turned: Bool[Tensor, " n"] | None) -> Images:
    """Return images shifted by up to a 16th of their side, some of them mirrored, or else as `jitter` does."""
    if turned is None:
        return jitter(images, generator)
    images = shifted(images, max(1, round(min(images.shape[2:]) / 16)), generator)
    return torch.where(turned[:, None, None, None], images.flip(3), images)


def judge_accuracy(judge: Judge, data: ImageSet) -> float:
    """Return the share of a labelled split that the judge is right on."""
    if data.labels is None:
        raise RGMError(f"accuracy needs labels, but {data.source} has none")
    return accuracy(judge.predict(to_unit(data.images)).probabilities, data.labels)


def judge_of(data: ImageSet, *, kept: Path | None = None, seed: int = 0, watch: Watch = lambda _: None) -> Judge:
    """Return the judge of a data set: one that was trained on the very same images, else one trained on `data`.

    `data` is the set's training split, known by its checksum. Looked at are the packaged judges, of MNIST, the embedded
    digits and Fashion-MNIST, and the file `kept`; a judge that is trained is kept there. Raises RGMError for images
    without labels.
    """
    with resources.as_file(resources.files("rgm") / "weights") as packaged:
        for path in (*(packaged / name for name in PACKAGED), kept):
            if path is not None and path.is_file():
                judge = load_judge(path)
                if judge.config.trained_on == data.sha256:
                    return judge
    judge = train_judge(data, seed=seed, watch=watch)
    if kept is not None:
        save_judge(kept, judge)
    return judge


class OnnxClassifier:
    """A user's own classifier as an ONNX graph; needs onnxruntime.

    Its first input is images (n, channels, height, width) in [0, 1], float32; its first output logits or probabilities
    (n, classes), its second, where there is one, features (n, d), else the first output takes their place.
    """

    def __init__(self, path: Path) -> None:
        """Raise RGMError where onnxruntime is missing, or the file is no graph that it runs."""
        try:
            import onnxruntime  # an extra, and only where it is asked for
        except ImportError:
            raise RGMError(f"{path} is an ONNX graph: pip install 'rgm[onnx]' to run it") from None
        try:
            self._session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
        except Exception as error:  # of its own kinds, which share no class
            raise RGMError(f"{path} cannot be read as an ONNX graph: {' '.join(str(error).split())}") from None

    def predict(self, images: Images, *, batch_size: int = 100) -> Prediction:
        """Return the predictions of images in [0, 1], a batch at a time."""
        name = self._session.get_inputs()[0].name
        parts: list[list[Any]] = [self._session.run(None, {name: part.numpy()}) for part in images.split(batch_size)]
        first, last = (torch.cat([torch.from_numpy(part[place]) for part in parts]).float() for place in (0, -1))
        given = bool((first >= 0).all()) and bool(((first.sum(dim=1) - 1).abs() < 1e-3).all())
        features = (last if len(parts[0]) > 1 else first).flatten(1)
        return Prediction(probabilities=first if given else F.softmax(first, dim=1), features=features)


def given_judge(path: Path, data: ImageSet) -> Classifier:
    """Return a user's own classifier, a file of `save_judge` or an ONNX graph (`OnnxClassifier`).

    Raises RGMError for a classifier that does not take a set's images, or has other classes.
    """
    if not path.is_file():
        raise RGMError(f"no judge at {path}: give a .safetensors file of `rgm judge`, or an .onnx graph")
    judge: Classifier = OnnxClassifier(path) if path.suffix == ".onnx" else load_judge(path)
    try:
        found = tuple(judge.predict(to_unit(data.images[:2])).probabilities.shape)
    except Exception as error:  # of PyTorch or onnxruntime
        raise RGMError(
            f"the judge {path} does not take images of shape {data.shape}: {' '.join(str(error).split())[:200]}"
        ) from None
    if found[1:] != (len(data.classes),):
        raise RGMError(
            f"the judge {path} has outputs of shape {found[1:]}, but {data.source} {len(data.classes)} classes"
        )
    return judge


def _halved(judge: Judge) -> dict[str, Tensor]:
    """Return a judge's tensors, kernels and matrices in half precision."""
    return {name: value.half() if value.ndim > 1 else value for name, value in judge.state_dict().items()}


def save_judge(path: Path, judge: Judge) -> None:
    """Write a judge as one safetensors file, kernels and matrices in half precision."""
    write_tensors(path, "judge", asdict(judge.config), _halved(judge))


def load_judge(path: Path) -> Judge:
    """Return a saved judge; raise RGMError for a file that is damaged or holds none."""
    header, tensors = read_tensors(path, "judge")
    try:
        config = TypeAdapter(JudgeConfig).validate_python(header)
        with torch.device("meta"):
            expected = Judge(config).state_dict()
    except (ValidationError, RuntimeError, ValueError, TypeError, OverflowError) as error:
        raise RGMError(f"{path} carries a configuration of no judge: {' '.join(str(error).split())}") from error
    problems = misfits(expected, tensors)
    if problems:
        raise RGMError(f"the weights in {path} do not fit its judge: {problems[0]}")
    judge = Judge(config)
    judge.load_state_dict(tensors)
    return judge.eval()
