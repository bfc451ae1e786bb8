"""Every example runs as a program of its own and prints what it should."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PRINTS = {
    "01_tasks.py": r"pi is about 3\.1\d\d \(\d+\.\d\d s\)\n",
    "02_actors.py": r"\('grace', 50\)\n",
    "03_shared_arrays.py": r"\(64,\) True\n",
    "04_stream_of_results.py": r"1060\n",
    "05_first_come.py": r"longest below 2001: \(182, 1161\)\n",
    "06_when_it_fails.py": r"caught a ValueError with the remote traceback: True\nsecond attempt\n",
    "07_async_actor.py": r"328350\n",
    "08_gpus_without_any.py": r"\['0', '1'\]\nfree GPUs: 0(\.0)?\n",
    "10_pandas.py": r"(?s)336,776 flights: .*results equal: True\n.*",
    "20_train_digits_torch.py": r"4 epochs, 1 failure, accuracy above 0.9: True\n",
    "21_train_digits_keras.py": r"4 epochs, accuracy above 0.9: True\n",
    "22_parameter_server.py": r"sync: accuracy above 0.9: True\nasync: accuracy above 0.9: True\n",
    "23_lbfgs.py": r"loss below 0.05: True, accuracy above 0.97: True\n",
    "24_tune.py": r"best accuracy above 0.9: True; steps saved: True\n",
    "25_resnet_on_gpus.py": r"accuracy above 0.9: True\n",
    "30_live_word_count.py": r"articles 0 to 19: \w+ \d+, \w+ \d+, \w+ \d+\n(?s:.*)articles 60 to 79: .*\n",
    "31_click_sessions.py": r"(?s)[\d,]+ sessions of 60,000 clicks, 1 restart\n(left out: \w+Error in .*\n){2}",
    "32_sensor_anomalies.py": r"(?s)120 s  sensor-4: 60 °C.*\n279 s  sensor-9: silent for 30 s\n333 s  sensor-11: -20 °C.*\n500 s  sensor-4: 55 °C[^\n]*\n",
    "40_ppo_plain.py": r"the last 20 episodes last above 60 steps: True\n",
    "41_dqn_plain.py": r"the last 10 episodes last above 40 steps: True\n",
}

NOISY = {"21_train_digits_keras.py"}  # TensorFlow says on stderr which CPU it has found.


def test_every_example_is_run() -> None:
    assert sorted(PRINTS) == sorted(path.name for path in EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("name", sorted(PRINTS))
def test_example(name: str) -> None:
    done = subprocess.run([sys.executable, str(EXAMPLES / name)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(PRINTS[name], done.stdout), done.stdout
    if name not in NOISY:
        assert done.stderr == ""
