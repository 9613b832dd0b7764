"""The notebook's names of the networks of the two-level model."""

from torch import Tensor, nn

from rgm.distributions.categorical import gumbel_softmax, hard_argmax
from rgm.model.factorised import FactorisedPrior
from rgm.model.networks import Networks
from rgm.model.recognition import Recognition


class NotebookNames(Networks):
    """`enc1`, `z1_proj`, `enc2`, `dec2`, `dec1` and `reparameterize_gumbel` of the notebook's `SpatialRGM`."""

    def reparameterize_gumbel(self, logits: Tensor) -> Tensor:
        """Return a Gumbel-Softmax sample over axis 1 in training (τ = 1), the one-hot argmax in evaluation."""
        return gumbel_softmax(logits) if self.training else hard_argmax(logits)

    @property
    def enc1(self) -> nn.Sequential:
        """Image to features, (n, 64, 7, 7)."""
        return self.recognition(1).features

    @property
    def z1_proj(self) -> nn.Module:
        """Features to the logits of z_1, (n, 32, 7, 7)."""
        return self.recognition(1).head

    @property
    def enc2(self) -> nn.Sequential:
        """One-hot z_1 to the concept's logits, (n, 10)."""
        self._only_two_levels("enc2")
        top = self.recognition(2)
        return nn.Sequential(_Embedding(self.recognition(1)), *top.features, top.head, nn.Flatten())

    @property
    def dec2(self) -> nn.Sequential:
        """One-hot concept to the prior's logits of z_1, (n, 32 · 49)."""
        self._only_two_levels("dec2")
        prior = self.prior(1)
        if not isinstance(prior, FactorisedPrior):
            raise AttributeError("dec2 is the factorised prior of the notebook's model; this model's is structured")
        return prior.net

    @property
    def dec1(self) -> nn.Sequential:
        """One-hot z_1 to the mean image, (n, 1, 28, 28)."""
        return nn.Sequential(_Embedding(self.recognition(1)), *self.likelihood.net, nn.Sigmoid())

    def _only_two_levels(self, name: str) -> None:
        if self.depth != 2:
            raise AttributeError(f"{name} is a name of the two-level model, but this one has {self.depth} levels")


class _Embedding(nn.Module):
    """The embedding of a level's one-hot codes."""

    def __init__(self, recognition: Recognition) -> None:
        super().__init__()
        self.recognition = recognition

    def forward(self, z: Tensor) -> Tensor:
        return self.recognition.read(z)
