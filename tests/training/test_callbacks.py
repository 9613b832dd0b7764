from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import rgm
from rgm.data.images import ImageSet
from rgm.errors import RGMError
from rgm.model.spatial import SpatialRGM
from rgm.runtime.progress import EpochRecord, StepRecord
from rgm.storage.checkpoint import CHECKPOINTS, step_files
from rgm.training.config import RunConfig
from rgm.training.run import plan_run
from rgm.training.tensorboard import TensorBoard


class Heard:
    def __init__(self, until: int = 10**9) -> None:
        self.steps: list[StepRecord] = []
        self.epochs: list[EpochRecord] = []
        self.until = until

    def on_step(self, record: StepRecord) -> None:
        self.steps.append(record)
        if record.step == self.until:
            raise KeyboardInterrupt

    def on_epoch(self, record: EpochRecord) -> None:
        assert self.steps[-1].step == record.step
        self.epochs.append(record)


@pytest.fixture(scope="module")
def subset(digits: ImageSet) -> ImageSet:
    assert digits.labels is not None
    return replace(digits, images=digits.images[:96], labels=digits.labels[:96])


def test_callbacks_are_called_in_order(subset: ImageSet) -> None:
    torch.manual_seed(0)
    heard = Heard()
    images = subset.images
    result = rgm.fit(SpatialRGM(), images, subset.labels, recipe="seed", epochs=2, batch_size=32, callbacks=[heard])
    assert [record.step for record in heard.steps] == [1, 2, 3, 4, 5, 6]
    assert tuple(heard.epochs) == result.history


@pytest.mark.usefixtures("few_images_for_needed_codes")
def test_an_exception_in_a_callback_leaves_a_checkpoint(tmp_path: Path) -> None:
    config = RunConfig(data="digits", preset="seed", epochs=0.2, device="cpu")
    with pytest.raises(KeyboardInterrupt):
        plan_run(config).carry_out(tmp_path, callbacks=[Heard(until=3)])
    assert [file.stem for file in step_files(tmp_path / CHECKPOINTS)] == ["step-00000003"]
    heard = Heard()
    plan_run(config).carry_out(tmp_path, resume=True, callbacks=[heard])
    assert heard.steps[0].step == 4


def test_an_unwritable_board_is_reported_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RGMError, match=r"cannot write .*board: .*; give another place"):
        TensorBoard(tmp_path / "file" / "board")


def test_tensorboard_shows_every_step_and_epoch(subset: ImageSet, tmp_path: Path) -> None:
    torch.manual_seed(0)
    heard = Heard()
    rgm.fit(
        SpatialRGM(),
        subset.images,
        subset.labels,
        recipe="seed",
        epochs=2,
        batch_size=32,
        validation=(subset.images, subset.labels),
        callbacks=[heard, TensorBoard(tmp_path)],
    )
    board = EventAccumulator(str(tmp_path)).Reload()
    loss = board.Scalars("train/loss")
    assert [event.step for event in loss] == [1, 2, 3, 4, 5, 6]
    assert [event.value for event in loss] == pytest.approx([record.loss for record in heard.steps])
    shown = board.Scalars("validation/concept_accuracy")
    assert [event.step for event in shown] == [3, 6]
    expected = [record.validation["concept_accuracy"] for record in heard.epochs]
    assert [event.value for event in shown] == pytest.approx(expected)
