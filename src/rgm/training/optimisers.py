"""The optimisers of a stage: Adam, and Muon for matrices between hidden layers; their state as plain tensors."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rgm.errors import RGMError
from rgm.model.spatial import SpatialRGM
from rgm.training.muon import Muon
from rgm.training.recipe import Stage


class Optimisers:
    """The optimisers of the parts of a model that a stage trains; all others are frozen."""

    def __init__(self, model: SpatialRGM, stage: Stage, free: Sequence[nn.Parameter]) -> None:
        parts = {"everything": model, "prior": model.priors, "concept": model.recognitions[-1]}
        rest, hidden = list(parts[stage.trains].parameters()), list[nn.Parameter]()
        trained = {id(weight) for weight in rest}
        for weight in free:  # frozen weights need no gradient
            weight.requires_grad_(id(weight) in trained)
        if stage.muon:
            found = [w for level in range(1, model.depth) for w in model.prior(level).hidden()]
            found += model.recognition(model.depth).hidden()
            hidden = [weight for weight in found if id(weight) in trained]
            rest = [weight for weight in rest if not any(weight is matrix for matrix in hidden)]
        self.rates = (stage.learning_rate, stage.muon)
        self.each: list[torch.optim.Optimizer] = [
            torch.optim.Adam(rest, lr=stage.learning_rate, fused=True),
            *([Muon(hidden, lr=stage.muon)] if hidden else []),
        ]

    def step(self, loss: Tensor, share: float) -> None:
        """Take a step on a loss at a share of the stage's learning rates."""
        for optimiser, rate in zip(self.each, self.rates, strict=False):
            optimiser.zero_grad(set_to_none=True)
            for group in optimiser.param_groups:
                group["lr"] = rate * share
        loss.backward()
        for optimiser in self.each:
            optimiser.step()

    def state(self) -> dict[str, Tensor]:
        """Return the state of every optimiser, by optimiser, weight and name."""
        return {
            f"{which}.{number}.{slot}": value
            for which, optimiser in enumerate(self.each)
            for number, slots in optimiser.state_dict()["state"].items()
            for slot, value in slots.items()
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Restore a state; raise RGMError for other optimisers' state."""
        states: list[dict[int, dict[str, Tensor]]] = [{} for _ in self.each]
        slots: dict[tuple[str, str], dict[str, torch.Size]] = {}  # names and shapes of each weight's state
        for place, optimizer in enumerate(self.each):
            weights = (weight for group in optimizer.param_groups for weight in group["params"])
            for index, weight in enumerate(weights):
                moments = {"exp_avg": weight.shape, "exp_avg_sq": weight.shape, "step": torch.Size()}  # Adam's
                slots[str(place), str(index)] = {"momentum_buffer": weight.shape} if place else moments
        for name, value in tensors.items():
            which, number, slot = (*name.split("."), "", "")[:3]
            shape = slots.get((which, number), {}).get(slot)
            if value.shape != shape or not value.is_floating_point():
                raise another_training(f"its optimisers have no {name} of {value.dtype} and shape {tuple(value.shape)}")
            # In the parameters' memory order, which the fused optimiser requires.
            ordered = value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value
            states[int(which)].setdefault(int(number), {})[slot] = ordered
        for optimiser, slots_of in enumerate(states):
            for weight, found in slots_of.items():
                if found.keys() != slots[str(optimiser), str(weight)].keys():
                    raise another_training(f"its optimisers have only {', '.join(found)} of weights {weight}")
        for optimizer, state in zip(self.each, states, strict=True):
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state, "param_groups": groups})


def another_training(reason: str) -> RGMError:
    """Return the error for a checkpoint of another training."""
    return RGMError(f"the checkpoint holds the state of another training than this recipe's: {reason}")
