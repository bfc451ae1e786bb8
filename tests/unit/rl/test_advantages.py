"""GAE, n-step returns and V-trace against their definitions, written out as sums."""

from __future__ import annotations

import numpy as np
import pytest

from skate.rl.advantages import gae, n_step_returns, vtrace

T, E = 13, 5


@pytest.fixture
def rollout() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    terminated = rng.random((T, E)) < 0.15
    truncated = (rng.random((T, E)) < 0.15) & ~terminated
    valid = np.ones((T, E), bool)
    valid[1:] = ~(terminated | truncated)[:-1]
    terminated &= valid
    truncated &= valid
    return {
        "rewards": rng.normal(size=(T, E)),
        "values": rng.normal(size=(T + 1, E)),
        "terminated": terminated,
        "ended": terminated | truncated | ~valid,
        "truncated": truncated,
        "log_ratios": rng.normal(scale=0.7, size=(T, E)),
    }


def test_gae_is_the_discounted_sum_of_td_errors_within_an_episode(rollout: dict[str, np.ndarray]) -> None:
    gamma, lam = 0.97, 0.9
    advantages, returns = gae(rollout["rewards"], rollout["values"], rollout["terminated"], rollout["ended"], gamma, lam)
    for e in range(E):
        for t in range(T):
            expected, weight = 0.0, 1.0
            for k in range(t, T):
                after = 0.0 if rollout["terminated"][k, e] else rollout["values"][k + 1, e]
                expected += weight * (rollout["rewards"][k, e] + gamma * after - rollout["values"][k, e])
                weight *= gamma * lam
                if rollout["ended"][k, e]:
                    break
            assert advantages[t, e] == pytest.approx(expected, abs=1e-5)
    np.testing.assert_allclose(returns, advantages + rollout["values"][:-1], rtol=1e-6)


def test_truncation_bootstraps_and_termination_does_not() -> None:
    rewards, values = np.zeros((1, 2)), np.array([[0.0, 0.0], [10.0, 10.0]])
    terminated, ended = np.array([[True, False]]), np.array([[True, True]])
    advantages, _ = gae(rewards, values, terminated, ended, 0.9, 1.0)
    assert advantages.tolist() == [[0.0, 9.0]]


@pytest.mark.parametrize("n", [1, 2, 3, 7, 50])
def test_n_step_returns(rollout: dict[str, np.ndarray], n: int) -> None:
    gamma = 0.9
    found = n_step_returns(rollout["rewards"], rollout["terminated"], rollout["ended"], rollout["values"], gamma, n)
    for e in range(E):
        for t in range(T):
            expected, weight = 0.0, 1.0
            for k in range(t, min(t + n, T)):
                expected += weight * rollout["rewards"][k, e]
                weight *= gamma
                if rollout["ended"][k, e] or k == min(t + n, T) - 1:
                    expected += 0.0 if rollout["terminated"][k, e] else weight * rollout["values"][k + 1, e]
                    break
            assert found[t, e] == pytest.approx(expected, abs=1e-6)


def test_vtrace_is_the_sum_of_its_definition(rollout: dict[str, np.ndarray]) -> None:
    """Espeholt et al. 2018, equation 1, within an episode."""
    gamma, rho_max, c_max = 0.95, 1.0, 0.8
    r, v, terminated, ended = (rollout[name] for name in ("rewards", "values", "terminated", "ended"))
    targets, advantages = vtrace(rollout["log_ratios"], r, v, terminated, ended, gamma, rho_max, c_max)
    ratio = np.exp(rollout["log_ratios"])

    def expected_target(s: int, e: int) -> float:
        total, weight = v[s, e], 1.0
        for t in range(s, T):
            after = 0.0 if terminated[t, e] else v[t + 1, e]
            total += weight * min(rho_max, ratio[t, e]) * (r[t, e] + gamma * after - v[t, e])
            weight *= gamma * min(c_max, ratio[t, e])
            if ended[t, e]:
                break
        return float(total)

    for e in range(E):
        for s in range(T):
            assert targets[s, e] == pytest.approx(expected_target(s, e), abs=1e-5)
            if terminated[s, e]:
                after = 0.0
            else:
                after = v[s + 1, e] if ended[s, e] or s == T - 1 else expected_target(s + 1, e)
            expected = min(rho_max, ratio[s, e]) * (r[s, e] + gamma * after - v[s, e])
            assert advantages[s, e] == pytest.approx(expected, abs=1e-5)


def test_vtrace_on_policy_is_the_n_step_return(rollout: dict[str, np.ndarray]) -> None:
    """Remark 1 of the paper: with ratios of 1 the target is the n-step Bellman target."""
    arguments = [rollout[name] for name in ("rewards", "values", "terminated", "ended")]
    targets, _ = vtrace(np.zeros((T, E)), *arguments, 0.95)
    expected = n_step_returns(rollout["rewards"], rollout["terminated"], rollout["ended"], rollout["values"], 0.95, T)
    np.testing.assert_allclose(targets, expected, atol=1e-4)
