"""Trainers on real workers, without a framework: reports, checkpoints, and workers that die, raise, hang or report NaN."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import skate
from skate import train
from skate.train import CheckpointConfig, FailureConfig, FunctionTrainer, RunConfig, ScalingConfig, TrainingFailedError


@pytest.fixture(autouse=True, scope="module")
def engine() -> Iterator[None]:
    with skate.init(num_cpus=4, num_gpus=2):
        yield


def _run(path: Path, **options: Any) -> RunConfig:
    return RunConfig(name="run", storage_path=path, verbose=0, **options)


def _counting(config: dict[str, Any]) -> Any:
    """Counts to 10 by way of checkpoints; what `config["fault"]` says happens once to rank 1, in step 5."""
    context, checkpoint = train.get_context(), train.get_checkpoint()
    state = float(Path(checkpoint.path, "state").read_text()) if checkpoint else 0.0
    start = int(Path(checkpoint.path, "step").read_text()) if checkpoint else 0
    for step in range(start, 10):
        state += 1 / (step + 1)
        value = state
        if step == 5 and context.get_attempt() == 0 and context.get_world_rank() == context.get_world_size() - 1:
            match config.get("fault"):
                case "kill":
                    os.kill(os.getpid(), 9)
                case "raise":
                    raise ZeroDivisionError("by hand")
                case "hang":
                    time.sleep(1000)
                case "nan":
                    value = float("nan")
        with tempfile.TemporaryDirectory() as directory:
            Path(directory, "state").write_text(repr(state))
            Path(directory, "step").write_text(str(step + 1))
            kept = train.Checkpoint.from_directory(directory) if context.get_world_rank() == 0 else None
            train.report({"value": value, "step": step}, checkpoint=kept)
        time.sleep(config.get("pause_s", 0.005))
    return state


def _curve(result: train.Result) -> list[float]:
    return [row["value"] for row in result.metrics_history]


UNDISTURBED = [sum(1 / (n + 1) for n in range(step + 1)) for step in range(10)]


def test_reports_checkpoints_and_what_the_loop_returns(tmp_path: Path) -> None:
    result = FunctionTrainer(
        _counting, train_loop_config={}, scaling_config=ScalingConfig(num_workers=2),
        run_config=_run(tmp_path, checkpoint_config=CheckpointConfig(num_to_keep=2)),
    ).fit()  # fmt: skip
    assert _curve(result) == pytest.approx(UNDISTURBED)
    assert result.returned == pytest.approx(UNDISTURBED[-1])
    assert result.checkpoint is not None
    assert Path(result.checkpoint.path, "step").read_text() == "10"
    assert len(result.best_checkpoints) == 2
    assert result.metrics["training_iteration"] == 10
    assert list(result.metrics_dataframe["step"]) == list(range(10))


@pytest.mark.parametrize("fault", ["kill", "raise", "hang", "nan"])
def test_after_a_fault_the_curve_is_the_undisturbed_one(tmp_path: Path, fault: str) -> None:
    failure = FailureConfig(max_failures=1, hang_timeout_s=0.5, nan_policy="restore")
    started = time.monotonic()
    result = FunctionTrainer(
        _counting, train_loop_config={"fault": fault}, scaling_config=ScalingConfig(num_workers=2),
        run_config=_run(tmp_path, failure_config=failure),
    ).fit()  # fmt: skip
    assert result.failures == 1
    assert _curve(result) == pytest.approx(UNDISTURBED)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("kill", "worker 1 died: it was killed by signal 9 (SIGKILL)"),
        ("raise", "worker 1 raised ZeroDivisionError: by hand"),
        ("hang", "worker 1 reported nothing for"),
        ("nan", "worker 1 reported value=nan (report 6)"),
    ],
)
def test_without_retries_the_error_says_who_how_and_where_the_checkpoint_is(tmp_path: Path, fault: str, words: str) -> None:
    trainer = FunctionTrainer(
        _counting, train_loop_config={"fault": fault}, scaling_config=ScalingConfig(num_workers=2),
        run_config=_run(tmp_path, failure_config=FailureConfig(hang_timeout_s=0.5, nan_policy="raise")),
    )  # fmt: skip
    with pytest.raises(TrainingFailedError) as caught:
        trainer.fit()
    assert words in str(caught.value)
    assert f"the last checkpoint is {tmp_path}" in str(caught.value)
    assert caught.value.result.checkpoint is not None


def test_nan_is_only_warned_of_by_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunConfig(name="run", storage_path=tmp_path)
    result = FunctionTrainer(_counting, train_loop_config={"fault": "nan"}, run_config=run).fit()
    assert result.failures == 0
    assert capsys.readouterr().err.count("value=nan") == 1


def test_files_of_all_ranks_are_in_one_checkpoint(tmp_path: Path) -> None:
    def loop() -> None:
        rank = train.get_context().get_world_rank()
        with tempfile.TemporaryDirectory() as directory:
            Path(directory, f"part-{rank}").write_text("x")
            train.report({"a": 1}, checkpoint=train.Checkpoint.from_directory(directory))

    result = FunctionTrainer(loop, scaling_config=ScalingConfig(num_workers=3), run_config=_run(tmp_path)).fit()
    assert result.checkpoint is not None
    assert sorted(name for name in os.listdir(result.checkpoint.path) if name.startswith("part")) == [
        "part-0",
        "part-1",
        "part-2",
    ]


def test_elastic_goes_on_with_fewer_and_grows_back(tmp_path: Path) -> None:
    def loop(config: dict[str, Any]) -> None:
        context, checkpoint = train.get_context(), train.get_checkpoint()
        start = int(Path(checkpoint.path, "step").read_text()) if checkpoint else 0
        for step in range(start, 1000):
            with tempfile.TemporaryDirectory() as directory:
                Path(directory, "step").write_text(str(step + 1))
                kept = train.Checkpoint.from_directory(directory) if context.get_world_rank() == 0 else None
                train.report({"step": step, "workers": context.get_world_size()}, checkpoint=kept)
            time.sleep(0.02)
            if context.get_world_size() == 3 and step > start + 5:
                return

    @skate.remote(num_cpus=2)
    class Occupant:
        def hold(self) -> None: ...

    occupant = Occupant.remote()
    skate.get(occupant.hold.remote())

    class FreeLater(train.callbacks.Callback):
        def on_report(self, row: Any) -> None:
            if row["step"] == 10:
                skate.kill(occupant)

    run = _run(tmp_path, callbacks=[FreeLater()], checkpoint_config=CheckpointConfig(num_to_keep=2))
    result = FunctionTrainer(
        loop, train_loop_config={}, scaling_config=ScalingConfig(num_workers=(1, 3)), run_config=run,
    ).fit()  # fmt: skip
    assert result.world_sizes == [2, 3]
    assert result.failures == 0
    assert [row["step"] for row in result.metrics_history] == list(range(len(result.metrics_history)))


def test_a_run_that_ended_is_moved_aside_and_one_that_failed_is_resumed(tmp_path: Path) -> None:
    scaling = ScalingConfig(num_workers=2)
    with pytest.raises(TrainingFailedError):
        FunctionTrainer(_counting, train_loop_config={"fault": "raise"}, scaling_config=scaling, run_config=_run(tmp_path)).fit()
    result = FunctionTrainer(_counting, train_loop_config={}, scaling_config=scaling, run_config=_run(tmp_path)).fit()
    assert _curve(result) == pytest.approx(UNDISTURBED)
    assert 3 <= min(row["step"] for row in result.metrics_history[4:]) <= 5
    FunctionTrainer(_counting, train_loop_config={}, run_config=_run(tmp_path)).fit()
    assert (tmp_path / "run~1" / "checkpoint_000009").is_dir()


def test_each_worker_has_a_gpu_of_its_own(tmp_path: Path) -> None:
    def loop(config: dict[str, Any]) -> None:
        gpus = [os.environ["CUDA_VISIBLE_DEVICES"], *map(str, skate.get_gpu_ids())]
        with open(os.path.join(config["path"], str(train.get_context().get_world_rank())), "w") as file:
            file.write(" ".join(gpus))

    scaling = ScalingConfig(num_workers=2, use_gpu=True)
    FunctionTrainer(loop, train_loop_config={"path": str(tmp_path)}, scaling_config=scaling, run_config=_run(tmp_path)).fit()
    assert sorted((tmp_path / rank).read_text() for rank in "01") == ["0 0", "1 1"]


def test_room_that_can_never_be_is_told_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"3 worker\(s\) with 1 GPU each need 3, but there are 2: write use_gpu=False"):
        FunctionTrainer(_counting, scaling_config=ScalingConfig(num_workers=3, use_gpu=True), run_config=_run(tmp_path)).fit()
    with pytest.raises(ValueError, match="9 worker"):
        FunctionTrainer(_counting, scaling_config=ScalingConfig(num_workers=9), run_config=_run(tmp_path)).fit()


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (lambda path: FunctionTrainer(_counting, datasets=[1]), TypeError, "datasets must be a dict"),
        (lambda path: RunConfig(callbacks=train.callbacks.CSVLogger()), TypeError, "callbacks must be a list"),
        (lambda path: RunConfig(callbacks=[train.callbacks.CSVLogger]), TypeError, r"write CSVLogger\(\)"),
        (lambda path: FunctionTrainer(_counting, run_config=RunConfig(storage_path="/proc/x")).fit(), ValueError, "can't be used"),
        (lambda path: FunctionTrainer(_counting, run_config=_run(path), datasets={"a": [1]}).fit(), TypeError, "dataset 'a': list is"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_before_anything_starts(tmp_path: Path, make: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        make(tmp_path)


def test_workers_that_make_different_numbers_of_steps_are_told(tmp_path: Path) -> None:
    def loop() -> None:
        import numpy as np

        from skate.train import collective

        for _ in range(3 + train.get_context().get_world_rank()):
            collective.all_reduce(np.ones(3))

    with pytest.raises(TrainingFailedError, match="left its loop: all ranks must make the same number of steps"):
        FunctionTrainer(loop, scaling_config=ScalingConfig(num_workers=2), run_config=_run(tmp_path)).fit()


def test_an_argument_that_does_not_exist_is_told_with_the_right_one() -> None:
    with pytest.raises(TypeError, match="did you mean 'scaling_config'"):
        FunctionTrainer(_counting, scalling_config=ScalingConfig())
    with pytest.raises(TypeError, match="must take one argument"):
        FunctionTrainer(lambda a, b: None)
    with pytest.raises(RuntimeError, match="inside a training loop"):
        train.report({"a": 1})


def test_report_costs_less_than_a_millisecond(tmp_path: Path) -> None:
    def loop() -> float:
        started = time.perf_counter()
        for step in range(1000):
            train.report({"step": step, "loss": 0.5})
        return (time.perf_counter() - started) / 1000

    result = FunctionTrainer(loop, run_config=_run(tmp_path)).fit()
    assert result.returned < 0.001
    assert len(result.metrics_history) == 1000


def test_shards_reach_the_loops(tmp_path: Path) -> None:
    import numpy as np

    def loop(config: dict[str, Any]) -> None:
        shard = train.get_dataset_shard("train")
        rows = [int(row) for batch in shard.iter_batches(batch_size=7) for row in batch["row"]]
        with tempfile.TemporaryDirectory() as directory:
            Path(directory, str(train.get_context().get_world_rank())).write_text(repr(rows))
            train.report({}, checkpoint=train.Checkpoint.from_directory(directory))

    result = FunctionTrainer(
        loop, scaling_config=ScalingConfig(num_workers=2), run_config=_run(tmp_path), datasets={"train": {"row": np.arange(100)}}
    ).fit()
    assert result.checkpoint is not None
    parts = [eval(Path(result.checkpoint.path, rank).read_text()) for rank in "01"]
    assert sorted(parts[0] + parts[1]) == list(range(100))
    assert len(parts[0]) == 50


def test_callbacks_write_csv_json_and_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import csv
    import json

    from skate.train.callbacks import CSVLogger, JSONLogger, ProgressBar, TensorBoardLogger

    had_tensorflow = "tensorflow" in sys.modules
    run = _run(tmp_path, callbacks=[CSVLogger(), JSONLogger(), TensorBoardLogger(), ProgressBar(total=10)])
    result = FunctionTrainer(_counting, train_loop_config={"lr": 0.5}, run_config=run).fit()
    with open(tmp_path / "run" / "progress.csv") as file:
        assert [float(row["value"]) for row in csv.DictReader(file)] == pytest.approx(_curve(result))
    assert json.loads((tmp_path / "run" / "result.json").read_text())["config"] == {"lr": 0.5}
    assert ("tensorflow" in sys.modules) == had_tensorflow, "importing it takes seconds"
    # TensorBoard's reader is to do without it, too.
    monkeypatch.setitem(sys.modules, "tensorboard.compat.notf", ModuleType("notf"))
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event

    (file_of_events,) = (tmp_path / "run" / "tensorboard").iterdir()
    events = [Event.FromString(record) for record in RawEventFileLoader(str(file_of_events)).Load()]
    values = [one.simple_value for event in events for one in event.summary.value if one.tag == "value"]
    assert values == pytest.approx(_curve(result))


def test_a_run_is_logged_to_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow.tracking")
    from skate.train.callbacks import MLflowLogger

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # Newer versions want a database.
    uri = f"file:{tmp_path / 'mlruns'}"
    logger = MLflowLogger(uri, "digits", log_checkpoint=True)
    result = FunctionTrainer(_counting, train_loop_config={"lr": 0.5}, run_config=_run(tmp_path, callbacks=[logger])).fit()
    client = mlflow.MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params == {"lr": "0.5"}
    assert [one.value for one in client.get_metric_history(run.info.run_id, "value")] == pytest.approx(_curve(result))
    assert "checkpoint/state" in [file.path for file in client.list_artifacts(run.info.run_id, "checkpoint")]


def test_a_callback_that_raises_does_not_end_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Bad(train.callbacks.Callback):
        def on_report(self, row: Any) -> None:
            raise LookupError("mine")

    run = RunConfig(name="run", storage_path=tmp_path, callbacks=[Bad()])
    assert FunctionTrainer(_counting, train_loop_config={}, run_config=run).fit().error is None
    assert "callback Bad.on_report raised LookupError: mine" in capsys.readouterr().err
