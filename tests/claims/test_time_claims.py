"""The claims over time where there is little to measure."""

import torch

import rgm
from rgm.claims.time import SEEN, control_decisions_over_time, decide_over_time
from rgm.evaluation.time import measure_time


def test_films_of_training_prove_no_generalisation() -> None:
    frames = torch.randint(2, (1, 12, 4, 4), generator=torch.Generator().manual_seed(0)).mul(255).to(torch.uint8)
    model = rgm.TemporalRGM.from_preset("film-memory", image=(1, 4, 4), tones=2)
    rgm.fit(model, frames)
    claims = {claim.claim: claim for claim in decide_over_time(measure_time(model, frames, frames))}
    assert (claims["generalisation"].verdict, claims["generalisation"].undecided) == ("undecided", SEEN)
    assert claims["instantiation"].verdict == "undecided"
    assert claims["locality"].verdict == "supported"
    assert not [*control_decisions_over_time(model, frames, frames)]
