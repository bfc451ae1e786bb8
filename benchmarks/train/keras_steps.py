"""Steps/s of Keras `fit` on TensorFlow, two workers with 64 rows each: `python -m benchmarks.train.keras_steps skate|mirrored|legacy|single`.

skate: KerasTrainer (Keras 3, skate's all-reduce). mirrored: TensorFlowTrainer (Keras 3, repaired, MultiWorkerMirroredStrategy). legacy: two plain
processes with the package tf-keras and MultiWorkerMirroredStrategy, no skate at all. single: one process with Keras 3, half the rows per step.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from typing import Any

STEPS, BATCH, ROUNDS = 200, 64, 2


def measure(keras: Any, strategy: Any, prepare: Any) -> dict[str, float]:
    """Trains an epoch to warm up, and then ROUNDS: the best one's steps per second, and this process' CPU time per step."""
    import contextlib

    import numpy as np
    import tensorflow as tf

    x = np.random.default_rng(0).normal(size=(STEPS * BATCH, 64)).astype("float32")
    y = np.zeros(STEPS * BATCH, "int32")
    with strategy.scope() if strategy is not None else contextlib.nullcontext():
        layers = [keras.Input((64,)), keras.layers.Dense(128, activation="relu"), keras.layers.Dense(10)]
        model = keras.Sequential(layers)
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    data: Any = tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH).repeat()
    of_this_worker = data
    if strategy is not None:
        data = strategy.distribute_datasets_from_function(lambda context: of_this_worker)
    model = prepare(model)
    times, cpu_times = [], []
    for _ in range(1 + ROUNDS):
        begun, begun_cpu = time.perf_counter(), time.process_time()
        model.fit(data, epochs=1, steps_per_epoch=STEPS, verbose=0)
        times.append(time.perf_counter() - begun)
        cpu_times.append(time.process_time() - begun_cpu)
    # CPU time of all threads says more than steps/s on a machine that has other work.
    return {"steps_per_s": round(STEPS / min(times[1:]), 1), "cpu_ms_per_step": round(1000 * min(cpu_times[1:]) / STEPS, 2)}


def loop(config: dict[str, Any]) -> dict[str, float]:
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy() if config["mirrored"] else None
    import keras

    from skate import train

    return measure(keras, strategy, (lambda model: model) if strategy is not None else train.keras.prepare_model)


def one_of_two_legacy_processes() -> None:
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    import tf_keras

    print("RESULT", json.dumps(measure(tf_keras, strategy, lambda model: model)))


def start_two_legacy_processes() -> None:
    ports = []
    for _ in range(2):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
    command = [sys.executable, "-m", "benchmarks.train.keras_steps", "legacy-process"]
    processes = []
    for index in range(2):
        cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
        environment = {**os.environ, "TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})}
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
    out, _ = processes[0].communicate()
    processes[1].wait()
    print(out, end="")


def main() -> None:
    kind = sys.argv[1]
    if kind == "legacy-process":
        one_of_two_legacy_processes()
        return
    if kind == "legacy":
        start_two_legacy_processes()
        return
    if kind == "single":
        import keras

        print("RESULT", json.dumps(measure(keras, None, lambda model: model)))
        return
    from skate import train

    run = train.RunConfig(storage_path="/tmp/skate-bench", verbose=0)
    trainer = train.KerasTrainer if kind == "skate" else train.TensorFlowTrainer
    config = {"mirrored": kind == "mirrored"}
    scaling = train.ScalingConfig(num_workers=2)
    result = trainer(loop, train_loop_config=config, scaling_config=scaling, run_config=run).fit()
    print("RESULT", json.dumps(result.returned))


if __name__ == "__main__":
    main()
