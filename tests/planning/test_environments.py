"""Games: what seeds fix, what ends an episode, what is refused."""

import numpy as np
import pytest

from rgm.errors import RGMError
from rgm.planning.environments import BUILT_IN, Breakout, Catch, Disturbed, Environment, Frame, Pong, make


def film(game: Environment, seed: int, steps: int = 60) -> list[tuple[bytes, float, bool]]:
    """Return what a game shows of a seed under a fixed sequence of actions."""
    frame, _ = game.reset(seed=seed)
    shown = [(frame.tobytes(), 0.0, False)]
    for step in range(steps):
        frame, reward, ended, cut, _ = game.step(step * step % 3)
        shown.append((frame.tobytes(), reward, ended))
        assert not cut
        if ended:
            frame, _ = game.reset()
    return shown


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_seed_fixes_a_game(name: str) -> None:
    assert film(make(name), 3) == film(make(name), 3)
    game = make(name)
    film(game, 4)
    assert film(game, 3) == film(make(name), 3)
    assert isinstance(game, Environment)


def ball(frame: Frame) -> tuple[int, int]:
    (place,) = np.argwhere(frame == 2).tolist()
    return place[0], place[1]


def test_pong_rewards_hits_and_costs_misses() -> None:
    """A paddle that goes to where the ball will be hits every ball; one that stays hits some."""
    for follows in (True, False):
        game, rewards, last = Pong(restart=False), [], 0
        frame, _ = game.reset(seed=0)
        for _ in range(1000):
            _, column = ball(frame)
            aim = 2 * column - last if 0 <= 2 * column - last < 9 else last
            last, paddle = column, np.flatnonzero(frame[-1] == 1)
            place = int(paddle[0]) if len(paddle) else column
            frame, reward, ended, _, _ = game.step(int(np.sign(aim - place)) + 1 if follows else 1)
            rewards.append(reward)
            assert not ended
            assert (reward != 0) == (ball(frame)[0] == 11)
        assert sum(reward != 0 for reward in rewards) in (45, 46)  # a ball is down every 22 steps
        assert (sum(rewards) >= 44) == follows


def test_a_miss_ends_pong_with_restart() -> None:
    game = Pong(rows=4, columns=8)
    game.reset(seed=1)
    for _ in range(200):
        _, reward, ended, _, _ = game.step(0)
        assert ended == (reward < 0)
        if ended:
            game.reset()


def test_catch_counts_every_fruit() -> None:
    game = Catch()
    game.reset(seed=0)
    rewards = [game.step(1)[1] for _ in range(100)]
    assert [step for step, reward in enumerate(rewards) if reward] == list(range(8, 100, 10))
    assert set(rewards) <= {0.0, 1.0, -1.0}


def test_breakout_loses_a_brick_for_each_reward() -> None:
    game = Breakout(sticky=0.0)
    frame, _ = game.reset(seed=0)
    bricks = int((frame == 3).sum())
    assert bricks == 30
    for _ in range(300):
        paddle = int(np.flatnonzero(frame[-1] == 1)[0]) if (frame[-1] == 1).any() else 0
        frame, reward, ended, _, _ = game.step(int(np.sign(ball(frame)[1] - paddle)) + 1)
        if ended:
            break
        now = int((frame == 3).sum()) + (ball(frame)[0] in (1, 2, 3) and bool(game._bricks[ball(frame)]))
        assert now == bricks - int(reward) or now == 30
        bricks = now


def test_cells_are_flipped_and_hidden_as_often_as_asked() -> None:
    game = Disturbed(Pong(restart=False), flip=0.1, hide=0.3, symbols=3)
    clean = Pong(restart=False)
    flipped = hidden = seen = 0
    game.reset(seed=2)
    clean.reset(seed=2)
    for _ in range(500):
        shown, true = game.step(1)[0], clean.step(1)[0]
        hidden += int((shown < 0).sum())
        visible = shown >= 0
        seen, flipped = seen + int(visible.sum()), flipped + int((shown != true)[visible].sum())
        assert shown.max() < 3
    assert abs(hidden / (500 * 108) - 0.3) < 0.02
    assert abs(flipped / seen - 0.1) < 0.02


def test_an_episode_is_disturbed_by_its_own_seed() -> None:
    fresh, used = (Disturbed(Pong(), flip=0.2, hide=0.2, symbols=3, seed=4) for _ in range(2))
    used.reset(seed=1)
    used.step(0)
    assert (used.reset(seed=7)[0] == fresh.reset(seed=7)[0]).all()
    assert (used.step(1)[0] == fresh.step(1)[0]).all()
    assert (used.reset(seed=8)[0] != fresh.reset(seed=7)[0]).any()


def test_games_that_there_are_not() -> None:
    with pytest.raises(RGMError, match="did you mean 'pong'"):
        make("pongg")
    with pytest.raises(RGMError, match="flip is the share of cells"):
        Disturbed(Pong(), flip=1.0)
    with pytest.raises(RGMError, match="a board has at least 3 × 3 cells"):
        Pong(width=9)


def test_an_environment_of_gymnasium() -> None:
    pytest.importorskip("gymnasium")
    game = make("FrozenLake-v1")
    assert isinstance(game, Environment)
    assert game.actions == 4
    frame, _ = game.reset(seed=0)
    assert frame.shape == (1, 1)
    frame, reward, ended, cut, _ = game.step(2)
    assert (frame.dtype, reward, ended, cut) == (np.int64, 0.0, False, False)
    with pytest.raises(RGMError, match="has actions of Box"):
        make("Pendulum-v1")
    with pytest.raises(RGMError, match="has observations of Box"):
        make("CartPole-v1")
    with pytest.raises(RGMError, match="gymnasium has no environment Nothing-v0"):
        make("Nothing-v0")
