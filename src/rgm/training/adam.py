"""Adam, and what every optimiser of a training has in common: it starts without PyTorch's compiler."""

from inspect import unwrap

import torch

_PLAIN = torch.optim.Optimizer
_STEP = unwrap(torch.optim.Adam.step)


class Optimiser(_PLAIN):
    """PyTorch's optimiser without the guards that keep `torch.compile` out of these methods.

    The first call of a guarded method imports the compiler: a second of every start. A step is never compiled here.
    """

    add_param_group = unwrap(_PLAIN.add_param_group)
    zero_grad = unwrap(_PLAIN.zero_grad)
    state_dict = unwrap(_PLAIN.state_dict)
    load_state_dict = unwrap(_PLAIN.load_state_dict)


class Adam(Optimiser, torch.optim.Adam):
    """Kingma and Ba (2015), as PyTorch has it."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take a step along the weights' gradients; `closure` is not supported."""
        _STEP(self, closure)
