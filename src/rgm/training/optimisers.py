"""The optimisers of a stage: Adam, Muon for matrices between hidden layers, and a critic's; their state as tensors."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from rgm.errors import RGMError
from rgm.model.recognition import Residual
from rgm.model.spatial import SpatialRGM
from rgm.training.adam import Adam, Optimiser
from rgm.training.critic import Critic
from rgm.training.muon import Muon
from rgm.training.recipe import Stage

BETAS, ADVERSARIAL_BETAS = (0.9, 0.999), (0.0, 0.99)
"""Adam's decay rates, and those against a critic: no momentum, since the aims of both move (Karras et al. 2018)."""


class Optimisers:
    """The optimisers of the parts of a model that a stage trains, and of its critic; all other weights are frozen."""

    def __init__(
        self, model: SpatialRGM, stage: Stage, free: Sequence[nn.Parameter], critic: Critic | None = None
    ) -> None:
        parts: dict[str, nn.Module] = {
            "everything": model,
            "decoder": model.likelihood,
            "prior": model.priors,
            "concept": model.recognitions[-1],
        }
        every = list(parts[stage.trains].parameters())
        trained = {id(weight) for weight in every}
        for weight in free:  # frozen weights need no gradient
            weight.requires_grad_(id(weight) in trained)
        betas = BETAS if critic is None else ADVERSARIAL_BETAS
        adam = partial(Adam, lr=stage.learning_rate, betas=betas, fused=True)
        muons: dict[str, Optimiser] = {}
        for name, rate, found in (("1", stage.muon, _hidden), ("2", stage.muon_residual, _residual)):
            weights = [weight for weight in found(model) if id(weight) in trained] if rate else []
            if weights:
                muons[name] = Muon(weights, lr=rate)
                trained -= {id(weight) for weight in weights}
        rest = [weight for weight in every if id(weight) in trained]
        self.each: dict[str, Optimiser] = {"0": adam(rest), **muons}
        if critic is not None:
            self.each["critic"] = adam(critic.parameters())
        self._slots = {name: _slots(optimiser) for name, optimiser in self.each.items()}

    def step(self, loss: Tensor, share: float) -> None:
        """Take a step on a loss at a share of the stage's learning rates."""
        for optimiser in self.each.values():
            optimiser.zero_grad(set_to_none=True)
            for group in optimiser.param_groups:
                group["lr"] = optimiser.defaults["lr"] * share
        loss.backward()
        for optimiser in self.each.values():
            optimiser.step()

    def state(self) -> dict[str, Tensor]:
        """Return the state of every optimiser, by optimiser, weight and name."""
        return {
            f"{which}.{number}.{slot}": value
            for which, optimiser in self.each.items()
            for number, slots in optimiser.state_dict()["state"].items()
            for slot, value in slots.items()
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Restore a state; raise RGMError for other optimisers' state."""
        states: dict[str, dict[int, dict[str, Tensor]]] = {which: {} for which in self.each}
        for name, value in tensors.items():
            which, number, slot = (*name.split("."), "", "")[:3]
            shape = self._slots.get(which, {}).get(number, {}).get(slot)
            if value.shape != shape or not value.is_floating_point():
                raise another_training(f"its optimisers have no {name} of {value.dtype} and shape {tuple(value.shape)}")
            # In the parameters' memory order, which the fused optimiser requires.
            ordered = value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value
            states[which].setdefault(int(number), {})[slot] = ordered
        for which, found in states.items():
            for weight, slots in found.items():
                if slots.keys() != self._slots[which][str(weight)].keys():
                    raise another_training(f"its optimisers have only {', '.join(slots)} of weights {weight}")
        for which, optimiser in self.each.items():
            groups = optimiser.state_dict()["param_groups"]
            optimiser.load_state_dict({"state": states[which], "param_groups": groups})


def _hidden(model: SpatialRGM) -> list[nn.Parameter]:
    """Return the matrices between the priors' hidden layers, and the convolutions of the concept."""
    priors = [weight for level in range(1, model.depth) for weight in model.prior(level).hidden()]
    return priors + model.recognition(model.depth).hidden()


def _residual(model: SpatialRGM) -> list[nn.Parameter]:
    """Return the convolutions of the residual blocks of the grids' recognitions and of the decoder."""
    parts = [*(model.recognition(level) for level in range(1, model.depth)), model.likelihood]
    blocks = [module for part in parts for module in part.modules() if isinstance(module, Residual)]
    return [weight for block in blocks for weight in block.parameters() if weight.ndim == 4]


def _slots(optimiser: Optimiser) -> dict[str, dict[str, torch.Size]]:
    """Return the names and shapes of the state of each weight, by its number."""
    weights = (weight for group in optimiser.param_groups for weight in group["params"])
    return {
        str(index): {"momentum_buffer": weight.shape}
        if isinstance(optimiser, Muon)
        else {"exp_avg": weight.shape, "exp_avg_sq": weight.shape, "step": torch.Size()}
        for index, weight in enumerate(weights)
    }


def another_training(reason: str) -> RGMError:
    """Return the error for a checkpoint of another training."""
    return RGMError(f"the checkpoint holds the state of another training than this recipe's: {reason}")
