"""The networks of a SpatialRGM: recognitions, priors and likelihood."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from rgm.distributions.categorical import one_hot
from rgm.errors import RGMError
from rgm.model import config as configuration
from rgm.model.config import ModelConfig
from rgm.model.factorised import FactorisedPrior
from rgm.model.generative import RGM, Codes
from rgm.model.likelihood import Likelihood
from rgm.model.prior import Prior
from rgm.model.recognition import Recognition
from rgm.model.transformer import OrderedPrior, TransformerPrior


class Networks(RGM):
    """The recognition and prior of every level, the likelihood, and codes as their inputs."""

    config: ModelConfig
    kind = "network"
    config_type = ModelConfig

    def __init__(self, latent_dim: int = 32, num_classes: int = 10, *, config: ModelConfig | None = None) -> None:
        super().__init__()
        if config is None:
            config = configuration.seed(classes=num_classes, states=latent_dim)
        self.config = config
        below = config.image
        recognitions: list[Recognition] = []
        for level in config.levels:
            recognitions.append(Recognition(level.recognition, below, level.shape))
            below = recognitions[-1].readout
        self.recognitions = nn.ModuleList(recognitions)
        self.priors = nn.ModuleList(
            TransformerPrior(level.prior, above.readout, level.shape)
            if isinstance(level.prior, OrderedPrior)
            else FactorisedPrior(level.prior, above.readout, level.shape)
            for level, above in zip(config.levels, recognitions[1:], strict=False)
            if level.prior is not None
        )
        self.likelihood = Likelihood(config.decoder, config.pixels, recognitions[0].readout, config.image)

    def recognition(self, level: int) -> Recognition:
        """Return q(z_ℓ | z_{ℓ−1}); levels count from 1."""
        module = self.recognitions[level - 1]
        assert isinstance(module, Recognition)
        return module

    def prior(self, level: int) -> Prior:
        """Return p(z_ℓ | z_{ℓ+1}), given the embedding of z_{ℓ+1}; levels count from 1, the top has none."""
        module = self.priors[level - 1]
        assert isinstance(module, Prior)
        return module

    @torch.no_grad()
    def rename_concepts(self, classes: Int64[Tensor, " classes"]) -> None:
        """Renumber concept k as `classes[k]` everywhere; raise RGMError where `classes` is no permutation."""
        if sorted(classes.tolist()) != list(range(self.num_classes)):
            raise RGMError(f"concepts are renamed by a permutation of 0 … {self.num_classes - 1}, not {classes}")
        order = classes.argsort().to(self.device)
        for values in self.recognition(self.depth).head.project.parameters():  # weight and bias
            values.copy_(values[order])
        parents = self.prior(self.depth - 1).parents
        parents.copy_(parents[:, order])

    def _one_hot(self, codes: Codes, level: int) -> Float[Tensor, "n states height width"]:
        """Return a level's codes as a one-hot field in the type of the parameters."""
        return one_hot(codes, self.config.levels[level - 1].states, dtype=next(self.parameters()).dtype)

    def _embed(self, codes: Codes, level: int) -> Float[Tensor, "n readout height width"]:
        """Return a level's codes embedded for the level above and the decoder."""
        return self.recognition(level).read(self._one_hot(codes, level))
