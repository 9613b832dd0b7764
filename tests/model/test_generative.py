import pytest
import torch

from rgm.model.config import preset
from rgm.model.generative import RGM
from rgm.model.spatial import SpatialRGM
from rgm.presets import NETWORKS


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_decoding_a_cell_from_its_neighbourhood_matches_the_full_image(name: str, generator: torch.Generator) -> None:
    torch.manual_seed(0)
    model = SpatialRGM(config=preset(name, (3, 24, 16), 3)).eval()
    height, width = model.config.levels[0].grid
    z1 = torch.randint(model.latent_dim, (2, height, width), generator=generator)
    for cell in [(0, 0), (2, 1), (height - 1, width - 1)]:
        plain, fast = list(RGM._decode_each_code(model, z1, *cell)), list(model.decode_each_code(z1, *cell))
        torch.testing.assert_close(torch.cat(fast), torch.cat(plain))
        field = model.decoder_field(*cell)
        torch.testing.assert_close(torch.cat(plain)[[0, 1], z1[:, *cell]], model.decode(z1)[..., *field.slices])


def test_every_code_is_decoded_a_chunk_of_images_at_a_time() -> None:
    model = SpatialRGM().eval()
    z1 = torch.zeros(70, 7, 7, dtype=torch.int64)
    assert [len(chunk) for chunk in model.decode_each_code(z1, 0, 0)] == [64, 6]


@torch.no_grad()
def test_fewer_images_at_a_time_where_a_cell_reaches_many_pixels(
    monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    model = SpatialRGM().eval()
    z1 = torch.randint(model.latent_dim, (7, 7, 7), generator=generator)
    at_once = torch.cat(list(model.decode_each_code(z1, 0, 0)))
    monkeypatch.setattr("rgm.model.generative._CELL_PIXELS", 3 * at_once[0].numel())
    chunks = list(model.decode_each_code(z1, 0, 0))
    assert [len(chunk) for chunk in chunks] == [3, 3, 1]
    torch.testing.assert_close(torch.cat(chunks), at_once, rtol=0, atol=0)


@torch.no_grad()
def test_a_levels_probability_given_the_next_adds_up_over_a_cell(generator: torch.Generator) -> None:
    torch.manual_seed(0)
    model = SpatialRGM.from_preset("seed").double().eval()
    z1 = torch.randint(32, (1, 7, 7), generator=generator).repeat(32, 1, 1)
    z1[:, 2, 4] = torch.arange(32)
    joint = model.log_prob_given(1, z1, torch.full((32, 1, 1), 3))
    torch.testing.assert_close(joint.log_softmax(dim=0), model.cell_log_probs(z1[:1], 3, 2, 4)[0])
