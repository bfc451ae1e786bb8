"""Steps/s of Keras 3 `fit` on TensorFlow, two workers: KerasTrainer (skate's all-reduce) beside MultiWorkerMirroredStrategy."""

from __future__ import annotations

import json
import time
from typing import Any

STEPS, BATCH = 300, 64


def loop(config: dict[str, Any]) -> float:
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy() if config["mirrored"] else None
    import keras
    import numpy as np

    from skate import train

    x = np.random.default_rng(0).normal(size=(STEPS * BATCH, 64)).astype("float32")
    y = np.zeros(STEPS * BATCH, "int32")

    def make() -> Any:
        layers = [keras.Input((64,)), keras.layers.Dense(128, activation="relu"), keras.layers.Dense(10)]
        model = keras.Sequential(layers)
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    if strategy is not None:
        with strategy.scope():
            model = make()
        data = train.tensorflow.prepare_dataset_shard(tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH), strategy)
    else:
        model = train.keras.prepare_model(make())
        data = tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH)
    model.fit(data, epochs=1, verbose=0, steps_per_epoch=None)
    begun = time.perf_counter()
    model.fit(data, epochs=1, verbose=0)
    return STEPS / (time.perf_counter() - begun)


def main() -> None:
    from skate import train

    run = train.RunConfig(storage_path="/tmp/skate-bench", verbose=0)
    scaling = train.ScalingConfig(num_workers=2)
    own = train.KerasTrainer(loop, train_loop_config={"mirrored": False}, scaling_config=scaling, run_config=run).fit()
    mirrored = train.TensorFlowTrainer(loop, train_loop_config={"mirrored": True}, scaling_config=scaling, run_config=run).fit()
    print(
        "RESULT",
        json.dumps(
            {"skate_steps_per_s": round(own.returned, 1), "mirrored_keras3_repaired_steps_per_s": round(mirrored.returned, 1)}
        ),
    )


if __name__ == "__main__":
    main()
