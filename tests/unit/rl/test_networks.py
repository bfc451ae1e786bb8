"""Networks: threads, and that both engines answer alike."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from skate.rl.networks import ModelSpec, make_model


def test_torch_has_as_many_threads_as_were_set_before_it_was_imported() -> None:
    program = (
        "from skate.rl import PPO; import sys; assert 'torch' not in sys.modules\n"
        "with PPO('CartPole-v1', framework='torch') as ppo:\n"
        "    ppo.train(1)\n"
        "    print(sys.modules['torch'].get_num_threads())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1"]


def test_both_engines_answer_alike_with_the_same_weights() -> None:
    spec = ModelSpec((4,), {"policy": 2, "value": 1}, (8, 8))
    ours, theirs = make_model(spec, 0, "numpy"), make_model(spec, 0, "torch")
    flat, offset, parts = ours.flat, 0, []
    for inputs, outputs in ((4, 8), (8, 8), (8, 2), (4, 8), (8, 8), (8, 1)):  # Torch keeps its matrices the other way round.
        parts += [flat[offset : offset + inputs * outputs].reshape(inputs, outputs).T.ravel()]
        offset += inputs * outputs
        parts += [flat[offset : offset + outputs]]
        offset += outputs
    policy, value = np.concatenate(parts[:6]), np.concatenate(parts[6:])
    bodies = [policy[: 4 * 8 + 8 + 8 * 8 + 8], value[: 4 * 8 + 8 + 8 * 8 + 8]]
    heads = [policy[len(bodies[0]) :], value[len(bodies[1]) :]]
    theirs.flat = np.concatenate([*bodies, *heads])
    obs = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    for name, expected in ours.infer(obs).items():
        np.testing.assert_allclose(theirs.infer(obs)[name], expected, atol=1e-5)
