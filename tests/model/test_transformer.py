import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rgm.distributions.categorical import one_hot
from rgm.errors import RGMError
from rgm.model import attention
from rgm.model.attention import Block, Memory, Room
from rgm.model.transformer import OrderedPrior, TransformerPrior

STATES, GRID = 3, (2, 2)


@pytest.fixture(params=[0.0, 1.5], ids=["plain", "guided"])
def prior(request: pytest.FixtureRequest) -> TransformerPrior:
    torch.manual_seed(0)
    config = OrderedPrior(width=8, layers=2, heads=2, guidance=request.param)
    made = TransformerPrior(config, (2, 1, 1), (STATES, *GRID)).double().eval()
    with torch.no_grad():  # far from uniform, so that errors are visible
        made.head.weight.mul_(8)
    return made


def every_grid() -> torch.Tensor:
    return torch.tensor(list(itertools.product(range(STATES), repeat=4))).reshape(-1, *GRID)


def parents(count: int, concept: int = 1) -> torch.Tensor:
    return one_hot(torch.full((count, 1, 1), concept), 2, dtype=torch.float64)


def as_field(codes: torch.Tensor) -> torch.Tensor:
    return one_hot(codes, STATES, dtype=torch.float64)


@torch.no_grad()
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (2, 0, 3, 1)])
def test_probabilities_of_all_grids_sum_to_one_in_every_order(prior: TransformerPrior, order: tuple[int, ...]) -> None:
    codes = every_grid()
    orders = torch.tensor(order).expand(len(codes), -1)
    total = prior._log_probs(as_field(codes), as_field(codes), parents(len(codes)), orders).sum(dim=1).exp().sum()
    assert float(total) == pytest.approx(1.0)


@torch.no_grad()
def test_summing_out_each_cell_leaves_the_expectation_and_lessens_the_variance(
    prior: TransformerPrior, generator: torch.Generator
) -> None:
    codes = every_grid()
    z, parent = as_field(codes), parents(len(codes))
    probs = torch.rand(1, STATES, *GRID, generator=generator, dtype=torch.float64).softmax(1)
    q = (z * probs.log()).sum((1, 2, 3)).exp()
    plain, summed = prior.log_prob(z, parent), prior.expected_log_prob(probs.expand_as(z), z, parent)
    assert float(q.sum()) == pytest.approx(1.0)
    assert float((q * summed).sum()) == pytest.approx(float((q * plain).sum()))
    mean = (q * plain).sum()
    assert float((q * (summed - mean) ** 2).sum()) < 0.5 * float((q * (plain - mean) ** 2).sum())


@torch.no_grad()
def test_samples_follow_the_enumerated_probabilities(prior: TransformerPrior, generator: torch.Generator) -> None:
    codes, draws = every_grid(), 20_000
    expected = draws * prior.log_prob(as_field(codes), parents(len(codes))).exp()
    drawn = prior.sample(parents(draws), generator)
    index = (drawn.flatten(1) * torch.tensor([27, 9, 3, 1])).sum(1)
    observed = torch.bincount(index, minlength=81).double()
    assert float(((observed - expected) ** 2 / expected).sum()) < 124.8  # 80 degrees of freedom, p = 0.001


@torch.no_grad()
def test_completions_follow_the_conditional_of_kept_first(prior: TransformerPrior, generator: torch.Generator) -> None:
    draws = 20_000
    codes = torch.tensor([[2, 0], [0, 1]]).expand(draws, -1, -1)
    keep = torch.tensor([[True, False], [False, True]]).expand(draws, -1, -1)
    drawn = prior.complete(codes, keep, parents(draws), generator)
    assert torch.equal(drawn[keep], codes[keep])
    # All nine completions, with the kept cells 0 and 3 first.
    free = torch.tensor(list(itertools.product(range(STATES), repeat=2)))
    grids = torch.tensor([2, 0, 0, 1]).repeat(9, 1)
    grids[:, 1:3] = free
    order = torch.tensor([0, 3, 1, 2]).expand(9, -1)
    fields = as_field(grids.reshape(-1, 2, 2))
    joint = prior._log_probs(fields, fields, parents(9), order).sum(dim=1)
    expected = draws * joint.softmax(0)
    observed = torch.bincount(drawn[:, 0, 1] * 3 + drawn[:, 1, 0], minlength=9).double()
    assert float(((observed - expected) ** 2 / expected).sum()) < 26.1  # 8 degrees of freedom, p = 0.001


@torch.no_grad()
def test_kept_cells_may_differ_from_grid_to_grid(prior: TransformerPrior, generator: torch.Generator) -> None:
    codes = torch.randint(STATES, (50, 2, 2), generator=generator)
    keep = torch.rand(50, 2, 2, generator=generator) < 0.5
    drawn = prior.complete(codes, keep, parents(50), generator)
    assert torch.equal(drawn[keep], codes[keep])
    assert not torch.equal(drawn, codes)


@torch.no_grad()
def test_cell_probabilities_are_those_with_the_cell_last(prior: TransformerPrior) -> None:
    codes = torch.tensor([[[1, 2], [0, 1]]])
    found = prior.cell_log_probs(as_field(codes), parents(1), 1, 0)
    torch.testing.assert_close(found.exp().sum(1), torch.ones(1, dtype=torch.float64))
    order = torch.tensor([[0, 1, 3, 2]])  # cell (1, 0) last
    expected = []
    for code in range(STATES):
        codes[0, 1, 0] = code
        expected.append(prior._log_probs(as_field(codes), as_field(codes), parents(1), order).sum(dim=1))
    torch.testing.assert_close(found[0], torch.cat(expected).log_softmax(0))


def test_the_concept_matters_and_the_future_does_not(prior: TransformerPrior) -> None:
    z = as_field(torch.tensor([[[1, 2], [0, 1]]])).requires_grad_()
    order = torch.tensor([[2, 0, 3, 1]])
    logits = prior._logits(z, parents(1), order)
    for step in range(4):
        (gradient,) = torch.autograd.grad(logits[0, step].sum(), z, retain_graph=True)
        reached = gradient[0].abs().sum(0).flatten() > 0
        assert reached.nonzero().flatten().tolist() == sorted(order[0, :step].tolist())
    other = prior._logits(z, parents(1, concept=0), order)
    assert not torch.allclose(logits, other)


def test_parameters_do_not_grow_with_the_grid() -> None:
    counts = {
        sum(p.numel() for p in TransformerPrior(OrderedPrior(), (10, 1, 1), (32, side, side)).parameters())
        for side in (4, 7, 16)
    }
    assert len(counts) == 1


@torch.no_grad()
def test_bounded_context_is_full_attention_under_its_mask(generator: torch.Generator) -> None:
    """In blocks or all at once, a cell attends to its own block so far and the block before, and nothing else."""
    torch.manual_seed(0)
    block = Block(8, 2, context=4).double()
    x = torch.randn(3, 11, 8, generator=generator, dtype=torch.float64)
    q, k, v = block._split(x)
    place = torch.arange(11)
    mask = (place[None] <= place[:, None]) & (place[None] // 4 >= place[:, None] // 4 - 1)
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(block._windowed(q, k, v), expected)


@torch.no_grad()
def test_stepwise_sampling_uses_the_probabilities_of_training(generator: torch.Generator) -> None:
    torch.manual_seed(0)
    prior = TransformerPrior(OrderedPrior(width=8, layers=2, heads=2, context=3), (2, 1, 1), (STATES, 3, 4)).double()
    prior.head.weight.mul_(8)
    codes = torch.randint(STATES, (1, 3, 4), generator=generator)
    # With all cells but the last kept, samples of the last have the parallel pass's probabilities.
    keep = torch.ones(4000, 3, 4, dtype=torch.bool)
    keep[:, 2, 3] = False
    drawn = prior.complete(codes.expand(4000, -1, -1), keep, parents(4000), generator)[:, 2, 3]
    expected = prior._logits(as_field(codes), parents(1), torch.arange(12)[None])[0, -1].softmax(0)
    observed = torch.bincount(drawn, minlength=STATES).double() / 4000
    error = (observed - expected).abs() / (expected * (1 - expected) / 4000).sqrt()
    assert float(error.max()) < 4


@torch.no_grad()
@pytest.mark.parametrize(("context", "products"), [(3, 2**18), (16, 2**18), (16, 100)])
def test_steps_are_the_parallel_pass_cell_by_cell(
    context: int, products: int, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(attention, "_PRODUCTS", products)
    block = Block(8, 2, context).double()
    x = torch.randn(5, 12, 8, generator=generator, dtype=torch.float64)
    memory = Memory([block, block], Room(x[0, 0], 2, min(12, 2 * context), 5), 12)
    for step, expected in enumerate(block(block(x)).unbind(1)):
        token = x[:, step].clone()
        memory.step(token, step)
        torch.testing.assert_close(token, expected)


class Calls(TorchDispatchMode):
    """The operations while it is active, and how many numbers each allocates: 0 where it fills or views an argument."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        given = [arg for arg in tree_leaves((args, kwargs)) if isinstance(arg, torch.Tensor)]
        known = {arg.untyped_storage().data_ptr() for arg in given}
        fresh = isinstance(found, torch.Tensor) and found.untyped_storage().data_ptr() not in known
        self.made.append(found.numel() if fresh else 0)
        return found


@pytest.mark.parametrize("guidance", [0.0, 1.5], ids=["plain", "guided"])
def test_a_step_costs_as_many_operations_however_many_cells_came_before(guidance: float) -> None:
    """Nothing is computed again, and no array of the size of the keys and values is made after the start."""

    def calls(side: int, count: int) -> list[int]:
        config = OrderedPrior(width=8, layers=2, heads=2, guidance=guidance)
        prior = TransformerPrior(config, (2, 1, 1), (STATES, side, side))
        with Calls() as mode:
            prior.sample(parents(count).float(), torch.Generator().manual_seed(0))
        return mode.made

    few, some, many = (len(calls(side, 3)) for side in (2, 3, 4))
    assert (some - few) / (9 - 4) == (many - some) / (16 - 9)
    assert len(calls(4, 30)) == many
    copies = 2 if guidance else 1
    sequences, products = copies * 30 * 8, copies * 30 * 8 * 16
    assert sum(size > 4 * sequences for size in calls(4, 30)) == 2  # the keys and values, and their products
    assert max(calls(4, 30)) == 4 * products


def test_score_uses_raster_or_random_order(generator: torch.Generator) -> None:
    config = OrderedPrior(width=8, layers=1, heads=2, raster=1.0)
    prior = TransformerPrior(config, (2, 1, 1), (STATES, *GRID)).double()
    z = as_field(every_grid()[:20])
    scored = prior.score(z, parents(20), generator).sum(dim=1)
    torch.testing.assert_close(scored, prior.log_prob(z, parents(20)))


def test_only_training_is_conditioned_on_a_pose(generator: torch.Generator) -> None:
    config = OrderedPrior(width=8, layers=1, heads=2, raster=1.0, poses=True)
    prior = TransformerPrior(config, (2, 1, 1), (STATES, *GRID)).double()
    assert prior.pose is not None
    with torch.no_grad():
        prior.pose.normal_(generator=generator)
    z = as_field(every_grid()[:20])
    still, turned = torch.zeros(20, 4, dtype=torch.float64), torch.ones(20, 4, dtype=torch.float64)
    untold = prior.score(z, parents(20), generator)
    assert torch.equal(prior.score(z, parents(20), generator, still), untold)
    assert (prior.score(z, parents(20), generator, turned) - untold).abs().min() > 0
    every = as_field(every_grid())  # a distribution over all grids, with or without a pose
    for pose in (still, turned):
        conditioned = prior.score(every, parents(len(every)), generator, pose[:1].expand(len(every), -1)).sum(dim=1)
        torch.testing.assert_close(conditioned.exp().sum(), torch.tensor(1.0, dtype=torch.float64))


@torch.no_grad()
def test_guidance_is_a_power_of_what_the_parent_says_of_a_cell(generator: torch.Generator) -> None:
    torch.manual_seed(0)
    config = OrderedPrior(width=8, layers=1, heads=2, raster=1.0)
    plain, guided = (
        TransformerPrior(replace(config, guidance=weight), (2, 1, 1), (STATES, *GRID)).double() for weight in (0.0, 2.0)
    )
    guided.load_state_dict(plain.state_dict())
    codes = every_grid()
    z, order = as_field(codes), torch.arange(4).expand(len(codes), -1)
    given, alone = (plain._logits(z, parent, order).softmax(2) for parent in (parents(81), 0 * parents(81)))
    expected = given**3 / alone**2
    expected = (expected / expected.sum(dim=2, keepdim=True)).gather(2, codes.flatten(1)[:, :, None])
    torch.testing.assert_close(guided.log_prob(z, parents(81)), expected.log().sum(dim=(1, 2)))
    # Training is of the unguided probabilities, with the parent or, for some images, without one.
    scores = guided.score(z.repeat(20, 1, 1, 1), parents(81 * 20), generator).unflatten(0, (20, 81))
    with_parent = plain.score(z, parents(81), generator)
    without = plain.score(z, 0 * parents(81), generator)
    kept = (scores - with_parent).abs().amax(dim=2) < 1e-9
    torch.testing.assert_close(scores, torch.where(kept[:, :, None], with_parent, without))
    assert 0.05 < 1 - float(kept.double().mean()) < 0.15


def test_the_contrast_is_what_the_parent_adds_to_each_cells_log_probability(generator: torch.Generator) -> None:
    torch.manual_seed(0)
    config = OrderedPrior(width=8, layers=1, heads=2, raster=1.0)
    prior = TransformerPrior(config, (2, 1, 1), (STATES, *GRID)).double()
    with torch.no_grad():
        prior.parents.mul_(5)
    codes = every_grid()
    z, both = as_field(codes), torch.eye(2, dtype=torch.float64)[:, :, None, None]
    scores, gains = prior.contrast(z, parents(81), both, generator)
    torch.testing.assert_close(scores, prior.score(z, parents(81), generator))
    assert not gains.requires_grad
    given = torch.stack([prior.score(z, one.expand(81, -1, -1, -1), generator) for one in both]).detach()
    joint = given.cumsum(dim=2).exp().mean(dim=0)  # p(z_1 … z_t), of two equally probable parents
    alone = joint / torch.cat([torch.ones(81, 1, dtype=torch.float64), joint[:, :-1]], dim=1)
    torch.testing.assert_close(gains, given[1] - alone.log())


def test_weights_of_the_contrast_teach_guidance() -> None:
    """The optimum of Σ p̂(z | c) (p(z | c) / p(z))^w log p(z | c), of one cell, has p in proportion to that product."""
    torch.manual_seed(0)
    prior = TransformerPrior(OrderedPrior(width=8, layers=1, heads=2), (2, 1, 1), (STATES, 1, 1)).double()
    z = one_hot(torch.arange(STATES).repeat(2)[:, None, None], STATES, dtype=torch.float64)
    parent = one_hot(torch.arange(2).repeat_interleave(STATES)[:, None, None], 2, dtype=torch.float64)
    data = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.3, 0.5]], dtype=torch.float64)
    both, w = torch.eye(2, dtype=torch.float64)[:, :, None, None], 0.25
    optimiser = torch.optim.Adam(prior.parameters(), lr=0.03)
    for _ in range(150):
        scores, gains = prior.contrast(z, parent, both, None)
        optimiser.zero_grad()
        (-(data.flatten() * (w * gains).exp().flatten() * scores.flatten()).sum()).backward()
        optimiser.step()
    found = prior.score(z, parent, None).detach().exp().view(2, STATES)
    expected = data * (found / found.mean(dim=0)) ** w
    torch.testing.assert_close(found, expected / expected.sum(dim=1, keepdim=True), atol=1e-3, rtol=0)
    assert found[0, 0] > data[0, 0] + 0.03


def test_a_width_that_does_not_divide() -> None:
    with pytest.raises(RGMError, match="multiple of the 4 heads"):
        TransformerPrior(OrderedPrior(width=90), (2, 1, 1), (3, 2, 2))
    assert math.isclose(OrderedPrior().raster, 0.5)
