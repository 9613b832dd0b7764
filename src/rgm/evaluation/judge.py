"""The judge: an independent classifier that says what an image shows, and whose features compare sets of images."""

from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import Tensor, nn

from rgm.data.images import ImageSet, to_unit
from rgm.data.jitter import jitter
from rgm.errors import RGMError
from rgm.measures import accuracy
from rgm.model.bounds import Size
from rgm.runtime.progress import StepRecord, Watch
from rgm.runtime.seeds import as_seed
from rgm.storage.tensors import misfits, read_tensors, write_tensors

Images = Float[Tensor, "n channels height width"]
CPU = torch.device("cpu")
PACKAGED = "judge-mnist.safetensors"


@dataclass(frozen=True, kw_only=True)
class JudgeConfig:
    """The judge's inputs and outputs, the width of its first layers, and the checksum of what it learned from."""

    channels: Size
    classes: Size
    width: Size = 24
    trained_on: str = ""
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
    """Six 3 × 3 convolutions with batch normalisation, the mean over places, one linear layer."""

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        channels, width = config.channels, config.width
        for factor, stride in ((1, 1), (1, 2), (2, 1), (2, 2), (4, 1), (4, 1)):
            layers += [
                nn.Conv2d(channels, factor * width, 3, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(factor * width),
                nn.ReLU(),
            ]
            channels = factor * width
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(channels, config.classes)

    def forward(self, images: Images) -> Float[Tensor, "n classes"]:
        """Return logits."""
        return self.head(self.body(images))

    @torch.no_grad()
    def predict(self, images: Images, *, batch_size: int = 100) -> Prediction:
        """Return the predictions of images in [0, 1], a batch at a time."""
        features = torch.cat([self.body(batch) for batch in images.split(batch_size)])
        return Prediction(probabilities=F.softmax(self.head(features), dim=1), features=features)


def train_judge(
    train: ImageSet, *, epochs: int = 10, seed: int = 0, device: torch.device = CPU, watch: Watch = lambda _: None
) -> Judge:
    """Return a judge trained on a labelled split, with small random rotations, scalings and shifts.

    It is trained on `device`, and returned on the CPU. Raises RGMError for images without labels.
    """
    seed = as_seed(seed)
    if train.labels is None:
        raise RGMError(f"a judge learns from labels, but {train.source} has none")
    count = len(train)
    batch_size = min(128 if count > 5_000 else 32, count)
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)  # the layers' initial weights have no other way to be seeded
    judge = Judge(JudgeConfig(channels=train.shape[0], classes=len(train.classes), trained_on=train.sha256)).to(device)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=4e-3, weight_decay=1e-2, fused=True)
    steps = epochs * (count // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps, pct_start=0.2)
    step = 0
    for _ in range(epochs):
        order = torch.randperm(count, generator=generator)
        for index in order[: count // batch_size * batch_size].split(batch_size):
            images = jitter(to_unit(train.images[index]), generator).to(device)
            cost = F.cross_entropy(judge(images), train.labels[index].to(device), label_smoothing=0.05)
            optimizer.zero_grad(set_to_none=True)
            cost.backward()
            optimizer.step()
            schedule.step()
            step += 1
            watch(StepRecord(stage="judge", step=step, steps=steps, images=batch_size, loss=cost.item(), terms={}))
    return judge.cpu().eval()


def judge_accuracy(judge: Judge, data: ImageSet) -> float:
    """Return the share of a labelled split that the judge is right on."""
    if data.labels is None:
        raise RGMError(f"accuracy needs labels, but {data.source} has none")
    return accuracy(judge.predict(to_unit(data.images)).probabilities, data.labels)


def judge_of(data: ImageSet, *, kept: Path | None = None, seed: int = 0, watch: Watch = lambda _: None) -> Judge:
    """Return the judge of a data set: one that was trained on the very same images, else one trained on `data`.

    `data` is the set's training split, known by its checksum. Looked at are the packaged judge, MNIST's, and the
    file `kept`; a judge that is trained is kept there. Raises RGMError for images without labels.
    """
    with resources.as_file(resources.files("rgm") / "weights" / PACKAGED) as packaged:
        for path in (packaged, kept):
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


def save_judge(path: Path, judge: Judge) -> None:
    """Write a judge as one safetensors file."""
    write_tensors(path, "judge", asdict(judge.config), judge.state_dict())


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
