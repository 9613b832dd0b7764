"""Logging to TensorBoard."""

from pathlib import Path
from typing import TYPE_CHECKING

from rgm.errors import RGMError
from rgm.runtime.progress import EpochRecord, StepRecord
from rgm.storage.files import writable_folder

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter


class TensorBoard:
    """A callback that writes TensorBoard's files: the loss and its terms at every step, the measures at every epoch.

    Needs the extra `tensorboard`; raises RGMError where it is absent, or the folder cannot be written. A resumed
    training hides earlier records of later steps.
    """

    def __init__(self, folder: Path | str) -> None:
        try:
            import torch.utils.tensorboard  # noqa: F401
        except ImportError:
            raise RGMError(
                "TensorBoard is not installed: pip install 'rgm[tensorboard]', or leave --tensorboard out"
            ) from None
        self.folder = writable_folder(Path(folder))
        self._writer: SummaryWriter | None = None

    def on_step(self, record: StepRecord) -> None:
        """Write the loss and its terms."""
        for name, value in {"loss": record.loss, **record.terms}.items():
            self._at(record.step).add_scalar(f"train/{name}", value, record.step)

    def on_epoch(self, record: EpochRecord) -> None:
        """Write the measures of the validation split."""
        writer = self._at(record.step)
        for name, value in record.validation.items():
            writer.add_scalar(f"validation/{name}", value, record.step)
        writer.flush()

    def _at(self, step: int) -> "SummaryWriter":
        from torch.utils.tensorboard.writer import SummaryWriter

        if self._writer is None:
            self._writer = SummaryWriter(str(self.folder), purge_step=step)
        return self._writer
