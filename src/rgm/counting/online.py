"""The paper's rule, image by image, by incremental updates."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rgm.counting.config import RankedSymbols
from rgm.counting.model import CountingRGM
from rgm.counting.tree import Tree, expected_pairs
from rgm.counting.updating import PRECISION, selective_update, x_log_x


class Sequential:
    """`update(model, image, label, select=True)` image after image, for symbols with one certain level.

    An image changes one row of a variate's array, that of its level. The sums over rows, over columns and of a log a
    are cached, so that the mutual information before and after an image, and p(symbols | state), cost one row and one
    column. Forgetting scales the whole array, which none of them depends on: each array has its `scale`, and additions
    are divided by it; the counts are written back after the last image.
    """

    @staticmethod
    def suits(model: CountingRGM) -> bool:
        """Return whether every symbol of a model has one certain level, without outliers: `update` handles others."""
        return isinstance(model.config.symbols, RankedSymbols) and model.config.smoothing.outliers == 0

    def __init__(self, model: CountingRGM) -> None:
        self.model = model
        counts = model.counts[0]
        exists = model.leaves.exists().to(counts.device)
        self.exists = exists.to(counts.dtype)[..., None]
        self.possible = (counts.sum(dim=(2, 3)) > 0).log()  # per state: log 1 or log 0
        self.rows = counts.permute(0, 2, 3, 1).contiguous()  # groups, variates, levels, states
        self.columns = self.rows.sum(dim=2)
        self.sums = self.rows.sum(dim=3)
        self.total = self.sums.sum(dim=2)
        self.joint = x_log_x(self.rows).sum(dim=(2, 3))
        self.by_row = x_log_x(self.sums).sum(dim=2)
        self.by_column = x_log_x(self.columns).sum(dim=2)
        self.scale = torch.ones_like(self.total)

    def observe(self, images: Float[Tensor, "n channels rows columns"], labels: Int64[Tensor, " n"]) -> None:
        """Update the counts by images, in their order."""
        leaves = self.model.leaves
        read = self.model.symbols(images).unflatten(2, (leaves.variates, leaves.levels - 1))
        level = (read * torch.arange(1, leaves.levels, device=read.device)).sum(dim=3).round().long()
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # an image's operations are too small for several
        try:
            for number, label in enumerate(labels.tolist()):
                self._observe(level[:, number], label)
        finally:
            torch.set_num_threads(threads)
        counts = self.model.counts[0]
        counts.copy_((self.rows * self.scale[:, :, None, None]).permute(0, 3, 1, 2))

    def _observe(self, level: Int64[Tensor, "groups variates"], label: int) -> None:
        model, place = self.model, level[:, :, None, None].expand(-1, -1, 1, self.rows.shape[3])
        row = self.rows.gather(2, place)[:, :, 0]
        tiny = torch.finfo(row.dtype).tiny
        log_row, log_column = row.clamp_min(tiny).log(), self.columns.clamp_min(tiny).log()
        log_likelihood = ((log_row - log_column) * self.exists).sum(dim=1) + self.possible
        _, *link_counts, top_counts = model.counts
        links = [counts / counts.sum(dim=2, keepdim=True).clamp_min(tiny) for counts in link_counts]
        tree = Tree(model.grids, links)
        upward = tree.up(log_likelihood[:, None])
        top = top_counts[label]
        root = (upward.root + (top / top.sum()).log()).softmax(dim=1)
        pairs = tree.down(upward, root)
        for counts, message, share, link in zip(link_counts, upward.messages, pairs.shares, links, strict=True):
            counts.copy_(selective_update(counts, expected_pairs(message, share, link), 1))
        more = torch.zeros_like(top_counts)
        more[label] = root[0]
        top_counts.copy_(selective_update(top_counts, more, 1))
        self._symbols(level, row, log_row, log_column, pairs.marginals[0][:, 0])

    def _symbols(
        self, level: Tensor, row: Tensor, log_row: Tensor, log_column: Tensor, states: Float[Tensor, "groups states"]
    ) -> None:
        """Update the symbol counts by an image, given its groups' states."""
        sums = self.sums.gather(2, level[..., None])[..., 0]
        more = states[:, None] / self.scale[..., None]
        whole = more.sum(dim=2)
        old = self.joint, self.by_row, self.by_column, self.total

        def sums_after(share: Tensor | float) -> tuple[Tensor, ...]:
            added = more * share if isinstance(share, float) else more * share[..., None]
            new_row, new_column = row + added, self.columns + added
            gained = whole * share
            return (
                self.joint + (x_log_x(new_row) - row * log_row).sum(dim=2),
                self.by_row + x_log_x(sums + gained) - x_log_x(sums),
                self.by_column + (x_log_x(new_column) - self.columns * log_column).sum(dim=2),
                self.total + gained,
            )

        gain = _information(*sums_after(1.0)) - _information(*old)
        accepted = torch.sigmoid(PRECISION * gain)
        self.joint, self.by_row, self.by_column, self.total = sums_after(accepted)
        added = more * accepted[..., None]
        place = level[:, :, None, None].expand(-1, -1, 1, added.shape[2])
        self.rows.scatter_add_(2, place, added[:, :, None])
        self.sums.scatter_add_(2, level[..., None], (whole * accepted)[..., None])
        self.columns += added
        self.scale *= PRECISION / (PRECISION + accepted)


def _information(joint: Tensor, by_row: Tensor, by_column: Tensor, total: Tensor) -> Tensor:
    """Return the mutual information of arrays from Σ a log a, of cells, rows and columns, and Σ a."""
    total = total.clamp_min(torch.finfo(total.dtype).tiny)
    return (joint - by_row - by_column) / total + total.log()
