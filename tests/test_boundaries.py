"""What callers hand in at the library's boundary: taken where the meaning is clear, else refused in one line."""

import inspect
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch

import rgm
from rgm.data.images import ImageSet
from rgm.errors import RGMError
from rgm.export.hub import save_folder
from rgm.loading import load_checkpoint
from rgm.model import config as configuration
from rgm.model.bounds import as_shape
from rgm.model.generative import RGM
from rgm.model.spatial import SpatialRGM
from rgm.runtime import memory
from rgm.runtime.device import resolve_device
from rgm.storage.checkpoint import FILE
from rgm.training.config import RunConfig
from rgm.training.folder import own_run_folder
from rgm.training.run import plan_run


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As callers without a type checker are met: shapes and types are not checked before our own code sees them."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("kind", ["seed", "paper"])
def test_temperatures_without_sense(kind: str, temperature: float) -> None:
    model: RGM = SpatialRGM.from_preset(kind) if kind == "seed" else rgm.CountingRGM.from_preset(kind)
    z1 = torch.zeros(1, *model.config.levels[0].grid, dtype=torch.int64)
    for call in (
        lambda: model.sample(0, temperature=temperature),
        lambda: model.morph(0, 1, 2, temperature=temperature),
        lambda: model.complete(z1, z1 == 0, 0, temperature=temperature),
    ):
        with pytest.raises(RGMError, match="a temperature is a finite number above 0"):
            call()


def test_images_of_another_float_type(shipped: SpatialRGM, test_digits: ImageSet) -> None:
    bytes_ = test_digits.images[:4].numpy()
    double = torch.from_numpy(bytes_ / 255)
    single = double.float()
    assert torch.equal(shipped.infer(double).z1, shipped.infer(single).z1)
    assert torch.equal(shipped.read(double)[0], shipped.read(single)[0])
    free = [
        shipped.free_energy(x, generator=torch.Generator().manual_seed(0)).total_nats for x in (double, single.half())
    ]
    torch.testing.assert_close(free[0], free[1], rtol=0.05, atol=1.0)


def test_channels_come_first() -> None:
    with pytest.raises(RGMError, match=r"channels first: \(1, 28, 28\), not \(28, 28, 1\)"):
        SpatialRGM.from_preset("standard", image=(28, 28, 1))


def test_devices_of_pytorch() -> None:
    assert resolve_device(torch.device("cpu")) == torch.device("cpu")
    assert resolve_device("cpu:0") == torch.device("cpu")
    with pytest.raises(RGMError, match="finds 1 cpu device on this machine, but not cpu:1"):
        resolve_device("cpu:1")
    with pytest.raises(RGMError, match="unknown device 'gpu'"):
        resolve_device("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(RGMError, match="finds no cuda device"):
            resolve_device("cuda:1")
    images, labels = np.zeros((8, 8, 8), np.uint8), np.arange(8) % 2
    model = SpatialRGM.from_preset("seed", image=(1, 8, 8), classes=2)
    rgm.fit(model, images, labels, recipe="seed", epochs=1, device=torch.device("cpu"))


def test_films_stay_on_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    model = rgm.TemporalRGM.from_preset("film-memory", image=(1, 4, 4), tones=2)
    frames = np.random.default_rng(0).integers(0, 2, (3, 6, 4, 4)).astype(np.float32)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert rgm.fit(model, frames).model.device.type == "cpu"  # auto
    with pytest.raises(RGMError, match="models of films run on the CPU, not on cuda"):
        rgm.fit(model, frames, device="cuda")


def test_an_empty_folder_called_like_packaged_weights_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mnist").mkdir()
    assert load_checkpoint("mnist").origin.data == "mnist"
    assert not any(Path("mnist").iterdir())


def test_names_of_classes_outlive_saving(shipped: SpatialRGM, tmp_path: Path) -> None:
    origin = load_checkpoint(shipped.save_pretrained(tmp_path / "copy")).origin
    assert origin == load_checkpoint("mnist").origin


def test_a_folder_of_the_users_own_is_not_a_run(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "mine.png").write_bytes(b"mine")
    with pytest.raises(RGMError, match=r"holds files that are not a run's, such as figures/mine.png"):
        own_run_folder(tmp_path, "digits")
    assert [path.name for path in tmp_path.iterdir()] == ["figures"]
    (tmp_path / FILE).write_bytes(b"an earlier version's run")
    own_run_folder(tmp_path, "digits")
    own_run_folder(tmp_path / "new", "digits")
    own_run_folder(tmp_path / "new", "digits")
    assert (tmp_path / "new" / ".rgm").is_file()


def test_an_export_replaces_no_readme_of_the_users_own(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(RGMError, match=r"not an export's, such as README\.md"):
        save_folder(tmp_path, load_checkpoint("mnist"))
    assert (tmp_path / "README.md").read_text() == "mine"


@pytest.mark.usefixtures("few_images_for_needed_codes")
def test_a_refused_resume_names_the_option(tmp_path: Path) -> None:
    first = RunConfig(data="digits", preset="seed", epochs=0.1, device="cpu")
    plan_run(first).carry_out(tmp_path)
    with pytest.raises(RGMError, match=r"other options \(epochs 0\.1 then, 0\.2 now\)"):
        plan_run(RunConfig(data="digits", preset="seed", epochs=0.2, device="cpu")).carry_out(tmp_path, resume=True)
    assert json.loads((tmp_path / "config.json").read_text())["run"]["epochs"] == 0.1


def test_seeds_of_numpy_and_seeds_out_of_range() -> None:
    images, model = np.zeros((4, 28, 28), dtype=np.uint8), SpatialRGM.from_preset("seed")
    assert rgm.load_data("digits", seed=np.int64(3)).split == "train"
    for call in (
        lambda: rgm.fit(model, images, [0, 1, 2, 3], seed=-1),
        lambda: rgm.load_data("digits", seed=2**63),
        lambda: RunConfig(seed=-1),
    ):
        with pytest.raises(RGMError, match="a seed must lie in"):
            call()


@pytest.mark.usefixtures("few_images_for_needed_codes")
def test_an_earlier_run_is_kept_aside_unless_it_is_to_be_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out, kept = tmp_path / "run", tmp_path / "run-1"

    def train(seed: int, **options: bool) -> None:
        plan_run(RunConfig(data="digits", preset="seed", epochs=0.1, seed=seed, device="cpu")).carry_out(out, **options)

    train(1)
    first = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    (out / "notes.txt").write_text("mine")
    train(2)
    assert f"the earlier run in {out} is kept in {kept}" in caplog.text
    assert {path.relative_to(kept): path.read_bytes() for path in kept.rglob("*") if path.is_file()} == {
        name: content for name, content in first.items() if name != Path(".lock")
    }
    assert (out / "notes.txt").read_text() == "mine"
    assert load_checkpoint(out).origin.seed == 2
    train(2, resume=True)
    train(3, overwrite=True)
    assert load_checkpoint(out).origin.seed == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run-1"]


@pytest.mark.parametrize("image", [(28, 28), 28, None, (1, 8.0, 8), (1, 0, 8), (1, 10**6, 8), ("1", 8, 8)])
def test_shapes_that_are_no_images(image: object) -> None:
    with pytest.raises(RGMError, match=r"image|channels"):
        as_shape(image)
    assert as_shape(np.array([1, 8, 8])) == (1, 8, 8)


@pytest.mark.parametrize("states", [-1, 0, 1, 10**9])
def test_numbers_of_states_that_make_no_level(states: int) -> None:
    with pytest.raises(RGMError, match="number of a level's states must"):
        configuration.seed(states=states)


@pytest.mark.parametrize("concept", ["0", None, [], torch.tensor([]), 0.5, torch.tensor([0.5]), 10**30, {0}])
def test_concepts_that_are_none(shipped: SpatialRGM, concept: object) -> None:
    with pytest.raises(RGMError, match=r"concepts are whole numbers, (one or more, but got|but one is 0\.5)"):
        inspect.unwrap(RGM._concepts)(shipped, concept)
    assert inspect.unwrap(RGM._concepts)(shipped, torch.tensor([1.0, 0.0])).tolist() == [1, 0]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("value", [None, 3, "", b"mnist", ["mnist"], object(), "x" * 5000])
def test_what_is_no_path(shipped: SpatialRGM, value: object) -> None:
    calls: list[Callable[[Any], object]] = [rgm.load, rgm.load_data, rgm.load_films, shipped.save_pretrained]
    for call in calls:
        with pytest.raises(RGMError, match=r"must be a name or a path, but is|cannot be .*: file name too long"):
            call(value)
    wrong: Any = 3
    with pytest.raises(RGMError, match="`data_dir` must be a name or a path, but is 3"):
        rgm.load_data("mnist", data_dir=wrong)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("kind", ["seed", "paper"])
def test_every_call_checks_images(kind: str) -> None:
    model: RGM = SpatialRGM.from_preset(kind) if kind == "seed" else rgm.CountingRGM.from_preset(kind)
    calls: list[Callable[[Any], object]] = [
        model.infer,
        model.read,
        model.cell_logits,
        model.free_energy,
        model.log_weight,
    ]
    for call in calls:
        for images, reason in (
            (torch.full((2, 1, 28, 28), 2.0), "range over 2 … 2"),
            (torch.full((2, 1, 28, 28), math.nan), "range over nan"),
            (torch.zeros(2, 1, 8, 8), "resize them"),
            (torch.zeros(2, 28, 28, 1), r"channels come first, images\.permute"),
            (torch.zeros(2, 28, 28), r"images\[:, None\] adds the axis"),
            (torch.zeros(1, 28, 28), r"images\[None\] adds the axis"),
            (torch.zeros(0, 1, 28, 28), "with n ≥ 1"),
            (torch.zeros(2, 1, 28, 28, dtype=torch.uint8), "divide bytes by 255"),
            (np.zeros((2, 1, 28, 28)), r"but got ndarray: torch\.as_tensor"),
        ):
            with pytest.raises(RGMError, match=reason):
                call(images)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("kind", ["seed", "paper"])
def test_every_call_checks_codes(kind: str) -> None:
    model: RGM = SpatialRGM.from_preset(kind) if kind == "seed" else rgm.CountingRGM.from_preset(kind)
    z1 = torch.zeros(2, *model.config.levels[0].grid, dtype=torch.int64)
    parent = torch.zeros(2, *model.config.levels[1].grid, dtype=torch.int64)
    for codes in (z1 - 1, z1 + 10**6, z1[:, :1], z1[:0]):
        for call in (
            lambda codes: model.decode(codes),
            lambda codes: model.infer_from_codes(codes),
            lambda codes: list(model.decode_each_code(codes, 0, 0)),
            lambda codes: model.log_prob_given(1, codes, parent),
            lambda codes: model.sample_below(codes, 1),
        ):
            with pytest.raises(RGMError, match=r"codes must lie in|z1 must have shape"):
                call(codes)
    with pytest.raises(RGMError, match="the row of a cell in a grid of"):
        list(model.decode_each_code(z1, 99, 0))
    with pytest.raises(RGMError, match="z2 must have shape"):
        model.log_prob_given(1, z1, parent[:, :0])
    with pytest.raises(RGMError, match="every grid has a parent: 2 are needed, but got 1"):
        model.log_prob_given(1, z1, parent[:1])
    with pytest.raises(RGMError, match="a level must lie in 1 …"):
        model.sample_below(z1, 99)


def test_more_samples_than_memory_are_refused_before_any_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    model = SpatialRGM.from_preset("seed")
    with pytest.raises(RGMError, match=r"2,147,483,647 samples take .* GiB, but this machine has .*: ask for at most"):
        model.sample(0, 2**31 - 1)
    with pytest.raises(RGMError, match="images take"):
        model.morph(0, 1, 2**31 - 1)
    monkeypatch.setattr(memory, "machine_bytes", lambda: None)  # a system that does not say
    assert len(model.sample(0, 2).images) == 2


@pytest.mark.parametrize("tones", [0, 1, 300])
def test_grey_levels_that_are_none(tones: int) -> None:
    with pytest.raises(RGMError, match="the number of grey levels must lie in 2 … 256"):
        rgm.TemporalRGM.from_preset("film-flow", tones=tones)


@pytest.mark.usefixtures("unchecked")
def test_callbacks_and_watchers_that_are_none() -> None:
    model, images = SpatialRGM.from_preset("seed", image=(1, 8, 8)), np.zeros((4, 8, 8), np.uint8)
    wrong: tuple[dict[str, Any], ...] = ({"callbacks": None}, {"callbacks": [3]}, {"watch": None})
    for options in wrong:
        with pytest.raises(RGMError, match=r"`callbacks` is a list of|`watch` is called with"):
            rgm.fit(model, images, [0, 1, 2, 3], **options)


@pytest.mark.parametrize("generator", [5, np.random.default_rng(0), "x"])
def test_generators_that_are_not_of_pytorch(shipped: SpatialRGM, generator: object) -> None:
    with pytest.raises(RGMError, match=r"must be a torch\.Generator, but is"):
        inspect.unwrap(RGM._check_drawing)(shipped, generator)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_batches_without_size(shipped: SpatialRGM, batch_size: int) -> None:
    with pytest.raises(RGMError, match="the batch size must"):
        shipped.infer(torch.zeros(3, 1, 28, 28), batch_size=batch_size)


def test_labels_beyond_signed_numbers() -> None:
    images, labels = np.zeros((8, 8, 8), np.uint8), np.full(8, 2**64 - 1, dtype=np.uint64)
    with pytest.raises(RGMError, match="out of proportion to 8 images"):
        rgm.fit(SpatialRGM.from_preset("seed", image=(1, 8, 8)), images, labels)


def test_saving_replaces_no_files_of_the_users_own(shipped: SpatialRGM, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"mine")
    with pytest.raises(RGMError, match=r"holds files that are not an export's, such as model\.safetensors"):
        shipped.save_pretrained(tmp_path)
    assert (tmp_path / FILE).read_bytes() == b"mine"


def test_a_run_is_not_written_among_its_images(tmp_path: Path) -> None:
    with pytest.raises(RGMError, match="is the folder of the images"):
        own_run_folder(tmp_path, str(tmp_path))
    assert not list(tmp_path.iterdir())
