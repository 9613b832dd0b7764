"""Back-off over levels: probabilities by hand, and weights that are most probable."""

import numpy as np
import pytest

from rgm.errors import RGMError
from rgm.temporal.backoff import BackOff, mixed


def test_probabilities_are_those_of_the_equation() -> None:
    model = BackOff(3)
    for symbol, last in ((0, "a"), (0, "a"), (1, "a"), (2, "b")):
        model.learn([(), (last,)], symbol)
    none = (np.array([2, 1, 1]) + 3 * np.full(3, 1 / 3)) / (4 + 3)
    after_a = (np.array([2, 1, 0]) + 2 * none) / (3 + 2)
    assert np.allclose(model.probs([(), ("a",)]), after_a)
    assert np.allclose(model.probs([(), ("c",)]), none)
    assert model.probs([(), ("b",)]).sum() == pytest.approx(1)


def test_a_longer_context_is_taken_where_it_is_known() -> None:
    """Every third symbol repeats the one two before it: one last symbol does not tell, two do."""
    rng = np.random.default_rng(0)
    model, symbols = BackOff(4), [0, 1]
    for step in range(2, 6000):
        symbols.append(symbols[-2] if step % 3 else int(rng.integers(4)))
    for step in range(2, 5000):
        model.learn([(step % 3,), (step % 3, symbols[step - 1]), (step % 3, *symbols[step - 2 : step])], symbols[step])
    nats = []
    for step in range(5000, 6000):
        past = [(step % 3,), (step % 3, symbols[step - 1]), (step % 3, *symbols[step - 2 : step])]
        nats.append(-np.log(model.probs(past)[symbols[step]]))
    assert np.mean(nats) == pytest.approx(np.log(4) / 3, abs=0.02)


def test_weights_are_most_probable() -> None:
    parts = np.random.default_rng(0).random((200, 3))
    weights = mixed(parts, passes=500)
    assert weights.sum() == pytest.approx(1)
    assert np.allclose((parts / (parts @ weights)[:, None]).mean(axis=0)[weights > 1e-3], 1, atol=1e-3)


def test_what_does_not_fit_is_told() -> None:
    model = BackOff(2)
    model.learn([()], 1)
    with pytest.raises(RGMError, match=r"symbols are 0 … 1, but 2"):
        model.learn([()], 2)
    with pytest.raises(RGMError, match="1 levels of contexts were learned, but 2 are given"):
        model.probs([(), ("a",)])
