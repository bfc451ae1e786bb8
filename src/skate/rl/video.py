"""Films of episodes, by OpenCV."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from skate.rl.policies import clip_to_space
from skate.rl.spaces import encoder, observation_shape


def film(algorithm: Any, path: str, *, seed: int = 0, fps: int = 30, steps_max: int = 10_000) -> tuple[float, int]:
    """Write one greedy episode to `path` (.mp4); returns its return and length."""
    try:
        import cv2
    except ImportError as error:
        raise ImportError("films need OpenCV: pip install 'skate[video]'") from error
    if not isinstance(algorithm.env, str) or algorithm.env.startswith("ALE/") or algorithm.model.spec.recurrent:
        raise ValueError("only registered environments other than Atari's can be filmed, and policies without memory")
    if algorithm.env.startswith("MinAtar/"):
        algorithm.evaluate(1)  # Registers them.
    env: Any = gym.make(algorithm.env, render_mode="rgb_array", **algorithm.env_kwargs)
    write_row, shape = encoder(env.observation_space), observation_shape(env.observation_space)
    row = np.zeros((1, *shape.shape), shape.dtype)
    observation, _ = env.reset(seed=seed)
    writer: Any = None
    total, steps, is_over = 0.0, 0, False
    while not is_over and steps < steps_max:
        frame = np.asarray(env.render())
        if writer is None:
            writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"mp4v"), fps, (frame.shape[1], frame.shape[0]))
        writer.write(frame[:, :, ::-1])
        write_row(observation, row[0])
        chosen, _ = algorithm.policy.act(algorithm.model, row, algorithm.rng, greedy=True)
        action = clip_to_space(chosen, algorithm.actions)[0]
        native = (
            int(action[0]) + algorithm.actions.start if algorithm.actions.is_scalar else action.reshape(algorithm.actions.shape)
        )
        observation, reward, terminated, truncated, _ = env.step(native)
        total, steps, is_over = total + float(reward), steps + 1, bool(terminated or truncated)
    writer.release()
    env.close()
    return total, steps
