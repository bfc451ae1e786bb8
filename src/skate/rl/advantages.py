"""Advantages and returns from rollouts. Pure NumPy; checked against brute force in tests/unit/rl.

Shapes: T steps × E environments; `values_TE` of T + 1 rows, the last being the value of what the rollout ended in. Terminated means that nothing comes
after: no bootstrap. Truncated means that the episode was cut off: the value of the last observation stands for the rest. Either way
nothing flows across the border of an episode.
"""

from __future__ import annotations

import numpy as np

from skate.rl.spaces import Array


def gae(
    rewards_TE: Array, values_TE: Array, terminated_TE: Array, ended_TE: Array, gamma: float, gae_lambda: float
) -> tuple[Array, Array]:
    """Generalised advantage estimation (Schulman et al. 2016, equation 16).

    Args:
        values_TE: (T + 1, E).
        ended_TE: Terminated or truncated, and reset steps.

    Returns:
        Advantages and the returns that the value function learns, both (T, E).
    """
    steps = len(rewards_TE)
    deltas = rewards_TE + gamma * np.where(terminated_TE, 0.0, values_TE[1:]) - values_TE[:-1]
    carry = (gamma * gae_lambda) * (1.0 - ended_TE)
    advantages = np.empty_like(deltas, dtype=np.float32)
    running = np.zeros(deltas.shape[1:], np.float32)
    for t in range(steps - 1, -1, -1):
        running = deltas[t] + carry[t] * running
        advantages[t] = running
    return advantages, advantages + values_TE[:-1]


def n_step_returns(rewards_TE: Array, terminated_TE: Array, ended_TE: Array, values_TE: Array, gamma: float, n: int) -> Array:
    """The sum of up to n rewards and the value of where they led (Sutton & Barto, equation 7.1); (T, E).

    The last steps of a rollout look only as far as it goes.
    """
    steps = len(rewards_TE)
    following = np.where(terminated_TE, 0.0, values_TE[1:])
    result = rewards_TE + gamma * following
    returns = result.copy()
    # One look-ahead more each time: R_k[t] = r[t] + γ R_{k-1}[t+1], unless the episode ends at t.
    for _ in range(1, n):
        ahead = result.copy()
        ahead[: steps - 1] = np.where(ended_TE[: steps - 1], result[: steps - 1], rewards_TE[: steps - 1] + gamma * returns[1:])
        returns = ahead
    return returns


def vtrace(
    log_ratios_TE: Array,
    rewards_TE: Array,
    values_TE: Array,
    terminated_TE: Array,
    ended_TE: Array,
    gamma: float,
    rho_max: float = 1.0,
    c_max: float = 1.0,
    trace_lambda: float = 1.0,
) -> tuple[Array, Array]:
    """V-trace (Espeholt et al. 2018, section 4.1 and remark 1).

    Args:
        log_ratios_TE: log π(a|x) − log μ(a|x): the learner's policy over the one that acted.
        values_TE: (T + 1, E).

    Returns:
        The targets v_s, and the advantages of the policy gradient, ρ_s (r_s + γ v_{s+1} − V(x_s)); both (T, E).
    """
    steps = len(rewards_TE)
    ratios = np.exp(log_ratios_TE)
    rho = np.minimum(ratios, rho_max)
    c = trace_lambda * np.minimum(ratios, c_max)
    alive = 1.0 - ended_TE
    deltas = rho * (rewards_TE + gamma * np.where(terminated_TE, 0.0, values_TE[1:]) - values_TE[:-1])
    excess = np.empty_like(deltas, dtype=np.float32)  # v_s − V(x_s)
    running = np.zeros(deltas.shape[1:], np.float32)
    for t in range(steps - 1, -1, -1):
        running = deltas[t] + gamma * c[t] * alive[t] * running
        excess[t] = running
    targets = values_TE[:-1] + excess
    # Across the border of an episode v_{s+1} is the plain value of its last observation.
    following = values_TE[1:].copy()
    following[:-1] += alive[:-1] * excess[1:]
    advantages = rho * (rewards_TE + gamma * np.where(terminated_TE, 0.0, following) - values_TE[:-1])
    return targets.astype(np.float32), advantages.astype(np.float32)
