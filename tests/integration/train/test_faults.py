"""What may befall a run from outside: its driver killed, memory and disk used up, a wrong loss."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import skate
from skate import train
from skate.train import CheckpointConfig, FailureConfig, FunctionTrainer, RunConfig, ScalingConfig, TrainingFailedError
from tests.integration.programs import processes_of, start_program, wait_until

MEMORY_LIMIT_BYTES = 600 << 20

_DIGITS = """
    import os, sys, tempfile, time
    from pathlib import Path
    import numpy as np
    from skate import train
    from skate.train import collective

    def loop(config):
        from sklearn.datasets import load_digits
        images, labels = load_digits(return_X_y=True)
        x, y = images / 16, np.eye(10)[labels]
        context, checkpoint = train.get_context(), train.get_checkpoint()
        rank, share = context.get_world_rank(), 64 // context.get_world_size()
        weights, start = np.zeros((64, 10)), 0
        if checkpoint:
            saved = np.load(Path(checkpoint.path, "state.npz"))
            weights, start = saved["weights"].copy(), int(saved["step"])
        for step in range(start, 25):
            rows = slice(step * 64 + rank * share, step * 64 + (rank + 1) * share)
            scores = np.exp(x[rows] @ weights)
            scores /= scores.sum(1, keepdims=True)
            loss = np.array([-np.log(scores[y[rows] > 0]).mean()])
            gradient = x[rows].T @ (scores - y[rows]) / share
            collective.all_reduce(gradient, "mean")
            collective.all_reduce(loss, "mean")
            weights -= gradient
            with tempfile.TemporaryDirectory() as directory:
                kept = None
                if step % 3 == 2 and rank == 0:
                    np.savez(Path(directory, "state.npz"), weights=weights, step=step + 1)
                    kept = train.Checkpoint.from_directory(directory)
                train.report({"loss": loss[0]}, checkpoint=kept)
            time.sleep(config["pause_s"])

    def fit(name, pause_s):
        return train.FunctionTrainer(
            loop, train_loop_config={"pause_s": pause_s}, scaling_config=train.ScalingConfig(num_workers=2),
            run_config=train.RunConfig(name=name, storage_path=".", checkpoint_config=train.CheckpointConfig(num_to_keep=2)),
        ).fit()

    if __name__ == "__main__":
        if sys.stdin.readline() == "slowly\\n":
            fit("killed", 0.05)
        else:
            import json
            resumed = [row["loss"] for row in fit("killed", 0).metrics_history]
            print(json.dumps([resumed, [row["loss"] for row in fit("undisturbed", 0).metrics_history]]))
"""


def test_a_run_whose_driver_was_killed_goes_on_with_the_same_curve(tmp_path: Path) -> None:
    first = start_program(_DIGITS, tmp_path, OMP_NUM_THREADS="1")
    assert first.stdin is not None
    first.stdin.write("slowly\n")
    first.stdin.flush()
    progress = tmp_path / "killed" / "progress.jsonl"
    wait_until(lambda: progress.exists() and len(progress.read_text().splitlines()) >= 8, 20)
    first.kill()
    first.communicate()
    wait_until(lambda: not processes_of(tmp_path), 10, "the workers end with their driver")
    reported = len(progress.read_text().splitlines())
    assert json.loads((tmp_path / "killed" / "run.json").read_text())["state"] == "RUNNING"

    out, err = start_program(_DIGITS, tmp_path, OMP_NUM_THREADS="1").communicate("again\n", timeout=40)

    resumed, undisturbed = json.loads(out)
    assert "resuming run 'killed' from checkpoint_" in err
    assert reported < 25
    assert len(resumed) == 25
    np.testing.assert_allclose(resumed, undisturbed, rtol=1e-12)
    assert resumed[-1] < 0.6 * resumed[0]


# ---------------------------------------------------------------- with one engine for the rest


@pytest.fixture(scope="module")
def engine() -> Iterator[None]:
    with skate.init(num_cpus=3, _memory_limit_bytes=MEMORY_LIMIT_BYTES):
        yield


def _run(path: Path, **options: Any) -> RunConfig:
    return RunConfig(name="run", storage_path=path, **{"verbose": 0, **options})


def _steps(config: dict[str, Any]) -> None:
    """Six steps, each with a checkpoint of `config["bytes"]`; before the fourth what `config["fault"]` says, once."""
    context, checkpoint = train.get_context(), train.get_checkpoint()
    start = int(Path(checkpoint.path, "step").read_text()) if checkpoint else 0
    for step in range(start, 6):
        if step == 3 and context.get_attempt() == 0 and config.get("fault"):
            config["fault"]()
        with tempfile.TemporaryDirectory() as directory:
            Path(directory, "step").write_text(str(step + 1))
            Path(directory, "weights").write_bytes(b"x" * config.get("bytes", 10))
            train.report({"step": step}, checkpoint=train.Checkpoint.from_directory(directory))


def _exceed_rlimit() -> None:
    import resource

    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), before[1]))
    try:
        np.ones(1 << 27)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _eat_all_memory() -> None:
    eaten = [np.ones(100 << 17) for _ in range(9)]
    time.sleep(20)
    del eaten


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (_exceed_rlimit, r"MemoryError: Unable to allocate"),
        (_eat_all_memory, r"worker 0 died: .*memory"),
    ],
)
def test_a_worker_out_of_memory_is_told_and_training_goes_on(
    engine: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: Any, words: str
) -> None:
    failure = FailureConfig(max_failures=1, spare_workers=0)
    result = FunctionTrainer(
        _steps, train_loop_config={"fault": fault}, run_config=_run(tmp_path, verbose=1, failure_config=failure)
    ).fit()
    assert [row["step"] for row in result.metrics_history] == list(range(6))
    assert result.failures == 1
    said = capsys.readouterr().err
    import re

    assert re.search(words, said), said
    assert "going on from checkpoint_000002" in said


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    path = tmp_path / "disk"
    path.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(path)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_full_disk_ends_the_run_with_whole_checkpoints_and_it_goes_on_when_there_is_room(
    engine: None, small_disk: Path
) -> None:
    config = {"bytes": 300_000}
    run = _run(small_disk, failure_config=FailureConfig(max_failures=5))
    with pytest.raises(TrainingFailedError, match=r"the disk is full.*num_to_keep.*the last checkpoint is") as caught:
        FunctionTrainer(_steps, train_loop_config=config, run_config=run).fit()
    assert caught.value.result.failures == 1, "it is not tried again: the disk stays full"
    assert [len(Path(one.path, "weights").read_bytes()) for one, _ in caught.value.result.best_checkpoints] == [300_000] * 3
    assert not list(small_disk.glob("run/*.partial"))

    shutil.rmtree(small_disk / "run" / "checkpoint_000000")
    run = _run(small_disk, checkpoint_config=CheckpointConfig(num_to_keep=1))
    result = FunctionTrainer(_steps, train_loop_config=config, run_config=run).fit()
    assert [row["step"] for row in result.metrics_history] == list(range(6))


def test_reports_stay_in_memory_while_the_disk_is_full(
    engine: None, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filler = small_disk / "filler"

    def loop() -> None:
        for step in range(50):
            train.report({"step": step, "text": "x" * 5000})
            if step == 10:
                with pytest.raises(OSError), filler.open("wb", buffering=0) as file:
                    while True:
                        file.write(b"x" * 4096)
            if step == 40:
                filler.unlink()
            time.sleep(0.02)

    result = FunctionTrainer(loop, run_config=_run(small_disk, verbose=1)).fit()
    assert len(result.metrics_history) == 50
    assert len((small_disk / "run" / "progress.jsonl").read_text().splitlines()) == 50
    assert capsys.readouterr().err.count("the disk is full") == 1


def test_nan_that_comes_back_is_given_up_after_max_failures(engine: None, tmp_path: Path) -> None:
    def loop() -> None:
        checkpoint = train.get_checkpoint()
        start = int(Path(checkpoint.path, "step").read_text()) if checkpoint else 0
        for step in range(start, 5):
            with tempfile.TemporaryDirectory() as directory:
                Path(directory, "step").write_text(str(step + 1))
                train.report({"loss": float("nan") if step == 3 else 1.0}, checkpoint=train.Checkpoint.from_directory(directory))
            time.sleep(0.05)

    failure = FailureConfig(max_failures=2, nan_policy="restore")
    with pytest.raises(TrainingFailedError, match=r"after 3 failures; max_failures=2.*loss=nan \(report 4\)") as caught:
        FunctionTrainer(loop, run_config=_run(tmp_path, failure_config=failure)).fit()
    # Never from a checkpoint of the NaN.
    assert caught.value.result.checkpoint is not None
    assert Path(caught.value.result.checkpoint.path, "step").read_text() == "3"


def test_ranks_of_different_shapes_are_told(engine: None, tmp_path: Path) -> None:
    def loop() -> None:
        from skate.train import collective

        rank = train.get_context().get_world_rank()
        collective.broadcast(np.zeros((2, 3) if rank else (3, 2)))

    with pytest.raises(TrainingFailedError, match=r"rank \d is in broadcast of float64\[\d, \d\] and rank \d in broadcast"):
        FunctionTrainer(loop, scaling_config=ScalingConfig(num_workers=2), run_config=_run(tmp_path)).fit()
