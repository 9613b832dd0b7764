"""Files and requests from strangers: our own error, or a result, and nothing else.

`make fuzz` puts more than 100,000 inputs to these tests, the whole suite a few hundred, `make test` a few dozen. What
is accepted is counted, too: a parser that refuses everything would pass otherwise.
"""

import copy
import gzip
import io
import json
import os
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, example, given, is_hypothesis_test, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient

from rgm.claims.record import estimates
from rgm.data.cache import build_cache, open_cache
from rgm.data.folder import File, Pixels, pixels_of, read_images
from rgm.data.idx import read_idx
from rgm.data.images import ImageSet
from rgm.data.load import from_arrays
from rgm.data.shards import list_shards
from rgm.errors import RGMError
from rgm.evaluation.judge import Judge, JudgeConfig, load_judge, save_judge
from rgm.explorer.server import HOST, application
from rgm.explorer.service import Explorer
from rgm.export.arrays import completed, decoded, read_codes
from rgm.loading import load_checkpoint, save_model
from rgm.model.config import LevelConfig, ModelConfig
from rgm.model.decoder import TransposedDecoder
from rgm.model.estimator import Gumbel
from rgm.model.factorised import DensePrior
from rgm.model.likelihood import Gaussian
from rgm.model.recognition import ConvRecognition, DenseRecognition
from rgm.model.spatial import SpatialRGM
from rgm.storage.checkpoint import FILE, Origin, Unfinished
from rgm.storage.tensors import read_tensors, write_tensors
from rgm.training.loop import NeuralTrainer
from rgm.training.recipe import Recipe, Stage, Weights

EXAMPLES = int(os.environ.get("RGM_FUZZ", "60"))
"""Inputs for each test."""
LEAST = 0.05
"""The share of its inputs that each target accepts, at least: one in three is whole, and some others are harmless."""
TARGETS = {
    "idx",
    "checkpoint bytes",
    "checkpoint headers",
    "training states",
    "judges",
    "codes",
    "images",
    "shards",
    "caches",
    "evidence",
    "requests",
}
seen: Counter[str] = Counter()
accepted: Counter[str] = Counter()
fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=EXAMPLES <= 60,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
pytestmark = pytest.mark.timeout(3600)

Edit = tuple[str, float, bytes]
some_edits = st.lists(
    st.tuples(
        st.sampled_from(("set", "insert", "cut", "repeat", "delete")),
        st.floats(0, 1, exclude_max=True) | st.floats(0, 0.05),
        st.binary(min_size=1, max_size=8) | st.sampled_from((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f", b"9" * 12)),
    ),
    min_size=1,
    max_size=4,
)


def mostly(some: st.SearchStrategy[list[Any]]) -> st.SearchStrategy[list[Any]]:
    """Leave one input in three as it is, whatever was drawn for it: what is whole must be accepted."""
    return st.tuples(st.integers(0, 2), some).map(lambda drawn: drawn[1] if drawn[0] else [])


edits = mostly(some_edits)
NUMBERS = [-1, 0, 1, 2, 7, 64, 2**31, 10**12, 10**30, -(2**63), 0.5, -1.5, 1e308, float("nan"), float("inf")]
OTHERS = [None, True, "", "x", "dense", "conv", "0", [], {}, [[]], [1, 1], [4, 4], [1, 8, 8], {"kind": "dense"}]
values = st.sampled_from([*NUMBERS, *OTHERS])
some_changes = st.lists(
    st.tuples(st.sampled_from(("set", "remove", "add", "copy")), st.integers(0, 10**6), values), min_size=1, max_size=3
)
changes = mostly(some_changes)


def edited(content: bytes, how: list[Edit]) -> bytes:
    """Content with some bytes changed, put in, left out or repeated."""
    for kind, share, new in how:
        at = int(share * len(content))
        match kind:
            case "set":
                content = content[:at] + new + content[at + len(new) :]
            case "insert":
                content = content[:at] + new + content[at:]
            case "cut":
                content = content[:at]
            case "repeat":
                content = content[:at] + content[at : at + 40] + content[at:]
            case "delete":
                content = content[:at] + content[at + len(new) :]
    return content


def changed(content: Any, how: list[tuple[str, int, Any]]) -> Any:
    """Plain data with some of its parts replaced, removed, added to or put elsewhere."""
    content = copy.deepcopy(content)
    for kind, number, value in how:
        new = copy.deepcopy(value)
        places: list[tuple[Any, Any]] = []

        def walk(part: Any, places: list[tuple[Any, Any]] = places) -> None:
            keys = range(len(part)) if isinstance(part, list) else part.keys() if isinstance(part, dict) else ()
            for key in keys:
                places.append((part, key))
                walk(part[key])

        walk(content)
        if not places:
            return new
        holder, key = places[number % len(places)]
        match kind:
            case "set":
                holder[key] = new
            case "remove":
                del holder[key]
            case "copy":
                other, there = places[(number // 7) % len(places)]
                holder[key] = copy.deepcopy(other[there])
            case "add":
                if isinstance(holder, list):
                    holder.insert(key, new)
                else:
                    holder[f"{key}s"] = new
    return content


def survives(target: str, call: Callable[[], object]) -> None:
    """Count an input, and whether it was accepted, and let our own error pass."""
    seen[target] += 1
    try:
        call()
    except RGMError:
        return
    accepted[target] += 1


@pytest.fixture(autouse=True)
def enough(request: pytest.FixtureRequest) -> Iterator[None]:
    """Hold a target to as many inputs as were asked for, and to accepting its share of them."""
    yield
    target = request.node.originalname.removeprefix("test_").replace("_", " ")
    if target in TARGETS:
        assert seen[target] >= EXAMPLES
        assert accepted[target] >= LEAST * seen[target], f"{accepted[target]} of {seen[target]} were accepted"


@pytest.fixture(scope="module")
def model() -> SpatialRGM:
    torch.manual_seed(0)
    z1 = LevelConfig(
        grid=(2, 2), states=4, recognition=ConvRecognition(widths=(2, 2), estimator=Gumbel()), prior=DensePrior(width=2)
    )
    top = LevelConfig(grid=(1, 1), states=2, recognition=DenseRecognition(width=2, estimator=Gumbel()), prior=None)
    config = ModelConfig(
        image=(1, 8, 8), levels=(z1, top), decoder=TransposedDecoder(width=2, widths=(2,)), pixels=Gaussian(sigma=0.1)
    )
    return SpatialRGM(config=config).eval()


@pytest.fixture(scope="module")
def images() -> ImageSet:
    pixels = torch.randint(0, 256, (12, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    return from_arrays(pixels.to(torch.uint8), torch.arange(12) % 2)


@pytest.fixture(scope="module")
def training(model: SpatialRGM, images: ImageSet) -> NeuralTrainer:
    stage = Stage(name="all", epochs=2, batch_size=4, weights=Weights(concept=1.0), muon=0.0)
    made = NeuralTrainer(copy.deepcopy(model), images, None, Recipe(stages=(stage,)), seed=0)
    made.run(lambda _: None, lambda *_: None)
    return made


@pytest.fixture(scope="module")
def checkpoint(training: NeuralTrainer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / FILE
    origin = Origin(preset="seed", data="digits", classes=("0", "1"), seed=0)
    numbers, tensors = training.state()
    save_model(path, training.model, origin, Unfinished(numbers=numbers, tensors=tensors))
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@fuzzed
@given(edits, st.booleans())
@example([], False)
def test_idx(place: Path, how: list[Edit], packed: bool) -> None:
    whole = b"\0\0\x08\x03" + np.array([3, 4, 4], dtype=">u4").tobytes() + bytes(range(48))
    content = edited(whole, how) if not packed else edited(gzip.compress(whole, mtime=0), how)
    if packed and how and how[0][0] == "insert":  # damage beneath the packing
        content = gzip.compress(edited(whole, how), mtime=0)
    (place / "idx").write_bytes(content)
    survives("idx", lambda: read_idx(place / "idx"))


@fuzzed
@given(edits)
@example([])
def test_checkpoint_bytes(place: Path, checkpoint: Path, how: list[Edit]) -> None:
    (place / FILE).write_bytes(edited(checkpoint.read_bytes(), how))
    survives("checkpoint bytes", lambda: load_checkpoint(place / FILE))


@fuzzed
@given(changes)
@example([])
def test_checkpoint_headers(place: Path, checkpoint: Path, training: NeuralTrainer, how: list[Any]) -> None:
    """A whole file with a checksum that is right, but a header that a stranger wrote."""
    header, tensors = read_tensors(checkpoint, "rgm")
    wrong = changed(header, how)
    write_tensors(place / FILE, "rgm", wrong if isinstance(wrong, dict) else {}, tensors)

    def use() -> None:
        found = load_checkpoint(place / FILE)
        found.model.infer(torch.zeros(1, *found.model.config.image))
        if found.unfinished:
            training.restore(found.unfinished.numbers, found.unfinished.tensors)

    survives("checkpoint headers", use)


@fuzzed
@given(changes)
@example([])
def test_training_states(checkpoint: Path, training: NeuralTrainer, how: list[Any]) -> None:
    header, tensors = read_tensors(checkpoint, "rgm")
    kept = {name.removeprefix("training/"): value for name, value in tensors.items() if "/" in name}
    wrong = changed(header["training"], how)
    survives("training states", lambda: training.restore(wrong if isinstance(wrong, dict) else {}, kept))


@fuzzed
@given(edits, changes, st.booleans())
@example([], [], True)
def test_judges(place: Path, how: list[Edit], what: list[Any], bytewise: bool) -> None:
    path = place / "judge"
    if bytewise:
        if not (place / "whole-judge").exists():
            save_judge(place / "whole-judge", Judge(JudgeConfig(channels=1, classes=2, width=1)))
        path.write_bytes(edited((place / "whole-judge").read_bytes(), how))
    else:
        judge = Judge(JudgeConfig(channels=1, classes=2, width=1))
        wrong = changed({"channels": 1, "classes": 2, "width": 1, "trained_on": ""}, what)
        write_tensors(path, "judge", wrong if isinstance(wrong, dict) else {}, judge.state_dict())
    survives("judges", lambda: load_judge(path))


@fuzzed
@given(
    edits,
    st.booleans(),
    st.just("i8") | st.sampled_from(("i8", "u1", "f4", "b1", "i2", "U3", "M8[s]", "c8")),
    st.just(3) | st.integers(0, 4),
)
@example([], False, "i8", 3)
def test_codes(place: Path, model: SpatialRGM, how: list[Edit], packed: bool, kind: str, axes: int) -> None:
    buffer = io.BytesIO()
    z1 = np.ones((3, 2, 2, 1)[:axes], dtype=kind)
    save = np.savez_compressed if packed else np.savez
    save(buffer, z1=z1, keep=np.ones((2, 2), dtype=bool), concept=np.zeros(3, dtype=int))
    content = buffer.getvalue() if how and how[0][0] == "delete" else edited(buffer.getvalue(), how)
    (place / "codes.npz").write_bytes(content)
    survives("codes", lambda: decoded(model, read_codes(place / "codes.npz")))
    survives("codes", lambda: completed(model, place / "codes.npz", None, 0))


class Bytes(File):
    """An image file in memory."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def read_bytes(self) -> bytes:
        return self.content

    def __str__(self) -> str:
        return "an image"


def _encoded_images() -> list[bytes]:
    pixels = np.arange(6 * 5 * 3, dtype=np.uint8).reshape(6, 5, 3)
    colour, found = Image.fromarray(pixels), []
    for image, form in (
        (colour, "PNG"),
        (colour, "JPEG"),
        (colour.convert("L"), "PNG"),
        (colour.convert("P"), "PNG"),
        (colour.convert("RGBA"), "PNG"),
        (Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 256), "PNG"),
    ):
        buffer = io.BytesIO()
        image.save(buffer, form)
        found.append(buffer.getvalue())
    return found


ENCODED = _encoded_images()


@fuzzed
@given(st.sampled_from(ENCODED), edits, st.sampled_from((None, 1, 3)), st.booleans())
@example(ENCODED[0], [], None, False)
def test_images(content: bytes, how: list[Edit], channels: int | None, resized: bool) -> None:
    size = (4, 4) if resized else None
    file = Bytes(edited(content, how))
    survives("images", lambda: read_images((file,), size=size, pixels=pixels_of((file,), channels)))


@fuzzed
@given(edits)
@example([])
def test_shards(place: Path, how: list[Edit]) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in (("a.png", ENCODED[0]), ("a.cls", b"1"), ("b.png", ENCODED[2]), ("b.cls", b"0")):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    folder = place / "shards"
    folder.mkdir(exist_ok=True)
    (folder / "train.tar").write_bytes(edited(buffer.getvalue()[:4608], how))
    survives("shards", lambda: read_images(list_shards(folder, "train", seed=0).paths, size=(4, 4)))


@fuzzed
@given(edits, changes, st.booleans())
@example([], [], True)
def test_caches(place: Path, how: list[Edit], what: list[Any], bytewise: bool) -> None:
    root = place / "cache"
    header = root / "train" / "store.json"
    if not (place / "whole.json").exists():
        folder = place / "for-the-cache"
        folder.mkdir()
        for number in range(20):
            Image.fromarray(np.full((4, 4), number, dtype=np.uint8)).save(folder / f"{number}.png")
        listings = {split: _listing(folder, split) for split in ("train", "validation", "test")}
        build_cache(Path("made"), listings, root, pixels=Pixels(channels=1))
        (place / "whole.json").write_bytes(header.read_bytes())
    whole = (place / "whole.json").read_bytes()
    if bytewise:
        header.write_bytes(edited(whole, how))
    else:
        header.write_text(json.dumps(changed(json.loads(whole), what)))
    survives("caches", lambda: open_cache(root, "train").images.sum())


def _listing(folder: Path, split: Any) -> Any:
    from rgm.data.folder import list_split

    return list_split(folder, split, seed=0)


@fuzzed
@given(edits, changes, st.booleans())
@example([], [], True)
def test_evidence(place: Path, how: list[Edit], what: list[Any], bytewise: bool) -> None:
    measure = {"name": "share", "unit": "", "estimate": 0.5, "low": 0.4, "high": 0.6}
    whole = {"version": 1, "claims": [{"claim": "locality", "subject": "model", "measures": [measure]}]}
    path = place / "evidence.json"
    text = json.dumps(whole).encode()
    path.write_bytes(edited(text, how) if bytewise else json.dumps(changed(whole, what)).encode())
    survives("evidence", lambda: estimates(path))


Z1 = [[0, 1], [2, 3]]
REQUESTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("encode", {"pixels": "A" * 88}),
    ("test-image", {"index": 1}),
    ("decode", {"z1": Z1}),
    ("palette", {"z1": Z1, "concept": 1, "cell": [0, 1]}),
    ("sample", {"concept": 0, "count": 2, "seed": 3, "temperature": 1.0}),
    ("morph", {"start": 0, "end": 1, "count": 3, "seed": 3, "temperature": 1.0}),
    ("complete", {"z1": Z1, "concept": 1, "resampled": [[0, 0], [1, 1]], "seed": 0, "temperature": 0.5}),
)


@pytest.fixture(scope="module")
def client(model: SpatialRGM, images: ImageSet) -> TestClient:
    page = application(Explorer(model, ("0", "1"), "small", images))
    return TestClient(page, base_url=f"http://{HOST}:8765")  # which raises what the server fails by


def whole_requests(test: Callable[..., None]) -> Callable[..., None]:
    """Put each request once as it is, besides what is drawn."""
    for asked in REQUESTS:
        test = example(asked, [], [], 0)(test)
    return test


@fuzzed
@given(st.sampled_from(REQUESTS), edits, changes, st.integers(0, 3))
@whole_requests
def test_requests(
    client: TestClient, asked: tuple[str, dict[str, Any]], how: list[Edit], what: list[Any], bytewise: int
) -> None:
    seen["requests"] += 1
    name, body = asked
    content = edited(json.dumps(body).encode(), how) if not bytewise else json.dumps(changed(body, what)).encode()
    answer = client.post(f"/api/{name}", content=content)
    assert answer.status_code in (200, 422), answer.text
    assert answer.json() if answer.status_code == 200 else answer.json()["error"]
    accepted["requests"] += answer.status_code == 200


def test_every_target_is_fuzzed(request: pytest.FixtureRequest) -> None:
    """The last of this module: a strategy that runs dry, or a test that is skipped, would show here."""
    counts = ", ".join(f"{name} {count:,} ({accepted[name]:,} accepted)" for name, count in seen.items())
    print(f"\n{sum(seen.values()):,} inputs: {counts}")
    tests = {name: test for name, test in globals().items() if is_hypothesis_test(test)}
    assert tests.keys() == {f"test_{target.replace(' ', '_')}" for target in TARGETS}
    assert not any(hasattr(test, "pytestmark") for test in tests.values())
    if "PYTEST_XDIST_WORKER" in os.environ or request.config.getoption("keyword") or len(seen) < 2:
        return  # a part of the tests alone was asked for, or came to this process
    assert seen.keys() == TARGETS
