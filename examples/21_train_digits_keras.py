"""The same digits with Keras 3 on TensorFlow: `fit` on two workers. Needs `pip install 'skate[tensorflow]'`."""

import os
import tempfile

from skate import train
from skate.train import KerasTrainer


def loop(config: dict) -> None:
    import keras  # In the worker: importing TensorFlow in this program would only cost time.

    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(64, activation="relu"), keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(config["lr"]), loss, metrics=["accuracy"])
    train.keras.prepare_model(model)
    shard = train.get_dataset_shard("train")
    batches = shard.to_tf("x", "y", global_batch_size=64, drop_last=True)
    for epoch in range(4):
        report = train.keras.ReportCheckpointCallback()
        model.fit(batches, initial_epoch=epoch, epochs=epoch + 1, verbose=0, callbacks=[report])


if __name__ == "__main__":
    from sklearn.datasets import load_digits

    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    images, labels = load_digits(return_X_y=True)
    with tempfile.TemporaryDirectory() as storage:
        result = KerasTrainer(
            loop,
            train_loop_config={"lr": 0.005},
            scaling_config=train.ScalingConfig(num_workers=2, resources_per_worker={"CPU": 0.5}),
            datasets={"train": {"x": (images / 16).astype("float32"), "y": labels}},
            run_config=train.RunConfig(storage_path=storage, verbose=0),
        ).fit()
    print(f"{len(result.metrics_history)} epochs, accuracy above 0.9: {result.metrics['accuracy'] > 0.9}")
