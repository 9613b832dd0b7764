"""CountingRGM: the closed-form renormalizing generative model, a tree with exact inference."""

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from rgm.counting import queries
from rgm.counting.config import CountingConfig, PixelSymbols, PixelValues, counting_preset
from rgm.counting.posterior import TreePosterior, Visible, sample_states
from rgm.counting.queries import Explanation
from rgm.counting.tree import Upward, safe_log
from rgm.model.generative import Codes, Images, Parents
from rgm.model.likelihood import Bernoulli, Categorical
from rgm.model.receptive import Box
from rgm.model.results import FreeEnergy, Inference, Samples, concatenate
from rgm.runtime.seeds import positive


class CountingRGM(TreePosterior):
    """A tree of categorical variables under one concept, fitted by counting in closed form, without gradients.

        p(x, z) = p(c) · p(root | c) · Π_ℓ Π_cells p(z_ℓ | z_{ℓ+1}) · Π_groups Π_symbols p(symbol | z_1)

    Every factor is the mean of Dirichlet counts; p(c) is uniform. `z1` is the grid of the lowest groups' states. On a
    tree sum–product is exact: evidence, marginals and conditional samples, for a batch at once and in bounded memory
    (Friston et al. 2024, arXiv 2407.20292; `rgm.counting.learning` fits the same tree better).

    The counts are buffers: `symbol_counts` (groups, states, variates, levels), `link_counts_1` … (cells, parent's
    states, states), `top_counts` (classes, roots). Before learning they are samples of a flat prior.
    """

    @classmethod
    def from_config(cls, config: CountingConfig) -> "CountingRGM":
        """Return an untrained model of a configuration."""
        return cls(config)

    @classmethod
    def from_preset(
        cls, name: str, *, image: tuple[int, int, int] = (1, 28, 28), classes: int = 10, images: int | None = None
    ) -> "CountingRGM":
        """Return a model of a preset, `paper` or `counting`, for images of (channels, height, width).

        `images`: the number of training images, which bounds the number of prototypes of `counting`.
        """
        return cls(counting_preset(name, image, classes, images))

    # Bottom-up

    def _infer(self, images: Images) -> Inference:
        return concatenate([self._inference(self.upward(part)) for (part,) in self.chunks(images)])

    def _inference(self, upward: Upward, z1: Codes | None = None) -> Inference:
        codes, by_concept = self._modes(upward)
        if z1 is not None:
            codes[0] = z1
        return Inference(codes=tuple(codes), concept=by_concept.softmax(dim=1), reconstruction=self._decode(codes[0]))

    def _modes(self, upward: Upward) -> tuple[list[Codes], Float[Tensor, "n classes"]]:
        """Return the most probable codes below the concept, the root's given the best concept, and log p(x | c)."""
        by_concept, _, pairs = self.posterior(upward)
        best = [states.argmax(dim=2).T for states in pairs.marginals]
        codes = [found.unflatten(1, grid).contiguous() for found, grid in zip(best, self.grids, strict=False)]
        joint = upward.root + self.tables().log_top[by_concept.argmax(dim=1)]
        return [*codes, joint.argmax(dim=1)[:, None, None]], by_concept

    def _read(self, images: Images) -> list[Codes]:
        parts = []
        for (part,) in self.chunks(images):
            codes, by_concept = self._modes(self.upward(part))
            parts.append([*codes, by_concept.argmax(dim=1)[:, None, None]])
        return [torch.cat(level) for level in zip(*parts, strict=True)]

    def _infer_from_codes(self, z1: Codes) -> Inference:
        return concatenate([self._inference(self._known(part), part) for (part,) in self.chunks(z1)])

    def _cell_logits(self, images: Images) -> Tensor:
        """Return log p(z_1 = k | x) of every cell, exact given the whole image."""
        parts = []
        for (part,) in self.chunks(images):
            first = self.posterior(self.upward(part))[2].marginals[0]
            parts.append(safe_log(first).permute(1, 2, 0).unflatten(2, self.grids[0]))
        return torch.cat(parts)

    # Top-down

    def _decode(self, z1: Codes) -> Images:
        appearance = self.tables().appearance
        groups = torch.arange(len(appearance), device=appearance.device)[:, None]
        return self.leaves.decode(appearance[groups, z1.flatten(1).T]).clamp(0, 1)

    def _decode_each_code(self, z1: Codes, row: int, column: int) -> Iterator[Tensor]:
        if not self.leaves.disjoint:
            yield from super()._decode_each_code(z1, row, column)
            return
        blank = torch.zeros(self.latent_dim, *self.grids[0], dtype=torch.int64, device=self.device)
        blank[:, row, column] = torch.arange(self.latent_dim, device=self.device)
        field = self.decoder_field(row, column)
        decoded = self._decode(blank)[..., *field.slices]
        for chunk in z1.split(self._cell_batch(field)):
            yield decoded.expand(len(chunk), *decoded.shape)

    def _log_prob_given(self, level: int, child: Codes, parent: Parents) -> Tensor:
        tables = self.tables()
        child, parent = child.flatten(1), parent.flatten(1)
        if level == self.depth - 1:
            return tables.log_top[parent[:, 0], child[:, 0]]
        return tables.tree.log_prob(level - 1, child, parent)

    def _sample_below(
        self, z: Codes, level: int, generator: torch.Generator | None, temperature: float
    ) -> list[Tensor]:
        tables = self.tables()
        if level < self.depth:
            return tables.tree.descend(z, generator, temperature=temperature, level=level - 1)
        return self._below(tables.log_top[z.flatten()], generator, temperature)

    def _below(
        self, log: Tensor, generator: torch.Generator | None, temperature: float = 1.0, given: Upward | None = None
    ) -> list[Tensor]:
        """Return codes of every level below the concept: the root's from p ∝ exp(log), the others given it."""
        root = sample_states(log, generator, temperature)
        messages = None if given is None else given.messages
        below = self.tables().tree.descend(root, generator, temperature=temperature, messages=messages)
        return [*below, root[:, None, None]]

    def _complete(
        self, z1: Codes, keep: Tensor, concepts: Tensor, generator: torch.Generator | None, temperature: float
    ) -> list[Tensor]:
        """Return samples from the exact posterior: the root first, given all kept cells."""
        parts = []
        for chunk, kept, labels in self.chunks(z1, keep, concepts):
            upward = self._known(chunk, kept)
            drawn = self._below(upward.root + self.tables().log_top[labels], generator, temperature, upward)
            drawn[0] = torch.where(kept, chunk, drawn[0])
            parts.append(drawn)
        return [torch.cat(level) for level in zip(*parts, strict=True)]

    @torch.no_grad()
    def complete_pixels(self, images: Images, visible: Visible, *, generator: torch.Generator | None = None) -> Samples:
        """Return images with hidden pixels sampled given the visible ones, from the exact conditional.

        p(c, z | visible pixels) is sampled from the concept down, where `visible` is true for visible pixels. Visible
        pixels are unchanged, hidden ones become the mean of p(x | z_1). Raises RGMError for images or masks of another
        shape, or a model with symbols of the whole image.
        """
        self._check_drawing(generator)
        images, visible = self._observed(images, visible)
        parts, sampled = [], []
        for chunk, mask in self.chunks(images, visible):
            upward = self.upward(chunk * mask[:, None], likelihood=True, visible=mask)
            joint = upward.root[:, None] + self.tables().log_top
            concepts = sample_states(joint.logsumexp(dim=2), generator, 1.0)
            sampled.append(concepts)
            given = joint[torch.arange(len(joint), device=joint.device), concepts]
            parts.append(self._below(given, generator, given=upward))
        codes = tuple(torch.cat(level) for level in zip(*parts, strict=True))
        completed = torch.where(visible[:, None], images, self.decode(codes[0]))
        return Samples(images=completed, concept=torch.cat(sampled), codes=codes)

    # Single pixels, exact: for models of pixel values

    @torch.no_grad()
    def log_prob(self, images: Images, visible: Visible | None = None) -> Float[Tensor, " n"]:
        """Return log p(visible pixels) in nats, exact: hidden pixels and the class are summed out.

        `visible` is true for visible pixels, (n, rows, columns) or one mask for all, (1, rows, columns); by default all
        are. Raises RGMError for images or masks of another shape, or a model whose symbols are not pixel values.
        """
        return queries.log_prob(self, *self._observed(images, visible))

    @torch.no_grad()
    def marginals(
        self, images: Images, visible: Visible | None = None
    ) -> Float[Tensor, "n channels rows columns values"]:
        """Return p(x_i = v | visible pixels other than x_i) of every pixel and value, exact.

        For a hidden pixel it is its posterior; for a visible one, what the others say of it. Raises as `log_prob`.
        """
        return queries.marginals(self, *self._observed(images, visible))

    @torch.no_grad()
    def posterior_mean(self, images: Images, visible: Visible | None = None, *, noise: float | None = None) -> Images:
        """Return E[x | observed pixels], exact: the completion, or with `noise` the denoised image, of least error.

        With `noise`, visible pixels are observed with Gaussian noise of this standard deviation, in units of the grey
        range, and `images` are to be clamped to [0, 1]. Raises as `log_prob`, and for a `noise` that is not positive.
        """
        sd = None if noise is None else positive(noise, "noise, a standard deviation in units of the grey range,")
        return queries.posterior_mean(self, *self._observed(images, visible), sd)

    @torch.no_grad()
    def sample_given(self, images: Images, visible: Visible, *, generator: torch.Generator | None = None) -> Samples:
        """Return images with hidden pixels drawn from p(hidden | visible), exact: class, codes and values.

        `complete_pixels` shows means of p(x | z_1) instead of values. Raises as `log_prob`.
        """
        queries.pixel_leaves(self)
        done = self.complete_pixels(images, visible, generator=generator)
        images, mask = self._observed(images, visible)
        values = queries.drawn_values(self, done.codes[0], generator).to(images)
        return replace(done, images=torch.where(mask[:, None], images, values))

    @torch.no_grad()
    def most_probable(self, images: Images, visible: Visible) -> Explanation:
        """Return arg max p(concept, codes, hidden pixels | visible pixels), of all together, by max–product (MPE).

        Raises as `log_prob`.
        """
        return queries.most_probable(self, *self._observed(images, visible))

    def _observed(self, images: Images, visible: Visible | None) -> tuple[Images, Visible]:
        self._check_images(images)
        return images.to(self.device), queries.mask_of(images, visible).to(self.device)

    def _between(
        self, start: int, end: int, share: float, generator: torch.Generator, temperature: float
    ) -> list[Tensor]:
        ends = self.tables().top[self._concepts(torch.tensor([start, end]))]
        return self._below(torch.lerp(ends[:1], ends[1:], share).log(), generator, temperature)

    def _cell_log_probs(self, z1: Codes, concepts: Tensor, row: int, column: int) -> Tensor:
        others = torch.ones_like(z1, dtype=torch.bool)
        others[:, row, column] = False
        place = row * self.grids[0][1] + column
        parts = []
        for chunk, keep, labels in self.chunks(z1, others, concepts):
            pairs = self.posterior(self._known(chunk, keep), labels)[2]
            parts.append(safe_log(pairs.marginals[0][place]).log_softmax(dim=1))
        return torch.cat(parts)

    # The bound

    @torch.no_grad()
    def log_evidence(
        self, images: Images, *, likelihood: bool = True, visible: Visible | None = None
    ) -> Float[Tensor, "n classes"]:
        """Return log p(x | c) of images under every concept, in nats, exact.

        For pixels as symbols it is the evidence of binary pixels (see `observe`); grey values are probabilities. With
        `likelihood=False`, of all symbols with their weights for inference. Where `visible` is false, as in
        `complete_pixels`, pixels are summed out.
        """
        images, mask = self._observed(images, visible)
        upward = (
            self.upward(part, likelihood=likelihood, visible=None if visible is None else shown)
            for part, shown in self.chunks(images, mask)
        )
        return torch.cat([self.tables().log_evidence(one.root) for one in upward])

    @torch.no_grad()
    def surprise(self, images: Images) -> Float[Tensor, "n height width"]:
        """Return −log p(x_cell | all other cells) of every cell, in nats, exact, without the class.

        With message m from a cell and share s from above, p(x_cell | rest) = 1 / Σ_k Σ_r s_r p(k | r) up to m's scale.
        """
        self._check_images(images)
        tables, parts = self.tables(), []
        for (part,) in self.chunks(images.to(self.device)):
            leaves = tables.likelihood.log_prob(self.symbols(part))
            pairs = self.posterior(tables.tree.up(leaves))[2]
            cavity = tables.tree.cavity(pairs).sum(dim=2)
            parts.append((cavity.log() - leaves.amax(dim=2)).T.unflatten(1, self.grids[0]))
        return torch.cat(parts)

    def _free_energy(self, images: Images, labels: Tensor | None, generator: torch.Generator | None) -> FreeEnergy:
        """Return F(x) = −log p(x), or with `labels` −log p(x, c): the posterior is exact, and nothing is sampled.

        Its terms are expectations over it: −E[log p(x | z_1)], and for each level E[log p(z_ℓ | z_{ℓ+1}, x) − log p(z_ℓ
        | z_{ℓ+1})].
        """
        del generator
        known = () if labels is None else (labels,)
        parts = [self._expectations(*part) for part in self.chunks(images, *known)]
        return FreeEnergy(
            distortion_nats=torch.cat([part.distortion_nats for part in parts]),
            rate_nats=torch.cat([part.rate_nats for part in parts]),
        )

    def _expectations(self, images: Images, labels: Tensor | None = None) -> FreeEnergy:
        tables = self.tables()
        leaves = tables.likelihood.log_prob(self.symbols(images))
        upward = tables.tree.up(leaves)
        by_concept, root, pairs = self.posterior(upward, labels)
        classes = self.num_classes
        evidence = by_concept if labels is None else by_concept.gather(1, labels[:, None])
        total = math.log(classes) - evidence.logsumexp(dim=1)
        distortion = -(pairs.marginals[0] * leaves.clamp_min(torch.finfo(leaves.dtype).min)).sum(dim=(0, 2))
        rates = tables.tree.rates(upward, pairs, root, distortion)
        concept = torch.log_softmax(by_concept, dim=1)
        if labels is None:
            top = (concept.exp() * concept).sum(dim=1) + math.log(classes)
        else:
            top = torch.full_like(distortion, math.log(classes))
        rates.append(total - distortion - sum(rates, torch.zeros_like(total)) - top)  # the root's, given the concept
        return FreeEnergy(distortion_nats=distortion, rate_nats=torch.stack([*rates, top], dim=1))

    def _log_weight(self, images: Images, generator: torch.Generator | None) -> Tensor:
        """Return log p(x): the log-weight of every sample, since the posterior is exact."""
        del generator
        return self.log_evidence(images).logsumexp(dim=1) - math.log(self.num_classes)

    @property
    def is_eight_bit(self) -> bool:
        """Whether p(x) is a probability of 8-bit pixels, so that its bits per dimension compare with the literature."""
        return isinstance(self.config.symbols, PixelValues) and self.config.symbols.values == 256

    @property
    def pixels(self) -> Bernoulli | Categorical | None:
        """The distribution of a pixel; None where the symbols are not pixels."""
        match self.config.symbols:
            case PixelSymbols():
                return Bernoulli()
            case PixelValues(values=values):
                return Categorical(values=values)
            case _:
                return None

    # Fields

    def decoder_field(self, row: int, column: int) -> Box:
        """Return the pixels that a cell of z_1 can change."""
        return self.leaves.field(row, column)

    def encoder_field(self, row: int, column: int) -> Box:  # noqa: ARG002 - it is the same for all
        """Return the pixels that a cell's code can depend on: all, since inference is exact given the whole image."""
        _, rows, columns = self.config.image
        return Box.of(0, 0, rows, columns)
