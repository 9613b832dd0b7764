"""Muon: orthogonalised momentum for the matrices of hidden layers."""

import math
from collections import defaultdict
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from rgm.training.adam import Optimiser

COEFFICIENTS, STEPS = (3.4445, -4.7750, 2.0315), 5
"""Coefficients and number of steps of the quintic Newton–Schulz iteration."""
WIDE = 4
"""Columns per row from which the iteration is computed on X Xᵀ: there it takes half the time."""
_TINY = 1e-7


class Muon(Optimiser):
    """Jordan et al. (2024), in the weights' own precision, matrices of one shape together.

    `W ← W − lr · √max(1, rows / columns) · O(G + μ (M − G))`, `M ← μ M + (1 − μ) G` with Nesterov's momentum and O the
    nearest semi-orthogonal matrix, by Newton–Schulz. A convolution's kernel is a matrix of one row per output channel.
    The same rule as `torch.optim.Muon`, which iterates in bfloat16, one matrix after another: without hardware support
    for bfloat16 that takes most of a small model's step.
    """

    def __init__(self, weights: Iterable[Tensor], *, lr: float, momentum: float = 0.95) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum})
        shapes = [tuple(w.shape) for group in self.param_groups for w in group["params"] if w.ndim < 2]
        if shapes:
            raise ValueError(f"Muon is for matrices and kernels, but a weight has the shape {shapes[0]}")

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take a step along the weights' gradients; `closure` is not supported."""
        assert closure is None
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is not None:
                    by_shape[weight.shape].append(weight)
            for shape, weights in by_shape.items():
                updates = torch.stack([self._momentum(weight, group["momentum"]).flatten(1) for weight in weights])
                rate = group["lr"] * math.sqrt(max(1.0, updates.shape[1] / updates.shape[2]))
                for weight, update in zip(weights, orthogonalised(updates), strict=True):
                    weight.add_(update.reshape(shape), alpha=-rate)

    def _momentum(self, weight: Tensor, momentum: float) -> Tensor:
        """Return the Nesterov update, and update the running mean."""
        state, gradient = self.state[weight], weight.grad
        assert gradient is not None
        if not state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        average: Tensor = state["momentum_buffer"]
        average.lerp_(gradient, 1 - momentum)
        return gradient.lerp(average, momentum)


def orthogonalised(matrices: Float[Tensor, "n rows columns"]) -> Float[Tensor, "n rows columns"]:
    """Return U S′ Vᵀ of each matrix U S Vᵀ, its singular values S′ near 1 (between about 0.7 and 1.2).

    `X ← a X + (b X Xᵀ + c (X Xᵀ)²) X`, five times, from X of Frobenius norm 1. That is X multiplied by a polynomial of
    G = X Xᵀ; of wide matrices it is computed from G alone: `Q = a I + b G + c G²`, `P ← Q P`, `G ← Q G Q`, then P X.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(_TINY)
    if x.shape[2] >= WIDE * x.shape[1]:
        gram = x @ x.mT
        identity = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        factor = product = _factor(gram, identity)
        for _ in range(STEPS - 1):
            gram = factor @ gram @ factor
            factor = _factor(gram, identity)
            product = factor @ product
        x = product @ x
    else:
        a, b, c = COEFFICIENTS
        for _ in range(STEPS):
            gram = x @ x.mT
            x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def _factor(gram: Float[Tensor, "n rows rows"], identity: Float[Tensor, "rows rows"]) -> Float[Tensor, "n rows rows"]:
    """Return a I + b G + c G²."""
    a, b, c = COEFFICIENTS
    return torch.baddbmm(gram, gram, gram, beta=b, alpha=c) + a * identity
