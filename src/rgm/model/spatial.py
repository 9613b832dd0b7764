"""SpatialRGM: a deep generative model with discrete, spatial and hierarchical latents."""

import math
from collections.abc import Iterator
from itertools import pairwise

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from rgm.distributions.categorical import CategoricalField, gumbel_softmax, hard_argmax, one_hot
from rgm.distributions.noise import Source
from rgm.errors import RGMError
from rgm.model import config as configuration
from rgm.model.config import ModelConfig, PriorConfig
from rgm.model.factorised import DensePrior, FactorisedPrior, LocalPrior
from rgm.model.generative import BATCH_SIZE, CELL_BATCH_SIZE, RGM, Codes, Images, Parents
from rgm.model.likelihood import Likelihood
from rgm.model.prior import Prior
from rgm.model.receptive import Box, needed, reached
from rgm.model.recognition import Recognition, Relaxed, Shape
from rgm.model.results import FreeEnergy, Inference, Samples
from rgm.model.transformer import OrderedPrior, TransformerPrior

NEGLIGIBLE = 1e-6
"""Concepts less probable than this are omitted from sums in evaluation, at less than 0.001 nats each."""


class SpatialRGM(RGM):
    """Levels of categorical grids between an image and one concept.

    generative   p(x, z) = p(z_L) · Π_{ℓ<L} p(z_ℓ | z_{ℓ+1}) · p(x | z_1)
    recognition  q(z | x) = q(z_1 | x) · Π_{ℓ<L} q(z_{ℓ+1} | z_ℓ)

    p(z_L) is uniform. `SpatialRGM(latent_dim, num_classes)` is the notebook's two-level network, with the notebook's
    names (`enc1`, `z1_proj`, `enc2`, `dec2`, `dec1`, `reparameterize_gumbel`); `from_preset` and `from_config` build
    the others.
    """

    config: ModelConfig
    kind = "network"
    config_type = ModelConfig

    def __init__(
        self, latent_dim: int = 32, num_classes: int = 10, *, config: ModelConfig | None = None
    ) -> None:
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
            _prior(level.prior, above.readout, level.shape)
            for level, above in zip(config.levels, recognitions[1:], strict=False)
            if level.prior is not None
        )
        self.likelihood = Likelihood(config.decoder, config.pixels, recognitions[0].readout, config.image)

    @classmethod
    def from_config(cls, config: ModelConfig) -> "SpatialRGM":
        """Return an untrained model of a configuration."""
        return cls(config=config)

    @classmethod
    def from_preset(cls, name: str, *, image: Shape = (1, 28, 28), classes: int = 10) -> "SpatialRGM":
        """Return an untrained model of a named preset for images of (channels, height, width)."""
        return cls(config=configuration.preset(name, image, classes))

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
        """Renumber concept k as `classes[k]`, in recognition and generation.

        Raises RGMError where `classes` is not a permutation.
        """
        if sorted(classes.tolist()) != list(range(self.num_classes)):
            raise RGMError(
                f"concepts are renamed by a permutation of 0 … {self.num_classes - 1}, not {classes}"
            )
        order = classes.argsort().to(self.device)
        for values in self.recognition(self.depth).head.project.parameters():  # weight and bias
            values.copy_(values[order])
        parents = self.prior(self.depth - 1).parents
        parents.copy_(parents[:, order])

    # Bottom-up

    def relax(self, images: Images, generator: Source = None) -> list[Relaxed]:
        """Return every level's field with a sample that carries gradient, finest first; for training."""
        below, levels = images, []
        for level in range(1, self.depth + 1):
            recognition = self.recognition(level)
            levels.append(recognition.relax(below, generator))
            below = recognition.read(levels[-1].sample)
        return levels

    def _infer(self, images: Images) -> Inference:
        first, *above = self._fields(images)
        return self._inference(first.mode(), above)

    def _inference(self, z1: Codes, above: list[CategoricalField]) -> Inference:
        """Return the result for codes and the fields of the levels above."""
        *grids, concept = above
        return Inference(
            codes=(z1, *(field.mode() for field in grids)),
            concept=concept.probs().flatten(1),
            reconstruction=self._decode(z1),
        )

    def _fields(self, images: Images) -> list[CategoricalField]:
        """Return every level's q(z_ℓ | z_{ℓ−1}) given the most probable codes of the level below."""
        first = self.recognition(1).field(images)
        return [first, *self._fields_above(first.mode(), self.depth)]

    def _fields_above(self, z1: Codes, top: int) -> list[CategoricalField]:
        """Return q(z_ℓ | z_{ℓ−1}) for ℓ = 2 … `top`, given the most probable codes of the level below."""
        codes, fields = z1, []
        for level in range(2, top + 1):
            fields.append(self.recognition(level).field(self._embed(codes, level - 1)))
            codes = fields[-1].mode()
        return fields

    @torch.no_grad()
    def read(self, images: Images) -> list[Codes]:
        """Return the most probable codes of every level, the concept's last, without decoding them."""
        return [field.mode() for field in self._fields(images)]

    @torch.no_grad()
    def read_grids(self, images: Images) -> list[Codes]:
        """Return the most probable codes of every grid, as `read` does, without the concept."""
        z1 = self.recognition(1).field(images).mode()
        return [z1, *(field.mode() for field in self._fields_above(z1, self.depth - 1))]

    @torch.no_grad()
    def infer_from_codes(self, z1: Codes) -> Inference:
        """Return `infer`'s result for given codes: the levels above inferred from them, and their reconstruction.

        Raises RGMError for a grid of another shape or codes out of range.
        """
        self._check_codes(z1)
        return self._inference(z1.to(self.device), self._fields_above(z1.to(self.device), self.depth))

    @torch.no_grad()
    def cell_logits(self, images: Images) -> Float[Tensor, "n states height width"]:
        """Return the logits of q(z_1 | x)."""
        return torch.cat([self.recognition(1).field(chunk).logits for chunk in images.split(BATCH_SIZE)])

    # Top-down

    def _decode(self, z1: Codes) -> Images:
        return self.likelihood.mean(self._embed(z1, 1))

    def mean_image(self, z1: Float[Tensor, "n states height width"]) -> Images:
        """Return the mean of p(x | z_1) for one-hot or relaxed codes."""
        return self.likelihood.mean(self.recognition(1).read(z1))

    @torch.no_grad()
    def decode_each_code(
        self, z1: Codes, row: int, column: int
    ) -> Iterator[Float[Tensor, "chunk states channels tall wide"]]:
        """Yield a cell's `decoder_field` decoded with every code in that cell, from the `cells_that_reach` it alone."""
        field = self.decoder_field(row, column)
        cells = self.cells_that_reach(field)
        corner = self.patch(cells.top, cells.left)
        shown = Box(
            top=field.top - corner.top,
            bottom=field.bottom - corner.top,
            left=field.left - corner.left,
            right=field.right - corner.left,
        )
        states = torch.arange(self.latent_dim, device=self.device)
        embedded = self._embed(states[:, None, None], 1)[:, :, 0, 0]
        for chunk in z1.to(self.device)[:, *cells.slices].split(CELL_BATCH_SIZE):
            around = self._embed(chunk, 1).repeat_interleave(len(states), dim=0)
            around[:, :, row - cells.top, column - cells.left] = embedded.repeat(len(chunk), 1)
            parts = [self.likelihood.mean(part)[..., *shown.slices] for part in around.split(BATCH_SIZE)]
            yield torch.cat(parts).unflatten(0, (len(chunk), len(states)))

    @torch.no_grad()
    def sample_below(
        self,
        z: Codes,
        level: int,
        *,
        generator: torch.Generator | None = None,
        temperature: float = 1.0,
    ) -> list[Tensor]:
        """Return codes of every level below z_ℓ, sampled top-down given it, finest first; levels count from 1."""
        drawn: list[Tensor] = []
        for below in range(level - 1, 0, -1):
            z = self.prior(below).sample(self._embed(z, below + 1), generator, temperature=temperature)
            drawn.insert(0, z)
        return drawn

    @torch.no_grad()
    def complete(
        self,
        z1: Codes,
        keep: Bool[Tensor, "#n height width"],
        concept: int | Int64[Tensor, " #n"],
        *,
        generator: torch.Generator | None = None,
        temperature: float = 1.0,
    ) -> Samples:
        """Return images whose cells in `keep` have the codes of `z1`, the rest sampled given them and a concept.

        A cell of a grid between z_1 and the concept keeps its inferred code where all cells that it depends on are
        kept, and is resampled elsewhere: codes outside `keep` are ignored. Raises RGMError for codes or concepts that
        the model does not have, or a mask of another shape than the grid.
        """
        self._check_codes(z1)
        self._check_keep(keep, z1)
        concepts = self._concept_of_each(concept, len(z1))
        codes = [z1, *(field.mode() for field in self._fields_above(z1, self.depth - 1))]
        kept = [keep.expand_as(z1)]
        for level in range(2, self.depth):
            kept.append(~self.recognition(level).unsure(~kept[-1]))
        return self._descend(concepts, codes, kept, generator, temperature)

    def _between(
        self, start: int, end: int, share: float, generator: torch.Generator, temperature: float
    ) -> list[Tensor]:
        ends = self._embed(self._concepts(torch.tensor([start, end]))[:, None, None], self.depth)
        parent = torch.lerp(ends[:1], ends[1:], share)
        top = self.prior(self.depth - 1).sample(parent, generator, temperature=temperature)
        return [*self.sample_below(top, self.depth - 1, generator=generator, temperature=temperature), top]

    @torch.no_grad()
    def cell_log_probs(
        self, z1: Codes, concept: int | Int64[Tensor, " n"], row: int, column: int
    ) -> Float[Tensor, "n states"]:
        """Return log p(z_1,ij = k | all other cells, parent) in nats, for the cell (i, j) and every code k.

        The parent is the concept, or in a deeper model the grid above, inferred from the codes. Raises RGMError for
        codes, concepts or cells that the model does not have.
        """
        self._check_codes(z1)
        self._check_cell(row, column)
        z1, concepts = z1.to(self.device), self._concepts(concept)
        parent = (
            self._fields_above(z1, 2)[0].mode() if self.depth > 2 else concepts.expand(len(z1))[:, None, None]
        )
        return self.prior(1).cell_log_probs(self._one_hot(z1, 1), self._embed(parent, 2), row, column)

    @torch.no_grad()
    def log_prob_given(self, level: int, child: Codes, parent: Parents) -> Float[Tensor, " n"]:
        """Return log p(z_ℓ | z_{ℓ+1}) in nats, for the codes of a level and of the level above."""
        z, embedded = (
            self._one_hot(child.to(self.device), level),
            self._embed(parent.to(self.device), level + 1),
        )
        return self.prior(level).log_prob(z, embedded)

    def _descend(
        self,
        concepts: Int64[Tensor, " n"],
        codes: list[Tensor],
        keep: list[Tensor],
        generator: torch.Generator | None,
        temperature: float,
    ) -> Samples:
        """Return images of concepts, sampled level by level except for the cells of `codes` in `keep`."""
        drawn: list[Tensor] = []
        parent = self._embed(concepts[:, None, None], self.depth)
        for level in range(self.depth - 1, 0, -1):
            z = self.prior(level).complete(
                codes[level - 1], keep[level - 1], parent, generator, temperature=temperature
            )
            drawn.insert(0, z)
            parent = self._embed(z, level)
        return Samples(images=self.decode(drawn[0]), concept=concepts, codes=tuple(drawn))

    # The bound

    @torch.no_grad()
    def free_energy(
        self,
        images: Images,
        labels: Int64[Tensor, " n"] | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> FreeEnergy:
        """Return F(x) in nats per image, its codes sampled from q and its top level summed exactly.

        F(x) = −log p(x | z_1) + Σ_{ℓ<L} [ log q(z_ℓ | z_{ℓ−1}) − log p(z_ℓ | z_{ℓ+1}) ] + KL(q(z_L | ·) ‖ p(z_L)), with
        each z_ℓ sampled bottom-up from q(z_ℓ | z_{ℓ−1}), and the expectation over z_L a sum over concepts. With
        `labels` the concept is known and F bounds −log p(x, y). Images are used as given: see `Likelihood.observe`.
        """
        self._check_images(images)
        fields, drawn = self._draw(images, generator)
        known = None if labels is None else self._labels(labels, len(images))
        return self.bound(images, fields, drawn, known, negligible=NEGLIGIBLE)

    def bound(
        self,
        images: Images,
        fields: list[CategoricalField],
        samples: list[Tensor],
        labels: Int64[Tensor, " n"] | None = None,
        *,
        negligible: float = 0.0,
    ) -> FreeEnergy:
        """Return F(x) for given samples of z_1 … z_{L−1} from `fields`, differentiable in both.

        `fields` are every level's q(z_ℓ | z_{ℓ−1}), the top's last; `samples` one-hot in value, or relaxed. Concepts
        with q(z_L | ·) < `negligible` are omitted from the sum over concepts.
        """
        *log_q, last = [field.log_prob(z) for field, z in zip(fields, samples, strict=False)]
        log_p = self._log_prob_between(samples)
        rates = [q - p for q, p in zip(log_q, log_p, strict=True)]
        uniform = math.log(self.num_classes)
        if labels is None:
            weights = fields[-1].probs().flatten(1)
            top = uniform - fields[-1].entropy()
            image, concept = (weights >= negligible).nonzero(as_tuple=True)
            parent = self._embed(concept[:, None, None], self.depth)
            log_prob = self.prior(self.depth - 1).log_prob(samples[-1][image], parent)
            last = last.index_add(0, image, weights[image, concept] * log_prob, alpha=-1)
        else:  # the concept does not depend on z_{L−1}, whose cells can then be summed out one by one
            top = torch.full_like(last, uniform)
            parent, field = self._embed(labels[:, None, None], self.depth), fields[-2]
            prior = self.prior(self.depth - 1)
            last = -field.entropy() - prior.expected_log_prob(field.probs(), samples[-1], parent)
        distortion = -self.likelihood.log_prob(images, self.recognition(1).read(samples[0]))
        return FreeEnergy(distortion_nats=distortion, rate_nats=torch.stack([*rates, last, top], dim=1))

    @torch.no_grad()
    def log_weight(self, images: Images, *, generator: torch.Generator | None = None) -> Float[Tensor, " n"]:
        """Return log p(x, z) − log q(z | x) in nats, z_1 … z_{L−1} sampled from q and the concept summed out.

        Its exponential is an unbiased estimate of p(x).
        """
        self._check_images(images)
        fields, drawn = self._draw(images, generator)
        joint = self.log_prob_by_concept(drawn[-1]) - math.log(self.num_classes)
        log_p = [*self._log_prob_between(drawn), joint.logsumexp(dim=1)]
        log_q = [field.log_prob(z) for field, z in zip(fields, drawn, strict=False)]
        likelihood = self.likelihood.log_prob(images, self.recognition(1).read(drawn[0]))
        return likelihood + torch.stack(log_p).sum(dim=0) - torch.stack(log_q).sum(dim=0)

    def _draw(
        self, images: Images, generator: torch.Generator | None
    ) -> tuple[list[CategoricalField], list[Tensor]]:
        """Return every level's q(z_ℓ | z_{ℓ−1}), and one-hot samples of all but the top."""
        below, fields, drawn = images, [], []
        for level in range(1, self.depth):
            fields.append(self.recognition(level).field(below))
            drawn.append(self._one_hot(fields[-1].sample(generator), level))
            below = self.recognition(level).read(drawn[-1])
        return [*fields, self.recognition(self.depth).field(below)], drawn

    def _log_prob_between(self, drawn: list[Tensor]) -> list[Tensor]:
        """Return log p(z_ℓ | z_{ℓ+1}) in nats for the levels with a sampled parent."""
        return [
            self.prior(level).log_prob(child, self.recognition(level + 1).read(parent))
            for level, (child, parent) in enumerate(pairwise(drawn), start=1)
        ]

    def log_prob_by_concept(self, z: Float[Tensor, "n states height width"]) -> Float[Tensor, "n classes"]:
        """Return log p(z_{L−1} | z_L = c) in nats, for every concept c."""
        prior = self.prior(self.depth - 1)
        columns = []
        for concept in range(self.num_classes):
            parent = torch.full((len(z), 1, 1), concept, device=z.device)
            columns.append(prior.log_prob(z, self._embed(parent, self.depth)))
        return torch.stack(columns, dim=1)

    def observe(self, images: Images, generator: torch.Generator | None = None) -> Images:
        """Return grey images as observations: see `Likelihood.observe`."""
        return self.likelihood.observe(images, generator)

    @property
    def is_density(self) -> bool:
        """Whether the likelihood is a probability (or density) of what `observe` returns."""
        return self.likelihood.is_density

    @property
    def pixels_kind(self) -> str:
        """The name of the distribution of a pixel."""
        return self.config.pixels.kind

    # Fields

    def decoder_field(self, row: int, column: int) -> Box:
        """Return the pixels that a cell of z_1 can change, from the decoder's architecture."""
        return reached(self.likelihood.net, Box.of(row, column), self.config.image[1:])

    def cells_that_reach(self, pixels: Box) -> Box:
        """Return the cells of z_1, as rows and columns of the grid, that decoded pixels can depend on."""
        return needed(self.likelihood.net, pixels, self.config.levels[0].grid)

    def encoder_field(self, row: int, column: int) -> Box:
        """Return the pixels that a cell's code can depend on: the recognition's receptive field."""
        return needed(self.recognition(1).features, Box.of(row, column), self.config.image[1:])

    # Codes as inputs of networks

    def _one_hot(self, codes: Codes, level: int) -> Float[Tensor, "n states height width"]:
        """Return a level's codes as a one-hot field in the type of the parameters."""
        return one_hot(codes, self.config.levels[level - 1].states, dtype=next(self.parameters()).dtype)

    def _embed(self, codes: Codes, level: int) -> Float[Tensor, "n readout height width"]:
        """Return a level's codes embedded for the level above and the decoder."""
        return self.recognition(level).read(self._one_hot(codes, level))

    # The notebook's names, on the two-level model

    def forward(self, images: Images) -> Images:
        """Return the reconstruction, from relaxed codes in training, hard ones otherwise, as in the notebook."""
        return self.mean_image(self.relax(images)[0].sample)

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
            raise AttributeError(
                "dec2 is the factorised prior of the notebook's model; this model's is structured"
            )
        return prior.net

    @property
    def dec1(self) -> nn.Sequential:
        """One-hot z_1 to the mean image, (n, 1, 28, 28)."""
        return nn.Sequential(_Embedding(self.recognition(1)), *self.likelihood.net, nn.Sigmoid())

    def _only_two_levels(self, name: str) -> None:
        if self.depth != 2:
            raise AttributeError(
                f"{name} is a name of the two-level model, but this one has {self.depth} levels"
            )


def _prior(config: PriorConfig, parent: Shape, child: Shape) -> Prior:
    match config:
        case DensePrior() | LocalPrior():
            return FactorisedPrior(config, parent, child)
        case OrderedPrior():
            return TransformerPrior(config, parent, child)


class _Embedding(nn.Module):
    """The embedding of a level's one-hot codes."""

    def __init__(self, recognition: Recognition) -> None:
        super().__init__()
        self.recognition = recognition

    def forward(self, z: Tensor) -> Tensor:
        return self.recognition.read(z)
